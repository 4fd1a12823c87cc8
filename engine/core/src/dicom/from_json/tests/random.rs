//! Values of every VR: JSON to a stream and back to JSON.

use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::instance;
use crate::dicom::attributes::{Encoding, Header};
use crate::dicom::json::{JsonOptions, to_json};

/// One attribute of any VR that has values, as [`to_json`] shows it.
fn any_attribute() -> impl Strategy<Value = Json> {
    fn of(vr: &'static str, one: impl Strategy<Value = Json>) -> impl Strategy<Value = Json> {
        proptest::collection::vec(one, 1..4).prop_map(move |values| json!({"vr": vr, "Value": values}))
    }
    const EXACT: i64 = 1 << 53;
    let text = || "[!-\\[\\]-~À-ʯ一-三]{1,12}".prop_map(Json::from);
    let group = || "[a-z^É山]{1,8}";
    let name = proptest::collection::btree_map(
        prop_oneof![Just("Alphabetic"), Just("Ideographic"), Just("Phonetic")],
        group(),
        1..3,
    );
    let name = name.prop_map(|name| json!(name));
    let singles = any::<f32>().prop_filter("finite", |number| number.is_finite());
    let doubles = any::<f64>().prop_filter("finite", |number| number.is_finite());
    let tag = any::<u32>().prop_map(|tag| format!("{tag:08X}").into());
    let bytes = proptest::collection::vec(any::<[u8; 2]>(), 1..9).prop_map(|pairs| {
        use base64::Engine;
        json!({"vr": "OB", "InlineBinary": base64::engine::general_purpose::STANDARD.encode(pairs.concat())})
    });
    prop_oneof![
        of("LO", text()),
        of("UC", text()),
        text().prop_map(|text| json!({"vr": "UT", "Value": [text]})),
        of("PN", name),
        of("US", any::<u16>().prop_map(Json::from)),
        of("SS", any::<i16>().prop_map(Json::from)),
        of("UL", any::<u32>().prop_map(Json::from)),
        of("SL", any::<i32>().prop_map(Json::from)),
        of("UV", (0..EXACT as u64).prop_map(Json::from)),
        of("UV", (EXACT as u64 + 1..).prop_map(|number| number.to_string().into())),
        of("SV", (-EXACT..EXACT).prop_map(Json::from)),
        of("FL", singles.prop_map(|number| f64::from(number).into())),
        of("FD", doubles.prop_map(Json::from)),
        of("IS", any::<i32>().prop_map(Json::from)),
        of(
            "DS",
            (-99_999..99_999).prop_map(|number| if number % 64 == 0 {
                json!(number / 64)
            } else {
                json!(f64::from(number) / 64.0)
            })
        ),
        of("AT", tag),
        bytes,
    ]
}

proptest! {
    #[test]
    fn json_comes_back(
        attributes in proptest::collection::btree_map(0x1000_u16..0x10FF, any_attribute(), 1..6),
        items in proptest::collection::vec(any_attribute(), 0..3),
    ) {
        let mut before = Map::new();
        before.insert("00080005".to_owned(), json!({"vr": "CS", "Value": ["ISO_IR 192"]}));
        for (element, attribute) in attributes {
            before.insert(format!("0009{element:04X}"), attribute);
        }
        let items: Vec<_> = items.into_iter().map(|attribute| json!({"00091001": attribute})).collect();
        if !items.is_empty() {
            before.insert("00091100".to_owned(), json!({"vr": "SQ", "Value": items}));
        }
        for lengths in [SequenceLengths::Undefined, SequenceLengths::Defined] {
            let made = from_json(&instance(Json::Object(before.clone())), &mut |_| None, lengths).expect("readable");
            let Piece::Bytes(bytes) = &made.pieces[1] else { panic!("no bulk data") };
            let header = Header::parse(bytes, Encoding::ExplicitLittle).expect("readable");
            let mut after = to_json(&header, &JsonOptions::default());
            after.remove("00080016");
            after.remove("00080018");
            prop_assert_eq!(&after, &before);
        }
    }
}

/// Any JSON, a bit like attributes.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "[A-Za-z0-9=\\\\^é]{0,9}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let member = prop_oneof![
            Just("vr"),
            Just("Value"),
            Just("InlineBinary"),
            Just("BulkDataURI"),
            Just("Alphabetic"),
            Just("7FE00010"),
            Just("00080005"),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::btree_map(member, inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_can_be_read(
        vr in "AE|AS|AT|CS|DA|DS|FL|FD|IS|LO|LT|OB|OW|PN|SQ|SV|UI|UL|UN|US|UT|UV",
        member in "Value|Value|Value|InlineBinary|BulkDataURI",
        value in any_json(),
        length in prop::option::of(0_u64..9),
        is_compressed in any::<bool>(),
    ) {
        let mut resolve = |_: &str| {
            let encoding = match is_compressed {
                true => BulkEncoding::Compressed { transfer_syntax: "1.2.840.10008.1.2.5".to_owned() },
                false => BulkEncoding::Native,
            };
            Some(BulkPart { encoding, lengths_bytes: vec![length] })
        };
        let values = if member == "Value" { json!([value]) } else { value };
        let attribute = json!({"7FE00010": {"vr": vr, member: values}});
        let Ok(made) = from_json(&instance(attribute), &mut resolve, SequenceLengths::Defined) else { return Ok(()) };
        let mut bytes = Vec::new();
        for piece in &made.pieces[1..] {
            match piece {
                Piece::Bytes(literal) => bytes.extend_from_slice(literal),
                Piece::Bulk(BulkPiece { shape: BulkShape::Whole { length_bytes }, .. }) => {
                    bytes.extend(std::iter::repeat_n(b'x', *length_bytes as usize));
                }
                Piece::Bulk(_) => {
                    let (header, padding) = fragment_header(3).expect("short");
                    bytes.extend_from_slice(&header);
                    bytes.extend_from_slice(b"xxx");
                    bytes.extend(padding);
                }
            }
        }
        let header = Header::parse(&bytes, Encoding::ExplicitLittle).expect("readable");
        prop_assert_eq!(header.unread_bytes(), 0);
        prop_assert_eq!(header.dataset().elements().len() - usize::from(header.dataset().get(tags::SPECIFIC_CHARACTER_SET).is_some()), 3);
        prop_assert_eq!(bytes.len() % 2, 0);
    }
}
