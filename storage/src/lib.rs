//! # septum-storage: durable facts
//!
//! Sees sealed bytes, tokens and random ids only: no key in clear, no DICOM, no HTTP.
//!
//! | module | owns |
//! |---|---|
//! | [`vfs`] | the file system as a trait; a faulty one for tests |
//! | `format`, `segment` | the one file format of pixel, journal and key segments |
//! | `batch` | commits, and how they lie in the journal |
//! | `index` | RocksDB, a cache of the journal |
//! | `shard` | committer, recovery, compaction |
//! | `keystore` | wrapped keys, and their provable destruction |
//! | `keys` | key prefixes and versioned values |
//! | `layout`, `identity` | partition map; which directory belongs to which store |
//! | `fsck`, `scrub`, `backup` | proof, patrol, copies |
//!
//! What must always be true here: an acknowledged commit is durable on both roots (invariant 1); corrupt is never
//! "not found" (invariant 7); a destroyed key is gone from every live file (invariant 9); files are named by numbers.

mod backup;
mod batch;
mod error;
mod format;
mod fsck;
mod identity;
mod index;
mod keys;
mod keystore;
mod layout;
mod metrics;
mod scrub;
mod segment;
mod shard;
mod store;
pub mod vfs;

pub use backup::{BackupReport, BackupRoots, DamagedCopy, backup, check_backup, restore};
pub use batch::{COMMIT_BYTES_MAX, CommitBatch, CommitProof, KEY_BYTES_MAX, Location, Placed, Row, VALUE_BYTES_MAX};
pub use error::{Damage, Result, SegmentKind, StorageError};
pub use fsck::{Finding, FsckReport, fsck};
pub use identity::{CATALOG_SHARD, KEYS_SHARD, ROOT_SHARD, Root};
pub use index::IndexKind;
pub use keys::{Record, RowKind, Versioned, prefix_end};
pub use keystore::{DestroyProof, KEY_VALUE_BYTES_MAX, KeyStore, KeyStoreStats, NAME_BYTES_MAX};
pub use layout::{Assignment, Layout, NUM_PARTITIONS, NUM_SHARDS_MAX};
pub use metrics::{Stage, StorageMetrics};
pub use scrub::{ScrubCursor, ScrubReport};
pub use shard::{CommitTicket, CompactReport, Health, Pieces, PoisonHook, RecoveryReport, Shard, ShardStats};
pub use store::{Store, StoreConfig, open_keys};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a panic in another holder leaves our data whole, because every critical section here is.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
