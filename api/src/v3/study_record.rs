//! A study as the interface shows it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use septum_core::access::{FieldRight, FieldRights, STUDY_FIELDS};
use septum_core::ids::{AccountId, NamespaceId};
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::accounts::documents::{Document, Kind};
use septum_engine::freeze;
use septum_engine::retrieve::StudyRef;
use septum_engine::search::study_map;
use septum_engine::services::Services;
use septum_engine::summaries::OpenSummary;
use serde_json::{Map, Value, json};

use super::ask::Ask;
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::flag;
use super::study_id::StudyName;
use super::values::{self, Holds};
use super::{custom_fields, namespaces, tags, times, users};

/// Patient and study fields with their attributes.
pub const PHI: [(&str, &str); 28] = [
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
    ("modality", "00080061"),
    ("referring_physician", "00080090"),
];

/// What callers say of a study beside its images.
pub const GIVEN: values::Fields = &[
    ("integration_key", Holds::Text),
    ("source_ae_title", Holds::Text),
    ("destination_ae_title", Holds::Text),
    ("seconds_to_ingest", Holds::Integer),
    ("attachment_count", Holds::Integer),
    ("thin", Holds::Flag),
];

/// What calls of their own, with permissions of their own, make known of it.
const NOTED: values::Fields = &[
    ("study_status", Holds::Text),
    ("share_message", Holds::Text),
    ("must_approve", Holds::Flag),
];

/// What studies may be filtered and sorted by.
pub const FIELDS: Fields = &[
    (
        "SMART_SEARCH",
        Compare::Words(&[
            "patient_name",
            "patientid",
            "accession_number",
            "study_description",
            "referring_physician",
            "modality",
            "study_date",
        ]),
    ),
    ("uuid", Compare::Text),
    ("study_uid", Compare::Text),
    ("phi_namespace", Compare::Text),
    ("storage_namespace", Compare::Text),
    ("patient_name", Compare::Name),
    ("patientid", Compare::Text),
    ("patient_birth_date", Compare::Date),
    ("patient_birth_time", Compare::Text),
    ("patient_sex", Compare::Text),
    ("patientid_other", Compare::List),
    ("patient_name_other", Compare::Name),
    ("patient_birthname", Compare::Name),
    ("patient_age", Compare::Text),
    ("patient_size", Compare::Number),
    ("patient_weight", Compare::Number),
    ("patient_address", Compare::Text),
    ("patient_mother_birthname", Compare::Name),
    ("medical_record_locator", Compare::Text),
    ("patient_phone", Compare::Text),
    ("patient_ethnic_group", Compare::Text),
    ("patient_occupation", Compare::Text),
    ("patient_additional_history", Compare::Text),
    ("patient_religious_preference", Compare::Text),
    ("patient_comments", Compare::Text),
    ("patient_current_location", Compare::Text),
    ("patient_institution_residence", Compare::Text),
    ("study_description", Compare::Text),
    ("study_date", Compare::Date),
    ("study_time", Compare::Text),
    ("accession_number", Compare::Text),
    ("modality", Compare::List),
    ("referring_physician", Compare::Name),
    ("image_count", Compare::Number),
    ("size", Compare::Number),
    ("star", Compare::Number),
    ("tags", Compare::Text),
    ("phi_namespace_name", Compare::Name),
    ("phantom", Compare::Number),
    ("thin", Compare::Number),
    ("must_approve", Compare::Number),
    ("is_frozen", Compare::Number),
    ("study_status", Compare::Text),
    ("source", Compare::Text),
    ("source_ae_title", Compare::Text),
    ("destination_ae_title", Compare::Text),
    ("share_message", Compare::Text),
    ("seconds_to_ingest", Compare::Number),
    ("integration_key", Compare::Text),
    ("created", Compare::Time),
    ("updated", Compare::Time),
];

/// What is stored of a study.
pub struct Stored {
    /// Patient and study attributes, DICOM JSON Model.
    pub attributes: Map<String, Value>,
    /// What is known of it.
    pub summary: Arc<OpenSummary>,
}

impl Stored {
    /// What is stored of a study that was found.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn of(services: &Services, found: &StudyRef) -> Result<Self, EngineError> {
        let summary = services.summaries.open(&found.row)?;
        Ok(Self {
            attributes: study_map(&summary.summary),
            summary,
        })
    }
}

impl Stored {
    /// What the study says for an attribute; of its first series, where it is one of series.
    fn value_of(&self, tag: &str) -> Value {
        let series = self.summary.summary.series.first().map(|series| &series.attributes);
        let mut places = [Some(&self.attributes), series].into_iter().flatten();
        let place = places.find(|attributes| attributes.get(tag).is_some_and(|said| said.get("Value").is_some()));
        place.map_or(Value::Null, |attributes| text_of(attributes, tag))
    }
}

/// Makes records of many studies, looking things up once.
pub struct Records<'a> {
    ask: &'a Ask,
    definitions: HashMap<AccountId, Vec<Document>>,
    /// The frozen studies of a namespace, by the keys of their rows.
    frozen: HashMap<NamespaceId, HashSet<Vec<u8>>>,
}

/// What is noted of a study, where anything is.
///
/// # Errors
/// Where the notes cannot be read.
pub fn notes(ask: &Ask, name: &StudyName) -> Outcome<Option<Document>> {
    let documents = ask.accounts().documents.list(Kind::Study, &name.owner())?;
    Ok(documents.into_iter().min_by_key(|document| document.created_ms))
}

/// The stored part of a study, where anything came.
///
/// # Errors
/// Where it cannot be read.
pub fn stored(ask: &Ask, name: &StudyName, namespace: &Namespace) -> Outcome<Option<Stored>> {
    match name.find(ask.services(), namespace) {
        Ok(found) => Ok(Some(Stored::of(ask.services(), &found)?)),
        Err(EngineError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a study is frozen; one that is only announced is not.
///
/// # Errors
/// Where that cannot be read.
pub fn is_frozen(ask: &Ask, name: &StudyName, namespace: &Namespace) -> Outcome<bool> {
    match name.find(ask.services(), namespace) {
        Ok(found) => Ok(freeze::is_frozen(ask.services(), &found)?),
        Err(EngineError::NotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether anything of a study is stored or announced.
///
/// # Errors
/// `NOT_FOUND` where nothing is.
pub fn must_be_there(ask: &Ask, name: &StudyName, namespace: &Namespace) -> Outcome<()> {
    if stored(ask, name, namespace)?.is_none() && notes(ask, name)?.is_none() {
        return Err(Fault::not_found());
    }
    Ok(())
}

/// The first value of an attribute as the interface writes it.
pub fn text_of(attributes: &Map<String, Value>, tag: &str) -> Value {
    let value = attributes
        .get(tag)
        .and_then(|attribute| attribute.get("Value"))
        .and_then(|values| values.get(0));
    match value {
        Some(Value::Object(name)) => name.get("Alphabetic").cloned().unwrap_or(Value::Null),
        Some(Value::Number(number)) => number.to_string().into(),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

/// All values of an attribute, parted as DICOM parts them.
fn all_of(attributes: &Map<String, Value>, tag: &str) -> Value {
    let values = attributes.get(tag).and_then(|attribute| attribute["Value"].as_array());
    let texts: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
    if texts.is_empty() {
        Value::Null
    } else {
        texts.join("\\").into()
    }
}

impl<'a> Records<'a> {
    /// For the answer to one call.
    pub fn new(ask: &'a Ask) -> Self {
        Self {
            ask,
            definitions: HashMap::new(),
            frozen: HashMap::new(),
        }
    }

    fn is_frozen(&mut self, name: &StudyName) -> Outcome<bool> {
        let frozen = match self.frozen.entry(name.phi) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(freeze::in_namespace(self.ask.services(), name.phi)?),
        };
        Ok(frozen.contains(&name.row_key()))
    }

    /// The record of a study: `None` of the stored part where nothing came yet.
    ///
    /// # Errors
    /// Where something of it cannot be read.
    pub fn make(
        &mut self,
        name: &StudyName,
        namespace: &Arc<Namespace>,
        stored: Option<&Stored>,
    ) -> Outcome<Map<String, Value>> {
        let notes = notes(self.ask, name)?;
        let is_frozen = self.is_frozen(name)?;
        let empty = Map::new();
        let noted = notes.as_ref().map_or(&empty, |notes| &notes.body);
        let mut record = Map::new();
        let mut put = |field: &str, value: Value| record.insert(field.to_owned(), value);
        put("uuid", name.to_string().into());
        put("phi_namespace", name.phi.to_string().into());
        put("storage_namespace", name.storage.to_string().into());
        put("phi_namespace_name", users::namespace_name(self.ask, namespace)?.into());
        put("engine_fqdn", namespaces::host(self.ask).into());
        match stored {
            Some(stored) => {
                for (field, tag) in PHI {
                    put(field, text_of(&stored.attributes, tag));
                }
                put("modality", all_of(&stored.attributes, "00080061"));
                put("study_uid", text_of(&stored.attributes, "0020000D"));
                let count = text_of(&stored.attributes, "00201208");
                let count = count.as_str().and_then(|count| count.parse::<u64>().ok());
                put("image_count", json!(count));
                put("size", json!(stored.summary.summary.dataset_bytes));
            }
            None => {
                for field in PHI.map(|(field, _)| field).into_iter().chain(["study_uid"]) {
                    put(field, noted.get(field).cloned().unwrap_or(Value::Null));
                }
                put("image_count", json!(0));
                put("size", json!(0));
            }
        }
        let time = |ms: i64| times::written(ms).map_or(Value::Null, Value::from);
        let came = stored.map(|stored| &stored.summary.summary);
        let noted_at = notes.as_ref().map(|notes| (notes.created_ms, notes.updated_ms));
        // It is there since it was announced, or its first image came.
        let created = noted_at.map(|at| at.0).into_iter();
        let created = created.chain(came.map(|came| came.first_commit_ms)).min();
        let updated = came.map(|came| came.last_commit_ms).or(noted_at.map(|at| at.1));
        put("created", time(created.unwrap_or(0)));
        put("updated", time(updated.unwrap_or(0)));
        put("phantom", flag(stored.is_none()));
        put("is_frozen", flag(is_frozen));
        put(
            "source",
            if name.storage == name.phi { "upload" } else { "share" }.into(),
        );
        put("star", flag(is_starred(self.ask, noted)));
        values::show(GIVEN, noted, &mut record);
        values::show(NOTED, noted, &mut record);
        if let Some(shared) = came.and_then(|came| came.shared.as_ref()) {
            record.insert("share_message".into(), shared.message.clone().into());
        }
        record.insert("tags".into(), tags::words(self.ask, &name.owner())?);
        for name in [
            "customfields_DICOM",
            "hl7",
            "radreports",
            "routes",
            "meetings",
            "comments",
        ] {
            record.insert(name.to_owned(), json!([]));
        }
        let account = namespace.account;
        let definitions = match self.definitions.entry(account) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(custom_fields::definitions(self.ask, account, "Study")?),
        };
        let rights = self.ask.principal()?.fields(name.phi);
        let loaded = |tag: &str| match stored {
            Some(stored) if !is_hidden(&rights, tag) => stored.value_of(tag),
            _ => Value::Null,
        };
        let custom = custom_fields::with_loaded(definitions, custom_fields::values(noted), loaded);
        record.insert("customfields".into(), custom);
        hide(&mut record, &rights);
        Ok(record)
    }
}

fn is_starred(ask: &Ask, noted: &Map<String, Value>) -> bool {
    let user = ask.principal().map(|principal| principal.user.to_string());
    let stars = noted.get("stars").and_then(Value::as_array);
    stars.is_some_and(|stars| user.is_ok_and(|user| stars.iter().any(|star| star.as_str() == Some(&user))))
}

/// Whether an attribute is one that the caller's roles hide as a field.
fn is_hidden(rights: &FieldRights, tag: &str) -> bool {
    let mut fields = PHI.into_iter().chain([("modality", "00080060")]);
    fields.any(|(field, of)| of == tag && rights.of(field) == FieldRight::Hidden)
}

/// Takes out what the caller's roles hide.
fn hide(record: &mut Map<String, Value>, rights: &FieldRights) {
    for field in STUDY_FIELDS {
        if rights.of(field) == FieldRight::Hidden {
            record.remove(field);
        }
    }
    if let Some(Value::Array(custom)) = record.get_mut("customfields") {
        custom.retain(|field| {
            let id = field.get("uuid").and_then(Value::as_str).unwrap_or_default();
            rights.of(&format!("customfield_{id}")) != FieldRight::Hidden
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_fields_are_taken_out() {
        let mut rights = FieldRights::default();
        assert!(rights.set("patient_name", FieldRight::Hidden) && rights.set("customfield_7", FieldRight::Hidden));
        assert!(rights.set("patientid", FieldRight::ReadOnly));
        let record = json!({"patient_name": "a", "patientid": "b", "customfields": [{"uuid": "7"}, {"uuid": "8"}]});
        let mut record = record.as_object().cloned().expect("an object");
        hide(&mut record, &rights);
        assert_eq!(
            Value::Object(record),
            json!({"patientid": "b", "customfields": [{"uuid": "8"}]})
        );
    }
}
