//! `/link/*`: addresses that open one study, or take uploads, for whoever has them.
//!
//! A link is a document, and a guest. For a study the guest has a namespace of their own, into which the study is shared
//! when the link is made: a session of the link opens what the link names because nothing else is there, at every door.
//! A PIN stands for a link for some minutes, where an address cannot be handed on (module `pins`). For uploads the guest may store into the namespace that the link names, and see nothing of it. Deleting a link ends its
//! sessions first, so that nothing goes out any more, and then takes the share back.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::http::StatusCode;
use septum_core::access::{BuiltIn, Permission, Setting, Template};
use septum_core::ids::{DocumentId, UserId};
use septum_engine::EngineError;
use septum_engine::accounts::documents::{Document, Kind, NewDocument};
use septum_engine::accounts::{Namespace, User};
use septum_engine::pipeline::messages::Source;
use septum_engine::retrieve::StudyRef;
use septum_engine::services::{Services, now_ms};
use septum_engine::share::{self, Manner, Sharing};
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::{Reply, flag};
use super::study_id::StudyName;
use super::study_record::must_be_there;
use super::values::{self, Holds};
use super::{dispatch, link_page, pins, resolve, shares, times, users};
use crate::app::App;
use crate::mail::letter;

const MINUTE_MS: i64 = 60_000;
/// A link that says nothing lives so long, in minutes: thirty days.
const MINUTES_ALIVE: i64 = 30 * 24 * 60;
/// Wrong passwords until a link is locked, where it says nothing.
const ATTEMPTS_MAX: i64 = 10;
/// A session of a link ends after so long without use, in milliseconds: one hour.
const IDLE_MS: i64 = 60 * MINUTE_MS;

/// How often links that are over are looked for.
const SWEEP: Duration = Duration::from_secs(60);

const VIEW: &str = "STUDY_VIEW";
const UPLOAD: &str = "STUDY_UPLOAD";

const DOWNLOADS: [Permission; 3] = [
    Permission::StudyDownload,
    Permission::StudyDownloadViewer,
    Permission::StudyDownloadIso,
];

/// What is asked of links elsewhere, and would be taken for done here.
const NOT_HERE: [&str; 13] = [
    "anonymize",
    "upload_match",
    "upload_study_customfields",
    "pin_auth",
    "password_is_dob",
    "acceptance_required",
    "include_priors",
    "share_on_view",
    "use_share_code",
    "meeting_id",
    "charge_amount",
    "charge_currency",
    "filter",
];

/// What a link says of itself.
const GIVEN: values::Fields = &[
    ("action", Holds::Text),
    ("description", Holds::Text),
    ("message", Holds::Text),
    ("email", Holds::Text),
    ("mobile_phone", Holds::Text),
    ("notify", Holds::Text),
    ("max_hits", Holds::Integer),
    ("minutes_alive", Holds::Integer),
    ("password_max_attempts", Holds::Integer),
    ("download", Holds::Flag),
    ("skip_email_prompt", Holds::Flag),
    ("prompt_for_anonymize", Holds::Flag),
];

const FIELDS: Fields = &[
    ("uuid", Compare::Text),
    ("action", Compare::Text),
    ("description", Compare::Text),
    ("email", Compare::Text),
    ("created", Compare::Time),
];

fn integer(link: &Document, name: &str) -> i64 {
    link.body.get(name).and_then(Value::as_i64).unwrap_or_default()
}

fn ends_ms(link: &Document) -> i64 {
    let minutes = link.body.get("minutes_alive").and_then(Value::as_i64);
    let minutes = minutes.unwrap_or(MINUTES_ALIVE);
    link.created_ms.saturating_add(minutes.saturating_mul(MINUTE_MS))
}

fn guest_of(link: &Document) -> Option<UserId> {
    uuid(values::text(&link.body, "guest")).map(UserId::from_bytes)
}

/// Whether a link opens anything still.
fn is_alive(link: &Document) -> bool {
    let has_hits = link
        .body
        .get("max_hits")
        .and_then(Value::as_i64)
        .is_none_or(|most| integer(link, "hits") < most);
    has_hits && ends_ms(link) > now_ms() && guest_of(link).is_some()
}

/// The namespace that a link is about: where its study is seen, or where its uploads go.
fn namespace_of(ask: &Ask, link: &Document) -> Outcome<Arc<Namespace>> {
    let study = StudyName::parse(values::text(&link.body, "study_id")).map(|name| name.phi);
    let named = || uuid(values::text(&link.body, "namespace_id")).map(septum_core::ids::NamespaceId::from_bytes);
    let id = study.or_else(named).ok_or_else(Fault::not_found)?;
    Ok(ask.accounts().namespace(id)?)
}

/// The link that a call names, for whoever has one of `permissions` where it belongs.
fn link(ask: &Ask, permissions: &[Permission]) -> Outcome<(Document, Arc<Namespace>)> {
    let id = uuid(ask.required("uuid")).ok_or_else(Fault::not_found)?;
    let link = ask.accounts().documents.get(Kind::Link, DocumentId::from_bytes(id))?;
    let namespace = namespace_of(ask, &link)?;
    let mut refused = Fault::not_found();
    for &permission in permissions {
        match ask.authorize(permission, namespace.id) {
            Ok(_) => return Ok((link, namespace)),
            Err(fault) => refused = fault,
        }
    }
    Err(refused)
}

/// `/link/add`.
pub async fn add(ask: &Ask) -> Outcome {
    ask.parameters.refuse(&NOT_HERE)?;
    let mut body = Map::new();
    values::take(&ask.parameters, GIVEN, &mut body)?;
    let (study, namespace) = match ask.required("action") {
        VIEW => match resolve::study(ask)? {
            super::ask::Target::Study(name, namespace) => (Some(name), namespace),
            _ => return Err(Fault::not_found()),
        },
        UPLOAD => {
            let namespace = resolve::namespace(ask, "namespace_id");
            (None, namespace.ok_or_else(Fault::not_found)?)
        }
        "STUDY_LIST" | "LOGIN" => return Err(Fault::about("NOT_SUPPORTED", "action")),
        _ => return Err(Fault::about("INVALID_ACTION", "action")),
    };
    let is_permitted = match ask.authorize(Permission::LinkEdit, namespace.id) {
        Err(_) if study.is_none() => ask.authorize(Permission::LinkEditUpload, namespace.id).map(|_| ()),
        granted => granted.map(|_| ()),
    };
    is_permitted?;
    if values::is_set(&body, "download") {
        let _granted = ask.authorize(Permission::StudyDownload, namespace.id)?;
    }
    if study.is_some() {
        shares::sees_all(ask, &namespace)?;
    }
    let owner = match &study {
        Some(name) => {
            let _there = name.find(ask.services(), &namespace)?;
            body.insert("study_id".into(), name.to_string().into());
            name.owner()
        }
        None => {
            body.insert("namespace_id".into(), namespace.id.to_string().into());
            *namespace.id.as_bytes()
        }
    };
    for name in ["max_hits", "minutes_alive", "password_max_attempts"] {
        if body.get(name).and_then(Value::as_i64).is_some_and(|number| number < 1) {
            return Err(Fault::about("INVALID_INTEGER", name));
        }
    }
    body.insert("has_password".into(), flag(ask.parameters.text("password").is_some()));
    let new = NewDocument {
        kind: Kind::Link,
        owner,
        account: namespace.account,
        body,
    };
    let source = ask.source()?;
    // The same sent again is the same link, however far the first came.
    let link = ask.accounts().documents.add(new.clone(), &source).await?;
    let link = if is_same(ask, &link).await? {
        link
    } else {
        let mut other = new;
        other
            .body
            .insert("number".into(), DocumentId::random().to_string().into());
        ask.accounts().documents.add(other, &source).await?
    };
    let link = if guest_of(&link).is_some() {
        link
    } else {
        open(ask, link, study.as_ref(), &namespace, &source).await?
    };
    let url = url(ask, &link);
    Ok(Reply::of("uuid", link.id.to_string())
        .with("url", url.clone())
        .with("redirect_url", url))
}

/// Whether a link that was made a moment ago is the one asked for: it opens something still, with the same password.
async fn is_same(ask: &Ask, link: &Document) -> Outcome<bool> {
    if guest_of(link).is_none() {
        return Ok(true);
    }
    if !is_alive(link) {
        return Ok(false);
    }
    let (hash, password) = (link.body.get("password_hash"), ask.parameters.text("password"));
    match (hash.and_then(Value::as_str), password) {
        (Some(hash), Some(password)) => Ok(ask.app.authenticator.matches(Some(hash.to_owned()), password).await?),
        (None, None) => Ok(true),
        _ => Ok(false),
    }
}

/// Makes a link's guest, and shares the study with them.
async fn open(
    ask: &Ask,
    link: Document,
    study: Option<&StudyName>,
    namespace: &Arc<Namespace>,
    source: &Source,
) -> Outcome<Document> {
    let hash = match ask.parameters.text("password") {
        Some(password) => Some(users::hash(password).await?),
        None => None,
    };
    let (template, into) = if study.is_some() {
        let mut template = BuiltIn::Anonymous.template();
        if values::is_set(&link.body, "download") {
            for permission in DOWNLOADS {
                template.set(permission, Some(Setting::Permit));
            }
        }
        (template, None)
    } else {
        let mut template = Template::default();
        template.set(Permission::StudyUpload, Some(Setting::Permit));
        (template, Some(namespace.id))
    };
    let guest = ask.accounts().add_guest(template, into, Some(source)).await?;
    if let (Some(name), Some(own)) = (study, guest.personal) {
        let sharing = Sharing {
            from: name.find(ask.services(), namespace)?,
            into: ask.accounts().namespace(own)?,
            manner: Manner::Share,
            by: source.user,
            message: String::new(),
            with_attachments: true,
        };
        share::share(ask.services(), sharing, source).await?;
    }
    let edit = |link: &mut Document| {
        link.body.insert("guest".into(), guest.id.to_string().into());
        if let Some(hash) = hash {
            link.body.insert("password_hash".into(), hash.into());
        }
        Ok::<(), Fault>(())
    };
    ask.accounts().documents.edit(Kind::Link, link.id, source, edit).await
}

fn url(ask: &Ask, link: &Document) -> String {
    url_at(&ask.base_url, link)
}

fn url_at(base_url: &str, link: &Document) -> String {
    format!("{base_url}{}{}?uuid={}", dispatch::BASE, link_page::PATH, link.id)
}

fn shown(ask: &Ask, link: &Document, namespace: &Namespace) -> Outcome<Map<String, Value>> {
    let mut fields = Map::new();
    values::show(GIVEN, &link.body, &mut fields);
    let author = ask.accounts().user_by_id(link.created_by).ok();
    let time = |ms| times::written(ms).map_or(Value::Null, Value::from);
    for (name, value) in [
        ("uuid", link.id.to_string().into()),
        ("url", url(ask, link).into()),
        ("redirect_url", url(ask, link).into()),
        ("created", time(link.created_ms)),
        ("expires", time(ends_ms(link))),
        ("is_active", flag(is_alive(link))),
        ("hits", integer(link, "hits").into()),
        ("has_password", flag(values::is_set(&link.body, "has_password"))),
        ("study_id", link.body.get("study_id").cloned().unwrap_or(Value::Null)),
        ("namespace_id", namespace.id.to_string().into()),
        ("namespace_name", users::namespace_name(ask, namespace)?.into()),
        ("account_id", link.account.to_string().into()),
        ("user_id", link.created_by.to_string().into()),
        ("user_name", json!(author.map(|user| user.full_name()))),
    ] {
        fields.insert(name.to_owned(), value);
    }
    Ok(fields)
}

/// `/link/list`: of a study.
pub async fn list(ask: &Ask) -> Outcome {
    let wanted = ask.wanted(FIELDS)?;
    let (name, namespace) = ask.study()?;
    must_be_there(ask, name, namespace)?;
    ask.audit_namespace(namespace).await?;
    let mut links = ask.accounts().documents.list(Kind::Link, &name.owner())?;
    links.sort_by_key(|link| std::cmp::Reverse(link.created_ms));
    let mut rows = Vec::new();
    for link in &links {
        let row = shown(ask, link, namespace)?;
        if wanted.matches(&row) {
            rows.push(row);
        }
    }
    Ok(wanted.page("links", rows))
}

/// `/link/get`.
pub async fn get(ask: &Ask) -> Outcome {
    let (link, namespace) = link(ask, &[Permission::LinkView])?;
    Ok(Reply(shown(ask, &link, &namespace)?))
}

/// `/link/delete`.
pub async fn delete(ask: &Ask) -> Outcome {
    let (link, namespace) = link(ask, &[Permission::LinkEdit, Permission::LinkEditUpload])?;
    let is_upload = values::text(&link.body, "action") == UPLOAD;
    if !is_upload {
        let _granted = ask.authorize(Permission::LinkEdit, namespace.id)?;
    }
    close(ask.services(), &link, &ask.source()?).await?;
    Ok(Reply::done())
}

/// Takes away what a link opens, sessions first.
///
/// # Errors
/// Where something of it stays; closing it again goes on.
pub async fn close(services: &Arc<Services>, link: &Document, source: &Source) -> Result<(), EngineError> {
    let accounts = &services.accounts;
    if let Some(guest) = guest_of(link)
        && let Ok(guest) = accounts.user_by_id(guest)
    {
        accounts.sessions.end_all(guest.id, Some(source)).await?;
        let disable = |user: &mut User| user.disabled = true;
        accounts.edit_user(guest.id, Some(source), disable).await?;
        if let Some(own) = guest.personal {
            match accounts.namespace(own) {
                Ok(namespace) => {
                    empty(services, &namespace, source).await?;
                    accounts.delete_namespace(own, Some(source)).await?;
                }
                Err(EngineError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        accounts.delete_user(guest.id, Some(source)).await?;
    }
    match accounts.documents.delete(Kind::Link, link.id, source).await {
        Ok(()) | Err(EngineError::NotFound) => Ok(()),
        failed => failed,
    }
}

/// Erases the share in a guest's namespace.
async fn empty(services: &Arc<Services>, namespace: &Namespace, source: &Source) -> Result<(), EngineError> {
    let account = services.keyring.account(namespace.account)?;
    for (shard, stored_in) in services.store.shards().iter().enumerate() {
        let prefix = septum_engine::records::key::studies(namespace.id);
        for row in septum_engine::scan::rows(stored_in, prefix) {
            let (row_key, _) = row?;
            let study = match StudyRef::load(services, namespace.id, Arc::clone(&account), shard, row_key) {
                Ok(study) => study,
                Err(EngineError::NotFound) => continue,
                Err(error) => return Err(error),
            };
            share::withdraw(services, study, source).await?;
        }
    }
    Ok(())
}

/// Whether the study that a link names is there still.
fn has_study(services: &Services, link: &Document) -> Result<bool, EngineError> {
    let Some(name) = StudyName::parse(values::text(&link.body, "study_id")) else {
        return Ok(true);
    };
    let found = services.accounts.namespace(name.phi);
    match found.and_then(|namespace| name.find(services, &namespace)) {
        Ok(_) => Ok(true),
        Err(EngineError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Closes, now and then, the links that are over, so that what they kept gives its space back.
pub async fn sweep(services: Weak<Services>) {
    let mut interval = tokio::time::interval(SWEEP);
    loop {
        interval.tick().await;
        let Some(services) = services.upgrade() else { return };
        if let Err(error) = sweep_once(&services).await {
            tracing::error!(%error, "links that are over could not be closed; it is tried again");
        }
    }
}

async fn sweep_once(services: &Arc<Services>) -> Result<(), EngineError> {
    for link in services.accounts.documents.all(Kind::Link)? {
        let is_new = now_ms() - link.created_ms < 10 * MINUTE_MS;
        let is_over = ends_ms(&link) <= now_ms() || (guest_of(&link).is_none() && !is_new);
        if is_over || !has_study(services, &link)? {
            let source = Source {
                user: guest_of(&link).unwrap_or(link.created_by),
                address: None,
            };
            close(services, &link, &source).await?;
        }
    }
    Ok(())
}

/// `/link/pin`.
pub async fn pin(ask: &Ask) -> Outcome {
    let (link, namespace) = link(ask, &[Permission::LinkView])?;
    let _granted = ask.authorize(Permission::LinkEditPin, namespace.id)?;
    if !is_alive(&link) {
        return Err(Fault::not_found());
    }
    let pin = ask.app.pins.give(link.id).ok_or_else(|| Fault::new("TRY_LATER"))?;
    Ok(Reply::of("pin", pin).with("duration", pins::VALID.as_secs()))
}

/// `/link/mail`: the address of a link, sent to somebody.
pub async fn mail(ask: &Ask) -> Outcome {
    let (link, namespace) = link(ask, &[Permission::LinkView])?;
    let email = ask.required("email").trim().to_lowercase();
    if !values::is_email(&email) {
        return Err(Fault::new("INVALID_EMAIL"));
    }
    if !is_alive(&link) {
        return Err(Fault::not_found());
    }
    let mailer = ask.app.mailer.as_ref().ok_or_else(|| Fault::new("NOT_CONFIGURED"))?;
    let address = url_at(mailer.public_url(), &link);
    let letter = letter::link_to_study(&email, &ask.user()?.full_name(), &address);
    mailer
        .post(ask.services(), &letter, namespace.account, &ask.source()?)
        .await?;
    Ok(Reply::done())
}

/// The link that a PIN stands for.
pub fn of_pin(app: &App, pin: &str, address: Option<IpAddr>) -> Outcome<DocumentId> {
    app.authenticator
        .guess(address, || app.pins.link(pin))
        .map_err(|problem| match problem.status() {
            StatusCode::UNAUTHORIZED => Fault::new("INVALID_PIN"),
            _ => Fault::new("PIN_LOCKOUT"),
        })
}

/// The link that a visitor names, by itself or by its PIN.
fn named(ask: &Ask) -> Outcome<DocumentId> {
    match (ask.parameters.text("uuid"), ask.parameters.text("pin")) {
        (Some(_), Some(_)) => Err(Fault::new("ONLY_ONE")),
        (None, Some(pin)) => of_pin(&ask.app, pin, ask.address),
        (id, None) => {
            let id = id.and_then(uuid).ok_or_else(Fault::not_found)?;
            Ok(DocumentId::from_bytes(id))
        }
    }
}

/// A link that opens something. One that is over looks like one that never was.
fn alive(ask: &Ask) -> Outcome<Document> {
    let link = ask.accounts().documents.get(Kind::Link, named(ask)?)?;
    if is_alive(&link) && has_study(ask.services(), &link)? {
        Ok(link)
    } else {
        Err(Fault::not_found())
    }
}

/// `/link/status`: what whoever has a link needs to know before they use it.
pub async fn status(ask: &Ask) -> Outcome {
    let link = alive(ask)?;
    Ok(Reply::of("action", values::text(&link.body, "action"))
        .with("has_password", flag(values::is_set(&link.body, "has_password")))
        .with(
            "skip_email_prompt",
            flag(values::is_set(&link.body, "skip_email_prompt")),
        )
        .with("is_meeting", flag(false))
        .with("pin_auth", flag(false))
        .with("acceptance_required", flag(false)))
}

/// `/link/session`: a session of the link's guest.
pub async fn session(ask: &Ask) -> Outcome {
    let link = alive(ask)?;
    let guest = guest_of(&link).and_then(|guest| ask.accounts().user_by_id(guest).ok());
    let guest = guest.filter(|guest| !guest.disabled).ok_or_else(Fault::not_found)?;
    let source = Source {
        user: guest.id,
        address: ask.address,
    };
    if let Some(hash) = link.body.get("password_hash").and_then(Value::as_str) {
        let most = link.body.get("password_max_attempts").and_then(Value::as_i64);
        if integer(&link, "attempts") >= most.unwrap_or(ATTEMPTS_MAX) {
            return Err(Fault::new("PIN_LOCKOUT"));
        }
        let password = ask.parameters.text("password").unwrap_or_default();
        let checked = ask
            .app
            .authenticator
            .check(hash.to_owned(), password, ask.address)
            .await;
        if let Err(problem) = checked {
            if problem.status() != StatusCode::UNAUTHORIZED {
                return Err(Fault::new("PIN_LOCKOUT"));
            }
            count(ask, &link, "attempts", &source).await?;
            return Err(Fault::new("INVALID_CREDENTIALS"));
        }
    }
    // Counted before anything opens: of two at once for the last hit, one finds nothing.
    count(ask, &link, "hits", &source).await?;
    let left_ms = ends_ms(&link).saturating_sub(now_ms()).max(1);
    let sessions = &ask.accounts().sessions;
    let sid = sessions.start(guest.id, (IDLE_MS, left_ms), Some(&source)).await?;
    let is_upload = values::text(&link.body, "action") == UPLOAD;
    let namespace = guest.guest.as_ref().map(|guest| guest.namespace.to_string());
    Ok(Reply::of("sid", sid)
        .with("action", values::text(&link.body, "action"))
        .with("study_count", u8::from(!is_upload))
        .with("namespace_id", json!(namespace))
        .with("share_code", Value::Null)
        .with("pin_required", 0)
        .with("pin_via", Value::Null)
        .with("acceptance_required", flag(false)))
}

/// Counts one use, or one wrong password.
async fn count(ask: &Ask, link: &Document, name: &'static str, source: &Source) -> Outcome<()> {
    let edit = |link: &mut Document| {
        if name == "hits" && !is_alive(link) {
            return Err(Fault::not_found());
        }
        let number = integer(link, name) + 1;
        link.body.insert(name.to_owned(), number.into());
        Ok(())
    };
    ask.accounts().documents.edit(Kind::Link, link.id, source, edit).await?;
    Ok(())
}
