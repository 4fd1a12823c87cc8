//! Predicates against the DICOM JSON Model of one dataset.

use std::borrow::Cow;

use dicom_core::VR;
use serde_json::{Map, Value as Json};

use super::Predicate;
use super::condition::Condition;
use super::name;

/// Whether all `predicates` hold for `attributes`. Predicates on the same sequence must hold in one and the same item
/// (PS3.4 section C.2.2.2.6).
pub fn matches_all<'a>(predicates: impl IntoIterator<Item = &'a Predicate>, attributes: &Map<String, Json>) -> bool {
    let predicates: Vec<_> = predicates
        .into_iter()
        .filter(|predicate| !predicate.is_universal())
        .collect();
    dataset_matches(&predicates, 0, attributes)
}

/// Recurses along the paths of the predicates, which are short.
fn dataset_matches(predicates: &[&Predicate], depth: usize, attributes: &Map<String, Json>) -> bool {
    predicates.iter().enumerate().all(|(number, predicate)| {
        let Some(key) = predicate.keys.get(depth) else {
            return true;
        };
        if predicate.keys.len() == depth + 1 {
            return leaf_matches(predicate, key, attributes);
        }
        let on_sequence = |other: &&Predicate| other.keys.len() > depth + 1 && other.keys[depth] == *key;
        if predicates[..number].iter().any(on_sequence) {
            // The first predicate on this sequence has looked at the items for all of them.
            return true;
        }
        let group: Vec<_> = predicates.iter().copied().filter(on_sequence).collect();
        let items = attributes
            .get(key)
            .and_then(|attribute| attribute.get("Value"))
            .and_then(Json::as_array);
        match items.filter(|items| !items.is_empty()) {
            Some(items) => items
                .iter()
                .filter_map(Json::as_object)
                .any(|item| dataset_matches(&group, depth + 1, item)),
            None => dataset_matches(&group, depth + 1, &Map::new()),
        }
    })
}

fn leaf_matches(predicate: &Predicate, key: &str, attributes: &Map<String, Json>) -> bool {
    let condition = &predicate.condition;
    let values = comparable_values(attributes.get(key), predicate.vr);
    if values.is_empty() {
        return condition.matches_empty();
    }
    if let Condition::DateAndTime { time_tag, .. } = condition {
        let times = comparable_values(attributes.get(&format!("{time_tag:08X}")), VR::TM);
        return values
            .iter()
            .enumerate()
            .any(|(number, date)| condition.matches_date_and_time(date, times.get(number).map(|time| &**time)));
    }
    values.iter().any(|value| condition.matches_value(value))
}

/// The values of an attribute that are not empty, in comparable form.
pub(super) fn comparable_values(attribute: Option<&Json>, vr: VR) -> Vec<Cow<'_, str>> {
    let values = attribute
        .and_then(|attribute| attribute.get("Value"))
        .and_then(Json::as_array);
    values
        .into_iter()
        .flatten()
        .filter_map(|value| comparable(value, vr))
        .collect()
}

fn comparable(value: &Json, vr: VR) -> Option<Cow<'_, str>> {
    let text: Cow<'_, str> = match value {
        Json::String(text) if vr == VR::PN => name::comparable(text.split('=')).into(),
        Json::String(text) => text.trim().into(),
        Json::Number(number) => number.to_string().into(),
        Json::Object(groups) if vr == VR::PN => {
            let group = |member: &str| groups.get(member).and_then(Json::as_str).unwrap_or_default();
            name::comparable(["Alphabetic", "Ideographic", "Phonetic"].map(group).into_iter()).into()
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}
