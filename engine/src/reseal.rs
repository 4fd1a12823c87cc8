//! Re-sealing a study under new keys: what deleting a part of it and rotating its keys have in common.
//!
//! What remains is copied ([`crate::copy`]) under a new study id. One commit then points the study's row at the new id
//! and notes the intent to erase the old one. If instances arrived meanwhile (the row's revision tells), they are copied
//! too and the commit is tried again.

use std::collections::HashSet;
use std::sync::Arc;

use septum_core::audit::Action;
use septum_core::ids::{StudyId, VersionId};
use septum_core::seal::Token;
use septum_storage::RowKind;

use crate::columns::{self, withdraw};
use crate::copy::{InstanceEntry, Pixels, StudyCopy, instance_rows};
use crate::erase::{self, Intent};
use crate::error::{EngineError, Result};
use crate::ledger::{Change, ChangeKind};
use crate::lookup;
use crate::pipeline::messages::Source;
use crate::records::{StudyRow, StudySummary, decode, encode, key};
use crate::retrieve::StudyRef;
use crate::search::study_map;
use crate::services::{Services, now_ms};

/// Rounds of copying before the study counts as too busy.
const ROUNDS_MAX: usize = 16;

const ARRIVED: &str = "instances arrived meanwhile";

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
        let mut versions = removed.iter().flat_map(|(_, _, versions)| versions);
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
        .partition(|(series, instance, _)| is_removed(series, instance));
    if removed.is_empty() {
        return Err(EngineError::NotFound);
    }
    removal.check(&removed)?;
    if kept.is_empty() {
        let announced = services.summaries.open(&found.row)?.summary.study_uid.clone();
        return match removal.only {
            Some(_) => erase::erase_as_found(services, &found, source, &announced).await,
            None => erase::erase(services, &found, source, Some(announced)).await,
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
    let mut copy = StudyCopy::begin(services, &found, &to, Pixels::Resealed).await?;
    let switch = Switch {
        services,
        from: &found,
        to: &to,
        removal: &removal,
        source,
    };
    let made = make(&mut copy, &switch, &is_removed).await;
    // The copy is the study now. What fails from here on is finished later: the intents are durable.
    if let Some(page) = copy.end(made).await? {
        erase::finish(services, found.shard, page).await?;
    }
    let old = Intent {
        study: found.id(),
        keys: found.row.keys,
    };
    erase::finish(services, found.shard, old).await
}

/// Copies and switches. What comes back is yet to be erased: the old keys of the study's page of columns.
async fn make(
    copy: &mut StudyCopy<'_>,
    switch: &Switch<'_>,
    is_removed: &impl Fn(&Token, &Token) -> bool,
) -> Result<Option<Intent>> {
    let (services, found) = (switch.services, switch.from);
    for _ in 0..ROUNDS_MAX {
        let row = found
            .stored_in(services)
            .get(&found.row_key)?
            .ok_or(EngineError::NotFound)?;
        let seen: StudyRow = decode(&row, "study row")?;
        if seen.study != found.id() {
            return Err(EngineError::Overloaded { retry_after_seconds: 1 });
        }
        if switch.removal.only.is_some() {
            let mut removed = instance_rows(services, found)?;
            removed.retain(|(series, instance, _)| is_removed(series, instance));
            switch.removal.check(&removed)?;
        }
        let is_wanted = |series: &Token, instance: &Token| !is_removed(series, instance);
        let summary = copy.catch_up(&seen, is_wanted).await?;
        match switch.commit(copy, &seen, summary).await {
            Err(EngineError::Conflict(ARRIVED)) => {}
            Err(EngineError::Corrupt(columns::DAMAGED_PAGE)) => columns::mend(services).await,
            switched => return switched,
        }
    }
    Err(EngineError::Overloaded { retry_after_seconds: 5 })
}

/// The commit that points a study at its copy.
struct Switch<'a> {
    services: &'a Arc<Services>,
    from: &'a StudyRef,
    to: &'a StudyRef,
    removal: &'a Removal,
    source: &'a Source,
}

impl Switch<'_> {
    /// Points the study at its copy, if nothing arrived since `seen`.
    async fn commit(&self, copy: &StudyCopy<'_>, seen: &StudyRow, summary: StudySummary) -> Result<Option<Intent>> {
        let (services, found, removal, to) = (self.services, self.from, self.removal, self.to);
        let change = Change {
            kind: match removal.instance_uid {
                Some(_) => ChangeKind::InstanceDeleted,
                None => ChangeKind::SeriesDeleted,
            },
            time_ms: now_ms(),
            study_uid: summary.study_uid.clone(),
            series_uid: Some(removal.series_uid.clone()),
            instance_uid: removal.instance_uid.clone(),
        };
        let mut event = erase::event(found, self.source);
        event.action = if removal.instance_uid.is_some() {
            DELETE_INSTANCE
        } else {
            DELETE_SERIES
        };
        let attributes = study_map(&summary);
        let page_keys = erase::page_keys(services, &found.account, seen).await?;
        let mut noted = None;
        let switched = self.services.ledgers[found.shard]
            .commit(|staging| {
                let row = staging.get(&found.row_key)?.ok_or(EngineError::NotFound)?;
                let mut row: StudyRow = decode(&row, "study row")?;
                if row.revision != seen.revision || row.study != seen.study {
                    return Err(EngineError::Conflict(ARRIVED));
                }
                for lookup in erase::lookup_rows(services, found, &row)? {
                    staging.delete(lookup);
                }
                let withdrawn = withdraw(services, staging, found.shard, &found.row_key, &row, page_keys.as_ref())?;
                for lookup in lookup::rows(&found.account, found.namespace, &found.row_key, &attributes)? {
                    staging.put(lookup, Vec::new());
                }
                staging.put(key::beside(RowKind::Unfolded, &found.row_key), Vec::new());
                row.page = None;
                row.study = to.id();
                row.keys = to.keys.id;
                let suite = services.keyring.suite();
                services.summaries.seal(&mut row, suite, &to.keys.phi, summary)?;
                staging.put(found.row_key.clone(), encode(&row));
                copy.stage_shown(staging);
                erase::stage_intent(
                    staging,
                    Intent {
                        study: found.id(),
                        keys: found.row.keys,
                    },
                );
                staging.audit(event);
                staging.change(
                    found.namespace,
                    None,
                    suite,
                    services.keyring.record_key().clone(),
                    &change,
                );
                noted = Some(services.columns.note(found.shard, &found.row_key, &attributes)?);
                services.columns.move_out(found.shard, found.namespace);
                Ok(withdrawn)
            })
            .await;
        let withdrawn = match switched {
            Ok(withdrawn) => withdrawn,
            Err(error) => {
                if let Some(noted) = noted
                    && let Err(error) = services.columns.revert(services, found.shard, &found.row_key, noted)
                {
                    tracing::warn!(%error, "a study that was to be changed stays as if it had been, until it is folded");
                }
                return Err(erase::unused(services, page_keys.as_ref(), error).await);
            }
        };
        services.summaries.forget(seen.study, seen.revision);
        services.folding.push(found.shard, &found.row_key);
        Ok(withdrawn.map(|withdrawn| {
            let intent = withdrawn.intent;
            withdrawn.settle(services);
            intent
        }))
    }
}
