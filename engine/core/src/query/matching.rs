//! Predicates against the DICOM JSON Model of one dataset.

use std::borrow::Cow;

use dicom_core::VR;
use serde_json::{Map, Value as Json};

use super::Predicate;
use super::condition::Condition;
use super::fold::normalized;
use super::private::{self, Step};
use super::{name, zone};

/// Whether all `predicates` hold for `attributes`. Predicates on the same sequence must hold in one and the same item
/// (PS3.4 section C.2.2.2.6); a sequence without items counts as one empty item.
pub fn matches_all<'a>(predicates: impl IntoIterator<Item = &'a Predicate>, attributes: &Map<String, Json>) -> bool {
    let predicates: Vec<_> = predicates
        .into_iter()
        .filter(|predicate| !predicate.is_universal())
        .collect();
    // Only queries with a zone of their own ask for the dataset's.
    let has_zone = |predicate: &&Predicate| matches!(predicate.condition, Condition::InZone { .. });
    let zone_minutes = predicates.iter().any(has_zone).then(|| zone::of_dataset(attributes));
    dataset_matches(&predicates, 0, attributes, zone_minutes.flatten())
}

/// Whether the predicates hold in one item; they have `depth` steps behind them.
pub(super) fn item_matches(
    predicates: &[&Predicate],
    depth: usize,
    item: &Map<String, Json>,
    root: &Map<String, Json>,
) -> bool {
    dataset_matches(predicates, depth, item, zone::of_dataset(root))
}

/// Recurses along the paths of the predicates, which are short.
fn dataset_matches(
    predicates: &[&Predicate],
    depth: usize,
    attributes: &Map<String, Json>,
    zone_minutes: Option<i32>,
) -> bool {
    predicates.iter().enumerate().all(|(number, predicate)| {
        let Some(step) = predicate.steps.get(depth) else {
            return true;
        };
        if predicate.steps.len() == depth + 1 {
            return leaf_matches(predicate, step, attributes, zone_minutes);
        }
        let on_sequence = |other: &&Predicate| other.steps.len() > depth + 1 && other.steps[depth] == *step;
        if predicates[..number].iter().any(on_sequence) {
            // The first predicate on this sequence has looked at the items for all of them.
            return true;
        }
        let group: Vec<_> = predicates.iter().copied().filter(on_sequence).collect();
        let mut items = private::attributes_at(attributes, step).flat_map(items).peekable();
        if items.peek().is_none() {
            return dataset_matches(&group, depth + 1, &Map::new(), zone_minutes);
        }
        items
            .filter_map(Json::as_object)
            .any(|item| dataset_matches(&group, depth + 1, item, zone_minutes))
    })
}

/// The items of a sequence.
pub(super) fn items(attribute: &Json) -> &[Json] {
    let values = attribute.get("Value").and_then(Json::as_array);
    values.map_or(&[], Vec::as_slice)
}

fn leaf_matches(predicate: &Predicate, step: &Step, attributes: &Map<String, Json>, zone_minutes: Option<i32>) -> bool {
    let values = || -> Vec<Cow<'_, str>> {
        private::attributes_at(attributes, step)
            .flat_map(|attribute| comparable_values(Some(attribute), predicate.vr))
            .collect()
    };
    let times = |time_tag: Option<u32>| match time_tag {
        Some(tag) => comparable_values(attributes.get(&format!("{tag:08X}")), VR::TM),
        None => Vec::new(),
    };
    match &predicate.condition {
        Condition::Universal => true,
        Condition::Empty => private::attributes_at(attributes, step).all(|attribute| is_empty(attribute, predicate.vr)),
        Condition::ByStoredVr { value, options } => {
            private::attributes_at(attributes, step).any(|attribute| private::matches(attribute, value, *options))
        }
        condition @ Condition::DateAndTime { time_tag, .. } => {
            let times = times(Some(*time_tag));
            with_times(&values(), &times).any(|(date, time)| condition.matches_date_and_time(date, time))
        }
        Condition::InZone {
            zone_minutes: wanted,
            time_tag,
            inner,
        } => {
            let times = times(*time_tag);
            let own_minutes = zone_minutes.unwrap_or(*wanted);
            let shift_minutes = wanted - own_minutes;
            with_times(&values(), &times)
                .any(|(value, time)| zone::matches(inner, value, time, shift_minutes, own_minutes))
        }
        condition => condition.matches_values(values().iter().map(|value| &**value)),
    }
}

fn with_times<'a>(
    dates: &'a [Cow<'_, str>],
    times: &'a [Cow<'_, str>],
) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
    let time = |number: usize| times.get(number).map(|time: &Cow<'_, str>| &**time);
    dates
        .iter()
        .enumerate()
        .map(move |(number, date)| (&**date, time(number)))
}

/// Whether an attribute has no value, or only empty ones.
fn is_empty(attribute: &Json, vr: VR) -> bool {
    let stored_vr = attribute.get("vr").and_then(Json::as_str);
    if vr == VR::SQ || stored_vr == Some("SQ") {
        return items(attribute).is_empty();
    }
    let is_bulk = attribute.get("InlineBinary").is_some() || attribute.get("BulkDataURI").is_some();
    !is_bulk && comparable_values(Some(attribute), vr).is_empty()
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
        Json::String(text) => normalized(text.trim()),
        Json::Number(number) => number.to_string().into(),
        Json::Object(groups) if vr == VR::PN => {
            let group = |member: &str| groups.get(member).and_then(Json::as_str).unwrap_or_default();
            name::comparable(["Alphabetic", "Ideographic", "Phonetic"].map(group).into_iter()).into()
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}
