//! Shares of studies that have not come yet: kept for two hours, and given once the study is here.
//!
//! A study is here when somebody says so (`/study/sync`), or when nothing came for the quiet time: a share shows what was
//! there when it was given.

use std::sync::{Arc, Weak};
use std::time::Duration;

use septum_core::ids::NamespaceId;
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::accounts::documents::{Document, Kind, NewDocument};
use septum_engine::pipeline::messages::Source;
use septum_engine::services::{Services, now_ms};
use serde_json::json;

use super::giving::{self, Giving};
use super::rules;
use crate::v3::ask::{Ask, uuid};
use crate::v3::channels::Hub;
use crate::v3::fault::{Fault, Outcome};
use crate::v3::one_time;
use crate::v3::study_id::StudyName;
use crate::v3::values;

/// How long such a share is kept, in milliseconds.
const VALID_MS: i64 = 2 * 3_600_000;
/// How often it is looked whether studies have come.
const LOOK: Duration = Duration::from_secs(2);
/// Shares that one study waits with.
const PER_STUDY_MAX: usize = 100;

/// Keeps a share of the study that a call names.
pub(super) async fn keep(ask: &Ask, into: &Arc<Namespace>) -> Outcome<()> {
    let (name, namespace) = ask.study()?;
    if into.id == namespace.id || into.id == name.storage {
        return Err(Fault::about("SHARE_FAILED", "SAME"));
    }
    if values::is_set(&into.properties, "no_share") {
        return Err(Fault::not_permitted());
    }
    let by = ask.principal()?.user;
    rules::check(ask.services(), by, namespace, into)?;
    let receiver = into.id.to_string();
    let waiting = ask.accounts().documents.list(Kind::DeferredShare, &name.owner())?;
    let is_it = |one: &Document| {
        let is_same = values::text(&one.body, "receiver") == receiver && one.created_by == by;
        is_same && one_time::ends_ms(one) > now_ms()
    };
    if waiting.iter().any(is_it) {
        return Ok(());
    }
    if waiting.len() >= PER_STUDY_MAX {
        return Err(Fault::new("TRY_LATER"));
    }
    let body = json!({
        "study_id": name.to_string(), "receiver": receiver, "message": ask.parameters.text("message").unwrap_or_default(),
        "ends_ms": now_ms() + VALID_MS,
    });
    let new = NewDocument {
        kind: Kind::DeferredShare,
        owner: name.owner(),
        account: namespace.account,
        body: body.as_object().cloned().unwrap_or_default(),
    };
    ask.accounts().documents.add(new, &ask.source()?).await?;
    Ok(())
}

/// Gives what waits for a study that somebody says is complete.
///
/// # Errors
/// Where what waits cannot be read; what cannot be given is tried again.
pub(crate) async fn arrived(services: &Arc<Services>, channels: &Arc<Hub>, name: &StudyName) -> Outcome<()> {
    for waiting in services.accounts.documents.list(Kind::DeferredShare, &name.owner())? {
        settle(services, channels, &waiting, true).await?;
    }
    Ok(())
}

/// Gives, now and then, what waits for studies that have come.
pub async fn follow(services: Weak<Services>, channels: Weak<Hub>) {
    let mut interval = tokio::time::interval(LOOK);
    loop {
        interval.tick().await;
        let (Some(services), Some(channels)) = (services.upgrade(), channels.upgrade()) else {
            return;
        };
        let waiting = match services.accounts.documents.all(Kind::DeferredShare) {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "shares of studies to come could not be read; it is tried again");
                continue;
            }
        };
        for waiting in waiting {
            if settle(&services, &channels, &waiting, false).await.is_err() {
                tracing::warn!("a share of a study that came could not be given; it is tried again");
            }
        }
    }
}

/// Gives one share, if its study is here. What may not be given any more is dropped.
async fn settle(services: &Arc<Services>, channels: &Arc<Hub>, waiting: &Document, is_complete: bool) -> Outcome<()> {
    let source = Source {
        user: waiting.created_by,
        address: None,
    };
    let given = match giving_of(services, channels, waiting, is_complete, &source)? {
        None if one_time::ends_ms(waiting) > now_ms() => return Ok(()),
        None => Ok(()),
        Some((giving, into)) => {
            let may = giving::may_still(services, waiting.created_by, &giving.namespace, &[]);
            match may {
                Ok(()) => giving.to(&into).await.map(|_| ()),
                refused => refused,
            }
        }
    };
    match given {
        // The one who shared is told nothing: the answer went out long ago.
        Err(Fault::Error { token, .. }) => tracing::warn!(token, "a share of a study that came is not given"),
        given => given?,
    }
    match services
        .accounts
        .documents
        .delete(Kind::DeferredShare, waiting.id, &source)
        .await
    {
        Ok(()) | Err(EngineError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The study of a share and its receiver, once both are here.
fn giving_of(
    services: &Arc<Services>,
    channels: &Arc<Hub>,
    waiting: &Document,
    is_complete: bool,
    source: &Source,
) -> Outcome<Option<(Giving, Arc<Namespace>)>> {
    let name = StudyName::parse(values::text(&waiting.body, "study_id"));
    let receiver = uuid(values::text(&waiting.body, "receiver")).map(NamespaceId::from_bytes);
    let (Some(name), Some(receiver)) = (name, receiver) else {
        return Ok(None);
    };
    let found = services.accounts.namespace(name.phi).and_then(|namespace| {
        let study = name.find(services, &namespace)?;
        Ok((namespace, study, services.accounts.namespace(receiver)?))
    });
    let (namespace, study, into) = match found {
        Ok(found) => found,
        Err(EngineError::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !is_complete && services.stability.is_open(study.shard, &study.row_key) {
        return Ok(None);
    }
    let giving = Giving {
        services: Arc::clone(services),
        channels: Arc::clone(channels),
        name,
        namespace,
        study,
        by: waiting.created_by,
        source: source.clone(),
        message: values::text(&waiting.body, "message").to_owned(),
    };
    Ok(Some((giving, into)))
}
