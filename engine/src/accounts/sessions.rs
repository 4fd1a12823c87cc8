//! Who is signed in.
//!
//! A session is named by 32 random bytes that only the client has: its row's key is a digest of them, so that nobody who
//! reads the disk can act as anybody. Sessions outlive a restart; the time of their last use does not, so that the clock of
//! idleness starts anew then, within the time at which a session ends in any case.
//!
//! Invariants: no user has more than [`PER_USER_MAX`] sessions, the oldest goes; what is over is not found.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{ObjectId, UserId};
use septum_storage::RowKind;
use serde::{Deserialize, Serialize};

use super::rows;
use crate::error::{EngineError, Result};
use crate::keyring::Keyring;
use crate::ledger::{Event, Ledger};
use crate::pipeline::messages::Source;
use crate::services::now_ms;

/// Sessions of one user at once.
pub const PER_USER_MAX: usize = 10;
/// A session that nobody used for so long is over, in milliseconds: three hours.
pub const IDLE_MS: i64 = 3 * 3600 * 1000;
/// A session ends after so long however much it is used, in milliseconds: one day.
pub const LIFE_MS: i64 = 24 * 3600 * 1000;

type Key = [u8; 16];

/// Somebody who is signed in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// Digest of the client's secret.
    pub(super) key: Key,
    /// Who.
    pub user: UserId,
    /// Since when, milliseconds since 1970.
    pub created_ms: i64,
    /// For how long it may lie unused, in milliseconds.
    pub idle_ms: i64,
    /// When it ends in any case, milliseconds since 1970.
    pub ends_ms: i64,
}

struct Live {
    session: Arc<Session>,
    last_ms: AtomicI64,
}

/// All sessions.
pub struct Sessions {
    ledger: Arc<Ledger>,
    keyring: Arc<Keyring>,
    live: RwLock<HashMap<Key, Live>>,
}

fn key_of(secret: &str) -> Key {
    let digest = blake3::derive_key("septum session 1", secret.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

impl Live {
    fn ends_ms(&self) -> i64 {
        let idle = self
            .last_ms
            .load(Ordering::Relaxed)
            .saturating_add(self.session.idle_ms);
        idle.min(self.session.ends_ms)
    }
}

fn event(action: &'static str, user: UserId, source: Option<&Source>) -> Event {
    Event {
        actor: Actor::User(user),
        action: Action::new(action),
        object: ObjectRef::One(ObjectKind::User, *user.as_bytes()),
        outcome: Outcome::Success,
        source: source.and_then(|source| source.address),
        account: None,
    }
}

impl Sessions {
    pub(super) fn open(ledger: Arc<Ledger>, keyring: Arc<Keyring>) -> Result<Self> {
        let now = now_ms();
        let sessions = rows::load::<Session>(ledger.shard(), &keyring)?;
        let live = sessions.into_iter().map(|session| {
            let last_ms = AtomicI64::new(now);
            let session = Arc::new(session);
            (session.key, Live { session, last_ms })
        });
        let live = live.collect();
        Ok(Self {
            ledger,
            keyring,
            live: RwLock::new(live),
        })
    }

    /// Signs a user in and gives the secret that names the session. `life_ms` is at most [`LIFE_MS`].
    pub async fn start(&self, user: UserId, (idle_ms, life_ms): (i64, i64), source: Option<&Source>) -> Result<String> {
        let secret = format!("{}{}", ObjectId::random(), ObjectId::random());
        let now = now_ms();
        let session = Arc::new(Session {
            key: key_of(&secret),
            user,
            created_ms: now,
            idle_ms: idle_ms.min(life_ms),
            ends_ms: now.saturating_add(life_ms.min(LIFE_MS)),
        });
        let sealed = rows::seal(&self.keyring, &*session)?;
        let gone = self.superfluous(user, now)?;
        self.ledger
            .commit(|staging| {
                staging.put(RowKind::Session.key(&[&session.key]), sealed);
                gone.iter().for_each(|key| staging.delete(RowKind::Session.key(&[key])));
                staging.audit(event("session.start", user, source));
                Ok(())
            })
            .await?;
        let mut live = self.live.write().map_err(|_| EngineError::Panicked)?;
        gone.iter().for_each(|key| {
            live.remove(key);
        });
        let last_ms = AtomicI64::new(now);
        live.insert(session.key, Live { session, last_ms });
        Ok(secret)
    }

    /// What makes room for one more session of a user: all that are over, and the user's oldest.
    fn superfluous(&self, user: UserId, now: i64) -> Result<Vec<Key>> {
        let live = self.live.read().map_err(|_| EngineError::Panicked)?;
        let (mut gone, mut own) = (Vec::new(), Vec::new());
        for (key, live) in live.iter() {
            if live.ends_ms() <= now {
                gone.push(*key);
            } else if live.session.user == user {
                own.push((live.session.created_ms, *key));
            }
        }
        own.sort_unstable();
        let too_many = (own.len() + 1).saturating_sub(PER_USER_MAX);
        gone.extend(own.into_iter().take(too_many).map(|(_, key)| key));
        Ok(gone)
    }

    /// The session of a secret, used now. `None` where there is none or it is over.
    pub fn used(&self, secret: &str) -> Result<Option<Arc<Session>>> {
        let now = now_ms();
        let live = self.live.read().map_err(|_| EngineError::Panicked)?;
        let found = live.get(&key_of(secret)).filter(|live| live.ends_ms() > now);
        Ok(found.map(|live| {
            live.last_ms.store(now, Ordering::Relaxed);
            Arc::clone(&live.session)
        }))
    }

    /// For how many milliseconds a session lives if nobody uses it; using it is not part of asking.
    pub fn left_ms(&self, secret: &str) -> Result<Option<i64>> {
        let live = self.live.read().map_err(|_| EngineError::Panicked)?;
        let left = live.get(&key_of(secret)).map(|live| live.ends_ms() - now_ms());
        Ok(left.filter(|left| *left > 0))
    }

    /// Ends a session; `false` where there is none.
    pub async fn end(&self, secret: &str, source: Option<&Source>) -> Result<bool> {
        let key = key_of(secret);
        let session = {
            let live = self.live.read().map_err(|_| EngineError::Panicked)?;
            live.get(&key).map(|live| Arc::clone(&live.session))
        };
        match session {
            None => Ok(false),
            Some(session) => {
                self.remove(session.user, vec![key], source).await?;
                Ok(true)
            }
        }
    }

    /// Ends all sessions of a user.
    pub async fn end_all(&self, user: UserId, source: Option<&Source>) -> Result<()> {
        let own = {
            let live = self.live.read().map_err(|_| EngineError::Panicked)?;
            let own = live.iter().filter(|(_, live)| live.session.user == user);
            own.map(|(key, _)| *key).collect()
        };
        self.remove(user, own, source).await
    }

    async fn remove(&self, user: UserId, keys: Vec<Key>, source: Option<&Source>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        // Not found from now on, whatever becomes of the commit.
        {
            let mut live = self.live.write().map_err(|_| EngineError::Panicked)?;
            keys.iter().for_each(|key| {
                live.remove(key);
            });
        }
        self.ledger
            .commit(|staging| {
                keys.iter().for_each(|key| staging.delete(RowKind::Session.key(&[key])));
                staging.audit(event("session.end", user, source));
                Ok(())
            })
            .await
    }
}
