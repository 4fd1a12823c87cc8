//! The PHI fields of a study by the names of the API, out of DICOM JSON.

use serde_json::{Map, Value, json};

/// Names and tags.
pub(super) const FIELDS: [(&str, &str); 28] = [
    ("patient_name", "00100010"),
    ("patientid", "00100020"),
    ("patient_birth_date", "00100030"),
    ("patient_birth_time", "00100032"),
    ("patient_sex", "00100040"),
    ("patientid_other", "00101000"),
    ("patient_name_other", "00101001"),
    ("patient_birthname", "00101005"),
    ("patient_age", "00101010"),
    ("patient_size", "00101020"),
    ("patient_weight", "00101030"),
    ("patient_address", "00101040"),
    ("patient_mother_birthname", "00101060"),
    ("medical_record_locator", "00101090"),
    ("patient_phone", "00102154"),
    ("patient_ethnic_group", "00102160"),
    ("patient_occupation", "00102180"),
    ("patient_additional_history", "001021B0"),
    ("patient_religious_preference", "001021F0"),
    ("patient_comments", "00104000"),
    ("patient_current_location", "00380300"),
    ("patient_institution_residence", "00380400"),
    ("study_description", "00081030"),
    ("study_date", "00080020"),
    ("study_time", "00080030"),
    ("accession_number", "00080050"),
    ("modality", "00080060"),
    ("referring_physician", "00080090"),
];

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
    FIELDS.into_iter().filter_map(field).collect()
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
    FIELDS.into_iter().filter_map(tag).collect()
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
