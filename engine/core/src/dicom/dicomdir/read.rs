//! Which files a DICOMDIR refers to.

use std::collections::HashSet;

use bytes::Bytes;
use dicom_dictionary_std::tags;

use crate::dicom::attributes::{Dataset, Element, Header, HeaderError, Value};
use crate::dicom::file_meta::MetaReader;
use crate::dicom::limits::SplitLimits;
use crate::dicom::rejection::Rejection;
use crate::dicom::warning::Warnings;

/// Most components of a File ID that are taken. The standard has 8.
const COMPONENTS_MAX: usize = 32;
/// Longest component, in bytes. The standard has 8; writers that do not care put long names.
const COMPONENT_BYTES_MAX: usize = 255;

/// The files of a File-set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DirectoryFiles {
    /// Folders and file name of each file, in the order of the records, each file once. Every component is safe to
    /// join to a folder: not empty, not `.` or `..`, without separators, drive letters and control characters. Case is
    /// as written; media often have the other one.
    pub files: Vec<Vec<String>>,
    /// Records whose File ID is not safe or not text; their files are left out.
    pub num_refused: usize,
    /// Bytes at the end that could not be read; the records in them are not known.
    pub unread_bytes: usize,
}

impl std::fmt::Debug for DirectoryFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "DirectoryFiles({} files, {} refused)",
            self.files.len(),
            self.num_refused
        )
    }
}

/// Why a DICOMDIR cannot be read: the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryReadError {
    /// No DICOM, or damaged before the dataset.
    #[error(transparent)]
    Stream(#[from] Rejection),
    /// The dataset crosses a limit.
    #[error(transparent)]
    Dataset(#[from] HeaderError),
    /// There is no Directory Record Sequence (0004,1220).
    #[error("there is no directory record sequence (0004,1220)")]
    NoDirectory,
}

/// Lists the files of a whole DICOMDIR in any of the plain transfer syntaxes, with or without file meta information.
/// Inactive records (PS3.3 section F.3.2.2) are passed over. Memory is a small multiple of `bytes`, whose length the
/// caller bounds.
pub fn files(bytes: &[u8]) -> Result<DirectoryFiles, DirectoryReadError> {
    let limits = SplitLimits::default();
    let mut warnings = Warnings::default();
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut reader = MetaReader::default();
    let (meta, start) = match reader.push(&mut rest, &limits, &mut warnings)? {
        Some(read) => read,
        None => reader.finish(&limits, &mut warnings)?,
    };
    let dataset = if rest.is_empty() {
        start
    } else {
        [start, rest].concat().into()
    };
    let encoding = meta
        .transfer_syntax
        .map_or(crate::dicom::Encoding::ExplicitLittle, |transfer_syntax| {
            transfer_syntax.encoding()
        });
    let header = Header::from_bytes(dataset, encoding.into())?;
    let records = header.get(tags::DIRECTORY_RECORD_SEQUENCE);
    let Some(Element {
        value: Value::Items(records),
        ..
    }) = records
    else {
        return Err(DirectoryReadError::NoDirectory);
    };

    let mut found = DirectoryFiles {
        unread_bytes: header.unread_bytes(),
        ..DirectoryFiles::default()
    };
    let mut seen = HashSet::new();
    for record in records.iter().filter(|record| is_active(record)) {
        let Some(element) = record.get(tags::REFERENCED_FILE_ID) else {
            continue;
        };
        let text = element.text(&crate::dicom::attributes::CharacterSets::default());
        let text = text
            .as_deref()
            .map(|text| text.trim_matches([' ', '\0']))
            .unwrap_or_default();
        let is_empty = matches!(&element.value, Value::Bytes(bytes) if bytes.is_empty());
        if is_empty {
            continue;
        }
        match components(text) {
            Some(components) => {
                if seen.insert(components.clone()) {
                    found.files.push(components);
                }
            }
            None => found.num_refused += 1,
        }
    }
    Ok(found)
}

/// Record In-use Flag 0 says that a record is to be ignored; anything else, and no flag, that it counts.
fn is_active(record: &Dataset) -> bool {
    record
        .get(tags::RECORD_IN_USE_FLAG)
        .is_none_or(|flag| flag.little_endian_bytes().first_chunk() != Some(&[0, 0]))
}

/// The components, if all of them are safe.
fn components(file_id: &str) -> Option<Vec<String>> {
    let components: Vec<_> = file_id
        .split('\\')
        .take(COMPONENTS_MAX + 1)
        .map(|component| component.trim_matches([' ', '\0']).to_owned())
        .collect();
    let is_safe = |component: &String| {
        !matches!(component.as_str(), "" | "." | "..")
            && component.len() <= COMPONENT_BYTES_MAX
            && !component
                .contains(|c: char| c.is_control() || matches!(c, '/' | '\\' | ':' | char::REPLACEMENT_CHARACTER))
    };
    (components.len() <= COMPONENTS_MAX && components.iter().all(is_safe)).then_some(components)
}
