//! `/user/invite` and `/user/invite/accept`: people who are asked to join, and join.
//!
//! The id of an invitation is its token. It goes to the address by mail, and to whoever invites, who hands it on where no
//! mail goes out; whoever invites into an account may make its users anyway. That of a share goes by mail alone, so that
//! accepting it proves whose the address is (`shares::invited`).
//!
//! Who has a user already accepts signed in; everybody else says their name and a password, and is made a user.

use std::collections::BTreeMap;
use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::{AccountId, NamespaceId, RoleId, UnitId, UserId};
use septum_engine::EngineError;
use septum_engine::accounts::documents::{Document, Kind, NewDocument};
use septum_engine::accounts::{Namespace, NamespaceKind, NewMembership, NewUser, User, conflict};
use septum_engine::pipeline::messages::Source;
use septum_engine::services::now_ms;
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::one_time::{self, Token};
use super::reply::{Reply, flag};
use super::{members, shares, users, values};
use crate::app::App;
use crate::mail::letter;

/// How long an invitation stands where the account does not say so, in milliseconds: seven days.
pub const VALID_MS: i64 = 7 * 24 * 3_600_000;

/// A link of this site that a call names, where mail may send people.
fn site_link<'a>(ask: &'a Ask, name: &str) -> Outcome<Option<&'a str>> {
    let Some(link) = ask.parameters.text(name) else {
        return Ok(None);
    };
    // What a request says of this server is believed only where nothing is mailed.
    let site = ask
        .app
        .mailer
        .as_ref()
        .map_or(ask.base_url.as_str(), |mailer| mailer.public_url());
    let behind = link.strip_prefix(site);
    let is_here = behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(['/', '?', '#']));
    if is_here && !link.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Ok(Some(link))
    } else {
        Err(Fault::about("INVALID_LINK", name))
    }
}

/// Groups or locations, and the role in each.
fn units(ask: &Ask, name: &str, account: AccountId) -> Outcome<BTreeMap<NamespaceId, RoleId>> {
    let mut found = BTreeMap::new();
    for (unit, role) in ask.parameters.hash(name)?.unwrap_or_default() {
        let absent = |text: &str| Fault::about("NOT_FOUND", text);
        let namespace = uuid(&unit).and_then(|id| ask.accounts().unit(UnitId::from_bytes(id)).ok());
        let is_kind = |namespace: &Namespace| match namespace.kind {
            NamespaceKind::Group(_) => name == "groups",
            NamespaceKind::Location(_) => name == "locations",
            _ => false,
        };
        let namespace = namespace.filter(|namespace| namespace.account == account && is_kind(namespace));
        let namespace = namespace.ok_or_else(|| absent(&unit))?;
        let role_text = role.as_str().unwrap_or_default();
        let role = role_of(ask, role_text, account)?.ok_or_else(|| absent(role_text))?;
        members::check_promotion(ask, Some(role), &namespace)?;
        found.insert(namespace.id, role);
    }
    Ok(found)
}

fn role_of(ask: &Ask, text: &str, account: AccountId) -> Outcome<Option<RoleId>> {
    let role = uuid(text)
        .map(RoleId::from_bytes)
        .and_then(|id| ask.accounts().role(id).ok());
    Ok(role.filter(|role| role.account == account).map(|role| role.id))
}

/// `/user/invite`.
pub async fn invite(ask: &Ask) -> Outcome {
    let (account, namespace) = ask.account()?;
    let email = ask.required("email").trim().to_lowercase();
    if !values::is_email(&email) {
        return Err(Fault::new("INVALID_EMAIL"));
    }
    let (link, already) = (site_link(ask, "link")?, site_link(ask, "link_already")?);
    let role = match ask.parameters.text("role_id") {
        Some(text) => Some(role_of(ask, text, account.id)?.ok_or_else(|| Fault::about("NOT_FOUND", text))?),
        None => None,
    };
    members::check_promotion(ask, role, namespace)?;
    let mut units = units(ask, "groups", account.id)?;
    units.extend(self::units(ask, "locations", account.id)?);
    let known = ask.accounts().user(&email)?.filter(|user| user.guest.is_none());
    let token = ask.app.one_time.token(ask)?;
    if let Some(known) = &known
        && ask.accounts().membership(known.id, namespace.id).is_ok()
    {
        // Unless it is this very call, come again, that made them a member.
        return match kept(ask, token)? {
            Some(_) => Ok(invited(ask, token)),
            None => Err(Fault::new("ALREADY_EXISTS")),
        };
    }
    let units: Map<String, Value> = units
        .into_iter()
        .map(|(unit, role)| (unit.to_string(), role.to_string().into()))
        .collect();
    let body = json!({
        "email": email, "account_id": account.id.to_string(), "role_id": role.map(|role| role.to_string()), "units": units,
        "ends_ms": now_ms().saturating_add(valid_ms(&account.settings)),
    });
    let invitation = keep(ask, token, account.id, body).await?;
    if is_accepted(&invitation) || values::is_set(&invitation.body, "mailed") {
        // The call comes again, and everything is done.
    } else if values::is_on(&account.settings, "add_on_invite")
        && let Some(known) = &known
    {
        join(ask, &invitation, known).await?;
        close(ask, &invitation, known).await?;
    } else if let Some(mailer) = &ask.app.mailer {
        let link = already.filter(|_| known.is_some()).or(link).unwrap_or_default();
        let by = ask.user()?.full_name();
        let letter = letter::invitation(&email, &by, &account.name, &format!("{link}{token}"));
        let source = ask.source()?;
        mailer.post(ask.services(), &letter, account.id, &source).await?;
        let edit = |invitation: &mut Document| {
            invitation.body.insert("mailed".into(), flag(true));
            Ok::<(), Fault>(())
        };
        ask.accounts()
            .documents
            .edit(Kind::Invitation, invitation.id, &source, edit)
            .await?;
    }
    Ok(invited(ask, token))
}

fn invited(ask: &Ask, token: Token) -> Reply {
    Reply::of("uuid", token.to_string()).with("mailed", flag(ask.app.mailer.is_some()))
}

/// The invitation under a token.
fn kept(ask: &Ask, token: Token) -> Outcome<Option<Document>> {
    let kept = ask
        .accounts()
        .documents
        .list(Kind::Invitation, &token.owner(Kind::Invitation))?;
    Ok(kept.into_iter().next())
}

fn valid_ms(settings: &Map<String, Value>) -> i64 {
    let seconds = settings.get("invite_ttl").and_then(|value| match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    });
    seconds
        .filter(|seconds: &i64| *seconds > 0)
        .map_or(VALID_MS, |seconds| seconds.saturating_mul(1000))
}

/// Keeps an invitation under its token; the same once more is the one that is there.
///
/// # Errors
/// Where it cannot be stored.
pub async fn keep(ask: &Ask, token: Token, account: AccountId, body: Value) -> Outcome<Document> {
    if let Some(known) = kept(ask, token)? {
        return Ok(known);
    }
    let new = NewDocument {
        kind: Kind::Invitation,
        owner: token.owner(Kind::Invitation),
        account,
        body: body.as_object().cloned().unwrap_or_default(),
    };
    Ok(ask.accounts().documents.add(new, &ask.source()?).await?)
}

/// Whom an open invitation is for, and whether they have a user already.
pub fn pending(app: &App, token: &str) -> Option<(String, bool)> {
    let accounts = &app.archive.services.accounts;
    let owner = Token::parse(token)?.owner(Kind::Invitation);
    let invitation = accounts
        .documents
        .list(Kind::Invitation, &owner)
        .ok()?
        .into_iter()
        .next()?;
    let is_open = one_time::ends_ms(&invitation) > now_ms() && !is_accepted(&invitation);
    let email = values::text(&invitation.body, "email").to_owned();
    let has_user = accounts.user(&email).ok()?.is_some();
    is_open.then_some((email, has_user))
}

fn is_accepted(invitation: &Document) -> bool {
    values::is_set(&invitation.body, "accepted")
}

/// `/user/invite/accept`.
pub async fn accept(ask: &Ask) -> Outcome {
    let invitation = one_time::find(ask, Kind::Invitation, ask.required("uuid"), "NOT_FOUND")?;
    if is_accepted(&invitation) {
        return Err(Fault::new("ACCEPTED"));
    }
    stands(ask, &invitation)?;
    let user = who(ask, &invitation).await?;
    let joined = join(ask, &invitation, &user).await;
    if let Err(fault) = &joined
        && !matches!(
            fault,
            Fault::Error {
                token: "ALREADY_EXISTS",
                ..
            }
        )
    {
        return joined.map(|()| Reply::done());
    }
    close(ask, &invitation, &user).await?;
    joined?;
    tell(ask, &invitation, &user).await;
    Ok(Reply::of("user_id", user.id.to_string()))
}

/// Nobody is made a user for what is not given any more.
fn stands(ask: &Ask, invitation: &Document) -> Outcome<()> {
    if let Some(share) = invitation.body.get("share").and_then(Value::as_str) {
        return shares::invited::waiting(ask, share).map(|_| ());
    }
    let account = uuid(values::text(&invitation.body, "account_id")).map(AccountId::from_bytes);
    let namespace = ask.accounts().namespace_of(account.ok_or_else(Fault::not_found)?)?;
    let inviter = ask.accounts().principal(invitation.created_by)?;
    if inviter.suspended || !inviter.has(Permission::AccountUserInvite, namespace.id) {
        return Err(Fault::not_found());
    }
    Ok(())
}

/// Who accepts: whoever is signed in under the address, or somebody new.
async fn who(ask: &Ask, invitation: &Document) -> Outcome<Arc<User>> {
    let email = values::text(&invitation.body, "email");
    if ask.signed_in.is_some() {
        let user = ask.user()?;
        // It is for whoever has the address, not for whoever was handed the link.
        return if user.guest.is_none() && user.name.to_lowercase() == email {
            Ok(user)
        } else {
            Err(Fault::not_found())
        };
    }
    if ask.accounts().user(email)?.is_some() {
        return Err(Fault::Unauthenticated);
    }
    let names = ["first", "last", "password"];
    let missing: Vec<&str> = names
        .into_iter()
        .filter(|name| ask.parameters.text(name).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(Fault::about("MISSING_FIELDS", missing));
    }
    let new = NewUser {
        name: email.to_owned(),
        password_hash: users::hashed(ask.required("password")).await?,
        full_name: (ask.required("first").to_owned(), ask.required("last").to_owned()),
        properties: Map::new(),
    };
    // The catalogue's record names who invited: whoever accepts is nobody yet.
    let source = Source {
        user: invitation.created_by,
        address: ask.address,
    };
    match ask.accounts().add_user(new, Some(&source)).await {
        Err(EngineError::Conflict(conflict::LOGIN_TAKEN)) => Err(Fault::Unauthenticated),
        user => Ok(user?),
    }
}

/// Gives what an invitation promises, as far as whoever invited may still give it.
async fn join(ask: &Ask, invitation: &Document, user: &User) -> Outcome<()> {
    let source = Source {
        user: user.id,
        address: ask.address,
    };
    if let Some(share) = invitation.body.get("share").and_then(Value::as_str) {
        return shares::invited::accept(ask, share, user, &source).await;
    }
    let text = |name: &str| uuid(values::text(&invitation.body, name));
    let account = text("account_id")
        .map(AccountId::from_bytes)
        .ok_or_else(Fault::not_found)?;
    let namespace = ask.accounts().namespace_of(account)?;
    let role = text("role_id").map(RoleId::from_bytes);
    let own = member(ask, user, &namespace, role, &source).await;
    if let Some(Value::Object(units)) = invitation.body.get("units") {
        for (unit, role) in units {
            let unit = uuid(unit).and_then(|id| ask.accounts().namespace(NamespaceId::from_bytes(id)).ok());
            let role = role.as_str().and_then(uuid).map(RoleId::from_bytes);
            // A group that is gone by now is joined by nobody.
            if let Some(unit) = unit {
                match member(ask, user, &unit, role, &source).await {
                    Ok(())
                    | Err(Fault::Error {
                        token: "ALREADY_EXISTS" | "NOT_FOUND",
                        ..
                    }) => {}
                    failed => return failed,
                }
            }
        }
    }
    own
}

async fn member(ask: &Ask, user: &User, namespace: &Namespace, role: Option<RoleId>, source: &Source) -> Outcome<()> {
    // A role that is gone by now is not replaced by another one.
    if let Some(role) = role {
        ask.accounts().role(role)?;
    }
    let new = NewMembership {
        user: user.id,
        namespace: namespace.id,
        role,
        properties: Map::new(),
    };
    ask.accounts().add_membership(new, Some(source)).await?;
    Ok(())
}

/// An invitation is kept until it ends, so that accepting it again says so.
async fn close(ask: &Ask, invitation: &Document, user: &User) -> Outcome<()> {
    let source = Source {
        user: user.id,
        address: ask.address,
    };
    let edit = |invitation: &mut Document| {
        if is_accepted(invitation) {
            return Err(Fault::new("ACCEPTED"));
        }
        invitation.body.insert("accepted".into(), flag(true));
        Ok(())
    };
    ask.accounts()
        .documents
        .edit(Kind::Invitation, invitation.id, &source, edit)
        .await?;
    Ok(())
}

/// Tells who invited. Accepting does not fail where that cannot be told.
async fn tell(ask: &Ask, invitation: &Document, user: &User) {
    let inviter = ask.accounts().user_by_id(invitation.created_by).ok();
    let inviter: Option<Arc<User>> = inviter.filter(|inviter| !inviter.disabled && values::is_email(&inviter.name));
    let (Some(mailer), Some(inviter)) = (&ask.app.mailer, inviter) else {
        return;
    };
    let account = uuid(values::text(&invitation.body, "account_id")).map(AccountId::from_bytes);
    let account = account.and_then(|account| ask.accounts().account(account).ok());
    let place = account.as_ref().map_or("see a study", |account| account.name.as_str());
    let letter = letter::accepted(&inviter.name, &user.full_name(), place);
    let source = Source {
        user: UserId::from_bytes(*inviter.id.as_bytes()),
        address: None,
    };
    if let Err(error) = mailer.post(ask.services(), &letter, invitation.account, &source).await {
        tracing::warn!(%error, "who invited could not be told that it was accepted");
    }
}
