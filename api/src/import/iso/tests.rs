use super::super::container::{Kind, tests::contents};
use super::*;

/// A directory record.
fn entry(name: &[u8], sector: u32, length: u32, flags: u8, system_use: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 33];
    bytes[2..6].copy_from_slice(&sector.to_le_bytes());
    bytes[10..14].copy_from_slice(&length.to_le_bytes());
    bytes[25] = flags;
    bytes[32] = name.len() as u8;
    bytes.extend_from_slice(name);
    if name.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes.extend_from_slice(system_use);
    bytes[0] = bytes.len() as u8;
    bytes
}

fn descriptor(kind: u8, root_sector: u32, escape: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    bytes[0] = kind;
    bytes[1..6].copy_from_slice(b"CD001");
    bytes[88..88 + escape.len()].copy_from_slice(escape);
    bytes[128..130].copy_from_slice(&2048u16.to_le_bytes());
    let root = entry(&[0], root_sector, 2048, IS_FOLDER, b"");
    bytes[156..156 + root.len()].copy_from_slice(&root);
    bytes
}

/// An image of sectors, the descriptors first.
fn image(descriptors: &[Vec<u8>], sectors: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; 40 * 2048];
    for (index, descriptor) in descriptors.iter().enumerate() {
        bytes[(16 + index) * 2048..][..2048].copy_from_slice(descriptor);
    }
    for (sector, content) in sectors {
        bytes[*sector as usize * 2048..][..content.len()].copy_from_slice(content);
    }
    bytes
}

fn list(bytes: &[u8]) -> Vec<(String, Result<Vec<u8>, String>)> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().canonicalize().expect("path").join("a.iso");
    std::fs::write(&path, bytes).expect("file");
    contents(&path, Kind::Iso)
}

fn example(rock_ridge: bool, joliet: bool) -> Vec<u8> {
    let sp: &[u8] = if rock_ridge { b"SP\x07\x01\xBE\xEF\0" } else { b"" };
    let nm: &[u8] = if rock_ridge {
        b"XX\x04\x01NM\x0a\x01\0image"
    } else {
        b""
    };
    let root = [
        entry(&[0], 20, 2048, IS_FOLDER, sp),
        entry(&[1], 20, 2048, IS_FOLDER, b""),
        entry(b"DICOM", 21, 2048, IS_FOLDER, b""),
        entry(b"DICOMDIR.;1", 22, 3, 0, b""),
    ]
    .concat();
    let below = [
        // A circle, a file in two extents, and one beyond the end.
        entry(b"UP", 20, 2048, IS_FOLDER, b""),
        entry(b"IM1.;1", 23, 2048, HAS_MORE, nm),
        entry(b"IM1.;1", 25, 4, 0, nm),
        entry(b"FAR.;1", 39, 9999, 0, b""),
    ]
    .concat();
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let other = entry(&wide("Bild ä.dcm;1"), 22, 3, 0, b"");
    let mut descriptors = vec![descriptor(1, 20, b"")];
    if joliet {
        descriptors.push(descriptor(2, 26, b"%/E"));
    }
    descriptors.push(descriptor(255, 0, b""));
    image(
        &descriptors,
        &[
            (20, root),
            (21, below),
            (22, b"dir".to_vec()),
            (23, vec![1; 2048]),
            (25, b"tail".to_vec()),
            (26, other),
        ],
    )
}

#[test]
fn trees_and_names() {
    let long: Vec<u8> = [vec![1; 2048], b"tail".to_vec()].concat();
    let expected = |name: &str| {
        vec![
            ("DICOMDIR".to_owned(), Ok(b"dir".to_vec())),
            (format!("DICOM/{name}"), Ok(long.clone())),
            ("DICOM/FAR".to_owned(), Err("beyond the end of the image".to_owned())),
        ]
    };
    assert_eq!(list(&example(false, false)), expected("IM1"));
    assert_eq!(list(&example(true, false)), expected("image"));
    assert_eq!(list(&example(true, true)), expected("image"));
    assert_eq!(
        list(&example(false, true)),
        [("Bild ä.dcm".to_owned(), Ok(b"dir".to_vec()))]
    );
}

#[test]
fn what_is_no_image_is_refused() {
    assert!(list(&[0; 100])[0].1.is_err());
    assert!(list(&image(&[], &[]))[0].1.is_err());
    let bytes = example(true, true);
    for cut in (0..bytes.len()).step_by(997) {
        list(&bytes[..cut]);
    }
}

#[test]
fn flipped_bytes_do_no_harm() {
    let bytes = example(true, false);
    for start in [16 * 2048, 16 * 2048 + 120, 20 * 2048, 21 * 2048] {
        for at in start..start + 200 {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut changed = bytes.clone();
                changed[at] = value;
                list(&changed);
            }
        }
    }
}
