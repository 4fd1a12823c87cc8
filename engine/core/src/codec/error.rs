//! Why stored frame or header bytes cannot be decoded.

use super::Codec;

/// Why an encoded payload was refused. Messages name places and lengths, never sample values.
///
/// All but [`CodecError::Unavailable`] mean that what lies in storage is damaged, or was given the wrong frame shape,
/// length or template: the caller reports corruption, never "not found" (invariant 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// No codec has this wire id.
    #[error("unknown codec id {0}")]
    UnknownCodec(u8),
    /// The codec is not part of this build (the `native` feature is off).
    #[error("codec {0:?} is not part of this build")]
    Unavailable(Codec),
    /// The payload ends before its fixed part does.
    #[error("the encoded payload is truncated")]
    Truncated,
    /// More than [`super::FRAME_LENGTH_MAX`] bytes, which only [`Codec::Raw`] holds.
    #[error("{0} bytes are more than a compressed frame may have")]
    TooLong(usize),
    /// The filter byte of a predicted payload is unknown, or does not suit the frame shape.
    #[error("unknown filter id {0}")]
    UnknownFilter(u8),
    /// The payload was predicted, but the shape is absent or does not fit the length.
    #[error("the payload was predicted sample by sample, but the frame shape does not fit {decoded_length} bytes")]
    Shape {
        /// Length that the caller asked for, in bytes.
        decoded_length: usize,
    },
    /// The entropy coder refused the payload.
    #[error("the payload is not valid {0:?} data")]
    Malformed(Codec),
    /// The payload decodes to another length than the one recorded.
    #[error("the payload decodes to another length than the {expected} bytes recorded")]
    Length {
        /// Recorded length, in bytes.
        expected: usize,
    },
    /// Header bytes: unknown version byte.
    #[error("unknown header compression version {0}")]
    TemplateVersion(u8),
    /// Header bytes were compressed against a template and none was given.
    #[error("the header was compressed against a template that was not given")]
    TemplateMissing,
    /// Header bytes were compressed against another template than the one given.
    #[error("the header was compressed against another template")]
    TemplateMismatch,
}
