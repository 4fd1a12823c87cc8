//! The directory of a File-set: DICOMDIR (PS3.3 annex F, PS3.10 sections 7 and 8).
//!
//! Owns the Media Storage Directory that is put beside exported files, and the list of files of one that somebody
//! sends.
//!
//! | level | record types |
//! |---|---|
//! | root | PATIENT |
//! | below PATIENT | STUDY |
//! | below STUDY | SERIES |
//! | below SERIES | IMAGE, SR DOCUMENT, PRESENTATION and what else [`record_type`] knows |
//!
//! Invariants:
//! - records stand depth first; offsets count from the first byte of the file's preamble, as PS3.3 section F.2.2 says;
//! - keys of type 1 have a value: one that is missing is made up and counted ([`DirectoryFile::num_invented`]);
//! - patients whose issuers differ, and studies without a Patient ID, never share a PATIENT record (invariant 10);
//! - memory is that of the records;
//! - when reading, offsets are not followed: every record of the one sequence that holds them all is looked at once, so
//!   no offset can lead astray or in circles, and every name that comes out is safe to join to a folder.

mod build;
mod keys;
mod read;
mod record_type;

pub use build::{DirectoryBuilder, DirectoryEntry, DirectoryError, DirectoryFile, FILE_ID_COMPONENTS_MAX};
pub use read::{DirectoryFiles, DirectoryReadError, files};
pub use record_type::record_type;

/// Media Storage Directory Storage (PS3.4 section I.4).
pub const MEDIA_STORAGE_DIRECTORY: &str = "1.2.840.10008.1.3.10";

#[cfg(test)]
mod tests;
