//! The one writer of a shard: decisions, audit leaves and change events in one order.
//!
//! Whoever changes rows of a shard does it inside [`Ledger::submit`]: under the ledger's lock the closure reads staged
//! rows, decides and stages a batch; the batch takes its place in the commit order before the lock is let go. So a
//! change and its audit leaf commit together (invariant 8), and two decisions about the same row never cross.
//!
//! | row | key | value |
//! |---|---|---|
//! | audit leaf | sequence number, big endian | canonical leaf |
//! | audit tree | – | frontier of the RFC 6962 tree |
//! | change | sequence number, big endian | [`ChangeRow`] |

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use septum_core::audit::{Action, Actor, Leaf, ObjectRef, Outcome, Tree, TreeHead};
use septum_core::ids::{AccountId, NamespaceId, ObjectId, StudyKeyId};
use septum_core::seal::{DataKey, ObjectContext, Part, Suite, seal_record};
use septum_storage::RowKind;
use septum_storage::{CommitBatch, CommitTicket, Placed, Row, Shard};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::records::{decode, encode};
use crate::services::now_ms;
use crate::telemetry::Telemetry;

/// What happened, for the audit log; number, time and place are the ledger's.
#[derive(Debug, Clone)]
pub struct Event {
    /// Who.
    pub actor: Actor,
    /// Did what.
    pub action: Action,
    /// Upon what.
    pub object: ObjectRef,
    /// With what result.
    pub outcome: Outcome,
    /// From where.
    pub source: Option<IpAddr>,
    /// In which account.
    pub account: Option<AccountId>,
}

/// A change as stored: what it says is sealed under the study's key, or the system's once the study is erased.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeRow {
    /// The namespace it happened in.
    pub namespace: NamespaceId,
    /// The study's keys, or none where the system's record key seals it.
    pub keys: Option<StudyKeyId>,
    /// Sealed [`Change`].
    pub sealed: Vec<u8>,
}

/// One change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// When, milliseconds since 1970.
    pub time_ms: i64,
    /// Study Instance UID.
    pub study_uid: String,
    /// Series Instance UID, where the change is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series_uid: Option<String>,
    /// SOP Instance UID, where the change is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_uid: Option<String>,
}

/// Kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// A new instance is durable.
    InstanceStored,
    /// An instance has a newer version.
    InstanceReplaced,
    /// An instance was deleted.
    InstanceDeleted,
    /// A series was deleted.
    SeriesDeleted,
    /// A study was deleted.
    StudyDeleted,
    /// A study was shared into the namespace.
    StudyShared,
    /// Patient or study data were corrected: every instance of the study may have a newer version.
    StudyCorrected,
    /// Nothing was stored into the study for the quiet time.
    StudyStable,
}

/// What a change is bound to.
pub fn change_context(sequence: u64) -> ObjectContext {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&sequence.to_be_bytes());
    ObjectContext::without_pixels(Part::Record, *b"septum change\0\0\0", ObjectId::from_bytes(id))
}

/// The writer of one shard.
pub struct Ledger {
    shard: Arc<Shard>,
    telemetry: Arc<Telemetry>,
    /// Held while a batch is decided and takes its place in the commit order.
    order: Mutex<()>,
}

/// A batch being decided.
pub struct Staging<'a> {
    shard: &'a Shard,
    batch: CommitBatch,
    /// Where in the batch a row was last written.
    written: HashMap<Vec<u8>, usize>,
    events: Vec<Event>,
    changes: Vec<(ChangeRow, ChangeSeal)>,
    staged: Vec<Box<dyn FnOnce()>>,
}

/// A change sealed once its number is known.
type ChangeSeal = Box<dyn FnOnce(u64) -> Result<Vec<u8>>>;

/// The key of the audit leaf with that number.
pub fn leaf_key(sequence: u64) -> Vec<u8> {
    RowKind::AuditLeaf.key(&[&sequence.to_be_bytes()])
}

/// The key of the change with that number.
pub fn change_key(sequence: u64) -> Vec<u8> {
    RowKind::Change.key(&[&sequence.to_be_bytes()])
}

fn tree_key() -> Vec<u8> {
    RowKind::AuditTree.key(&[])
}

fn next_change_key() -> Vec<u8> {
    RowKind::AuditTree.key(&[b"next change"])
}

impl Ledger {
    /// The writer of `shard`. What it goes on from is read from the shard at each submission.
    pub fn new(shard: Arc<Shard>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            shard,
            telemetry,
            order: Mutex::new(()),
        }
    }

    /// The shard.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// The audit tree's size and root, of what is durable.
    pub fn durable_head(&self) -> Result<TreeHead> {
        let tree = match self.shard.get(&tree_key())? {
            Some(bytes) => Tree::from_bytes(&bytes).map_err(|_| EngineError::Corrupt("audit tree"))?,
            None => Tree::new(),
        };
        Ok(TreeHead::from(&tree))
    }

    /// The number of the next change, of what is durable.
    pub fn next_change(&self) -> Result<u64> {
        let row = self.shard.get(&next_change_key())?;
        row.map_or(Ok(0), |bytes| decode(&bytes, "change number"))
    }

    /// Decides and stages one batch. An error from `decide` stages nothing.
    pub fn submit<T>(&self, decide: impl FnOnce(&mut Staging<'_>) -> Result<T>) -> Result<(T, CommitTicket)> {
        // Nothing inside is kept between two submissions, so a panic in an earlier one left nothing half done.
        let _order = self.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let generation = self.shard.generation();
        let (mut tree, mut next_change) = self.position()?;
        let mut staging = Staging {
            shard: &self.shard,
            batch: CommitBatch {
                generation: Some(generation),
                ..CommitBatch::default()
            },
            written: HashMap::new(),
            events: Vec::new(),
            changes: Vec::new(),
            staged: Vec::new(),
        };
        let decided = decide(&mut staging)?;
        let Staging {
            mut batch,
            events,
            changes,
            staged,
            ..
        } = staging;
        let has_events = !events.is_empty();
        for event in events {
            let time_ms = u64::try_from(now_ms()).unwrap_or(0);
            let mut leaf = Leaf::new(
                tree.size(),
                time_ms,
                event.actor,
                event.action,
                event.object,
                event.outcome,
            );
            leaf.source = event.source;
            leaf.account = event.account;
            batch.rows.push(Row::put(leaf_key(tree.size()), leaf.to_bytes()));
            tree.append(leaf.hash());
            self.telemetry.audit_leaves.inc();
        }
        if has_events {
            batch.rows.push(Row::put(tree_key(), tree.to_bytes()));
        }
        if !changes.is_empty() {
            for (mut row, seal) in changes {
                row.sealed = seal(next_change)?;
                batch.rows.push(Row::put(change_key(next_change), encode(&row)));
                next_change += 1;
            }
            batch.rows.push(Row::put(next_change_key(), encode(&next_change)));
        }
        let ticket = self.shard.submit(batch);
        for note in staged {
            note();
        }
        Ok((decided, ticket))
    }

    /// Decides, stages and waits until the batch is durable.
    pub async fn commit<T>(&self, decide: impl FnOnce(&mut Staging<'_>) -> Result<T>) -> Result<T> {
        let (decided, ticket) = self.submit(decide)?;
        let _proof = ticket.await?;
        Ok(decided)
    }

    /// The tree and change number to go on from. Read from the staged rows each time: when a commit fails, what it had
    /// staged goes back, and so must these.
    fn position(&self) -> Result<(Tree, u64)> {
        let tree = match self.shard.get_staged(&tree_key())? {
            Some(bytes) => Tree::from_bytes(&bytes).map_err(|_| EngineError::Corrupt("audit tree"))?,
            None => Tree::new(),
        };
        let next_change = match self.shard.get_staged(&next_change_key())? {
            Some(bytes) => decode(&bytes, "change number")?,
            None => 0,
        };
        Ok((tree, next_change))
    }
}

impl Staging<'_> {
    /// A row as it will be when everything staged before has committed.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(row) = self.written.get(key).and_then(|place| self.batch.rows.get(*place)) {
            return Ok(row.value().map(<[u8]>::to_vec));
        }
        Ok(self.shard.get_staged(key)?)
    }

    /// Writes a row.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.written.insert(key.clone(), self.batch.rows.len());
        self.batch.rows.push(Row::put(key, value));
    }

    /// Removes a row.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.written.insert(key.clone(), self.batch.rows.len());
        self.batch.rows.push(Row::delete(key));
    }

    /// Adds a sealed object of the PHI side.
    pub fn object(&mut self, id: ObjectId, bytes: bytes::Bytes) {
        self.batch.objects.push((id, bytes));
    }

    /// Makes appended pixel objects durable and findable.
    pub fn place(&mut self, placed: impl IntoIterator<Item = Placed>) {
        self.batch.placed.extend(placed);
    }

    /// Lets objects go.
    pub fn free(&mut self, objects: impl IntoIterator<Item = ObjectId>) {
        self.batch.freed.extend(objects);
    }

    /// This batch gives space back, so it may use the reserve of a full disk.
    pub fn use_reserve(&mut self) {
        self.batch.may_use_reserve = true;
    }

    /// Runs `note` once the batch is staged, before the next one is decided: who sees what it notes, sees the rows.
    pub fn once_staged(&mut self, note: impl FnOnce() + 'static) {
        self.staged.push(Box::new(note));
    }

    /// Nobody hears of this batch before later ones, so it may wait for them a moment and share their sync.
    pub fn may_wait(&mut self) {
        self.batch.may_wait = true;
    }

    /// Adds an audit leaf.
    pub fn audit(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Adds a change, sealed under `key`; `keys` names it, or is none for the system's record key.
    pub fn change(
        &mut self,
        namespace: NamespaceId,
        keys: Option<StudyKeyId>,
        suite: Suite,
        key: DataKey,
        change: &Change,
    ) {
        #[expect(clippy::expect_used, reason = "a change is plain strings and numbers")]
        let plain = serde_json::to_vec(change).expect("JSON serialises");
        let row = ChangeRow {
            namespace,
            keys,
            sealed: Vec::new(),
        };
        let seal = move |sequence| Ok(seal_record(suite, &key, &change_context(sequence), &plain)?);
        self.changes.push((row, Box::new(seal)));
    }
}
