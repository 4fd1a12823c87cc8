//! The modules of annex J: which instances a request names, and the answer in the same form.

use actix_web::http::StatusCode;
use septum_core::ids::Uid;
use serde_json::{Map, Value, json};

use crate::http::problem::{Answer, Problem};
use crate::routes::store_answer::put;

/// Most references with study and series.
const REFERENCES_MAX: usize = 50_000;
/// Most references without.
const SEARCHED_MAX: usize = 1000;
/// One instance that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Study and series, where the request has them.
    pub(super) place: Option<(String, String)>,
    /// SOP Class UID.
    pub(super) sop_class: String,
    /// SOP Instance UID.
    pub(super) instance: String,
}

fn items<'a>(dataset: &'a Map<String, Value>, tag: &str) -> impl Iterator<Item = &'a Map<String, Value>> {
    let values = dataset.get(tag).and_then(|element| element.get("Value")?.as_array());
    values.into_iter().flatten().filter_map(Value::as_object)
}

fn uid(dataset: &Map<String, Value>, tag: &str) -> Answer<String> {
    let text = dataset
        .get(tag)
        .and_then(|element| element.get("Value")?.get(0)?.as_str());
    text.and_then(|text| Uid::parse(text).ok())
        .map(|uid| uid.as_str().to_owned())
        .ok_or_else(|| Problem::bad_request(format!("attribute {tag} is missing in an item, or is not a UID")))
}

/// The instances that a request names, as the Storage Commitment Request Module has them (PS3.18 annex J.1).
///
/// # Errors
/// 400 where it names none or something else; 413 where it names too many.
pub(super) fn references(dataset: &Map<String, Value>) -> Answer<Vec<Reference>> {
    let mut found = Vec::new();
    let mut add = |place: Option<(&str, &str)>, sop_class: String, item: &Map<String, Value>| {
        found.push(Reference {
            place: place.map(|(study, series)| (study.to_owned(), series.to_owned())),
            sop_class,
            instance: uid(item, "00081155")?,
        });
        Ok::<(), Problem>(())
    };
    for item in items(dataset, "00081199") {
        add(None, uid(item, "00081150")?, item)?;
    }
    for study in items(dataset, "00081110") {
        let study_uid = uid(study, "0020000D")?;
        for series in items(study, "00081115") {
            let series_uid = uid(series, "0020000E")?;
            let place = Some((study_uid.as_str(), series_uid.as_str()));
            for class in items(series, "00081112") {
                let sop_class = uid(class, "00081150")?;
                for item in items(class, "0008114A") {
                    add(place, sop_class.clone(), item)?;
                }
            }
            for item in items(series, "00081199") {
                add(place, uid(item, "00081150")?, item)?;
            }
        }
    }
    if found.is_empty() {
        return Err(Problem::bad_request("the request names no instance"));
    }
    let num_searched = found.iter().filter(|reference| reference.place.is_none()).count();
    if found.len() > REFERENCES_MAX || num_searched > SEARCHED_MAX {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!(
                "a request names at most {REFERENCES_MAX} instances with their study and series, and {SEARCHED_MAX} without"
            ),
        ));
    }
    Ok(found)
}

/// The Storage Commitment Response Module (PS3.18 annex J.2), in the form of the request.
pub(super) fn result(references: &[Reference], outcomes: &[Option<u16>]) -> Map<String, Value> {
    let (mut kept, mut failed) = (Vec::new(), Vec::new());
    // Both forms nest the same way: study, series, class.
    let (mut kept_studies, mut failed_studies) = (Vec::new(), Vec::new());
    for (reference, outcome) in references.iter().zip(outcomes) {
        let mut item = Map::new();
        if reference.place.is_none() {
            put(&mut item, "00081150", "UI", json!([reference.sop_class]));
        }
        put(&mut item, "00081155", "UI", json!([reference.instance]));
        if let Some(reason) = outcome {
            put(&mut item, "00081197", "US", json!([reason]));
        }
        let item = Value::Object(item);
        match (&reference.place, outcome) {
            (None, None) => kept.push(item),
            (None, Some(_)) => failed.push(item),
            (Some(place), None) => kept_studies.push((place, &reference.sop_class, item)),
            (Some(place), Some(_)) => failed_studies.push((place, &reference.sop_class, item)),
        }
    }
    let mut dataset = Map::new();
    for (tag, items) in [
        ("00081198", failed),
        ("00081199", kept),
        ("00081110", nested(kept_studies)),
        ("0008119B", nested(failed_studies)),
    ] {
        if !items.is_empty() {
            put(&mut dataset, tag, "SQ", Value::Array(items));
        }
    }
    dataset
}

/// References by study, series and class. What the request has together stays together.
fn nested(references: Vec<(&(String, String), &String, Value)>) -> Vec<Value> {
    let mut studies: Vec<Value> = Vec::new();
    let mut last: Option<(&str, &str, &str)> = None;
    let (mut series, mut classes, mut instances) = (Vec::new(), Vec::new(), Vec::new());
    let sequence = |items: &mut Vec<Value>| json!({"vr": "SQ", "Value": std::mem::take(items)});
    let named = |uid: &str| json!({"vr": "UI", "Value": [uid]});
    for (place, class, item) in references.iter().map(Some).chain([None]).map(|next| match next {
        Some((place, class, item)) => (Some(*place), Some(class.as_str()), Some(item)),
        None => (None, None, None),
    }) {
        let now = place
            .zip(class)
            .map(|((study, series), class)| (study.as_str(), series.as_str(), class));
        if let Some(before) = last
            && now != last
        {
            classes.push(json!({"00081150": named(before.2), "0008114A": sequence(&mut instances)}));
            if now.map(|now| (now.0, now.1)) != Some((before.0, before.1)) {
                series.push(json!({"0020000E": named(before.1), "00081112": sequence(&mut classes)}));
            }
            if now.map(|now| now.0) != Some(before.0) {
                studies.push(json!({"0020000D": named(before.0), "00081115": sequence(&mut series)}));
            }
        }
        instances.extend(item.cloned());
        last = now;
    }
    studies
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(study: &str, series: &str, class: &str, instance: &str) -> Reference {
        Reference {
            place: (!study.is_empty()).then(|| (study.to_owned(), series.to_owned())),
            sop_class: class.to_owned(),
            instance: instance.to_owned(),
        }
    }

    #[test]
    fn what_is_asked_is_answered_in_its_form() {
        let asked = [
            reference("", "", "1.1", "9.1"),
            reference("", "", "1.1", "9.2"),
            reference("2.1", "3.1", "1.1", "4.1"),
            reference("2.1", "3.1", "1.1", "4.2"),
            reference("2.1", "3.1", "1.2", "4.3"),
            reference("2.1", "3.2", "1.2", "4.4"),
            reference("2.2", "3.3", "1.2", "4.5"),
        ];
        let all_kept = result(&asked, &[None; 7]);
        assert!(!all_kept.contains_key("00081198") && !all_kept.contains_key("0008119B"));
        let again = references(&all_kept).unwrap_or_default();
        assert_eq!(again, asked);
        let outcomes = [None, Some(0x112), None, Some(0x112), None, None, Some(0x119)];
        let mixed = result(&asked, &outcomes);
        assert_eq!(mixed["00081198"]["Value"][0]["00081197"]["Value"], json!([0x112]));
        assert_eq!(mixed["00081199"]["Value"].as_array().map(Vec::len), Some(1));
        assert_eq!(mixed["0008119B"]["Value"].as_array().map(Vec::len), Some(2));
        assert_eq!(references(&mixed).unwrap_or_default().len(), 4);
    }

    #[test]
    fn requests_that_ask_nothing_are_refused() {
        for dataset in [
            json!({}),
            json!({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}}),
            json!({"00081199": {"vr": "SQ", "Value": [{"00081150": {"vr": "UI", "Value": ["x"]}}]}}),
        ] {
            assert!(
                references(dataset.as_object().unwrap_or(&Map::new())).is_err(),
                "{dataset}"
            );
        }
    }
}
