//! Golden bytes, refusals, and the way from a stream over its JSON back to a stream.

mod corpus;
mod random;

use serde_json::json;

use super::*;
use crate::dicom::attributes::{Encoding, Header};

const UIDS: &str = r#"{"00080016": {"vr": "UI", "Value": ["1.2"]}, "00080018": {"vr": "UI", "Value": ["1.3"]}}"#;

/// `attributes` and the UIDs that every instance needs.
fn instance(attributes: Json) -> Map<String, Json> {
    let mut all: Map<String, Json> = serde_json::from_str(UIDS).expect("JSON");
    all.extend(attributes.as_object().expect("an object").clone());
    all
}

/// The stream behind the file meta and the two UIDs, bulk data as `part` in brackets.
fn written(attributes: Json, part: &BulkPart, lengths: SequenceLengths) -> Result<Vec<u8>, FromJsonError> {
    let made = from_json(
        &instance(attributes),
        &mut |uri| (uri == "b").then(|| part.clone()),
        lengths,
    )?;
    let mut out = Vec::new();
    let mut length = 0;
    for piece in &made.pieces[1..] {
        match piece {
            Piece::Bytes(bytes) => {
                out.extend_from_slice(bytes);
                length += bytes.len() as u64;
            }
            Piece::Bulk(bulk) => {
                assert_eq!(bulk.uri, "b");
                match bulk.shape {
                    BulkShape::Whole { length_bytes } => {
                        length += length_bytes;
                        out.extend_from_slice(format!("[{}:{length_bytes}]", bulk.part).as_bytes());
                    }
                    BulkShape::Fragments => out.extend_from_slice(b"[fragments]"),
                }
            }
        }
    }
    let Piece::Bytes(meta) = &made.pieces[0] else {
        panic!("file meta comes first")
    };
    if let Some(claimed) = made.length_bytes {
        assert_eq!(claimed, length + meta.len() as u64);
    }
    let uids = b"\x08\0\x16\0UI\x04\x001.2\0\x08\0\x18\0UI\x04\x001.3\0";
    assert!(out.starts_with(uids));
    Ok(out.split_off(uids.len()))
}

#[test]
fn elements_are_written() {
    let check = |attributes: Json, expected: &[u8]| {
        let part = BulkPart::native(3);
        let bytes = written(attributes, &part, SequenceLengths::Defined).expect("readable");
        assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    };
    check(
        json!({"00080060": {"vr": "CS", "Value": ["CT"]}}),
        b"\x08\0\x60\0CS\x02\0CT",
    );
    check(json!({"00080060": {"vr": "CS"}}), b"\x08\0\x60\0CS\0\0");
    check(json!({"00080060": {"vr": "CS", "Value": []}}), b"\x08\0\x60\0CS\0\0");
    check(
        json!({"00080060": {"vr": "CS", "Value": ["ABC"]}}),
        b"\x08\0\x60\0CS\x04\0ABC ",
    );
    // Groups that are none of the dataset, group lengths and offset tables go.
    check(
        json!({"00020010": {"vr": "UI", "Value": ["1.2"]}, "00100000": {"vr": "UL", "Value": [4]},
            "7FE00001": {"vr": "OV", "InlineBinary": "AAAAAAAAAAA="}}),
        b"",
    );
    check(
        json!({"00420011": {"vr": "OB", "InlineBinary": "JVBERi0="}}),
        b"\x42\0\x11\0OB\0\0\x06\0\0\0%PDF-\0",
    );
    check(
        json!({"00420011": {"vr": "OB", "BulkDataURI": "b"}}),
        b"\x42\0\x11\0OB\0\0\x04\0\0\0[0:3]\0",
    );
    check(
        json!({"0040a160": {"vr": "UT", "BulkDataURI": "b"}}),
        b"\x40\0\x60\xA1UT\0\0\x04\0\0\0[0:3] ",
    );
    check(
        json!({"00280030": {"vr": "DS", "BulkDataURI": "b"}}),
        b"\x28\0\x30\0DS\x04\0[0:3] ",
    );
    check(
        json!({"7FE00010": {"vr": "UN", "BulkDataURI": "b"}}),
        b"\xE0\x7F\x10\0OW\0\0\x04\0\0\0[0:3]\0",
    );
    check(json!({"00081140": {"vr": "SQ"}}), b"\x08\0\x40\x11SQ\0\0\0\0\0\0");
    check(
        json!({"54000100": {"vr": "SQ", "Value": [{}, {"54001010": {"vr": "OW", "BulkDataURI": "b"}}, null]}}),
        b"\0\x54\0\x01SQ\0\0\x28\0\0\0\xFE\xFF\0\xE0\0\0\0\0\xFE\xFF\0\xE0\x10\0\0\0\
            \0\x54\x10\x10OW\0\0\x04\0\0\0[0:3]\0\xFE\xFF\0\xE0\0\0\0\0",
    );
    // Private elements keep their block, and order is that of tags whatever the case of the key.
    check(
        json!({"0009000A": {"vr": "LO"}, "0009000b": {"vr": "LO"}, "00091001": {"vr": "SS", "Value": [-1]},
            "00090010": {"vr": "LO", "Value": ["AC"]}}),
        b"\x09\0\x0A\0LO\0\0\x09\0\x0B\0LO\0\0\x09\0\x10\0LO\x02\0AC\x09\0\x01\x10SS\x02\0\xFF\xFF",
    );
    let long = "x".repeat(0xFFFF);
    let mut expected = b"\x10\0\0\x40UN\0\0\0\0\x01\0".to_vec();
    expected.extend_from_slice(long.as_bytes());
    expected.push(b' ');
    check(json!({"00104000": {"vr": "LT", "Value": [long]}}), &expected);
}

#[test]
fn the_character_set_is_what_json_is() {
    let check = |attributes: Json, expected: Option<&str>, warned: bool| {
        let made = from_json(&instance(attributes), &mut |_| None, SequenceLengths::Defined).expect("readable");
        assert_eq!(made.warnings.contains(&FromJsonWarning::CharacterSet), warned);
        let Piece::Bytes(elements) = &made.pieces[1] else {
            panic!("no bulk data")
        };
        let header = Header::parse(elements, Encoding::ExplicitLittle).expect("readable");
        assert_eq!(header.text(tags::SPECIFIC_CHARACTER_SET).as_deref(), expected);
    };
    check(json!({}), None, false);
    check(
        json!({"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}),
        Some("ISO_IR 192"),
        false,
    );
    check(
        json!({"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}),
        Some("ISO_IR 192"),
        true,
    );
    check(
        json!({"00080005": {"vr": "CS", "Value": ["", "ISO 2022 IR 87"]}}),
        Some("ISO_IR 192"),
        true,
    );
    check(json!({"00080005": {"vr": "CS"}}), None, false);
    check(
        json!({"00080005": {"vr": "CS"}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "É"}]}}),
        Some("ISO_IR 192"),
        false,
    );
    check(
        json!({"00081140": {"vr": "SQ", "Value": [{"00081150": {"vr": "LO", "Value": ["é"]}}]}}),
        Some("ISO_IR 192"),
        false,
    );
}

#[test]
fn pixels_are_encapsulated() {
    let compressed = |lengths: &[Option<u64>]| BulkPart {
        encoding: BulkEncoding::Compressed {
            transfer_syntax: "1.2.840.10008.1.2.4.80".to_owned(),
        },
        lengths_bytes: lengths.to_vec(),
    };
    let check = |part: &BulkPart, expected: &[u8]| {
        let pixels = json!({"7FE00010": {"vr": "OW", "BulkDataURI": "b"}});
        let bytes = written(pixels, part, SequenceLengths::Defined).expect("readable");
        assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    };
    let around = |items: &[u8]| {
        let start = b"\xE0\x7F\x10\0OB\0\0\xFF\xFF\xFF\xFF";
        [start, items, b"\xFE\xFF\xDD\xE0\0\0\0\0"].concat()
    };
    check(
        &compressed(&[Some(4), Some(5)]),
        &around(b"\xFE\xFF\0\xE0\0\0\0\0\xFE\xFF\0\xE0\x04\0\0\0[0:4]\xFE\xFF\0\xE0\x06\0\0\0[1:5]\0"),
    );
    check(&compressed(&[None]), &around(b"\xFE\xFF\0\xE0\0\0\0\0[fragments]"));
    let items = BulkPart {
        encoding: BulkEncoding::Items {
            transfer_syntax: "1.2.840.10008.1.2.5".to_owned(),
        },
        lengths_bytes: vec![Some(10)],
    };
    check(&items, &around(b"[0:10]"));
    // A sequence around an unknown length has none itself.
    let icon = json!({"00880200": {"vr": "SQ", "Value": [{"7FE00010": {"vr": "OB", "BulkDataURI": "b"}}]}});
    let bytes = written(icon, &compressed(&[None]), SequenceLengths::Defined).expect("readable");
    let inside = around(b"\xFE\xFF\0\xE0\0\0\0\0[fragments]");
    let expected = [
        b"\x88\0\0\x02SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\0\xE0\xFF\xFF\xFF\xFF",
        &inside[..],
        b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0",
    ];
    assert_eq!(bytes, expected.concat());
    assert_eq!(fragment_header(5), Some((*b"\xFE\xFF\0\xE0\x06\0\0\0", Some(0))));
    assert_eq!(fragment_header(6), Some((*b"\xFE\xFF\0\xE0\x06\0\0\0", None)));
    assert_eq!(fragment_header(0), None);
    assert_eq!(fragment_header(u64::from(u32::MAX)), None);
}

#[test]
fn a_refusal_says_where() {
    use FromJsonErrorKind as Kind;
    let native = |length| BulkPart {
        encoding: BulkEncoding::Native,
        lengths_bytes: vec![length],
    };
    let compressed = |uid: &str| BulkPart {
        encoding: BulkEncoding::Compressed {
            transfer_syntax: uid.to_owned(),
        },
        lengths_bytes: vec![Some(2)],
    };
    let check = |attributes: Json, part: BulkPart, path: &str, kind: Kind| {
        let error = written(attributes, &part, SequenceLengths::Defined).expect_err("refused");
        assert_eq!((error.path.as_str(), error.kind), (path, kind));
    };
    let no_bulk = || native(Some(1));
    let bulk = |tag: &str| json!({tag: {"vr": "OB", "BulkDataURI": "b"}});
    check(json!({"0008001": {"vr": "CS"}}), no_bulk(), "", Kind::BadTag);
    check(json!({"PatientID": {"vr": "LO"}}), no_bulk(), "", Kind::BadTag);
    check(
        json!({"0009000a": {"vr": "LO"}, "0009000A": {"vr": "LO"}}),
        no_bulk(),
        "",
        Kind::DuplicateTag,
    );
    check(json!({"00080060": "CT"}), no_bulk(), "00080060", Kind::NotAnObject);
    check(
        json!({"00080060": {"Value": ["CT"]}}),
        no_bulk(),
        "00080060",
        Kind::BadVr,
    );
    check(json!({"00080060": {"vr": "ZZ"}}), no_bulk(), "00080060", Kind::BadVr);
    check(
        json!({"00280010": {"vr": "US", "Value": [70000]}}),
        no_bulk(),
        "00280010",
        Kind::BadValue,
    );
    check(
        json!({"00280010": {"vr": "US", "Value": 7}}),
        no_bulk(),
        "00280010",
        Kind::BadValue,
    );
    check(
        json!({"00081140": {"vr": "SQ", "InlineBinary": ""}}),
        no_bulk(),
        "00081140",
        Kind::BadValue,
    );
    check(
        json!({"00081140": {"vr": "SQ", "Value": [{}, {"00080016": {"vr": "UI", "Value": [{}]}}]}}),
        no_bulk(),
        "00081140/1/00080016",
        Kind::BadValue,
    );
    check(
        json!({"00081140": {"vr": "SQ", "Value": ["x"]}}),
        no_bulk(),
        "00081140/0",
        Kind::NotAnObject,
    );
    check(
        json!({"00420011": {"vr": "OB", "InlineBinary": "$"}}),
        no_bulk(),
        "00420011",
        Kind::BadBase64,
    );
    check(
        json!({"00420011": {"vr": "OB", "InlineBinary": "", "BulkDataURI": "b"}}),
        no_bulk(),
        "00420011",
        Kind::SeveralValues,
    );
    check(
        json!({"00420011": {"vr": "OB", "BulkDataURI": "c"}}),
        no_bulk(),
        "00420011",
        Kind::BulkMissing,
    );
    check(bulk("00420011"), native(None), "00420011", Kind::BulkLengthUnknown);
    check(bulk("00420011"), native(Some(u64::MAX)), "00420011", Kind::BulkTooLong);
    check(
        bulk("00420011"),
        compressed("1.2.840.10008.1.2.5"),
        "00420011",
        Kind::NotPixels,
    );
    check(
        bulk("7FE00010"),
        compressed("1.2.840.10008.1.2.1"),
        "7FE00010",
        Kind::UnsupportedTransferSyntax,
    );
    check(
        bulk("7FE00010"),
        compressed("1.2.3"),
        "7FE00010",
        Kind::UnsupportedTransferSyntax,
    );
    check(
        json!({"00080018": {"vr": "UI"}}),
        no_bulk(),
        "00080018",
        Kind::MissingIdentity,
    );
    check(
        json!({"00080018": {"vr": "UI", "Value": ["1/2"]}}),
        no_bulk(),
        "00080018",
        Kind::BadUid,
    );

    // A compressed icon, and pixels that are not.
    let icon = json!({"00880200": {"vr": "SQ", "Value": [{"7FE00010": {"vr": "OB", "BulkDataURI": "b"}}]},
        "7FE00010": {"vr": "OW", "InlineBinary": "AAAA"}});
    check(
        icon,
        compressed("1.2.840.10008.1.2.5"),
        "7FE00010",
        Kind::TransferSyntaxesDiffer,
    );

    let nested = |depth: u16| {
        let mut dataset = json!({});
        for _ in 0..depth {
            dataset = json!({"00081140": {"vr": "SQ", "Value": [dataset]}});
        }
        written(dataset, &no_bulk(), SequenceLengths::Defined).map_err(|error| error.kind)
    };
    assert!(nested(DEPTH_MAX).is_ok());
    assert_eq!(nested(DEPTH_MAX + 1), Err(Kind::TooDeep));
    let error = FromJsonError::new("00080018".to_owned(), Kind::BadUid);
    assert_eq!(error.to_string(), "attribute 00080018: not a UID");
}
