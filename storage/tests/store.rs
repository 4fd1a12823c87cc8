//! The store on real files with RocksDB: commits, reads, reopening, rebuilding, refusals.

#![allow(clippy::expect_used, reason = "a test")]

mod support;

use septum_core::ids::StudyKeyId;
use septum_storage::vfs::RealVfs;
use septum_storage::{CommitBatch, Health, Row, StorageError, Store};
use std::sync::Arc;
use support::*;

#[test]
fn commits_survive_reopening_and_are_readable_in_ranges() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let store = open(&config);
    let shard = Arc::clone(store.shard(77));
    for number in 0..40 {
        let proof = store_one(&shard, number, 1000).expect("commit");
        assert_eq!((proof.shard(), proof.batch()), (0, u64::from(number) + 1));
    }
    let check = |shard: &septum_storage::Shard| {
        for number in 0..40 {
            assert!(is_whole(shard, number, 1000));
        }
        let part = shard.read_object_blocking(id(2), Some(10..20)).expect("range");
        assert_eq!(part, body(2, 1000)[10..20]);
        assert!(matches!(
            shard.read_object_blocking(id(2), Some(10..1001)),
            Err(StorageError::Range {
                end: 1001,
                length: 1000
            })
        ));
        assert!(matches!(
            shard.read_object_blocking(id(999), None),
            Err(StorageError::NotFound)
        ));
        let rows = shard.scan(&[0x10], Some(&key(38)), 10).expect("scan");
        assert_eq!(
            rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(),
            [key(38), key(39)]
        );
    };
    check(&shard);
    store.close();
    assert!(matches!(store_one(&shard, 1, 10), Err(StorageError::Closed)));
    drop((store, shard));
    let store = open(&config);
    assert_eq!(
        store.shards()[0].recovery().num_replayed,
        0,
        "a clean start replays nothing"
    );
    assert_eq!(store.shards()[0].recovery().last_batch, 40);
    check(&store.shards()[0]);
    assert!(
        store.shards()[0].stats().num_journal_segments > 1,
        "segments were rotated"
    );
}

#[test]
fn staged_rows_show_before_they_are_durable() {
    let dir = tempfile::tempdir().expect("dir");
    let store = open(&config(dir.path()));
    let shard = store.catalog();
    let tickets: Vec<_> = (0..200u32)
        .map(|number| {
            let value = shard.get_staged(&key(0)).expect("staged").map_or(0, |value| value[0]);
            assert_eq!(u32::from(value), number % 256);
            let rows = vec![Row::put(key(0), [(number + 1) as u8]), Row::put(key(number + 1), b"x")];
            shard.submit(CommitBatch {
                rows,
                ..CommitBatch::default()
            })
        })
        .collect();
    for ticket in tickets {
        let _proof = ticket.wait().expect("durable");
    }
    assert_eq!(shard.get(&key(0)).expect("row"), Some(vec![200]));
    assert_eq!(shard.stats().num_staged_rows, 0);
}

#[test]
fn refusals() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let store = open(&config);
    let shard = &store.shards()[0];
    let commit = |rows| {
        shard
            .submit(CommitBatch {
                rows,
                ..CommitBatch::default()
            })
            .wait()
    };
    assert!(matches!(
        commit(vec![Row::put([0, b'a'], b"")]),
        Err(StorageError::ReservedKey)
    ));
    assert!(matches!(
        commit(vec![Row::put([], b"")]),
        Err(StorageError::ReservedKey)
    ));
    assert!(matches!(
        commit(vec![Row::put(vec![0x10; 1025], b"")]),
        Err(StorageError::TooLarge { .. })
    ));
    assert!(matches!(shard.get(&[0, b'a']), Err(StorageError::ReservedKey)));
    assert!(matches!(
        store.catalog().put_batch_blocking(vec![(id(1), body(1, 1))]),
        Err(StorageError::NoPixels)
    ));
    assert!(matches!(try_open(&config), Err(StorageError::Locked)));
    drop(store);
    let other = support::config(&dir.path().join("other"));
    drop(open(&other));
    let mixed = septum_storage::StoreConfig {
        pixel_root: other.pixel_root.clone(),
        ..config.clone()
    };
    assert!(
        matches!(try_open(&mixed), Err(StorageError::Identity(_))),
        "another store's pixels"
    );
    let more = septum_storage::StoreConfig {
        shards: 2,
        ..config.clone()
    };
    assert!(
        matches!(try_open(&more), Err(StorageError::Identity(_))),
        "another number of shards"
    );
    std::fs::remove_file(config.phi_root.join("identity")).expect("removed");
    let store = open(&config);
    drop(store);
}

#[test]
fn a_store_with_data_that_lost_its_identity_is_not_made_anew() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let store = open(&config);
    let _proof = store_one(&store.shards()[0], 1, 10).expect("commit");
    drop(store);
    std::fs::remove_file(config.phi_root.join("identity")).expect("removed");
    assert!(matches!(try_open(&config), Err(StorageError::NotEmpty(_))));
}

#[test]
fn a_lost_or_damaged_index_is_rebuilt_from_the_journal() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let store = open(&config);
    for number in 0..30 {
        let _proof = store_one(&store.shards()[0], number, 700).expect("commit");
    }
    for number in 0..10 {
        let _proof = remove_one(&store.shards()[0], number).expect("commit");
    }
    let before = store.shards()[0].stats();
    drop(store);
    let index = config.phi_root.join("shard-0000/index");
    let check = |reason: &str| {
        let store = open(&config);
        let shard = &store.shards()[0];
        assert!(shard.recovery().rebuilt.is_some(), "{reason}");
        assert_eq!(shard.stats(), before, "{reason}");
        for number in 0..30 {
            assert_eq!(is_whole(shard, number, 700), number >= 10, "{reason}");
        }
    };
    std::fs::remove_dir_all(&index).expect("removed");
    check("wiped");
    std::fs::remove_file(index.join("CURRENT")).expect("removed");
    check("CURRENT lost");
    let manifest = std::fs::read_dir(&index)
        .expect("dir")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains("MANIFEST"))
        .expect("a manifest");
    std::fs::write(&manifest, b"nonsense").expect("written");
    check("MANIFEST damaged");
}

#[test]
fn an_index_rolled_back_catches_up_and_a_journal_rolled_back_is_noticed() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir_all(to).expect("dir");
        for entry in std::fs::read_dir(from).expect("dir").flatten() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    };
    let shard_dir = config.phi_root.join("shard-0000");
    let old = dir.path().join("old");
    let write = |numbers: std::ops::Range<u32>| {
        let store = open(&config);
        for number in numbers {
            let _proof = store_one(&store.shards()[0], number, 100).expect("commit");
        }
    };
    write(0..5);
    copy(&shard_dir.join("index"), &old.join("index"));
    copy(&shard_dir.join("journal"), &old.join("journal"));
    write(5..9);
    std::fs::remove_dir_all(shard_dir.join("index")).expect("removed");
    copy(&old.join("index"), &shard_dir.join("index"));
    {
        let store = open(&config);
        assert_eq!(store.shards()[0].recovery().num_replayed, 4);
        (0..9).for_each(|number| assert!(is_whole(&store.shards()[0], number, 100)));
    }
    std::fs::remove_dir_all(shard_dir.join("journal")).expect("removed");
    copy(&old.join("journal"), &shard_dir.join("journal"));
    let store = open(&config);
    let shard = &store.shards()[0];
    assert!(matches!(shard.health(), Health::ReadOnly(_)), "{:?}", shard.health());
    assert_eq!(shard.get(&key(8)).expect("readable"), Some(8u32.to_be_bytes().to_vec()));
    assert!(matches!(store_one(shard, 10, 10), Err(StorageError::ReadOnly(_))));
}

#[test]
fn damage_is_corrupt_and_never_not_found() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let store = open(&config);
    let _proof = store_one(&store.shards()[0], 1, 1000).expect("commit");
    drop(store);
    let path = config.pixel_root.join("shard-0000/pixels/00000001.seg");
    let clean = std::fs::read(&path).expect("read");
    for at in [130, 150, 192, 700] {
        let mut bytes = clean.clone();
        bytes[at] ^= 4;
        std::fs::write(&path, &bytes).expect("written");
        let store = open(&config);
        let error = store.shards()[0]
            .read_object_blocking(id(2), None)
            .expect_err("damaged");
        assert!(error.is_corrupt(), "{error}");
    }
    std::fs::remove_file(&path).expect("removed");
    let store = open(&config);
    assert!(matches!(store.shards()[0].health(), Health::ReadOnly(_)));
    assert!(
        store.shards()[0]
            .read_object_blocking(id(2), None)
            .expect_err("missing")
            .is_corrupt()
    );
}

#[test]
fn read_only_reads_and_refuses_writes() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let store = open(&config);
    let _proof = store_one(&store.shards()[0], 1, 100).expect("commit");
    block_on(store.keys().put(vec![(StudyKeyId::from_bytes([1; 16]), vec![7; 40])])).expect("key");
    drop(store);
    let read_only = septum_storage::StoreConfig {
        read_only: true,
        create: false,
        ..config
    };
    let store = Store::open(read_only, Arc::new(RealVfs)).expect("opens");
    assert!(is_whole(&store.shards()[0], 1, 100));
    assert!(matches!(
        store_one(&store.shards()[0], 2, 100),
        Err(StorageError::ReadOnly(_))
    ));
    assert_eq!(
        store.keys().get(&StudyKeyId::from_bytes([1; 16])).expect("key"),
        Some(vec![7; 40])
    );
}

#[test]
fn many_threads_share_batches() {
    let dir = tempfile::tempdir().expect("dir");
    let store = open(&septum_storage::StoreConfig {
        shards: 2,
        pixel_segment_bytes: 1 << 20,
        ..config(dir.path())
    });
    std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..50 {
                    let _proof =
                        store_one(&store.shards()[(thread % 2) as usize], thread * 100 + number, 300).expect("commit");
                }
            });
        }
    });
    for thread in 0..8u32 {
        (0..50).for_each(|n| assert!(is_whole(&store.shards()[(thread % 2) as usize], thread * 100 + n, 300)));
    }
    let batches: u64 = store.shards().iter().map(|shard| shard.stats().last_batch).sum();
    println!("400 commits in {batches} batches");
    assert!(batches <= 400);
}

/// What RocksDB alone would forget without a word (reliability: the witness), the journal brings back.
#[test]
fn a_damaged_write_ahead_log_loses_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let live = config(&dir.path().join("live"));
    let store = open(&live);
    for number in 0..60 {
        let _proof = store_one(&store.shards()[0], number, 200).expect("commit");
    }
    // A copy of the running store is what a killed process leaves behind.
    for (position, damage) in [
        "nothing",
        "deleted",
        "cut at half",
        "last 50 bytes cut",
        "bit at half flipped",
    ]
    .iter()
    .enumerate()
    {
        let base = dir.path().join(position.to_string());
        copy_all(&dir.path().join("live"), &base);
        let config = config(&base);
        let wal = std::fs::read_dir(config.phi_root.join("shard-0000/index"))
            .expect("dir")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .max_by_key(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len()))
            .expect("a write-ahead log");
        let mut bytes = std::fs::read(&wal).expect("read");
        let half = bytes.len() / 2;
        assert!(half > 500, "{half}");
        match position {
            1 => std::fs::remove_file(&wal).expect("removed"),
            2 => bytes.truncate(half),
            3 => bytes.truncate(bytes.len() - 50),
            4 => bytes[half] ^= 1,
            _ => {}
        }
        if position > 1 {
            std::fs::write(&wal, bytes).expect("written");
        }
        let store = open(&config);
        let shard = &store.shards()[0];
        (0..60).for_each(|number| assert!(is_whole(shard, number, 200), "{damage}: {number}"));
        let recovery = shard.recovery();
        assert_eq!(recovery.num_replayed == 0, position == 0, "{damage}: {recovery:?}");
        println!("{damage}: {recovery:?}");
    }
}

/// A flipped bit in the index's tables is an error or harmless, never a missing row; a rebuild heals it.
#[test]
fn a_damaged_table_file_never_hides_a_row() {
    let dir = tempfile::tempdir().expect("dir");
    let clean = dir.path().join("clean");
    let store = open(&config(&clean));
    for number in 0..60 {
        let _proof = store_one(&store.shards()[0], number, 100).expect("commit");
    }
    drop(store);
    let (mut num_errors, mut num_rebuilt) = (0, 0);
    for step in 0..40 {
        let base = dir.path().join(format!("copy-{step}"));
        copy_all(&clean, &base);
        let config = config(&base);
        let table = std::fs::read_dir(config.phi_root.join("shard-0000/index"))
            .expect("dir")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
            .max_by_key(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len()))
            .expect("a table");
        let mut bytes = std::fs::read(&table).expect("read");
        let at = bytes.len() * step / 40;
        bytes[at] ^= 8;
        std::fs::write(&table, &bytes).expect("written");
        let store = open(&config);
        let shard = &store.shards()[0];
        num_rebuilt += u32::from(shard.recovery().rebuilt.is_some());
        for number in 0..60 {
            match shard.get(&key(number)) {
                Ok(found) => assert_eq!(found, Some(number.to_be_bytes().to_vec()), "byte {at}: row {number}"),
                Err(_) => num_errors += 1,
            }
        }
        drop(store);
        let store = open(&septum_storage::StoreConfig {
            rebuild_index: true,
            ..config
        });
        (0..60).for_each(|number| assert!(is_whole(&store.shards()[0], number, 100)));
    }
    println!("40 flips: {num_errors} reads refused, {num_rebuilt} indexes rebuilt at start");
}

/// `cargo test --release -- --ignored --nocapture throughput`
#[test]
#[ignore = "a measurement"]
fn throughput() {
    use std::time::Instant;
    for (name, len, num, threads) in [
        ("4 KiB", 4096, 20_000u32, 64u32),
        ("256 KiB", 256 << 10, 4000, 64),
        ("256 KiB, one by one", 256 << 10, 300, 1),
    ] {
        let dir =
            tempfile::tempdir_in(std::env::var_os("SEPTUM_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into))
                .expect("dir");
        let config = septum_storage::StoreConfig {
            shards: 2,
            ..septum_storage::StoreConfig::new(dir.path().join("a"), dir.path().join("b"), dir.path().join("c"))
        };
        let store = open(&config);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let store = &store;
                scope.spawn(move || {
                    for number in (thread..num).step_by(threads as usize) {
                        let _proof = store_one(&store.shards()[(thread % 2) as usize], number, len).expect("commit");
                    }
                });
            }
        });
        let seconds = start.elapsed().as_secs_f64();
        let batches: u64 = store.shards().iter().map(|shard| shard.stats().last_batch).sum();
        let megabytes = f64::from(num) * len as f64 * 1.25 / 1e6;
        println!(
            "{name}: {:.0} commits/s, {:.0} MB/s, {:.1} commits per batch",
            f64::from(num) / seconds,
            megabytes / seconds,
            f64::from(num) / batches as f64
        );
        drop(store);
        let start = Instant::now();
        drop(open(&config));
        println!("   clean start and close {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
        std::fs::remove_dir_all(config.phi_root.join("shard-0000/index")).expect("removed");
        std::fs::remove_dir_all(config.phi_root.join("shard-0001/index")).expect("removed");
        let start = Instant::now();
        drop(open(&config));
        println!(
            "   rebuild of both indexes {:.0} ms",
            start.elapsed().as_secs_f64() * 1e3
        );
    }
}
