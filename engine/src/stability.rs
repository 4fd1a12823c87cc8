//! When a study is *stable*: nothing was stored into it for the quiet time.
//!
//! Every commit leaves an `unstable` row beside the study; when the quiet time is over the row goes and a change event
//! says so, in one commit. A late instance brings the row back: the study is reopened. After a restart the rows tell
//! which studies still wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_storage::RowKind;

use crate::columns::namespace_of;
use crate::error::{EngineError, Result};
use crate::ledger::{Change, ChangeKind, Event, Staging};
use crate::records::{StudyRow, decode, encode, key};
use crate::services::{Services, now_ms};

const STABLE: Action = Action::new("study.stable");

/// Studies declared in one commit.
const STUDIES_PER_COMMIT: usize = 128;

/// What became of a study whose quiet time seemed to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    /// It is stable.
    Stable,
    /// An instance is on its way, or the clock was set back.
    Waits,
    /// It was deleted meanwhile, or is about to be.
    Gone,
}

/// The studies that are not stable yet.
pub struct Stability {
    quiet: Duration,
    waiting: Mutex<HashMap<(usize, Vec<u8>), Instant>>,
}

/// The `unstable` row that goes with a study row.
fn unstable_key(study_row_key: &[u8]) -> Vec<u8> {
    key::beside(RowKind::Unstable, study_row_key)
}

impl Stability {
    /// Studies are stable after `quiet`.
    pub fn new(quiet: Duration) -> Self {
        Self {
            quiet,
            waiting: Mutex::default(),
        }
    }

    /// The quiet time.
    pub fn quiet(&self) -> Duration {
        self.quiet
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, Vec<u8>), Instant>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Stages that a study is open.
    pub fn stage(staging: &mut Staging<'_>, study_row_key: &[u8], time_ms: i64) {
        staging.put(unstable_key(study_row_key), encode(&time_ms));
    }

    /// Starts the quiet time anew.
    pub fn touch(&self, shard: usize, study_row_key: &[u8]) {
        self.waiting().insert((shard, study_row_key.to_vec()), Instant::now());
    }

    /// Whether something was stored into a study within the quiet time.
    pub fn is_open(&self, shard: usize, study_row_key: &[u8]) -> bool {
        self.waiting().contains_key(&(shard, study_row_key.to_vec()))
    }

    /// Finds the studies that were open when the server stopped. A damaged shard's are left out.
    pub fn reload(&self, services: &Services) {
        let prefix = RowKind::Unstable.key(&[]);
        for (shard, ledger) in services.ledgers.iter().enumerate() {
            for row in crate::scan::rows(ledger.shard(), prefix.clone()) {
                match row {
                    Ok((key, _)) => self.touch(shard, &RowKind::Study.key(&[&key[prefix.len()..]])),
                    Err(error) => tracing::error!(%error, shard, "open studies could not be found"),
                }
            }
        }
    }

    /// Declares every study stable whose quiet time is over. What fails is tried again after another quiet time.
    pub async fn sweep(&self, services: &Arc<Services>) {
        let mut due: HashMap<usize, Vec<Vec<u8>>> = HashMap::new();
        for ((shard, row_key), touched) in self.waiting().iter() {
            if touched.elapsed() >= self.quiet {
                due.entry(*shard).or_default().push(row_key.clone());
            }
        }
        for (shard, row_keys) in due {
            for row_keys in row_keys.chunks(STUDIES_PER_COMMIT) {
                if self.declare_all(services, shard, row_keys).await.is_ok() {
                    continue;
                }
                // One of them alone may be the reason.
                for row_key in row_keys {
                    if let Err(error) = self.declare_all(services, shard, std::slice::from_ref(row_key)).await {
                        tracing::error!(%error, "a study could not be declared stable; it is tried again");
                        self.settle((shard, row_key.clone()), None);
                    }
                }
            }
        }
    }

    /// Declares studies of a shard stable in one commit, or none of them.
    async fn declare_all(&self, services: &Arc<Services>, shard: usize, row_keys: &[Vec<u8>]) -> Result<()> {
        let declared: Vec<Declared> = services.ledgers[shard]
            .commit(|staging| {
                let declare = |row_key: &Vec<u8>| self.declare(services, staging, row_key);
                row_keys.iter().map(declare).collect()
            })
            .await?;
        for (row_key, declared) in row_keys.iter().zip(declared) {
            if declared == Declared::Stable {
                services.folding.push(shard, row_key);
                services.late_arrivals.push(shard, row_key);
            }
            self.settle((shard, row_key.clone()), Some(declared));
        }
        Ok(())
    }

    /// What a declaration, or that it failed, means for the study's waiting, unless it was touched meanwhile.
    fn settle(&self, place: (usize, Vec<u8>), declared: Option<Declared>) {
        let mut waiting = self.waiting();
        let Some(touched) = waiting
            .get_mut(&place)
            .filter(|touched| touched.elapsed() >= self.quiet)
        else {
            return;
        };
        match declared {
            Some(Declared::Stable | Declared::Gone) => drop(waiting.remove(&place)),
            Some(Declared::Waits) => {}
            None => *touched = Instant::now(),
        }
    }

    /// Nothing may have been staged within the quiet time, or an instance on its way would lose its `unstable` row.
    fn declare(&self, services: &Services, staging: &mut Staging<'_>, study_row_key: &[u8]) -> Result<Declared> {
        let Some(opened) = staging.get(&unstable_key(study_row_key))? else {
            return Ok(Declared::Gone);
        };
        let opened: i64 = decode(&opened, "unstable row")?;
        if now_ms() - opened < i64::try_from(self.quiet.as_millis()).unwrap_or(i64::MAX) {
            return Ok(Declared::Waits);
        }
        let Some(row) = staging.get(study_row_key)? else {
            staging.delete(unstable_key(study_row_key));
            return Ok(Declared::Gone);
        };
        let row: StudyRow = decode(&row, "study row")?;
        let opened = services
            .keyring
            .study(row.keys)
            .and_then(|keys| Ok((keys, services.summaries.open(&row)?)));
        let (keys, open) = match opened {
            Ok(opened) => opened,
            // It is being deleted.
            Err(EngineError::NotFound) => return Ok(Declared::Gone),
            Err(error) => return Err(error),
        };
        staging.delete(unstable_key(study_row_key));
        let change = Change {
            kind: ChangeKind::StudyStable,
            time_ms: now_ms(),
            study_uid: open.summary.study_uid.clone(),
            series_uid: None,
            instance_uid: None,
        };
        staging.change(
            namespace_of(study_row_key)?,
            Some(row.keys),
            services.keyring.suite(),
            keys.phi.clone(),
            &change,
        );
        staging.audit(Event {
            actor: Actor::System,
            action: STABLE,
            object: ObjectRef::One(ObjectKind::Study, *row.study.as_bytes()),
            outcome: Outcome::Success,
            source: None,
            account: None,
        });
        Ok(Declared::Stable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_waits_until_it_is_declared() {
        let stability = Stability::new(Duration::from_millis(1));
        let place = (0, vec![1]);
        let settled = |declared: Option<Declared>| {
            stability.touch(place.0, &place.1);
            std::thread::sleep(Duration::from_millis(2));
            stability.settle(place.clone(), declared);
            stability.waiting().contains_key(&place)
        };
        assert!(settled(Some(Declared::Waits)), "the clock was set back");
        assert!(settled(None), "it is tried again");
        assert!(!settled(Some(Declared::Stable)));
        assert!(!settled(Some(Declared::Gone)));
        stability.touch(place.0, &place.1);
        let stability = Stability {
            quiet: Duration::from_secs(60),
            ..stability
        };
        stability.settle(place.clone(), Some(Declared::Stable));
        assert!(stability.waiting().contains_key(&place), "touched since");
    }
}
