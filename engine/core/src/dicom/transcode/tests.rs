//! Whatever the encoding, the copy shows the same attributes as the original.

use proptest::prelude::*;
use serde_json::{Map, Value as Json};

use super::*;
use crate::dicom::json::{JsonOptions, to_json};

/// A dataset to be written in any encoding.
#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    Items(Vec<Vec<(Tag, VR, Content)>>),
}

fn encode(dataset: &[(Tag, VR, Content)], encoding: Encoding, undefined: bool) -> Vec<u8> {
    let big = encoding == Encoding::ExplicitBig;
    let short = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let long = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut out = Vec::new();
    for (tag, vr, content) in dataset {
        let value = match content {
            Content::Bytes(bytes) => {
                let mut bytes = bytes.clone();
                if big {
                    crate::dicom::attributes::swap_bytes(&mut bytes, crate::dicom::attributes::unit_bytes(*vr));
                }
                bytes
            }
            Content::Items(items) => {
                let mut value = Vec::new();
                let mark = |element: u16| [short(0xFFFE), short(element)].concat();
                for item in items {
                    let item = encode(item, encoding, undefined);
                    value.extend(mark(0xE000));
                    value.extend(long(if undefined { u32::MAX } else { item.len() as u32 }));
                    value.extend(item);
                    if undefined {
                        value.extend([&mark(0xE00D)[..], &[0; 4]].concat());
                    }
                }
                if undefined {
                    value.extend([&mark(0xE0DD)[..], &[0; 4]].concat());
                }
                value
            }
        };
        let is_undefined = undefined && matches!(content, Content::Items(_));
        let length = if is_undefined { u32::MAX } else { value.len() as u32 };
        out.extend([short(tag.0), short(tag.1)].concat());
        if encoding == Encoding::ImplicitLittle {
            out.extend(long(length));
        } else if crate::dicom::attributes::is_long_form(*vr) {
            out.extend(vr.to_bytes());
            out.extend([0, 0]);
            out.extend(long(length));
        } else {
            out.extend(vr.to_bytes());
            out.extend(short(length as u16));
        }
        out.extend(value);
    }
    out
}

/// Attributes whose dictionary VR is the one used, so that all encodings mean the same.
fn leaf() -> impl Strategy<Value = (Tag, VR, Content)> {
    let text = |tag, vr| "[A-Za-z0-9 ^]{0,12}".prop_map(move |t| (tag, vr, Content::Bytes(t.into_bytes())));
    let binary = |tag, vr, unit: usize| {
        prop::collection::vec(any::<u8>(), 0..6).prop_map(move |b| (tag, vr, Content::Bytes(b.repeat(unit))))
    };
    prop_oneof![
        text(tags::PATIENT_NAME, VR::PN),
        text(tags::STUDY_DESCRIPTION, VR::LO),
        text(tags::MODALITY, VR::CS),
        text(tags::IMAGE_COMMENTS, VR::LT),
        text(tags::TEXT_VALUE, VR::UT),
        Just((tags::SLICE_THICKNESS, VR::DS, Content::Bytes(b"2.5\\-1e-3".to_vec()))),
        Just((Tag(0x0008, 0x0000), VR::UL, Content::Bytes(vec![9, 0, 0, 0]))),
        binary(tags::ROWS, VR::US, 2),
        binary(tags::FRAME_INCREMENT_POINTER, VR::AT, 4),
        binary(tags::DIFFUSION_B_VALUE, VR::FD, 8),
        binary(tags::ENCAPSULATED_DOCUMENT, VR::OB, 1),
        binary(tags::VECTOR_GRID_DATA, VR::OF, 4),
        binary(tags::EXTENDED_OFFSET_TABLE, VR::OV, 8),
    ]
}

fn dataset() -> impl Strategy<Value = Vec<(Tag, VR, Content)>> {
    let items = prop::collection::vec(leaf(), 0..4);
    let nested = items.prop_recursive(4, 24, 3, |inner| {
        (prop::collection::vec(leaf(), 0..3), prop::collection::vec(inner, 0..3)).prop_map(|(mut elements, items)| {
            elements.push((tags::REFERENCED_STUDY_SEQUENCE, VR::SQ, Content::Items(items)));
            elements
        })
    });
    prop::collection::vec(leaf(), 0..6).prop_flat_map(move |elements| {
        nested
            .clone()
            .prop_map(move |nested| [&elements[..], &nested[..]].concat())
    })
}

fn shown(elements: &[u8], encoding: Encoding) -> Map<String, Json> {
    let header = Header::parse(elements, encoding).expect("readable");
    assert_eq!(header.unread_bytes(), 0);
    let mut map = to_json(
        &header,
        &JsonOptions {
            bulk_threshold_bytes: usize::MAX,
            pixel: None,
            ..JsonOptions::default()
        },
    );
    map.retain(|key, _| !key.starts_with("7FE0"));
    map
}

/// Odd values are padded, so compare bytes without their padding.
fn unpadded(json: Json) -> Json {
    match json {
        Json::Object(map) => map
            .into_iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("InlineBinary", Json::String(text)) => {
                    use base64::Engine;
                    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
                    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                    (key, format!("{:?}", &bytes[..end]).into())
                }
                (_, value) => (key, unpadded(value)),
            })
            .collect(),
        Json::Array(values) => values.into_iter().map(unpadded).collect(),
        other => other,
    }
}

proptest! {
    #[test]
    fn the_copy_shows_the_same(dataset in dataset(), undefined: bool) {
        for encoding in [Encoding::ImplicitLittle, Encoding::ExplicitLittle, Encoding::ExplicitBig] {
            let bytes = encode(&dataset, encoding, undefined);
            let copy = to_explicit_little(&bytes, &[], encoding, &PixelPatch::default()).expect("readable");
            let expected = unpadded(shown(&bytes, encoding).into());
            prop_assert_eq!(unpadded(shown(&copy.before, Encoding::ExplicitLittle).into()), expected);
            prop_assert!(copy.after.is_empty() && copy.before.len().is_multiple_of(2));
            // A copy of a copy is the copy.
            let again = to_explicit_little(&copy.before, &[], Encoding::ExplicitLittle, &PixelPatch::default());
            prop_assert_eq!(again.expect("readable").before, copy.before);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for encoding in [Encoding::ImplicitLittle, Encoding::ExplicitLittle, Encoding::ExplicitBig] {
            if let Ok(header) = Header::parse(&bytes, encoding) {
                prop_assert!(header.unread_bytes() <= bytes.len());
                let _ = to_json(&header, &JsonOptions::default());
                let _ = to_explicit_little(&bytes, &[], encoding, &PixelPatch::default());
            }
        }
    }

    #[test]
    fn swapping_twice_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..40), unit in 0..9_usize) {
        let mut swapped = bytes.clone();
        swap_samples(&mut swapped, unit);
        swap_samples(&mut swapped, unit);
        prop_assert_eq!(swapped, bytes);
    }
}

#[test]
fn pixels_are_patched_in() {
    let bytes = |text: &[u8]| Content::Bytes(text.to_vec());
    let before = encode(
        &[
            (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, bytes(b"YBR_FULL_422")),
            (tags::PLANAR_CONFIGURATION, VR::US, bytes(&[1, 0])),
            (tags::LOSSY_IMAGE_COMPRESSION, VR::CS, bytes(b"01")),
            (tags::EXTENDED_OFFSET_TABLE, VR::OV, bytes(&[0; 8])),
        ],
        Encoding::ExplicitLittle,
        false,
    );
    let after = encode(
        &[(tags::DATA_SET_TRAILING_PADDING, VR::OB, bytes(&[0; 2]))],
        Encoding::ExplicitLittle,
        false,
    );
    let patch = PixelPatch {
        pixel: Some(PixelHeader {
            tag: tags::PIXEL_DATA,
            vr: VR::OW,
            length: Some(6),
        }),
        samples_per_pixel: Some(3),
        photometric_interpretation: Some("RGB".into()),
        planar_configuration: Some(0),
        num_frames: Some(1),
        remove: vec![tags::DATA_SET_TRAILING_PADDING],
        ..PixelPatch::default()
    };
    let copy = to_explicit_little(&before, &after, Encoding::ExplicitLittle, &patch).expect("readable");
    let expected = [
        &b"\x28\x00\x02\x00US\x02\x00\x03\x00"[..],
        b"\x28\x00\x04\x00CS\x04\x00RGB ",
        b"\x28\x00\x06\x00US\x02\x00\x00\x00",
        b"\x28\x00\x08\x00IS\x02\x001 ",
        b"\x28\x00\x10\x21CS\x02\x0001",
        b"\xE0\x7F\x10\x00OW\x00\x00\x06\x00\x00\x00",
    ]
    .concat();
    assert_eq!((copy.before, copy.after.len()), (expected, 0));
}

#[test]
fn long_values_leave_short_vrs() {
    let value = vec![b'1'; 70_000];
    let mut out = Vec::new();
    write::element_bytes(&mut out, tags::CONTOUR_DATA, VR::DS, &value);
    assert_eq!((&out[4..6], out.len()), (&b"UN"[..], 12 + value.len()));
}

#[test]
fn file_meta_is_golden() {
    let file = file_meta("1.2.840.10008.1.2.1", "1.2.3", "1.2.3.45");
    assert!(file[..128].iter().all(|&byte| byte == 0));
    let expected = [
        &b"DICM\x02\x00\x00\x00UL\x04\x00\x8E\x00\x00\x00"[..],
        b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
        b"\x02\x00\x02\x00UI\x06\x001.2.3\0",
        b"\x02\x00\x03\x00UI\x08\x001.2.3.45",
        b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0",
        b"\x02\x00\x12\x00UI\x2C\x002.25.125732004411725775987083052530596497473",
        b"\x02\x00\x13\x00SH\x0A\x00SEPTUM_0_1",
    ]
    .concat();
    assert_eq!(&file[128..], expected);
    assert_eq!(file.len(), 128 + 4 + 12 + 0x8E);
}

/// The test corpus: `$SEPTUM_CORPUS`, else beside the workspace.
fn corpus() -> Option<std::path::PathBuf> {
    let beside = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let root = std::env::var_os("SEPTUM_CORPUS").map_or_else(beside, Into::into);
    if root.is_dir() {
        Some(root)
    } else {
        println!("no test corpus, nothing tested");
        None
    }
}

#[test]
fn copies_of_real_headers_show_the_same() {
    let Some(root) = corpus() else { return };
    let mut folders = vec![root];
    let mut num_files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file");
            let Some(dataset) = dataset_of(&bytes) else { continue };
            // Pixels are read as an element like any other, and left out of both.
            // Some files are broken on purpose.
            let Ok(header) = Header::parse(dataset, Encoding::ExplicitLittle) else {
                continue;
            };
            let options = JsonOptions {
                bulk_threshold_bytes: 1 << 20,
                pixel: None,
                ..JsonOptions::default()
            };
            let mut expected = to_json(&header, &options);
            expected.retain(|key, _| !key.starts_with("7FE000"));
            let copy = to_explicit_little(dataset, &[], header.encoding(), &PixelPatch::default()).expect("readable");
            let copied = Header::parse(&copy.before, Encoding::ExplicitLittle).expect("readable");
            assert_eq!(copied.unread_bytes(), 0);
            let found = to_json(&copied, &options);
            // No values in the message: some of these headers look real.
            let (found, expected) = (unpadded(found.into()), unpadded(expected.into()));
            let keys = expected.as_object().into_iter().flatten().map(|(key, _)| key);
            let differing: Vec<_> = keys.filter(|key| found.get(key) != expected.get(key)).collect();
            assert!(
                differing.is_empty() && found == expected,
                "{} {differing:?}",
                path.display()
            );
            num_files += 1;
        }
    }
    println!("{num_files} headers");
}

/// The bytes behind the file meta of a well-formed file that is not deflated.
fn dataset_of(file: &[u8]) -> Option<&[u8]> {
    if file.get(128..144)?[..12] != *b"DICM\x02\0\0\0UL\x04\0" {
        return None;
    }
    let meta_bytes = u32::from_le_bytes(*file.get(140..)?.first_chunk()?) as usize;
    let meta = file.get(144..144_usize.checked_add(meta_bytes)?)?;
    let deflated = meta.windows(22).any(|window| window == b"1.2.840.10008.1.2.1.99");
    (!deflated).then(|| &file[144 + meta_bytes..])
}
