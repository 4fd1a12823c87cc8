//! Work that outlives its request: what became of it, and requests that were sent twice.
//!
//! Clients try every request again when an answer is lost. A request that starts work has a key made of who sent it and
//! what it says; while the work runs, and a short while after, the same key gets the same answer and starts nothing.
//! Everything here is in memory and bounded: after a restart a client sees what is stored.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use septum_core::access::Permission;
use septum_core::ids::{NamespaceId, UserId};
use serde_json::{Map, json};
use tokio::sync::watch;

use super::error::{Answer, Kind, StorageError};
use crate::v3::ask::Ask;
use crate::v3::channels::{Channel, Event, Hub, Told};
use crate::v3::fault::{Fault, Outcome};
use crate::v3::reply::Reply;

/// How long what became of work is known.
const KEPT: Duration = Duration::from_secs(120);

/// Work that is known of at a time.
const JOBS_MAX: usize = 10_000;

/// How long a request waits for its work, so that small work is done, or its error told, in the answer.
const WAIT: Duration = Duration::from_secs(20);

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Under way.
    Running,
    /// Done.
    Finished,
    /// It failed; the text says why, without patient data.
    Failed(String),
}

/// What a client calls a job of its own.
#[derive(Debug, Clone)]
pub(super) struct Name {
    /// Whose it is.
    pub(super) user: UserId,
    /// The namespace it is in.
    pub(super) namespace: NamespaceId,
    /// The client's word for it.
    pub(super) id: String,
}

#[derive(Clone)]
struct Work {
    /// What the answer says, for example the UID of the study that is being made.
    says: String,
    outcome: watch::Receiver<Option<Result<(), StorageError>>>,
    started: Instant,
}

/// Where named jobs are, and their keys, by whose they are and what they call them.
type Names = HashMap<(UserId, String), (NamespaceId, [u8; 32])>;

/// Work under way, by key.
pub struct Jobs {
    by_key: Mutex<HashMap<[u8; 32], Work>>,
    by_id: Mutex<Names>,
    channels: Arc<Hub>,
}

impl Jobs {
    /// None yet; their ends are told to `channels`.
    pub fn new(channels: Arc<Hub>) -> Self {
        Self {
            by_key: Mutex::default(),
            by_id: Mutex::default(),
            channels,
        }
    }

    fn works(&self) -> MutexGuard<'_, HashMap<[u8; 32], Work>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ids(&self) -> MutexGuard<'_, Names> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the job to which a user gave that id, and where it is.
    fn state(&self, user: UserId, id: &str) -> Option<(NamespaceId, State)> {
        let (namespace, key) = *self.ids().get(&(user, id.to_owned()))?;
        let work = self.works().get(&key)?.clone();
        let outcome = work.outcome.borrow().clone();
        let state = match outcome {
            None => State::Running,
            Some(Ok(())) => State::Finished,
            Some(Err(error)) => State::Failed(error.message().to_owned()),
        };
        Some((namespace, state))
    }

    /// Gives work a name. Where it is over already, that is told at once.
    fn call(&self, key: [u8; 32], name: Name) {
        let mut ids = self.ids();
        if ids.len() >= JOBS_MAX {
            let works = self.works();
            ids.retain(|_, (_, key)| works.contains_key(key));
        }
        ids.insert((name.user, name.id.clone()), (name.namespace, key));
        drop(ids);
        if self
            .works()
            .get(&key)
            .is_some_and(|work| work.outcome.borrow().is_some())
        {
            self.tell(name);
        }
    }

    /// Tells that work is over, by each of its names.
    fn tell_all(&self, key: [u8; 32]) {
        let named: Vec<Name> = self
            .ids()
            .iter()
            .filter(|(_, (_, of))| *of == key)
            .map(|((user, id), (namespace, _))| Name {
                user: *user,
                namespace: *namespace,
                id: id.clone(),
            })
            .collect();
        named.into_iter().for_each(|name| self.tell(name));
    }

    fn tell(&self, name: Name) {
        let mut about = Map::new();
        about.insert("id".into(), name.id.into());
        self.channels.tell(Told {
            channel: Channel::Job(name.namespace),
            event: Event::Done,
            to: Some(name.user),
            about,
        });
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
        name: Option<Name>,
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
        if let Some(name) = name {
            self.call(key, name);
        }
        if let Some((work, sender)) = work {
            let jobs = Arc::clone(self);
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
                jobs.tell_all(key);
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

/// `/job/get`: what became of one of the caller's own jobs.
pub async fn get(ask: &Ask) -> Outcome {
    let (user, id) = (ask.principal()?.user, ask.required("id"));
    let (namespace, state) = ask.app.storage.jobs.state(user, id).ok_or_else(Fault::not_found)?;
    let _granted = ask.authorize(Permission::JobView, namespace)?;
    let (word, message) = match state {
        State::Running => ("RUNNING", None),
        State::Finished => ("DONE", None),
        State::Failed(message) => ("ERROR", Some(message)),
    };
    Ok(Reply::of("id", id)
        .with("state", word)
        .with("namespace_id", namespace.to_string())
        .with("message", json!(message)))
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
        let (jobs, user) = (Arc::new(Jobs::new(Arc::default())), UserId::random());
        let namespace = NamespaceId::random();
        let count = Rc::new(Cell::new(0));
        let run = |says: &str, fails: bool| {
            let (jobs, count) = (Arc::clone(&jobs), Rc::clone(&count));
            let name = Name {
                user,
                namespace,
                id: "job".to_owned(),
            };
            let says = says.to_owned();
            let key = key(user, &[b"split", &[u8::from(fails)]]);
            async move {
                let work = async move {
                    count.set(count.get() + 1);
                    if fails { Err(Kind::Conflict.into()) } else { Ok(()) }
                };
                jobs.start(key, Some(name), says, work).await
            }
        };
        assert_eq!(run("first", false).await.expect("done"), ("first".to_owned(), true));
        assert_eq!(run("second", false).await.expect("done"), ("first".to_owned(), true));
        assert_eq!(count.get(), 1);
        assert!(matches!(jobs.state(user, "job"), Some((_, State::Finished))));
        for _ in 0..2 {
            assert_eq!(run("third", true).await.expect_err("fails").kind(), Kind::Conflict);
        }
        assert_eq!(count.get(), 3, "what failed is tried again");
        assert!(matches!(jobs.state(user, "job"), Some((_, State::Failed(_)))));
        assert!(jobs.state(UserId::random(), "job").is_none(), "somebody else's");
    }

    #[test]
    fn keys_tell_parts_apart() {
        let user = UserId::random();
        assert_ne!(key(user, &[b"ab", b"c"]), key(user, &[b"a", b"bc"]));
    }
}
