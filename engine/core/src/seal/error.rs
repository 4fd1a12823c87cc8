//! Why sealing or opening fails. All of it is *failure* (ours or the disk's), never a sender's fault.

use super::Suite;
use crate::ids::ObjectId;

/// Why bytes could not be sealed or opened. Names ids and numbers, never content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The suite is not in this build (AES-256-GCM needs the `native` feature).
    #[error("the cipher suite {} is not in this build", .0.name())]
    Unavailable(Suite),
    /// The bytes do not begin as a sealed object or a wrapped key does.
    #[error("the bytes are no sealed object or wrapped key")]
    Magic,
    /// Sealed by a format this build does not know.
    #[error("sealed in format version {0}, which this build does not know")]
    UnknownVersion(u8),
    /// A suite number this build does not know.
    #[error("sealed with cipher suite {0}, which this build does not know")]
    UnknownSuite(u8),
    /// The header names another object, part or purpose than was asked for, or has reserved bits set.
    #[error("the sealed bytes belong to something else than was asked for")]
    Context,
    /// The key commitment differs: wrong key, wrong context or a damaged header.
    #[error("the key does not fit the sealed bytes")]
    Key,
    /// Fewer or more bytes than the format allows.
    #[error("{0} sealed bytes are not a length the format allows")]
    Length(usize),
    /// A chunk's tag did not hold: flipped, truncated, reordered or swapped bytes.
    #[error("object {object}, frame {frame}, chunk {chunk}: the sealed bytes were changed")]
    Tampered {
        /// The object.
        object: ObjectId,
        /// The frame, from zero.
        frame: u32,
        /// The chunk of the frame, from zero.
        chunk: u32,
    },
    /// More than 2^32 chunks in one frame.
    #[error("a frame of {0} bytes is too long to be sealed")]
    TooLong(usize),
    /// The frame was sealed before with this sealer: its nonces are spent.
    #[error("object {object}: frame {frame} was sealed before, its nonces are spent")]
    FrameSpent {
        /// The object.
        object: ObjectId,
        /// The frame, from zero.
        frame: u32,
    },
    /// The cipher itself failed while sealing.
    #[error("the cipher failed while sealing")]
    Cipher,
}
