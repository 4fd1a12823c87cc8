//! `/namespace/*` and `/setting/*`.

use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::UserId;
use septum_engine::accounts::{Namespace, NamespaceKind, User};
use serde_json::{Map, Value, json};

use super::ask::{Ask, Target, uuid};
use super::fault::{Fault, Outcome};
use super::reply::Reply;
use super::{resolve, session, users};

/// The namespace of `namespace_id`, or of the study.
fn about(ask: &Ask) -> Outcome<Arc<Namespace>> {
    let namespace = match ask.parameters.text("namespace_id") {
        Some(_) => resolve::namespace(ask, "namespace_id").ok_or_else(Fault::not_found)?,
        None => match resolve::study(ask)? {
            Target::Study(_, namespace) => namespace,
            _ => return Err(Fault::not_found()),
        },
    };
    if ask.principal()?.reaches(namespace.id) {
        Ok(namespace)
    } else {
        Err(Fault::not_found())
    }
}

/// `/namespace/permissions`.
pub async fn permissions(ask: &Ask) -> Outcome {
    let mut flags = session::flags(ask, about(ask)?.id)?;
    flags.insert("reports".into(), json!([]));
    Ok(Reply(flags))
}

/// `/namespace/engine/fqdn`: where the storage calls for a namespace go. That is here.
pub async fn engine(ask: &Ask) -> Outcome {
    let host = host(ask);
    let reply = Reply::of("engine_fqdn", host).with("engine_url", format!("{}/api/v3/storage", ask.base_url));
    if ask.signed_in.is_none() {
        // The client asks before it signs in. There is one engine, so nothing is looked up, and nothing learnt.
        let named = ask
            .parameters
            .text("namespace_id")
            .or(ask.parameters.text("storage_namespace"));
        return Ok(reply.with("storage_namespace", json!(named)));
    }
    let namespace = about(ask)?;
    Ok(reply.with("storage_namespace", namespace.id.to_string()))
}

/// Host and port as the client used them.
pub fn host(ask: &Ask) -> String {
    ask.base_url.split_once("://").map_or("", |(_, host)| host).to_owned()
}

/// `/namespace/settings`.
pub async fn settings(ask: &Ask) -> Outcome {
    let namespace = resolve::namespace(ask, "uuid").ok_or_else(Fault::not_found)?;
    let account = ask.accounts().namespace_of(namespace.account);
    let place = account.map_or(namespace.id, |account| account.id);
    let _granted = ask.authorize(Permission::AccountEdit, place)?;
    let skipped = ["uuid", "sid"];
    let mut settings = namespace.settings.clone();
    for (name, value) in ask.parameters.iter() {
        let is_known = ask.entry.optional.split_whitespace().any(|known| known == name);
        if skipped.contains(&name) || name.starts_with("fields.") || !is_known {
            continue;
        }
        // Tags and values, which may look like a number.
        if name == "download_anonymize" && !super::storage::is_overrides(value) {
            return Err(Fault::about("INVALID_SETTING_VALUE", name));
        }
        let value = match name {
            "download_anonymize" => Value::from(value),
            _ => serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)),
        };
        settings.insert(name.to_owned(), value);
    }
    let edit = |namespace: &mut Namespace| namespace.settings = settings.clone();
    ask.accounts()
        .edit_namespace(namespace.id, Some(&ask.source()?), edit)
        .await?;
    let of = |name: &str| settings.get(name).cloned().unwrap_or(Value::Null);
    Ok(Reply::of("no_dup_share", of("no_dup_share")).with("study_field_flags", of("study_field_flags")))
}

/// `/namespace/share_code`: whose a share code is. Nothing but what a sharer needs.
pub async fn share_code(ask: &Ask) -> Outcome {
    let found = match ask.parameters.text("namespace_id") {
        Some(_) => Some(about(ask)?).map(|namespace| resolve::Coded {
            properties: namespace.properties.clone(),
            namespace,
        }),
        None => resolve::share_code(ask, ask.required("share_code"))?,
    };
    let resolve::Coded { namespace, properties } = found.ok_or_else(Fault::not_found)?;
    let kind = match namespace.kind {
        NamespaceKind::Account | NamespaceKind::Plain => "account",
        NamespaceKind::Group(_) => "group",
        NamespaceKind::Location(_) => "location",
        NamespaceKind::Personal(_) => "user",
    };
    let of = |name: &str| properties.get(name).cloned().unwrap_or(Value::Null);
    Ok(Reply::of("share_code", of("share_code"))
        .with("share_description", of("share_description"))
        .with("share_settings", of("share_settings"))
        .with("share_type", kind)
        .with("share_name", users::namespace_name(ask, &namespace)?)
        .with("namespace_id", namespace.id.to_string())
        .with("account_id", namespace.account.to_string()))
}

/// The user whose settings a call is about: one's own, or anybody's for whoever runs the installation.
fn whose(ask: &Ask) -> Outcome<Arc<User>> {
    match ask.parameters.text("user_id") {
        None => ask.user(),
        Some(text) if ask.is_sysadmin() => {
            let id = uuid(text).map(UserId::from_bytes).ok_or_else(Fault::not_found)?;
            Ok(ask.accounts().user_by_id(id)?)
        }
        Some(_) => Err(Fault::not_permitted()),
    }
}

/// `/setting/set`.
pub async fn setting_set(ask: &Ask) -> Outcome {
    let (key, value) = (ask.required("key").to_owned(), ask.required("value").to_owned());
    let user = whose(ask)?;
    let edit = |user: &mut User| {
        if value == "__DELETE__" {
            user.settings.remove(&key);
        } else {
            user.settings.insert(key, value.into());
        }
    };
    ask.accounts().edit_user(user.id, Some(&ask.source()?), edit).await?;
    Ok(Reply::done())
}

/// `/setting/get`.
pub async fn setting_get(ask: &Ask) -> Outcome {
    let user = whose(ask)?;
    let value = user.settings.get(ask.required("key")).cloned();
    Ok(Reply::of("value", value.unwrap_or(Value::Null)))
}

/// `/setting/get/all`.
pub async fn setting_get_all(ask: &Ask) -> Outcome {
    let user = ask.user()?;
    let settings: Map<String, Value> = user
        .settings
        .iter()
        .filter(|(name, _)| !name.starts_with("temp_"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(Reply::of("settings", settings))
}
