//! Rows of the studies that were there before an attribute was added, or that folding could not make.
//!
//! A walk over all study rows. What is right already costs one look, so a walk that a restart ended goes on where it was.
//! It stands back for ingest and readers, and never takes more than half of the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use septum_storage::RowKind;

use super::{Progress, make};
use crate::columns::namespace_of;
use crate::error::{EngineError, Result};
use crate::records::key;
use crate::retrieve::StudyRef;
use crate::scan;
use crate::services::Services;

/// Study rows fetched at once.
const PAGE_ROWS: usize = 64;

/// How long the worker leaves the machine alone after it saw work in the pipeline, or a read.
const YIELD: Duration = Duration::from_millis(100);

/// How long after a read the worker leaves the processor to readers.
const READ_QUIET: Duration = Duration::from_millis(250);

/// How long it stands back for who never stops.
const PATIENCE: Duration = Duration::from_secs(2);

/// What failed is tried again after so long.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Keeps the rows of all studies right; `busy` tells whether ingest has work.
pub async fn run(services: Arc<Services>, busy: impl Fn() -> bool) {
    loop {
        let extended = &services.extended;
        if !extended.progress().is_complete {
            match walk(&services, &busy).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "extended attributes could not be gathered; it is tried again"),
            }
        }
        if extended.progress().is_complete {
            extended.changed.notified().await;
        } else {
            let _ = tokio::time::timeout(RETRY_AFTER, extended.changed.notified()).await;
        }
    }
}

/// One walk; `true` where the list changed meanwhile, so that another one must follow at once.
async fn walk(services: &Arc<Services>, busy: &impl Fn() -> bool) -> Result<bool> {
    let tags = services.extended.tags();
    let mut progress = Progress {
        num_studies: num_studies(services).await?,
        ..Progress::default()
    };
    for shard in 0..services.ledgers.len() {
        let prefix = RowKind::Study.key(&[]);
        let mut from: Option<Vec<u8>> = None;
        loop {
            let rows = services.store.shards()[shard].scan(&prefix, from.as_deref(), PAGE_ROWS)?;
            let Some((last, _)) = rows.last() else { break };
            from = Some(scan::after(last));
            for (row_key, _) in rows {
                match one(services, shard, row_key, busy).await {
                    Ok(()) => progress.num_done += 1,
                    Err(error) => {
                        tracing::warn!(%error, shard, "extended attributes of a study could not be gathered");
                        progress.num_failed += 1;
                    }
                }
                // Some came since they were counted.
                progress.num_studies = progress.num_studies.max(progress.num_done + progress.num_failed);
                if !services.extended.note(&tags, progress) {
                    return Ok(true);
                }
            }
        }
    }
    progress.is_complete = progress.num_failed == 0;
    progress.num_studies = progress.num_done + progress.num_failed;
    Ok(!services.extended.note(&tags, progress))
}

async fn num_studies(services: &Arc<Services>) -> Result<u64> {
    let services = Arc::clone(services);
    let counted = tokio::task::spawn_blocking(move || -> Result<u64> {
        let mut num_studies = 0;
        for shard in services.store.shards() {
            for row in scan::rows(shard, RowKind::Study.key(&[])) {
                row?;
                num_studies += 1;
            }
        }
        Ok(num_studies)
    });
    counted.await.map_err(|_| EngineError::Panicked)?
}

/// Makes the row of a study; one that is not stable yet gets its row when it is folded.
async fn one(services: &Arc<Services>, shard: usize, row_key: Vec<u8>, busy: &impl Fn() -> bool) -> Result<()> {
    let unstable = key::beside(RowKind::Unstable, &row_key);
    if services.store.shards()[shard].get(&unstable)?.is_some() {
        return Ok(());
    }
    let namespace = namespace_of(&row_key)?;
    let account = services
        .keyring
        .account(services.accounts.namespace(namespace)?.account)?;
    let study = match StudyRef::load(services, namespace, account, shard, row_key) {
        Ok(study) => study,
        Err(EngineError::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    let begin = Instant::now();
    let made = match make(services, &study).await {
        // Gone, or not stable any more.
        Err(EngineError::NotFound | EngineError::Conflict(_)) => false,
        made => made?,
    };
    if made {
        tokio::time::sleep(begin.elapsed()).await;
        let begin = Instant::now();
        let is_read = || services.read_permits.were_asked_within(READ_QUIET);
        while begin.elapsed() < PATIENCE && (busy() || is_read()) {
            tokio::time::sleep(YIELD).await;
        }
    }
    Ok(())
}
