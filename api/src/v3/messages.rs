//! `/message/*`: words to whoever reads the messages of a namespace.
//!
//! A message is sent to a namespace: an account's, group's, location's or user's own, by whichever of its names, or to the
//! one that a study is seen in. Who has `message_edit` there sends, who has `message_view` there reads; to another user of
//! one's own accounts everybody may write.

use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::{AccountId, DocumentId, UnitId, UserId};
use septum_engine::accounts::documents::{Document, Kind, NewDocument};
use septum_engine::accounts::{Namespace, User};
use septum_engine::services::now_ms;
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::{Reply, flag};
use super::study_id::StudyName;
use super::study_record::must_be_there;
use super::{times, users, values};

/// What messages may be filtered and sorted by.
const FIELDS: Fields = &[
    ("uuid", Compare::Text),
    ("created", Compare::Time),
    ("subject", Compare::Text),
    ("user_id", Compare::Text),
    ("namespace_id", Compare::Text),
    ("study_id", Compare::Text),
    ("parent_id", Compare::Text),
];

/// Where a user's property says until when messages were counted.
const COUNTED: &str = "messages_counted_ms";

/// Whom a call writes to, and the study it is about.
fn receiver(ask: &Ask) -> Outcome<(Arc<Namespace>, Option<StudyName>)> {
    let (accounts, parameters) = (ask.accounts(), &ask.parameters);
    if let Some(text) = parameters.text("study_id") {
        let name = StudyName::parse(text).ok_or_else(Fault::not_found)?;
        let namespace = accounts.namespace(name.phi)?;
        let _granted = ask.authorize(Permission::MessageEdit, namespace.id)?;
        must_be_there(ask, &name, &namespace)?;
        return Ok((namespace, Some(name)));
    }
    let id = |name: &str| {
        parameters
            .text(name)
            .map(|text| uuid(text).ok_or_else(Fault::not_found))
    };
    if let Some(user) = id("user_id") {
        return Ok((colleague(ask, UserId::from_bytes(user?))?, None));
    }
    let namespace = if let Some(code) = parameters.text("share_code") {
        let mut all = accounts.namespaces()?.into_iter();
        let found = all.find(|namespace| !code.is_empty() && values::text(&namespace.properties, "share_code") == code);
        found.ok_or_else(Fault::not_found)?
    } else if let Some(account) = id("account_id") {
        accounts.namespace_of(AccountId::from_bytes(account?))?
    } else if let Some(unit) = id("group_id").or_else(|| id("location_id")) {
        accounts.unit(UnitId::from_bytes(unit?))?
    } else if let Some(namespace) = id("namespace_id") {
        accounts.namespace(septum_core::ids::NamespaceId::from_bytes(namespace?))?
    } else {
        return Err(Fault::about("NOT_SUPPORTED", "email"));
    };
    let _granted = ask.authorize(Permission::MessageEdit, namespace.id)?;
    Ok((namespace, None))
}

/// The own namespace of somebody who belongs to an account that the caller sends messages in.
fn colleague(ask: &Ask, user: UserId) -> Outcome<Arc<Namespace>> {
    let accounts = ask.accounts();
    let user = accounts.user_by_id(user).map_err(|_| Fault::not_found())?;
    let mut shared = false;
    for membership in accounts.memberships_of(user.id)? {
        let account = accounts.namespace_of(accounts.namespace(membership.namespace)?.account)?;
        shared |= ask.principal()?.has(Permission::MessageEdit, account.id)
            || ask.principal()?.has(Permission::MessageEdit, membership.namespace);
    }
    let own = user.personal.filter(|_| shared && user.guest.is_none());
    Ok(accounts.namespace(own.ok_or_else(Fault::not_found)?)?)
}

/// `/message/add`.
pub async fn add(ask: &Ask) -> Outcome {
    let (namespace, study) = receiver(ask)?;
    let mut body = Map::new();
    body.insert("body".into(), ask.required("body").into());
    body.insert("subject".into(), json!(ask.parameters.text("subject")));
    body.insert("study_id".into(), json!(study.map(|name| name.to_string())));
    body.insert("namespace_id".into(), namespace.id.to_string().into());
    if let Some(parent) = ask.parameters.text("parent_id") {
        let (parent, _) = seen(ask, parent)?;
        body.insert("parent_id".into(), parent.id.to_string().into());
    }
    let new = NewDocument {
        kind: Kind::Message,
        owner: *namespace.id.as_bytes(),
        account: namespace.account,
        body,
    };
    let message = ask.accounts().documents.add(new, &ask.source()?).await?;
    Ok(Reply::of("uuid", message.id.to_string()))
}

/// A message that the caller may read: in a namespace whose messages they see, or their own.
fn seen(ask: &Ask, text: &str) -> Outcome<(Document, Arc<Namespace>)> {
    let id = uuid(text).map(DocumentId::from_bytes).ok_or_else(Fault::not_found)?;
    let message = ask.accounts().documents.get(Kind::Message, id)?;
    let namespace = septum_core::ids::NamespaceId::from_bytes(message.owner);
    let namespace = ask.accounts().namespace(namespace)?;
    if message.created_by != ask.principal()?.user {
        let _granted = ask.authorize(Permission::MessageView, namespace.id)?;
    }
    Ok((message, namespace))
}

fn shown(ask: &Ask, message: &Document, namespace: &Namespace) -> Outcome<Map<String, Value>> {
    let author = ask.accounts().user_by_id(message.created_by).ok();
    let of = |name: &str| message.body.get(name).cloned().unwrap_or(Value::Null);
    let mut fields = Map::new();
    for (name, value) in [
        ("uuid", message.id.to_string().into()),
        ("user_id", message.created_by.to_string().into()),
        ("user_name", json!(author.map(|user| user.full_name()))),
        ("namespace_id", namespace.id.to_string().into()),
        ("namespace_name", users::namespace_name(ask, namespace)?.into()),
        ("body", of("body")),
        ("subject", of("subject")),
        ("parent_id", of("parent_id")),
        ("study_id", of("study_id")),
        ("query_id", Value::Null),
        (
            "created",
            times::written(message.created_ms).map_or(Value::Null, Value::from),
        ),
        ("is_mine", flag(message.created_by == ask.principal()?.user)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    Ok(fields)
}

/// `/message/get`.
pub async fn get(ask: &Ask) -> Outcome {
    let (message, namespace) = seen(ask, ask.required("uuid"))?;
    ask.audit_namespace(&namespace).await?;
    Ok(Reply(shown(ask, &message, &namespace)?))
}

/// `/message/delete`: one's own.
pub async fn delete(ask: &Ask) -> Outcome {
    let (message, namespace) = seen(ask, ask.required("uuid"))?;
    let _granted = ask.authorize(Permission::MessageEdit, namespace.id)?;
    if message.created_by != ask.principal()?.user && !ask.is_sysadmin() {
        return Err(Fault::not_permitted());
    }
    ask.accounts()
        .documents
        .delete(Kind::Message, message.id, &ask.source()?)
        .await?;
    Ok(Reply::done())
}

/// The messages of every namespace in which the caller reads them, newest first.
async fn all(ask: &Ask) -> Outcome<Vec<(Document, Arc<Namespace>)>> {
    let principal = ask.principal()?;
    let mut found = Vec::new();
    for namespace in ask.accounts().namespaces()? {
        if !principal.has(Permission::MessageView, namespace.id) {
            continue;
        }
        let messages = ask.accounts().documents.list(Kind::Message, namespace.id.as_bytes())?;
        if !messages.is_empty() {
            ask.audit_namespace(&namespace).await?;
        }
        found.extend(messages.into_iter().map(|message| (message, Arc::clone(&namespace))));
    }
    found.sort_by_key(|(message, _)| (std::cmp::Reverse(message.created_ms), message.id));
    Ok(found)
}

/// `/message/list`.
pub async fn list(ask: &Ask) -> Outcome {
    let wanted = ask.wanted(FIELDS)?;
    let messages = all(ask).await?;
    let rows: Outcome<Vec<_>> = messages
        .iter()
        .map(|(message, namespace)| shown(ask, message, namespace))
        .collect();
    Ok(wanted.page("messages", rows?))
}

/// `/message/count`: those of others since the count was last set back.
pub async fn count(ask: &Ask) -> Outcome {
    let user = ask.user()?;
    let since = user.properties.get(COUNTED).and_then(Value::as_i64).unwrap_or(0);
    let messages = all(ask).await?;
    let is_new = |message: &Document| message.created_ms > since && message.created_by != user.id;
    let count = messages.iter().filter(|(message, _)| is_new(message)).count();
    if ask.parameters.is_set("reset")? {
        let now = now_ms();
        let edit = |user: &mut User| {
            user.properties.insert(COUNTED.to_owned(), now.into());
        };
        ask.accounts().edit_user(user.id, Some(&ask.source()?), edit).await?;
    }
    Ok(Reply::of("count", count))
}
