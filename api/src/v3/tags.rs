//! `/tag/*`: words tied to studies, groups, locations, accounts, patients and orders.
//!
//! Whoever has `study_tag` where an object is ties words to it; a word is tied to an object once.

use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::{AccountId, DocumentId, UnitId};
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::accounts::documents::{Document, Kind, NewDocument, Owner};
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::Reply;
use super::study_id::StudyName;
use super::study_record::must_be_there;
use super::values;

/// Longest word, in characters.
const CHARACTERS_MAX: usize = 200;

/// What tags may be filtered and sorted by.
const FIELDS: Fields = &[
    ("tag", Compare::Text),
    ("object", Compare::Text),
    ("object_id", Compare::Text),
];

/// Classes of object.
const OBJECTS: [&str; 6] = ["Study", "Group", "Location", "Account", "Patient", "Order"];

/// Something that words are tied to.
struct Tagged {
    owner: Owner,
    namespace: Arc<Namespace>,
    /// Its name as everybody writes it.
    id: String,
}

/// The object of a class that an id names, wherever it is.
fn find(ask: &Ask, object: &str, text: &str) -> Outcome<Tagged> {
    let accounts = ask.accounts();
    if object == "Study" {
        let name = StudyName::parse(text).ok_or_else(Fault::not_found)?;
        let namespace = accounts.namespace(name.phi)?;
        return Ok(Tagged {
            owner: name.owner(),
            namespace,
            id: name.to_string(),
        });
    }
    let id = uuid(text).ok_or_else(Fault::not_found)?;
    let document = |kind| -> Outcome<Arc<Namespace>> {
        let document = accounts.documents.get(kind, DocumentId::from_bytes(id))?;
        Ok(accounts.namespace_of(document.account)?)
    };
    let namespace = match object {
        "Group" | "Location" => accounts.unit(UnitId::from_bytes(id))?,
        "Account" => accounts.namespace_of(AccountId::from_bytes(id))?,
        "Patient" => document(Kind::Patient)?,
        _ => document(Kind::Order)?,
    };
    Ok(Tagged {
        owner: id,
        namespace,
        id: DocumentId::from_bytes(id).to_string(),
    })
}

/// Where a tag keeps its object's id: of a study as its other notes do, so that it goes along when one is moved.
fn named_by(object: &str) -> &'static str {
    if object == "Study" { "study_id" } else { "object_id" }
}

/// What a call is about, where the caller may tie words to it.
fn tagged(ask: &Ask) -> Outcome<Tagged> {
    let object = ask.required("object");
    if !OBJECTS.contains(&object) {
        return Err(Fault::new("INVALID_OBJECT"));
    }
    let found = find(ask, object, ask.required("object_id"))?;
    let _granted = ask.authorize(Permission::StudyTag, found.namespace.id)?;
    if let Some(name) = StudyName::parse(ask.required("object_id")).filter(|_| object == "Study") {
        must_be_there(ask, &name, &found.namespace)?;
    }
    Ok(found)
}

fn word(ask: &Ask) -> Outcome<String> {
    let word = ask.required("tag").trim();
    if word.is_empty() || word.chars().count() > CHARACTERS_MAX || word.chars().any(char::is_control) {
        return Err(Fault::about("INVALID_VALUE", "tag"));
    }
    Ok(word.to_owned())
}

/// The tags of an object.
fn of(ask: &Ask, owner: &Owner) -> Outcome<Vec<Document>> {
    let mut tags = ask.accounts().documents.list(Kind::Tag, owner)?;
    tags.sort_by(|one, other| values::text(&one.body, "tag").cmp(values::text(&other.body, "tag")));
    Ok(tags)
}

/// The words tied to an object, as its record shows them.
///
/// # Errors
/// Where they cannot be read.
pub fn words(ask: &Ask, owner: &Owner) -> Outcome<Value> {
    let tags = of(ask, owner)?;
    let words = tags.iter().map(|tag| json!({"tag": values::text(&tag.body, "tag")}));
    Ok(words.collect())
}

/// `/tag/add`.
pub async fn add(ask: &Ask) -> Outcome {
    let (tagged, word) = (tagged(ask)?, word(ask)?);
    let is_known = |tag: &Document| values::text(&tag.body, "tag") == word;
    if of(ask, &tagged.owner)?.iter().any(is_known) {
        return Ok(Reply::done());
    }
    let mut body = Map::new();
    body.insert("tag".into(), word.clone().into());
    body.insert("object".into(), ask.required("object").into());
    body.insert(named_by(ask.required("object")).into(), tagged.id.into());
    let new = NewDocument {
        kind: Kind::Tag,
        owner: tagged.owner,
        account: tagged.namespace.account,
        body,
    };
    ask.accounts().documents.add(new, &ask.source()?).await?;
    Ok(Reply::done())
}

/// `/tag/delete`.
pub async fn delete(ask: &Ask) -> Outcome {
    let (tagged, word) = (tagged(ask)?, word(ask)?);
    let mut tags = of(ask, &tagged.owner)?.into_iter();
    let tag = tags.find(|tag| values::text(&tag.body, "tag") == word);
    let tag = tag.ok_or_else(Fault::not_found)?;
    match ask.accounts().documents.delete(Kind::Tag, tag.id, &ask.source()?).await {
        Ok(()) | Err(EngineError::NotFound) => Ok(Reply::done()),
        Err(error) => Err(error.into()),
    }
}

/// `/tag/list`: of a class of object, those in namespaces where the caller has `study_tag`.
pub async fn list(ask: &Ask) -> Outcome {
    let wanted = ask.wanted(FIELDS)?;
    let object = ask.required("object");
    if !OBJECTS.contains(&object) {
        return Err(Fault::new("INVALID_OBJECT"));
    }
    let principal = ask.principal()?;
    let mut rows = Vec::new();
    for tag in ask.accounts().documents.all(Kind::Tag)? {
        let id = values::text(&tag.body, named_by(object));
        if values::text(&tag.body, "object") != object {
            continue;
        }
        let Ok(found) = find(ask, object, id) else { continue };
        if principal.has(Permission::StudyTag, found.namespace.id) {
            let mut row = Map::new();
            row.insert("tag".into(), values::text(&tag.body, "tag").into());
            row.insert("object".into(), object.into());
            row.insert("object_id".into(), found.id.into());
            rows.push(row);
        }
    }
    Ok(wanted.page("tags", rows))
}
