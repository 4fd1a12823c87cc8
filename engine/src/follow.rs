//! Shares that follow: what changes in a study is shown to those it is shared with.
//!
//! Images that come, corrections, what is deleted and what is attached reach a share a moment later
//! ([`crate::standing::LateArrivals`]). The study is copied anew ([`crate::copy`]), upon the same pixels, and the copy takes
//! the place of the share in one commit ([`crate::replace`]): whoever reads it sees the share as it was or as it is, and
//! not a byte of pixels is written. What the receiver did stays: their corrections are made in what comes too, what they
//! deleted does not come back, what they attached goes along. A share of a share follows the share.
//!
//! Invariant: what follows is a share that stands. One that was taken back stays so, even if that happens meanwhile.

use std::collections::HashSet;
use std::sync::Arc;

use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{ObjectId, StudyId, VersionId};
use septum_core::seal::Token;

use crate::accounts::Namespace;
use crate::attachments;
use crate::copy::{InstanceEntry, Pixels, Purpose, StudyCopy, instance_rows};
use crate::detached::detached;
use crate::error::{EngineError, Result};
use crate::freeze;
use crate::ledger::{Change, ChangeKind, Event};
use crate::records::{Shared, StudyRow, StudySummary};
use crate::replace::Replacement;
use crate::retrieve::StudyRef;
use crate::services::{Services, now_ms};
use crate::share::{holders, patient_of};
use crate::standing::Standing;

const FOLLOW: Action = Action::new("study.share.follow");

/// Brings every share that was made of a study up to date.
///
/// # Errors
/// Where one could not be; the others are then.
pub async fn shares_of(services: &Arc<Services>, study: &StudyRef) -> Result<()> {
    let open = services.summaries.open(&study.row)?;
    if !open.summary.has_shares {
        return Ok(());
    }
    let mut failed = None;
    for (namespace, share) in holders(services, study)? {
        let known = services.summaries.open(&share.row)?;
        let Some(shared) = known.summary.shared.as_ref() else {
            continue;
        };
        if shared.from != study.namespace || is_shown(services, study, &share, shared)? {
            continue;
        }
        let (services, study) = (Arc::clone(services), study.clone());
        match detached(async move { follow(&services, &study, &namespace, &share).await }).await {
            // Taken back or frozen meanwhile, or the study is gone.
            Ok(()) | Err(EngineError::NotFound | EngineError::Conflict(freeze::FROZEN)) => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Whether an instance is one that the receiver deleted.
fn is_removed(shared: &Shared, entry: &InstanceEntry) -> bool {
    let mut versions = entry.row.versions.iter();
    versions.any(|version| shared.removed.contains(version))
}

/// Whether a share shows all of a study, and nothing that is no longer in it.
fn is_shown(services: &Services, study: &StudyRef, share: &StudyRef, shared: &Shared) -> Result<bool> {
    if shared.seen == (study.id(), study.row.revision) {
        return Ok(true);
    }
    let rows = instance_rows(services, study)?;
    let wanted: HashSet<VersionId> = rows
        .iter()
        .filter(|entry| !is_removed(shared, entry))
        .flat_map(|entry| entry.row.without_originals())
        .copied()
        .collect();
    if wanted.is_empty() {
        return Ok(true);
    }
    let rows = instance_rows(services, share)?;
    // What the receiver corrected has a version more, and the study's behind it.
    let shown: HashSet<VersionId> = rows.iter().flat_map(|entry| &entry.row.versions).copied().collect();
    let is_there = |entry: &InstanceEntry| entry.row.versions.iter().any(|version| wanted.contains(version));
    if !wanted.is_subset(&shown) || !rows.iter().all(is_there) {
        return Ok(false);
    }
    let attached = |study: &StudyRef| -> Result<HashSet<ObjectId>> {
        let attachments = attachments::list(services, study)?.into_iter();
        let others = attachments.filter(|attachment| attachment.record.phi_namespace != share.namespace);
        Ok(others.map(|attachment| attachment.id).collect())
    };
    Ok(attached(study)? == attached(share)?)
}

/// Shows a study as it is in the place of a share of it.
async fn follow(services: &Arc<Services>, study: &StudyRef, receiver: &Namespace, share: &StudyRef) -> Result<()> {
    let (open, known) = (
        services.summaries.open(&study.row)?,
        services.summaries.open(&share.row)?,
    );
    let theirs = known.summary.standing.as_ref().map(Standing::amendment).transpose()?;
    let shared = known.summary.shared.as_ref().ok_or(EngineError::NotFound)?;
    let removed: HashSet<(Token, Token)> = instance_rows(services, study)?
        .iter()
        .filter(|entry| is_removed(shared, entry))
        .map(|entry| (entry.series, entry.instance))
        .collect();
    let keys = services.keyring.create_share(&share.account, &study.keys).await?;
    let to = StudyRef {
        row: StudyRow {
            study: StudyId::random(),
            keys: keys.id,
            patient: patient_of(&share.account, receiver, &open.summary, theirs.as_ref()),
            ..share.row.clone()
        },
        keys,
        ..share.clone()
    };
    let purpose = Purpose {
        pixels: Pixels::InCommon,
        takes_originals: false,
        takes_attachments: true,
        amendment: theirs.as_ref(),
    };
    let replacement = Replacement {
        services,
        from: study,
        place: share,
        to: &to,
        change: Change {
            kind: ChangeKind::StudyCorrected,
            time_ms: now_ms(),
            study_uid: open.summary.study_uid.clone(),
            series_uid: None,
            instance_uid: None,
        },
        event: Event {
            actor: Actor::System,
            action: FOLLOW,
            object: ObjectRef::One(ObjectKind::Study, *share.id().as_bytes()),
            outcome: Outcome::Success,
            source: None,
            account: Some(share.account.account),
        },
    };
    let finish = |_: &StudyCopy<'_>, seen: &StudyRow, summary: &mut StudySummary| -> Result<()> {
        let known = services.summaries.open(&share.row_now(services)?)?;
        let known = &known.summary;
        summary.first_commit_ms = known.first_commit_ms;
        summary.last_commit_ms = now_ms();
        summary.has_shares = known.has_shares;
        summary.standing = known.standing.clone();
        summary.shared = known.shared.clone();
        if let Some(shared) = &mut summary.shared {
            shared.seen = (seen.study, seen.revision);
        }
        Ok(())
    };
    let copy = StudyCopy::begin(services, study, &to, purpose).await?;
    let is_wanted = |series: &Token, instance: &Token| !removed.contains(&(*series, *instance));
    replacement.carry_out(copy, is_wanted, finish).await?;
    if known.summary.has_shares {
        services.late_arrivals.push(share.shard, &share.row_key);
    }
    Ok(())
}
