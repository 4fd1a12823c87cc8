//! `/terminology/*`: an account's own words for what pages say, over those of the installation.
//!
//! A word is known by its tag and language. Pages ask for words before anybody is signed in, so reading them is open to
//! everybody: nothing of a patient's may stand in one.

use std::collections::BTreeMap;
use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::AccountId;
use septum_engine::accounts::Account;
use septum_engine::accounts::documents::{Document, Kind, NewDocument, Owner};
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::reply::Reply;
use super::values;

/// What the words of the installation belong to.
const EVERYWHERE: Owner = [0; 16];

/// Longest tag and longest word, in characters.
const TAG_CHARACTERS_MAX: usize = 200;
const WORD_CHARACTERS_MAX: usize = 10_000;

/// The account that a call names, by its id or its vanity name.
fn account(ask: &Ask) -> Outcome<Option<Arc<Account>>> {
    let accounts = ask.accounts();
    if let Some(text) = ask.parameters.text("account_id") {
        let id = uuid(text).map(AccountId::from_bytes).ok_or_else(Fault::not_found)?;
        return Ok(Some(accounts.account(id)?));
    }
    let Some(vanity) = ask.parameters.text("vanity") else {
        return Ok(None);
    };
    let mut all = accounts.accounts()?.into_iter();
    let found = all.find(|account| values::text(&account.properties, "vanity") == vanity);
    found.map(Some).ok_or_else(Fault::not_found)
}

/// Words of one owner by tag, in one language where one is asked for.
fn words(ask: &Ask, owner: &Owner, language: Option<&str>) -> Outcome<Vec<Document>> {
    let mut all = ask.accounts().documents.list(Kind::Terminology, owner)?;
    all.retain(|word| language.is_none_or(|language| values::text(&word.body, "language") == language));
    all.sort_by(|one, other| values::text(&one.body, "tag").cmp(values::text(&other.body, "tag")));
    Ok(all)
}

/// What a call asks for: the installation's words, an account's over them. Nobody learns here which accounts there are.
fn asked(ask: &Ask, language: &str) -> Outcome<BTreeMap<String, String>> {
    let account = account(ask).unwrap_or_default();
    let mut found = BTreeMap::new();
    let owners = [Some(EVERYWHERE), account.map(|account| *account.id.as_bytes())];
    for owner in owners.into_iter().flatten() {
        for word in words(ask, &owner, Some(language))? {
            let text = |name| values::text(&word.body, name).to_owned();
            found.insert(text("tag"), text("value"));
        }
    }
    if let Some(tags) = ask.parameters.text("tags") {
        let wanted: Vec<&str> = tags.split(',').map(str::trim).collect();
        found.retain(|tag, _| wanted.contains(&tag.as_str()));
    }
    Ok(found)
}

/// `/terminology/list`.
pub async fn list(ask: &Ask) -> Outcome {
    let language = ask.required("language");
    let rows = asked(ask, language)?;
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(tag, word)| json!({"tag": tag, "val": word, "language": language}))
        .collect();
    Ok(Reply::of("tags", rows))
}

/// `/terminology/tags`.
pub async fn tags(ask: &Ask) -> Outcome {
    let found = asked(ask, ask.required("language"))?;
    Ok(Reply::of("values", json!(found)))
}

/// `/terminology/i18next`.
pub async fn i18next(ask: &Ask) -> Outcome {
    let found = asked(ask, ask.required("lng"))?;
    let fields = found.into_iter().map(|(tag, word)| (tag, Value::from(word)));
    Ok(Reply(fields.collect()))
}

/// `/terminology/account/overrides`.
pub async fn overrides(ask: &Ask) -> Outcome {
    let account = account(ask)?.ok_or_else(Fault::not_found)?;
    let place = ask.accounts().namespace_of(account.id)?;
    let _granted = ask.authorize(Permission::AccountEdit, place.id)?;
    let vanity = account.properties.get("vanity").cloned().unwrap_or(Value::Null);
    let rows = words(ask, account.id.as_bytes(), None)?;
    let rows: Vec<Value> = rows
        .iter()
        .map(|word| {
            let text = |name| values::text(&word.body, name);
            json!({"tag": text("tag"), "val": text("value"), "language": text("language"), "vanity": vanity})
        })
        .collect();
    Ok(Reply::of("tags", rows))
}

/// `/terminology/set`: an empty value takes the word away.
pub async fn set(ask: &Ask) -> Outcome {
    let value = ask.parameters.given("value").ok_or_else(|| Fault::new("NO_VALUE"))?;
    let (owner, place) = match account(ask)? {
        Some(account) => {
            let place = ask.accounts().namespace_of(account.id)?;
            let _granted = ask.authorize(Permission::AccountEdit, place.id)?;
            (*account.id.as_bytes(), account.id)
        }
        None if ask.is_sysadmin() => {
            let own = ask.user()?.personal.ok_or_else(Fault::not_found)?;
            (EVERYWHERE, ask.accounts().namespace(own)?.account)
        }
        None => return Err(Fault::new("NOT_SYSADMIN_OR_SUPPORT")),
    };
    let (tag, language) = (ask.required("tag"), ask.required("language"));
    if tag.chars().count() > TAG_CHARACTERS_MAX || value.chars().count() > WORD_CHARACTERS_MAX {
        return Err(Fault::about("INVALID_VALUE", "value"));
    }
    let (store, source) = (&ask.accounts().documents, ask.source()?);
    let mut known = words(ask, &owner, Some(language))?.into_iter();
    let known = known.find(|word| values::text(&word.body, "tag") == tag);
    match (known, value.is_empty()) {
        (None, true) => {}
        (Some(word), true) => store.delete(Kind::Terminology, word.id, &source).await?,
        (Some(word), false) => {
            let edit = |word: &mut Document| -> Outcome<()> {
                word.body.insert("value".into(), value.into());
                Ok(())
            };
            store.edit(Kind::Terminology, word.id, &source, edit).await?;
        }
        (None, false) => {
            let mut body = Map::new();
            for (name, text) in [("tag", tag), ("language", language), ("value", value)] {
                body.insert(name.into(), text.into());
            }
            let new = NewDocument {
                kind: Kind::Terminology,
                owner,
                account: place,
                body,
            };
            store.add(new, &source).await?;
        }
    }
    Ok(Reply::done())
}
