//! `/group/*` and `/location/*` without their users: the same but for the name.

use septum_engine::accounts::{Namespace, NamespaceKind, NewUnit};
use serde_json::{Map, Value, json};

use super::ask::Ask;
use super::custom_fields;
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::Reply;
use super::users::namespace_conflict;
use super::{studies, times, values};

/// What groups and locations may be filtered and sorted by.
pub const FIELDS: Fields = &[
    ("uuid", Compare::Text),
    ("name", Compare::Text),
    ("namespace_id", Compare::Text),
    ("share_code", Compare::Text),
    ("created", Compare::Time),
    ("must_approve", Compare::Number),
    ("role_id", Compare::Text),
];

/// Whether the call is about groups: else about locations.
fn is_group(ask: &Ask) -> bool {
    ask.entry.object() == "group"
}

fn object(ask: &Ask) -> &'static str {
    if is_group(ask) { "Group" } else { "Location" }
}

fn shown(ask: &Ask, unit: &Namespace) -> Outcome<Map<String, Value>> {
    let mut fields = Map::new();
    fields.insert("uuid".into(), json!(unit.unit().map(|id| id.to_string())));
    fields.insert("name".into(), unit.name.clone().into());
    fields.insert("namespace_id".into(), unit.id.to_string().into());
    fields.insert("account_id".into(), unit.account.to_string().into());
    let created = times::written(unit.created_ms).map_or(Value::Null, Value::from);
    fields.insert("created".into(), created);
    values::show(values::NAMESPACE, &unit.properties, &mut fields);
    let role = unit.default_role.and_then(|role| ask.accounts().role(role).ok());
    fields.insert("role_id".into(), json!(role.as_ref().map(|role| role.id.to_string())));
    fields.insert("role_name".into(), json!(role.map(|role| role.name.clone())));
    fields.insert("tags".into(), json!([]));
    let values = custom_fields::values(&unit.properties);
    let custom = custom_fields::shown(ask, unit.account, object(ask), values)?;
    fields.insert("customfields".into(), custom);
    Ok(fields)
}

/// `/group/list`, `/location/list`.
pub async fn list(ask: &Ask) -> Outcome {
    let (account, _) = ask.account()?;
    let wanted = ask.wanted(FIELDS)?;
    let is_group = is_group(ask);
    let mut rows = Vec::new();
    for namespace in ask.accounts().namespaces()? {
        let is_kind = match namespace.kind {
            NamespaceKind::Group(_) => is_group,
            NamespaceKind::Location(_) => !is_group,
            _ => false,
        };
        if is_kind && namespace.account == account.id {
            rows.push(shown(ask, &namespace)?);
        }
    }
    Ok(wanted.page(if is_group { "groups" } else { "locations" }, rows))
}

/// `/group/add`, `/location/add`.
pub async fn add(ask: &Ask) -> Outcome {
    let (account, home) = ask.account()?;
    let mut properties = Map::new();
    values::take(&ask.parameters, values::NAMESPACE, &mut properties)?;
    custom_fields::take(ask, account.id, object(ask), &mut properties)?;
    let default_role = ask.role_of("role_id", account.id)?;
    super::members::check_promotion(ask, default_role, home)?;
    let new = NewUnit {
        kind: if is_group(ask) {
            NamespaceKind::new_group()
        } else {
            NamespaceKind::new_location()
        },
        name: ask.required("name").to_owned(),
        default_role,
        properties,
    };
    let unit = ask
        .accounts()
        .add_unit(account.id, new, Some(&ask.source()?))
        .await
        .map_err(namespace_conflict)?;
    let id = unit.unit().map(|id| id.to_string());
    Ok(Reply::of("uuid", id).with("namespace_id", unit.id.to_string()))
}

/// `/group/get`, `/location/get`.
pub async fn get(ask: &Ask) -> Outcome {
    Ok(Reply(shown(ask, ask.unit()?)?))
}

/// `/group/set`, `/location/set`.
pub async fn set(ask: &Ask) -> Outcome {
    let unit = ask.unit()?;
    let mut changed = Namespace::clone(unit);
    if let Some(name) = ask.parameters.text("name") {
        changed.name = name.to_owned();
    }
    values::take(&ask.parameters, values::NAMESPACE, &mut changed.properties)?;
    custom_fields::take(ask, unit.account, object(ask), &mut changed.properties)?;
    let role = ask.role_of("role_id", unit.account)?;
    super::members::check_promotion(ask, role, unit)?;
    let edit = |now: &mut Namespace| {
        now.name = changed.name;
        now.properties = changed.properties;
        now.default_role = role.or(now.default_role);
    };
    ask.accounts()
        .edit_namespace(unit.id, Some(&ask.source()?), edit)
        .await
        .map_err(namespace_conflict)?;
    Ok(Reply::done())
}

/// `/group/delete`, `/location/delete`: of one in which nothing is stored.
pub async fn delete(ask: &Ask) -> Outcome {
    let unit = ask.unit()?;
    if !studies::is_empty(ask, unit.id)? {
        return Err(Fault::new("NOT_EMPTY"));
    }
    ask.accounts().delete_namespace(unit.id, Some(&ask.source()?)).await?;
    Ok(Reply::done())
}
