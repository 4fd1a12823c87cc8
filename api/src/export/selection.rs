//! What to download: studies by UID, and conditions as in QIDO-RS (PS3.18 section 8.3.4), each asked at its own level.

use super::arguments::is_uid;

/// Attributes that belong to series (PS3.18 table 10.6.1-3). Whatever is in no table is asked of studies.
const SERIES: [(&str, &str); 8] = [
    ("Modality", "00080060"),
    ("SeriesDescription", "0008103E"),
    ("SeriesInstanceUID", "0020000E"),
    ("SeriesNumber", "00200011"),
    ("BodyPartExamined", "00180015"),
    ("ProtocolName", "00181030"),
    ("PerformedProcedureStepStartDate", "00400244"),
    ("PerformedProcedureStepStartTime", "00400245"),
];

/// Attributes that belong to instances (PS3.18 table 10.6.1-4).
const INSTANCE: [(&str, &str); 4] = [
    ("SOPClassUID", "00080016"),
    ("SOPInstanceUID", "00080018"),
    ("InstanceNumber", "00200013"),
    ("NumberOfFrames", "00280008"),
];

/// The checked selection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Study Instance UIDs; empty: whatever matches.
    pub(super) studies: Vec<String>,
    /// Conditions on studies, in the form of a query: `&PatientID=42`.
    pub(super) study_query: String,
    /// Conditions on series.
    pub(super) series_query: String,
    /// Conditions on instances.
    pub(super) instance_query: String,
}

impl Selection {
    /// Reads the command line's words. The error says what is wrong with them.
    pub(super) fn new(studies: &[String], matches: &[String]) -> Result<Self, String> {
        let mut selection = Self::default();
        for uid in studies {
            if !is_uid(uid) {
                return Err("--study is not a UID".into());
            }
            if !selection.studies.contains(uid) {
                selection.studies.push(uid.clone());
            }
        }
        for text in matches {
            let key_and_value = text.split_once('=').filter(|(key, value)| {
                !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') && !value.is_empty()
            });
            let Some((key, value)) = key_and_value else {
                return Err("--match needs a keyword or tag, = and a value, such as PatientID=42".into());
            };
            let is_in =
                |table: &[(&str, &str)]| table.iter().any(|(k, tag)| *k == key || tag.eq_ignore_ascii_case(key));
            let query = if is_in(&SERIES) {
                &mut selection.series_query
            } else if is_in(&INSTANCE) {
                &mut selection.instance_query
            } else {
                &mut selection.study_query
            };
            query.push_str(&format!("&{key}={}", percent(value)));
        }
        Ok(selection)
    }
}

/// Percent-encodes what may not stand in a query's value (RFC 3986 section 2.3).
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_at_its_level() {
        let words = [
            "PatientName=Müller*",
            "Modality=CT",
            "00080016=1.2",
            "StudyDate=20200101-",
        ]
        .map(String::from);
        let selection = Selection::new(&["1.2".into(), "1.2".into()], &words).expect("good");
        assert_eq!(selection.studies, ["1.2"]);
        assert_eq!(selection.study_query, "&PatientName=M%C3%BCller%2A&StudyDate=20200101-");
        assert_eq!(selection.series_query, "&Modality=CT");
        assert_eq!(selection.instance_query, "&00080016=1.2");
    }

    #[test]
    fn nonsense_is_refused() {
        for word in ["PatientID", "=1", "PatientID=", "Patient ID=1", "a&b=1"] {
            assert!(Selection::new(&[], &[word.into()]).is_err(), "{word}");
        }
        assert!(Selection::new(&["../x".into()], &[]).is_err());
    }
}
