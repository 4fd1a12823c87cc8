//! Re-sealing a study under new keys: what deleting a part of it and rotating its keys have in common.
//!
//! What remains is copied ([`crate::copy`]) under a new study id, and the copy takes the study's place
//! ([`crate::replace`]).

use std::collections::HashSet;
use std::sync::Arc;

use septum_core::audit::Action;
use septum_core::ids::{StudyId, VersionId};
use septum_core::seal::Token;

use crate::copy::{InstanceEntry, Pixels, Purpose, StudyCopy, instance_rows};
use crate::erase::{self, IfFrozen};
use crate::error::{EngineError, Result};
use crate::ledger::{Change, ChangeKind};
use crate::pipeline::messages::Source;
use crate::records::{StudyRow, StudySummary};
use crate::replace::Replacement;
use crate::retrieve::StudyRef;
use crate::services::{Services, now_ms};

const DELETE_SERIES: Action = Action::new("series.delete");
const DELETE_INSTANCE: Action = Action::new("instance.delete");

/// What to leave out.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The series.
    pub series_uid: String,
    /// One instance of it, or all of it.
    pub instance_uid: Option<String>,
    /// Nothing goes where there is another version than these in it.
    pub only: Option<HashSet<VersionId>>,
}

impl Removal {
    /// Refuses to remove what came since it was decided.
    fn check(&self, removed: &[InstanceEntry]) -> Result<()> {
        let Some(only) = &self.only else { return Ok(()) };
        let mut versions = removed.iter().flat_map(|entry| &entry.row.versions);
        if versions.all(|version| only.contains(version)) {
            Ok(())
        } else {
            Err(EngineError::Conflict(erase::CHANGED))
        }
    }
}

/// Makes the study what it is without the removed part.
pub async fn without(services: &Arc<Services>, found: StudyRef, removal: Removal, source: &Source) -> Result<()> {
    let series = found.series_token(&removal.series_uid);
    let instance = removal.instance_uid.as_deref().map(|uid| found.instance_token(uid));
    let is_removed = |row_series: &Token, row_instance: &Token| {
        *row_series == series && instance.is_none_or(|instance| *row_instance == instance)
    };
    let (removed, kept): (Vec<InstanceEntry>, Vec<_>) = instance_rows(services, &found)?
        .into_iter()
        .partition(|entry| is_removed(&entry.series, &entry.instance));
    if removed.is_empty() {
        return Err(EngineError::NotFound);
    }
    removal.check(&removed)?;
    if kept.is_empty() {
        let announced = services.summaries.open(&found.row)?.summary.study_uid.clone();
        return match removal.only {
            Some(_) => erase::erase_as_found(services, &found, source, &announced).await,
            None => erase::erase(services, &found, source, Some(announced), IfFrozen::Refuse).await,
        };
    }
    let keys = services.keyring.create_study(&found.account).await?;
    let to = StudyRef {
        row: StudyRow {
            study: StudyId::random(),
            keys: keys.id,
            ..found.row.clone()
        },
        keys,
        ..found.clone()
    };
    let purpose = Purpose {
        pixels: Pixels::Resealed,
        takes_originals: true,
        takes_attachments: true,
        amendment: None,
    };
    let copy = StudyCopy::begin(services, &found, &to, purpose).await?;
    let mut event = erase::event(&found, source);
    let (kind, action) = match removal.instance_uid {
        Some(_) => (ChangeKind::InstanceDeleted, DELETE_INSTANCE),
        None => (ChangeKind::SeriesDeleted, DELETE_SERIES),
    };
    event.action = action;
    let replacement = Replacement {
        services,
        from: &found,
        place: &found,
        to: &to,
        change: Change {
            kind,
            time_ms: now_ms(),
            study_uid: services.summaries.open(&found.row)?.summary.study_uid.clone(),
            series_uid: Some(removal.series_uid.clone()),
            instance_uid: removal.instance_uid.clone(),
        },
        event,
    };
    let is_wanted = |series: &Token, instance: &Token| !is_removed(series, instance);
    let check = |_: &StudyCopy<'_>, _: &StudyRow, summary: &mut StudySummary| {
        let mut removed = instance_rows(services, &found)?;
        removed.retain(|entry| is_removed(&entry.series, &entry.instance));
        if let Some(shared) = &mut summary.shared {
            shared
                .removed
                .extend(removed.iter().flat_map(|entry| &entry.row.versions));
        }
        removal.check(&removed)
    };
    replacement.carry_out(copy, is_wanted, check).await?;
    services.late_arrivals.push(found.shard, &found.row_key);
    Ok(())
}
