//! `/account/can/share/*`: an account's rules on who shares with whom.
//!
//! A rule lets a user, group, location or the whole account share with another one. Whoever a rule is about, as themselves
//! or as a member, shares with whom such rules name and with nobody else; whoever no rule is about shares as their role
//! says. Roles still say whether they share at all.

use std::sync::Arc;

use septum_core::ids::{AccountId, UnitId, UserId};
use septum_engine::EngineError;
use septum_engine::accounts::documents::{Document, Kind, NewDocument};
use septum_engine::accounts::{Namespace, NamespaceKind};
use septum_engine::services::Services;
use serde_json::{Map, Value, json};

use crate::v3::ask::{Ask, uuid};
use crate::v3::fault::{Fault, Outcome};
use crate::v3::reply::Reply;
use crate::v3::{users, values};

/// Rules that an account may have.
const RULES_MAX: usize = 10_000;

/// One side of a rule: a kind of object and which one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    kind: String,
    id: String,
}

impl Side {
    fn of(rule: &Map<String, Value>, side: &str) -> Self {
        Self {
            kind: values::text(rule, &format!("{side}_type")).to_owned(),
            id: values::text(rule, &format!("{side}_id")).to_owned(),
        }
    }

    fn new(kind: &str, id: impl ToString) -> Self {
        Self {
            kind: kind.to_owned(),
            id: id.to_string(),
        }
    }
}

/// What a rule may call a namespace: itself, and the account that it is in.
fn names_of(services: &Services, namespace: &Namespace) -> Result<Vec<Side>, EngineError> {
    let account = Side::new("account", namespace.account);
    Ok(match namespace.kind {
        NamespaceKind::Account | NamespaceKind::Plain => vec![account],
        NamespaceKind::Group(unit) => vec![Side::new("group", unit), account],
        NamespaceKind::Location(unit) => vec![Side::new("location", unit), account],
        NamespaceKind::Personal(user) => people_of(services, user)?,
    })
}

/// What a rule may call a user: themselves, and everything they are a member of.
fn people_of(services: &Services, user: UserId) -> Result<Vec<Side>, EngineError> {
    let mut names = vec![Side::new("user", user)];
    for membership in services.accounts.memberships_of(user)? {
        let namespace = services.accounts.namespace(membership.namespace)?;
        match namespace.kind {
            NamespaceKind::Account => names.push(Side::new("account", namespace.account)),
            NamespaceKind::Group(unit) => names.push(Side::new("group", unit)),
            NamespaceKind::Location(unit) => names.push(Side::new("location", unit)),
            NamespaceKind::Personal(_) | NamespaceKind::Plain => {}
        }
    }
    Ok(names)
}

/// The receivers that the rules about somebody name; `None` where no rule is about them.
fn receivers(services: &Services, by: UserId, from: &Namespace) -> Result<Option<Vec<Side>>, EngineError> {
    let rules = services
        .accounts
        .documents
        .list(Kind::ShareRule, from.account.as_bytes())?;
    if rules.is_empty() {
        return Ok(None);
    }
    let mut names = people_of(services, by)?;
    // Who has a role from elsewhere shares what is the account's.
    names.push(Side::new("account", from.account));
    let about = rules.iter().filter(|rule| names.contains(&Side::of(&rule.body, "by")));
    let named: Vec<Side> = about.map(|rule| Side::of(&rule.body, "with")).collect();
    Ok(Some(named).filter(|named| !named.is_empty()))
}

/// Whether the rules let somebody share with a receiver.
///
/// # Errors
/// `NOT_PERMITTED`.
pub(super) fn check(services: &Services, by: UserId, from: &Namespace, into: &Namespace) -> Outcome<()> {
    let Some(named) = receivers(services, by, from)? else {
        return Ok(());
    };
    let theirs = names_of(services, into)?;
    if theirs.iter().any(|name| named.contains(name)) {
        Ok(())
    } else {
        Err(Fault::not_permitted())
    }
}

/// Whether the rules let somebody share with people whom nobody knows here: no rule can name them.
///
/// # Errors
/// `NOT_PERMITTED`.
pub(super) fn check_stranger(services: &Services, by: UserId, from: &Namespace) -> Outcome<()> {
    match receivers(services, by, from)? {
        None => Ok(()),
        Some(_) => Err(Fault::not_permitted()),
    }
}

/// The namespace of one side, and how it is called; `None` where there is none that a rule of the account may name.
fn found(ask: &Ask, side: &Side, is_by: bool) -> Outcome<Option<Arc<Namespace>>> {
    let (accounts, account) = (ask.accounts(), ask.account()?.0.id);
    let Some(id) = uuid(&side.id) else {
        return Ok(None);
    };
    let namespace = match side.kind.as_str() {
        "account" => accounts.namespace_of(AccountId::from_bytes(id)),
        "user" => {
            // Rules are about members, and no call learns from them who else there is.
            let own = accounts.namespace_of(account)?;
            let user = UserId::from_bytes(id);
            let is_member = accounts.membership(user, own.id).is_ok();
            let personal = accounts
                .user_by_id(user)
                .ok()
                .filter(|_| is_member)
                .and_then(|user| user.personal);
            personal.map_or(Err(EngineError::NotFound), |own| accounts.namespace(own))
        }
        kind => accounts.unit(UnitId::from_bytes(id)).and_then(|unit| {
            let is_kind = matches!(
                (kind, unit.kind),
                ("group", NamespaceKind::Group(_)) | ("location", NamespaceKind::Location(_))
            );
            if is_kind { Ok(unit) } else { Err(EngineError::NotFound) }
        }),
    };
    let namespace = match namespace {
        Ok(namespace) => namespace,
        Err(EngineError::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // One's own account's, and accounts in which the caller has a role: of others nobody learns that they are there.
    let is_own = namespace.account == account || matches!(namespace.kind, NamespaceKind::Personal(_));
    let is_seen = is_own || (!is_by && ask.principal()?.reaches(namespace.id));
    Ok(Some(namespace).filter(|_| is_seen))
}

fn sides(ask: &Ask) -> Outcome<(Side, Side)> {
    let side = |name: &str| -> Outcome<Side> {
        let (kind, id) = (format!("{name}_type"), format!("{name}_id"));
        if !["user", "account", "group", "location"].contains(&ask.required(&kind)) {
            return Err(Fault::about("INVALID_TYPE", kind));
        }
        // As ids are written in answers.
        let id = ask.required(&id);
        let id = uuid(id).map_or_else(|| id.to_owned(), |id| AccountId::from_bytes(id).to_string());
        Ok(Side::new(ask.required(&kind), id))
    };
    Ok((side("by")?, side("with")?))
}

fn body_of(by: &Side, with: &Side) -> Map<String, Value> {
    let body = json!({"by_type": by.kind, "by_id": by.id, "with_type": with.kind, "with_id": with.id});
    body.as_object().cloned().unwrap_or_default()
}

fn rules(ask: &Ask) -> Outcome<Vec<Document>> {
    let (account, _) = ask.account()?;
    let mut rules = ask.accounts().documents.list(Kind::ShareRule, account.id.as_bytes())?;
    rules.sort_by_key(|rule| (rule.created_ms, rule.id));
    Ok(rules)
}

/// `/account/can/share`. A rule that is there already is there once.
pub async fn add(ask: &Ask) -> Outcome {
    let (by, with) = sides(ask)?;
    found(ask, &by, true)?.ok_or_else(|| Fault::new("BY_NOT_FOUND"))?;
    found(ask, &with, false)?.ok_or_else(|| Fault::new("WITH_NOT_FOUND"))?;
    let (body, known) = (body_of(&by, &with), rules(ask)?);
    if known.iter().any(|rule| rule.body == body) {
        return Ok(Reply::done());
    }
    if known.len() >= RULES_MAX {
        return Err(Fault::new("TRY_LATER"));
    }
    let (account, _) = ask.account()?;
    let new = NewDocument {
        kind: Kind::ShareRule,
        owner: *account.id.as_bytes(),
        account: account.id,
        body,
    };
    ask.accounts().documents.add(new, &ask.source()?).await?;
    Ok(Reply::done())
}

/// `/account/can/share/stop`: also of what is gone by now.
pub async fn stop(ask: &Ask) -> Outcome {
    let (by, with) = sides(ask)?;
    let (body, source) = (body_of(&by, &with), ask.source()?);
    for rule in rules(ask)?.iter().filter(|rule| rule.body == body) {
        match ask.accounts().documents.delete(Kind::ShareRule, rule.id, &source).await {
            Ok(()) | Err(EngineError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Reply::done())
}

/// `/account/can/share/list`.
pub async fn list(ask: &Ask) -> Outcome {
    let mut rows = Vec::new();
    for rule in rules(ask)? {
        let mut row = rule.body.clone();
        for name in ["by", "with"] {
            let side = Side::of(&rule.body, name);
            let namespace = found(ask, &side, name == "by")?;
            let called = match namespace {
                Some(namespace) => users::namespace_name(ask, &namespace)?,
                None => String::new(),
            };
            row.insert(format!("{name}_name"), called.into());
        }
        rows.push(Value::Object(row));
    }
    Ok(Reply::of("rules", rows))
}
