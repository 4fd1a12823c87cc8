//! What can be wrong with metadata, and what is changed without refusing it.

use crate::dicom::rejection::FailureReason;

/// Why no stream can be made of the metadata: the sender's fault. Names where, never what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("attribute {}: {kind}", if .path.is_empty() { "of the instance" } else { .path })]
pub struct FromJsonError {
    /// Tags and item numbers (from 0) by turns, as in `54000100/0/54001010`; empty for the instance as a whole.
    pub path: String,
    /// What is wrong there.
    pub kind: FromJsonErrorKind,
}

impl FromJsonError {
    pub(super) fn new(path: String, kind: FromJsonErrorKind) -> Self {
        Self { path, kind }
    }

    /// The failure reason for the sender (PS3.18 table I.2-2).
    pub fn reason(&self) -> FailureReason {
        use FromJsonErrorKind as Kind;
        match self.kind {
            Kind::TooDeep | Kind::TooManyElements | Kind::BulkTooLong => FailureReason::OutOfResources,
            Kind::MissingIdentity => FailureReason::DataSetDoesNotMatchSopClass,
            _ => FailureReason::CannotUnderstand,
        }
    }
}

/// What is wrong with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FromJsonErrorKind {
    /// A member of this dataset is not named by eight hexadecimal digits.
    #[error("a member is not named by a tag of eight hexadecimal digits")]
    BadTag,
    /// Two members of this dataset are the same tag, in upper and lower case.
    #[error("a tag occurs twice")]
    DuplicateTag,
    /// An attribute or an item is no JSON object.
    #[error("not a JSON object")]
    NotAnObject,
    /// `vr` is missing or none of PS3.5 section 6.2.
    #[error("the vr is missing or unknown")]
    BadVr,
    /// The value does not fit the VR (PS3.18 table F.2.3-1).
    #[error("the value does not fit the vr")]
    BadValue,
    /// `InlineBinary` is not base64.
    #[error("InlineBinary is not base64")]
    BadBase64,
    /// More than one of `Value`, `InlineBinary` and `BulkDataURI`.
    #[error("more than one of Value, InlineBinary and BulkDataURI")]
    SeveralValues,
    /// No bulk data was sent for the `BulkDataURI`.
    #[error("no bulk data for the BulkDataURI")]
    BulkMissing,
    /// Bulk data whose length must be known before it is written, and is not.
    #[error("the length of the bulk data is not known")]
    BulkLengthUnknown,
    /// Bulk data longer than the 32-bit length of an element or fragment.
    #[error("the bulk data is longer than 4 GiB")]
    BulkTooLong,
    /// Compressed bulk data for an attribute other than Pixel Data, or items of an odd length.
    #[error("compressed bulk data where none can be")]
    NotPixels,
    /// The transfer syntax of the bulk data is unknown, or none for compressed pixels.
    #[error("the transfer syntax of the bulk data is not supported")]
    UnsupportedTransferSyntax,
    /// Two pixel data elements in transfer syntaxes that do not go together.
    #[error("pixels in two transfer syntaxes")]
    TransferSyntaxesDiffer,
    /// SOP Class UID or SOP Instance UID is missing.
    #[error("missing or empty")]
    MissingIdentity,
    /// SOP Class UID or SOP Instance UID is no UID.
    #[error("not a UID")]
    BadUid,
    /// Items nest deeper than 64 levels.
    #[error("nests deeper than 64 items")]
    TooDeep,
    /// More than 2 000 000 elements and items.
    #[error("more than 2000000 elements")]
    TooManyElements,
}

/// What was changed on the way. Each has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FromJsonWarning {
    /// Specific Character Set claimed something else than `ISO_IR 192`, which JSON is always in.
    CharacterSet,
    /// A group length was dropped.
    GroupLength,
    /// File meta or command elements, or delimiters, were dropped.
    NotOfTheDataset,
    /// An offset table was dropped.
    OffsetTable,
    /// A number did not fit the 16 characters of a Decimal String and was rounded.
    DecimalRounded,
    /// A value too long for its VR was written as UN.
    LongValueAsUnknown,
}

impl FromJsonWarning {
    /// The warning's name, for logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CharacterSet => "CharacterSet",
            Self::GroupLength => "GroupLength",
            Self::NotOfTheDataset => "NotOfTheDataset",
            Self::OffsetTable => "OffsetTable",
            Self::DecimalRounded => "DecimalRounded",
            Self::LongValueAsUnknown => "LongValueAsUnknown",
        }
    }
}
