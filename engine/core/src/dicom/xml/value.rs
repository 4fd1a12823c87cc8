//! The text of one `Value` to JSON, as [`crate::dicom::json`] writes it (PS3.18 table F.2.3-1).

use serde_json::{Number, Value as Json};

/// The largest integer that a JSON reader with 64-bit floats takes exactly.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// A value of an attribute that is neither a sequence nor a person's name. Text that is no number where the VR asks for
/// one stays text. Empty is `null`.
pub(super) fn value(vr: &str, text: String) -> Json {
    if text.is_empty() {
        return Json::Null;
    }
    let number = match vr {
        "IS" | "US" | "SS" | "UL" | "SL" | "UV" | "SV" => integer(&text),
        "DS" => integer(&text).or_else(|| decimal(&text)),
        "FL" | "FD" => return float(text),
        _ => None,
    };
    number.unwrap_or(Json::String(text))
}

fn integer(text: &str) -> Option<Json> {
    let text = text.trim_matches(' ');
    let number: i64 = text.strip_prefix('+').unwrap_or(text).parse().ok()?;
    (number.unsigned_abs() <= EXACT_INTEGER_MAX).then(|| number.into())
}

fn decimal(text: &str) -> Option<Json> {
    let text = text.trim_matches(' ');
    let is_decimal = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number: f64 = is_decimal.then_some(text)?.parse().ok()?;
    Number::from_f64(number).map(Json::Number)
}

/// JSON has no word for what is not finite. `INF` is the one of XML Schema.
fn float(text: String) -> Json {
    let number: Option<f64> = text.trim_matches(' ').parse().ok();
    match number {
        Some(number) if number.is_nan() => "NaN".into(),
        Some(f64::INFINITY) => "Infinity".into(),
        Some(f64::NEG_INFINITY) => "-Infinity".into(),
        Some(number) => Number::from_f64(number).map_or(Json::String(text), Json::Number),
        None => Json::String(text),
    }
}
