use super::*;

fn record(number: u32, content: &[u8]) -> Record {
    Record {
        name: format!("DICOM/P0000001/T0000001/S0000001/I{number:07}"),
        study: "1.2".into(),
        series: "1.3".into(),
        instance: format!("1.4.{number}"),
        patient: "00".into(),
        bytes: content.len() as u64,
        crc32: crc32fast::hash(content),
        offset: 0,
    }
}

fn keep(shelf: &Shelf, number: u32, content: &[u8]) {
    let mut arriving = shelf.arriving().expect("arriving");
    arriving.write_all(content).expect("writes");
    shelf.keep(arriving, record(number, content)).expect("kept");
}

fn instances(shelf: &Shelf) -> Vec<String> {
    shelf.records().into_iter().map(|record| record.instance).collect()
}

#[test]
fn a_folder_goes_on_where_it_was() {
    let keep_folder = tempfile::tempdir().expect("folder");
    let root = keep_folder.path().join("new/out");
    let shelf = Shelf::folder(&root, "a", "*").expect("opens");
    keep(&shelf, 1, b"one");
    keep(&shelf, 2, b"two");
    shelf.sync("DICOM/P0000001/T0000001/S0000001").expect("synced");
    let half = shelf.arriving().expect("arriving");
    assert!(
        matches!(Shelf::folder(&root, "a", "*"), Err(RemoteError::Usage(_))),
        "locked"
    );
    drop(half);
    drop(shelf);
    std::fs::write(root.join(".septum-export/9.arriving"), b"left behind").expect("file");
    std::fs::write(root.join("DICOM/P0000001/T0000001/S0000001/I0000001"), b"on").expect("cut");
    let shelf = Shelf::folder(&root, "a", "*").expect("opens");
    assert_eq!(instances(&shelf), ["1.4.2"]);
    assert_eq!(shelf.beginning(&record(2, b"two"), 2).expect("reads"), b"tw");
    keep(&shelf, 1, b"one");
    shelf.finish(Some(b"directory")).expect("finished");
    assert_eq!(std::fs::read(root.join("DICOMDIR")).expect("file"), b"directory");
    assert_eq!(std::fs::read(root.join(record(1, b"").name)).expect("file"), b"one");
    assert!(!root.join(".septum-export/9.arriving").exists());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("letter.txt"), b"dear").expect("file");
    assert!(Shelf::folder(folder.path(), "a", "*").is_err());
    assert!(Shelf::folder(&folder.path().join("letter.txt"), "a", "*").is_err());
    assert!(Shelf::zip(&folder.path().join("letter.txt"), "a", "*").is_err());
    assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 1);
}

#[test]
fn a_zip_file_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("out.zip");
    let part = folder.path().join("out.zip.part/archive");
    let shelf = Shelf::zip(&path, "a", "*").expect("opens");
    keep(&shelf, 1, b"one");
    shelf.sync("").expect("synced");
    keep(&shelf, 2, b"two");
    keep(&shelf, 3, b"three");
    drop(shelf);
    // The end of what was not synced is damaged, as after a power failure.
    let mut bytes = std::fs::read(&part).expect("file");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes.extend_from_slice(b"half a header");
    std::fs::write(&part, &bytes).expect("file");
    let shelf = Shelf::zip(&path, "a", "*").expect("opens");
    assert_eq!(instances(&shelf), ["1.4.1", "1.4.2"]);
    keep(&shelf, 4, b"four");
    let records = shelf.records();
    assert_eq!(shelf.beginning(&records[2], 100).expect("reads"), b"four");
    drop(shelf);
    let shelf = Shelf::zip(&path, "a", "*").expect("opens");
    assert_eq!(instances(&shelf), ["1.4.1", "1.4.2", "1.4.4"]);
    shelf.finish(Some(b"directory")).expect("finished");
    assert!(!part.exists());
    let bytes = std::fs::read(&path).expect("file");
    let archive = rawzip::ZipArchive::from_slice(&bytes).expect("a ZIP file");
    let mut entries = archive.entries();
    let mut found = Vec::new();
    while let Some(header) = entries.next_entry().expect("reads") {
        let entry = archive.get_entry(header.wayfinder()).expect("an entry");
        let mut content = Vec::new();
        entry
            .verifying_reader(entry.data())
            .read_to_end(&mut content)
            .expect("sound");
        found.push(String::from_utf8(content).expect("text"));
    }
    assert_eq!(found, ["one", "two", "four", "directory"]);
}

#[test]
fn names_lead_nowhere_else() {
    for (name, expected) in [
        ("DICOM/P0000001/T0000001/S0000001/I0000001", true),
        ("DICOM/P0000001/../S0000001/I0000001", false),
        ("/ICOM/P0000001/T0000001/S0000001", false),
        ("DICOM/P0000001/T0000001/S0000001/I00000011", false),
        ("DICOM", false),
    ] {
        assert_eq!(is_name(name), expected, "{name}");
    }
}
