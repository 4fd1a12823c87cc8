//! Summaries that are behind: what current instances say, gathered anew.
//!
//! An instance that was replaced may have been the only one to say something of its study or series. Telling takes a look
//! at all the others, so it waits until the study is stable, and is done once however many were replaced.

use std::sync::Arc;

use septum_core::dicom::json::read_stored;
use septum_storage::RowKind;
use serde_json::{Map, Value};

use crate::error::{EngineError, Result};
use crate::ledger::Staging;
use crate::lookup;
use crate::records::{StudyRow, StudySummary, decode, encode, key};
use crate::retrieve::StudyRef;
use crate::retrieve::metadata::Reader;
use crate::search::study_map;
use crate::services::Services;
use crate::summaries::said::Gathering;

const CHANGED: EngineError = EngineError::Conflict("the study changed meanwhile");

/// Gathers a study's summary anew, if it is behind.
///
/// # Errors
/// [`EngineError::Conflict`] where the study changed meanwhile; it is not stable any more then.
pub(super) async fn catch_up(services: &Arc<Services>, study: &StudyRef) -> Result<()> {
    let open = services.summaries.open(&study.row)?;
    if !open.summary.is_behind {
        return Ok(());
    }
    let mut gathering = Gathering::new(open.summary.clone());
    for (number, series) in open.summary.series.iter().enumerate() {
        let mut reader = Reader::new(services, study, Some(&series.series_uid))?;
        while let Some(entries) = reader.next().await? {
            let heard = move || -> Result<Gathering> {
                for entry in entries {
                    let attributes: Map<String, Value> =
                        read_stored(&entry.text).map_err(|_| EngineError::Corrupt("metadata"))?;
                    let sop_class = attributes.get("00080016").and_then(|class| class["Value"][0].as_str());
                    gathering.hear(number, &attributes, sop_class.unwrap_or_default());
                }
                Ok(gathering)
            };
            gathering = services.compute.run(heard).await??;
        }
    }
    let summary = gathering.finish();
    let (before, after) = (study_map(&open.summary), study_map(&summary));
    let mut noted = None;
    let committed = services.ledgers[study.shard]
        .commit(|staging| {
            stage(services, staging, study, summary)?;
            lookup::restage(
                staging,
                &study.account,
                study.namespace,
                &study.row_key,
                Some(&before),
                &after,
            )?;
            noted = Some(
                services
                    .columns
                    .note(study.shard, &study.row_key, &after, open.summary.first_commit_ms)?,
            );
            Ok(())
        })
        .await;
    if committed.is_err()
        && let Some(noted) = noted
        && let Err(error) = services.columns.revert(services, study.shard, &study.row_key, noted)
    {
        tracing::warn!(%error, "a study that was to be changed stays as if it had been, until it is folded");
    }
    let (done, other) = match committed {
        Ok(()) => (study.row.revision, None),
        Err(error) => (study.row.revision + 1, Some(error)),
    };
    services.summaries.forget(study.id(), done);
    other.map_or(Ok(()), Err)
}

fn stage(services: &Services, staging: &mut Staging<'_>, study: &StudyRef, summary: StudySummary) -> Result<()> {
    let row = staging.get(&study.row_key)?.ok_or(EngineError::NotFound)?;
    let mut row: StudyRow = decode(&row, "study row")?;
    if row.study != study.id() || row.revision != study.row.revision {
        return Err(CHANGED);
    }
    services
        .summaries
        .seal(&mut row, services.keyring.suite(), &study.keys.phi, summary)?;
    staging.put(study.row_key.clone(), encode(&row));
    staging.put(key::beside(RowKind::Unfolded, &study.row_key), Vec::new());
    Ok(())
}
