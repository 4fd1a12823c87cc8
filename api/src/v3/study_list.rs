//! `/study/list` and `/study/count`: what columns can decide is decided there, the rest on the records. What came
//! last comes first, unless something else is asked for.

use std::cmp::Reverse;
use std::sync::Arc;

use septum_core::access::{FieldRight, Permission, authorize_each};
use septum_core::dicom::json::Level;
use septum_core::ids::{AccountId, NamespaceId};
use septum_core::query::Query;
use septum_engine::accounts::Namespace;
use septum_engine::accounts::documents::Kind;
use septum_engine::search::{Scope, search};
use serde_json::{Map, Value};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::lists::{Condition, Filter, Wanted};
use super::reply::Reply;
use super::study_extra::Extras;
use super::study_id::StudyName;
use super::study_record::{FIELDS, Records, Stored, stored};
use super::{shares, values};

/// Studies asked for in one step, at most.
const STEP: usize = 512;
/// And at least.
const STEP_MIN: usize = 32;
/// Most studies that are looked at for one page.
const LOOKED_AT_MAX: usize = 200_000;

/// Fields that columns hold, by keyword.
const COLUMNS: [(&str, &str); 11] = [
    ("patient_name", "PatientName"),
    ("patientid", "PatientID"),
    ("patient_birth_date", "PatientBirthDate"),
    ("patient_sex", "PatientSex"),
    ("study_description", "StudyDescription"),
    ("study_date", "StudyDate"),
    ("study_time", "StudyTime"),
    ("accession_number", "AccessionNumber"),
    ("modality", "ModalitiesInStudy"),
    ("referring_physician", "ReferringPhysicianName"),
    ("study_uid", "StudyInstanceUID"),
];

/// What columns can ask for a filter: never less than the filter lets through. `None` where they cannot.
fn parameter(filter: &Filter) -> Option<(String, String)> {
    let keyword = COLUMNS.iter().find(|(field, _)| *field == filter.field)?.1;
    let [value] = filter.values.as_slice() else {
        return None;
    };
    if filter.or_null || value.is_empty() || value.contains(['*', '?', '\\', '"', ',']) {
        return None;
    }
    let is_date = keyword.ends_with("Date");
    let plain = if is_date { value.replace('-', "") } else { value.clone() };
    if is_date && (plain.len() != 8 || !plain.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let asked = match filter.condition {
        Condition::In if keyword == "StudyTime" => return None,
        Condition::In => plain,
        Condition::Like if is_date || keyword == "StudyTime" || keyword == "StudyInstanceUID" => return None,
        Condition::Like => plain.replace('%', "*"),
        Condition::Greater | Condition::GreaterOrEqual if is_date => format!("{plain}-"),
        Condition::Less | Condition::LessOrEqual if is_date => format!("-{plain}"),
        _ => return None,
    };
    Some((keyword.to_owned(), asked))
}

/// The namespaces that a list is about: those the caller may browse, that the filters do not leave out, and whose hidden
/// fields nobody asks about.
fn namespaces(ask: &Ask, wanted: &Wanted) -> Outcome<Vec<Arc<Namespace>>> {
    let principal = ask.principal()?;
    let all = ask.accounts().namespaces()?;
    let granted = authorize_each(
        Some(principal),
        Permission::StudyBrowse,
        all.iter().map(|namespace| namespace.id),
    )?;
    let is_granted = |namespace: &Namespace| {
        let mut granted = granted.iter();
        granted.any(|granted| granted.covers(Permission::StudyBrowse, namespace.id))
    };
    let is_wanted = |namespace: &Namespace| {
        let mut row = Map::new();
        row.insert("phi_namespace".into(), namespace.id.to_string().into());
        let mut filters = wanted.filters.iter().filter(|filter| filter.field == "phi_namespace");
        filters.all(|filter| filter.matches(&row))
    };
    let asks_hidden = |namespace: &Namespace| {
        let rights = principal.fields(namespace.id);
        let filtered = wanted.filters.iter().map(|filter| &filter.field);
        let mut named = filtered.chain(wanted.sort.iter().map(|(field, _, _)| field));
        named.any(|field| rights.of(&field.replace("customfield-", "customfield_")) == FieldRight::Hidden)
    };
    Ok(all
        .into_iter()
        .filter(|namespace| is_granted(namespace) && is_wanted(namespace) && !asks_hidden(namespace))
        .collect())
}

/// Collects records until there are enough.
struct Collected<'a> {
    wanted: &'a Wanted,
    /// Without sorting, nothing behind the page needs to be looked at.
    enough: Option<usize>,
    rows: Vec<Map<String, Value>>,
}

impl Collected<'_> {
    fn is_full(&self) -> bool {
        self.enough.is_some_and(|enough| self.rows.len() >= enough)
    }

    /// Rows that are wanted still.
    fn missing(&self) -> usize {
        self.enough
            .map_or(usize::MAX, |enough| enough.saturating_sub(self.rows.len()))
    }

    fn offer(&mut self, row: Map<String, Value>) {
        if !self.is_full() && self.wanted.matches(&row) {
            self.rows.push(row);
        }
    }
}

/// The order that is asked for as a search takes it, where columns hold all of it.
fn order_of(wanted: &Wanted) -> Option<String> {
    let keys = wanted.sort.iter().map(|(field, _, is_descending)| {
        let (_, keyword) = COLUMNS.iter().find(|(known, _)| known == field)?;
        let sign = if *is_descending { "-" } else { "" };
        // Of several modalities a row shows another one than a search sorts by.
        (field != "modality").then(|| format!("{sign}{keyword}"))
    });
    let keys: Option<Vec<String>> = keys.collect();
    keys.filter(|keys| !keys.is_empty()).map(|keys| keys.join(","))
}

/// What was found, and whether it is in the order asked for already.
async fn collect(ask: &Ask, wanted: &Wanted, enough: usize) -> Outcome<(Vec<Map<String, Value>>, bool)> {
    let namespaces = namespaces(ask, wanted)?;
    for namespace in &namespaces {
        ask.audit_namespace(namespace).await?;
    }
    let mut records = Records::new(ask);
    let mut collected = Collected {
        wanted,
        enough: None,
        rows: Vec::new(),
    };
    for namespace in &namespaces {
        for name in phantoms(ask, namespace)? {
            if stored(ask, &name, namespace)?.is_none() {
                collected.offer(records.make(&name, namespace, None)?);
            }
        }
    }
    for namespace in &namespaces {
        offered(ask, namespace, &mut records, &mut collected)?;
    }
    // A search does not know of what is not stored here yet.
    let waiting = std::mem::take(&mut collected.rows);
    let order = order_of(wanted).filter(|_| waiting.is_empty());
    let is_in_order = wanted.sort.is_empty() || order.is_some();
    collected.enough = is_in_order.then_some(enough);
    let mut asked = parameters(wanted);
    asked.extend(order.map(|order| ("orderby".to_owned(), order)));
    let mut offset = 0;
    while !collected.is_full() && !namespaces.is_empty() {
        let mut pairs = asked.clone();
        let step = collected.missing().clamp(STEP_MIN, STEP);
        for (name, value) in [("includefield", "all".to_owned()), ("limit", step.to_string())] {
            pairs.push((name.to_owned(), value));
        }
        pairs.push(("offset".to_owned(), offset.to_string()));
        let query = Query::parse(Level::Study, pairs.into_iter()).map_err(|_| Fault::new("INVALID_CONDITION"))?;
        let query = query.with_latest_first();
        let scope = Scope {
            each_of_a_uid: true,
            ..Scope::default()
        };
        let found = search(ask.services(), &namespaces, scope, &query).await?;
        for item in found.items {
            let namespace = namespaces.iter().find(|namespace| namespace.id == item.namespace);
            let name = StudyName::of_row_key(item.namespace, &item.row_key);
            let (Some(namespace), Some(name)) = (namespace, name) else {
                continue;
            };
            let stored = Stored {
                attributes: item.attributes,
                summary: item.summary,
            };
            collected.offer(records.make(&name, namespace, Some(&stored))?);
        }
        offset += step;
        if !found.truncated {
            break;
        }
        if offset > LOOKED_AT_MAX {
            return Err(Fault::new("TRY_LATER"));
        }
    }
    Ok((latest_first(collected.rows, waiting), is_in_order))
}

/// Studies that are here, the latest first, and between them those that are not stored here yet.
fn latest_first(stored: Vec<Map<String, Value>>, mut waiting: Vec<Map<String, Value>>) -> Vec<Map<String, Value>> {
    let created = |row: &Map<String, Value>| values::text(row, "created").to_owned();
    waiting.sort_by_key(|row| Reverse(created(row)));
    let mut waiting = waiting.into_iter().peekable();
    let mut rows = Vec::with_capacity(stored.len());
    for row in stored {
        let since = created(&row);
        while let Some(earlier) = waiting.next_if(|waiting| created(waiting) >= since) {
            rows.push(earlier);
        }
        rows.push(row);
    }
    rows.extend(waiting);
    rows
}

/// What waits for whoever may approve it.
fn offered(
    ask: &Ask,
    namespace: &Arc<Namespace>,
    records: &mut Records<'_>,
    collected: &mut Collected<'_>,
) -> Outcome<()> {
    if !ask.principal()?.has(Permission::StudyApprove, namespace.id) {
        return Ok(());
    }
    for offer in shares::offers(ask, namespace)? {
        let Some(study) = offer.study(ask)? else { continue };
        let stored = Stored::of(ask.services(), &study)?;
        collected.offer(shares::offered_record(records, &offer, namespace, &stored)?);
    }
    Ok(())
}

/// What columns are asked: one condition for each field, since a search takes no more; the others are decided later.
fn parameters(wanted: &Wanted) -> Vec<(String, String)> {
    let mut asked: Vec<(String, String)> = Vec::new();
    for (name, value) in wanted.filters.iter().filter_map(parameter) {
        if !asked.iter().any(|(known, _)| *known == name) {
            asked.push((name, value));
        }
    }
    asked
}

/// The studies of a namespace that are announced, each once.
///
/// # Errors
/// Where they cannot be read.
pub fn phantoms(ask: &Ask, namespace: &Namespace) -> Outcome<Vec<StudyName>> {
    let mut found = ask.accounts().documents.list(Kind::Phantom, namespace.id.as_bytes())?;
    found.sort_by_key(|document| std::cmp::Reverse(document.created_ms));
    let mut names: Vec<StudyName> = Vec::new();
    for document in found {
        let name = document
            .body
            .get("study_id")
            .and_then(Value::as_str)
            .and_then(StudyName::parse);
        if let Some(name) = name.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The studies of an account with that Patient ID, newest first.
///
/// # Errors
/// As those of a list.
pub async fn of_patient(ask: &Ask, account: AccountId, patient_id: &str) -> Outcome<Vec<Map<String, Value>>> {
    let mut wanted = ask.wanted(FIELDS)?;
    wanted.filters.push(Filter::equals("patientid", patient_id));
    matching(ask, account, &wanted).await
}

/// The studies of an account that the filters of a call leave, in the order it asks for.
///
/// # Errors
/// As those of a list.
pub async fn of_account(ask: &Ask, account: AccountId) -> Outcome<Vec<Map<String, Value>>> {
    let wanted = ask.wanted(FIELDS)?;
    let mut rows = matching(ask, account, &wanted).await?;
    rows.sort_by(|one, other| wanted.order(one, other));
    Ok(rows)
}

async fn matching(ask: &Ask, account: AccountId, wanted: &Wanted) -> Outcome<Vec<Map<String, Value>>> {
    let (mut rows, _) = collect(ask, wanted, usize::MAX).await?;
    let of_account = |row: &Map<String, Value>| {
        let place = row.get("phi_namespace").and_then(Value::as_str).and_then(uuid);
        let place = place.and_then(|place| ask.accounts().namespace(NamespaceId::from_bytes(place)).ok());
        place.is_some_and(|place| place.account == account)
    };
    rows.retain(of_account);
    Ok(rows)
}

/// `/study/list`.
pub async fn list(ask: &Ask) -> Outcome {
    let wanted = ask.wanted(FIELDS)?;
    let (rows, is_in_order) = collect(ask, &wanted, wanted.skipped() + wanted.rows + 1).await?;
    let mut reply = if is_in_order {
        wanted.page_in_order("studies", rows)
    } else {
        wanted.page("studies", rows)
    };
    let mut extras = Extras::new(ask)?;
    if let Some(Value::Array(studies)) = reply.0.get_mut("studies") {
        for study in studies.iter_mut().filter_map(Value::as_object_mut) {
            extras.add(study)?;
        }
    }
    Ok(reply)
}

/// `/study/count`.
pub async fn count(ask: &Ask) -> Outcome {
    let wanted = ask.wanted(FIELDS)?;
    let (rows, _) = collect(ask, &wanted, usize::MAX).await?;
    Ok(Reply::of("count", rows.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_stands_where_it_was_announced() {
        let rows = |numbers: &[u32]| -> Vec<Map<String, Value>> {
            let rows = numbers
                .iter()
                .map(|number| json!({"created": format!("2020-01-0{number}")}));
            rows.filter_map(|row| row.as_object().cloned()).collect()
        };
        let days = |rows: Vec<Map<String, Value>>| -> Vec<String> {
            rows.iter()
                .map(|row| values::text(row, "created")[9..].to_owned())
                .collect()
        };
        assert_eq!(
            days(latest_first(rows(&[5, 3, 1]), rows(&[2, 4, 6]))),
            ["6", "5", "4", "3", "2", "1"]
        );
        assert_eq!(days(latest_first(rows(&[]), rows(&[1, 2]))), ["2", "1"]);
        assert_eq!(days(latest_first(rows(&[2, 1]), rows(&[]))), ["2", "1"]);
    }
}
