//! Why an object is refused: the sender's fault, with the DICOM status it is answered with.
//!
//! A rejection names a tag and an offset, never a value or a UID.

use std::fmt;

/// A tag: group and element number (PS3.5 section 7.1.1).
pub type Tag = (u16, u16);

/// DICOM failure reason: the status of C-STORE (PS3.4 table B.2-1) and the Failure Reason (0008,1197) of STOW-RS
/// (PS3.18 table I.2-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum FailureReason {
    /// 0110H, processing failure: ours.
    ProcessingFailure,
    /// 0122H, SOP Class not supported.
    SopClassNotSupported,
    /// 0124H, not authorised: nobody may store there.
    NotAuthorized,
    /// A700H, out of resources: a limit is crossed.
    OutOfResources,
    /// A900H, the dataset does not match its SOP Class: an attribute that every storage class demands is missing.
    DataSetDoesNotMatchSopClass,
    /// C000H, cannot understand.
    CannotUnderstand,
}

impl FailureReason {
    /// The status code on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::ProcessingFailure => 0x0110,
            Self::SopClassNotSupported => 0x0122,
            Self::NotAuthorized => 0x0124,
            Self::OutOfResources => 0xA700,
            Self::DataSetDoesNotMatchSopClass => 0xA900,
            Self::CannotUnderstand => 0xC000,
        }
    }
}

/// What is wrong with the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// The stream is no DICOM: neither a preamble nor anything that reads like a dataset.
    NotDicom,
    /// The stream ends inside an element, which needs `missing_bytes` more (or more than that).
    Truncated {
        /// Bytes that the open element still lacks.
        missing_bytes: u64,
    },
    /// An element, item or sequence claims to go beyond what holds it.
    LengthBeyondEnd {
        /// Bytes the element claims.
        claimed_bytes: u64,
        /// Bytes that remain in its item, its sequence or the stream.
        remaining_bytes: u64,
    },
    /// More sequences nested than allowed.
    TooDeep,
    /// More elements than allowed.
    TooManyElements,
    /// More fragments than allowed.
    TooManyFragments,
    /// More bytes outside the pixel payload than allowed.
    HeaderTooLarge,
    /// More bytes than allowed.
    InstanceTooLarge,
    /// The deflated dataset grows more than allowed.
    InflateBomb,
    /// The deflated dataset is no deflate stream (RFC 1951).
    BadDeflate,
    /// The attribute that identifies the instance is missing or empty.
    MissingIdentity,
    /// The attribute that identifies the instance comes again after the pixel data, with another value.
    AmbiguousIdentity,
    /// The attribute holds no UID.
    BadUid,
    /// The SOP Class has no patient and study (PS3.4 annex GG) or is a media directory.
    UnsupportedSopClass,
    /// A sequence holds something other than items, or an item or delimiter stands where none may.
    BadSequence,
    /// An item of encapsulated pixel data has no length, or is no item.
    BadFragment,
    /// Memory for the object is not to be had.
    OutOfMemory,
}

/// Why an object is refused, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// What the sender is told.
    pub reason: FailureReason,
    /// What is wrong.
    pub kind: RejectionKind,
    /// The element concerned.
    pub tag: Option<Tag>,
    /// Where the element starts, in bytes from the start of the stream. In a deflated dataset: bytes before the dataset
    /// plus inflated bytes.
    pub offset: u64,
}

impl Rejection {
    /// A rejection with the reason that goes with its kind.
    pub(crate) fn new(kind: RejectionKind, tag: Option<Tag>, offset: u64) -> Self {
        use RejectionKind as K;
        let reason = match kind {
            K::NotDicom
            | K::Truncated { .. }
            | K::LengthBeyondEnd { .. }
            | K::BadDeflate
            | K::BadUid
            | K::AmbiguousIdentity
            | K::BadSequence
            | K::BadFragment => FailureReason::CannotUnderstand,
            K::TooDeep
            | K::TooManyElements
            | K::TooManyFragments
            | K::HeaderTooLarge
            | K::InstanceTooLarge
            | K::InflateBomb
            | K::OutOfMemory => FailureReason::OutOfResources,
            K::MissingIdentity => FailureReason::DataSetDoesNotMatchSopClass,
            K::UnsupportedSopClass => FailureReason::SopClassNotSupported,
        };
        Self {
            reason,
            kind,
            tag,
            offset,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use RejectionKind as K;
        match self.tag {
            Some((group, element)) => write!(f, "element ({group:04X},{element:04X}) at offset {} ", self.offset)?,
            None => write!(f, "the object at offset {} ", self.offset)?,
        }
        match self.kind {
            K::NotDicom => f.write_str("is not DICOM"),
            K::Truncated { missing_bytes } => write!(f, "is cut off, at least {missing_bytes} bytes are missing"),
            K::LengthBeyondEnd {
                claimed_bytes,
                remaining_bytes,
            } => {
                write!(f, "claims {claimed_bytes} bytes, {remaining_bytes} remain")
            }
            K::TooDeep => f.write_str("is nested too deep"),
            K::TooManyElements => f.write_str("is one element too many"),
            K::TooManyFragments => f.write_str("has too many fragments"),
            K::HeaderTooLarge => f.write_str("makes everything but the pixels larger than allowed"),
            K::InstanceTooLarge => f.write_str("makes the object larger than allowed"),
            K::InflateBomb => f.write_str("inflates more than allowed"),
            K::BadDeflate => f.write_str("is not a deflate stream"),
            K::MissingIdentity => f.write_str("is missing or empty, so the object cannot be identified"),
            K::AmbiguousIdentity => f.write_str("comes twice with different values"),
            K::BadUid => f.write_str("is not a UID"),
            K::UnsupportedSopClass => f.write_str("names a class of objects without patient and study"),
            K::BadSequence => f.write_str("breaks the structure of a sequence"),
            K::BadFragment => f.write_str("breaks the structure of encapsulated pixel data"),
            K::OutOfMemory => f.write_str("needs memory that is not to be had"),
        }
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_name_tag_and_offset() {
        let kind = RejectionKind::LengthBeyondEnd {
            claimed_bytes: 4_294_901_760,
            remaining_bytes: 96,
        };
        let rejection = Rejection::new(kind, Some((0x10, 0x10)), 1234);
        assert_eq!(
            rejection.to_string(),
            "element (0010,0010) at offset 1234 claims 4294901760 bytes, 96 remain"
        );
        assert_eq!(rejection.reason.code(), 0xC000);
    }
}
