//! What is shown of a study beside its record: looked up for the studies that go out, and not for those that are only
//! looked at.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::AccountId;
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::accounts::documents::Kind;
use septum_engine::{attachments, stored_size};
use serde_json::{Map, Value, json};

use super::ask::Ask;
use super::fault::{Fault, Outcome};
use super::reply::flag;
use super::study_id::StudyName;
use super::{documents, session, users, values};

/// Adds to the records of one answer, looking things up once.
pub struct Extras<'a> {
    ask: &'a Ask,
    /// The patients of an account, by their numbers.
    patients: HashMap<AccountId, HashMap<String, String>>,
    is_asked: bool,
    with_hash: bool,
    only_differing: bool,
    wanted: Option<Vec<String>>,
}

impl<'a> Extras<'a> {
    /// For the answer to one call: `extra`, `customfield_h`, `permissions_diff` and `fields` say what is wanted.
    ///
    /// # Errors
    /// `INVALID_FLAG`; `NOT_LIST` about `fields`.
    pub fn new(ask: &'a Ask) -> Outcome<Self> {
        let parameters = &ask.parameters;
        let wanted = parameters.list("fields")?.map(|names| {
            let names = names.into_iter().map(|name| match name {
                Value::String(name) => Ok(name),
                _ => Err(Fault::about("NOT_LIST", "fields")),
            });
            names.collect::<Outcome<Vec<String>>>()
        });
        Ok(Self {
            ask,
            patients: HashMap::new(),
            is_asked: parameters.is_set("extra")?,
            with_hash: parameters.is_set("customfield_h")?,
            only_differing: parameters.is_set("permissions_diff")?,
            wanted: wanted.transpose()?,
        })
    }

    /// Adds to a record of a list what is asked for, and leaves out what is not.
    ///
    /// # Errors
    /// Where something cannot be read.
    pub fn add(&mut self, record: &mut Map<String, Value>) -> Outcome<()> {
        let name = StudyName::parse(values::text(record, "uuid")).ok_or_else(Fault::not_found)?;
        let namespace = self.ask.accounts().namespace(name.phi)?;
        let put = |record: &mut Map<String, Value>, field: &str, value: Value| {
            record.insert(field.to_owned(), value);
        };
        if let Some(link) = self.viewer_link(record, &name) {
            put(record, "viewer_link", link.into());
        }
        if let Some(patient) = self.patient(record, &namespace)? {
            put(record, "patient_id", patient.into());
        }
        let settings = &self.ask.accounts().account(namespace.account)?.settings;
        let tags = settings.get("study_status_tags").filter(|tags| tags.is_array());
        let default = settings.get("study_status_tags_default").filter(|tag| !tag.is_null());
        let default = default.or_else(|| tags.and_then(|tags| tags.get(0)));
        put(
            record,
            "study_status_tags_default",
            default.cloned().unwrap_or(Value::Null),
        );
        let principal = self.ask.principal()?;
        if principal.has(Permission::StudyStatusEdit, name.phi) {
            put(record, "study_status_tags", tags.cloned().unwrap_or_else(|| json!([])));
        }
        // Reading locks, thin studies and other viewers are not here.
        for field in ["is_locked", "is_being_retrieved", "has_external_viewer"] {
            put(record, field, flag(false));
        }
        if principal.has(Permission::StudyCommentView, name.phi) {
            put(record, "comments", documents::of_study(self.ask, Kind::Comment, &name)?);
        }
        match name.find(self.ask.services(), &namespace) {
            Ok(found) => {
                let attachments = attachments::list(self.ask.services(), &found)?;
                put(record, "attachment_count", json!(attachments.len()));
            }
            // Announced, or somebody else's as long as it waits.
            Err(EngineError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        if self.only_differing {
            let differing = self.differing(record, &name)?;
            put(record, "permissions", differing.into());
        }
        if self.with_hash {
            let hash = hash_of(record.get("customfields"));
            put(record, "customfield_h", hash.into());
        }
        if self.is_asked {
            self.more(record, &name, &namespace)?;
        }
        self.keep_wanted(record);
        Ok(())
    }

    /// Adds to the record of the one study of a call: what takes longer to find, too.
    ///
    /// # Errors
    /// Where something cannot be read.
    pub async fn add_all(&mut self, record: &mut Map<String, Value>) -> Outcome<()> {
        let name = StudyName::parse(values::text(record, "uuid")).ok_or_else(Fault::not_found)?;
        if !self.only_differing {
            let is_frozen = values::is_set(record, "is_frozen");
            let permissions = session::study_flags(self.ask, name.phi, is_frozen)?;
            record.insert("permissions".into(), permissions.into());
        }
        let namespace = self.ask.accounts().namespace(name.phi)?;
        match name.find(self.ask.services(), &namespace) {
            Ok(found) => {
                let services = Arc::clone(self.ask.services());
                let counted = self
                    .ask
                    .services()
                    .compute
                    .run(move || stored_size::of(&services, &found));
                let bytes = counted.await??;
                record.insert("compressed_size".into(), json!(bytes));
            }
            Err(EngineError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        self.add(record)
    }

    /// The viewer on one study.
    fn viewer_link(&self, record: &Map<String, Value>, name: &StudyName) -> Option<String> {
        let study_uid = record.get("study_uid")?.as_str()?;
        let base = &self.ask.base_url;
        Some(format!(
            "{base}/viewer?namespace={}&StudyInstanceUIDs={study_uid}",
            name.phi
        ))
    }

    /// The patient of the account with the study's Patient ID, where the caller sees both.
    fn patient(&mut self, record: &Map<String, Value>, namespace: &Namespace) -> Outcome<Option<String>> {
        let account = namespace.account;
        // What is a person's own has no account that patients belong to.
        let home = match self.ask.accounts().namespace_of(account) {
            Err(EngineError::NotFound) => return Ok(None),
            home => home?,
        };
        if !self.ask.principal()?.has(Permission::PatientView, home.id) {
            return Ok(None);
        }
        let number = values::text(record, "patientid");
        if number.is_empty() {
            return Ok(None);
        }
        let known = match self.patients.entry(account) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let patients = self.ask.accounts().documents.list(Kind::Patient, account.as_bytes())?;
                let patients = patients.into_iter();
                place.insert(
                    patients
                        .map(|patient| (values::text(&patient.body, "mrn").to_owned(), patient.id.to_string()))
                        .collect(),
                )
            }
        };
        Ok(known.get(number).cloned())
    }

    /// What the caller may do with the study otherwise than with others there.
    fn differing(&self, record: &Map<String, Value>, name: &StudyName) -> Outcome<Map<String, Value>> {
        let of_namespace = session::study_flags(self.ask, name.phi, false)?;
        let mut of_study = session::study_flags(self.ask, name.phi, values::is_set(record, "is_frozen"))?;
        of_study.retain(|permission, value| of_namespace.get(permission) != Some(&*value));
        Ok(of_study)
    }

    /// What `extra` asks for.
    fn more(&self, record: &mut Map<String, Value>, name: &StudyName, namespace: &Arc<Namespace>) -> Outcome<()> {
        let accounts = self.ask.accounts();
        match accounts.namespace_of(namespace.account) {
            Ok(home) => {
                let name = users::namespace_name(self.ask, &home)?;
                record.insert("account_name".into(), name.into());
            }
            // A person's own.
            Err(EngineError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let created = record.get("created").cloned().unwrap_or(Value::Null);
        record.insert("created_at".into(), created);
        // Nobody learns from it a name that is hidden from them.
        if let Some(patient) = record.get("patient_name").and_then(Value::as_str) {
            let (first, last) = parts_of(patient);
            let (first, last) = (Value::from(first), Value::from(last));
            record.insert("first_name".into(), first);
            record.insert("last_name".into(), last);
        }
        if self.ask.principal()?.has(Permission::MessageView, name.phi) {
            let messages = accounts.documents.list(Kind::Message, namespace.id.as_bytes())?;
            let uuid = name.to_string();
            let of_study = messages.iter();
            let count = of_study.filter(|message| values::text(&message.body, "study_id") == uuid);
            record.insert("message_count".into(), json!(count.count()));
        }
        Ok(())
    }

    fn keep_wanted(&self, record: &mut Map<String, Value>) {
        if let Some(wanted) = &self.wanted {
            record.retain(|field, _| wanted.contains(field));
        }
    }
}

/// Given and family name of a value of VR PN.
fn parts_of(name: &str) -> (&str, &str) {
    let mut parts = name.split('^');
    let family = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), family)
}

/// Custom fields by their ids.
fn hash_of(fields: Option<&Value>) -> Map<String, Value> {
    let fields = fields.and_then(Value::as_array).into_iter().flatten();
    let named = fields.filter_map(|field| Some((field.get("uuid")?.as_str()?.to_owned(), field.get("value")?.clone())));
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart() {
        assert_eq!(parts_of("Doe^Jane^M"), ("Jane", "Doe"));
        assert_eq!(parts_of("Doe"), ("", "Doe"));
        assert_eq!(parts_of(""), ("", ""));
    }

    #[test]
    fn custom_fields_are_keyed_by_their_ids() {
        let fields = json!([{"uuid": "1", "name": "a", "value": "x"}, {"uuid": "2", "value": null}]);
        assert_eq!(Value::Object(hash_of(Some(&fields))), json!({"1": "x", "2": null}));
        assert!(hash_of(None).is_empty());
    }
}
