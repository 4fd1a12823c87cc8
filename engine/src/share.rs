//! Sharing: a study seen in another namespace, on the same pixels.
//!
//! The receiver gets a study row of its own with the patient's data sealed under its own keys, and a pixel key wrapped
//! once more; not a byte of pixels is written. The row is the grant: who has access is who has a row, and taking the row
//! away, keys first, takes the share back. What changes in the study later is shown in its shares ([`crate::follow`]); what
//! the receiver corrected stays corrected.
//!
//! A duplicate is the same, but the receiver's own: what is sent there later goes into it.

use std::collections::BTreeSet;
use std::sync::Arc;

use dicom_dictionary_std::tags;
use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{NamespaceId, StudyId, UserId, VersionId};
use septum_core::seal::{AccountKeys, Token};
use septum_storage::RowKind;

use crate::accounts::Namespace;
use crate::amendment::Amendment;
use crate::columns::Stamp;
use crate::copy::{Pixels, Purpose, ROUNDS_MAX, StudyCopy, instance_rows};
use crate::detached::detached;
use crate::erase::{self, IfFrozen};
use crate::error::{EngineError, Result};
use crate::ledger::{Change, ChangeKind, Event};
use crate::lookup;
use crate::patients::patient_token;
use crate::pipeline::messages::Source;
use crate::records::{Shared, StudyRow, StudySummary, decode, encode, key};
use crate::retrieve::StudyRef;
use crate::search::study_map;
use crate::services::{Services, now_ms};
use crate::stability::Stability;
use crate::standing::Standing;

const SHARE: Action = Action::new("study.share");

/// Why a study cannot be shown somewhere.
pub mod conflict {
    /// It is the receiver's already.
    pub const SAME: &str = "the study is in that namespace already";
    /// Others have shares of it.
    pub const SHARED: &str = "the study is shared";
    /// The receiver has a study of that UID.
    pub const EXISTS: &str = "a study of that UID is there already";
}

/// Whose a copy on the same pixels is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// The sender's still: it names the namespace that the pixels were stored in.
    Share,
    /// The receiver's own.
    Duplicate,
    /// The receiver's own, with the originals of corrections.
    Move,
}

/// A study, where to, and how.
#[derive(Clone)]
pub struct Sharing {
    /// The study.
    pub from: StudyRef,
    /// The receiver.
    pub into: Arc<Namespace>,
    /// How.
    pub manner: Manner,
    /// Who shared it.
    pub by: UserId,
    /// What they say about it.
    pub message: String,
    /// Its attached documents go along.
    pub with_attachments: bool,
}

/// The namespace that the pixels of a study were stored in.
///
/// # Errors
/// Where the row's key is not one of a study.
pub fn storage_namespace(study: &StudyRef) -> Result<NamespaceId> {
    study
        .row_key
        .get(key::STUDY_PREFIX_BYTES + 16..)
        .and_then(|storage| storage.try_into().ok())
        .map(NamespaceId::from_bytes)
        .ok_or(EngineError::Corrupt("study row key"))
}

/// Shows a study in another namespace. Nothing happens where it is shown there already, as it is.
///
/// # Errors
/// [`EngineError::Conflict`] where the receiver is the namespace itself, or has a study of its own with that UID.
pub async fn share(services: &Arc<Services>, sharing: Sharing, source: &Source) -> Result<StudyRef> {
    let (services, source) = (Arc::clone(services), source.clone());
    detached(async move { share_now(&services, &sharing, &source).await }).await
}

async fn share_now(services: &Arc<Services>, sharing: &Sharing, source: &Source) -> Result<StudyRef> {
    let Sharing { from, into, manner, .. } = sharing;
    if into.id == from.namespace {
        return Err(EngineError::Conflict(conflict::SAME));
    }
    let storage = match manner {
        Manner::Share => storage_namespace(from)?,
        Manner::Duplicate | Manner::Move => into.id,
    };
    if storage == into.id && *manner == Manner::Share {
        return Err(EngineError::Conflict(conflict::SAME));
    }
    let account = services.keyring.account(into.account)?;
    let open = services.summaries.open(&from.row)?;
    let token = services.studies.study_token(&account, into.id, &open.summary.study_uid);
    let row_key = key::study(into.id, &token, storage);
    let before = match StudyRef::load(services, into.id, Arc::clone(&account), from.shard, row_key.clone()) {
        Ok(_) if *manner != Manner::Share => {
            return Err(EngineError::Conflict(conflict::EXISTS));
        }
        Ok(before) => Some(before),
        Err(EngineError::NotFound) => None,
        Err(error) => return Err(error),
    };
    let mut theirs = None;
    if let Some(before) = &before {
        let known = &services.summaries.open(&before.row)?.summary;
        let seen = known.shared.as_ref().map(|shared| shared.seen);
        if seen == Some((from.row.study, from.row.revision)) || is_up_to_date(services, before, from)? {
            return Ok(before.clone());
        }
        theirs = known.standing.clone();
    }
    // What the receiver corrected stays corrected.
    let amendment = theirs.as_ref().map(Standing::amendment).transpose()?;
    let patient = patient_of(&account, into, &open.summary, amendment.as_ref());
    let keys = services.keyring.create_share(&account, &from.keys).await?;
    let to = StudyRef {
        namespace: into.id,
        account,
        shard: from.shard,
        row_key,
        row: StudyRow {
            study: StudyId::random(),
            keys: keys.id,
            patient,
            revision: 0,
            page: None,
            sealed: Vec::new(),
        },
        keys,
    };
    // A share that is out of date goes first: whoever reads it meanwhile finds none, and never a mixture.
    if let Some(before) = before {
        erase::erase(
            services,
            &before,
            source,
            Some(open.summary.study_uid.clone()),
            IfFrozen::Erase,
        )
        .await?;
    }
    let purpose = Purpose {
        pixels: Pixels::InCommon,
        takes_originals: *manner == Manner::Move,
        takes_attachments: sharing.with_attachments,
        amendment: amendment.as_ref(),
    };
    let mut copy = StudyCopy::begin(services, from, &to, purpose).await?;
    let made = make(services, sharing, theirs.as_ref(), &to, &mut copy, source).await;
    copy.end(made).await
}

/// Moves a study into another namespace, on the same pixels: what is in both in between is in the end in that one alone,
/// whatever comes meanwhile.
///
/// # Errors
/// [`EngineError::Conflict`] as [`share`], and with [`conflict::SHARED`] where others have shares of the study.
pub async fn move_to(services: &Arc<Services>, sharing: Sharing, source: &Source) -> Result<StudyRef> {
    let (services, source) = (Arc::clone(services), source.clone());
    detached(async move { move_now(&services, sharing, &source).await }).await
}

async fn move_now(services: &Arc<Services>, mut sharing: Sharing, source: &Source) -> Result<StudyRef> {
    let study_uid = services.summaries.open(&sharing.from.row)?.summary.study_uid.clone();
    match StudyRef::find(services, &sharing.into, &study_uid) {
        Ok(_) => return Err(EngineError::Conflict(conflict::EXISTS)),
        Err(EngineError::NotFound) => {}
        Err(error) => return Err(error),
    }
    // What links have goes with the study.
    let holders = holders(services, &sharing.from)?.into_iter();
    if holders
        .filter(|(holder, _)| !services.accounts.is_of_guest(holder))
        .count()
        > 1
    {
        return Err(EngineError::Conflict(conflict::SHARED));
    }
    let mut made = None;
    for _ in 0..ROUNDS_MAX {
        let from = sharing.from.again(services)?;
        sharing.from = from.clone();
        let moved = match share_now(services, &sharing, source).await {
            Err(EngineError::Conflict(conflict::EXISTS)) if made.is_some() => {
                match halfway(services, &sharing, made, source, &study_uid).await? {
                    Some(moved) => moved,
                    None => continue,
                }
            }
            moved => moved?,
        };
        made = Some(moved.id());
        match erase::erase_as_found(services, &from, source, &study_uid).await {
            // What came since is not there yet.
            Err(EngineError::Conflict(erase::CHANGED)) => {}
            Ok(()) => return Ok(moved),
            Err(error) => return Err(error),
        }
    }
    Err(EngineError::Overloaded { retry_after_seconds: 5 })
}

/// What an earlier round made at the destination: it is whole, or it goes and is made anew.
async fn halfway(
    services: &Arc<Services>,
    sharing: &Sharing,
    made: Option<StudyId>,
    source: &Source,
    study_uid: &str,
) -> Result<Option<StudyRef>> {
    let there = StudyRef::find(services, &sharing.into, study_uid)?;
    if Some(there.id()) != made {
        return Err(EngineError::Conflict(conflict::EXISTS));
    }
    if is_up_to_date(services, &there, &sharing.from)? {
        return Ok(Some(there));
    }
    erase::erase_as_found(services, &there, source, study_uid).await?;
    Ok(None)
}

/// Whether a share shows every version that the study shows, and no other.
fn is_up_to_date(services: &Services, share: &StudyRef, study: &StudyRef) -> Result<bool> {
    Ok(versions(services, share)? == versions(services, study)?)
}

/// The ids of all versions of a study but for the originals of corrections. Copies keep them.
fn versions(services: &Services, study: &StudyRef) -> Result<BTreeSet<VersionId>> {
    let rows = instance_rows(services, study)?.into_iter();
    Ok(rows.flat_map(|entry| entry.row.without_originals().to_vec()).collect())
}

/// The patient key of a study at its receiver, who may have corrected who it is.
pub(crate) fn patient_of(
    account: &AccountKeys,
    receiver: &Namespace,
    summary: &StudySummary,
    theirs: Option<&Amendment>,
) -> Token {
    let id = theirs.and_then(|theirs| theirs.correction.value(tags::PATIENT_ID));
    let id = id.map_or_else(|| text(summary, "00100020"), str::to_owned);
    patient_token(account, receiver, text(summary, "00100021").as_bytes(), id.as_bytes())
}

fn text(summary: &StudySummary, tag: &str) -> String {
    let value = summary
        .attributes
        .get(tag)
        .and_then(|attribute| attribute["Value"][0].as_str());
    value.unwrap_or_default().to_owned()
}

async fn make(
    services: &Arc<Services>,
    sharing: &Sharing,
    theirs: Option<&Standing>,
    to: &StudyRef,
    copy: &mut StudyCopy<'_>,
    source: &Source,
) -> Result<StudyRef> {
    let from = &sharing.from;
    for _ in 0..ROUNDS_MAX {
        let seen = from.row_now(services)?;
        let mut summary = copy.catch_up(&seen, |_, _| true).await?;
        summary.last_commit_ms = now_ms();
        summary.first_commit_ms = summary.last_commit_ms;
        summary.shared = (sharing.manner == Manner::Share).then(|| Shared {
            from: from.namespace,
            by: sharing.by,
            at_ms: now_ms(),
            message: sharing.message.clone(),
            seen: (seen.study, seen.revision),
            removed: Vec::new(),
        });
        summary.has_shares = false;
        if sharing.manner == Manner::Share {
            // What stands at the sender's is in what comes from there.
            summary.standing = theirs.cloned();
        }
        match show(services, sharing, to, copy, &seen, summary, source).await {
            Err(EngineError::Conflict(CHANGED)) => {}
            shown => return shown,
        }
    }
    Err(EngineError::Overloaded { retry_after_seconds: 5 })
}

const CHANGED: &str = "the study changed meanwhile";

/// The commit that makes the share a study of the receiver's, if nothing arrived since `seen`.
async fn show(
    services: &Arc<Services>,
    sharing: &Sharing,
    to: &StudyRef,
    copy: &StudyCopy<'_>,
    seen: &StudyRow,
    summary: StudySummary,
    source: &Source,
) -> Result<StudyRef> {
    let from = &sharing.from;
    let change = Change {
        kind: ChangeKind::StudyShared,
        time_ms: now_ms(),
        study_uid: summary.study_uid.clone(),
        series_uid: None,
        instance_uid: None,
    };
    let (attributes, came_ms) = (study_map(&summary), summary.first_commit_ms);
    let mut row = to.row.clone();
    let suite = services.keyring.suite();
    services.summaries.seal(&mut row, suite, &to.keys.phi, summary)?;
    let mut noted: Option<Stamp> = None;
    let mut noted_shared = None;
    let shown = services.ledgers[from.shard]
        .commit(|staging| {
            let now = staging.get(&from.row_key)?.ok_or(EngineError::NotFound)?;
            let mut now: StudyRow = decode(&now, "study row")?;
            if now.revision != seen.revision || now.study != seen.study {
                return Err(EngineError::Conflict(CHANGED));
            }
            if staging.get(&to.row_key)?.is_some() {
                return Err(EngineError::Conflict(conflict::EXISTS));
            }
            let known = services.summaries.open(&now)?;
            if sharing.manner == Manner::Share && !known.summary.has_shares {
                let mut known = known.summary.clone();
                known.has_shares = true;
                services.summaries.seal(&mut now, suite, &from.keys.phi, known)?;
                staging.put(from.row_key.clone(), encode(&now));
                noted_shared = Some(now.revision);
            }
            for lookup in lookup::rows(&to.account, to.namespace, &to.row_key, &attributes)? {
                staging.put(lookup, Vec::new());
            }
            staging.put(key::beside(RowKind::Unfolded, &to.row_key), Vec::new());
            Stability::stage(staging, &to.row_key, now_ms());
            staging.put(to.row_key.clone(), encode(&row));
            copy.stage_shown(staging);
            // Both sides' logs tell.
            staging.audit(event(from, &from.account, source));
            staging.audit(event(to, &to.account, source));
            staging.change(to.namespace, Some(to.keys.id), suite, to.keys.phi.clone(), &change);
            noted = Some(services.columns.note(from.shard, &to.row_key, &attributes, came_ms)?);
            Ok(())
        })
        .await;
    if let Err(error) = shown {
        services.summaries.forget(row.study, row.revision);
        if let Some(revision) = noted_shared {
            services.summaries.forget(from.id(), revision);
        }
        if let Some(noted) = noted
            && let Err(error) = services.columns.revert(services, from.shard, &to.row_key, noted)
        {
            tracing::warn!(%error, "a share that failed is still searched, until its studies are folded");
        }
        return Err(error);
    }
    services.stability.touch(from.shard, &to.row_key);
    Ok(StudyRef { row, ..to.clone() })
}

fn event(study: &StudyRef, account: &AccountKeys, source: &Source) -> Event {
    Event {
        actor: Actor::User(source.user),
        action: SHARE,
        object: ObjectRef::One(ObjectKind::Study, *study.id().as_bytes()),
        outcome: Outcome::Success,
        source: source.address,
        account: Some(account.account),
    }
}

/// Every row of one study's pixels: the study itself and its shares, in the order of their namespaces. This is the access
/// list.
///
/// # Errors
/// Where rows or keys cannot be read.
pub fn holders(services: &Services, study: &StudyRef) -> Result<Vec<(Arc<Namespace>, StudyRef)>> {
    let storage = storage_namespace(study)?;
    let study_uid = services.summaries.open(&study.row)?.summary.study_uid.clone();
    let mut holders = Vec::new();
    for namespace in services.accounts.namespaces()? {
        let account = services.keyring.account(namespace.account)?;
        let token = services.studies.study_token(&account, namespace.id, &study_uid);
        let row_key = key::study(namespace.id, &token, storage);
        match StudyRef::load(services, namespace.id, account, study.shard, row_key) {
            Ok(holder) => holders.push((namespace, holder)),
            Err(EngineError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(holders)
}

/// Takes a share back.
///
/// # Errors
/// [`EngineError::NotFound`] where there is none.
pub async fn stop(services: &Arc<Services>, study: &StudyRef, receiver: NamespaceId, source: &Source) -> Result<()> {
    let mut holders = holders(services, study)?.into_iter();
    let held = holders.find(|(namespace, _)| namespace.id == receiver);
    let (_, share) = held.ok_or(EngineError::NotFound)?;
    let summary = &services.summaries.open(&share.row)?.summary;
    if summary.shared.is_none() {
        return Err(EngineError::NotFound);
    }
    withdraw(services, share, source).await
}

/// Takes a share back that was found, frozen or not.
///
/// # Errors
/// Where something of it stays.
pub async fn withdraw(services: &Arc<Services>, share: StudyRef, source: &Source) -> Result<()> {
    let (services, source) = (Arc::clone(services), source.clone());
    detached(async move {
        let study_uid = services.summaries.open(&share.row)?.summary.study_uid.clone();
        erase::erase(&services, &share, &source, Some(study_uid), IfFrozen::Erase).await
    })
    .await
}
