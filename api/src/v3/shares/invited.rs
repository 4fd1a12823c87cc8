//! Sharing with e-mail addresses: a user's at once; anybody else's once they accept the invitation that goes there.
//!
//! What waits for that is a document of the study's, part of its one access list. Its invitation goes by mail alone, so
//! that accepting it proves whose the address is.

use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::DocumentId;
use septum_engine::EngineError;
use septum_engine::accounts::documents::{Document, Kind, NewDocument};
use septum_engine::accounts::{Namespace, User};
use septum_engine::pipeline::messages::Source;
use septum_engine::retrieve::StudyRef;
use septum_engine::services::now_ms;
use serde_json::json;

use super::giving::{self, Giving};
use super::rules;
use crate::mail::{Mailer, letter};
use crate::v3::ask::{Ask, uuid};
use crate::v3::fault::{Fault, Outcome};
use crate::v3::one_time::{self, Token};
use crate::v3::reply::{Reply, flag};
use crate::v3::study_id::StudyName;
use crate::v3::{invitations, values, welcome_page};

/// Addresses in one call.
const ADDRESSES_MAX: usize = 50;

/// The addresses of a parameter: one, a JSON list, or parted by commas.
///
/// # Errors
/// `INVALID_EMAIL`.
pub(super) fn addresses(text: &str) -> Outcome<Vec<String>> {
    let list: Vec<String> = match serde_json::from_str(text) {
        Ok(list) => list,
        Err(_) => text.split(',').map(str::to_owned).collect(),
    };
    let mut addresses: Vec<String> = list.iter().map(|one| one.trim().to_lowercase()).collect();
    addresses.sort();
    addresses.dedup();
    let is_right = !addresses.is_empty()
        && addresses.len() <= ADDRESSES_MAX
        && addresses.iter().all(|address| values::is_email(address));
    if is_right {
        Ok(addresses)
    } else {
        Err(Fault::new("INVALID_EMAIL"))
    }
}

/// Shares the study of a call with addresses.
pub(super) async fn share(ask: &Ask, addresses: &[String]) -> Outcome {
    let (name, namespace) = ask.study()?;
    if giving::forbids(ask.services(), name, namespace) {
        return Err(Fault::not_permitted());
    }
    let giving = Giving::of(ask)?;
    let (mut users, mut strangers) = (Vec::new(), Vec::new());
    for address in addresses {
        match ask.accounts().user(address)?.filter(|user| user.guest.is_none()) {
            Some(user) => users.push(user),
            None => strangers.push(address),
        }
    }
    let mailer = ask.app.mailer.as_deref();
    if !strangers.is_empty() {
        // Nothing is shared with anybody where not everybody can be told.
        mailer.ok_or_else(|| Fault::new("NOT_CONFIGURED"))?;
        rules::check_stranger(ask.services(), giving.by, namespace)?;
    }
    for user in users {
        let user = ask.accounts().with_namespace(user.id).await?;
        let own = ask.accounts().namespace(user.personal.ok_or_else(Fault::not_found)?)?;
        let is_new = giving.to(&own).await?;
        if let Some(mailer) = mailer.filter(|_| is_new && !user.disabled && values::is_email(&user.name)) {
            let place = format!("{}/viewer", mailer.public_url());
            let letter = letter::shared_with_user(&user.name, &ask.user()?.full_name(), &place);
            mailer
                .post(ask.services(), &letter, namespace.account, &giving.source)
                .await?;
        }
    }
    if let Some(mailer) = mailer {
        for address in strangers {
            invite(ask, mailer, &giving, address).await?;
        }
    }
    Ok(Reply::done())
}

/// Keeps a share until it is accepted, and sends the invitation. What waits already waits once.
async fn invite(ask: &Ask, mailer: &Mailer, giving: &Giving, address: &str) -> Outcome<()> {
    let (store, source) = (&ask.accounts().documents, &giving.source);
    let waiting = store.list(Kind::InvitedShare, &giving.name.owner())?;
    let is_it = |one: &Document| values::text(&one.body, "email") == address && one.created_by == giving.by;
    let known = waiting
        .into_iter()
        .find(|one| is_it(one) && one_time::ends_ms(one) > now_ms());
    let ends_ms = now_ms() + invitations::VALID_MS;
    let share = match known {
        Some(known) if values::is_set(&known.body, "mailed") => return Ok(()),
        Some(known) => known,
        None => {
            let body = json!({
                "study_id": giving.name.to_string(), "study": giving.study.id().to_string(), "email": address,
                "message": giving.message, "ends_ms": ends_ms,
            });
            let new = NewDocument {
                kind: Kind::InvitedShare,
                owner: giving.name.owner(),
                account: giving.namespace.account,
                body: body.as_object().cloned().unwrap_or_default(),
            };
            store.add(new, source).await?
        }
    };
    let token = Token::fresh();
    let body = json!({"email": address, "share": share.id.to_string(), "ends_ms": ends_ms});
    invitations::keep(ask, token, giving.namespace.account, body).await?;
    let link = format!("{}{token}", welcome_page::invitation_url(mailer.public_url()));
    let letter = letter::shared_with_stranger(address, &ask.user()?.full_name(), &link);
    mailer
        .post(ask.services(), &letter, giving.namespace.account, source)
        .await?;
    let edit = |share: &mut Document| {
        share.body.insert("mailed".into(), flag(true));
        Ok::<(), Fault>(())
    };
    store.edit(Kind::InvitedShare, share.id, source, edit).await?;
    Ok(())
}

/// A share that waits, and its study, while whoever shared may do so still.
///
/// # Errors
/// `NOT_FOUND` where it waits no more.
pub(crate) fn waiting(ask: &Ask, share: &str) -> Outcome<(Document, StudyName, Arc<Namespace>, StudyRef)> {
    let id = uuid(share).map(DocumentId::from_bytes).ok_or_else(Fault::not_found)?;
    let share = ask.accounts().documents.get(Kind::InvitedShare, id)?;
    let name = StudyName::parse(values::text(&share.body, "study_id")).ok_or_else(Fault::not_found)?;
    let namespace = ask.accounts().namespace(name.phi)?;
    let study = name.find(ask.services(), &namespace)?;
    // Another study of that UID is not what was shared.
    if study.id().to_string() != values::text(&share.body, "study") {
        return Err(Fault::not_found());
    }
    let permissions = [Permission::StudyShareEmail];
    giving::may_still(ask.services(), share.created_by, &namespace, &permissions).map_err(|_| Fault::not_found())?;
    Ok((share, name, namespace, study))
}

/// Shares with whoever accepted.
pub(crate) async fn accept(ask: &Ask, share: &str, user: &User, source: &Source) -> Outcome<()> {
    let (share, name, namespace, study) = waiting(ask, share)?;
    let giving = Giving {
        services: Arc::clone(ask.services()),
        channels: Arc::clone(&ask.app.channels),
        name,
        namespace,
        study,
        by: share.created_by,
        source: source.clone(),
        message: values::text(&share.body, "message").to_owned(),
    };
    let user = ask.accounts().with_namespace(user.id).await?;
    let own = ask.accounts().namespace(user.personal.ok_or_else(Fault::not_found)?)?;
    let _is_new = giving.to(&own).await?;
    forget(ask, &share, source).await
}

/// `/study/share/stop` of what was not accepted yet.
pub(super) async fn stop(ask: &Ask) -> Outcome {
    let (name, _) = ask.study()?;
    let id = uuid(ask.required("user_invite_share_id")).map(DocumentId::from_bytes);
    let share = ask
        .accounts()
        .documents
        .get(Kind::InvitedShare, id.ok_or_else(Fault::not_found)?)?;
    if share.owner != name.owner() {
        return Err(Fault::not_found());
    }
    forget(ask, &share, &ask.source()?).await?;
    Ok(Reply::done())
}

async fn forget(ask: &Ask, share: &Document, source: &Source) -> Outcome<()> {
    match ask
        .accounts()
        .documents
        .delete(Kind::InvitedShare, share.id, source)
        .await
    {
        Ok(()) | Err(EngineError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, expected) in [
            ("A@b.org", Some(vec!["a@b.org"])),
            ("a@b.org, c@d.org,a@b.org", Some(vec!["a@b.org", "c@d.org"])),
            ("[\"c@d.org\", \"a@b.org\"]", Some(vec!["a@b.org", "c@d.org"])),
            ("a@b.org,", None),
            ("[]", None),
            ("[1]", None),
            ("x", None),
        ] {
            assert_eq!(
                addresses(text).ok(),
                expected.map(|all| all.into_iter().map(str::to_owned).collect()),
                "{text}"
            );
        }
    }
}
