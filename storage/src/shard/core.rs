//! What the threads of a shard share: index, files, counters, staged rows, health.
//!
//! Rows of the index that storage owns:
//! - applied: version 1, batch u64, running hash (32), segment u32, offset u64, end u64 of the last applied batch;
//! - per object id: its [`Location`];
//! - per segment: version 1, live bytes u64, live objects u64, committed end u64, batch bytes u64;
//! - per retired journal segment: first and last batch u64, running hash before and after (32 each).

use crate::batch::{BatchBody, Location, Row};
use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{array_at, u32_at, u64_at};
use crate::index::{Index, IndexBatch};
use crate::keys::{decode_location, encode_location, internal, prefix_end};
use crate::metrics::Observer;
use crate::segment::{FileCache, SegmentFile};
use crate::vfs::{OpenMode, Vfs, write_all_at};
use septum_core::ids::ObjectId;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Called once when a shard is poisoned, with its number. The server ends the process by default.
#[derive(Clone)]
pub struct PoisonHook(pub Arc<dyn Fn(u16) + Send + Sync>);

impl fmt::Debug for PoisonHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoisonHook")
    }
}

/// Whether a shard can be used.
#[derive(Debug, Clone)]
pub enum Health {
    /// Reads and writes.
    Healthy,
    /// Reads only; the text says why. What the index knows is complete.
    ReadOnly(Arc<str>),
    /// Nothing: the index cannot be completed from the journal, so "not found" could be a lie (invariant 7).
    Failed(StorageError),
}

/// How far the index has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Applied {
    pub(crate) batch: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) end: u64,
}

impl Applied {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = vec![1];
        value.extend_from_slice(&self.batch.to_le_bytes());
        value.extend_from_slice(&self.hash);
        value.extend_from_slice(&self.segment.to_le_bytes());
        value.extend_from_slice(&self.offset.to_le_bytes());
        value.extend_from_slice(&self.end.to_le_bytes());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        (value.len() == 61 && value[0] == 1).then(|| Self {
            batch: u64_at(value, 1),
            hash: array_at(value, 9),
            segment: u32_at(value, 41),
            offset: u64_at(value, 45),
            end: u64_at(value, 53),
        })
    }
}

/// Counters of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SegmentStat {
    /// Bytes of live objects, record headers included.
    pub(crate) live_bytes: u64,
    pub(crate) live_objects: u64,
    /// Bytes below this are committed.
    pub(crate) end: u64,
    /// Bytes of batch records (journal): rows live or dead.
    pub(crate) batch_bytes: u64,
}

impl SegmentStat {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = vec![1];
        for number in [self.live_bytes, self.live_objects, self.end, self.batch_bytes] {
            value.extend_from_slice(&number.to_le_bytes());
        }
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        (value.len() == 33 && value[0] == 1).then(|| Self {
            live_bytes: u64_at(value, 1),
            live_objects: u64_at(value, 9),
            end: u64_at(value, 17),
            batch_bytes: u64_at(value, 25),
        })
    }
}

/// What remains of a journal segment after its removal, so that the hash chain can be followed across the gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) first_batch: u64,
    pub(crate) last_batch: u64,
    pub(crate) hash_before: [u8; 32],
    pub(crate) hash_after: [u8; 32],
}

impl Retired {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = vec![1];
        value.extend_from_slice(&self.first_batch.to_le_bytes());
        value.extend_from_slice(&self.last_batch.to_le_bytes());
        value.extend_from_slice(&self.hash_before);
        value.extend_from_slice(&self.hash_after);
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        (value.len() == 81 && value[0] == 1).then(|| Self {
            first_batch: u64_at(value, 1),
            last_batch: u64_at(value, 9),
            hash_before: array_at(value, 17),
            hash_after: array_at(value, 49),
        })
    }
}

/// Rows of commits in flight.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) rows: HashMap<Vec<u8>, (u64, Option<Vec<u8>>)>,
    pub(crate) next_sequence: u64,
    /// Raised whenever staged rows were thrown away.
    pub(crate) generation: u64,
}

pub(crate) type StatMap = BTreeMap<(SegmentKind, u32), SegmentStat>;
pub(crate) type StatChanges = BTreeMap<(SegmentKind, u32), Option<SegmentStat>>;

/// Shared state of a shard.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shard: u16,
    pub(crate) store: [u8; 16],
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) directory: PathBuf,
    pub(crate) index: Arc<dyn Index>,
    pub(crate) files: FileCache,
    pub(crate) observer: Observer,
    pub(crate) on_poison: Option<PoisonHook>,
    pub(crate) poisoned: AtomicBool,
    pub(crate) health: Health,
    pub(crate) overlay: Mutex<Overlay>,
    pub(crate) stats: Mutex<StatMap>,
    pub(crate) applied: Mutex<Applied>,
    /// Taken while segments are removed or copied.
    pub(crate) removal: Mutex<()>,
    pub(crate) reserve_bytes: u64,
    pub(crate) has_reserve: AtomicBool,
}

impl Core {
    /// Refuses when nothing may be read.
    pub(crate) fn readable(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(StorageError::Poisoned { shard: self.shard });
        }
        match &self.health {
            Health::Failed(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Refuses when nothing may be written.
    pub(crate) fn writable(&self) -> Result<()> {
        self.readable()?;
        match &self.health {
            Health::ReadOnly(reason) => Err(StorageError::ReadOnly(Arc::clone(reason))),
            _ => Ok(()),
        }
    }

    /// Makes all later calls fail, once a sync has failed (reliability rule R3).
    pub(crate) fn poison(&self) -> StorageError {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!(shard = self.shard, "a sync failed; the shard is poisoned until restart");
            if let Some(hook) = &self.on_poison {
                (hook.0)(self.shard);
            }
        }
        StorageError::Poisoned { shard: self.shard }
    }

    /// Passes a result on; a failed sync inside poisons the shard.
    pub(crate) fn checked<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            StorageError::Poisoned { .. } => self.poison(),
            other => other,
        })
    }

    /// The place of an object, `None` if unknown.
    pub(crate) fn locate(&self, id: &ObjectId) -> Result<Option<Location>> {
        let Some(value) = self.index.get(&internal::location(id))? else {
            return Ok(None);
        };
        let broken = || StorageError::Index {
            shard: self.shard,
            message: "location row".into(),
        };
        decode_location(&value).map(Some).ok_or_else(broken)
    }

    /// Opened segment of a location.
    pub(crate) fn segment_of(&self, location: &Location) -> Result<Arc<SegmentFile>> {
        self.files.get(location.kind, location.segment)
    }

    /// What a batch changes in the index: rows, locations, counters and the applied mark, all in one write.
    pub(crate) fn plan(&self, body: &BatchBody, applied: &Applied) -> Result<(IndexBatch, StatChanges)> {
        let mut changes = StatChanges::new();
        let mut moved: HashMap<ObjectId, Option<Location>> = HashMap::new();
        let stats = crate::lock(&self.stats);
        let stat = |changes: &StatChanges, key: (SegmentKind, u32)| -> SegmentStat {
            changes
                .get(&key)
                .copied()
                .unwrap_or_else(|| stats.get(&key).copied())
                .unwrap_or_default()
        };
        let current = |moved: &HashMap<ObjectId, Option<Location>>, id: &ObjectId| match moved.get(id) {
            Some(location) => Ok(*location),
            None => self.locate(id),
        };
        let mut batch = IndexBatch::with_capacity(body.rows.len() + 2 * body.placed.len() + 4);
        for row in &body.rows {
            batch.push((row.key().to_vec(), row.value().map(<[u8]>::to_vec)));
            if let (Row::Put { key, .. }, Some(segment)) = (row, internal::parse_retired(row.key())) {
                debug_assert!(key.starts_with(internal::RETIRED));
                changes.insert((SegmentKind::Journal, segment), None);
            } else if let (Row::Delete { .. }, Some(key)) = (row, internal::parse_stat(row.key())) {
                changes.insert(key, None);
            }
        }
        for (id, location) in body.placed.iter().chain(&body.objects) {
            if let Some(old) = current(&moved, id)? {
                let mut old_stat = stat(&changes, (old.kind, old.segment));
                old_stat.live_bytes = old_stat.live_bytes.saturating_sub(old.total_bytes);
                old_stat.live_objects = old_stat.live_objects.saturating_sub(1);
                changes.insert((old.kind, old.segment), Some(old_stat));
            }
            let mut new_stat = stat(&changes, (location.kind, location.segment));
            new_stat.live_bytes += location.total_bytes;
            new_stat.live_objects += 1;
            new_stat.end = new_stat.end.max(location.offset.saturating_add(location.total_bytes));
            changes.insert((location.kind, location.segment), Some(new_stat));
            moved.insert(*id, Some(*location));
        }
        for id in &body.freed {
            let Some(old) = current(&moved, id)? else { continue };
            let mut old_stat = stat(&changes, (old.kind, old.segment));
            old_stat.live_bytes = old_stat.live_bytes.saturating_sub(old.total_bytes);
            old_stat.live_objects = old_stat.live_objects.saturating_sub(1);
            changes.insert((old.kind, old.segment), Some(old_stat));
            moved.insert(*id, None);
        }
        if applied.batch > 0 {
            let mut journal = stat(&changes, (SegmentKind::Journal, applied.segment));
            journal.end = journal.end.max(applied.end);
            journal.batch_bytes += applied.end - applied.offset;
            changes.insert((SegmentKind::Journal, applied.segment), Some(journal));
        }
        for (id, location) in &moved {
            batch.push((internal::location(id), location.as_ref().map(encode_location)));
        }
        for ((kind, segment), stat) in &changes {
            batch.push((internal::stat(*kind, *segment), stat.as_ref().map(SegmentStat::encode)));
        }
        batch.push((internal::APPLIED.to_vec(), Some(applied.encode())));
        Ok((batch, changes))
    }

    /// Takes over the counters of an applied batch.
    pub(crate) fn settle(&self, changes: StatChanges, applied: Applied) {
        let mut stats = crate::lock(&self.stats);
        for (key, stat) in changes {
            match stat {
                Some(stat) => stats.insert(key, stat),
                None => stats.remove(&key),
            };
        }
        *crate::lock(&self.applied) = applied;
    }

    /// Reads all rows with a prefix, in pages.
    pub(crate) fn for_each_row(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        const PAGE_ROWS: usize = 4096;
        let end = prefix_end(prefix);
        let mut from = prefix.to_vec();
        loop {
            let rows = self.index.scan(&from, end.as_deref(), PAGE_ROWS)?;
            for (key, value) in &rows {
                each(key, value)?;
            }
            match rows.last() {
                Some((key, _)) if rows.len() == PAGE_ROWS => {
                    from.clone_from(key);
                    from.push(0);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Retired journal segments.
    pub(crate) fn retired(&self) -> Result<BTreeMap<u32, Retired>> {
        let mut retired = BTreeMap::new();
        self.for_each_row(internal::RETIRED, |key, value| {
            let row = internal::parse_retired(key).zip(Retired::decode(value));
            let (segment, row) = row.ok_or_else(|| StorageError::Index {
                shard: self.shard,
                message: "retired row".into(),
            })?;
            retired.insert(segment, row);
            Ok(())
        })?;
        Ok(retired)
    }

    fn reserve_path(&self) -> PathBuf {
        self.directory.join("reserve")
    }

    /// Gives the reserved space back to the file system; true if there was any.
    pub(crate) fn release_reserve(&self) -> bool {
        self.has_reserve.swap(false, Ordering::AcqRel) && self.vfs.unlink(&self.reserve_path()).is_ok()
    }

    /// Takes the reserve again, if it is gone and space is there.
    pub(crate) fn ensure_reserve(&self) -> Result<()> {
        if self.reserve_bytes == 0 || self.has_reserve.load(Ordering::Acquire) {
            return Ok(());
        }
        let path = self.reserve_path();
        let result = (|| {
            // Written out: a sparse file reserves nothing.
            if self.vfs.exists(&path)? {
                self.vfs.unlink(&path)?;
            }
            let file = self.vfs.open(&path, OpenMode::CreateNew)?;
            let zeros = vec![0; 1 << 16];
            let mut at = 0;
            while at < self.reserve_bytes {
                let len_bytes = (zeros.len() as u64).min(self.reserve_bytes - at);
                write_all_at(&*file, &zeros[..len_bytes as usize], at)?;
                at += len_bytes;
            }
            Ok(())
        })();
        match result {
            Ok(()) => {
                self.has_reserve.store(true, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                let _ = self.vfs.unlink(&path);
                Err(StorageError::io("take the reserve")(error))
            }
        }
    }
}
