//! Poison: an input on which processing panicked twice.
//!
//! The second time, its first bytes go into a sealed quarantine row, for whoever mends the fault, and from then on it is
//! refused before it reaches the pipeline's pure functions again. An input is known by the BLAKE3 of its first
//! [`HEAD_BYTES_MAX`] bytes, which hold its SOP Instance UID. Only panics that are this input's own count: what merely
//! stood near one is not suspected.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::ObjectId;
use septum_core::seal::{ObjectContext, Part, seal_record};
use septum_storage::RowKind;

use crate::error::Result;
use crate::keyring::Keyring;
use crate::ledger::{Event, Ledger};

/// Bytes by which an input is known.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Inputs that panicked once and are remembered.
const SUSPECTS_MAX: usize = 1_024;

const QUARANTINE: Action = Action::new("instance.quarantine");

/// The start of an input, gathered without copying.
#[derive(Default, Clone)]
pub struct Head {
    chunks: Vec<Bytes>,
    bytes: usize,
}

impl Head {
    /// Takes what still fits.
    pub fn push(&mut self, chunk: &Bytes) {
        let room = HEAD_BYTES_MAX - self.bytes;
        if room > 0 && !chunk.is_empty() {
            let part = chunk.slice(..chunk.len().min(room));
            self.bytes += part.len();
            self.chunks.push(part);
        }
    }

    /// Whether nothing more is taken.
    pub fn is_full(&self) -> bool {
        self.bytes == HEAD_BYTES_MAX
    }

    fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        self.chunks.iter().for_each(|chunk| {
            hasher.update(chunk);
        });
        *hasher.finalize().as_bytes()
    }
}

type Digest = [u8; 32];

#[derive(Default)]
struct State {
    suspects: HashMap<Digest, u32>,
    poison: HashSet<Digest>,
}

/// What is known to be poison.
pub struct Quarantine {
    keyring: Arc<Keyring>,
    state: Mutex<State>,
}

fn row_key(digest: &Digest) -> Vec<u8> {
    RowKind::Quarantine.key(&[digest])
}

fn context(digest: &Digest) -> ObjectContext {
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    ObjectContext::without_pixels(Part::Record, id, ObjectId::from_bytes(id))
}

impl Quarantine {
    /// Reads what was quarantined before.
    pub fn open(catalog: &Ledger, keyring: Arc<Keyring>) -> Result<Self> {
        let prefix = RowKind::Quarantine.key(&[]);
        let mut state = State::default();
        for row in crate::scan::rows(catalog.shard(), prefix.clone()) {
            if let Ok(digest) = row?.0[prefix.len()..].try_into() {
                state.poison.insert(digest);
            }
        }
        Ok(Self {
            keyring,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether an input is known to be poison. Costs nothing while nothing is.
    pub fn holds(&self, head: &Head) -> bool {
        if self.state().poison.is_empty() {
            return false;
        }
        let digest = head.digest();
        self.state().poison.contains(&digest)
    }

    /// Notes a panic on an input; the second one quarantines it.
    pub async fn note_panic(&self, catalog: &Ledger, head: &Head) -> Result<()> {
        let digest = head.digest();
        {
            let mut state = self.state();
            if state.suspects.len() >= SUSPECTS_MAX {
                state.suspects.clear();
            }
            let panics = state.suspects.entry(digest).or_default();
            *panics += 1;
            if *panics < 2 {
                return Ok(());
            }
            state.suspects.remove(&digest);
            if !state.poison.insert(digest) {
                return Ok(());
            }
        }
        let plain = head.chunks.concat();
        let sealed = seal_record(
            self.keyring.suite(),
            self.keyring.record_key(),
            &context(&digest),
            &plain,
        )?;
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        tracing::error!("an input made processing panic twice; it is quarantined and refused from now on");
        catalog
            .commit(|staging| {
                staging.put(row_key(&digest), sealed);
                staging.audit(Event {
                    actor: Actor::System,
                    action: QUARANTINE,
                    object: ObjectRef::One(ObjectKind::Object, id),
                    outcome: Outcome::Rejected,
                    source: None,
                    account: None,
                });
                Ok(())
            })
            .await
    }
}
