//! `/user/*`: users, and the namespaces they reach.

use std::sync::Arc;

use septum_core::access::{Object, Permission, authorize};
use septum_core::ids::{AccountId, UserId};
use septum_engine::EngineError;
use septum_engine::accounts::{Namespace, NamespaceKind, NewUser, User, conflict};
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::{Reply, flag};
use super::{session, times, values};
use crate::auth;
use crate::http::problem::Problem;

/// Hashes a password that keeps the rules.
///
/// # Errors
/// `BAD_PASSWORD`; 503 where there is no memory for it.
pub async fn hashed(password: &str) -> Outcome<String> {
    session::check_password(password)?;
    hash(password).await
}

/// The hash of a password that no rule concerns.
///
/// # Errors
/// 503 where nothing can be hashed now.
pub async fn hash(password: &str) -> Outcome<String> {
    let password = password.to_owned();
    let hashed = tokio::task::spawn_blocking(move || auth::hash(&password)).await;
    hashed
        .ok()
        .flatten()
        .ok_or_else(|| Fault::Problem(Problem::overloaded(5)))
}

/// A user's fields.
pub fn shown(ask: &Ask, user: &User) -> Outcome<Map<String, Value>> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("uuid", user.id.to_string().into());
    put("name", user.full_name().into());
    put("first", user.first.clone().into());
    put("last", user.last.clone().into());
    put("email", user.name.clone().into());
    put(
        "namespace_id",
        user.personal.map_or(Value::Null, |id| id.to_string().into()),
    );
    put("sysadmin", flag(user.administrator));
    put("support", flag(false));
    put("is_anonymous", flag(false));
    put("last_login", Value::Null);
    put(
        "created",
        times::written(user.created_ms).map_or(Value::Null, Value::from),
    );
    values::show(values::USER, &user.properties, &mut fields);
    values::show_events(&user.properties, &mut fields);
    let _ = ask;
    Ok(fields)
}

/// How a namespace is called: of a user's own, as the user.
pub fn namespace_name(ask: &Ask, namespace: &Namespace) -> Outcome<String> {
    match namespace.kind {
        NamespaceKind::Personal(user) => Ok(ask
            .accounts()
            .user_by_id(user)
            .map_or_else(|_| String::new(), |user| user.full_name())),
        _ => Ok(namespace.name.clone()),
    }
}

/// The user a call is about: whoever asks, or the one named where the caller may see them.
fn about(ask: &Ask, permission: Permission) -> Outcome<Arc<User>> {
    let own = ask.user()?;
    let Some(text) = ask.parameters.text("uuid") else {
        return Ok(own);
    };
    let id = uuid(text).map(UserId::from_bytes).ok_or_else(Fault::not_found)?;
    if id == own.id {
        return Ok(own);
    }
    let user = ask.accounts().user_by_id(id)?;
    if may_manage(ask, &user, permission)? {
        Ok(user)
    } else {
        Err(Fault::not_found())
    }
}

/// Whether the caller has the permission in the accounts of the user: whoever runs the installation has.
fn may_manage(ask: &Ask, user: &User, permission: Permission) -> Outcome<bool> {
    let principal = ask.principal()?;
    if authorize(Some(principal), Permission::InstallationUsers, Object::System).is_ok() {
        return Ok(true);
    }
    if user.administrator {
        return Ok(false);
    }
    let memberships = ask.accounts().memberships_of(user.id)?;
    let mut given = memberships.iter().filter_map(|membership| {
        let namespace = ask.accounts().namespace(membership.namespace).ok()?;
        (namespace.kind == NamespaceKind::Account).then(|| principal.has(permission, membership.namespace))
    });
    // A member is seen by each account; a person who belongs to others too is changed by none of them alone.
    Ok(match permission {
        Permission::AccountUserView => given.any(|given| given),
        _ => {
            let all: Vec<bool> = given.collect();
            !all.is_empty() && all.into_iter().all(|given| given)
        }
    })
}

/// `/user/get`.
pub async fn get(ask: &Ask) -> Outcome {
    let user = about(ask, Permission::AccountUserView)?;
    Ok(Reply(shown(ask, &user)?))
}

/// `/user/add`: a user, and a member of the account.
pub async fn add(ask: &Ask) -> Outcome {
    let email = ask.required("email").to_lowercase();
    if !values::is_email(&email) {
        return Err(Fault::new("INVALID_EMAIL"));
    }
    let mut properties = Map::new();
    values::take(&ask.parameters, values::USER, &mut properties)?;
    values::take_events(&ask.parameters, &mut properties)?;
    let new = NewUser {
        name: email,
        password_hash: hashed(ask.required("password")).await?,
        full_name: (ask.required("first").to_owned(), ask.required("last").to_owned()),
        properties,
    };
    let (_, namespace) = ask.account()?;
    let source = ask.source()?;
    let user = ask.accounts().add_user(new, Some(&source)).await?;
    super::members::join(ask, user.id, namespace, None).await?;
    let personal = user.personal.map(|id| id.to_string());
    Ok(Reply::of("uuid", user.id.to_string()).with("namespace_id", personal))
}

/// `/user/set`.
pub async fn set(ask: &Ask) -> Outcome {
    let (parameters, own) = (&ask.parameters, ask.user()?);
    let user = about(ask, Permission::UserEdit)?;
    let mut changed = User::clone(&user);
    let mut properties = Map::new();
    values::take(parameters, values::USER, &mut properties)?;
    values::take_events(parameters, &mut properties)?;
    if let Some(zone) = parameters.text("time_zone")
        && times::zone(zone).is_none()
    {
        return Err(Fault::new("INVALID_TIME_ZONE"));
    }
    if let Some(first) = parameters.text("first") {
        changed.first = first.to_owned();
    }
    if let Some(last) = parameters.text("last") {
        changed.last = last.to_owned();
    }
    if let Some(email) = parameters.text("email") {
        if !values::is_email(email) {
            return Err(Fault::new("INVALID_EMAIL"));
        }
        if user.id != own.id && !may_manage(ask, &user, Permission::UserModifyOthersEmail)? {
            return Err(Fault::not_permitted());
        }
        changed.name = email.to_lowercase();
    }
    if let Some(password) = parameters.text("password") {
        if user.id == own.id {
            let old = parameters.text("old_password").unwrap_or_default();
            let verified = ask.app.authenticator.verify(&own.name, old, ask.address).await;
            verified.map_err(|_| Fault::new("INVALID_PASSWORD"))?;
        }
        changed.password_hash = hashed(password).await?;
    }
    let source = ask.source()?;
    // What was not named stays as it is by then: somebody may have disabled the user meanwhile.
    let edit = |now: &mut User| {
        now.properties.extend(properties);
        for (field, before, after) in [
            (&mut now.first, &user.first, &changed.first),
            (&mut now.last, &user.last, &changed.last),
            (&mut now.name, &user.name, &changed.name),
            (&mut now.password_hash, &user.password_hash, &changed.password_hash),
        ] {
            if before != after {
                field.clone_from(after);
            }
        }
    };
    ask.accounts().edit_user(user.id, Some(&source), edit).await?;
    if user.password_hash != changed.password_hash && user.id != own.id {
        ask.accounts().sessions.end_all(user.id, Some(&source)).await?;
    }
    Ok(Reply::done())
}

/// `/user/enable`: `disable=1` takes everything from a user at once.
pub async fn enable(ask: &Ask) -> Outcome {
    let id = uuid(ask.required("uuid")).map(UserId::from_bytes);
    let user = ask.accounts().user_by_id(id.ok_or_else(Fault::not_found)?)?;
    if !may_manage(ask, &user, Permission::UserEdit)? {
        return Err(Fault::not_found());
    }
    let disable = ask.parameters.is_set("disable")?;
    if !disable && !user.disabled {
        return Err(Fault::new("NOT_DISABLED"));
    }
    let source = ask.source()?;
    ask.accounts()
        .edit_user(user.id, Some(&source), |user| user.disabled = disable)
        .await?;
    if disable {
        ask.accounts().sessions.end_all(user.id, Some(&source)).await?;
    }
    Ok(Reply::done())
}

/// `/user/delete`: oneself.
pub async fn delete(ask: &Ask) -> Outcome {
    let user = ask.user()?;
    if user.administrator || !ask.accounts().memberships_of(user.id)?.is_empty() {
        return Err(Fault::new("IN_USE"));
    }
    let source = ask.source()?;
    ask.accounts().sessions.end_all(user.id, Some(&source)).await?;
    ask.accounts().delete_user(user.id, Some(&source)).await?;
    Ok(Reply::done())
}

/// The fields that namespaces may be filtered by.
pub const NAMESPACE_FIELDS: Fields = &[
    ("uuid", Compare::Text),
    ("name", Compare::Text),
    ("type", Compare::Text),
    ("share_code", Compare::Text),
];

/// `/user/namespace/list`.
pub async fn namespace_list(ask: &Ask) -> Outcome {
    let parameters = &ask.parameters;
    let user = ask.accounts().with_namespace(ask.principal()?.user).await?;
    let account = match parameters.text("account_id") {
        Some(text) => Some(uuid(text).map(AccountId::from_bytes).ok_or_else(Fault::not_found)?),
        None => None,
    };
    let (plus_phr, short) = (parameters.is_set("plus_phr")?, parameters.is_set("name_and_id_only")?);
    let wanted = ask.wanted(NAMESPACE_FIELDS)?;
    let principal = Arc::clone(ask.principal()?);
    let mut rows = Vec::new();
    for namespace in ask.accounts().namespaces()? {
        let is_own = namespace.kind == NamespaceKind::Personal(user.id);
        let is_others = matches!(namespace.kind, NamespaceKind::Personal(_)) && !is_own;
        let is_wanted = account.is_none_or(|account| account == namespace.account || (is_own && plus_phr));
        if is_others || !is_wanted || !principal.reaches(namespace.id) {
            continue;
        }
        let row = namespace_row(ask, &namespace, short)?;
        if wanted.matches(&row) {
            rows.push(Value::Object(row));
        }
    }
    Ok(Reply::of("namespaces", rows))
}

fn namespace_row(ask: &Ask, namespace: &Namespace, short: bool) -> Outcome<Map<String, Value>> {
    let mut row = Map::new();
    row.insert("uuid".into(), namespace.id.to_string().into());
    row.insert("name".into(), namespace_name(ask, namespace)?.into());
    if short {
        return Ok(row);
    }
    let (kind, of) = match namespace.kind {
        NamespaceKind::Account | NamespaceKind::Plain => ("account_id", namespace.account.to_string()),
        NamespaceKind::Group(unit) => ("group_id", unit.to_string()),
        NamespaceKind::Location(unit) => ("location_id", unit.to_string()),
        NamespaceKind::Personal(user) => ("user_id", user.to_string()),
    };
    row.insert("type".into(), kind.into());
    row.insert("type_uuid".into(), of.into());
    row.insert("permissions".into(), session::flags(ask, namespace.id)?.into());
    let membership = ask.accounts().membership(ask.principal()?.user, namespace.id).ok();
    let role = membership.and_then(|membership| ask.accounts().role_of(&membership).ok().flatten());
    row.insert("role_id".into(), json!(role.map(|role| role.id.to_string())));
    row.insert("settings".into(), namespace.settings.clone().into());
    row.insert("destinations".into(), json!([]));
    row.insert("events".into(), json!([]));
    for name in ["share_code", "search_threshold"] {
        row.insert(
            name.into(),
            namespace.properties.get(name).cloned().unwrap_or(Value::Null),
        );
    }
    Ok(row)
}

/// What a conflict over a name is called where names are those of namespaces.
pub fn namespace_conflict(error: EngineError) -> Fault {
    match error {
        EngineError::Conflict(conflict::NAME_TAKEN) => Fault::new("DUP_NAMESPACE_NAME"),
        error => error.into(),
    }
}
