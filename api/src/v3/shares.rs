//! Who else sees a study: `/study/share/*`, approving and rejecting, duplicating, moving.
//!
//! A share is a row of the receiver's on the same pixels ([`septum_engine::share`]). Where the receiver approves what
//! comes, nothing is copied until they did: what waits is an offer, a document of the receiver's that names the sender's
//! study.
//!
//! | module | owns |
//! |---|---|
//! | [`giving`] | what holds whoever the receiver is: who may, what the receiver asks for, offer or share |
//! | [`invited`] | receivers by e-mail, who may not be known yet |
//! | [`deferred`] | shares of studies that have not come yet |
//! | [`rules`] | an account's rules on who shares with whom |

use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::{AccountId, UnitId, UserId};
use septum_engine::EngineError;
use septum_engine::accounts::documents::{Document, Kind};
use septum_engine::accounts::{Namespace, NamespaceKind};
use septum_engine::pipeline::messages::Source;
use septum_engine::retrieve::StudyRef;
use septum_engine::services::Services;
use septum_engine::share::{self, Manner, Sharing, conflict, storage_namespace};
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::reply::{Reply, flag};
use super::study_id::StudyName;
use super::study_record::{Records, Stored, must_be_there};
use super::{documents, resolve, times, users, values};
use crate::hidden::Hidden;

pub mod deferred;
mod giving;
pub mod invited;
pub mod rules;

use giving::Giving;

/// Kinds of receiver: the parameter that names one, and the permission to share with one.
const RECEIVERS: [(&str, Permission); 4] = [
    ("account_id", Permission::StudyShareAccount),
    ("location_id", Permission::StudyShareLocation),
    ("group_id", Permission::StudyShareGroup),
    ("user_id", Permission::StudyShareUser),
];

/// The kinds of receiver that belong to networks which are not here.
const ELSEWHERE: [&str; 3] = ["rsna", "npi", "masshiway"];

/// The parameter that names a namespace as a receiver, and its value.
fn named(namespace: &Namespace) -> Option<(&'static str, String)> {
    match namespace.kind {
        NamespaceKind::Account => Some(("account_id", namespace.account.to_string())),
        NamespaceKind::Group(unit) => Some(("group_id", unit.to_string())),
        NamespaceKind::Location(unit) => Some(("location_id", unit.to_string())),
        NamespaceKind::Personal(user) => Some(("user_id", user.to_string())),
        NamespaceKind::Plain => None,
    }
}

fn receiver_of(ask: &Ask, kind: &str, text: &str) -> Option<Arc<Namespace>> {
    let (accounts, id) = (ask.accounts(), uuid(text)?);
    let unit = || accounts.unit(UnitId::from_bytes(id)).ok();
    match kind {
        "account_id" => {
            let account = accounts.account(AccountId::from_bytes(id)).ok()?;
            let tenant = (!account.personal).then_some(account)?;
            accounts.namespace_of(tenant.id).ok()
        }
        "group_id" => unit().filter(|unit| matches!(unit.kind, NamespaceKind::Group(_))),
        "location_id" => unit().filter(|unit| matches!(unit.kind, NamespaceKind::Location(_))),
        _ => {
            let user = accounts.user_by_id(UserId::from_bytes(id)).ok()?;
            let user = user.guest.is_none().then_some(user)?;
            accounts.namespace(user.personal?).ok()
        }
    }
}

/// The one receiver that a call names.
fn receiver(ask: &Ask) -> Outcome<Arc<Namespace>> {
    let parameters = &ask.parameters;
    if let Some(name) = ELSEWHERE.into_iter().find(|name| parameters.text(name).is_some()) {
        return Err(Fault::about("NOT_SUPPORTED", name));
    }
    let mut given = RECEIVERS
        .into_iter()
        .filter_map(|(name, _)| Some((name, parameters.text(name)?)))
        .collect::<Vec<_>>();
    given.extend(parameters.text("share_code").map(|code| ("share_code", code)));
    let [(name, text)] = given.as_slice() else {
        return Err(Fault::new("INVALID_PARAMETERS"));
    };
    let found = if *name == "share_code" {
        resolve::share_code(ask, text)?.map(|coded| coded.namespace)
    } else {
        receiver_of(ask, name, text)
    };
    found.ok_or_else(|| Fault::about("NOT_FOUND", *name))
}

/// The stored study a call is about; one that is only announced is a phantom.
fn stored(ask: &Ask) -> Outcome<StudyRef> {
    let (name, namespace) = ask.study()?;
    match name.find(ask.services(), namespace) {
        Ok(found) => Ok(found),
        Err(EngineError::NotFound) => match super::study_record::notes(ask, name)? {
            Some(_) => Err(Fault::new("PHANTOM")),
            None => Err(Fault::not_found()),
        },
        Err(error) => Err(error.into()),
    }
}

fn study_uid(ask: &Ask, study: &StudyRef) -> Outcome<String> {
    Ok(ask.services().summaries.open(&study.row)?.summary.study_uid.clone())
}

/// Nobody gives on what is hidden from them: they would have it themselves then.
///
/// # Errors
/// `NOT_PERMITTED`.
pub fn sees_all(ask: &Ask, namespace: &Namespace) -> Outcome<()> {
    if Hidden::of(ask.principal()?, namespace.id).is_empty() {
        Ok(())
    } else {
        Err(Fault::not_permitted())
    }
}

/// `/study/share`.
pub async fn share(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    // Asked before anybody is looked up: who may not share with groups does not learn which there are.
    for (parameter, permission) in RECEIVERS.into_iter().chain([
        ("share_code", Permission::StudyShareShareCode),
        ("email", Permission::StudyShareEmail),
    ]) {
        if ask.parameters.text(parameter).is_some() {
            let _granted = ask.authorize(permission, namespace.id)?;
        }
    }
    sees_all(ask, namespace)?;
    if let Some(text) = ask.parameters.text("email") {
        let addresses = invited::addresses(text)?;
        let others = RECEIVERS
            .into_iter()
            .map(|(name, _)| name)
            .chain(["share_code"])
            .chain(ELSEWHERE);
        if others.into_iter().any(|name| ask.parameters.text(name).is_some()) {
            return Err(Fault::new("INVALID_PARAMETERS"));
        }
        return invited::share(ask, &addresses).await;
    }
    let into = receiver(ask)?;
    if giving::forbids(ask.services(), name, namespace) {
        return Err(Fault::not_permitted());
    }
    // Only who names it as it will be called shares what has not come.
    let is_triplet = ["uuid", "study_id"]
        .into_iter()
        .all(|name| ask.parameters.text(name).is_none());
    match Giving::of(ask) {
        Ok(giving) => {
            let _is_new = giving.to(&into).await?;
        }
        Err(Fault::Error {
            token: "PHANTOM" | "NOT_FOUND",
            ..
        }) if is_triplet => deferred::keep(ask, &into).await?,
        Err(fault) => return Err(fault),
    }
    Ok(Reply::done())
}

async fn show(services: &Arc<Services>, sharing: Sharing, source: &Source) -> Outcome<()> {
    match share::share(services, sharing, source).await {
        Ok(_) => Ok(()),
        Err(EngineError::Conflict(conflict::SAME)) => Err(Fault::about("SHARE_FAILED", "SAME")),
        Err(EngineError::Conflict(conflict::EXISTS)) => Err(Fault::new("ALREADY_EXISTS")),
        Err(error) => Err(error.into()),
    }
}

/// A study that waits for its receiver.
pub struct Offer {
    /// What is stored of it.
    pub document: Document,
    /// Its name once it is the receiver's.
    pub theirs: StudyName,
    from: StudyName,
}

impl Offer {
    fn of(document: Document) -> Option<Self> {
        let name = |field| StudyName::parse(values::text(&document.body, field));
        let (theirs, from) = (name("study_id")?, name("from")?);
        Some(Self { document, theirs, from })
    }

    /// The sender's study, while it is there.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn study(&self, ask: &Ask) -> Outcome<Option<StudyRef>> {
        let namespace = match ask.accounts().namespace(self.from.phi) {
            Ok(namespace) => namespace,
            Err(EngineError::NotFound) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match self.from.find(ask.services(), &namespace) {
            // Another study of that UID is not what was offered.
            Ok(study) => {
                Ok(Some(study).filter(|study| study.id().to_string() == values::text(&self.document.body, "study")))
            }
            Err(EngineError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the sender says about it.
    pub fn message(&self) -> &str {
        values::text(&self.document.body, "message")
    }
}

/// The record of a study that waits.
///
/// # Errors
/// Where something of it cannot be read.
pub fn offered_record(
    records: &mut Records<'_>,
    offer: &Offer,
    namespace: &Arc<Namespace>,
    stored: &Stored,
) -> Outcome<Map<String, Value>> {
    let mut record = records.make(&offer.theirs, namespace, Some(stored))?;
    record.insert("must_approve".into(), flag(true));
    // For its receiver it is there since it was offered.
    let offered = times::written(offer.document.created_ms);
    record.insert("created".into(), offered.map_or(Value::Null, Value::from));
    record.insert("share_message".into(), offer.message().into());
    Ok(record)
}

/// What waits in a namespace, newest first.
///
/// # Errors
/// Where it cannot be read.
pub fn offers(ask: &Ask, namespace: &Namespace) -> Outcome<Vec<Offer>> {
    offers_of(ask.services(), namespace)
}

fn offers_of(services: &Services, namespace: &Namespace) -> Outcome<Vec<Offer>> {
    let mut found = services.accounts.documents.list(Kind::Offer, namespace.id.as_bytes())?;
    found.sort_by_key(|document| std::cmp::Reverse(document.created_ms));
    Ok(found.into_iter().filter_map(Offer::of).collect())
}

fn waiting(ask: &Ask) -> Outcome<Offer> {
    let (name, namespace) = ask.study()?;
    let mut found = offers(ask, namespace)?.into_iter();
    found.find(|offer| offer.theirs == *name).ok_or_else(Fault::not_found)
}

async fn decided(ask: &Ask, offer: &Offer) -> Outcome<()> {
    let (store, source) = (&ask.accounts().documents, ask.source()?);
    match store.delete(Kind::Offer, offer.document.id, &source).await {
        Ok(()) | Err(EngineError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `/study/approve`: what waited is shared.
pub async fn approve(ask: &Ask) -> Outcome {
    ask.parameters.refuse(&["delay", "must_match"])?;
    let (name, namespace) = ask.study()?;
    let offer = match waiting(ask) {
        // Sent again after the answer was lost, it is done already.
        Err(Fault::Error { token: "NOT_FOUND", .. }) if name.find(ask.services(), namespace).is_ok() => {
            return Ok(Reply::done());
        }
        offer => offer?,
    };
    let Some(from) = offer.study(ask)? else {
        decided(ask, &offer).await?;
        return Err(Fault::not_found());
    };
    let sender = ask.accounts().namespace(offer.from.phi)?;
    if values::is_set(&sender.properties, "no_share") {
        return Err(Fault::not_permitted());
    }
    let by = uuid(values::text(&offer.document.body, "by")).map(UserId::from_bytes);
    let sharing = Sharing {
        from,
        into: Arc::clone(namespace),
        manner: Manner::Share,
        by: by.unwrap_or(ask.principal()?.user),
        message: offer.message().to_owned(),
        with_attachments: true,
    };
    show(ask.services(), sharing, &ask.source()?).await?;
    decided(ask, &offer).await?;
    Ok(Reply::done())
}

/// `/study/reject`: what waited waits no more.
pub async fn reject(ask: &Ask) -> Outcome {
    decided(ask, &waiting(ask)?).await?;
    Ok(Reply::done())
}

/// The shares of a study that the caller's namespace may know of: all, where the pixels are its own, else those it gave.
fn given(ask: &Ask) -> Outcome<Vec<(Arc<Namespace>, StudyRef)>> {
    let (name, _) = ask.study()?;
    let study = stored(ask)?;
    let mut given = Vec::new();
    for (holder, row) in share::holders(ask.services(), &study)? {
        let open = ask.services().summaries.open(&row.row)?;
        let shared = open.summary.shared.as_ref();
        if shared.is_some_and(|shared| shared.from == name.phi || name.storage == name.phi) {
            given.push((holder, row));
        }
    }
    Ok(given)
}

/// `/study/share/list`: who has access.
pub async fn list(ask: &Ask) -> Outcome {
    let with_names = ask.parameters.is_set("name")?;
    let (_, namespace) = ask.study()?;
    ask.audit_namespace(namespace).await?;
    let mut lists: Map<String, Value> = RECEIVERS
        .into_iter()
        .map(|(kind, _)| (kind.to_owned(), json!([])))
        .collect();
    lists.insert("user_invite_share_id".into(), json!([]));
    lists.insert("link_id".into(), json!([]));
    let mut add = |kind: &str, id: String, about: (String, i64, UserId)| {
        let (name, since_ms, by) = about;
        let entry = if with_names {
            let author = ask.accounts().user_by_id(by);
            json!({
                "uuid": id,
                "name": name,
                "since": times::written(since_ms),
                "by": by.to_string(),
                "by_name": author.map_or_else(|_| String::new(), |user| user.full_name()),
            })
        } else {
            id.into()
        };
        if let Some(Value::Array(entries)) = lists.get_mut(kind) {
            entries.push(entry);
        }
    };
    for link in ask.accounts().documents.list(Kind::Link, &ask.study()?.0.owner())? {
        let description = values::text(&link.body, "description").to_owned();
        add(
            "link_id",
            link.id.to_string(),
            (description, link.created_ms, link.created_by),
        );
    }
    for invited in ask
        .accounts()
        .documents
        .list(Kind::InvitedShare, &ask.study()?.0.owner())?
    {
        let email = values::text(&invited.body, "email").to_owned();
        let about = (email, invited.created_ms, invited.created_by);
        add("user_invite_share_id", invited.id.to_string(), about);
    }
    for (holder, study) in given(ask)? {
        let Some((kind, id)) = named(&holder).filter(|_| !ask.accounts().is_of_guest(&holder)) else {
            continue;
        };
        let open = ask.services().summaries.open(&study.row)?;
        let Some(shared) = &open.summary.shared else { continue };
        add(
            kind,
            id,
            (users::namespace_name(ask, &holder)?, shared.at_ms, shared.by),
        );
    }
    Ok(Reply(lists))
}

/// `/study/share/stop`: from then on the receiver has nothing of it.
pub async fn stop(ask: &Ask) -> Outcome {
    if ask.parameters.text("user_invite_share_id").is_some() {
        return invited::stop(ask).await;
    }
    let into = receiver(ask)?;
    let study = stored(ask)?;
    let source = ask.source()?;
    let mut is_any = false;
    let theirs = StudyName::of_uid(
        ask.services(),
        &into,
        storage_namespace(&study)?,
        &study_uid(ask, &study)?,
    )?;
    let (name, _) = ask.study()?;
    let is_ours = |offer: &&Offer| offer.theirs == theirs && (offer.from == *name || name.storage == name.phi);
    for offer in offers(ask, &into)?.iter().filter(is_ours) {
        decided(ask, offer).await?;
        is_any = true;
    }
    if given(ask)?.iter().any(|(holder, _)| holder.id == into.id) {
        share::stop(ask.services(), &study, into.id, &source).await?;
        documents::forget_study(ask.services(), &theirs, &source).await?;
        is_any = true;
    }
    if is_any {
        Ok(Reply::done())
    } else {
        Err(Fault::not_found())
    }
}

/// `/study/share/who`: with whom of a kind the study can be shared.
pub async fn who(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    must_be_there(ask, name, namespace)?;
    let kind = format!("{}_id", ask.required("type"));
    let Some((kind, _)) = RECEIVERS.into_iter().find(|(known, _)| **known == kind) else {
        return Err(Fault::about("INVALID_TYPE", "type"));
    };
    let of_account = |other: &Namespace| match other.kind {
        // Users are the account's members.
        NamespaceKind::Personal(user) => {
            let home = ask.accounts().namespace_of(namespace.account).ok();
            home.is_some_and(|home| ask.accounts().membership(user, home.id).is_ok())
        }
        _ => other.account == namespace.account,
    };
    let mut shares = Vec::new();
    for other in ask.accounts().namespaces()? {
        let Some((_, id)) = named(&other).filter(|(named, _)| *named == kind) else {
            continue;
        };
        let is_let = rules::check(ask.services(), ask.principal()?.user, namespace, &other).is_ok();
        if other.id != name.phi && of_account(&other) && is_let {
            shares.push(json!({"uuid": id, "name": users::namespace_name(ask, &other)?}));
        }
    }
    Ok(Reply::of("shares", shares))
}

/// The namespace that a study goes to, where the caller may put it.
pub(super) fn destination(ask: &Ask) -> Outcome<Arc<Namespace>> {
    let into = resolve::namespace(ask, "namespace_id")
        .filter(|into| ask.principal().is_ok_and(|principal| principal.reaches(into.id)))
        .ok_or_else(|| Fault::about("NOT_FOUND", "namespace_id"))?;
    let _granted = ask.authorize(Permission::StudyUpload, into.id)?;
    Ok(into)
}

fn duplicating(ask: &Ask, into: Arc<Namespace>, manner: Manner, with_attachments: bool) -> Outcome<Sharing> {
    sees_all(ask, ask.study()?.1)?;
    Ok(Sharing {
        from: stored(ask)?,
        into,
        manner,
        by: ask.principal()?.user,
        message: String::new(),
        with_attachments,
    })
}

/// `/study/duplicate`: a study of the receiver's own, on the same pixels.
pub async fn duplicate(ask: &Ask) -> Outcome {
    for name in ["overwrite", "exclude_phi"] {
        if ask.parameters.is_set(name)? {
            return Err(Fault::about("NOT_SUPPORTED", name));
        }
    }
    let with_attachments = ask.parameters.is_set("include_attachments")?;
    let sharing = duplicating(ask, destination(ask)?, Manner::Duplicate, with_attachments)?;
    match show(ask.services(), sharing, &ask.source()?).await {
        Err(Fault::Error {
            token: "SHARE_FAILED", ..
        }) => Err(Fault::new("ALREADY_EXISTS")),
        shown => shown.map(|()| Reply::done()),
    }
}

/// `/study/move`: duplicated, then gone where it was.
pub async fn move_to(ask: &Ask) -> Outcome {
    let into = destination(ask)?;
    let (name, _) = ask.study()?;
    let sharing = duplicating(ask, into, Manner::Move, true)?;
    let source = ask.source()?;
    let account = sharing.into.account;
    let moved = match share::move_to(ask.services(), sharing, &source).await {
        Ok(moved) => moved,
        Err(EngineError::Conflict(conflict::SHARED)) => return Err(Fault::about("NOT_PERMITTED", "SHARED")),
        Err(EngineError::Conflict(conflict::SAME | conflict::EXISTS)) => return Err(Fault::new("ALREADY_EXISTS")),
        Err(error) => return Err(error.into()),
    };
    if let Some(now) = StudyName::of_row_key(moved.namespace, &moved.row_key) {
        documents::follow_study(ask.services(), name, &now, account, &source).await?;
    }
    documents::forget_study(ask.services(), name, &source).await?;
    Ok(Reply::done())
}
