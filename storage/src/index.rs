//! The index of a shard: small rows and object locations, in RocksDB. A cache: the journal can rebuild all of it.
//!
//! RocksDB is opened so that it refuses rather than forgets (reliability rule R1): recovery mode
//! `TolerateCorruptedTailRecords`, no WAL recycling, paranoid checks, no creation of what should exist. Writes are
//! not synced: the journal was, before. Values are sealed already, so nothing is compressed.

use crate::error::{Result, StorageError};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRecoveryMode, Direction, FlushOptions, IteratorMode, LogLevel,
    Options, ReadOptions, WriteBatch,
};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Changes that the index applies atomically; later entries win.
pub(crate) type IndexBatch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Which index a store uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IndexKind {
    /// RocksDB, on disk.
    #[default]
    RocksDb,
    /// In memory, rebuilt from the journal at every start. For tests, and for stores whose file system is not the
    /// operating system's.
    Memory,
}

/// The index, whatever it is made of.
pub(crate) trait Index: Send + Sync + fmt::Debug {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Rows with `from <= key < end`, ascending, at most `limit`.
    fn scan(&self, from: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>>;
    fn write(&self, batch: &IndexBatch) -> Result<()>;
    /// Makes everything written so far durable without the journal.
    fn flush(&self) -> Result<()>;
    fn close(&self);
}

/// How an index is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexMode {
    Create,
    Existing,
    ReadOnly,
}

/// RocksDB behind [`Index`].
pub(crate) struct RocksIndex {
    shard: u16,
    db: DB,
}

impl fmt::Debug for RocksIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RocksIndex(shard {})", self.shard)
    }
}

const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// Size of the block cache that all shards of a store share.
pub(crate) const BLOCK_CACHE_BYTES: usize = 32 << 20;

fn options(cache: &Cache, mode: IndexMode) -> Options {
    let mut options = Options::default();
    options.create_if_missing(mode == IndexMode::Create);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_recycle_log_file_num(0);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(3);
    options.set_max_open_files(256);
    options.set_max_background_jobs(2);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    options.set_block_based_table_factory(&table);
    options
}

impl RocksIndex {
    /// Opens the database in `directory`.
    pub(crate) fn open(directory: &Path, shard: u16, cache: &Cache, mode: IndexMode) -> Result<Self> {
        let options = options(cache, mode);
        let db = match mode {
            IndexMode::ReadOnly => DB::open_for_read_only(&options, directory, false),
            _ => DB::open(&options, directory),
        };
        db.map(|db| Self { shard, db }).map_err(|error| failure(shard, &error))
    }
}

fn failure(shard: u16, error: &rocksdb::Error) -> StorageError {
    let message = error.to_string();
    // The binding offers no kind for a full disk; the status text is RocksDB's.
    if message.contains("No space left on device") || message.contains("NoSpace") {
        return StorageError::NoSpace;
    }
    StorageError::Index {
        shard,
        message: message.into(),
    }
}

impl Index for RocksIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get(key).map_err(|error| failure(self.shard, &error))
    }

    fn scan(&self, from: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>> {
        let mut read = ReadOptions::default();
        if let Some(end) = end {
            read.set_iterate_upper_bound(end);
        }
        read.set_verify_checksums(true);
        let mut rows = Vec::new();
        // The iterator yields an error where the database would end early without a word.
        for row in self
            .db
            .iterator_opt(IteratorMode::From(from, Direction::Forward), read)
            .take(limit)
        {
            let (key, value) = row.map_err(|error| failure(self.shard, &error))?;
            rows.push((key.into_vec(), value.into_vec()));
        }
        Ok(rows)
    }

    fn write(&self, batch: &IndexBatch) -> Result<()> {
        let mut write = WriteBatch::default();
        for (key, value) in batch {
            match value {
                Some(value) => write.put(key, value),
                None => write.delete(key),
            }
        }
        self.db.write(write).map_err(|error| failure(self.shard, &error))
    }

    fn flush(&self) -> Result<()> {
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        self.db.flush_opt(&wait).map_err(|error| failure(self.shard, &error))
    }

    fn close(&self) {
        let _ = self.db.flush();
        self.db.cancel_all_background_work(true);
    }
}

/// An index in memory.
#[derive(Default)]
pub(crate) struct MemoryIndex(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl fmt::Debug for MemoryIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryIndex")
    }
}

impl Index for MemoryIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self
            .0
            .read()
            .unwrap_or_else(|error| error.into_inner())
            .get(key)
            .cloned())
    }

    fn scan(&self, from: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>> {
        let rows = self.0.read().unwrap_or_else(|error| error.into_inner());
        if end.is_some_and(|end| end <= from) {
            return Ok(Vec::new());
        }
        let bounds = (Bound::Included(from), end.map_or(Bound::Unbounded, Bound::Excluded));
        Ok(rows
            .range::<[u8], _>(bounds)
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn write(&self, batch: &IndexBatch) -> Result<()> {
        let mut rows = self.0.write().unwrap_or_else(|error| error.into_inner());
        for (key, value) in batch {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) {}
}

/// Opens indexes for the shards of one store.
#[derive(Clone)]
pub(crate) struct IndexOpener {
    pub(crate) kind: IndexKind,
    cache: Cache,
}

impl fmt::Debug for IndexOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexOpener({:?})", self.kind)
    }
}

impl IndexOpener {
    pub(crate) fn new(kind: IndexKind) -> Self {
        Self {
            kind,
            cache: Cache::new_lru_cache(BLOCK_CACHE_BYTES),
        }
    }

    /// Opens the index in `directory`.
    pub(crate) fn open(&self, directory: &Path, shard: u16, mode: IndexMode) -> Result<Arc<dyn Index>> {
        match self.kind {
            IndexKind::RocksDb => {
                if mode == IndexMode::Create {
                    // RocksDB would make it open to everybody.
                    let mut builder = std::fs::DirBuilder::new();
                    builder.recursive(true).mode(0o700);
                    builder
                        .create(directory)
                        .map_err(StorageError::io("create the index directory"))?;
                }
                Ok(Arc::new(RocksIndex::open(directory, shard, &self.cache, mode)?))
            }
            IndexKind::Memory => Ok(Arc::new(MemoryIndex::default())),
        }
    }

    /// Moves a damaged index aside and makes an empty one. The damaged files hold sealed bytes only and go away at the
    /// next rebuild.
    pub(crate) fn recreate(&self, directory: &Path, shard: u16) -> Result<Arc<dyn Index>> {
        if self.kind == IndexKind::RocksDb {
            let aside: PathBuf = directory.with_extension("damaged");
            let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
            match std::fs::remove_dir_all(&aside) {
                Err(error) if !missing(&error) => return Err(StorageError::io("remove an old index")(error)),
                _ => {}
            }
            match std::fs::rename(directory, &aside) {
                Err(error) if !missing(&error) => return Err(StorageError::io("move a damaged index aside")(error)),
                _ => {}
            }
        }
        self.open(directory, shard, IndexMode::Create)
    }

    /// Removes what [`IndexOpener::recreate`] moved aside.
    pub(crate) fn forget_damaged(&self, directory: &Path) {
        if self.kind == IndexKind::RocksDb {
            let _ = std::fs::remove_dir_all(directory.with_extension("damaged"));
        }
    }
}
