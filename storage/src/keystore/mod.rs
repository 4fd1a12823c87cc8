//! The key store: wrapped keys, in a root of their own, and their destruction.
//!
//! `keys/NNNNNNNN.seg` are small segments (1 MiB) of the common file format; each record is a wrapped study key (id =
//! study key id) or a named record (body: name length u16, name, value). A record's sequence decides which of two
//! with the same id counts. `keys/manifest` lists the segments that must exist (see [`manifest`]).
//!
//! - A put is durable before it returns; puts that wait share one sync.
//! - Destroying rewrites each affected segment without the record: temporary file, sync, rename (the new header names
//!   the segment it replaces), manifest, zeros over the old file, unlink, sync of the directory; then the new files
//!   are read back and searched. A crash in between leaves the old segment, or the new one that replaces it.
//! - Nothing is ever cut at start: what cannot be read is skipped, and unless it is the trace of a torn write, an
//!   unknown id is from then on answered as corrupt, not as absent.

mod manifest;
mod open;
mod writer;

use crate::error::{Result, SegmentKind, StorageError};
use crate::metrics::{Observer, Stage};
use crate::segment::FileCache;
use crate::shard::PoisonHook;
use crate::vfs::Vfs;
use crossbeam_channel::{Sender, bounded};
use septum_core::ids::StudyKeyId;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Longest wrapped key or named value, in bytes.
pub const KEY_VALUE_BYTES_MAX: usize = 64 << 10;
/// Longest name of a named record, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// A key segment is closed at this size, so that rewriting one is quick.
pub(crate) const KEY_SEGMENT_BYTES: u64 = 1 << 20;

const QUEUE_REQUESTS: usize = 1024;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
    pub(crate) total_bytes: u64,
    pub(crate) sequence: u64,
}

/// A study key or a named record.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    Study([u8; 16]),
    Named(Vec<u8>),
}

/// What lies where.
#[derive(Default)]
pub(crate) struct Places {
    pub(crate) current: HashMap<Name, Place>,
    /// Older records of names in `current`, still on disk.
    pub(crate) stale: HashMap<Name, Vec<Place>>,
    /// Segments that must exist; for closed ones with their length.
    pub(crate) segments: BTreeMap<u32, Option<u64>>,
    /// Rewritten segments whose file could not be removed yet.
    pub(crate) leftover: std::collections::BTreeSet<u32>,
    pub(crate) next_segment: u32,
    pub(crate) next_sequence: u64,
}

pub(crate) struct Inner {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) store: [u8; 16],
    pub(crate) root: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) files: FileCache,
    pub(crate) places: RwLock<Places>,
    pub(crate) observer: Observer,
    pub(crate) on_poison: Option<PoisonHook>,
    pub(crate) poisoned: AtomicBool,
    pub(crate) num_damaged: AtomicU64,
    pub(crate) read_only: bool,
    pub(crate) reserve_bytes: u64,
    /// Taken while files are removed or copied.
    pub(crate) removal: Mutex<()>,
}

impl Inner {
    fn readable(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(StorageError::Poisoned {
                shard: crate::KEYS_SHARD,
            });
        }
        Ok(())
    }

    pub(crate) fn poison(&self) -> StorageError {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!("a sync of the key store failed; it is poisoned until restart");
            if let Some(hook) = &self.on_poison {
                (hook.0)(crate::KEYS_SHARD);
            }
        }
        StorageError::Poisoned {
            shard: crate::KEYS_SHARD,
        }
    }

    pub(crate) fn checked<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            StorageError::Poisoned { .. } => self.poison(),
            other => other,
        })
    }

    pub(crate) fn read_places(&self) -> std::sync::RwLockReadGuard<'_, Places> {
        self.places.read().unwrap_or_else(|error| error.into_inner())
    }

    pub(crate) fn write_places(&self) -> std::sync::RwLockWriteGuard<'_, Places> {
        self.places.write().unwrap_or_else(|error| error.into_inner())
    }

    fn read(&self, name: &Name) -> Result<Option<Vec<u8>>> {
        let mut tried = None;
        loop {
            self.readable()?;
            let Some(place) = self.read_places().current.get(name).copied() else {
                if self.num_damaged.load(Ordering::Acquire) > 0 {
                    let id = self.files.id(SegmentKind::Keys, 0);
                    return Err(id.corrupt(0, "the key may lie in a damaged part of the key store"));
                }
                return Ok(None);
            };
            let result = self.files.get(SegmentKind::Keys, place.segment).and_then(|file| {
                let (header, body) = file.read_record(place.offset, Some(place.total_bytes))?;
                match open::parse(&header, &body) {
                    Some((found, value)) if found == *name && header.sequence == place.sequence => Ok(value.to_vec()),
                    _ => Err(file.id.corrupt(place.offset, "another key")),
                }
            });
            match result {
                // A rewrite may have moved it meanwhile.
                Err(error) if error.is_corrupt() && tried != Some(place) => tried = Some(place),
                other => return other.map(Some),
            }
        }
    }
}

/// What the destruction of keys did; all of it is durable and was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the proof is what a certificate stands on"]
pub struct DestroyProof {
    /// Names that existed and are gone.
    pub num_destroyed: u64,
    /// Segments that were rewritten or removed.
    pub num_segments: u64,
    /// Bytes searched for traces.
    pub searched_bytes: u64,
}

/// Figures of the key store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyStoreStats {
    /// Study keys and named records.
    pub num_records: u64,
    /// Superseded records still on disk.
    pub num_superseded: u64,
    /// Segments.
    pub num_segments: u64,
    /// Unreadable parts found at start.
    pub num_damaged: u64,
}

/// Records of one put: study keys, then named records.
pub(crate) type Records = Vec<(Name, Vec<u8>)>;

pub(crate) enum Request {
    Put(Records, oneshot::Sender<Result<()>>),
    Destroy(Vec<Name>, bool, oneshot::Sender<Result<DestroyProof>>),
    Close,
}

/// The key store. All methods may be called from any thread.
pub struct KeyStore {
    pub(crate) inner: Arc<Inner>,
    sender: Mutex<Option<Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyStore")
    }
}

/// What the key store needs to open.
pub(crate) struct KeyStoreConfig {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) store: [u8; 16],
    pub(crate) root: PathBuf,
    pub(crate) observer: Observer,
    pub(crate) on_poison: Option<PoisonHook>,
    pub(crate) read_only: bool,
    pub(crate) reserve_bytes: u64,
}

impl KeyStore {
    pub(crate) fn open(config: KeyStoreConfig) -> Result<Self> {
        let directory = config.root.join("keys");
        let files = FileCache::new(
            Arc::clone(&config.vfs),
            config.store,
            crate::KEYS_SHARD,
            None,
            directory.clone(),
        );
        let inner = Inner {
            vfs: config.vfs,
            store: config.store,
            root: config.root,
            directory,
            files,
            places: RwLock::default(),
            observer: config.observer,
            on_poison: config.on_poison,
            poisoned: AtomicBool::new(false),
            num_damaged: AtomicU64::new(0),
            read_only: config.read_only,
            reserve_bytes: config.reserve_bytes,
            removal: Mutex::new(()),
        };
        let active = open::load(&inner)?;
        let inner = Arc::new(inner);
        let (sender, receiver) = bounded(QUEUE_REQUESTS);
        let writer = writer::Writer::new(Arc::clone(&inner), active);
        let thread = std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(StorageError::io("start the key store"))?;
        Ok(Self {
            inner,
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    async fn request<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T>>) -> Request) -> Result<T> {
        self.inner.readable()?;
        if self.inner.read_only {
            return Err(StorageError::ReadOnly("opened read-only".into()));
        }
        let (reply, receiver) = oneshot::channel();
        let sender = crate::lock(&self.sender).clone().ok_or(StorageError::Closed)?;
        sender.try_send(make(reply)).map_err(|error| match error {
            crossbeam_channel::TrySendError::Full(_) => StorageError::Overloaded,
            crossbeam_channel::TrySendError::Disconnected(_) => StorageError::Closed,
        })?;
        receiver.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Stores wrapped study keys; durable when this returns. A key that is there already is superseded.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`] above [`KEY_VALUE_BYTES_MAX`], [`StorageError::NoSpace`] (nothing was kept),
    /// [`StorageError::Poisoned`].
    pub async fn put(&self, keys: Vec<(StudyKeyId, Vec<u8>)>) -> Result<()> {
        let records: Records = keys
            .into_iter()
            .map(|(id, value)| (Name::Study(*id.as_bytes()), value))
            .collect();
        self.put_records(records).await
    }

    /// Stores a named record (account keys, root-level records), superseding the one before.
    ///
    /// # Errors
    /// As [`KeyStore::put`]; the name has at most [`NAME_BYTES_MAX`] bytes.
    pub async fn put_named(&self, name: &[u8], value: Vec<u8>) -> Result<()> {
        self.put_records(vec![(Name::Named(name.to_vec()), value)]).await
    }

    async fn put_records(&self, records: Records) -> Result<()> {
        for (name, value) in &records {
            let sizes = match name {
                Name::Named(name) => [
                    ("a key's name", name.len(), NAME_BYTES_MAX),
                    ("a key", value.len(), KEY_VALUE_BYTES_MAX),
                ],
                Name::Study(_) => [("a key", value.len(), KEY_VALUE_BYTES_MAX); 2],
            };
            for (what, size, limit) in sizes {
                if size > limit {
                    return Err(StorageError::TooLarge {
                        what,
                        size: size as u64,
                        limit: limit as u64,
                    });
                }
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let start = self.inner.observer.start();
        let num = records.len() as u64;
        let result = self.request(|reply| Request::Put(records, reply)).await;
        self.inner.observer.finish(Stage::SyncKeys, start, num);
        result
    }

    /// A wrapped study key; `None` if it never was or was destroyed.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the record, or the part of the store where it may lie, is damaged.
    pub fn get(&self, id: &StudyKeyId) -> Result<Option<Vec<u8>>> {
        self.inner.read(&Name::Study(*id.as_bytes()))
    }

    /// A named record.
    ///
    /// # Errors
    /// As [`KeyStore::get`].
    pub fn get_named(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inner.read(&Name::Named(name.to_vec()))
    }

    /// Names of named records that start with `prefix`, sorted.
    pub fn list_named(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let places = self.inner.read_places();
        let mut names: Vec<Vec<u8>> = places
            .current
            .keys()
            .filter_map(|name| match name {
                Name::Named(name) if name.starts_with(prefix) => Some(name.clone()),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        names
    }

    /// Ids of all study keys; for checking against the shards and for rewrapping.
    pub fn list(&self) -> Vec<StudyKeyId> {
        let places = self.inner.read_places();
        places
            .current
            .keys()
            .filter_map(|name| match name {
                Name::Study(id) => Some(StudyKeyId::from_bytes(*id)),
                Name::Named(_) => None,
            })
            .collect()
    }

    /// Destroys study keys: when this returns, no live file of the store holds them. Unknown ids are ignored, so a
    /// repeat after a crash is harmless.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if an affected segment is damaged or a trace was found afterwards.
    pub async fn destroy(&self, ids: &[StudyKeyId]) -> Result<DestroyProof> {
        let names = ids.iter().map(|id| Name::Study(*id.as_bytes())).collect();
        self.request(|reply| Request::Destroy(names, false, reply)).await
    }

    /// Destroys named records (an account's key epoch).
    ///
    /// # Errors
    /// As [`KeyStore::destroy`].
    pub async fn destroy_named(&self, names: &[&[u8]]) -> Result<DestroyProof> {
        let names = names.iter().map(|name| Name::Named(name.to_vec())).collect();
        self.request(|reply| Request::Destroy(names, false, reply)).await
    }

    /// Removes all superseded records from disk, as after rewrapping under a new account key.
    ///
    /// # Errors
    /// As [`KeyStore::destroy`].
    pub async fn purge_superseded(&self) -> Result<DestroyProof> {
        self.request(|reply| Request::Destroy(Vec::new(), true, reply)).await
    }

    /// Reads every record; yields its length in bytes, or what is wrong with it.
    pub(crate) fn verify(&self) -> impl Iterator<Item = Result<u64>> {
        let names: Vec<Name> = self.inner.read_places().current.keys().cloned().collect();
        names
            .into_iter()
            .map(|name| Ok(self.inner.read(&name)?.map_or(0, |value| value.len() as u64)))
    }

    /// Figures for metrics.
    pub fn stats(&self) -> KeyStoreStats {
        let places = self.inner.read_places();
        KeyStoreStats {
            num_records: places.current.len() as u64,
            num_superseded: places.stale.values().map(|stale| stale.len() as u64).sum(),
            num_segments: places.segments.len() as u64,
            num_damaged: self.inner.num_damaged.load(Ordering::Acquire),
        }
    }

    /// Finishes queued requests and ends the thread.
    pub fn close(&self) {
        if let Some(sender) = crate::lock(&self.sender).take() {
            let _ = sender.send(Request::Close);
        }
        if let Some(thread) = crate::lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for KeyStore {
    fn drop(&mut self) {
        self.close();
    }
}

pub(crate) use manifest::write as write_manifest;

/// The manifest of a store without keys.
pub(crate) fn write_empty_manifest(vfs: &dyn Vfs, directory: &std::path::Path, store: &[u8; 16]) -> Result<()> {
    manifest::write(vfs, directory, store, &BTreeMap::new())
}
