//! `/exception/*`: studies held apart because their UID is another patient's (invariant 10), which the vendor's interface
//! does not know. Who may decide lists them, and accepts, moves or rejects them.

use std::sync::Arc;

use septum_core::access::Permission;
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::exceptions::{self, Exception};
use serde_json::{Map, Value};

use super::ask::Ask;
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::Reply;
use super::resolve;
use super::study_record::{PHI, text_of};
use crate::hidden::Hidden;

/// What held studies may be filtered and sorted by.
const FIELDS: Fields = &[
    ("uuid", Compare::Text),
    ("study_uid", Compare::Text),
    ("patient_name", Compare::Name),
    ("patientid", Compare::Text),
    ("study_date", Compare::Date),
    ("accession_number", Compare::Text),
];

/// The namespace that a call names, where the caller has a permission.
fn namespace(ask: &Ask, permission: Permission) -> Outcome<Arc<Namespace>> {
    let namespace = resolve::namespace(ask, "namespace_id").ok_or_else(Fault::not_found)?;
    let _granted = ask.authorize(permission, namespace.id)?;
    if Hidden::of(ask.principal()?, namespace.id).is_empty() {
        Ok(namespace)
    } else {
        Err(Fault::not_permitted())
    }
}

fn shown(namespace: &Namespace, held: &Exception) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("uuid".into(), held.id.clone().into());
    fields.insert("namespace_id".into(), namespace.id.to_string().into());
    fields.insert("study_uid".into(), held.study_uid.clone().into());
    fields.insert("reason".into(), "the study UID belongs to another patient".into());
    for (field, tag) in PHI {
        fields.insert(field.to_owned(), text_of(&held.attributes, tag));
    }
    fields
}

/// `/exception/list`.
pub async fn list(ask: &Ask) -> Outcome {
    let namespace = namespace(ask, Permission::ExceptionView)?;
    let wanted = ask.wanted(FIELDS)?;
    ask.audit_namespace(&namespace).await?;
    let held = exceptions::list(ask.services(), &namespace)?;
    let rows = held.iter().map(|held| shown(&namespace, held)).collect();
    Ok(wanted.page("exceptions", rows))
}

/// `/exception/accept`: both patients are one.
pub async fn accept(ask: &Ask) -> Outcome {
    let namespace = namespace(ask, Permission::ExceptionResolve)?;
    let source = ask.source()?;
    let count = exceptions::accept(&ask.app.archive, &namespace, ask.required("uuid"), &source).await?;
    Ok(Reply::of("image_count", count))
}

/// `/exception/move`: into another namespace, where the caller may store.
pub async fn move_to(ask: &Ask) -> Outcome {
    let namespace = namespace(ask, Permission::ExceptionResolve)?;
    let into = resolve::namespace(ask, "to_namespace").ok_or_else(|| Fault::about("NOT_FOUND", "to_namespace"))?;
    let granted = ask.authorize(Permission::StudyUpload, into.id);
    let _granted = granted.map_err(|_| Fault::about("NOT_FOUND", "to_namespace"))?;
    let source = ask.source()?;
    let moved = exceptions::move_to(&ask.app.archive, &namespace, ask.required("uuid"), &into, &source).await;
    match moved {
        Ok(count) => Ok(Reply::of("image_count", count)),
        Err(EngineError::Conflict(_)) => Err(Fault::new("ALREADY_EXISTS")),
        Err(error) => Err(error.into()),
    }
}

/// `/exception/reject`: it is erased.
pub async fn reject(ask: &Ask) -> Outcome {
    let namespace = namespace(ask, Permission::ExceptionResolve)?;
    let source = ask.source()?;
    match exceptions::reject(ask.services(), &namespace, ask.required("uuid"), &source).await {
        // Sent again after the answer was lost, it is gone already.
        Ok(()) => Ok(Reply::done()),
        Err(error) => Err(error.into()),
    }
}
