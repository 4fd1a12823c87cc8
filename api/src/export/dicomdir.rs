//! What the directory of the medium says of each instance, and the directory itself (PS3.3 annex F, PS3.10 section 8.6).
//!
//! Owns which attributes are kept for it: the keys of directory records (PS3.3 section F.5) and what viewers like to
//! find there. They are little, so that an export of many instances stays in memory.

use std::io::Read as _;

use bytes::Bytes;
use septum_core::dicom::TransferSyntax;
use septum_core::dicom::attributes::{Encoding, Header};
use septum_core::dicom::dicomdir::DirectoryBuilder;
use septum_core::dicom::json::{JsonOptions, to_json};
use serde_json::{Map, Value as Json};

/// File-set ID (0004,1130): a label for humans.
const FILE_SET_ID: &str = "SEPTUM_EXPORT";

/// Attributes for the directory, in the order of their tags.
const KEYS: [&str; 61] = [
    "00080008", "00080012", "00080013", "00080016", "00080018", "00080020", "00080021", "00080022", "00080023",
    "00080030", "00080031", "00080032", "00080033", "00080050", "00080060", "00080080", "00081030", "0008103E",
    "00081115", "00089092", "00100010", "00100020", "00100021", "00100030", "00100040", "0020000D", "0020000E",
    "00200010", "00200011", "00200013", "00280008", "00280010", "00280011", "00289001", "00289002", "0040A030",
    "0040A043", "0040A491", "0040A493", "0040A730", "0040E001", "00420010", "00420012", "00700080", "00700081",
    "00700082", "00700083", "00700084", "00700402", "30040006", "3004000A", "30060002", "30060008", "30060009",
    "300A0002", "300A0006", "300A0007", "30080250", "30080251", "30100033", "30100034",
];

/// Content Sequence: all of a document, of which the directory wants what modifies its title (PS3.3 table F.5-24).
const CONTENT: &str = "0040A730";

/// How much of a file is read again for the directory. The keys stand before what is large.
pub(super) const BEGINNING_BYTES: u64 = 1 << 20;

/// What the directory says of an instance. Patient data.
#[derive(Clone, Default)]
pub(super) struct Listed {
    /// Transfer Syntax UID, for Referenced Transfer Syntax UID in File (0004,1512).
    pub(super) transfer_syntax: String,
    /// The instance's attributes as DICOM JSON (PS3.18 annex F), as far as the directory needs them.
    pub(super) attributes: Map<String, Json>,
}

/// A file of the file-set.
pub(super) struct DirectoryEntry {
    /// Components of its File ID (PS3.10 section 8.2).
    pub(super) file_id: Vec<String>,
    /// What is said of it.
    pub(super) listed: Listed,
}

/// Picks what the directory needs out of a dataset.
pub(super) fn listed(elements: Bytes, encoding: Encoding, transfer_syntax: &str) -> Listed {
    let mut attributes = match Header::from_bytes(elements, encoding) {
        Ok(header) => to_json(&header, &JsonOptions::default()),
        Err(_) => Map::new(),
    };
    attributes.retain(|tag, _| KEYS.contains(&tag.as_str()));
    if let Some(items) = attributes
        .get_mut(CONTENT)
        .and_then(|content| content.get_mut("Value")?.as_array_mut())
    {
        items.retain(|item| item["0040A010"]["Value"][0] == "HAS CONCEPT MOD");
    }
    Listed {
        transfer_syntax: transfer_syntax.to_owned(),
        attributes,
    }
}

/// The same from the beginning of a file.
pub(super) fn listed_from_beginning(bytes: &[u8]) -> Listed {
    let (transfer_syntax, elements) = after_meta(bytes);
    let syntax = TransferSyntax::of(&transfer_syntax);
    let elements = match syntax.is_deflated() {
        true => {
            let mut inflated = Vec::new();
            // What comes before the input is cut off is what is wanted.
            let _ = flate2::read::DeflateDecoder::new(elements)
                .take(BEGINNING_BYTES)
                .read_to_end(&mut inflated);
            Bytes::from(inflated)
        }
        false => Bytes::copy_from_slice(elements),
    };
    listed(elements, syntax.encoding().into(), &transfer_syntax)
}

/// Transfer syntax and dataset. The file meta ends where the group is no more 0002 (PS3.10 section 7.1).
fn after_meta(bytes: &[u8]) -> (String, &[u8]) {
    let start = if bytes.get(128..132) == Some(b"DICM") { 132 } else { 0 };
    let mut rest = bytes.get(start..).unwrap_or_default();
    let mut transfer_syntax = String::new();
    while let [2, 0, e0, e1, v0, v1, l0, l1, ..] = *rest {
        let is_long = matches!(&[v0, v1], b"OB" | b"OW" | b"UN" | b"UT" | b"SQ");
        let (header, length): (usize, usize) = match (is_long, rest.get(8..12)) {
            (true, Some(&[a, b, c, d])) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
            _ => (8, usize::from(u16::from_le_bytes([l0, l1]))),
        };
        let Some(value) = header.checked_add(length).and_then(|end| rest.get(header..end)) else {
            break;
        };
        if [e0, e1] == [0x10, 0] {
            transfer_syntax = String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned();
        }
        rest = &rest[header + length..];
    }
    (transfer_syntax, rest)
}

/// The DICOMDIR of a file-set, its records in the order of the entries.
///
/// # Errors
/// Why there can be none.
pub(super) fn build(entries: &[DirectoryEntry]) -> Result<Vec<u8>, String> {
    let mut builder = DirectoryBuilder::new(FILE_SET_ID).map_err(|error| error.to_string())?;
    for entry in entries {
        let file_id: Vec<&str> = entry.file_id.iter().map(String::as_str).collect();
        let entry = septum_core::dicom::dicomdir::DirectoryEntry {
            file_id: &file_id,
            transfer_syntax: &entry.listed.transfer_syntax,
            attributes: &entry.listed.attributes,
        };
        builder.add(&entry).map_err(|error| error.to_string())?;
    }
    builder
        .finish(septum_core::ids::Uid::random().as_str())
        .map(|file| file.bytes)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: (u16, u16), vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        bytes.extend_from_slice(vr);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend_from_slice(value);
        bytes
    }

    #[test]
    fn the_beginning_of_a_file_is_enough() {
        let dataset = [
            element((0x0008, 0x0018), b"UI", b"1.2.3\0"),
            element((0x0008, 0x0070), b"LO", b"NOT FOR IT"),
            element((0x0010, 0x0020), b"LO", b"42"),
            b"\xE0\x7F\x10\0OW\0\0\0\0\0\x01and so on".to_vec(),
        ]
        .concat();
        let check = |syntax: &[u8], dataset: &[u8]| {
            let meta = element((2, 0x10), b"UI", syntax);
            let file = [&[0; 128], b"DICM".as_slice(), &meta, dataset].concat();
            let listed = listed_from_beginning(&file);
            assert_eq!(
                listed.transfer_syntax.as_bytes(),
                syntax.trim_ascii_end().strip_suffix(b"\0").unwrap_or(syntax)
            );
            let tags: Vec<&str> = listed.attributes.keys().map(String::as_str).collect();
            assert_eq!(tags, ["00080018", "00100020"]);
        };
        check(b"1.2.840.10008.1.2.1\0", &dataset);
        let mut deflated = Vec::new();
        flate2::read::DeflateEncoder::new(dataset.as_slice(), flate2::Compression::fast())
            .read_to_end(&mut deflated)
            .expect("deflates");
        check(b"1.2.840.10008.1.2.1.99", &deflated[..deflated.len() - 3]);
    }

    #[test]
    fn no_prefix_panics() {
        let file = [
            vec![0; 128],
            b"DICM".to_vec(),
            element((2, 0x10), b"UI", b"1.2"),
            vec![2, 0, 1, 0, b'O', b'B'],
        ]
        .concat();
        for end in 0..file.len() {
            listed_from_beginning(&file[..end]);
        }
    }
}
