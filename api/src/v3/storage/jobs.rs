//! Work that outlives its request: what became of it, and requests that were sent twice.
//!
//! Clients try every request again when an answer is lost. A request that starts work has a key made of who sent it and
//! what it says; while the work runs, and a short while after, the same key gets the same answer and starts nothing.
//! Everything here is in memory and bounded: after a restart a client sees what is stored.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use septum_core::ids::UserId;
use tokio::sync::watch;

use super::error::{Answer, Kind, StorageError};

/// How long what became of work is known.
const KEPT: Duration = Duration::from_secs(120);

/// Work that is known of at a time.
const JOBS_MAX: usize = 10_000;

/// How long a request waits for its work, so that small work is done, or its error told, in the answer.
const WAIT: Duration = Duration::from_secs(20);

/// What is known of a job.
#[derive(Debug, Clone)]
pub enum State {
    /// Under way.
    Running,
    /// Done.
    Finished,
    /// It failed; the text says why, without patient data.
    Failed(String),
}

#[derive(Clone)]
struct Work {
    /// What the answer says, for example the UID of the study that is being made.
    says: String,
    outcome: watch::Receiver<Option<Result<(), StorageError>>>,
    started: Instant,
}

/// Work under way, by key.
#[derive(Default)]
pub struct Jobs {
    by_key: Mutex<HashMap<[u8; 32], Work>>,
    by_id: Mutex<HashMap<(UserId, String), [u8; 32]>>,
}

impl Jobs {
    fn works(&self) -> MutexGuard<'_, HashMap<[u8; 32], Work>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ids(&self) -> MutexGuard<'_, HashMap<(UserId, String), [u8; 32]>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the job to which a user gave that id.
    pub fn state(&self, user: UserId, id: &str) -> Option<State> {
        let key = *self.ids().get(&(user, id.to_owned()))?;
        let work = self.works().get(&key)?.clone();
        let outcome = work.outcome.borrow().clone();
        Some(match outcome {
            None => State::Running,
            Some(Ok(())) => State::Finished,
            Some(Err(error)) => State::Failed(error.message().to_owned()),
        })
    }

    fn forget_old(works: &mut HashMap<[u8; 32], Work>) {
        works.retain(|_, work| work.outcome.borrow().is_none() || work.started.elapsed() < KEPT);
    }

    /// Starts `work` unless the same is under way or was done a moment ago, and waits a little for its end. Gives what is
    /// to be said, and whether the work is done.
    ///
    /// # Errors
    /// What the work itself fails with, where that is known in time; 503 with too much work.
    pub(super) async fn start<F>(
        self: &Arc<Self>,
        key: [u8; 32],
        id: Option<(UserId, String)>,
        says: String,
        work: F,
    ) -> Answer<(String, bool)>
    where
        F: Future<Output = Answer<()>> + 'static,
    {
        let (work, known) = {
            let mut works = self.works();
            Self::forget_old(&mut works);
            match works.get(&key) {
                // What failed may be tried again.
                Some(known) if !matches!(&*known.outcome.borrow(), Some(Err(_))) => (None, known.clone()),
                _ if works.len() >= JOBS_MAX => {
                    return Err(StorageError::later(
                        "there is too much work at the moment; try again",
                        30,
                    ));
                }
                _ => {
                    let (sender, outcome) = watch::channel(None);
                    let new = Work {
                        says,
                        outcome,
                        started: Instant::now(),
                    };
                    works.insert(key, new.clone());
                    (Some((work, sender)), new)
                }
            }
        };
        if let Some(id) = id {
            let mut ids = self.ids();
            if ids.len() >= JOBS_MAX {
                let works = self.works();
                ids.retain(|_, key| works.contains_key(key));
            }
            ids.insert(id, key);
        }
        if let Some((work, sender)) = work {
            actix_web::rt::spawn(async move {
                let outcome = work.await;
                if let Err(error) = &outcome {
                    // What the sender did wrong is told to the sender.
                    let (_, status, ..) = error.kind().facts();
                    if status >= 500 {
                        tracing::warn!(kind = ?error.kind(), "a job of the storage API failed");
                    }
                }
                let _ = sender.send(Some(outcome));
            });
        }
        let mut outcome = known.outcome.clone();
        let waited = tokio::time::timeout(WAIT, outcome.wait_for(Option::is_some)).await;
        match waited {
            Err(_) => Ok((known.says, false)),
            // The work went away without an outcome: it panicked.
            Ok(Err(_)) => Err(Kind::Unknown.into()),
            Ok(Ok(outcome)) => match outcome.as_ref() {
                Some(Err(error)) => Err(error.clone()),
                _ => Ok((known.says, true)),
            },
        }
    }
}

/// The key of work: who asks for what.
pub(super) fn key(user: UserId, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(user.as_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[actix_web::test]
    async fn the_same_request_starts_nothing_twice() {
        let (jobs, user) = (Arc::new(Jobs::default()), UserId::random());
        let count = Rc::new(Cell::new(0));
        let run = |says: &str, fails: bool| {
            let (jobs, count) = (Arc::clone(&jobs), Rc::clone(&count));
            let (says, id) = (says.to_owned(), Some((user, "job".to_owned())));
            let key = key(user, &[b"split", &[u8::from(fails)]]);
            async move {
                let work = async move {
                    count.set(count.get() + 1);
                    if fails { Err(Kind::Conflict.into()) } else { Ok(()) }
                };
                jobs.start(key, id, says, work).await
            }
        };
        assert_eq!(run("first", false).await.expect("done"), ("first".to_owned(), true));
        assert_eq!(run("second", false).await.expect("done"), ("first".to_owned(), true));
        assert_eq!(count.get(), 1);
        assert!(matches!(jobs.state(user, "job"), Some(State::Finished)));
        for _ in 0..2 {
            assert_eq!(run("third", true).await.expect_err("fails").kind(), Kind::Conflict);
        }
        assert_eq!(count.get(), 3, "what failed is tried again");
        assert!(matches!(jobs.state(user, "job"), Some(State::Failed(_))));
        assert!(jobs.state(UserId::random(), "job").is_none(), "somebody else's");
    }

    #[test]
    fn keys_tell_parts_apart() {
        let user = UserId::random();
        assert_ne!(key(user, &[b"ab", b"c"]), key(user, &[b"a", b"bc"]));
    }
}
