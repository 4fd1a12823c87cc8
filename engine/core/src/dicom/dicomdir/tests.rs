//! Golden bytes, offsets that lead everywhere, and directories of others.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::dicom::FailureReason;
use crate::dicom::attributes::{Encoding, Header};
use crate::dicom::json::{JsonOptions, to_json};

const FILE_SET_UID: &str = "1.2.99";

fn instance(patient: &str, study: &str, series: &str, instance: &str, more: Json) -> Map<String, Json> {
    let json = json!({
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080018": {"vr": "UI", "Value": [instance]},
        "00100020": {"vr": "LO", "Value": [patient]},
        "0020000D": {"vr": "UI", "Value": [study]},
        "0020000E": {"vr": "UI", "Value": [series]},
    });
    let mut all = json.as_object().expect("an object").clone();
    all.extend(more.as_object().expect("an object").clone());
    all
}

/// A directory of instances, whose files are called `DIR\F0`, `DIR\F1` and so on.
fn directory(instances: &[Map<String, Json>]) -> DirectoryFile {
    let mut builder = DirectoryBuilder::new("SET_1").expect("an id");
    for (number, attributes) in instances.iter().enumerate() {
        let name = format!("F{number}");
        let entry = DirectoryEntry {
            file_id: &["DIR", &name],
            transfer_syntax: "1.2.840.10008.1.2.1",
            attributes,
        };
        builder.add(&entry).expect("added");
    }
    builder.finish(FILE_SET_UID).expect("written")
}

/// One line a record, indented by level, as the offsets lead to it: type and the named keys.
fn tree(file: &[u8], keys: &[&str]) -> Vec<String> {
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
    let record = |offset: usize| {
        assert_eq!(file[offset..offset + 4], [0xFE, 0xFF, 0, 0xE0], "an item");
        let item = &file[offset + 8..offset + 8 + u32_at(offset + 4)];
        let header = Header::parse(item, Encoding::ExplicitLittle).expect("readable");
        assert_eq!(header.unread_bytes(), 0);
        to_json(&header, &JsonOptions::default())
    };
    let sequence = file
        .windows(8)
        .position(|w| w == b"\x04\0\x20\x12SQ\0\0")
        .expect("a sequence");
    let first = file
        .windows(8)
        .position(|w| w == b"\x04\0\0\x12UL\x04\0")
        .expect("the first record");
    assert_eq!(sequence + 12 + u32_at(sequence + 8), file.len());
    let (mut lines, mut last_root) = (Vec::new(), 0);
    let mut open = vec![(u32_at(first + 8), 0)];
    while let Some((offset, level)) = open.pop() {
        if offset == 0 {
            continue;
        }
        if level == 0 {
            last_root = offset;
        }
        let record = record(offset);
        let of = |key: &str| record.get(key).and_then(|element| element.get("Value")).cloned();
        let number = |key: &str| of(key).and_then(|values| values[0].as_u64()).expect("an offset") as usize;
        let mut line = "  ".repeat(level) + of("00041430").expect("a type")[0].as_str().expect("text");
        for key in keys {
            if let Some(values) = of(key) {
                line += &format!(" {values}");
            }
        }
        lines.push(line);
        open.push((number("00041400"), level));
        open.push((number("00041420"), level + 1));
    }
    assert_eq!(u32_at(first + 12 + 8), last_root);
    lines
}

#[test]
fn golden() {
    let file = directory(&[instance("P", "1.4", "1.5", "1.3", json!({}))]);
    assert_eq!((file.num_records, file.num_invented), (4, 6));
    let at = file
        .bytes
        .windows(4)
        .position(|w| w == b"\x04\0\x30\x11")
        .expect("the dataset");
    let expected: &[&[u8]] = &[
        b"\x04\0\x30\x11CS\x06\0SET_1 ",
        b"\x04\0\0\x12UL\x04\0\x66\x01\0\0",
        b"\x04\0\x02\x12UL\x04\0\x66\x01\0\0",
        b"\x04\0\x12\x12US\x02\0\0\0",
        b"\x04\0\x20\x12SQ\0\0\xBA\x01\0\0",
        b"\xFE\xFF\0\xE0\x44\0\0\0",
        b"\x04\0\0\x14UL\x04\0\0\0\0\0\x04\0\x10\x14US\x02\0\xFF\xFF\x04\0\x20\x14UL\x04\0\xB2\x01\0\0",
        b"\x04\0\x30\x14CS\x08\0PATIENT ",
        b"\x10\0\x10\0PN\0\0\x10\0\x20\0LO\x02\0P ",
    ];
    let expected = expected.concat();
    let found = &file.bytes[at..at + expected.len()];
    assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let empty = directory(&[]);
    assert_eq!(empty.num_records, 0);
    assert!(tree(&empty.bytes, &[]).is_empty());
    assert_eq!(files(&empty.bytes).expect("readable").files, Vec::<Vec<String>>::new());
}

#[test]
fn records_hang_together() {
    let sr = json!({
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.88.11"]},
        "00080020": {"vr": "DA", "Value": ["20240102"]},
        "00080060": {"vr": "CS", "Value": ["SR"]},
        "0040A730": {"vr": "SQ", "Value": [
            {"0040A010": {"vr": "CS", "Value": ["HAS CONCEPT MOD"]}, "0040A040": {"vr": "CS", "Value": ["CODE"]}},
            {"0040A010": {"vr": "CS", "Value": ["CONTAINS"]}},
        ]},
    });
    let name = json!({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Å^B"}]},
        "00280010": {"vr": "US", "Value": [512]}, "00200013": {"vr": "IS", "Value": [7]}});
    let file = directory(&[
        instance("P", "1.4", "1.5", "1.3.1", name),
        instance("Q", "1.6", "1.7", "1.3.2", sr),
        instance("P", "1.4", "1.8", "1.3.3", json!({})),
        instance("P", "1.9", "1.10", "1.3.4", json!({})),
        instance("P", "1.4", "1.5", "1.3.5", json!({})),
        // Without an ID each study is a patient of its own, and another issuer makes another patient.
        instance("", "1.11", "1.12", "1.3.6", json!({})),
        instance(" ", "1.13", "1.14", "1.3.7", json!({})),
        instance(
            "P",
            "1.15",
            "1.16",
            "1.3.8",
            json!({"00100021": {"vr": "LO", "Value": ["X"]}}),
        ),
    ]);
    let keys = [
        "00080005", "00041500", "00041511", "00080020", "00080023", "00080060", "00100020", "00200010", "00200011",
        "00200013", "0040A491", "0040A730",
    ];
    let expected = [
        "PATIENT [\"ISO_IR 192\"] [\"P\"]",
        "  STUDY [\"19000101\"] [\"1\"]",
        "    SERIES [\"OT\"] [1]",
        "      IMAGE [\"DIR\",\"F0\"] [\"1.3.1\"] [7]",
        "      IMAGE [\"DIR\",\"F4\"] [\"1.3.5\"] [2]",
        "    SERIES [\"OT\"] [2]",
        "      IMAGE [\"DIR\",\"F2\"] [\"1.3.3\"] [1]",
        "  STUDY [\"19000101\"] [\"2\"]",
        "    SERIES [\"OT\"] [1]",
        "      IMAGE [\"DIR\",\"F3\"] [\"1.3.4\"] [1]",
        "PATIENT [\"Q\"]",
        "  STUDY [\"20240102\"] [\"1\"]",
        "    SERIES [\"SR\"] [1]",
        "      SR DOCUMENT [\"DIR\",\"F1\"] [\"1.3.2\"] [\"20240102\"] [1] [\"PARTIAL\"] \
         [{\"0040A010\":{\"Value\":[\"HAS CONCEPT MOD\"],\"vr\":\"CS\"},\"0040A040\":{\"Value\":[\"CODE\"],\"vr\":\"CS\"}}]",
        "PATIENT [\"UNKNOWN_3\"]",
        "  STUDY [\"19000101\"] [\"1\"]",
        "    SERIES [\"OT\"] [1]",
        "      IMAGE [\"DIR\",\"F5\"] [\"1.3.6\"] [1]",
        "PATIENT [\"UNKNOWN_4\"]",
        "  STUDY [\"19000101\"] [\"1\"]",
        "    SERIES [\"OT\"] [1]",
        "      IMAGE [\"DIR\",\"F6\"] [\"1.3.7\"] [1]",
        "PATIENT [\"P\"]",
        "  STUDY [\"19000101\"] [\"1\"]",
        "    SERIES [\"OT\"] [1]",
        "      IMAGE [\"DIR\",\"F7\"] [\"1.3.8\"] [1]",
    ];
    assert_eq!(tree(&file.bytes, &keys), expected);
    assert_eq!(file.num_records, expected.len());
    let read = files(&file.bytes).expect("readable");
    let expected: Vec<_> = [0, 4, 2, 3, 1, 5, 6, 7]
        .map(|n| vec!["DIR".to_owned(), format!("F{n}")])
        .into();
    assert_eq!((read.files, read.num_refused, read.unread_bytes), (expected, 0, 0));
}

#[test]
fn keys_that_cannot_be_written_count_as_missing() {
    let odd = json!({
        "00200013": {"vr": "IS", "BulkDataURI": "x"},
        "00280010": {"vr": "UN", "InlineBinary": "AA=="},
        "00081030": {"vr": "LO", "Value": [{"not": "text"}]},
        "00080060": {"vr": "CS", "Value": [null, "CT"]},
    });
    let file = directory(&[instance("P", "1.4", "1.5", "1.3", odd)]);
    let lines = tree(&file.bytes, &["00200013", "00280010", "00081030", "00080060"]);
    assert_eq!(lines, ["PATIENT", "  STUDY", "    SERIES [\"OT\"]", "      IMAGE [1]"]);
}

#[test]
fn what_cannot_be_a_directory_is_refused() {
    let attributes = instance("P", "1.4", "1.5", "1.3", json!({}));
    let add = |file_id: &[&str], attributes: &Map<String, Json>| {
        let mut builder = DirectoryBuilder::new("").expect("an id");
        let entry = DirectoryEntry {
            file_id,
            transfer_syntax: "1.2.840.10008.1.2.1",
            attributes,
        };
        builder.add(&entry).and_then(|()| builder.add(&entry))
    };
    for bad in [
        &[][..],
        &[""],
        &["A", "toolower"],
        &["TOOLONG99"],
        &["A.DCM"],
        &["A"; 9],
        &["..", "A"],
    ] {
        assert_eq!(add(bad, &attributes), Err(DirectoryError::BadFileId), "{bad:?}");
    }
    assert_eq!(add(&["A"; 8], &attributes), Err(DirectoryError::DuplicateFileId));
    for bad in ["lower", "SEVENTEEN_LETTERS", "A B"] {
        assert!(matches!(DirectoryBuilder::new(bad), Err(DirectoryError::BadFileSetId)));
    }
    for (key, tag) in [
        ("00080016", (8, 0x16)),
        ("00080018", (8, 0x18)),
        ("0020000D", (0x20, 0xD)),
        ("0020000E", (0x20, 0xE)),
    ] {
        let mut without = attributes.clone();
        without.remove(key);
        assert_eq!(add(&["A"], &without), Err(DirectoryError::BadIdentity(tag)));
    }
}

#[test]
fn names_that_come_out_are_safe() {
    let element = |tag: [u8; 4], vr: &[u8; 2], value: &[u8]| {
        let mut out = [&tag[..], vr, &(value.len() as u16).to_le_bytes(), value].concat();
        out.extend_from_slice(&[]);
        out
    };
    let record = |in_use: u8, file_id: &[u8]| {
        let mut content = element([4, 0, 0x10, 0x14], b"US", &[in_use, in_use]);
        content.extend(element([4, 0, 0, 0x15], b"CS", file_id));
        [&b"\xFE\xFF\0\xE0"[..], &(content.len() as u32).to_le_bytes(), &content].concat()
    };
    let records: &[(u8, &[u8])] = &[
        (255, b"A\\B "),
        (255, b"A\\B"),
        (255, b"a.dcm\0"),
        (0, b"OLD"),
        (255, b""),
        (255, b"..\\..\\etc\\passwd"),
        (255, b"A\\\\B"),
        (255, b"/etc/passwd"),
        (255, b"C:\\X"),
        (255, b"A\\."),
        (255, b"A\nB"),
        (255, &[b'A'; 256]),
        (255, &b"A\\".repeat(40)),
    ];
    let items: Vec<u8> = records
        .iter()
        .flat_map(|(in_use, file_id)| record(*in_use, file_id))
        .collect();
    let sequence = [b"\x04\0\x20\x12SQ\0\0", &(items.len() as u32).to_le_bytes()[..], &items].concat();
    let read = files(&sequence).expect("readable");
    assert_eq!(
        read.files,
        [vec!["A".to_owned(), "B".to_owned()], vec!["a.dcm".to_owned()]]
    );
    assert_eq!(read.num_refused, 8);
    assert!(!format!("{read:?}").contains("dcm"));

    // A directory that breaks off keeps what stands before.
    let read = files(&sequence[..sequence.len() - 1]);
    assert!(matches!(read, Err(DirectoryReadError::NoDirectory)));
    let open = [b"\x04\0\x20\x12SQ\0\0\xFF\xFF\xFF\xFF", &items[..40]].concat();
    let read = files(&open).expect("readable");
    assert_eq!(read.files.len(), 1);
    let nothing = files(b"").expect_err("no DICOM");
    assert_eq!(nothing, DirectoryReadError::NoDirectory);
    let truncated = files(b"\x02\0\0\0UL\x04\0").expect_err("no DICOM");
    assert!(
        matches!(truncated, DirectoryReadError::Stream(rejection) if rejection.reason == FailureReason::CannotUnderstand)
    );
}

proptest! {
    #[test]
    fn damage_is_no_danger(cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9)) {
        let mut bytes = directory(&[instance("P", "1.4", "1.5", "1.3", json!({}))]).bytes;
        for (at, byte) in cuts {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = files(&bytes) {
            prop_assert!(read.files.len() <= 1);
        }
    }
}

/// The corpus, if it is there.
fn corpus() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("SEPTUM_CORPUS").map(std::path::PathBuf::from);
    let path = path.unwrap_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"));
    if !path.is_dir() {
        println!("no corpus, nothing tested");
        return None;
    }
    Some(path)
}

#[test]
fn directories_of_others_are_read() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("dicomdir/pydicom-cd");
    let count = |name: &str| -> Result<_, String> {
        let read = files(&std::fs::read(folder.join(name)).expect("readable")).map_err(|error| error.to_string());
        if let Ok(read) = &read {
            for file in read
                .files
                .iter()
                .filter(|_| name == "DICOMDIR" || name.starts_with("TINY"))
            {
                let path = folder
                    .join(name)
                    .with_file_name("")
                    .join(file.iter().collect::<std::path::PathBuf>());
                assert!(path.is_file(), "{name} names a file that is not there");
            }
        }
        read.map(|read| (read.files.len(), read.num_refused, read.unread_bytes > 0))
    };
    for (name, expected) in [
        ("DICOMDIR", Ok((31, 0, false))),
        ("DICOMDIR-bigEnd", Ok((31, 0, false))),
        ("DICOMDIR-implicit", Ok((31, 0, false))),
        ("DICOMDIR-reordered", Ok((31, 0, false))),
        // A record too short for its item: reading stops there.
        ("DICOMDIR-nooffset", Ok((30, 0, true))),
        ("DICOMDIR-nopatient", Ok((31, 0, false))),
        ("DICOMDIR-empty.dcm", Ok((0, 0, false))),
        ("TINY_ALPHA/DICOMDIR", Ok((50, 0, false))),
    ] {
        assert_eq!(count(name), expected, "{name}");
    }
}

#[test]
fn the_corpus_fits_into_one_directory() {
    let Some(corpus) = corpus() else { return };
    let (mut folders, mut entries) = (vec![corpus], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry").path();
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let bytes = std::fs::read(&entry).expect("readable");
            let Ok(whole) = crate::dicom::tests::split(&bytes, &[usize::MAX], Default::default()) else {
                continue;
            };
            let start = &whole.instance.start;
            if let Ok(header) = Header::from_bytes(whole.instance.header.elements(), start.encoding.into()) {
                let attributes = to_json(&header, &JsonOptions::default());
                entries.push((attributes, start.transfer_syntax.uid().to_owned(), bytes));
            }
        }
    }
    let mut builder = DirectoryBuilder::new("CORPUS").expect("an id");
    let mut num_refused = 0;
    for (number, (attributes, transfer_syntax, bytes)) in entries.iter().enumerate() {
        let name = format!("I{number:05}");
        let entry = DirectoryEntry {
            file_id: &["DICOM", &name],
            transfer_syntax,
            attributes,
        };
        num_refused += usize::from(builder.add(&entry).is_err());
        if let Ok(folder) = std::env::var("SEPTUM_DICOMDIR_DUMP") {
            std::fs::create_dir_all(format!("{folder}/DICOM")).expect("a folder");
            std::fs::write(format!("{folder}/DICOM/{name}"), bytes).expect("writable");
        }
    }
    let file = builder.finish(FILE_SET_UID).expect("written");
    if let Ok(folder) = std::env::var("SEPTUM_DICOMDIR_DUMP") {
        std::fs::write(format!("{folder}/DICOMDIR"), &file.bytes).expect("writable");
    }
    println!("{file:?}, {} invented, {num_refused} refused", file.num_invented);
    assert_eq!(tree(&file.bytes, &[]).len(), file.num_records);
    let read = files(&file.bytes).expect("readable");
    assert_eq!(read.files.len(), entries.len() - num_refused);
    assert!(num_refused <= 2);
}
