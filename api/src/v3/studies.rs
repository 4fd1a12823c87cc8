//! `/study/*` but for lists: announcing, reading, noting things about, and deleting studies.

use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::audit::{ObjectKind, ObjectRef};
use septum_core::ids::{AccountId, NamespaceId};
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::accounts::documents::{Document, Kind, NewDocument};
use septum_engine::erase;
use septum_engine::freeze;
use septum_engine::pipeline::messages::Source;
use septum_engine::records::key;
use septum_engine::retrieve::StudyRef;
use septum_engine::services::Services;
use serde_json::{Map, Value, json};

use super::ask::Ask;
use super::channels::Event;
use super::fault::{Fault, Outcome};
use super::reply::{Reply, flag};
use super::study_extra::Extras;
use super::study_id::StudyName;
use super::study_record::{self, GIVEN, Records, Stored, must_be_there, notes, stored};
use super::{corrections, custom_fields, documents, namespaces, resolve, session, shares, values};

/// Whether nothing is stored in a namespace, and nothing announced.
///
/// # Errors
/// Where that cannot be read.
pub fn is_empty(ask: &Ask, namespace: NamespaceId) -> Outcome<bool> {
    let services = ask.services();
    for shard in services.store.shards() {
        for prefix in [key::studies(namespace), key::exceptions(namespace)] {
            if septum_engine::scan::rows(shard, prefix).next().transpose()?.is_some() {
                return Ok(false);
            }
        }
    }
    for kind in [Kind::Phantom, Kind::Offer] {
        if !ask.accounts().documents.list(kind, namespace.as_bytes())?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes what a call says of a study over, but for patient and study data.
fn take(ask: &Ask, body: &mut Map<String, Value>) -> Outcome<()> {
    let (name, namespace) = ask.study()?;
    let principal = ask.principal()?;
    if ask.parameters.given("thin").is_some() && !principal.has(Permission::StudyThin, name.phi) {
        return Err(Fault::about("NOT_PERMITTED", "thin"));
    }
    values::take(&ask.parameters, GIVEN, body)?;
    custom_fields::take_with(ask, namespace.account, "Study", &principal.fields(name.phi), body)
}

/// Takes patient and study data over, as long as no image says them.
fn announce(ask: &Ask, body: &mut Map<String, Value>) {
    for (field, _, value) in corrections::given(ask) {
        body.insert(field.to_owned(), value.into());
    }
}

async fn record(ask: &Ask) -> Outcome<Map<String, Value>> {
    let (name, namespace) = ask.study()?;
    let stored = stored(ask, name, namespace)?;
    if stored.is_none() && notes(ask, name)?.is_none() {
        return offered(ask, name, namespace).await;
    }
    ask.audit(
        ObjectRef::One(ObjectKind::Token, *name.token.as_bytes()),
        Some(namespace.account),
    )
    .await?;
    let mut record = Records::new(ask).make(name, namespace, stored.as_ref())?;
    Extras::new(ask)?.add_all(&mut record).await?;
    Ok(record)
}

/// What waits for approval is read by whoever may approve it.
async fn offered(ask: &Ask, name: &StudyName, namespace: &Arc<Namespace>) -> Outcome<Map<String, Value>> {
    if !ask.principal()?.has(Permission::StudyApprove, name.phi) {
        return Err(Fault::not_found());
    }
    let offers = shares::offers(ask, namespace)?;
    let offer = offers.into_iter().find(|offer| offer.theirs == *name);
    let offer = offer.ok_or_else(Fault::not_found)?;
    let study = offer.study(ask)?.ok_or_else(Fault::not_found)?;
    ask.audit(
        ObjectRef::One(ObjectKind::Token, *name.token.as_bytes()),
        Some(namespace.account),
    )
    .await?;
    shares::offered_record(
        &mut Records::new(ask),
        &offer,
        namespace,
        &Stored::of(ask.services(), &study)?,
    )
}

/// `/study/add`: announces a study, so that images may come. One that is there already is said so, with what it is.
pub async fn add(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    if stored(ask, name, namespace)?.is_some() || notes(ask, name)?.is_some() {
        let principal = ask.principal()?;
        let mut record = record(ask).await?;
        if ![Permission::StudyView, Permission::StudyBrowse]
            .into_iter()
            .any(|permission| principal.has(permission, namespace.id))
        {
            // Who may only upload learns that it is there, and its name.
            record.retain(|name, _| {
                ["uuid", "study_uid", "phi_namespace", "storage_namespace", "engine_fqdn"].contains(&name.as_str())
            });
        }
        return Err(Fault::new("ALREADY_EXISTS").with_data(record.into()));
    }
    // Of a study that is new, the pixels go where the caller has a role; elsewhere is as if it were not there.
    if !ask.principal()?.reaches(name.storage) {
        return Err(Fault::new("NAMESPACE_NOT_FOUND"));
    }
    ask.parameters.integer("image_count")?;
    let mut body = Map::new();
    take(ask, &mut body)?;
    announce(ask, &mut body);
    body.insert("study_uid".into(), ask.required("study_uid").into());
    body.insert("study_id".into(), name.to_string().into());
    let source = ask.source()?;
    let marker = NewDocument {
        kind: Kind::Phantom,
        owner: *namespace.id.as_bytes(),
        account: namespace.account,
        body: json!({"study_id": name.to_string()})
            .as_object()
            .cloned()
            .unwrap_or_default(),
    };
    ask.accounts().documents.add(marker, &source).await?;
    let notes = NewDocument {
        kind: Kind::Study,
        owner: name.owner(),
        account: namespace.account,
        body,
    };
    ask.accounts().documents.add(notes, &source).await?;
    Ok(Reply::of("uuid", name.to_string()).with("engine_fqdn", namespaces::host(ask)))
}

/// `/study/get`.
pub async fn get(ask: &Ask) -> Outcome {
    Ok(Reply(record(ask).await?))
}

/// `/study/exists`: only what the caller may see does.
pub async fn exists(ask: &Ask) -> Outcome {
    let account = ask.parameters.text("account_id").and_then(super::ask::uuid);
    if let Some(account) = account.map(AccountId::from_bytes) {
        return Ok(Reply::of("exists", flag(exists_in(ask, account)?)));
    }
    let exists = match resolve::study(ask) {
        Ok(super::ask::Target::Study(name, namespace)) => is_seen(ask, &name, &namespace)?,
        Ok(_) | Err(Fault::Error { token: "NOT_FOUND", .. }) => false,
        Err(fault) => return Err(fault),
    };
    Ok(Reply::of("exists", flag(exists)))
}

fn is_seen(ask: &Ask, name: &StudyName, namespace: &Namespace) -> Outcome<bool> {
    let principal = ask.principal()?;
    let may = [Permission::StudyView, Permission::StudyBrowse]
        .into_iter()
        .any(|permission| principal.has(permission, namespace.id));
    Ok(may && (stored(ask, name, namespace)?.is_some() || notes(ask, name)?.is_some()))
}

/// Whether a study of the UID given is seen somewhere in an account.
fn exists_in(ask: &Ask, account: AccountId) -> Outcome<bool> {
    let uid = septum_core::ids::StudyInstanceUid::parse(ask.required("study_uid"))
        .map_err(|_| Fault::about("INVALID_UUID", "study_uid"))?;
    for namespace in ask.accounts().namespaces()? {
        if namespace.account == account {
            let name = StudyName::of_uid(ask.services(), &namespace, namespace.id, uid.as_str())?;
            if is_seen(ask, &name, &namespace)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// `/study/permissions`.
pub async fn permissions(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    must_be_there(ask, name, namespace)?;
    let is_frozen = study_record::is_frozen(ask, name, namespace)?;
    let mut flags = session::study_flags(ask, name.phi, is_frozen)?;
    flags.insert("reports".into(), json!([]));
    Ok(Reply(flags))
}

/// Changes what is noted of a study.
async fn note(ask: &Ask, edit: impl FnOnce(&mut Map<String, Value>) -> Outcome<()>) -> Outcome<()> {
    let (name, namespace) = ask.study()?;
    let known = notes(ask, name)?;
    if known.is_none() && stored(ask, name, namespace)?.is_none() {
        return Err(Fault::not_found());
    }
    let source = ask.source()?;
    let store = &ask.accounts().documents;
    match known {
        Some(known) => {
            let edit = |document: &mut Document| edit(&mut document.body);
            store.edit(Kind::Study, known.id, &source, edit).await?;
        }
        None => {
            let mut body = Map::new();
            edit(&mut body)?;
            body.insert("study_id".into(), name.to_string().into());
            let new = NewDocument {
                kind: Kind::Study,
                owner: name.owner(),
                account: namespace.account,
                body,
            };
            store.add(new, &source).await?;
        }
    }
    Ok(())
}

/// `/study/set`: of a study whose images are here, patient and study data are corrected.
pub async fn set(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    match stored(ask, name, namespace)? {
        Some(stored) => {
            // Refused before anything is noted.
            take(ask, &mut Map::new())?;
            corrections::apply(ask, name, namespace, &stored).await?;
            note(ask, |body| take(ask, body)).await?;
        }
        None => {
            note(ask, |body| {
                announce(ask, body);
                take(ask, body)
            })
            .await?;
        }
    }
    Ok(Reply::of("uuid", name.to_string()))
}

/// `/study/sync`: what was announced has come, once something is stored.
pub async fn sync(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    let is_stored = stored(ask, name, namespace)?.is_some();
    if !is_stored && notes(ask, name)?.is_none() {
        return Err(Fault::not_found());
    }
    if is_stored {
        arrive(ask).await?;
        shares::deferred::arrived(ask.services(), &ask.app.channels, name).await?;
        let study_uid = name.find(ask.services(), namespace)?;
        let study_uid = ask.services().summaries.open(&study_uid.row)?.summary.study_uid.clone();
        ask.app
            .channels
            .tell_of_study(ask.services(), Event::Ready, name.phi, &study_uid);
    }
    Ok(Reply::done())
}

/// Takes a study off the list of those announced.
async fn arrive(ask: &Ask) -> Outcome<()> {
    let (name, namespace) = ask.study()?;
    let text = name.to_string();
    let store = &ask.accounts().documents;
    for document in store.list(Kind::Phantom, namespace.id.as_bytes())? {
        if values::text(&document.body, "study_id") == text {
            match store.delete(Kind::Phantom, document.id, &ask.source()?).await {
                Ok(()) | Err(EngineError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Erases a study with what is noted of it.
///
/// # Errors
/// Where something of it stays; what is noted is noted of nothing then, and goes when it is tried again.
pub async fn erase_study(
    services: &Arc<Services>,
    namespace: &Namespace,
    found: StudyRef,
    source: &Source,
) -> Result<(), EngineError> {
    let name = StudyName::of_row_key(namespace.id, &found.row_key).ok_or(EngineError::Corrupt("study row key"))?;
    let study_uid = services.summaries.open(&found.row)?.summary.study_uid.clone();
    erase::of(services, found, study_uid, source).await?;
    documents::forget_study(services, &name, source).await
}

/// `/study/delete`: for ever, with everything that belongs to it.
pub async fn delete(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    let noted = notes(ask, name)?;
    let found = match name.find(ask.services(), namespace) {
        Ok(found) => Some(found),
        Err(EngineError::NotFound) if noted.is_some() => None,
        Err(error) => return Err(error.into()),
    };
    let source = ask.source()?;
    if let Some(found) = found {
        erase_study(ask.services(), namespace, found, &source).await?;
    }
    documents::forget_study(ask.services(), name, &source).await?;
    Ok(Reply::done())
}

/// `/study/freeze`: the study and its shares; with `thaw=1`, the other way.
pub async fn freeze(ask: &Ask) -> Outcome {
    let thaw = ask.parameters.is_set("thaw")?;
    let (name, namespace) = ask.study()?;
    let found = match name.find(ask.services(), namespace) {
        Err(EngineError::NotFound) if notes(ask, name)?.is_some() => return Err(Fault::new("NOT_AVAILABLE")),
        found => found?,
    };
    if freeze::set(ask.services(), &found, !thaw, &ask.source()?).await? {
        Ok(Reply::done())
    } else {
        Err(Fault::new("ALREADY"))
    }
}

/// `/study/retrieve`: of a study that is known and lies elsewhere. Nothing here fetches studies from elsewhere yet.
pub async fn retrieve(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    let stored = stored(ask, name, namespace)?;
    let noted = notes(ask, name)?;
    if stored.is_none() && noted.is_none() {
        return Err(Fault::not_found());
    }
    let noted = noted.map(|noted| noted.body).unwrap_or_default();
    if !values::is_set(&noted, "thin") {
        return Err(Fault::new("NOT_THIN"));
    }
    let accession_number = match stored {
        Some(stored) => study_record::text_of(&stored.attributes, "00080050"),
        None => noted.get("accession_number").cloned().unwrap_or(Value::Null),
    };
    if accession_number.as_str().is_none_or(str::is_empty) {
        return Err(Fault::new("MISSING_INFO"));
    }
    Err(Fault::new("NO_QUERY_DESTINATION"))
}

/// `/study/star`: each user's own.
pub async fn star(ask: &Ask) -> Outcome {
    let on = ask.parameters.is_set("star")?;
    let user = ask.principal()?.user.to_string();
    note(ask, |body| {
        let stars = body.get("stars").and_then(Value::as_array).cloned();
        let mut stars = stars.unwrap_or_default();
        stars.retain(|star| star.as_str() != Some(&user));
        if on {
            stars.push(user.into());
        }
        body.insert("stars".into(), stars.into());
        Ok(())
    })
    .await?;
    Ok(Reply::done())
}

/// `/study/status/get`.
pub async fn status_get(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    must_be_there(ask, name, namespace)?;
    let notes = notes(ask, name)?;
    let status = notes.and_then(|notes| notes.body.get("study_status").cloned());
    let account = ask.accounts().account(namespace.account)?;
    let tags = account.settings.get("study_status_tags").cloned().unwrap_or(json!([]));
    Ok(Reply::of("study_status", status.unwrap_or(Value::Null)).with("study_status_tags", tags))
}

/// `/study/status/set`: only from the status the caller knows.
pub async fn status_set(ask: &Ask) -> Outcome {
    let old = ask.parameters.text("old").unwrap_or_default();
    let new = ask.required("new").to_owned();
    let account = ask.accounts().account(ask.study()?.1.account)?;
    let tags = account.settings.get("study_status_tags").and_then(Value::as_array);
    if let Some(tags) = tags
        && !tags.iter().any(|tag| tag.as_str() == Some(&new))
    {
        return Err(Fault::new("INVALID_TAG"));
    }
    note(ask, |body| {
        let now = values::text(body, "study_status");
        // Sent again after the answer was lost, it is done already.
        if now != old && now != new {
            return Err(Fault::new("STALE"));
        }
        body.insert("study_status".into(), new.into());
        Ok(())
    })
    .await?;
    Ok(Reply::done())
}

/// What viewers tell of: into the trail.
pub async fn audit(ask: &Ask) -> Outcome {
    const ACTIONS: [&str; 6] = [
        "VIEW",
        "VIEW_WITH_REASON",
        "DOWNLOAD",
        "PRINT",
        "REPORT_VIEW",
        "STUDY_VIEW",
    ];
    if !ACTIONS.contains(&ask.required("action")) {
        return Err(Fault::new("INVALID_ACTION"));
    }
    let (name, namespace) = ask.study()?;
    if stored(ask, name, namespace)?.is_none() && notes(ask, name)?.is_none() {
        return Err(Fault::not_found());
    }
    let object = ObjectRef::One(ObjectKind::Token, *name.token.as_bytes());
    ask.audit(object, Some(Arc::clone(namespace).account)).await?;
    Ok(Reply::done())
}
