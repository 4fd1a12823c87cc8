//! `/role/*`: templates of flags and field rights.
//!
//! A flag is 1 (permit), 0 (unset) or -1 (deny, whatever another role permits).

use septum_core::access::{BuiltIn, FieldRight, Permission, Setting, Template};
use septum_engine::accounts::Role;
use serde_json::{Map, Value, json};

use super::ask::Ask;
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::{Reply, flag};
use super::{times, values};

/// What roles may be filtered and sorted by.
pub const FIELDS: Fields = &[
    ("uuid", Compare::Text),
    ("name", Compare::Text),
    ("description", Compare::Text),
    ("type", Compare::Text),
    ("created", Compare::Time),
    ("for_account", Compare::Number),
    ("for_group", Compare::Number),
    ("for_location", Compare::Number),
];

const USES: [&str; 3] = ["for_account", "for_group", "for_location"];
/// Values that are JSON of the clients', kept as they are.
const KEPT: [&str; 3] = ["viewer_config", "viewer3_config", "ui_json"];
const FIELD: &str = "study_field_";

fn permissions(template: &Template, kept: Option<&Value>) -> Map<String, Value> {
    let mut shown = Map::new();
    for &permission in Permission::ALL
        .iter()
        .filter(|permission| !permission.is_of_installation())
    {
        let value = match template.get(permission) {
            Some(Setting::Permit) => 1,
            Some(Setting::Deny) => -1,
            None => 0,
        };
        shown.insert(permission.name().to_owned(), json!(value));
    }
    for name in septum_core::access::STUDY_FIELDS {
        shown.insert(format!("{FIELD}{name}"), template.fields().of(name).letter().into());
    }
    for (name, right) in template.fields().iter() {
        shown.insert(format!("{FIELD}{name}"), right.letter().into());
    }
    if let Some(Value::Object(kept)) = kept {
        shown.extend(kept.clone());
    }
    shown
}

fn shown(role: &Role) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("uuid", role.id.to_string().into());
    put("name", role.name.clone().into());
    put("description", role.description.clone().into());
    put("account_id", role.account.to_string().into());
    put("type", role.built_in.map_or("Custom", BuiltIn::name).into());
    put(
        "created",
        times::written(role.created_ms).map_or(Value::Null, Value::from),
    );
    for name in USES {
        put(name, role.properties.get(name).cloned().unwrap_or(json!(1)));
    }
    put(
        "permissions",
        permissions(&role.template, role.properties.get("kept")).into(),
    );
    put("settings", role.settings.clone().into());
    fields
}

/// Takes one permission over.
fn take_one(template: &mut Template, kept: &mut Map<String, Value>, name: &str, value: &Value) -> Outcome<()> {
    let wrong = || Fault::about("INVALID_PERMISSION_VALUE", name);
    let unknown = || Fault::about("INVALID_PERMISSION", name);
    if KEPT.contains(&name) {
        kept.insert(name.to_owned(), value.clone());
        return Ok(());
    }
    if let Some(field) = name.strip_prefix(FIELD) {
        let right = value.as_str().and_then(FieldRight::from_letter).ok_or_else(wrong)?;
        return if template.set_field(field, right) {
            Ok(())
        } else {
            Err(unknown())
        };
    }
    let permission = Permission::from_name(name).ok_or_else(unknown)?;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let setting = match text.as_str() {
        "1" | "true" | "permit" => Some(Setting::Permit),
        "0" | "false" | "unset" | "null" | "" => None,
        "-1" | "deny" => Some(Setting::Deny),
        _ => return Err(wrong()),
    };
    if template.set(permission, setting) {
        Ok(())
    } else {
        Err(unknown())
    }
}

/// Takes what a call says of a role over. Nobody permits what they may not do themselves.
fn take(ask: &Ask, role: &mut Role) -> Outcome<()> {
    let parameters = &ask.parameters;
    for name in USES {
        if let Some(value) = parameters.flag(name)? {
            role.properties.insert(name.to_owned(), flag(value));
        }
    }
    if let Some(description) = parameters.given("description") {
        role.description = description.to_owned();
    }
    let before = role.template.clone();
    let kept = role.properties.get("kept").and_then(Value::as_object).cloned();
    let mut kept = kept.unwrap_or_default();
    let given = match parameters.json("permissions")? {
        None => Map::new(),
        Some(Value::Object(hash)) => hash,
        Some(_) => return Err(Fault::about("INVALID_JSON", "permissions")),
    };
    for (name, value) in &given {
        take_one(&mut role.template, &mut kept, name, value)?;
    }
    for (name, value) in parameters.starting("permission_") {
        take_one(&mut role.template, &mut kept, name, &Value::from(value))?;
    }
    if !kept.is_empty() {
        role.properties.insert("kept".to_owned(), kept.into());
    }
    values::take_settings(parameters, &mut role.settings)?;
    let namespace = ask.accounts().namespace_of(role.account)?;
    let principal = ask.principal()?;
    let (now, before) = (role.template.rights(), before.rights());
    // Permits that are new, and denials that go.
    let added = now.permitted.without(&before.permitted);
    let freed = before.denied.without(&now.denied);
    let mut widened = added.iter().chain(freed.iter());
    if widened.any(|permission| !principal.has(permission, namespace.id)) {
        return Err(Fault::new("NO_OTHER_ROLE_EDIT"));
    }
    let own = principal.fields(namespace.id);
    let mut narrowed = before.fields.iter();
    if narrowed.any(|(field, right)| now.fields.of(field) < right && now.fields.of(field) < own.of(field)) {
        return Err(Fault::new("NO_OTHER_ROLE_EDIT"));
    }
    Ok(())
}

/// `/role/list`.
pub async fn list(ask: &Ask) -> Outcome {
    let (account, _) = ask.account()?;
    let wanted = ask.wanted(FIELDS)?;
    let roles = ask.accounts().roles(account.id)?;
    Ok(wanted.page("roles", roles.iter().map(|role| shown(role)).collect()))
}

/// `/role/add`: everything unset that the call does not say.
pub async fn add(ask: &Ask) -> Outcome {
    let (account, _) = ask.account()?;
    let mut draft = Role {
        id: septum_core::ids::RoleId::from_bytes([0; 16]),
        account: account.id,
        name: String::new(),
        description: String::new(),
        built_in: None,
        template: Template::default(),
        created_ms: 0,
        properties: Map::new(),
        settings: Map::new(),
    };
    take(ask, &mut draft)?;
    let fill = |role: &mut Role| {
        role.description = draft.description;
        role.template = draft.template;
        role.properties = draft.properties;
        role.settings = draft.settings;
    };
    let role = ask
        .accounts()
        .add_role(account.id, ask.required("name"), fill, Some(&ask.source()?))
        .await?;
    Ok(Reply::of("uuid", role.id.to_string()))
}

/// `/role/get`.
pub async fn get(ask: &Ask) -> Outcome {
    Ok(Reply(shown(ask.role()?)))
}

/// `/role/set`.
pub async fn set(ask: &Ask) -> Outcome {
    let mut changed = Role::clone(ask.role()?);
    if let Some(name) = ask.parameters.text("name") {
        changed.name = name.to_owned();
    }
    take(ask, &mut changed)?;
    let edit = |role: &mut Role| *role = changed;
    ask.accounts()
        .edit_role(ask.role()?.id, Some(&ask.source()?), edit)
        .await?;
    Ok(Reply::done())
}

/// `/role/settings`.
pub async fn settings(ask: &Ask) -> Outcome {
    let role = ask.role()?;
    let mut settings = role.settings.clone();
    values::take_settings(&ask.parameters, &mut settings)?;
    if settings != role.settings {
        let edit = |role: &mut Role| role.settings = settings.clone();
        ask.accounts().edit_role(role.id, Some(&ask.source()?), edit).await?;
    }
    Ok(Reply::of("settings", settings))
}

/// `/role/delete`.
pub async fn delete(ask: &Ask) -> Outcome {
    ask.accounts().delete_role(ask.role()?.id, Some(&ask.source()?)).await?;
    Ok(Reply::done())
}

/// `/role/default/permissions`: what the built-in role for users has.
pub async fn default_permissions(_: &Ask) -> Outcome {
    Ok(Reply::of("permissions", permissions(&BuiltIn::User.template(), None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_have_three_values() {
        let mut template = BuiltIn::Phr.template();
        let mut kept = Map::new();
        let mut take = |name: &str, value: Value| take_one(&mut template, &mut kept, name, &value);
        for (name, value, expected) in [
            ("study_view", json!(-1), None),
            ("study_delete", json!("0"), None),
            ("study_split", json!(1), None),
            ("study_field_patient_name", json!("H"), None),
            ("ui_json", json!({"a": 1}), None),
            ("study_view", json!(2), Some("INVALID_PERMISSION_VALUE")),
            ("study_field_patient_name", json!("X"), Some("INVALID_PERMISSION_VALUE")),
            ("study_field_hat", json!("H"), Some("INVALID_PERMISSION")),
            ("study_fly", json!(1), Some("INVALID_PERMISSION")),
            ("administer", json!(1), Some("INVALID_PERMISSION")),
        ] {
            let token = match take(name, value) {
                Ok(()) => None,
                Err(Fault::Error { token, .. }) => Some(token),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(token, expected, "{name}");
        }
        let shown = permissions(&template, Some(&kept.into()));
        assert_eq!(shown["study_view"], json!(-1));
        assert_eq!(shown["study_delete"], json!(0));
        assert_eq!(shown["study_split"], json!(1));
        assert_eq!(shown["study_field_patient_name"], json!("H"));
        assert_eq!(shown["ui_json"], json!({"a": 1}));
        assert!(!shown.contains_key("administer"));
        assert!(shown.len() >= 201 + 9);
    }
}
