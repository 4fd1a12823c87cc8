//! Why a frame was not decoded. Owns the error type that every codec and the pool share.
//!
//! Reasons are a closed set and not text: a child process is not trusted, so nothing it says may reach a log as a
//! string, and no error carries pixel values or identifiers of the instance.

use serde::{Deserialize, Serialize};

/// What is wrong with a compressed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Damage {
    /// The stream ends before the last sample.
    #[error("the stream ends before the last sample")]
    Truncated,
    /// A header or marker segment of the stream is malformed.
    #[error("a header of the stream is malformed")]
    Header,
    /// The entropy-coded data is not decodable.
    #[error("the coded data is malformed")]
    CodedData,
    /// The stream's size is not Rows (0028,0010) by Columns (0028,0011).
    #[error("the stream's width or height differs from Rows and Columns")]
    Dimensions,
    /// The stream's number of components is not Samples per Pixel (0028,0002).
    #[error("the stream's number of components differs from Samples per Pixel")]
    Components,
    /// The stream's precision does not fit into Bits Allocated (0028,0100).
    #[error("the stream's precision exceeds Bits Allocated")]
    Precision,
    /// The request describes no decodable frame: zero rows, an unknown Bits Allocated, a size above the limit.
    #[error("the attributes describe no decodable frame")]
    Shape,
}

/// Why a frame could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No decoder here for this transfer syntax, or for the variant of it that the stream uses.
    #[error("no decoder for transfer syntax {transfer_syntax}")]
    Unsupported {
        /// Transfer Syntax UID of the request.
        transfer_syntax: String,
    },
    /// The frame is broken or contradicts its attributes: the sender's fault.
    #[error("the compressed frame is damaged: {0}")]
    Damaged(Damage),
    /// The child process died while decoding: a crash, a forbidden system call, or out of memory.
    #[error("the decoder process died")]
    Crashed,
    /// The child process gave no answer in time.
    #[error("the decoder process gave no answer in time")]
    TimedOut,
    /// The child process answered something that is no answer to the request.
    #[error("the decoder process gave an invalid answer")]
    InvalidAnswer,
    /// The child process could not be started, or its pipes could not be set up: our fault, not the frame's.
    #[error("the decoder process could not be started ({0})")]
    NotStarted(std::io::ErrorKind),
}

impl From<Damage> for DecodeError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}
