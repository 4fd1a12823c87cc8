//! The keys of directory records (PS3.3 tables F.5-1 to F.5-47).

use serde_json::{Map, Value as Json, json};

use crate::dicom::from_json::elements;

/// What a key needs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    /// Type 1: this text, if nothing better is there.
    Text(&'static str),
    /// Type 1: this number.
    Number(u16),
    /// Type 1: the number of the record among its siblings, from 1.
    Counter,
    /// Type 1: the first of these other attributes that has a value, else this text.
    From(&'static [&'static str], &'static str),
    /// Type 1: the concept name of a document whose own is missing.
    Concept,
    /// Type 2: may be empty.
    Empty,
    /// Type 1C and 3: only if it has a value.
    Present,
}

/// One key.
pub(super) struct Key {
    tag: &'static str,
    vr: &'static str,
    need: Need,
}

const fn key(tag: &'static str, vr: &'static str, need: Need) -> Key {
    Key { tag, vr, need }
}

const NO_DATE: &str = "19000101";
const NO_TIME: &str = "000000";
/// Dates and times that stand in for one that is missing, the nearest in meaning first.
const DATES: &[&str] = &["00080023", "00080022", "00080012", "00080021", "00080020"];
const TIMES: &[&str] = &["00080033", "00080032", "00080013", "00080031", "00080030"];

pub(super) const PATIENT: &[Key] = &[
    key("00100010", "PN", Need::Empty),
    // Patient ID is given by the builder.
    key("00100021", "LO", Need::Present),
    key("00100030", "DA", Need::Present),
    key("00100040", "CS", Need::Present),
];

pub(super) const STUDY: &[Key] = &[
    key(
        "00080020",
        "DA",
        Need::From(&["00080021", "00080022", "00080023", "00080012"], NO_DATE),
    ),
    key(
        "00080030",
        "TM",
        Need::From(&["00080031", "00080032", "00080033", "00080013"], NO_TIME),
    ),
    key("00080050", "SH", Need::Empty),
    key("00081030", "LO", Need::Empty),
    key("0020000D", "UI", Need::Present),
    key("00200010", "SH", Need::Counter),
];

pub(super) const SERIES: &[Key] = &[
    key("00080021", "DA", Need::Present),
    key("00080031", "TM", Need::Present),
    key("00080060", "CS", Need::Text("OT")),
    key("00080080", "LO", Need::Present),
    key("0008103E", "LO", Need::Present),
    key("0020000E", "UI", Need::Present),
    key("00200011", "IS", Need::Counter),
];

const INSTANCE_NUMBER: Key = key("00200013", "IS", Need::Counter);
const CONTENT_DATE: Key = key("00080023", "DA", Need::From(DATES, NO_DATE));
const CONTENT_TIME: Key = key("00080033", "TM", Need::From(TIMES, NO_TIME));
const CONTENT_LABEL: Key = key("00700080", "CS", Need::Text("UNNAMED"));
const CONTENT_DESCRIPTION: Key = key("00700081", "LO", Need::Empty);
const CONTENT_CREATOR: Key = key("00700084", "PN", Need::Empty);

const IMAGE: &[Key] = &[
    key("00080008", "CS", Need::Present),
    INSTANCE_NUMBER,
    key("00280008", "IS", Need::Present),
    key("00280010", "US", Need::Present),
    key("00280011", "US", Need::Present),
];
const RT_DOSE: &[Key] = &[
    INSTANCE_NUMBER,
    key("3004000A", "CS", Need::Text("PLAN")),
    key("30040006", "LO", Need::Present),
];
const RT_STRUCTURE_SET: &[Key] = &[
    INSTANCE_NUMBER,
    key("30060002", "SH", Need::Text("UNNAMED")),
    key("30060008", "DA", Need::Empty),
    key("30060009", "TM", Need::Empty),
];
const RT_PLAN: &[Key] = &[
    INSTANCE_NUMBER,
    key("300A0002", "SH", Need::Text("UNNAMED")),
    key("300A0006", "DA", Need::Empty),
    key("300A0007", "TM", Need::Empty),
];
const RT_TREATMENT_RECORD: &[Key] = &[
    INSTANCE_NUMBER,
    key("30080250", "DA", Need::Empty),
    key("30080251", "TM", Need::Empty),
];
const PRESENTATION: &[Key] = &[
    key("00081115", "SQ", Need::Present),
    INSTANCE_NUMBER,
    CONTENT_LABEL,
    CONTENT_DESCRIPTION,
    key("00700082", "DA", Need::From(DATES, NO_DATE)),
    key("00700083", "TM", Need::From(TIMES, NO_TIME)),
    CONTENT_CREATOR,
    key("00700402", "SQ", Need::Present),
];
const SR_DOCUMENT: &[Key] = &[
    CONTENT_DATE,
    CONTENT_TIME,
    INSTANCE_NUMBER,
    key("0040A030", "DT", Need::Present),
    key("0040A043", "SQ", Need::Concept),
    key("0040A491", "CS", Need::Text("PARTIAL")),
    key("0040A493", "CS", Need::Text("UNVERIFIED")),
];
const KEY_OBJECT: &[Key] = &[
    CONTENT_DATE,
    CONTENT_TIME,
    INSTANCE_NUMBER,
    key("0040A043", "SQ", Need::Concept),
];
const SPECTROSCOPY: &[Key] = &[
    key("00080008", "CS", Need::Text("ORIGINAL")),
    CONTENT_DATE,
    CONTENT_TIME,
    key("00089092", "SQ", Need::Present),
    INSTANCE_NUMBER,
    key("00280008", "IS", Need::Number(1)),
    key("00280010", "US", Need::Number(1)),
    key("00280011", "US", Need::Number(1)),
    key("00289001", "UL", Need::Number(1)),
    key("00289002", "UL", Need::Number(1)),
];
const ENCAPSULATED: &[Key] = &[
    key("00080023", "DA", Need::Empty),
    key("00080033", "TM", Need::Empty),
    INSTANCE_NUMBER,
    key("0040A043", "SQ", Need::Empty),
    key("0040E001", "ST", Need::Present),
    key("00420010", "ST", Need::Empty),
    key("00420012", "LO", Need::Text("application/octet-stream")),
];
const RADIOTHERAPY: &[Key] = &[
    INSTANCE_NUMBER,
    CONTENT_DESCRIPTION,
    CONTENT_CREATOR,
    key("30100033", "SH", Need::Present),
    key("30100034", "LO", Need::Present),
];
const ASSESSMENT: &[Key] = &[
    key("00080012", "DA", Need::From(DATES, NO_DATE)),
    key("00080013", "TM", Need::Empty),
    INSTANCE_NUMBER,
];
const SURFACE_SCAN: &[Key] = &[CONTENT_DATE, CONTENT_TIME];
const CONTENT: &[Key] = &[CONTENT_DATE, CONTENT_TIME, INSTANCE_NUMBER];
const LABELLED: &[Key] = &[
    CONTENT_DATE,
    CONTENT_TIME,
    INSTANCE_NUMBER,
    CONTENT_LABEL,
    CONTENT_DESCRIPTION,
    CONTENT_CREATOR,
];

/// The keys of a record below a series.
pub(super) fn of_record(record_type: &str) -> &'static [Key] {
    match record_type {
        "IMAGE" => IMAGE,
        "RT DOSE" => RT_DOSE,
        "RT STRUCTURE SET" => RT_STRUCTURE_SET,
        "RT PLAN" => RT_PLAN,
        "RT TREAT RECORD" => RT_TREATMENT_RECORD,
        "PRESENTATION" => PRESENTATION,
        "SR DOCUMENT" => SR_DOCUMENT,
        "KEY OBJECT DOC" => KEY_OBJECT,
        "SPECTROSCOPY" => SPECTROSCOPY,
        "ENCAP DOC" => ENCAPSULATED,
        "RADIOTHERAPY" => RADIOTHERAPY,
        "ASSESSMENT" => ASSESSMENT,
        "SURFACE SCAN" => SURFACE_SCAN,
        "REGISTRATION" | "FIDUCIAL" | "VALUE MAP" | "MEASUREMENT" | "SURFACE" | "TRACT" | "ANNOTATION" => LABELLED,
        "PLAN" | "STEREOMETRIC" => &[],
        _ => CONTENT,
    }
}

/// Takes `keys` from the attributes of an instance. `number` is the record's among its siblings, from 1; what had to be
/// made up is counted.
pub(super) fn take(
    keys: &[Key],
    attributes: &Map<String, Json>,
    number: usize,
    num_invented: &mut u32,
) -> Map<String, Json> {
    let mut taken = Map::new();
    for key in keys {
        if let Some(element) = with_value(attributes, key.tag, key.vr) {
            taken.insert(key.tag.to_owned(), element);
            continue;
        }
        let made: Json = match key.need {
            Need::Present => continue,
            Need::Empty => {
                taken.insert(key.tag.to_owned(), json!({ "vr": key.vr }));
                continue;
            }
            Need::Text(text) => text.into(),
            Need::Number(number) => number.into(),
            Need::Counter => number.to_string().into(),
            Need::From(others, text) => {
                let other = others.iter().find_map(|tag| with_value(attributes, tag, key.vr));
                let value = other.and_then(|element| element["Value"].get(0).cloned());
                value.unwrap_or_else(|| text.into())
            }
            // Document Title (DCM 121144) says least about what is in the document.
            Need::Concept => json!({
                "00080100": {"vr": "SH", "Value": ["121144"]},
                "00080102": {"vr": "SH", "Value": ["DCM"]},
                "00080104": {"vr": "LO", "Value": ["Document Title"]},
            }),
        };
        *num_invented += 1;
        taken.insert(key.tag.to_owned(), json!({ "vr": key.vr, "Value": [made] }));
    }
    if keys.iter().any(|key| matches!(key.need, Need::Concept)) {
        taken.extend(concept_modifiers(attributes));
    }
    taken
}

/// The attribute, if it has a value of this VR that can be written.
pub(super) fn with_value(attributes: &Map<String, Json>, tag: &str, vr: &str) -> Option<Json> {
    let element = attributes.get(tag)?;
    let first = element.get("Value")?.get(0)?;
    let is_empty = first.is_null() || first.as_str().is_some_and(|text| text.trim().is_empty());
    if is_empty || element.get("vr")?.as_str()? != vr {
        return None;
    }
    let alone = Map::from_iter([(tag.to_owned(), element.clone())]);
    elements(&alone).is_ok().then(|| element.clone())
}

/// Content Sequence of a document, but only what modifies its title (PS3.3 table F.5-24).
fn concept_modifiers(attributes: &Map<String, Json>) -> Option<(String, Json)> {
    let sequence = with_value(attributes, "0040A730", "SQ")?;
    let is_modifier = |item: &&Json| item["0040A010"]["Value"][0] == "HAS CONCEPT MOD";
    let items: Vec<_> = sequence["Value"]
        .as_array()?
        .iter()
        .filter(is_modifier)
        .cloned()
        .collect();
    (!items.is_empty()).then(|| ("0040A730".to_owned(), json!({"vr": "SQ", "Value": items})))
}
