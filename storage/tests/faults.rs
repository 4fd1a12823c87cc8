//! Every call fails once, the process dies at every call, the power is cut at every call, the disk fills up.
//!
//! The script stores, deletes, compacts and destroys keys. The rule is always the same: what was acknowledged is
//! there, bit for bit; what was not is there as a whole or not at all.

#![allow(clippy::expect_used, reason = "a test")]

mod support;

use septum_core::ids::StudyKeyId;
use septum_storage::vfs::{Fault, FaultyVfs, Operation};
use septum_storage::{Health, Shard, StorageError, Store};
use std::collections::BTreeMap;
use support::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Present,
    Absent,
    /// The operation failed or was cut off.
    Maybe,
}

#[derive(Default, Debug)]
struct Oracle {
    instances: BTreeMap<u32, Expected>,
    keys: BTreeMap<u8, Expected>,
}

const LEN: usize = 900;

fn key_value(number: u8) -> Vec<u8> {
    blake3::hash(&[number]).as_bytes().to_vec()
}

fn key_id(number: u8) -> StudyKeyId {
    StudyKeyId::from_bytes(key_value(number)[..16].try_into().expect("16 bytes"))
}

/// Runs until the first error that ends a process.
fn script(store: &Store, oracle: &mut Oracle) {
    let shard: &Shard = &store.shards()[0];
    let is_over = |error: &StorageError| !matches!(error, StorageError::NoSpace | StorageError::Io { .. });
    for round in 0..3u32 {
        for number in round * 10..round * 10 + 10 {
            let key_number = number as u8;
            oracle.keys.insert(key_number, Expected::Maybe);
            match block_on(store.keys().put(vec![(key_id(key_number), key_value(key_number))])) {
                Ok(()) => oracle.keys.insert(key_number, Expected::Present),
                Err(error) if is_over(&error) => return,
                Err(_) => None,
            };
            oracle.instances.insert(number, Expected::Maybe);
            match store_one(shard, number, LEN) {
                Ok(_) => oracle.instances.insert(number, Expected::Present),
                Err(error) if is_over(&error) => return,
                Err(_) => None,
            };
        }
        for number in round * 10..round * 10 + 8 {
            if oracle.instances.get(&number) != Some(&Expected::Present) {
                continue;
            }
            oracle.instances.insert(number, Expected::Maybe);
            match remove_one(shard, number) {
                Ok(_) => oracle.instances.insert(number, Expected::Absent),
                Err(error) if is_over(&error) => return,
                Err(_) => None,
            };
        }
        let doomed = round as u8 * 10;
        let before = oracle.keys.insert(doomed, Expected::Maybe);
        match block_on(store.keys().destroy(&[key_id(doomed)])) {
            Ok(_) => oracle.keys.insert(doomed, Expected::Absent),
            Err(error) if is_over(&error) => return,
            Err(_) => before.map(|_| Expected::Maybe),
        };
        if let Err(error) = shard.compact(u64::MAX)
            && is_over(&error)
        {
            return;
        }
    }
}

fn verify(store: &Store, oracle: &Oracle, context: &str) {
    let shard = &store.shards()[0];
    assert!(
        matches!(shard.health(), Health::Healthy),
        "{context}: {:?}",
        shard.health()
    );
    for (number, expected) in &oracle.instances {
        let found = is_whole(shard, *number, LEN);
        assert!(
            *expected == Expected::Maybe || found == (*expected == Expected::Present),
            "{context}: instance {number} expected {expected:?}, found {found}; {:?}",
            shard.recovery()
        );
    }
    assert_eq!(store.keys().stats().num_damaged, 0, "{context}");
    for (number, expected) in &oracle.keys {
        let found = store
            .keys()
            .get(&key_id(*number))
            .unwrap_or_else(|error| match expected {
                // A torn record of a put that never returned.
                Expected::Maybe => None,
                _ => panic!("{context}: key {number}: {error}"),
            });
        match expected {
            Expected::Present => assert_eq!(found, Some(key_value(*number)), "{context}: key {number}"),
            Expected::Absent => assert_eq!(found, None, "{context}: key {number}"),
            Expected::Maybe => assert!(found.is_none() || found == Some(key_value(*number)), "{context}"),
        }
    }
    // The store works on.
    let _proof = store_one(shard, 5000, LEN).expect("commits go on");
    assert!(is_whole(shard, 5000, LEN));
}

fn num_calls(operation: Option<Operation>) -> u64 {
    let vfs = FaultyVfs::new();
    let store = open_faulty(&vfs).expect("opens");
    vfs.reset_counts();
    let mut oracle = Oracle::default();
    script(&store, &mut oracle);
    let calls = vfs.num_calls(operation);
    assert!(oracle.instances.values().all(|expected| *expected != Expected::Maybe));
    verify(&store, &oracle, "no fault");
    drop(store);
    verify(&open_faulty(&vfs).expect("reopens"), &oracle, "no fault, reopened");
    calls
}

fn run(operation: Option<Operation>, nth: u64, fault: Fault, end: impl Fn(&FaultyVfs), context: &str) {
    let vfs = FaultyVfs::new();
    let store = open_faulty(&vfs).expect("opens");
    vfs.reset_counts();
    vfs.fail(operation, nth, false, fault);
    let mut oracle = Oracle::default();
    script(&store, &mut oracle);
    drop(store);
    vfs.reset_counts();
    end(&vfs);
    let context = format!("{context}, call {nth} of {operation:?}");
    let store = open_faulty(&vfs).unwrap_or_else(|error| panic!("{context}: {error}"));
    verify(&store, &oracle, &context);
    drop(store);
    verify(&open_faulty(&vfs).expect("reopens"), &oracle, &context);
}

#[test]
fn the_process_dies_at_every_call() {
    let calls = num_calls(None);
    println!("{calls} calls");
    for nth in 1..=calls {
        run(None, nth, Fault::Die, FaultyVfs::restart, "killed");
    }
}

#[test]
fn the_power_is_cut_at_every_call() {
    let calls = num_calls(None);
    for nth in 1..=calls {
        for seed in [None, Some(nth), Some(nth * 7919 + 1)] {
            run(
                None,
                nth,
                Fault::Die,
                |vfs| vfs.power_cut(seed),
                &format!("power cut {seed:?}"),
            );
        }
    }
}

#[test]
fn every_call_fails_once() {
    for operation in [
        Operation::Open,
        Operation::Write,
        Operation::Sync,
        Operation::SyncDir,
        Operation::SetLen,
        Operation::Rename,
        Operation::Unlink,
        Operation::List,
        Operation::Read,
    ] {
        for nth in 1..=num_calls(Some(operation)) {
            run(Some(operation), nth, Fault::Error(libc::EIO), FaultyVfs::restart, "EIO");
            if operation == Operation::Write {
                run(Some(operation), nth, Fault::Short, FaultyVfs::restart, "short write");
                run(
                    Some(operation),
                    nth,
                    Fault::Error(libc::ENOSPC),
                    FaultyVfs::restart,
                    "ENOSPC",
                );
            }
        }
    }
}

#[test]
fn a_failed_sync_poisons_and_is_never_retried() {
    let vfs = FaultyVfs::new();
    let store = open_faulty(&vfs).expect("opens");
    let shard = &store.shards()[0];
    let _proof = store_one(shard, 1, LEN).expect("commit");
    vfs.reset_counts();
    vfs.fail(Some(Operation::Sync), 1, false, Fault::Error(libc::EIO));
    assert!(matches!(
        store_one(shard, 2, LEN),
        Err(StorageError::Poisoned { shard: 0 })
    ));
    let syncs = vfs.num_calls(Some(Operation::Sync));
    assert!(matches!(store_one(shard, 3, LEN), Err(StorageError::Poisoned { .. })));
    assert!(matches!(shard.get(&key(1)), Err(StorageError::Poisoned { .. })));
    assert_eq!(
        vfs.num_calls(Some(Operation::Sync)),
        syncs,
        "no sync after the failed one"
    );
    assert!(store.catalog().get(&key(1)).is_ok(), "other shards go on");
}

#[test]
fn a_full_disk_fails_commits_only_until_space_returns() {
    let vfs = FaultyVfs::new();
    let store = open_faulty(&vfs).expect("opens");
    let shard = &store.shards()[0];
    let mut stored = Vec::new();
    (0..10).for_each(|number| {
        let _proof = store_one(shard, number, LEN).expect("commit");
        stored.push(number);
    });
    vfs.set_capacity(Some(vfs.used_bytes() + 3000));
    let mut num_refused = 0;
    for number in 10..20 {
        match store_one(shard, number, LEN) {
            Ok(_) => stored.push(number),
            Err(StorageError::NoSpace) => num_refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(num_refused >= 7, "{num_refused}");
    for number in 0..20 {
        assert_eq!(is_whole(shard, number, LEN), stored.contains(&number));
    }
    for number in 0..8 {
        let _proof = remove_one(shard, number).expect("deletes use the reserve");
        stored.retain(|other| *other != number);
    }
    let report = shard.compact(u64::MAX).expect("compacts");
    println!("{report:?}");
    vfs.set_capacity(None);
    for number in 20..25 {
        let _proof = store_one(shard, number, LEN).expect("goes on by itself");
        stored.push(number);
    }
    drop(store);
    let store = open_faulty(&vfs).expect("reopens");
    for number in 0..25 {
        assert_eq!(
            is_whole(&store.shards()[0], number, LEN),
            stored.contains(&number),
            "{number}"
        );
    }
}

#[test]
fn commits_built_on_a_failed_one_fail_too() {
    use septum_storage::{CommitBatch, Row};
    let vfs = FaultyVfs::new();
    let store = open_faulty(&vfs).expect("opens");
    let shard = &store.shards()[0];
    let generation = shard.generation();
    vfs.set_capacity(Some(vfs.used_bytes()));
    let first = shard.submit(CommitBatch {
        rows: vec![Row::put(key(1), vec![1; 9000])],
        ..CommitBatch::default()
    });
    assert!(matches!(first.wait(), Err(StorageError::NoSpace)));
    vfs.set_capacity(None);
    assert_eq!(
        shard.get_staged(&key(1)).expect("readable"),
        None,
        "the staged row is gone"
    );
    let built_on_it = CommitBatch {
        rows: vec![Row::put(key(2), b"")],
        generation: Some(generation),
        ..CommitBatch::default()
    };
    assert!(matches!(
        shard.submit(built_on_it).wait(),
        Err(StorageError::EarlierCommitFailed)
    ));
    let fresh = CommitBatch {
        rows: vec![Row::put(key(2), b"")],
        generation: Some(shard.generation()),
        ..CommitBatch::default()
    };
    let _proof = shard.submit(fresh).wait().expect("a fresh one goes through");
}
