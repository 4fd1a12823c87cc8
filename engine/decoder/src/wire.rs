//! What the server and a child say to each other over the child's standard input and output.
//!
//! All integers of fixed width are little endian. First the server sends [`Limits`] (16 bytes). Then, for each frame:
//!
//! ```text
//! request: header length u32 | header (postcard RequestHeader) | frame (RequestHeader::frame_bytes)
//! answer:  header length u32 | header (postcard AnswerHeader)  | samples (their length follows from the request)
//! ```
//!
//! The child trusts nothing of a frame; the server trusts nothing of an answer: lengths are bounded before memory is
//! reserved, and an answer holds no text, so that a child taken over cannot write into logs or attributes.

use crate::decode::FrameLayout;
use crate::error::Damage;
use serde::{Deserialize, Serialize};

/// Most bytes of a header in either direction.
pub(crate) const MAX_HEADER_BYTES: usize = 512;
/// Longest Photometric Interpretation or Transfer Syntax UID that is passed on (PS3.5 table 6.2-1).
pub(crate) const MAX_TEXT_BYTES: usize = 64;

/// What the child limits itself to, for its whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Address space, bytes.
    pub(crate) memory_bytes: u64,
    /// Processor time, seconds.
    pub(crate) cpu_seconds: u64,
}

impl Limits {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.memory_bytes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.cpu_seconds.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let words = bytes.as_chunks::<8>().0;
        Self {
            memory_bytes: u64::from_le_bytes(words[0]),
            cpu_seconds: u64::from_le_bytes(words[1]),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestHeader {
    pub(crate) serial: u64,
    pub(crate) transfer_syntax: String,
    pub(crate) layout: FrameLayout,
    pub(crate) photometric: String,
    pub(crate) frame_bytes: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerHeader {
    /// The request's.
    pub(crate) serial: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Decoded {
        /// Photometric Interpretation became RGB; else it is the request's.
        became_rgb: bool,
        planar: bool,
        samples_per_pixel: u16,
        bits_allocated: u16,
        num_bytes: u64,
    },
    Unsupported,
    Damaged(Damage),
}

/// A header with its length before it; `None` only for headers above [`MAX_HEADER_BYTES`].
pub(crate) fn framed(header: &impl Serialize) -> Option<Vec<u8>> {
    let body = postcard::to_stdvec(header).ok()?;
    if body.len() > MAX_HEADER_BYTES {
        return None;
    }
    let mut bytes = u32::try_from(body.len()).ok()?.to_le_bytes().to_vec();
    bytes.extend(body);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let header = AnswerHeader {
            serial: 7,
            outcome: Outcome::Damaged(Damage::Truncated),
        };
        assert_eq!(framed(&header), Some(vec![3, 0, 0, 0, 7, 2, 0]));
        let limits = Limits {
            memory_bytes: 512 << 20,
            cpu_seconds: 10,
        };
        assert_eq!(limits.to_bytes(), [0, 0, 0, 32, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Limits::from_bytes(limits.to_bytes()), limits);
    }
}
