//! The `Value` array of one attribute (PS3.18 tables F.2.3-1 and F.2.2-1).

use dicom_core::VR;
use serde_json::{Map, Number, Value as Json};

use crate::dicom::attributes::{CharacterSets, Element};

/// The largest integer that a JSON reader with 64-bit floats takes exactly.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// The values of an element that is neither a sequence nor empty. An empty list when only padding is inside; `None`
/// when the value can only be shown as bytes.
pub(super) fn values(element: &Element, character_sets: &CharacterSets) -> Option<Vec<Json>> {
    match element.vr {
        VR::LT | VR::ST | VR::UT | VR::UR => {
            let text = element.text(character_sets)?;
            let text = text.trim_end_matches([' ', '\0']);
            Some(if text.is_empty() {
                Vec::new()
            } else {
                vec![safe(text).into()]
            })
        }
        VR::PN => texts(element, character_sets, person_name),
        VR::IS => texts(element, character_sets, |text| integer_string(text.trim())),
        VR::DS => texts(element, character_sets, |text| decimal_string(text.trim())),
        VR::AE => texts(element, character_sets, |text| safe(text.trim()).into()),
        VR::AS | VR::CS | VR::DA | VR::DT | VR::LO | VR::SH | VR::TM | VR::UC | VR::UI => {
            texts(element, character_sets, |text| safe(text).into())
        }
        VR::US => numbers(element, |b: [u8; 2]| u16::from_le_bytes(b).into()),
        VR::SS => numbers(element, |b: [u8; 2]| i16::from_le_bytes(b).into()),
        VR::UL => numbers(element, |b: [u8; 4]| u32::from_le_bytes(b).into()),
        VR::SL => numbers(element, |b: [u8; 4]| i32::from_le_bytes(b).into()),
        VR::UV => numbers(element, |b: [u8; 8]| big(u64::from_le_bytes(b), u64::from_le_bytes(b))),
        VR::SV => numbers(element, |b: [u8; 8]| {
            big(i64::from_le_bytes(b), i64::from_le_bytes(b).unsigned_abs())
        }),
        VR::FL => numbers(element, |b: [u8; 4]| float(f32::from_le_bytes(b).into())),
        VR::FD => numbers(element, |b: [u8; 8]| float(f64::from_le_bytes(b))),
        VR::AT => numbers(element, |[a, b, c, d]: [u8; 4]| {
            format!("{b:02X}{a:02X}{d:02X}{c:02X}").into()
        }),
        _ => None,
    }
}

fn texts(element: &Element, character_sets: &CharacterSets, one: impl Fn(&str) -> Json) -> Option<Vec<Json>> {
    let text = element.text(character_sets)?;
    let values = text.split('\\').map(|value| match value.trim_end_matches([' ', '\0']) {
        "" => Json::Null,
        value => one(value),
    });
    let values: Vec<_> = values.collect();
    Some(if values.iter().all(Json::is_null) && values.len() == 1 {
        Vec::new()
    } else {
        values
    })
}

fn numbers<const N: usize>(element: &Element, one: impl Fn([u8; N]) -> Json) -> Option<Vec<Json>> {
    let bytes = element.little_endian_bytes();
    let (units, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then(|| units.iter().map(|&unit| one(unit)).collect())
}

/// Control characters that mean nothing in DICOM text (PS3.5 section 6.1.3) are not passed on.
fn safe(text: &str) -> String {
    let is_bad = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\x0C' | '\r');
    if text.contains(is_bad) {
        text.replace(is_bad, "\u{FFFD}")
    } else {
        text.to_owned()
    }
}

fn person_name(text: &str) -> Json {
    let groups = text.splitn(3, '=').zip(["Alphabetic", "Ideographic", "Phonetic"]);
    let mut name = Map::new();
    for (group, member) in groups {
        let group = group.trim_end_matches([' ', '\0']);
        if !group.is_empty() {
            name.insert(member.to_owned(), safe(group).into());
        }
    }
    if name.is_empty() {
        Json::Null
    } else {
        Json::Object(name)
    }
}

fn integer_string(text: &str) -> Json {
    match text.strip_prefix('+').unwrap_or(text).parse::<i64>() {
        Ok(number) if number.unsigned_abs() <= EXACT_INTEGER_MAX => number.into(),
        _ => safe(text).into(),
    }
}

fn decimal_string(text: &str) -> Json {
    let is_decimal = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if !is_decimal {
        return safe(text).into();
    }
    if let number @ Json::Number(_) = integer_string(text) {
        return number;
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => float(number),
        _ => safe(text).into(),
    }
}

/// JSON has no word for what is not finite; readers that make floats out of text know these.
fn float(number: f64) -> Json {
    match Number::from_f64(number) {
        Some(number) => Json::Number(number),
        None if number.is_nan() => "NaN".into(),
        None if number > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// A 64-bit integer: a number while every JSON reader takes it exactly, else a string (PS3.18 section F.2.3).
fn big(number: impl Into<Json> + ToString, magnitude: u64) -> Json {
    if magnitude <= EXACT_INTEGER_MAX {
        number.into()
    } else {
        number.to_string().into()
    }
}
