//! `/user/password/*`: a lost password set anew, by whoever reads the user's mail.
//!
//! Nothing tells whether an address is a user's: the answer is the same, and as quick, whatever is done behind it.

use std::net::IpAddr;
use std::sync::Arc;

use septum_engine::EngineError;
use septum_engine::accounts::documents::{Document, Kind, NewDocument};
use septum_engine::accounts::{Membership, User};
use septum_engine::pipeline::messages::Source;
use septum_engine::services::{Services, now_ms};
use serde_json::json;

use super::ask::Ask;
use super::fault::{Fault, Outcome};
use super::one_time::{self, Token};
use super::reply::Reply;
use super::{users, values, welcome_page};
use crate::app::App;
use crate::mail::{Mailer, letter};

/// How long a permit stands, in milliseconds.
const VALID_MS: i64 = 3_600_000;

/// What a password's hash is known by: once the password is another one, permits that name the one before are over.
fn digest(hash: &str) -> String {
    let digest = blake3::derive_key("septum lost password 1", hash.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `/user/password/lost`.
pub async fn lost(ask: &Ask) -> Outcome {
    let mailer = ask.app.mailer.clone().ok_or_else(|| Fault::new("NOT_CONFIGURED"))?;
    if !ask.app.one_time.may_ask(ask.address) {
        return Err(Fault::new("LOCKOUT"));
    }
    let (app, email, address) = (
        Arc::clone(&ask.app),
        ask.required("email").trim().to_lowercase(),
        ask.address,
    );
    // Behind the answer, so that the time it takes tells nothing either.
    actix_web::rt::spawn(async move {
        if let Err(error) = permit(&app, &mailer, &email, address).await {
            tracing::error!(%error, "a lost password could not be answered");
        }
    });
    Ok(Reply::done())
}

/// Sends a permit where the address is a user's who may sign in.
async fn permit(app: &App, mailer: &Mailer, email: &str, address: Option<IpAddr>) -> Result<(), EngineError> {
    let services = &app.archive.services;
    let user = services.accounts.user(email)?;
    let user = user.filter(|user| user.guest.is_none() && !user.disabled && values::is_email(&user.name));
    let Some(user) = user.filter(|_| app.one_time.may_write(email)) else {
        return Ok(());
    };
    let user = services.accounts.with_namespace(user.id).await?;
    let own = services
        .accounts
        .namespace(user.personal.ok_or(EngineError::NotFound)?)?;
    let token = Token::fresh();
    let source = Source { user: user.id, address };
    let body = json!({
        "user": user.id.to_string(), "password": digest(&user.password_hash), "ends_ms": now_ms() + VALID_MS,
    });
    let new = NewDocument {
        kind: Kind::PasswordReset,
        owner: token.owner(Kind::PasswordReset),
        account: own.account,
        body: body.as_object().cloned().unwrap_or_default(),
    };
    services.accounts.documents.add(new, &source).await?;
    let letter = letter::lost_password(&user.name, &welcome_page::reset_url(mailer.public_url(), token));
    mailer.post(services, &letter, own.account, &source).await
}

/// `/user/password/reset`.
pub async fn reset(ask: &Ask) -> Outcome {
    let permit = one_time::find(ask, Kind::PasswordReset, ask.required("token"), "INVALID_TOKEN")?;
    let user = whose(ask, &permit)?.ok_or_else(|| Fault::new("INVALID_TOKEN"))?;
    // A password that breaks the rules does not use the permit up.
    let hash = users::hashed(ask.required("password")).await?;
    let source = Source {
        user: user.id,
        address: ask.address,
    };
    // Of two at once one finds it gone.
    match ask
        .accounts()
        .documents
        .delete(Kind::PasswordReset, permit.id, &source)
        .await
    {
        Ok(()) => {}
        Err(EngineError::NotFound) => return Err(Fault::new("INVALID_TOKEN")),
        Err(error) => return Err(error.into()),
    }
    replace(ask.services(), &user, hash, &source).await?;
    // Whoever knew the old one is signed out.
    ask.accounts().sessions.end_all(user.id, Some(&source)).await?;
    Ok(Reply::done())
}

/// The user of a permit, while they may sign in and have the password that was lost.
fn whose(ask: &Ask, permit: &Document) -> Outcome<Option<Arc<User>>> {
    let id = super::ask::uuid(values::text(&permit.body, "user")).map(septum_core::ids::UserId::from_bytes);
    let user = match id.map(|id| ask.accounts().user_by_id(id)) {
        Some(Ok(user)) => user,
        None | Some(Err(EngineError::NotFound)) => return Ok(None),
        Some(Err(error)) => return Err(error.into()),
    };
    let is_same = digest(&user.password_hash) == values::text(&permit.body, "password");
    Ok(Some(user).filter(|user| is_same && !user.disabled))
}

/// Gives a user another password, which they chose: nothing asks them to change it any more.
///
/// # Errors
/// Where it cannot be stored.
pub async fn replace(services: &Services, user: &User, hash: String, source: &Source) -> Result<(), EngineError> {
    let accounts = &services.accounts;
    let edit = |user: &mut User| {
        user.password_hash = hash;
        user.properties.remove("password_reset");
    };
    accounts.edit_user(user.id, Some(source), edit).await?;
    for membership in accounts.memberships_of(user.id)? {
        if values::is_set(&membership.properties, "password_reset") {
            let edit = |membership: &mut Membership| {
                membership.properties.remove("password_reset");
            };
            let key = (user.id, membership.namespace);
            accounts.edit_membership(key, Some(source), edit).await?;
        }
    }
    Ok(())
}
