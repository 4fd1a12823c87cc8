//! DICOM objects, cut in two and put together again.
//!
//! - [`Splitter`] takes a Part 10 stream in pieces of any size and gives *header bytes* ([`HeaderBytes`]: everything but
//!   the pixels, verbatim), *pixel units* and a [`PixelLayout`]; [`Merger`] writes the stream back byte for byte.
//! - [`attributes`], [`json`] and [`transcode`] read header bytes: as values, as DICOM JSON, in another encoding.
//!
//! Invariants: exact merge (4); every limit of [`SplitLimits`] holds before memory grows (6); strict on identity and
//! bounds, lenient beyond, and every leniency has a name ([`Warning`]). Nothing here prints patient data.

mod dataset;
mod description;
mod dictionary;
mod file_meta;
mod frames;
mod header_bytes;
mod inflate;
mod instance;
mod layout;
mod limits;
mod long_value;
mod merge;
mod rejection;
mod slots;
mod splitter;
mod transfer_syntax;
mod units;
mod vr;
mod walker;
mod warning;

#[cfg(test)]
mod builder;
#[cfg(test)]
mod tests;

pub mod attributes;
pub mod correct;
pub mod dicomdir;
pub mod edit;
pub mod from_json;
pub mod json;
pub mod transcode;
pub mod xml;

pub use description::refused_sop_classes;
pub use dictionary::{keyword_of, tag_of};
pub use header_bytes::{HeaderBytes, HeaderBytesError};
pub use instance::{
    Identity, InstanceStart, PixelDescription, PixelElement, PixelUnit, SplitEvent, SplitInstance, UnitKind, ValueUnit,
};
pub use layout::{FrameRange, LayoutError, PixelLayout};
pub use limits::SplitLimits;
pub use long_value::{LongValue, VALUE_UNIT_BYTES, units_of};
pub use merge::{MergeError, Merger, Piece};
pub use rejection::{FailureReason, Rejection, RejectionKind, Tag};
pub use splitter::Splitter;
pub use transfer_syntax::{Encoding, TransferSyntax};
pub use warning::Warning;

impl From<Encoding> for attributes::Encoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::ImplicitLittle => Self::ImplicitLittle,
            Encoding::ExplicitLittle => Self::ExplicitLittle,
            Encoding::ExplicitBig => Self::ExplicitBig,
        }
    }
}
