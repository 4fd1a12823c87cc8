//! `/account/user/*`, `/group/user/*`, `/location/user/*`: who belongs where, as what.

use std::sync::Arc;

use septum_core::access::{BuiltIn, FieldRight};
use septum_core::ids::{RoleId, UserId};
use septum_engine::accounts::{Membership, Namespace, NamespaceKind, NewMembership, User};
use serde_json::{Map, Value, json};

use super::ask::{Ask, Target};
use super::custom_fields;
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::{Reply, flag};
use super::values;

/// What members may be filtered and sorted by.
pub const FIELDS: Fields = &[
    ("user_id", Compare::Text),
    ("user_name", Compare::Text),
    ("user_email", Compare::Text),
    ("role_id", Compare::Text),
    ("role_name", Compare::Text),
    ("disabled", Compare::Number),
    ("global", Compare::Number),
    ("account_login", Compare::Text),
    ("account_email", Compare::Text),
];

/// Where the members of the call are.
fn place(ask: &Ask) -> Outcome<&Arc<Namespace>> {
    match &ask.target {
        Target::Account(_, namespace) => Ok(namespace),
        Target::Unit(unit, _) => Ok(unit),
        _ => Err(Fault::not_found()),
    }
}

/// Nobody gives a role that permits more than they may do themselves, or shows fields that are hidden from them.
///
/// # Errors
/// `CAN_NOT_PROMOTE`.
pub fn check_promotion(ask: &Ask, role: Option<RoleId>, namespace: &Namespace) -> Outcome<()> {
    let Some(role) = role else {
        return Ok(());
    };
    let principal = ask.principal()?;
    let account = ask.accounts().namespace_of(namespace.account)?;
    let role = ask.accounts().role(role)?;
    let hidden = principal.fields(namespace.id);
    let mut hidden = hidden.iter().filter(|(_, right)| *right == FieldRight::Hidden);
    if hidden.any(|(field, _)| role.template.fields().of(field) != FieldRight::Hidden) {
        return Err(Fault::new("CAN_NOT_PROMOTE"));
    }
    let mut given = role.template.rights().effective();
    for permission in role.template.rights().effective().iter() {
        if principal.has(permission, namespace.id) || principal.has(permission, account.id) {
            given.remove(permission);
        }
    }
    if given.is_empty() {
        Ok(())
    } else {
        Err(Fault::new("CAN_NOT_PROMOTE"))
    }
}

/// The role that a membership has in the end.
fn applying(ask: &Ask, role: Option<RoleId>, namespace: &Namespace) -> Outcome<RoleId> {
    match role.or(namespace.default_role) {
        Some(role) => Ok(role),
        None => Ok(ask.accounts().built_in(namespace.account, BuiltIn::User)?.id),
    }
}

/// Only who runs the installation changes the membership of somebody who does.
fn check_target(ask: &Ask, user: &User) -> Outcome<()> {
    if user.administrator && !ask.principal()?.administrator {
        Err(Fault::not_permitted())
    } else {
        Ok(())
    }
}

/// Makes a user a member, as the call's parameters say.
///
/// # Errors
/// `ALREADY_EXISTS`; `CAN_NOT_PROMOTE` where the caller lacks what the role gives.
pub async fn join(ask: &Ask, user: UserId, namespace: &Namespace, role: Option<RoleId>) -> Outcome<Arc<Membership>> {
    check_promotion(ask, role, namespace)?;
    let mut properties = Map::new();
    values::take(&ask.parameters, values::MEMBER, &mut properties)?;
    values::take_events(&ask.parameters, &mut properties)?;
    let new = NewMembership {
        user,
        namespace: namespace.id,
        role,
        properties,
    };
    Ok(ask.accounts().add_membership(new, Some(&ask.source()?)).await?)
}

/// `/account/user/add`.
pub async fn account_add(ask: &Ask) -> Outcome {
    let (account, namespace) = ask.account()?;
    let user = match ask.parameters.text("email") {
        Some(email) => ask
            .accounts()
            .user(email)?
            .ok_or_else(|| Fault::new("USER_NOT_FOUND"))?,
        None => ask.user_named("user_id")?,
    };
    check_target(ask, &user)?;
    let (role, changes) = (ask.role_of("role_id", account.id)?, changes(ask, user.id)?);
    join(ask, user.id, namespace, role).await?;
    if !changes.is_empty() {
        apply(ask, user.id, namespace, changes).await?;
    }
    Ok(Reply::of("uuid", user.id.to_string()))
}

/// What a call changes beside fields.
#[derive(Default)]
struct Changes {
    global: Option<bool>,
    global_role: Option<RoleId>,
    settings: Map<String, Value>,
    properties: Map<String, Value>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.global.is_none() && self.global_role.is_none() && self.settings.is_empty() && self.properties.is_empty()
    }
}

fn changes(ask: &Ask, user: UserId) -> Outcome<Changes> {
    let (account, namespace) = ask.account()?;
    let global_role = ask.role_of("global_role_id", account.id)?;
    check_promotion(ask, global_role, namespace)?;
    let global = ask.parameters.flag("global")?;
    if global == Some(true) || global_role.is_some() {
        // It reaches every group and location: nobody gives what they do not have there.
        let before = ask.accounts().membership(user, namespace.id).ok();
        let role = ask.role_of("role_id", account.id)?;
        let role = role.or(before.and_then(|membership| membership.role));
        let reaching = global_role.map_or_else(|| applying(ask, role, namespace), Ok)?;
        for unit in ask.accounts().namespaces()? {
            if unit.account == account.id && unit.unit().is_some() {
                check_promotion(ask, Some(reaching), &unit)?;
            }
        }
    }
    let mut changes = Changes {
        global,
        global_role,
        ..Changes::default()
    };
    values::take_settings(&ask.parameters, &mut changes.settings)?;
    if ask.parameters.starting("customfield-").next().is_some() {
        custom_fields::take(ask, account.id, "User_account", &mut changes.properties)?;
    }
    Ok(changes)
}

async fn apply(ask: &Ask, user: UserId, namespace: &Namespace, changes: Changes) -> Outcome<()> {
    let edit = |membership: &mut Membership| {
        membership.global = changes.global.unwrap_or(membership.global);
        membership.global_role = changes.global_role.or(membership.global_role);
        membership.settings.extend(changes.settings);
        membership.properties.extend(changes.properties);
    };
    let key = (user, namespace.id);
    ask.accounts().edit_membership(key, Some(&ask.source()?), edit).await?;
    Ok(())
}

/// `/group/user/add`, `/location/user/add`: of somebody in the account.
pub async fn unit_add(ask: &Ask) -> Outcome {
    let namespace = ask.unit()?;
    let user = ask.user_named("user_id")?;
    let account = ask.accounts().namespace_of(namespace.account)?;
    if ask.accounts().membership(user.id, account.id).is_err() {
        return Err(Fault::new("USER_NOT_FOUND"));
    }
    let role = ask.role_of("role_id", namespace.account)?;
    match join(ask, user.id, namespace, role).await {
        // Who is there already is given the role asked for: adding twice makes one member.
        Err(Fault::Error {
            token: "ALREADY_EXISTS",
            ..
        }) => {
            let edit = |membership: &mut Membership| membership.role = role.or(membership.role);
            let key = (user.id, namespace.id);
            ask.accounts().edit_membership(key, Some(&ask.source()?), edit).await?;
        }
        joined => {
            joined?;
        }
    }
    Ok(Reply::done())
}

/// `/account/user/set`.
pub async fn account_set(ask: &Ask) -> Outcome {
    let (account, namespace) = ask.account()?;
    let user = member(ask, namespace)?;
    check_target(ask, &user)?;
    let role = ask.role_of("role_id", account.id)?;
    check_promotion(ask, role, namespace)?;
    let changes = changes(ask, user.id)?;
    let mut properties = Map::new();
    values::take(&ask.parameters, values::MEMBER, &mut properties)?;
    values::take_events(&ask.parameters, &mut properties)?;
    let edit = |membership: &mut Membership| {
        membership.role = role.or(membership.role);
        membership.properties.extend(properties);
    };
    let key = (user.id, namespace.id);
    ask.accounts().edit_membership(key, Some(&ask.source()?), edit).await?;
    if !changes.is_empty() {
        apply(ask, user.id, namespace, changes).await?;
    }
    Ok(Reply::done())
}

fn member(ask: &Ask, namespace: &Namespace) -> Outcome<Arc<User>> {
    let user = ask.user_named("user_id")?;
    let is_member = ask.accounts().membership(user.id, namespace.id).is_ok();
    if is_member {
        Ok(user)
    } else {
        Err(Fault::new("USER_NOT_FOUND"))
    }
}

/// `/account/user/get`.
pub async fn account_get(ask: &Ask) -> Outcome {
    let (account, namespace) = ask.account()?;
    let user = member(ask, namespace)?;
    let membership = ask.accounts().membership(user.id, namespace.id)?;
    let mut fields = shown(ask, &membership)?;
    let (mut groups, mut locations) = (Vec::new(), Vec::new());
    for other in ask.accounts().memberships_of(user.id)? {
        let unit = ask.accounts().namespace(other.namespace)?;
        if unit.account != account.id {
            continue;
        }
        let role = ask.accounts().role_of(&other)?;
        let row = json!({
            "uuid": unit.unit().map(|id| id.to_string()),
            "name": unit.name,
            "role_id": role.as_ref().map(|role| role.id.to_string()),
            "role_name": role.as_ref().map(|role| role.name.clone()),
        });
        match unit.kind {
            NamespaceKind::Group(_) => groups.push(row),
            NamespaceKind::Location(_) => locations.push(row),
            _ => {}
        }
    }
    fields.insert("groups".into(), groups.into());
    fields.insert("locations".into(), locations.into());
    fields.insert("settings".into(), membership.settings.clone().into());
    fields.insert("tags".into(), json!([]));
    let values = custom_fields::values(&membership.properties);
    let custom = custom_fields::shown(ask, account.id, "User_account", values)?;
    fields.insert("customfields".into(), custom);
    Ok(Reply(fields))
}

fn shown(ask: &Ask, membership: &Membership) -> Outcome<Map<String, Value>> {
    let user = ask.accounts().user_by_id(membership.user)?;
    let role = ask.accounts().role_of(membership)?;
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("user_id", user.id.to_string().into());
    put("user_name", user.full_name().into());
    put("user_email", user.name.clone().into());
    put("role_id", json!(role.as_ref().map(|role| role.id.to_string())));
    put("role_name", json!(role.map(|role| role.name.clone())));
    put("disabled", flag(membership.disabled || user.disabled));
    put("global", flag(membership.global));
    put(
        "global_role_id",
        json!(membership.global_role.map(|role| role.to_string())),
    );
    put("last_login", Value::Null);
    values::show(values::MEMBER, &membership.properties, &mut fields);
    values::show_events(&membership.properties, &mut fields);
    Ok(fields)
}

/// `/account/user/list`, `/group/user/list`, `/location/user/list`.
pub async fn list(ask: &Ask) -> Outcome {
    let wanted = ask.wanted(FIELDS)?;
    let mut rows = Vec::new();
    for membership in ask.accounts().members(place(ask)?.id)? {
        rows.push(shown(ask, &membership)?);
    }
    Ok(wanted.page("users", rows))
}

/// `/account/user/delete`, `/group/user/delete`, `/location/user/delete`: takes effect at once.
pub async fn delete(ask: &Ask) -> Outcome {
    let namespace = place(ask)?;
    let user = member(ask, namespace)?;
    check_target(ask, &user)?;
    ask.accounts()
        .delete_membership(user.id, namespace.id, Some(&ask.source()?))
        .await?;
    Ok(Reply::done())
}
