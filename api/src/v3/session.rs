//! `/session/*`: signing in and out, and who one is.

use septum_core::access::{Permission, STUDY_FIELDS};
use septum_core::ids::{AccountId, NamespaceId, ObjectId};
use septum_engine::accounts::sessions::{IDLE_MS, LIFE_MS};
use septum_engine::accounts::{Account, Membership, NamespaceKind, User};
use septum_engine::pipeline::messages::Source;
use serde_json::{Map, Value, json};
use std::sync::Arc;

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::reply::{Reply, flag};
use super::{channels, passwords, users, values};
use crate::auth;

const MINUTE_MS: i64 = 60_000;

/// `/session/login`.
pub async fn login(ask: &Ask) -> Outcome {
    let parameters = &ask.parameters;
    let login = parameters.text("login").or_else(|| parameters.text("email"));
    let login = login.ok_or_else(|| Fault::about("MISSING_FIELDS", json!(["login"])))?;
    let password = ask.required("password");
    let user = verified(ask, login, password, "INVALID_CREDENTIALS").await?;
    if let Some(sid) = parameters.text("validate_session") {
        let session = ask.accounts().sessions.used(sid)?;
        let session = session.filter(|session| session.user == user.id);
        session.ok_or_else(|| Fault::new("VALIDATION_FAILED"))?;
        return Ok(Reply::of("sid", sid).with("uuid", user.id.to_string()));
    }
    let source = Source {
        user: user.id,
        address: ask.address,
    };
    if let Some(new) = parameters.text("new_password") {
        let hash = users::hashed(new).await?;
        passwords::replace(ask.services(), &user, hash, &source).await?;
    } else if must_change_password(ask, &user)? {
        return Err(Fault::new("PASSWORD_RESET"));
    }
    let user = ask.accounts().with_namespace(user.id).await?;
    let sid = ask
        .accounts()
        .sessions
        .start(user.id, (idle_ms(ask, &user)?, LIFE_MS), Some(&source))
        .await?;
    let mut reply = Reply::of("sid", sid)
        .with("uuid", user.id.to_string())
        .with("name", user.full_name())
        .with("pin_via", Value::Null);
    for name in ["pin_required", "sign_required", "training_todo", "is_proxy"] {
        reply = reply.with(name, 0);
    }
    for name in ["terms_md5", "privacy_md5", "indicator_md5"] {
        reply = reply.with(name, user.properties.get(name).cloned().unwrap_or(Value::Null));
    }
    Ok(reply)
}

/// The user of a name and password, not disabled. `wrong` is the token where they are not right.
async fn verified(ask: &Ask, login: &str, password: &str, wrong: &'static str) -> Outcome<Arc<User>> {
    use actix_web::http::StatusCode;
    let verified = ask.app.authenticator.verify(login, password, ask.address).await;
    let user = verified.map_err(|problem| match problem.status() {
        StatusCode::UNAUTHORIZED => Fault::new(wrong),
        StatusCode::TOO_MANY_REQUESTS => Fault::new("LOCKOUT"),
        _ => Fault::Problem(problem),
    })?;
    if user.disabled {
        return Err(Fault::new(if wrong == "AUTH_FAILED" { wrong } else { "DISABLED" }));
    }
    Ok(user)
}

fn must_change_password(ask: &Ask, user: &User) -> Outcome<bool> {
    let is_asked = |properties| values::is_set(properties, "password_reset");
    let memberships = binding_memberships(ask, user)?;
    Ok(is_asked(&user.properties) || memberships.iter().any(|membership| is_asked(&membership.properties)))
}

/// The memberships whose rules of signing in bind a user: of those whose only account it is. Whoever belongs to several,
/// or runs the installation, is not to be locked out by one of them.
fn binding_memberships(ask: &Ask, user: &User) -> Outcome<Vec<Arc<Membership>>> {
    let memberships = ask.accounts().memberships_of(user.id)?;
    let mut accounts = std::collections::HashSet::new();
    for membership in &memberships {
        accounts.insert(ask.accounts().namespace(membership.namespace)?.account);
    }
    let is_bound = !user.administrator && accounts.len() <= 1;
    Ok(if is_bound { memberships } else { Vec::new() })
}

/// The shortest that the user's accounts and memberships ask for.
fn idle_ms(ask: &Ask, user: &User) -> Outcome<i64> {
    let minutes = |properties: &Map<String, Value>| {
        let minutes = properties.get("session_expire").and_then(Value::as_i64);
        minutes.filter(|minutes| *minutes > 0)
    };
    let mut idle = IDLE_MS;
    for membership in binding_memberships(ask, user)? {
        let account: Arc<Account> = ask
            .accounts()
            .account(ask.accounts().namespace(membership.namespace)?.account)?;
        for minutes in [minutes(&membership.properties), minutes(&account.properties)]
            .into_iter()
            .flatten()
        {
            idle = idle.min(minutes.saturating_mul(MINUTE_MS));
        }
    }
    Ok(idle)
}

/// `/session/oauth/token`: a session for scripts, which goes as a bearer token.
pub async fn token(ask: &Ask) -> Outcome {
    if ask.required("grant_type") != "client_credentials" {
        return Err(Fault::new("AUTH_FAILED"));
    }
    let (id, secret) = (ask.required("client_id"), ask.required("client_secret"));
    let user = verified(ask, id, secret, "AUTH_FAILED").await?;
    if must_change_password(ask, &user)? {
        return Err(Fault::new("AUTH_FAILED"));
    }
    let seconds = ask.parameters.integer("duration")?.unwrap_or(LIFE_MS / 1000);
    let seconds = seconds.clamp(1, LIFE_MS / 1000);
    let source = Source {
        user: user.id,
        address: ask.address,
    };
    let user = ask.accounts().with_namespace(user.id).await?;
    let token = ask
        .accounts()
        .sessions
        .start(user.id, (seconds * 1000, seconds * 1000), Some(&source))
        .await?;
    Ok(Reply::of("access_token", token)
        .with("created_at", septum_engine::services::now_ms() / 1000)
        .with("expires_in", seconds)
        .with("token_type", "Bearer"))
}

/// `/session/logout`.
pub async fn logout(ask: &Ask) -> Outcome {
    let signed_in = ask.signed_in.as_ref().ok_or(Fault::Unauthenticated)?;
    let sid = signed_in.sid.as_deref().ok_or_else(Fault::not_found)?;
    if ask.accounts().sessions.end(sid, Some(&ask.source()?)).await? {
        Ok(Reply::done())
    } else {
        Err(Fault::not_found())
    }
}

/// `/session/ttl`: seconds that are left if nobody does anything.
pub async fn ttl(ask: &Ask) -> Outcome {
    let sid = ask.signed_in.as_ref().and_then(|signed_in| signed_in.sid.as_deref());
    let left = match sid {
        Some(sid) => ask.accounts().sessions.left_ms(sid)?,
        None => None,
    };
    let left = left.ok_or_else(|| Fault::new("EXPIRED"))?;
    Ok(Reply::of("ttl", left / 1000))
}

/// `/session/uuid`: one that nobody had before.
pub async fn fresh_uuid(_: &Ask) -> Outcome {
    Ok(Reply::of("uuid", ObjectId::random().to_string()))
}

/// `/session/user`.
pub async fn user(ask: &Ask) -> Outcome {
    let user = ask.accounts().with_namespace(ask.principal()?.user).await?;
    let mut fields = users::shown(ask, &user)?;
    let principal = ask.principal()?;
    let mut namespaces = Vec::new();
    for namespace in ask.accounts().namespaces()? {
        if principal.reaches(namespace.id) && is_seen(ask, namespace.kind, &user) {
            namespaces.push(json!({
                "uuid": namespace.id.to_string(),
                "name": users::namespace_name(ask, &namespace)?,
            }));
        }
    }
    fields.insert("namespaces".into(), namespaces.into());
    let sid = ask.signed_in.as_ref().and_then(|signed_in| signed_in.sid.as_deref());
    fields.insert("sid_md5".into(), json!(sid.map(channels::sid_md5)));
    fields.insert("accelerator_used".into(), flag(false));
    fields.insert("session_expire".into(), (idle_ms(ask, &user)? / MINUTE_MS).into());
    if let Some(names) = ask.parameters.list("settings")? {
        let mut settings = Map::new();
        for name in names.iter().filter_map(Value::as_str) {
            if let Some(value) = user.settings.get(name) {
                settings.insert(name.to_owned(), value.clone());
            }
        }
        fields.insert("settings".into(), settings.into());
    }
    Ok(Reply(fields))
}

/// Other people's own namespaces are no part of anybody's list.
fn is_seen(_: &Ask, kind: NamespaceKind, user: &User) -> bool {
    !matches!(kind, NamespaceKind::Personal(owner) if owner != user.id)
}

/// `/session/permissions`: every flag in the account's or the given namespace.
pub async fn permissions(ask: &Ask) -> Outcome {
    let parameters = &ask.parameters;
    let namespace = if let Some(id) = parameters.text("account_id") {
        let account = uuid(id).map(AccountId::from_bytes);
        account.and_then(|account| ask.accounts().namespace_of(account).ok())
    } else {
        let id = uuid(ask.required("namespace_id")).map(NamespaceId::from_bytes);
        id.and_then(|id| ask.accounts().namespace(id).ok())
    };
    let principal = ask.principal()?;
    let namespace = namespace.filter(|namespace| principal.reaches(namespace.id));
    let namespace = namespace.ok_or_else(Fault::not_found)?;
    Ok(Reply(flags(ask, namespace.id)?))
}

/// Every flag and field right of the caller in a namespace.
pub fn flags(ask: &Ask, namespace: NamespaceId) -> Outcome<Map<String, Value>> {
    let principal = ask.principal()?;
    let mut shown = Map::new();
    for &permission in Permission::ALL
        .iter()
        .filter(|permission| !permission.is_of_installation())
    {
        shown.insert(permission.name().to_owned(), flag(principal.has(permission, namespace)));
    }
    let fields = principal.fields(namespace);
    for name in STUDY_FIELDS {
        shown.insert(format!("study_field_{name}"), fields.of(name).letter().into());
    }
    for (name, right) in fields.iter() {
        shown.insert(format!("study_field_{name}"), right.letter().into());
    }
    Ok(shown)
}

/// [`flags`] for one study there: nobody may change a frozen one.
///
/// # Errors
/// 401 where nobody asks.
pub fn study_flags(ask: &Ask, namespace: NamespaceId, is_frozen: bool) -> Outcome<Map<String, Value>> {
    let mut shown = flags(ask, namespace)?;
    if is_frozen {
        for permission in Permission::ALL.iter().filter(|permission| permission.changes_study()) {
            shown.insert(permission.name().to_owned(), flag(false));
        }
    }
    Ok(shown)
}

/// The password rules, in their one place.
///
/// # Errors
/// `BAD_PASSWORD`.
pub fn check_password(password: &str) -> Outcome<()> {
    let length = password.chars().count();
    if (auth::PASSWORD_CHARACTERS_MIN..=auth::PASSWORD_CHARACTERS_MAX).contains(&length) {
        Ok(())
    } else {
        Err(Fault::new("BAD_PASSWORD"))
    }
}
