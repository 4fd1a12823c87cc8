//! Writes a DICOMDIR.

use std::collections::{HashMap, HashSet};

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use serde_json::{Map, Value as Json, json};

use super::{MEDIA_STORAGE_DIRECTORY, keys, record_type};
use crate::dicom::from_json::{FromJsonError, Stream, elements};
use crate::dicom::transcode::file_meta;
use crate::dicom::transfer_syntax::TransferSyntax;
use crate::ids::Uid;

/// Most components of a File ID (PS3.10 section 8.2).
pub const FILE_ID_COMPONENTS_MAX: usize = 8;
const COMPONENT_BYTES_MAX: usize = 8;
const FILE_SET_ID_BYTES_MAX: usize = 16;

/// Where the values of offsets stand in a record (see `push`).
const NEXT_AT: usize = 8;
const LOWER_AT: usize = 30;
/// An item's tag and length.
const ITEM_HEADER_BYTES: u64 = 8;

/// One file of the File-set.
#[derive(Clone, Copy)]
pub struct DirectoryEntry<'a> {
    /// Folders and file name: 1 to 8 components of 1 to 8 characters out of `A-Z`, `0-9` and `_`.
    pub file_id: &'a [&'a str],
    /// Transfer Syntax UID of the file.
    pub transfer_syntax: &'a str,
    /// The instance's attributes, DICOM JSON Model. SOP Class, SOP Instance, Study and Series Instance UID must be
    /// there; of the others what the records ask for is taken.
    pub attributes: &'a Map<String, Json>,
}

impl std::fmt::Debug for DirectoryEntry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DirectoryEntry({} attributes)", self.attributes.len())
    }
}

/// Why a directory cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// A File ID is not as PS3.10 section 8.2 wants it.
    #[error("a file id does not have 1 to 8 components of 1 to 8 characters A-Z, 0-9 and _")]
    BadFileId,
    /// Two files have one File ID.
    #[error("a file id occurs twice")]
    DuplicateFileId,
    /// The File-set ID has more than 16 characters, or others than `A-Z`, `0-9` and `_`.
    #[error("the file-set id is not 0 to 16 characters A-Z, 0-9 and _")]
    BadFileSetId,
    /// An attribute that identifies the instance is missing or no UID.
    #[error("attribute ({:04X},{:04X}) is missing or no UID", .0.0, .0.1)]
    BadIdentity((u16, u16)),
    /// An attribute cannot be written.
    #[error(transparent)]
    Attribute(#[from] FromJsonError),
    /// Offsets have 32 bits.
    #[error("the directory is longer than 4 GiB")]
    TooLong,
}

/// A directory, ready to be written.
#[derive(Clone)]
pub struct DirectoryFile {
    /// The file, preamble included.
    pub bytes: Vec<u8>,
    /// Records of all levels.
    pub num_records: usize,
    /// Values that the standard demands and the instances did not have.
    pub num_invented: u32,
}

impl std::fmt::Debug for DirectoryFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "DirectoryFile({} bytes, {} records)",
            self.bytes.len(),
            self.num_records
        )
    }
}

/// Takes files one after the other, in any order, and gives the directory at the end.
#[derive(Default)]
pub struct DirectoryBuilder {
    file_set_id: String,
    records: Vec<Record>,
    /// Records of the root, PATIENT.
    roots: Vec<usize>,
    patients: HashMap<(String, String), usize>,
    /// Studies and series by the record above them.
    below: HashMap<(usize, String), usize>,
    patient_ids: HashSet<String>,
    file_ids: HashSet<String>,
    num_invented: u32,
}

impl std::fmt::Debug for DirectoryBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DirectoryBuilder({} records)", self.records.len())
    }
}

struct Record {
    /// The item's content, offsets zero.
    bytes: Vec<u8>,
    children: Vec<usize>,
}

/// What a record says of its file.
struct FileReference<'a> {
    file_id: String,
    sop_class: &'a Uid,
    sop_instance: &'a Uid,
    transfer_syntax: &'a str,
}

impl DirectoryBuilder {
    /// A directory without files. `file_set_id` is File-set ID (0004,1130), a label for humans; it may be empty.
    pub fn new(file_set_id: &str) -> Result<Self, DirectoryError> {
        if file_set_id.len() > FILE_SET_ID_BYTES_MAX || !file_set_id.bytes().all(is_file_id_character) {
            return Err(DirectoryError::BadFileSetId);
        }
        Ok(Self {
            file_set_id: file_set_id.to_owned(),
            ..Self::default()
        })
    }

    /// Adds a file. After an error, the directory is as it was but may have records without files; give it up.
    pub fn add(&mut self, entry: &DirectoryEntry<'_>) -> Result<(), DirectoryError> {
        let attributes = entry.attributes;
        let file_id = file_id(entry.file_id)?;
        let sop_class = uid(attributes, tags::SOP_CLASS_UID)?;
        let sop_instance = uid(attributes, tags::SOP_INSTANCE_UID)?;
        let study = uid(attributes, tags::STUDY_INSTANCE_UID)?;
        let series = uid(attributes, tags::SERIES_INSTANCE_UID)?;
        if !self.file_ids.insert(file_id.clone()) {
            return Err(DirectoryError::DuplicateFileId);
        }
        let patient = self.patient(attributes, &study)?;
        let study = self.lower(patient, &study, "STUDY", keys::STUDY, attributes)?;
        let series = self.lower(study, &series, "SERIES", keys::SERIES, attributes)?;

        let record_type = record_type(sop_class.as_str(), attributes.contains_key("00280010"));
        let number = self.records[series].children.len() + 1;
        let keys = keys::take(keys::of_record(record_type), attributes, number, &mut self.num_invented);
        let file = FileReference {
            file_id,
            sop_class: &sop_class,
            sop_instance: &sop_instance,
            transfer_syntax: entry.transfer_syntax,
        };
        let index = self.push(record_type, Some(file), &keys)?;
        self.records[series].children.push(index);
        Ok(())
    }

    /// The record of the patient, which is made if need be. Patients are told apart by Patient ID and its issuer; without
    /// an ID nothing says that two studies are one patient's.
    fn patient(&mut self, attributes: &Map<String, Json>, study: &Uid) -> Result<usize, DirectoryError> {
        let text = |tag| match keys::with_value(attributes, tag, "LO") {
            Some(element) => element["Value"][0].as_str().unwrap_or_default().trim().to_owned(),
            None => String::new(),
        };
        let (patient_id, issuer) = (text("00100020"), text("00100021"));
        let key = match patient_id.is_empty() {
            true => (String::new(), study.as_str().to_owned()),
            false => (patient_id.clone(), issuer),
        };
        if let Some(&index) = self.patients.get(&key) {
            return Ok(index);
        }
        let mut keys = keys::take(keys::PATIENT, attributes, 0, &mut self.num_invented);
        let patient_id = if patient_id.is_empty() {
            self.num_invented += 1;
            let mut names = (self.roots.len() + 1..).map(|number| format!("UNKNOWN_{number}"));
            names.find(|name| !self.patient_ids.contains(name)).unwrap_or_default()
        } else {
            patient_id
        };
        keys.insert("00100020".to_owned(), json!({"vr": "LO", "Value": [patient_id]}));
        self.patient_ids.insert(patient_id);
        let index = self.push("PATIENT", None, &keys)?;
        self.patients.insert(key, index);
        self.roots.push(index);
        Ok(index)
    }

    fn lower(
        &mut self,
        upper: usize,
        uid: &Uid,
        record_type: &'static str,
        keys: &[keys::Key],
        attributes: &Map<String, Json>,
    ) -> Result<usize, DirectoryError> {
        let key = (upper, uid.as_str().to_owned());
        if let Some(&index) = self.below.get(&key) {
            return Ok(index);
        }
        let number = self.records[upper].children.len() + 1;
        let keys = keys::take(keys, attributes, number, &mut self.num_invented);
        let index = self.push(record_type, None, &keys)?;
        self.records[upper].children.push(index);
        self.below.insert(key, index);
        Ok(index)
    }

    /// Adds a record: offsets and flag first, so that these stand at known places (PS3.3 section F.3.2.2).
    fn push(
        &mut self,
        record_type: &'static str,
        file: Option<FileReference<'_>>,
        keys: &Map<String, Json>,
    ) -> Result<usize, DirectoryError> {
        let mut stream = Stream::default();
        stream.element(tags::OFFSET_OF_THE_NEXT_DIRECTORY_RECORD, VR::UL, &[0; 4]);
        stream.element(tags::RECORD_IN_USE_FLAG, VR::US, &[0xFF; 2]);
        stream.element(tags::OFFSET_OF_REFERENCED_LOWER_LEVEL_DIRECTORY_ENTITY, VR::UL, &[0; 4]);
        stream.element(tags::DIRECTORY_RECORD_TYPE, VR::CS, record_type.as_bytes());
        if let Some(file) = file {
            let uids = [
                (tags::REFERENCED_SOP_CLASS_UID_IN_FILE, file.sop_class.as_str()),
                (tags::REFERENCED_SOP_INSTANCE_UID_IN_FILE, file.sop_instance.as_str()),
                (tags::REFERENCED_TRANSFER_SYNTAX_UID_IN_FILE, file.transfer_syntax),
            ];
            stream.element(tags::REFERENCED_FILE_ID, VR::CS, file.file_id.as_bytes());
            for (tag, uid) in uids {
                stream.element(tag, VR::UI, uid.as_bytes());
            }
        }
        let mut bytes = stream.into_bytes();
        bytes.extend_from_slice(&elements(keys)?);
        self.records.push(Record {
            bytes,
            children: Vec::new(),
        });
        Ok(self.records.len() - 1)
    }

    /// The directory. `file_set_uid` is the SOP Instance UID of the directory, which identifies the File-set.
    pub fn finish(self, file_set_uid: &str) -> Result<DirectoryFile, DirectoryError> {
        let mut bytes = file_meta(TransferSyntax::EXPLICIT_LITTLE, MEDIA_STORAGE_DIRECTORY, file_set_uid);
        let num_records = self.records.len();
        let length: u64 = self
            .records
            .iter()
            .map(|record| record.bytes.len() as u64 + ITEM_HEADER_BYTES)
            .sum();

        // The elements before the sequence have the same length whatever the offsets are.
        let head = |first: u32, last: u32| {
            let mut stream = Stream::default();
            stream.element(tags::FILE_SET_ID, VR::CS, self.file_set_id.as_bytes());
            stream.element(
                tags::OFFSET_OF_THE_FIRST_DIRECTORY_RECORD_OF_THE_ROOT_DIRECTORY_ENTITY,
                VR::UL,
                &first.to_le_bytes(),
            );
            stream.element(
                tags::OFFSET_OF_THE_LAST_DIRECTORY_RECORD_OF_THE_ROOT_DIRECTORY_ENTITY,
                VR::UL,
                &last.to_le_bytes(),
            );
            stream.element(tags::FILE_SET_CONSISTENCY_FLAG, VR::US, &[0; 2]);
            let mut head = stream.into_bytes();
            head.extend_from_slice(b"\x04\0\x20\x12SQ\0\0");
            head.extend_from_slice(&(length as u32).to_le_bytes());
            head
        };
        let records_start = (bytes.len() + head(0, 0).len()) as u64;
        if records_start + length >= u64::from(u32::MAX) {
            return Err(DirectoryError::TooLong);
        }

        let order = depth_first(&self.roots, &self.records);
        let mut offsets = vec![0_u32; num_records];
        let mut at = records_start;
        for &index in &order {
            offsets[index] = at as u32;
            at += self.records[index].bytes.len() as u64 + ITEM_HEADER_BYTES;
        }
        let offset = |index: Option<&usize>| index.map_or(0, |&index| offsets[index]);
        let mut next = vec![0_u32; num_records];
        for siblings in self.records.iter().map(|record| &record.children).chain([&self.roots]) {
            for pair in siblings.windows(2) {
                next[pair[0]] = offsets[pair[1]];
            }
        }

        bytes.reserve(length as usize + 256);
        bytes.extend(head(offset(self.roots.first()), offset(self.roots.last())));
        for index in order {
            let record = &self.records[index];
            bytes.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
            bytes.extend_from_slice(&(record.bytes.len() as u32).to_le_bytes());
            let start = bytes.len();
            bytes.extend_from_slice(&record.bytes);
            let lower = offset(record.children.first());
            for (at, value) in [(NEXT_AT, next[index]), (LOWER_AT, lower)] {
                bytes[start + at..start + at + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        Ok(DirectoryFile {
            bytes,
            num_records,
            num_invented: self.num_invented,
        })
    }
}

/// Every record before the records below it, siblings in the order in which they came.
fn depth_first(roots: &[usize], records: &[Record]) -> Vec<usize> {
    let mut order = Vec::with_capacity(records.len());
    let mut open: Vec<usize> = roots.iter().rev().copied().collect();
    while let Some(index) = open.pop() {
        order.push(index);
        open.extend(records[index].children.iter().rev());
    }
    order
}

fn is_file_id_character(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}

/// The File ID as one value, components separated by backslashes.
fn file_id(components: &[&str]) -> Result<String, DirectoryError> {
    let is_good = |component: &&str| {
        (1..=COMPONENT_BYTES_MAX).contains(&component.len()) && component.bytes().all(is_file_id_character)
    };
    if !(1..=FILE_ID_COMPONENTS_MAX).contains(&components.len()) || !components.iter().all(is_good) {
        return Err(DirectoryError::BadFileId);
    }
    Ok(components.join("\\"))
}

fn uid(attributes: &Map<String, Json>, tag: Tag) -> Result<Uid, DirectoryError> {
    let element = attributes.get(&format!("{:04X}{:04X}", tag.0, tag.1));
    let text = element.and_then(|element| element.get("Value")?.get(0)?.as_str());
    text.and_then(|text| Uid::parse(text).ok())
        .ok_or(DirectoryError::BadIdentity((tag.0, tag.1)))
}
