//! The Native DICOM Model in XML (PS3.19 annex A.1), `application/dicom+xml` (PS3.18 section 8.7.3.2).
//!
//! Owns the mapping between DICOM JSON Model and XML, both ways; the JSON is that of [`super::json`].
//!
//! | JSON | XML |
//! |---|---|
//! | member `ggggeeee` | `DicomAttribute` with `tag`, `vr`, and `keyword` where PS3.6 knows one |
//! | `Value` | `Value`, `PersonName` or `Item`, `number` from 1; a `null` is an empty one |
//! | a person's component group | `FamilyName`, `GivenName`, `MiddleName`, `NamePrefix`, `NameSuffix` |
//! | `InlineBinary` | `InlineBinary` |
//! | `BulkDataURI` | `BulkData` with `uri` |
//! | a private attribute whose block is reserved in the same dataset | its `tag` with block 00, and `privateCreator` |
//!
//! Invariants:
//! - JSON to XML to JSON gives the same JSON, but for characters that XML 1.0 cannot hold (FF among them), which become
//!   U+FFFD, and `null` items, which become empty ones;
//! - depth and number of what is read are bounded before memory grows (invariant 6); document type declarations and
//!   entities other than the five of XML itself are refused;
//! - errors name a path of tags and item numbers and an offset, never a value.

mod names;
mod place;
mod read;
mod value;
mod write;

pub use read::{XmlError, XmlErrorKind, XmlLimits, from_xml};
pub use write::{WriteError, to_xml, write_xml};

/// The media type of one document (PS3.18 section 8.7.3.2).
pub const MEDIA_TYPE: &str = "application/dicom+xml";

/// The namespace of the Native DICOM Model (PS3.19 section A.1.6).
pub const NAMESPACE: &str = "http://dicom.nema.org/PS3.19/models/NativeDICOM";

#[cfg(test)]
mod tests;
