//! A header as DICOM JSON Model (PS3.18 annex F).
//!
//! Owns the mapping from [`Header`] to JSON and the way back from a bulk data path to bytes.
//!
//! Invariants:
//! - group 0002 and group lengths (gggg,0000) never appear; pixels appear only as a placeholder;
//! - no URL is inside: bulk data is named `<prefix>/<path>`, and whoever serves the list replaces [`BULK_PREFIX`].
//!   A path is tags and item numbers (from 0) by turns, as in `{BULK}/54000100/0/54001010`;
//! - Specific Character Set, where present, reads `ISO_IR 192`, since JSON is UTF-8;
//! - empty values among several are `null` (section F.2.5); empty attributes have no `Value`;
//! - text holds no control characters but TAB, LF, FF and CR: others become U+FFFD;
//! - a value that does not fit its VR is kept: DS and IS that are no numbers as strings (section F.2.3 allows both),
//!   a binary value whose length is not a multiple of its unit as UN.

mod bulk;
mod levels;
mod stored;
mod values;

use serde_json::{Map, Value as Json};

use super::attributes::{CharacterSets, Dataset, Element, Header, Value};
use dicom_core::{Tag, VR};

pub use bulk::{BulkValue, bulk_value, parse_tag};
pub use levels::{Level, instance_attributes, level_of, series_attributes, study_attributes};
pub use stored::read_stored;

/// What the default prefix is; stands for an address that only whoever serves the list knows.
pub const BULK_PREFIX: &str = "{BULK}";

/// How the JSON is to be made.
#[derive(Debug, Clone)]
pub struct JsonOptions {
    /// Longest binary value, in bytes, that goes inline; a longer one becomes a `BulkDataURI`.
    pub bulk_threshold_bytes: usize,
    /// The pixel element that was cut out of the header, if the instance has one.
    pub pixel: Option<PixelPlaceholder>,
    /// What bulk data paths start with.
    pub bulk_prefix: String,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            bulk_threshold_bytes: 1024,
            pixel: None,
            bulk_prefix: BULK_PREFIX.to_owned(),
        }
    }
}

/// The pixel element, which always appears as `BulkDataURI`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelPlaceholder {
    /// `7FE00010` Pixel Data, `7FE00008` Float Pixel Data or `7FE00009` Double Float Pixel Data.
    pub tag: &'static str,
    /// `OB`, `OW`, `OF` or `OD`.
    pub vr: &'static str,
}

/// A JSON object with one member an attribute, sorted by tag.
pub fn to_json(header: &Header, options: &JsonOptions) -> Map<String, Json> {
    let mut path = options.bulk_prefix.clone();
    let mut map = dataset_json(header.dataset(), &CharacterSets::default(), options, &mut path);
    if let Some(pixel) = options.pixel {
        map.insert(
            pixel.tag.to_owned(),
            bulk_reference(pixel.vr, format!("{}/{}", options.bulk_prefix, pixel.tag)),
        );
    }
    map
}

/// Recurses as deep as the header's items nest, which [`Header`] bounds.
fn dataset_json(
    dataset: &Dataset,
    inherited: &CharacterSets,
    options: &JsonOptions,
    path: &mut String,
) -> Map<String, Json> {
    let character_sets = dataset.character_sets().unwrap_or(inherited);
    let mut map = Map::new();
    for element in dataset.elements().iter().filter(|element| is_shown(element.tag)) {
        let key = format!("{:04X}{:04X}", element.tag.0, element.tag.1);
        let parent_length = path.len();
        path.push('/');
        path.push_str(&key);
        let json = element_json(element, character_sets, options, path);
        path.truncate(parent_length);
        map.insert(key, json);
    }
    map
}

/// File meta and command elements do not belong to the dataset, group lengths and delimiters say nothing.
fn is_shown(tag: Tag) -> bool {
    tag.1 != 0 && tag.0 > 0x0002 && tag.0 != 0xFFFE
}

fn element_json(element: &Element, character_sets: &CharacterSets, options: &JsonOptions, path: &mut String) -> Json {
    let vr = element.vr.to_string();
    let bytes = match &element.value {
        Value::Items(items) => {
            let mut values = Vec::with_capacity(items.len());
            let parent_length = path.len();
            for (number, item) in items.iter().enumerate() {
                path.push_str(&format!("/{number}"));
                values.push(Json::Object(dataset_json(item, character_sets, options, path)));
                path.truncate(parent_length);
            }
            return with_values(vr, values);
        }
        Value::Fragments(_) => return bulk_reference(vr, path.clone()),
        Value::Bytes(bytes) => bytes,
    };
    if bytes.is_empty() {
        return with_values(vr, Vec::new());
    }
    if element.tag == dicom_dictionary_std::tags::SPECIFIC_CHARACTER_SET {
        return with_values(vr, vec![Json::from("ISO_IR 192")]);
    }
    match values::values(element, character_sets) {
        Some(values) => with_values(vr, values),
        None if bytes.len() > options.bulk_threshold_bytes => bulk_reference(binary_vr(element.vr), path.clone()),
        None => {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(element.little_endian_bytes());
            object([("vr", binary_vr(element.vr).into()), ("InlineBinary", text.into())])
        }
    }
}

/// The VR of a value that goes out as bytes: its own, or UN for a number whose bytes do not fit it.
fn binary_vr(vr: VR) -> &'static str {
    match vr {
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW => vr.to_string(),
        _ => "UN",
    }
}

fn with_values(vr: &str, values: Vec<Json>) -> Json {
    if values.is_empty() {
        object([("vr", vr.into())])
    } else {
        object([("vr", vr.into()), ("Value", values.into())])
    }
}

fn bulk_reference(vr: &str, path: String) -> Json {
    object([("vr", vr.into()), ("BulkDataURI", path.into())])
}

fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dicom::attributes::Encoding;

    fn short(tag: (u16, u16), vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut out = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        out.extend_from_slice(vr);
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(value);
        out
    }

    fn long(tag: (u16, u16), vr: &[u8; 2], value: &[u8], length: u32) -> Vec<u8> {
        let mut out = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        out.extend_from_slice(vr);
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(value);
        out
    }

    #[test]
    fn one_element_each() {
        let check = |element: Vec<u8>, expected: Json| {
            let header = Header::parse(&element, Encoding::ExplicitLittle).expect("readable");
            let options = JsonOptions {
                bulk_threshold_bytes: 4,
                pixel: None,
                ..JsonOptions::default()
            };
            assert_eq!(Json::Object(to_json(&header, &options)), expected);
        };
        check(short((8, 0), b"UL", &[1, 0, 0, 0]), json!({}));
        check(short((2, 0x10), b"UI", b"1.2"), json!({}));
        check(
            short((8, 0x16), b"UI", b"1.2\0"),
            json!({"00080016": {"vr": "UI", "Value": ["1.2"]}}),
        );
        check(short((8, 0x60), b"CS", b""), json!({"00080060": {"vr": "CS"}}));
        check(short((8, 0x60), b"CS", b"  "), json!({"00080060": {"vr": "CS"}}));
        check(
            short((8, 5), b"CS", b"ISO_IR 100"),
            json!({"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}),
        );
        check(
            short((8, 8), b"CS", b"A\\\\B "),
            json!({"00080008": {"vr": "CS", "Value": ["A", null, "B"]}}),
        );
        check(
            short((0x10, 0x10), b"PN", b"A^B=C\\=D\\"),
            json!({"00100010": {"vr": "PN", "Value": [
                {"Alphabetic": "A^B", "Ideographic": "C"}, {"Ideographic": "D"}, null]}}),
        );
        check(
            short((0x20, 0x13), b"IS", b" 12 "),
            json!({"00200013": {"vr": "IS", "Value": [12]}}),
        );
        check(
            short((0x20, 0x13), b"IS", b"1x"),
            json!({"00200013": {"vr": "IS", "Value": ["1x"]}}),
        );
        check(
            short((0x28, 0x30), b"DS", b"0.5\\+1e2"),
            json!({"00280030": {"vr": "DS", "Value": [0.5, 100.0]}}),
        );
        check(
            short((0x28, 0x30), b"DS", b"nan"),
            json!({"00280030": {"vr": "DS", "Value": ["nan"]}}),
        );
        check(
            short((0x28, 9), b"AT", &[0x18, 0, 0x63, 0x10]),
            json!({"00280009": {"vr": "AT", "Value": ["00181063"]}}),
        );
        check(
            short((0x28, 0x10), b"US", &[1, 2, 3]),
            json!({"00280010": {"vr": "UN", "InlineBinary": "AQID"}}),
        );
        check(
            short((0x28, 0x10), b"US", &[1, 2]),
            json!({"00280010": {"vr": "US", "Value": [513]}}),
        );
        check(
            short((0x20, 0x4000), b"LT", b"a\\b\x01\n "),
            json!({"00204000": {"vr": "LT", "Value": ["a\\b\u{FFFD}\n"]}}),
        );
        check(
            long((0x42, 0x11), b"OB", b"%PDF-", 5),
            json!({"00420011": {"vr": "OB", "BulkDataURI": "{BULK}/00420011"}}),
        );
        check(
            long((0x42, 0x11), b"OB", b"%PDF", 4),
            json!({"00420011": {"vr": "OB", "InlineBinary": "JVBERg=="}}),
        );
        // The private number stays what it says it is; an unknown one stays bytes.
        check(
            short((9, 0x1001), b"SS", &[255, 255]),
            json!({"00091001": {"vr": "SS", "Value": [-1]}}),
        );
        check(
            long((9, 0x1001), b"UN", b"ab", 2),
            json!({"00091001": {"vr": "UN", "InlineBinary": "YWI="}}),
        );
        check(
            long((9, 0x10), b"UN", b"ab", 2),
            json!({"00090010": {"vr": "LO", "Value": ["ab"]}}),
        );
        // A VR that no edition knows has a long header; undefined UN holds implicit items, or explicit ones.
        check(
            long((0x61, 0x1001), b"ZZ", b"ab", 2),
            json!({"00611001": {"vr": "UN", "InlineBinary": "YWI="}}),
        );
        let implicit = b"\xFE\xFF\x00\xE0\x0A\0\0\0\x08\0\x60\0\x02\0\0\0CT\xFE\xFF\xDD\xE0\0\0\0\0";
        let explicit = b"\xFE\xFF\x00\xE0\x0A\0\0\0\x08\0\x60\0CS\x02\0CT\xFE\xFF\xDD\xE0\0\0\0\0";
        for items in [implicit, explicit] {
            check(
                long((9, 0x1001), b"UN", items, u32::MAX),
                json!({"00091001": {"vr": "SQ", "Value": [{"00080060": {"vr": "CS", "Value": ["CT"]}}]}}),
            );
        }
        check(
            long(
                (0x7FE0, 0x10),
                b"OB",
                b"\xFE\xFF\x00\xE0\x02\0\0\0ab\xFE\xFF\xDD\xE0\0\0\0\0",
                u32::MAX,
            ),
            json!({"7FE00010": {"vr": "OB", "BulkDataURI": "{BULK}/7FE00010"}}),
        );
        // A standard attribute sent as UN gets its VR back.
        check(
            long((8, 0x60), b"UN", b"CT", 2),
            json!({"00080060": {"vr": "CS", "Value": ["CT"]}}),
        );
        check(long((8, 0x1140), b"SQ", b"", 0), json!({"00081140": {"vr": "SQ"}}));
        let item = [
            &[0xFE, 0xFF, 0, 0xE0, 17, 0, 0, 0][..],
            &long((0x5400, 0x1010), b"OB", b"12345", 5),
        ]
        .concat();
        check(
            long((0x5400, 0x100), b"SQ", &item, item.len() as u32),
            json!({"54000100": {"vr": "SQ", "Value": [
                {"54001010": {"vr": "OB", "BulkDataURI": "{BULK}/54000100/0/54001010"}}]}}),
        );
    }

    #[test]
    fn pixels_are_a_placeholder() {
        let header = Header::parse(&[], Encoding::ImplicitLittle).expect("readable");
        let pixel = Some(PixelPlaceholder {
            tag: "7FE00010",
            vr: "OW",
        });
        assert_eq!(
            Json::Object(to_json(
                &header,
                &JsonOptions {
                    pixel,
                    ..JsonOptions::default()
                }
            )),
            json!({"7FE00010": {"vr": "OW", "BulkDataURI": "{BULK}/7FE00010"}})
        );
    }

    #[test]
    fn bulk_paths_lead_back_to_bytes() {
        let item = [
            &[0xFE, 0xFF, 0, 0xE0, 17, 0, 0, 0][..],
            &long((0x5400, 0x1010), b"OB", b"12345", 5),
        ]
        .concat();
        let bytes = long((0x5400, 0x100), b"SQ", &item, item.len() as u32);
        let header = Header::parse(&bytes, Encoding::ExplicitLittle).expect("readable");
        let found = bulk_value(&header, "54000100/0/54001010").expect("there");
        assert_eq!((found.vr, &found.bytes[..]), (VR::OB, &b"12345"[..]));
        for path in [
            "",
            "54000100",
            "54000100/1/54001010",
            "54000100/0",
            "54000100/0/54001011",
            "x/0/y",
            "/",
        ] {
            assert!(bulk_value(&header, path).is_none(), "{path:?}");
        }
    }
}
