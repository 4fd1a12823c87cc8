//! Folding: when a study is stable, what its instances left behind one by one is put together.
//!
//! Metadata rows of a series become a few sorted, compressed objects ([`FoldedRow`]), so that a viewer's first request
//! is one read; the study's searchable fields move into a page at rest ([`crate::columns`]). An `unfolded` row marks
//! every study that is behind; it goes with the commit that folds the columns, so a crash only means folding again.
//! [`series`] folds the metadata of one series; [`summary`] gathers anew what instances say where one was replaced.

pub mod series;
mod summary;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use septum_core::ids::NamespaceId;
use septum_storage::RowKind;

use crate::columns::{self, namespace_of};
use crate::error::{EngineError, Result};
use crate::extended;
use crate::records::key;
use crate::retrieve::StudyRef;
use crate::services::Services;

/// Studies whose columns are folded in one commit.
const STUDIES_PER_COMMIT: usize = 512;

/// What could not be folded is tried again after so long.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A study: its shard and the key of its row.
type Place = (usize, Vec<u8>);

/// Stable studies that wait for folding, each until its time has come.
#[derive(Default)]
pub struct Folding(Mutex<HashMap<Place, Instant>>);

impl Folding {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Place, Instant>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A study became stable.
    pub fn push(&self, shard: usize, study_row_key: &[u8]) {
        self.waiting().insert((shard, study_row_key.to_vec()), Instant::now());
    }

    /// A study could not be folded. One that became stable again meanwhile does not wait.
    fn push_back(&self, shard: usize, study_row_key: &[u8]) {
        self.waiting()
            .entry((shard, study_row_key.to_vec()))
            .or_insert_with(|| Instant::now() + RETRY_AFTER);
    }

    fn take_due(&self) -> Vec<Place> {
        let now = Instant::now();
        let mut waiting = self.waiting();
        waiting
            .extract_if(|_, due| *due <= now)
            .map(|(place, _)| place)
            .collect()
    }

    /// Finds the stable studies that were not folded when the server stopped. A damaged shard's are left out.
    pub fn reload(&self, services: &Services) {
        for (shard, ledger) in services.ledgers.iter().enumerate() {
            for row in crate::scan::rows(ledger.shard(), RowKind::Unfolded.key(&[])) {
                let row_key = row.map(|(row_key, _)| key::beside(RowKind::Study, &row_key));
                let unstable = |row_key: &Vec<u8>| ledger.shard().get(&key::beside(RowKind::Unstable, row_key));
                match row_key.and_then(|row_key| Ok((unstable(&row_key)?.is_none(), row_key))) {
                    Ok((true, row_key)) => self.push(shard, &row_key),
                    Ok((false, _)) => {}
                    Err(error) => tracing::error!(%error, shard, "studies to fold could not be found"),
                }
            }
        }
    }

    /// Folds everything that waits. What cannot be folded now stays as it is, which costs speed alone, and is tried again.
    pub async fn sweep(&self, services: &Arc<Services>) {
        columns::mend(services).await;
        let mut groups: HashMap<(usize, NamespaceId), Vec<Vec<u8>>> = HashMap::new();
        for (shard, row_key) in self.take_due() {
            if let Err(error) = metadata(services, shard, &row_key).await {
                tracing::warn!(%error, shard, "metadata could not be folded; it is tried again");
                self.push_back(shard, &row_key);
            }
            if let Ok(namespace) = namespace_of(&row_key) {
                groups.entry((shard, namespace)).or_default().push(row_key);
            }
        }
        for ((shard, namespace), row_keys) in groups {
            for row_keys in row_keys.chunks(STUDIES_PER_COMMIT) {
                if fold_columns(services, shard, namespace, row_keys).await.is_ok() {
                    continue;
                }
                // One of them alone may be the reason.
                for row_key in row_keys.chunks(1) {
                    if let Err(error) = fold_columns(services, shard, namespace, row_key).await {
                        tracing::warn!(%error, shard, "columns could not be folded; it is tried again");
                        row_key.iter().for_each(|row_key| self.push_back(shard, row_key));
                    }
                }
            }
        }
    }
}

async fn fold_columns(
    services: &Arc<Services>,
    shard: usize,
    namespace: NamespaceId,
    row_keys: &[Vec<u8>],
) -> Result<()> {
    let account = account(services, namespace)?;
    columns::fold(services, shard, namespace, &account, row_keys).await
}

fn account(services: &Services, namespace: NamespaceId) -> Result<Arc<septum_core::seal::AccountKeys>> {
    services
        .keyring
        .account(services.accounts.namespace(namespace)?.account)
}

/// Folds the metadata of each series of a study.
async fn metadata(services: &Arc<Services>, shard: usize, row_key: &[u8]) -> Result<()> {
    let namespace = namespace_of(row_key)?;
    let account = account(services, namespace)?;
    let study = match StudyRef::load(services, namespace, account, shard, row_key.to_vec()) {
        Ok(study) => study,
        Err(EngineError::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    let summary = services.summaries.open(&study.row)?;
    summary::catch_up(services, &study).await?;
    for series in &summary.summary.series {
        series::fold(
            services,
            &study,
            study.series_token(&series.series_uid),
            series::HELD_BYTES_MAX,
        )
        .await?;
    }
    // Catching up may have made another revision of it.
    match study.again(services) {
        Ok(study) => extended::make(services, &study).await.map(|_| ()),
        Err(EngineError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_again_later_and_what_became_stable_now() {
        let folding = Folding::default();
        folding.push(0, &[1]);
        assert_eq!(folding.take_due(), [(0, vec![1])]);
        folding.push_back(0, &[1]);
        assert!(folding.take_due().is_empty(), "not yet");
        assert_eq!(folding.waiting().len(), 1, "but it is not forgotten");
        folding.push(0, &[1]);
        folding.push_back(0, &[1]);
        assert_eq!(folding.take_due().len(), 1, "it became stable again");
    }
}
