//! Column pages: the searchable fields of up to 512 studies, laid out for scanning.
//!
//! Owns the page in memory and its bytes. A page is sealed as a whole by whoever stores it; opened pages live in a
//! bounded cache ([`Page::byte_size`]). Row keys are opaque ([`RowKey`]).
//!
//! Invariants:
//! - a row matches [`CompiledPredicates`] exactly when the same predicates match the attributes that the row was made
//!   from. The one exception: a field longer than [`FIELD_BYTES_MAX`], and the longest ones of a row longer than
//!   [`ROW_BYTES_MAX`], are not kept; the row then always counts as a match, and [`Page::is_exact`] tells that the study
//!   itself must be asked;
//! - so a page has an end: [`ROWS_MAX`] rows are 2 MiB and a little;
//! - keys are unique in a page;
//! - `Debug` shows counts, never values.
//!
//! Bytes, version 1, little endian: version `u8`; number of rows `u16`; the rows' keys, 32 bytes each; when the studies
//! came, `u64` each; then for each column, in the order of [`Column::ALL`]: each row's length as `u16`, then all values without separators, UTF-8. A
//! row's value holds its attribute's values in comparable form (names in lower case), separated by U+001E. A length of
//! 0xFFFF has no bytes and stands for a field that was too long.

mod page;
mod scan;

use dicom_core::VR;
use serde_json::{Map, Value as Json};

use super::matching::comparable_values;

pub use page::{Page, PageError};
pub use scan::CompiledPredicates;

/// Names a row: whatever its owner finds the study by.
pub type RowKey = [u8; ROW_KEY_BYTES];

/// Length of a row's key.
pub const ROW_KEY_BYTES: usize = 32;

/// Most rows in a page.
pub const ROWS_MAX: usize = 512;

/// Longest field that a row keeps, in bytes, all its values together.
pub const FIELD_BYTES_MAX: usize = 4096;

/// Longest row that is kept whole, in bytes, all its fields together.
pub const ROW_BYTES_MAX: usize = 4096;

/// Between the values of one field.
pub(super) const SEPARATOR: char = '\u{1E}';

/// A searchable field of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Column {
    /// Patient's Name (0010,0010).
    PatientName = 0,
    /// Patient ID (0010,0020).
    PatientId = 1,
    /// Accession Number (0008,0050).
    AccessionNumber = 2,
    /// Study Description (0008,1030).
    StudyDescription = 3,
    /// Study Date (0008,0020).
    StudyDate = 4,
    /// Study Time (0008,0030).
    StudyTime = 5,
    /// Modalities in Study (0008,0061).
    ModalitiesInStudy = 6,
    /// Referring Physician's Name (0008,0090).
    ReferringPhysicianName = 7,
    /// Study ID (0020,0010).
    StudyId = 8,
    /// Study Instance UID (0020,000D).
    StudyInstanceUid = 9,
    /// Patient's Birth Date (0010,0030).
    PatientBirthDate = 10,
    /// Patient's Sex (0010,0040).
    PatientSex = 11,
}

/// Number of columns.
pub const NUM_COLUMNS: usize = 12;

impl Column {
    /// All columns, in the order in which a page holds them.
    pub const ALL: [Self; NUM_COLUMNS] = [
        Self::PatientName,
        Self::PatientId,
        Self::AccessionNumber,
        Self::StudyDescription,
        Self::StudyDate,
        Self::StudyTime,
        Self::ModalitiesInStudy,
        Self::ReferringPhysicianName,
        Self::StudyId,
        Self::StudyInstanceUid,
        Self::PatientBirthDate,
        Self::PatientSex,
    ];

    /// The attribute's tag, group × 65536 + element.
    pub const fn tag(self) -> u32 {
        match self {
            Self::PatientName => 0x0010_0010,
            Self::PatientId => 0x0010_0020,
            Self::AccessionNumber => 0x0008_0050,
            Self::StudyDescription => 0x0008_1030,
            Self::StudyDate => 0x0008_0020,
            Self::StudyTime => 0x0008_0030,
            Self::ModalitiesInStudy => 0x0008_0061,
            Self::ReferringPhysicianName => 0x0008_0090,
            Self::StudyId => 0x0020_0010,
            Self::StudyInstanceUid => 0x0020_000D,
            Self::PatientBirthDate => 0x0010_0030,
            Self::PatientSex => 0x0010_0040,
        }
    }

    /// The column that holds an attribute.
    pub fn of_tag(tag: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.tag() == tag)
    }

    fn vr(self) -> VR {
        match self {
            Self::PatientName | Self::ReferringPhysicianName => VR::PN,
            Self::StudyDate | Self::PatientBirthDate => VR::DA,
            Self::StudyTime => VR::TM,
            Self::StudyInstanceUid => VR::UI,
            Self::ModalitiesInStudy | Self::PatientSex => VR::CS,
            Self::PatientId | Self::StudyDescription => VR::LO,
            Self::AccessionNumber | Self::StudyId => VR::SH,
        }
    }
}

/// One study's row.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    key: RowKey,
    came_ms: u64,
    /// `None`: too long to be kept.
    fields: [Option<String>; NUM_COLUMNS],
}

impl Row {
    /// Makes the row of the study whose attributes these are (DICOM JSON Model, computed attributes included).
    pub fn from_attributes(key: RowKey, attributes: &Map<String, Json>) -> Self {
        let fields = Column::ALL.map(|column| {
            let values = comparable_values(attributes.get(&format!("{:08X}", column.tag())), column.vr());
            let mut field = String::new();
            for (number, value) in values.iter().enumerate() {
                if number > 0 {
                    field.push(SEPARATOR);
                }
                field.push_str(value);
                if field.len() > FIELD_BYTES_MAX {
                    return None;
                }
            }
            Some(field)
        });
        let mut row = Self {
            key,
            came_ms: 0,
            fields,
        };
        while row.fields.iter().flatten().map(String::len).sum::<usize>() > ROW_BYTES_MAX {
            let longest = row
                .fields
                .iter_mut()
                .max_by_key(|field| field.as_ref().map(String::len));
            longest.and_then(Option::take);
        }
        row
    }

    /// The row of a study that came then, milliseconds since 1970.
    #[must_use]
    pub fn that_came(self, came_ms: i64) -> Self {
        Self {
            came_ms: u64::try_from(came_ms).unwrap_or(0),
            ..self
        }
    }

    /// The row's key.
    pub fn key(&self) -> RowKey {
        self.key
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row(…)")
    }
}

#[cfg(test)]
mod tests;
