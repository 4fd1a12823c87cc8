//! A study on its way to a receiver: what is asked of every share, whoever it is for and however they were named.

use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::UserId;
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::accounts::documents::{Kind, NewDocument};
use septum_engine::pipeline::messages::Source;
use septum_engine::records::{StudyRow, decode, key};
use septum_engine::retrieve::StudyRef;
use septum_engine::services::Services;
use septum_engine::share::{Manner, Sharing, storage_namespace};
use serde_json::Value;

use super::{offers_of, rules, show, stored};
use crate::hidden::Hidden;
use crate::v3::ask::Ask;
use crate::v3::channels::Hub;
use crate::v3::fault::{Fault, Outcome};
use crate::v3::study_id::StudyName;
use crate::v3::study_record::{Stored, text_of};
use crate::v3::values;

/// Studies of one patient that go along with one.
const RELATED_MAX: usize = 1_000;

/// A study that is given.
#[derive(Clone)]
pub(super) struct Giving {
    pub(super) services: Arc<Services>,
    /// Where it is told that a study waits to be approved.
    pub(super) channels: Arc<Hub>,
    /// Its name where the giver sees it.
    pub(super) name: StudyName,
    /// Where the giver sees it.
    pub(super) namespace: Arc<Namespace>,
    /// The study.
    pub(super) study: StudyRef,
    /// Who gives it.
    pub(super) by: UserId,
    /// Who is recorded as having done it.
    pub(super) source: Source,
    /// What is said about it.
    pub(super) message: String,
}

/// Whether a study may not be shared at all.
pub(super) fn forbids(services: &Services, name: &StudyName, namespace: &Namespace) -> bool {
    let forbids = |namespace: &Namespace| values::is_set(&namespace.properties, "no_share");
    let owner = services.accounts.namespace(name.storage);
    forbids(namespace) || owner.is_ok_and(|owner| forbids(&owner))
}

/// Whether somebody who once shared a study may do so still.
///
/// # Errors
/// `NOT_PERMITTED`.
pub(super) fn may_still(services: &Services, by: UserId, namespace: &Namespace, also: &[Permission]) -> Outcome<()> {
    let principal = services.accounts.principal(by).map_err(|_| Fault::not_permitted())?;
    let has = |permission: &Permission| principal.has(*permission, namespace.id);
    let may = !principal.suspended && has(&Permission::StudyShare) && also.iter().all(has);
    if may && Hidden::of(&principal, namespace.id).is_empty() {
        Ok(())
    } else {
        Err(Fault::not_permitted())
    }
}

impl Giving {
    /// The study of a call.
    pub(super) fn of(ask: &Ask) -> Outcome<Self> {
        let (name, namespace) = ask.study()?;
        Ok(Self {
            services: Arc::clone(ask.services()),
            channels: Arc::clone(&ask.app.channels),
            name: *name,
            namespace: Arc::clone(namespace),
            study: stored(ask)?,
            by: ask.principal()?.user,
            source: ask.source()?,
            message: ask.parameters.text("message").unwrap_or_default().to_owned(),
        })
    }

    /// Gives it: shares it, or leaves it to be approved; related studies with it, where the receiver asks for them. Whether
    /// the receiver did not have it yet.
    pub(super) async fn to(&self, into: &Arc<Namespace>) -> Outcome<bool> {
        let is_new = self.one(into).await?;
        if !values::is_on(&into.settings, "share_related") {
            return Ok(is_new);
        }
        for related in self.related()? {
            match related.one(into).await {
                // What the receiver has already, or does not want twice, keeps nothing else from going along.
                Ok(_) | Err(Fault::Error { .. }) => {}
                failed => return failed,
            }
        }
        Ok(is_new)
    }

    async fn one(&self, into: &Arc<Namespace>) -> Outcome<bool> {
        let storage = storage_namespace(&self.study)?;
        if forbids(&self.services, &self.name, &self.namespace) || values::is_set(&into.properties, "no_share") {
            return Err(Fault::not_permitted());
        }
        if into.id == self.namespace.id || into.id == storage {
            return Err(Fault::about("SHARE_FAILED", "SAME"));
        }
        rules::check(&self.services, self.by, &self.namespace, into)?;
        let study_uid = self.services.summaries.open(&self.study.row)?.summary.study_uid.clone();
        let theirs = StudyName::of_uid(&self.services, into, storage, &study_uid)?;
        let is_known = match theirs.find(&self.services, into) {
            Ok(_) => true,
            Err(EngineError::NotFound) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_known && values::is_on(&into.settings, "no_dup_share") && self.is_duplicate(into, &theirs)? {
            return Err(Fault::about("SHARE_FAILED", "NO_DUP_SHARE"));
        }
        if values::is_set(&into.properties, "must_approve") && !is_known {
            return self.offer(into, theirs).await;
        }
        let sharing = Sharing {
            from: self.study.clone(),
            into: Arc::clone(into),
            manner: Manner::Share,
            by: self.by,
            message: self.message.clone(),
            with_attachments: true,
        };
        show(&self.services, sharing, &self.source).await?;
        Ok(!is_known)
    }

    /// Whether the receiver has another study of that UID with as many images.
    fn is_duplicate(&self, into: &Namespace, theirs: &StudyName) -> Outcome<bool> {
        let count = |study: &StudyRef| -> Outcome<Value> {
            Ok(text_of(&Stored::of(&self.services, study)?.attributes, "00201208"))
        };
        let ours = count(&self.study)?;
        let account = self.services.keyring.account(into.account)?;
        for (shard, stored_in) in self.services.store.shards().iter().enumerate() {
            for row in septum_engine::scan::rows(stored_in, key::studies_of(into.id, &theirs.token)) {
                let (row_key, _) = row?;
                let study = StudyRef::load(&self.services, into.id, Arc::clone(&account), shard, row_key);
                match study {
                    Ok(study) if count(&study)? == ours => return Ok(true),
                    Ok(_) | Err(EngineError::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(false)
    }

    /// The other studies of the same patient that are seen where this one is.
    fn related(&self) -> Outcome<Vec<Self>> {
        let attributes = Stored::of(&self.services, &self.study)?.attributes;
        // Without a number nobody is known to be the same patient.
        if text_of(&attributes, "00100020").as_str().is_none_or(str::is_empty) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for (shard, stored_in) in self.services.store.shards().iter().enumerate() {
            for row in septum_engine::scan::rows(stored_in, key::studies(self.namespace.id)) {
                let (row_key, row) = row?;
                let row: StudyRow = decode(&row, "study row")?;
                let is_related = row.patient == self.study.row.patient && row.study != self.study.row.study;
                let name = StudyName::of_row_key(self.namespace.id, &row_key).filter(|_| is_related);
                let Some(name) = name else { continue };
                let account = Arc::clone(&self.study.account);
                match StudyRef::load(&self.services, self.namespace.id, account, shard, row_key) {
                    Ok(study) => found.push(Self {
                        name,
                        study,
                        ..self.clone()
                    }),
                    Err(EngineError::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
                if found.len() >= RELATED_MAX {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// Leaves a study to be approved. One that waits already waits once.
    async fn offer(&self, into: &Namespace, theirs: StudyName) -> Outcome<bool> {
        if offers_of(&self.services, into)?
            .iter()
            .any(|offer| offer.theirs == theirs)
        {
            return Ok(false);
        }
        let body = serde_json::json!({
            "study_id": theirs.to_string(), "from": self.name.to_string(), "by": self.by.to_string(),
            "message": self.message, "study": self.study.id().to_string(),
        });
        let new = NewDocument {
            kind: Kind::Offer,
            owner: *into.id.as_bytes(),
            account: into.account,
            body: body.as_object().cloned().unwrap_or_default(),
        };
        self.services.accounts.documents.add(new, &self.source).await?;
        self.channels.tell_of_offer(into.id, &theirs.to_string());
        Ok(true)
    }
}
