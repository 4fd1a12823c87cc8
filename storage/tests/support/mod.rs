//! Helpers of the integration tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test binary uses a part"
)]

use septum_core::ids::ObjectId;
use septum_storage::vfs::{FaultyVfs, RealVfs, Vfs};
use septum_storage::{CommitBatch, CommitProof, IndexKind, Result, Row, RowKind, Shard, Store, StoreConfig};
use std::path::Path;
use std::sync::Arc;

/// Runs a future on this thread, without a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime")
        .block_on(future)
}

/// Three roots below `base`, one shard, small segments.
pub fn config(base: &Path) -> StoreConfig {
    StoreConfig {
        shards: 1,
        pixel_segment_bytes: 8192,
        journal_segment_bytes: 8192,
        reserve_bytes: 4096,
        ..StoreConfig::new(base.join("phi"), base.join("pixel"), base.join("key"))
    }
}

/// The same over a file system in memory.
pub fn faulty_config() -> StoreConfig {
    StoreConfig {
        index: IndexKind::Memory,
        ..config(Path::new("/"))
    }
}

pub fn open(config: &StoreConfig) -> Arc<Store> {
    try_open(config).expect("the store opens")
}

pub fn try_open(config: &StoreConfig) -> Result<Arc<Store>> {
    Store::open(config.clone(), Arc::new(RealVfs))
}

pub fn open_faulty(vfs: &FaultyVfs) -> Result<Arc<Store>> {
    Store::open(faulty_config(), Arc::new(vfs.clone()) as Arc<dyn Vfs>)
}

pub fn key(number: u32) -> Vec<u8> {
    RowKind::Study.key(&[&number.to_be_bytes()])
}

pub fn id(number: u32) -> ObjectId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[4..].copy_from_slice(&[0x5a; 12]);
    ObjectId::from_bytes(bytes)
}

/// Bytes that tell their number.
pub fn body(number: u32, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number as usize * 31 + at * 7) as u8).collect()
}

/// Commits row `number`, a pixel object `2n` and a journal object `2n+1`.
pub fn store_one(shard: &Shard, number: u32, len: usize) -> Result<CommitProof> {
    let placed = shard.put_batch_blocking(vec![(id(2 * number), body(2 * number, len))])?;
    let batch = CommitBatch {
        rows: vec![Row::put(key(number), number.to_be_bytes())],
        objects: vec![(id(2 * number + 1), body(2 * number + 1, len / 4).into())],
        placed,
        ..CommitBatch::default()
    };
    shard.submit(batch).wait()
}

/// Removes what [`store_one`] stored.
pub fn remove_one(shard: &Shard, number: u32) -> Result<CommitProof> {
    let batch = CommitBatch {
        rows: vec![Row::delete(key(number))],
        freed: vec![id(2 * number), id(2 * number + 1)],
        may_use_reserve: true,
        ..CommitBatch::default()
    };
    shard.submit(batch).wait()
}

/// Whether instance `number` is there, all of it and right; panics if it is there in part.
pub fn is_whole(shard: &Shard, number: u32, len: usize) -> bool {
    let row = shard.get(&key(number)).expect("row readable");
    let pixels = shard.read_object_blocking(id(2 * number), None);
    let header = shard.read_object_blocking(id(2 * number + 1), None);
    match row {
        Some(value) => {
            assert_eq!(value, number.to_be_bytes());
            assert_eq!(pixels.expect("pixels"), body(2 * number, len), "pixels of {number}");
            assert_eq!(
                header.expect("header"),
                body(2 * number + 1, len / 4),
                "header of {number}"
            );
            true
        }
        None => {
            use septum_storage::StorageError::NotFound;
            assert!(matches!(pixels, Err(NotFound)), "pixels without a row: {pixels:?}");
            assert!(matches!(header, Err(NotFound)), "header without a row: {header:?}");
            false
        }
    }
}

/// Copies a directory with all below it.
pub fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("dir");
    for entry in std::fs::read_dir(from).expect("dir").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
