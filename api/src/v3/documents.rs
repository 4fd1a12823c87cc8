//! Objects that are nothing but fields: custom fields, filters, annotations, key images, comments, patients, orders.
//! One specification each, one set of handlers for all.

use std::sync::Arc;

use septum_core::ids::AccountId;
use septum_engine::EngineError;
use septum_engine::accounts::documents::{Document, Kind, NewDocument, Owner};
use septum_engine::pipeline::messages::Source;
use septum_engine::services::Services;
use serde_json::{Map, Value, json};

use super::ask::{Ask, Target};
use super::fault::{Fault, Outcome};
use super::lists::{self, Compare};
use super::reply::{Reply, flag};
use super::specs::{SPECS, Spec, Whose};
use super::study_id::StudyName;
use super::study_record::must_be_there;
use super::{custom_fields, links, times, values};

/// The specification of the call's object.
pub fn spec(ask: &Ask) -> Outcome<&'static Spec> {
    let path = ask.entry.path;
    SPECS
        .iter()
        .find(|spec| path.starts_with(spec.prefix))
        .ok_or_else(|| Fault::new("NOT_SUPPORTED"))
}

/// Whose the call's objects are, and in which account.
fn owner(ask: &Ask, spec: &Spec) -> Outcome<(Owner, AccountId)> {
    match (spec.whose, &ask.target) {
        (Whose::Account, Target::Account(account, _)) => Ok((*account.id.as_bytes(), account.id)),
        (Whose::Study, Target::Study(name, namespace)) => {
            must_be_there(ask, name, namespace)?;
            Ok((name.owner(), namespace.account))
        }
        (Whose::User, _) => {
            let user = ask.user()?;
            let own = user.personal.ok_or_else(Fault::not_found)?;
            Ok((*user.id.as_bytes(), ask.accounts().namespace(own)?.account))
        }
        _ => Err(Fault::not_found()),
    }
}

/// Deletes what is noted of a study that is gone, its links with it: it would go on being shown.
///
/// # Errors
/// Where that cannot be stored; forgetting it again goes on.
pub async fn forget_study(services: &Arc<Services>, name: &StudyName, source: &Source) -> Result<(), EngineError> {
    let store = &services.accounts.documents;
    for link in store.list(Kind::Link, &name.owner())? {
        links::close(services, &link, source).await?;
    }
    let mut gone = Vec::new();
    for kind in OF_STUDIES {
        gone.extend(store.list(kind, &name.owner())?);
    }
    let text = name.to_string();
    let announced = store.list(Kind::Phantom, name.phi.as_bytes())?;
    gone.extend(
        announced
            .into_iter()
            .filter(|one| values::text(&one.body, "study_id") == text),
    );
    for document in gone {
        match store.delete(document.kind, document.id, source).await {
            Ok(()) | Err(EngineError::NotFound) => {}
            failed => return failed,
        }
    }
    Ok(())
}

/// What is noted of a study goes along to where it was moved.
///
/// # Errors
/// Where that cannot be stored; what did not go along is noted of nothing.
pub async fn follow_study(
    services: &Arc<Services>,
    from: &StudyName,
    to: &StudyName,
    account: AccountId,
    source: &Source,
) -> Result<(), EngineError> {
    let store = &services.accounts.documents;
    for kind in OF_STUDIES {
        for document in store.list(kind, &from.owner())? {
            let edit = |document: &mut Document| -> Result<(), EngineError> {
                document.owner = to.owner();
                document.account = account;
                document.body.insert("study_id".into(), to.to_string().into());
                Ok(())
            };
            match store.edit(kind, document.id, source, edit).await {
                Ok(_) | Err(EngineError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A document's fields.
pub fn shown(ask: &Ask, spec: &Spec, document: &Document) -> Outcome<Map<String, Value>> {
    let mut fields = Map::new();
    fields.insert("uuid".into(), document.id.to_string().into());
    values::show(spec.fields, &document.body, &mut fields);
    for &name in spec.more {
        fields.insert(name.into(), document.body.get(name).cloned().unwrap_or(Value::Null));
    }
    let time = |ms| times::written(ms).map_or(Value::Null, Value::from);
    fields.insert("created".into(), time(document.created_ms));
    fields.insert("updated".into(), time(document.updated_ms));
    fields.insert("version".into(), document.version.into());
    let author = ask.accounts().user_by_id(document.created_by).ok();
    fields.insert("user_id".into(), document.created_by.to_string().into());
    fields.insert("user_name".into(), json!(author.map(|user| user.full_name())));
    let is_mine = ask
        .principal()
        .is_ok_and(|principal| principal.user == document.created_by);
    fields.insert("is_mine".into(), flag(is_mine));
    if spec.whose == Whose::Account {
        fields.insert("account_id".into(), document.account.to_string().into());
    }
    if spec.whose == Whose::User {
        fields.insert("owner".into(), flag(is_mine));
    }
    if let Some(object) = spec.custom {
        let given = custom_fields::values(&document.body);
        let custom = custom_fields::shown(ask, document.account, object, given)?;
        fields.insert("customfields".into(), custom);
        fields.insert("tags".into(), json!([]));
    }
    Ok(fields)
}

/// Everything of one kind that is noted of a study, oldest first.
///
/// # Errors
/// Where it cannot be read.
pub fn of_study(ask: &Ask, kind: Kind, name: &StudyName) -> Outcome<Value> {
    let spec = SPECS.iter().find(|spec| spec.kind == kind);
    let spec = spec.ok_or_else(|| Fault::new("NOT_SUPPORTED"))?;
    let mut found = ask.accounts().documents.list(kind, &name.owner())?;
    found.sort_by_key(|document| document.created_ms);
    let shown = found
        .iter()
        .map(|document| shown(ask, spec, document).map(Value::Object));
    Ok(Value::Array(shown.collect::<Outcome<Vec<_>>>()?))
}

/// Takes the fields that a call gives over.
///
/// # Errors
/// What the specification says of them.
pub fn take(ask: &Ask, spec: &Spec, account: AccountId, body: &mut Map<String, Value>) -> Outcome<()> {
    values::take(&ask.parameters, spec.fields, body)?;
    if let Some(object) = spec.custom {
        custom_fields::take(ask, account, object, body)?;
    }
    (spec.check)(body)
}

/// `…/add`.
pub async fn add(ask: &Ask) -> Outcome {
    let spec = spec(ask)?;
    let (owner, account) = owner(ask, spec)?;
    let mut body = Map::new();
    take(ask, spec, account, &mut body)?;
    if let Target::Study(name, _) = &ask.target {
        body.insert("study_id".into(), name.to_string().into());
    }
    if let Some(unique) = spec.unique {
        let value = body.get(unique).cloned().unwrap_or(Value::Null);
        let same = |document: &Document| !value.is_null() && document.body.get(unique) == Some(&value);
        let all = ask.accounts().documents.list(spec.kind, &owner)?;
        // The same sent again is the same; what differs is refused.
        if all.iter().any(|document| same(document) && document.body != body) {
            return Err(Fault::new("ALREADY_EXISTS"));
        }
        if let Some(document) = all.iter().find(|document| same(document)) {
            return Ok(Reply::of("uuid", document.id.to_string()));
        }
    }
    let new = NewDocument {
        kind: spec.kind,
        owner,
        account,
        body,
    };
    let document = ask.accounts().documents.add(new, &ask.source()?).await?;
    Ok(Reply::of("uuid", document.id.to_string()))
}

/// Of a user's own, whoever else asks finds nothing.
fn own_only(ask: &Ask, spec: &Spec, document: &Document) -> Outcome<()> {
    let user = ask.principal()?.user;
    if spec.whose == Whose::User && document.owner != *user.as_bytes() {
        return Err(Fault::not_found());
    }
    Ok(())
}

/// The call's document: found before where it needs a permission, else by its id.
fn document(ask: &Ask, spec: &Spec) -> Outcome<Document> {
    if let Target::Document(document, _) = &ask.target {
        return Ok(Document::clone(document));
    }
    let id = super::ask::uuid(ask.required("uuid")).ok_or_else(Fault::not_found)?;
    let id = septum_core::ids::DocumentId::from_bytes(id);
    let document = ask.accounts().documents.get(spec.kind, id)?;
    own_only(ask, spec, &document)?;
    Ok(document)
}

/// `…/get`.
pub async fn get(ask: &Ask) -> Outcome {
    let spec = spec(ask)?;
    let document = document(ask, spec)?;
    if spec.is_patient_data {
        audit(ask, &document).await?;
    }
    Ok(Reply(shown(ask, spec, &document)?))
}

/// Audits that a document is read.
///
/// # Errors
/// Where the audit log takes nothing.
pub async fn audit(ask: &Ask, document: &Document) -> Outcome<()> {
    use septum_core::audit::{ObjectKind, ObjectRef};
    let object = ObjectRef::One(ObjectKind::Document, *document.id.as_bytes());
    ask.audit(object, Some(document.account)).await
}

/// `…/set`.
pub async fn set(ask: &Ask) -> Outcome {
    let spec = spec(ask)?;
    let document = document(ask, spec)?;
    let edit = |document: &mut Document| take(ask, spec, document.account, &mut document.body);
    let edited = ask
        .accounts()
        .documents
        .edit(spec.kind, document.id, &ask.source()?, edit)
        .await?;
    Ok(Reply::of("uuid", edited.id.to_string()))
}

/// `…/delete`.
pub async fn delete(ask: &Ask) -> Outcome {
    let spec = spec(ask)?;
    let document = document(ask, spec)?;
    // Annotations have a flag that says whether one's own only; of these it is always so.
    let is_own = document.created_by == ask.principal()?.user;
    if matches!(spec.kind, Kind::KeyImage | Kind::Comment) && !is_own && !ask.is_sysadmin() {
        return Err(Fault::not_permitted());
    }
    ask.accounts()
        .documents
        .delete(spec.kind, document.id, &ask.source()?)
        .await?;
    Ok(Reply::done())
}

/// `…/list`.
pub async fn list(ask: &Ask) -> Outcome {
    let spec = spec(ask)?;
    let (owner, _) = owner(ask, spec)?;
    if spec.is_patient_data {
        match &ask.target {
            Target::Account(_, namespace) | Target::Study(_, namespace) => ask.audit_namespace(namespace).await?,
            _ => {}
        }
    }
    let wanted = ask.wanted(spec.filters)?;
    let only_own = only_own(ask, spec)?;
    let user = ask.principal()?.user;
    let mut documents = ask.accounts().documents.list(spec.kind, &owner)?;
    documents.retain(|document| !only_own || document.created_by == user);
    documents.sort_by_key(|document| (document.created_ms, document.id));
    let mut rows = Vec::with_capacity(documents.len());
    for document in &documents {
        rows.push(shown(ask, spec, document)?);
    }
    if spec.whose == Whose::Study {
        // These lists are short and come whole.
        rows.retain(|row| wanted.matches(row));
        let rows: Vec<Value> = rows.into_iter().map(Value::Object).collect();
        return Ok(Reply::of(spec.list, rows));
    }
    Ok(wanted.page(spec.list, rows))
}

/// Whether the caller sees only what they made.
fn only_own(ask: &Ask, spec: &Spec) -> Outcome<bool> {
    let (Some(view), Target::Study(_, namespace)) = (spec.view, &ask.target) else {
        return Ok(false);
    };
    let traits = septum_core::access::Traits::default();
    Ok(ask.authorize_one(view, namespace.id, traits).is_err())
}

/// The fields every list of documents may be filtered and sorted by.
pub const COMMON: lists::Fields = &[
    ("uuid", Compare::Text),
    ("created", Compare::Time),
    ("updated", Compare::Time),
    ("user_id", Compare::Text),
];

/// The kinds that belong to a study and go with it.
pub const OF_STUDIES: [Kind; 6] = [
    Kind::Annotation,
    Kind::KeyImage,
    Kind::Comment,
    Kind::Tag,
    Kind::Study,
    Kind::InvitedShare,
];
