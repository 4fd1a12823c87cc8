//! The PHI fields of a study by the names of the API, out of DICOM JSON.

use serde_json::{Map, Value, json};

use crate::v3::study_record::PHI;

/// Names and tags: those of studies, with the modality of a single image.
fn names_and_tags() -> impl Iterator<Item = (&'static str, &'static str)> {
    PHI.into_iter().map(|(name, tag)| match name {
        "modality" => (name, "00080060"),
        _ => (name, tag),
    })
}

/// An attribute's values as text, parted by backslashes; `None` where there are none.
fn text(attributes: &Map<String, Value>, tag: &str) -> Option<String> {
    let values = attributes.get(tag)?.get("Value")?.as_array()?;
    let one = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Object(name) => ["Alphabetic", "Ideographic", "Phonetic"]
            .iter()
            .map(|group| name.get(*group).and_then(Value::as_str).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("=")
            .trim_end_matches('=')
            .to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    Some(values.iter().map(one).collect::<Vec<_>>().join("\\"))
}

/// The fields that are there, by name.
pub(super) fn fields(attributes: &Map<String, Value>) -> Map<String, Value> {
    let field = |(name, tag): (&str, &str)| Some((name.to_owned(), text(attributes, tag)?.into()));
    names_and_tags().filter_map(field).collect()
}

/// The fields that are there as tags.
pub(super) fn tags(attributes: &Map<String, Value>) -> Vec<Value> {
    let tag = |(name, tag): (&str, &str)| {
        let value = text(attributes, tag)?;
        let vr = attributes.get(tag)?.get("vr")?.clone();
        let number = u32::from_str_radix(tag, 16).ok()?;
        Some(json!({
            "group": number >> 16,
            "element": number & 0xFFFF,
            "name": septum_core::dicom::keyword_of(number).map_or("?", |(keyword, _)| keyword),
            "field": name,
            "vr": vr,
            "vl": value.len() + value.len() % 2,
            "value": value,
        }))
    };
    names_and_tags().filter_map(tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_of_the_api() {
        let attributes = json!({
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "a^b"}]},
            "00100020": {"vr": "LO"},
            "00101020": {"vr": "DS", "Value": [1.5]},
            "00080060": {"vr": "CS", "Value": ["CT"]},
        });
        let attributes = attributes.as_object().expect("object");
        let found = fields(attributes);
        assert_eq!(
            Value::Object(found),
            json!({"patient_name": "A^B==a^b", "patient_size": "1.5", "modality": "CT"})
        );
        let tags = tags(attributes);
        assert_eq!(tags.len(), 3);
        assert_eq!((&tags[0]["group"], &tags[0]["element"]), (&json!(16), &json!(16)));
        assert_eq!(tags[0]["name"], "PatientName");
    }
}
