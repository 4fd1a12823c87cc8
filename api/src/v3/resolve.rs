//! From the parameters of a call to what it is about.

use septum_core::access::Permission;
use septum_core::ids::{AccountId, DocumentId, NamespaceId, RoleId, UnitId};
use septum_engine::accounts::documents::Kind;
use septum_engine::accounts::{Namespace, NamespaceKind};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::ask::{Ask, Target, uuid};
use super::entry::Subject;
use super::fault::{Fault, Outcome};
use super::study_id::StudyName;
use super::values;

/// What the call is about. Nothing here says whether the caller may know of it.
///
/// # Errors
/// As [`absent`].
pub fn target(ask: &Ask) -> Outcome<Target> {
    let found = match ask.entry.subject {
        Subject::None => return Ok(Target::None),
        Subject::Account(parameter) => account(ask, parameter),
        Subject::Group => unit(ask, |kind| matches!(kind, NamespaceKind::Group(_))),
        Subject::Location => unit(ask, |kind| matches!(kind, NamespaceKind::Location(_))),
        Subject::Role => role(ask),
        Subject::Document(kind) => document(ask, kind),
        Subject::StudyDocument(kind) => study_document(ask, kind),
        Subject::Study => return study(ask),
    };
    found.ok_or_else(|| absent(ask))
}

/// What a call says of something that is not there, or not the caller's to know of.
pub fn absent(ask: &Ask) -> Fault {
    let of_account = matches!(ask.entry.subject, Subject::Account("account_id"));
    if of_account && ask.entry.errors.contains("ACCOUNT_NOT_FOUND") {
        Fault::new("ACCOUNT_NOT_FOUND")
    } else if ask.entry.subject == Subject::Study {
        Fault::new(missing_namespace(ask))
    } else {
        Fault::not_found()
    }
}

/// Whether a caller who has a role in a place of the call's may know what it is about: a group or location, who has a role
/// there or may see all of the account's.
///
/// # Errors
/// 401 where nobody asks.
pub fn may_know(ask: &Ask) -> Outcome<bool> {
    let Target::Unit(unit, account) = &ask.target else {
        return Ok(true);
    };
    let view = match unit.kind {
        NamespaceKind::Group(_) => Permission::GroupView,
        _ => Permission::LocationView,
    };
    let principal = ask.principal()?;
    Ok(principal.reaches(unit.id) || principal.has(view, account.id))
}

/// Where the permission may come from.
pub fn namespaces(target: &Target) -> Vec<NamespaceId> {
    match target {
        Target::None => Vec::new(),
        Target::Account(_, namespace)
        | Target::Role(_, namespace)
        | Target::Document(_, namespace)
        | Target::Study(_, namespace) => vec![namespace.id],
        Target::Unit(unit, account) => vec![unit.id, account.id],
    }
}

fn account(ask: &Ask, parameter: &str) -> Option<Target> {
    let id = AccountId::from_bytes(uuid(ask.required(parameter))?);
    let account = ask.accounts().account(id).ok().filter(|account| !account.personal)?;
    let namespace = ask.accounts().namespace_of(id).ok()?;
    Some(Target::Account(account, namespace))
}

fn unit(ask: &Ask, is_kind: impl Fn(NamespaceKind) -> bool) -> Option<Target> {
    let id = UnitId::from_bytes(uuid(ask.required("uuid"))?);
    let unit = ask.accounts().unit(id).ok().filter(|unit| is_kind(unit.kind))?;
    let account = ask.accounts().namespace_of(unit.account).ok()?;
    Some(Target::Unit(unit, account))
}

fn role(ask: &Ask) -> Option<Target> {
    let role = ask
        .accounts()
        .role(RoleId::from_bytes(uuid(ask.required("uuid"))?))
        .ok()?;
    let namespace = ask.accounts().namespace_of(role.account).ok()?;
    Some(Target::Role(role, namespace))
}

fn document(ask: &Ask, kind: Kind) -> Option<Target> {
    let id = DocumentId::from_bytes(uuid(ask.required("uuid"))?);
    let document = ask.accounts().documents.get(kind, id).ok()?;
    let namespace = ask.accounts().namespace_of(document.account).ok()?;
    Some(Target::Document(Box::new(document), namespace))
}

fn study_document(ask: &Ask, kind: Kind) -> Option<Target> {
    let id = DocumentId::from_bytes(uuid(ask.required("uuid"))?);
    let document = ask.accounts().documents.get(kind, id).ok()?;
    let study = document.body.get("study_id").and_then(|value| value.as_str());
    let name = StudyName::parse(study?)?;
    let namespace = ask.accounts().namespace(name.phi).ok()?;
    Some(Target::Document(Box::new(document), namespace))
}

/// A namespace that a parameter names.
pub fn namespace(ask: &Ask, parameter: &str) -> Option<Arc<Namespace>> {
    let id = NamespaceId::from_bytes(uuid(ask.required(parameter))?);
    ask.accounts().namespace(id).ok()
}

/// A namespace that has a share code.
pub struct Coded {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// What goes with the code.
    pub properties: Map<String, Value>,
}

/// The namespace of a share code, and what goes with the code: of a user's own namespace the code is the user's.
///
/// # Errors
/// Where the catalogue cannot be read.
pub fn share_code(ask: &Ask, code: &str) -> Outcome<Option<Coded>> {
    for namespace in ask.accounts().namespaces()? {
        let properties = match namespace.kind {
            NamespaceKind::Personal(user) => ask.accounts().user_by_id(user).map(|user| user.properties.clone()),
            _ => Ok(namespace.properties.clone()),
        };
        if let Ok(properties) = properties
            && !code.is_empty()
            && values::text(&properties, "share_code") == code
        {
            return Ok(Some(Coded { namespace, properties }));
        }
    }
    Ok(None)
}

/// The study that parameters name.
///
/// # Errors
/// `NOT_FOUND`, or `NAMESPACE_NOT_FOUND` where the call says so.
pub fn study(ask: &Ask) -> Outcome<Target> {
    let parameters = &ask.parameters;
    let named = parameters.text("study_id").or_else(|| parameters.text("uuid"));
    if let Some(text) = named {
        let name = StudyName::parse(text).ok_or_else(Fault::not_found)?;
        let namespace = ask.accounts().namespace(name.phi)?;
        return Ok(Target::Study(name, namespace));
    }
    let storage = namespace(ask, "storage_namespace");
    let phi = match parameters.text("phi_namespace") {
        Some(_) => namespace(ask, "phi_namespace"),
        None => storage.clone(),
    };
    // Where nothing says so, a study lies where the user's own studies do.
    let own = || {
        let user = ask.user().ok()?;
        ask.accounts().namespace(user.personal?).ok()
    };
    let is_named = parameters.text("storage_namespace").is_some() || parameters.text("phi_namespace").is_some();
    let phi = if is_named { phi } else { own() };
    let phi = phi.ok_or_else(|| Fault::new(missing_namespace(ask)))?;
    let storage = if is_named { storage } else { Some(Arc::clone(&phi)) };
    let storage = storage.ok_or_else(|| Fault::new(missing_namespace(ask)))?;
    let uid = septum_core::ids::StudyInstanceUid::parse(ask.required("study_uid"))
        .map_err(|_| Fault::about("INVALID_UUID", "study_uid"))?;
    let name = StudyName::of_uid(ask.services(), &phi, storage.id, uid.as_str())?;
    Ok(Target::Study(name, phi))
}

fn missing_namespace(ask: &Ask) -> &'static str {
    if ask.entry.errors.contains("NAMESPACE_NOT_FOUND") {
        "NAMESPACE_NOT_FOUND"
    } else {
        "NOT_FOUND"
    }
}
