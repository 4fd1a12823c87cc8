//! `/patient/merge`, its undoing, and the studies of a patient; all else of patients is fields ([`super::documents`]).
//!
//! Merging says that two medical record numbers are one person's, as HL7 A40 does: an alias from each merged number to
//! the one that stays, in every namespace of the account ([`septum_engine::patients`]). What arrives for either belongs to
//! the same patient from then on. The merged patients are noted in the one that stays, so that it can be undone.

use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::{AccountId, DocumentId};
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::accounts::documents::{Document, Kind, NewDocument};
use septum_engine::patients::PatientKey;
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::documents::{self, spec};
use super::fault::{Fault, Outcome};
use super::reply::Reply;
use super::study_list;
use super::values;

/// Where the merged patients are noted.
const MERGED: &str = "merged";

/// Most patients of one call.
const SOURCES_MAX: usize = 100;

fn key(mrn: &str) -> PatientKey {
    PatientKey {
        issuer: String::new(),
        id: mrn.to_owned(),
    }
}

/// The namespaces of an account.
fn namespaces(ask: &Ask, account: AccountId) -> Outcome<Vec<Arc<Namespace>>> {
    let mut all = ask.accounts().namespaces()?;
    all.retain(|namespace| namespace.account == account);
    Ok(all)
}

/// The ids that `src` names.
fn sources(ask: &Ask) -> Outcome<Vec<DocumentId>> {
    let given = ask.parameters.list("src")?.unwrap_or_default();
    if given.len() > SOURCES_MAX {
        return Err(Fault::about("INVALID_PARAMETERS", "src"));
    }
    let ids = given.iter().map(|one| {
        let id = one.as_str().and_then(uuid).map(DocumentId::from_bytes);
        id.ok_or_else(|| Fault::about("NOT_FOUND", "src"))
    });
    ids.collect()
}

/// `/patient/merge`.
pub async fn merge(ask: &Ask) -> Outcome {
    let (stays, _) = ask.document()?;
    let store = &ask.accounts().documents;
    let mut merged = Vec::new();
    for id in sources(ask)? {
        match store.get(Kind::Patient, id) {
            Ok(patient) if patient.account == stays.account && patient.id != stays.id => merged.push(patient),
            // Sent again after the answer was lost, it is merged and perhaps gone.
            _ if noted(stays).iter().any(|one| one["uuid"] == json!(id.to_string())) => {}
            _ => return Err(Fault::about("NOT_FOUND", "src")),
        }
    }
    let source = ask.source()?;
    let number = values::text(&stays.body, "mrn");
    for patient in &merged {
        let from = values::text(&patient.body, "mrn");
        if from.is_empty() || number.is_empty() || from == number {
            continue;
        }
        for namespace in namespaces(ask, stays.account)? {
            let patients = &ask.services().patients;
            match patients.merge(&namespace, key(from), key(number), &source).await {
                // One patient already, by an earlier try.
                Ok(()) | Err(EngineError::Conflict("both are the same patient already")) => {}
                Err(EngineError::Conflict(_)) => return Err(Fault::about("ALREADY_USED", "mrn")),
                Err(error) => return Err(error.into()),
            }
        }
    }
    let spec = spec(ask)?;
    let edit = |document: &mut Document| -> Outcome<()> {
        documents::take(ask, spec, document.account, &mut document.body)?;
        let mut known = noted(document);
        for patient in &merged {
            let id = json!(patient.id.to_string());
            if !known.iter().any(|one| one["uuid"] == id) {
                known.push(json!({"uuid": id, "body": patient.body}));
            }
        }
        document.body.insert(MERGED.to_owned(), known.into());
        Ok(())
    };
    store.edit(Kind::Patient, stays.id, &source, edit).await?;
    if ask.parameters.is_set("do_delete")? {
        for patient in merged {
            match store.delete(Kind::Patient, patient.id, &source).await {
                Ok(()) | Err(EngineError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(Reply::of("uuid", stays.id.to_string()))
}

/// What is noted of the patients that were merged into one.
fn noted(patient: &Document) -> Vec<Value> {
    let noted = patient.body.get(MERGED).and_then(Value::as_array);
    noted.cloned().unwrap_or_default()
}

/// `/patient/merge/undo`: the numbers are several patients' again, and who was deleted is there again.
pub async fn unmerge(ask: &Ask) -> Outcome {
    let (stays, _) = ask.document()?;
    let (store, source) = (&ask.accounts().documents, ask.source()?);
    let wanted: Vec<Value> = sources(ask)?.iter().map(|id| json!(id.to_string())).collect();
    let (undone, kept): (Vec<Value>, Vec<Value>) =
        noted(stays).into_iter().partition(|one| wanted.contains(&one["uuid"]));
    if undone.len() != wanted.len() {
        return Err(Fault::about("NOT_FOUND", "src"));
    }
    let mut restored = Vec::new();
    for one in undone {
        let body = one["body"].as_object().cloned().unwrap_or_default();
        let number = values::text(&body, "mrn").to_owned();
        if !number.is_empty() {
            for namespace in namespaces(ask, stays.account)? {
                match ask
                    .services()
                    .patients
                    .unmerge(&namespace, &key(&number), &source)
                    .await
                {
                    Ok(()) | Err(EngineError::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        restored.push(restore(ask, stays, &one["uuid"], body).await?);
    }
    let edit = |document: &mut Document| -> Outcome<()> {
        document.body.insert(MERGED.to_owned(), kept.into());
        Ok(())
    };
    store.edit(Kind::Patient, stays.id, &source, edit).await?;
    Ok(Reply::of("patients", restored))
}

/// The id of a patient who was merged: anew where they were deleted.
async fn restore(ask: &Ask, stays: &Document, id: &Value, body: Map<String, Value>) -> Outcome<String> {
    let store = &ask.accounts().documents;
    let known = id.as_str().and_then(uuid).map(DocumentId::from_bytes);
    if let Some(known) = known
        && store.get(Kind::Patient, known).is_ok()
    {
        return Ok(known.to_string());
    }
    let new = NewDocument {
        kind: Kind::Patient,
        owner: stays.owner,
        account: stays.account,
        body,
    };
    Ok(store.add(new, &ask.source()?).await?.id.to_string())
}

/// `/patient/study/list`: the studies under the patient's number, and under those merged into it, that the caller may
/// browse.
pub async fn studies(ask: &Ask) -> Outcome {
    let (patient, account) = ask.document()?;
    let merged = noted(patient);
    let numbers = merged
        .iter()
        .filter_map(|one| one["body"].as_object())
        .chain([&patient.body])
        .map(|body| values::text(body, "mrn").to_owned())
        .filter(|number| !number.is_empty());
    let mut rows = Vec::new();
    for number in numbers {
        rows.extend(study_list::of_patient(ask, patient.account, &number).await?);
    }
    if ask.parameters.is_set("viewable_only")? {
        let principal = ask.principal()?;
        rows.retain(|row| {
            let place = row.get("phi_namespace").and_then(Value::as_str).and_then(uuid);
            let place = place.map(septum_core::ids::NamespaceId::from_bytes);
            place.is_some_and(|place| principal.has(Permission::StudyView, place))
        });
    }
    documents::audit(ask, patient).await?;
    ask.audit_namespace(account).await?;
    let rows: Vec<Value> = rows.into_iter().map(Value::Object).collect();
    Ok(Reply::of("studies", rows))
}
