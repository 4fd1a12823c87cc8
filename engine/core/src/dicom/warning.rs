//! Leniencies: what is wrong with an object that is stored nevertheless, verbatim. Every leniency has a name.

use serde::{Deserialize, Serialize};

macro_rules! warnings {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A leniency that the splitter granted. Each is reported at most once per instance.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Warning {
            $($(#[$doc])* $name,)+
        }

        impl Warning {
            /// The leniency's name, for logs and reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

warnings! {
    /// The stream starts without the 128-byte preamble and the prefix `DICM` (PS3.10 section 7.1).
    NoPreamble,
    /// There is no file meta information.
    NoFileMeta,
    /// File Meta Information Group Length (0002,0000) is missing or wrong.
    FileMetaGroupLength,
    /// The file meta is encoded as Implicit VR.
    FileMetaImplicit,
    /// Transfer Syntax UID (0002,0010) is missing; the encoding was guessed from the first element.
    TransferSyntaxGuessed,
    /// The transfer syntax is not one of PS3.6 table A-1.
    UnknownTransferSyntax,
    /// The dataset's encoding contradicts its transfer syntax.
    EncodingContradictsTransferSyntax,
    /// Media Storage SOP Instance UID (0002,0003) differs from SOP Instance UID (0008,0018); the latter counts.
    InstanceUidDiffersFromMeta,
    /// Media Storage SOP Class UID (0002,0002) differs from SOP Class UID (0008,0016); the latter counts.
    SopClassDiffersFromMeta,
    /// A UID has leading zeros or empty components (PS3.5 section 9.1).
    NonConformantUid,
    /// A value has an odd length (PS3.5 section 7.1.1).
    OddLength,
    /// Elements are not in ascending order of their tags.
    TagsOutOfOrder,
    /// An element of the outermost level occurs twice; the last one counts.
    DuplicateTag,
    /// A value representation that PS3.5 does not know; read as unknown, with a 32-bit length.
    UnknownValueRepresentation,
    /// A sequence of unknown VR holds explicit instead of implicit VR (PS3.5 section 6.2.2).
    ExplicitInsideUnknown,
    /// A value of undefined length whose VR does not allow it.
    UndefinedLengthValue,
    /// The stream ends before open sequences and items are delimited.
    MissingDelimiters,
    /// A delimiter stands where nothing is open.
    StrayDelimiter,
    /// Bytes that are no elements follow the dataset.
    TrailingBytes,
    /// Bytes follow the end of the deflate stream; they are not kept.
    BytesAfterDeflate,
    /// The deflated dataset is wrapped in a zlib header (RFC 1950).
    ZlibWrapped,
    /// Pixel data stands before the attributes that identify the instance.
    PixelsBeforeIdentity,
    /// A second pixel data element; kept with the header.
    SecondPixelElement,
    /// Rows, Columns, Samples per Pixel or Bits Allocated is missing or senseless.
    MissingPixelDescription,
    /// Bits Stored or High Bit does not fit Bits Allocated.
    OddBits,
    /// Number of Frames (0028,0008) is no positive number; taken as 1.
    BadNumberOfFrames,
    /// The pixel data is shorter than its description says.
    PixelsShorterThanDescribed,
    /// The pixel data is longer than its description says, by more than padding.
    PixelsLongerThanDescribed,
    /// Rows and Columns describe pixels, but there is no pixel element.
    MissingPixelData,
    /// The pixel element is empty.
    EmptyPixelData,
    /// Native pixel data under a transfer syntax for encapsulated pixel data.
    NativeUnderEncapsulated,
    /// Encapsulated pixel data under a transfer syntax for native pixel data.
    EncapsulatedUnderNative,
    /// The first item of the encapsulated pixel data is no Basic Offset Table (PS3.5 section A.4).
    MissingOffsetTable,
    /// The Basic Offset Table does not point at fragments.
    BadOffsetTable,
    /// Encapsulated pixel data ends without a sequence delimiter.
    MissingPixelDelimiter,
    /// The sequence delimiter of the pixel data has a length other than zero.
    PixelDelimiterLength,
    /// The fragments cannot be assigned to frames, so single frames cannot be served.
    FramesNotLocated,
}

/// Warnings in the order of their first occurrence, each once.
#[derive(Debug, Default, Clone)]
pub(super) struct Warnings(Vec<Warning>);

impl Warnings {
    pub(super) fn add(&mut self, warning: Warning) {
        if !self.0.contains(&warning) {
            self.0.push(warning);
        }
    }

    pub(super) fn into_vec(self) -> Vec<Warning> {
        self.0
    }
}
