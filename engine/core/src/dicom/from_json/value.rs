//! One attribute's `Value` array to bytes (PS3.18 table F.2.3-1, PS3.5 section 6.2).

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use dicom_core::VR;
use serde_json::{Map, Value as Json};

/// The longest Decimal String, in bytes.
const DECIMAL_STRING_BYTES_MAX: usize = 16;

/// An encoded value, little endian and not padded.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// Whether a number lost digits.
    pub(super) is_rounded: bool,
}

/// Bytes of `values`, which are not items. `None` when they do not fit the VR.
pub(super) fn encode(vr: VR, values: &[Json]) -> Option<Encoded> {
    let mut is_rounded = false;
    let bytes = match vr {
        VR::LT | VR::ST | VR::UT | VR::UR => joined(values, |value| text(value, true))?,
        VR::PN => joined(values, person_name)?,
        VR::IS => joined(values, integer_string)?,
        VR::DS => joined(values, |value| decimal_string(value, &mut is_rounded))?,
        VR::AE | VR::AS | VR::CS | VR::DA | VR::DT | VR::LO | VR::SH | VR::TM | VR::UC | VR::UI => {
            joined(values, |value| text(value, false))?
        }
        // Numbers have no empty value; an array of nothing but null is an empty attribute.
        _ if values.iter().all(Json::is_null) => Vec::new(),
        VR::US => numbers(values, |n| Some(u16::try_from(integer(n)?).ok()?.to_le_bytes()))?,
        VR::SS => numbers(values, |n| Some(i16::try_from(integer(n)?).ok()?.to_le_bytes()))?,
        VR::UL => numbers(values, |n| Some(u32::try_from(integer(n)?).ok()?.to_le_bytes()))?,
        VR::SL => numbers(values, |n| Some(i32::try_from(integer(n)?).ok()?.to_le_bytes()))?,
        VR::UV => numbers(values, |n| Some(u64::try_from(integer(n)?).ok()?.to_le_bytes()))?,
        VR::SV => numbers(values, |n| Some(i64::try_from(integer(n)?).ok()?.to_le_bytes()))?,
        VR::FL => numbers(values, |n| {
            let (wide, narrow) = (float(n)?, float(n)? as f32);
            (wide.is_finite() == narrow.is_finite()).then(|| narrow.to_le_bytes())
        })?,
        VR::FD => numbers(values, |n| Some(float(n)?.to_le_bytes()))?,
        VR::AT => numbers(values, |n| {
            let tag = super::parse_tag(n.as_str()?)?;
            let ([a, b], [c, d]) = (tag.0.to_le_bytes(), tag.1.to_le_bytes());
            Some([a, b, c, d])
        })?,
        _ => return None,
    };
    Some(Encoded { bytes, is_rounded })
}

/// Bytes of an `InlineBinary`; white space is none of them, padding is not asked for.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let dense: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        return LENIENT.decode(dense).ok();
    }
    LENIENT.decode(text).ok()
}

/// Whether an attribute that Specific Character Set speaks for holds more than ASCII. Looks `depth` levels deep.
pub(super) fn has_extended_text(dataset: &Map<String, Json>, depth: u16) -> bool {
    fn is_extended(value: &Json) -> bool {
        match value {
            Json::String(text) => !text.is_ascii(),
            Json::Object(name) => name
                .values()
                .any(|group| group.as_str().is_some_and(|text| !text.is_ascii())),
            _ => false,
        }
    }
    dataset.values().any(|element| {
        let values = element
            .get("Value")
            .and_then(Json::as_array)
            .map_or(&[][..], Vec::as_slice);
        match element.get("vr").and_then(Json::as_str) {
            Some("SQ") => values
                .iter()
                .filter_map(Json::as_object)
                .any(|item| depth > 0 && has_extended_text(item, depth - 1)),
            Some("LO" | "LT" | "PN" | "SH" | "ST" | "UC" | "UT") => values.iter().any(is_extended),
            _ => false,
        }
    })
}

fn joined(values: &[Json], mut one: impl FnMut(&Json) -> Option<String>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (number, value) in values.iter().enumerate() {
        if number > 0 {
            out.push(b'\\');
        }
        if !value.is_null() {
            out.extend_from_slice(one(value)?.as_bytes());
        }
    }
    Some(out)
}

fn numbers<const N: usize>(values: &[Json], one: impl Fn(&Json) -> Option<[u8; N]>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(values.len() * N);
    for value in values {
        out.extend_from_slice(&one(value)?);
    }
    Some(out)
}

/// Text as it stands. A backslash separates values, so one value cannot hold it unless the VR has but one value.
fn text(value: &Json, backslash: bool) -> Option<String> {
    match value {
        Json::String(text) if backslash || !text.contains('\\') => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Component groups, trailing empty ones left out (PS3.5 section 6.2.1). A plain string is one that was never taken
/// apart.
fn person_name(value: &Json) -> Option<String> {
    let Json::Object(groups) = value else {
        return text(value, false);
    };
    let mut name = String::new();
    let mut num_separators = 0;
    for (number, member) in ["Alphabetic", "Ideographic", "Phonetic"].iter().enumerate() {
        let group = match groups.get(*member) {
            None | Some(Json::Null) => continue,
            Some(group) => group.as_str()?,
        };
        if group.contains(['\\', '=']) {
            return None;
        }
        if !group.is_empty() {
            while num_separators < number {
                name.push('=');
                num_separators += 1;
            }
            name.push_str(group);
        }
    }
    Some(name)
}

/// An integer, also one that was sent as a string or as a float without a fraction.
fn integer(value: &Json) -> Option<i128> {
    match value {
        Json::String(text) => text.trim().parse().ok(),
        Json::Number(number) => {
            if let Some(number) = number.as_i64() {
                return Some(number.into());
            }
            if let Some(number) = number.as_u64() {
                return Some(number.into());
            }
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() < 1e20).then_some(float as i128)
        }
        _ => None,
    }
}

/// A float, also as a string: `NaN`, `Infinity` and `-Infinity` have no JSON number.
fn float(value: &Json) -> Option<f64> {
    match value {
        Json::String(text) => text.trim().parse().ok(),
        Json::Number(number) => number.as_f64(),
        _ => None,
    }
}

fn integer_string(value: &Json) -> Option<String> {
    match value {
        Json::String(_) => text(value, false),
        _ => integer(value).map(|number| number.to_string()),
    }
}

fn decimal_string(value: &Json, is_rounded: &mut bool) -> Option<String> {
    let Json::Number(number) = value else {
        return text(value, false);
    };
    let exact = number.to_string();
    if exact.len() <= DECIMAL_STRING_BYTES_MAX {
        return Some(exact);
    }
    let number = number.as_f64()?;
    let shortest = [number.to_string(), format!("{number:e}")];
    if let Some(exact) = shortest.into_iter().find(|text| text.len() <= DECIMAL_STRING_BYTES_MAX) {
        return Some(exact);
    }
    *is_rounded = true;
    // As many digits as fit; an exponent is shorter for the very small and the very large.
    let fits = |text: &String| text.len() <= DECIMAL_STRING_BYTES_MAX;
    let plain = (0..=14).rev().map(|digits| format!("{number:.digits$}")).find(fits);
    let exponent = (0..=14).rev().map(|digits| format!("{number:.digits$e}")).find(fits);
    let error = |text: &String| text.parse::<f64>().map_or(f64::INFINITY, |read| (read - number).abs());
    [plain, exponent]
        .into_iter()
        .flatten()
        .min_by(|a, b| error(a).total_cmp(&error(b)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_bytes() {
        let check = |vr: VR, values: Json, expected: Option<&[u8]>| {
            let encoded = encode(vr, values.as_array().expect("an array"));
            assert_eq!(
                encoded.map(|encoded| encoded.bytes).as_deref(),
                expected,
                "{vr:?} {values}"
            );
        };
        check(VR::CS, json!([]), Some(b""));
        check(VR::CS, json!(["A", null, "B"]), Some(b"A\\\\B"));
        check(VR::CS, json!(["A\\B"]), None);
        check(VR::LO, json!([{"a": 1}]), None);
        check(VR::LO, json!([7]), Some(b"7"));
        check(VR::LO, json!([true]), None);
        check(VR::LT, json!(["a\\b"]), Some(b"a\\b"));
        check(
            VR::PN,
            json!([{"Alphabetic": "A^B", "Phonetic": "C"}, null, {}]),
            Some(b"A^B==C\\\\"),
        );
        check(VR::PN, json!([{"Ideographic": "D", "Phonetic": ""}]), Some(b"=D"));
        check(VR::PN, json!([{"Alphabetic": "A=B"}]), None);
        check(VR::PN, json!(["A^B=C"]), Some(b"A^B=C"));
        check(VR::IS, json!([12, "-3", 4.0]), Some(b"12\\-3\\4"));
        check(VR::IS, json!([1.5]), None);
        check(VR::DS, json!([1, "2.50", 0.1]), Some(b"1\\2.50\\0.1"));
        check(VR::DS, json!([0.30000000000000004]), Some(b"0.30000000000000"));
        check(VR::DS, json!([-1.2345678901234567e-10]), Some(b"-1.234567890e-10"));
        check(VR::DS, json!([1e300]), Some(b"1e+300"));
        check(VR::US, json!([1, "513"]), Some(&[1, 0, 1, 2]));
        check(VR::US, json!([65536]), None);
        check(VR::US, json!([-1]), None);
        check(VR::US, json!([1, null]), None);
        check(VR::US, json!([null]), Some(b""));
        check(VR::SS, json!([-1]), Some(&[255, 255]));
        check(VR::UL, json!([4294967295_u32]), Some(&[255; 4]));
        check(VR::SL, json!([-2]), Some(&[254, 255, 255, 255]));
        check(VR::UV, json!(["18446744073709551615"]), Some(&[255; 8]));
        check(VR::UV, json!([18446744073709551615_u64]), Some(&[255; 8]));
        check(
            VR::SV,
            json!(["-9223372036854775808"]),
            Some(&[0, 0, 0, 0, 0, 0, 0, 128]),
        );
        check(VR::SV, json!(["9223372036854775808"]), None);
        check(VR::FL, json!([1]), Some(&[0, 0, 0x80, 0x3F]));
        check(VR::FL, json!([1e39]), None);
        check(
            VR::FL,
            json!(["NaN", "Infinity"]),
            Some(&[0, 0, 0xC0, 0x7F, 0, 0, 0x80, 0x7F]),
        );
        check(VR::FD, json!(["-Infinity"]), Some(&f64::NEG_INFINITY.to_le_bytes()));
        check(VR::AT, json!(["00181063"]), Some(&[0x18, 0, 0x63, 0x10]));
        check(VR::AT, json!(["0018106"]), None);
        check(VR::OB, json!(["AA"]), None);
        check(VR::OB, json!([]), Some(b""));
        check(VR::UN, json!([1]), None);
    }

    #[test]
    fn base64_is_read_leniently() {
        let check = |text: &str, expected: Option<&[u8]>| assert_eq!(base64(text).as_deref(), expected, "{text}");
        check("", Some(b""));
        check("YWI=", Some(b"ab"));
        check("YWI", Some(b"ab"));
        check("YW\r\nI=", Some(b"ab"));
        check("Y$I=", None);
    }
}
