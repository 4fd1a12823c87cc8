//! `/account/*` without its users.

use septum_core::access::{BuiltIn, Object, Permission, authorize};
use septum_engine::accounts::{Account, Namespace};
use serde_json::{Map, Value, json};

use super::ask::{Ask, Target};
use super::custom_fields;
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::Reply;
use super::{session, studies, times, values};

/// What accounts may be filtered and sorted by.
pub const FIELDS: Fields = &[
    ("uuid", Compare::Text),
    ("name", Compare::Text),
    ("vanity", Compare::Text),
    ("share_code", Compare::Text),
    ("created", Compare::Time),
    ("must_approve", Compare::Number),
    ("role_id", Compare::Text),
];

/// An account's fields as the caller sees them.
fn shown(ask: &Ask, account: &Account, namespace: &Namespace) -> Outcome<Map<String, Value>> {
    let mut fields = Map::new();
    fields.insert("uuid".into(), account.id.to_string().into());
    fields.insert("name".into(), account.name.clone().into());
    fields.insert("namespace_id".into(), namespace.id.to_string().into());
    let created = times::written(account.created_ms).map_or(Value::Null, Value::from);
    fields.insert("created".into(), created);
    values::show(values::NAMESPACE, &namespace.properties, &mut fields);
    values::show(values::ACCOUNT, &account.properties, &mut fields);
    let membership = ask.accounts().membership(ask.principal()?.user, namespace.id).ok();
    let role = membership.and_then(|membership| ask.accounts().role_of(&membership).ok().flatten());
    fields.insert("role_id".into(), json!(role.as_ref().map(|role| role.id.to_string())));
    fields.insert("role_name".into(), json!(role.map(|role| role.name.clone())));
    let default = match namespace.default_role {
        Some(role) => ask.accounts().role(role),
        None => ask.accounts().built_in(account.id, BuiltIn::User),
    };
    let default = default.ok();
    let default_id = default.as_ref().map(|role| role.id.to_string());
    fields.insert("default_role_id".into(), json!(default_id));
    fields.insert("default_role_name".into(), json!(default.map(|role| role.name.clone())));
    Ok(fields)
}

/// `/account/list`: those the caller is a member of; all of them for whoever runs the installation.
pub async fn list(ask: &Ask) -> Outcome {
    let wanted = ask.wanted(FIELDS)?;
    let with_permissions = ask.parameters.is_set("permissions")?;
    let mut rows = Vec::new();
    for account in ask.accounts().accounts()? {
        let Ok(namespace) = ask.accounts().namespace_of(account.id) else {
            continue;
        };
        if !ask.principal()?.reaches(namespace.id) {
            continue;
        }
        let mut row = shown(ask, &account, &namespace)?;
        if with_permissions {
            row.insert("permissions".into(), session::flags(ask, namespace.id)?.into());
        }
        rows.push(row);
    }
    Ok(wanted.page("accounts", rows))
}

/// `/account/get`.
pub async fn get(ask: &Ask) -> Outcome {
    let (account, namespace) = ask.account()?;
    let mut fields = shown(ask, account, namespace)?;
    if ask.principal()?.has(Permission::AccountView, namespace.id) {
        fields.insert("settings".into(), account.settings.clone().into());
    }
    fields.insert("tags".into(), json!([]));
    fields.insert("connected".into(), json!([]));
    let custom = custom_fields::shown(ask, account.id, "Account", custom_fields::values(&account.properties))?;
    fields.insert("customfields".into(), custom);
    if ask.parameters.is_set("permissions")? {
        fields.insert("permissions".into(), session::flags(ask, namespace.id)?.into());
    }
    Ok(Reply(fields))
}

/// `/account/add`: by whoever runs the installation; they are not made a member unless `member=1`.
pub async fn add(ask: &Ask) -> Outcome {
    let parameters = &ask.parameters;
    let (mut properties, mut settings) = (Map::new(), Map::new());
    values::take(parameters, values::ACCOUNT, &mut properties)?;
    values::take_settings(parameters, &mut settings)?;
    let mut of_namespace = Map::new();
    values::take(parameters, values::NAMESPACE, &mut of_namespace)?;
    let source = ask.source()?;
    let (account, namespace) = ask
        .accounts()
        .add_account(
            ask.required("name"),
            (properties, settings),
            Some(source.user),
            Some(&source),
        )
        .await?;
    if !of_namespace.is_empty() {
        let edit = |namespace: &mut Namespace| namespace.properties = of_namespace;
        ask.accounts().edit_namespace(namespace.id, Some(&source), edit).await?;
    }
    Ok(Reply::of("uuid", account.id.to_string()).with("namespace_id", namespace.id.to_string()))
}

/// `/account/set`.
pub async fn set(ask: &Ask) -> Outcome {
    let parameters = &ask.parameters;
    let (account, namespace) = ask.account()?;
    let mut changed = Account::clone(account);
    let mut own = Namespace::clone(namespace);
    if let Some(name) = parameters.text("name") {
        changed.name = name.to_owned();
        own.name = name.to_owned();
    }
    values::take(parameters, values::ACCOUNT, &mut changed.properties)?;
    values::take(parameters, values::NAMESPACE, &mut own.properties)?;
    values::take_settings(parameters, &mut changed.settings)?;
    custom_fields::take(ask, account.id, "Account", &mut changed.properties)?;
    let role = ask.role_of("role_id", account.id)?;
    super::members::check_promotion(ask, role, namespace)?;
    let source = ask.source()?;
    let edit = |now: &mut Account| {
        now.name = changed.name;
        now.properties = changed.properties;
        now.settings = changed.settings;
    };
    ask.accounts().edit_account(account.id, Some(&source), edit).await?;
    let edit = |now: &mut Namespace| {
        now.name = own.name;
        now.properties = own.properties;
        now.default_role = role.or(now.default_role);
    };
    ask.accounts().edit_namespace(namespace.id, Some(&source), edit).await?;
    Ok(Reply::done())
}

/// `/account/settings`: some of them, for members.
pub async fn settings(ask: &Ask) -> Outcome {
    let (account, _) = ask.account()?;
    let wanted = ask.parameters.list("settings")?;
    let is_wanted = |name: &str| {
        let names = wanted.as_ref();
        names.is_none_or(|names| names.iter().any(|one| one.as_str() == Some(name)))
    };
    let settings: Map<String, Value> = account
        .settings
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(Reply::of("settings", settings))
}

/// `/account/delete/`: an account in which nothing is stored, with its groups, locations and memberships.
pub async fn delete(ask: &Ask) -> Outcome {
    let principal = ask.principal()?;
    let _granted = authorize(Some(principal), Permission::InstallationAccounts, Object::System)?;
    let Target::Account(account, _) = &ask.target else {
        return Err(Fault::not_found());
    };
    let namespaces = ask.accounts().namespaces()?;
    let own: Vec<_> = namespaces
        .iter()
        .filter(|namespace| namespace.account == account.id)
        .collect();
    for namespace in &own {
        if !studies::is_empty(ask, namespace.id)? {
            return Err(Fault::new("NOT_EMPTY"));
        }
    }
    let source = ask.source()?;
    ask.accounts().delete_account(account.id, Some(&source)).await?;
    Ok(Reply::done())
}
