//! fsck, scrub, backup and restore: sound stores pass, planted damage is found.

#![allow(clippy::expect_used, reason = "a test")]

mod support;

use septum_core::ids::StudyKeyId;
use septum_storage::vfs::{RealVfs, Vfs};
use septum_storage::{
    BackupRoots, FsckReport, ScrubCursor, StorageError, StoreConfig, backup, check_backup, fsck, restore,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::*;

const LEN: usize = 700;

fn vfs() -> Arc<dyn Vfs> {
    Arc::new(RealVfs)
}

fn check(config: &StoreConfig) -> FsckReport {
    fsck(config, &vfs()).expect("fsck runs")
}

fn key_id(number: u32) -> StudyKeyId {
    StudyKeyId::from_bytes(
        blake3::hash(&number.to_be_bytes()).as_bytes()[..16]
            .try_into()
            .expect("16 bytes"),
    )
}

/// 60 instances, 25 of them deleted, compacted; three keys.
fn fill(config: &StoreConfig) {
    let store = open(config);
    let shard = &store.shards()[0];
    for number in 0..60 {
        let _proof = store_one(shard, number, LEN).expect("commit");
    }
    for number in 5..30 {
        let _proof = remove_one(shard, number).expect("commit");
    }
    let report = shard.compact(u64::MAX).expect("compacts");
    assert!(report.num_removed >= 2, "{report:?}");
    block_on(
        store
            .keys()
            .put((0..3).map(|n| (key_id(n), vec![n as u8; 60])).collect()),
    )
    .expect("keys");
    verify(shard);
}

fn verify(shard: &septum_storage::Shard) {
    for number in 0..60 {
        assert_eq!(is_whole(shard, number, LEN), !(5..30).contains(&number), "{number}");
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("dir")
        .map(|e| e.expect("entry").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    files
}

#[test]
fn a_sound_store_passes_and_reopens_after_compaction() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    fill(&config);
    let report = check(&config);
    assert!(report.is_sound() && report.notes.is_empty(), "{report:#?}");
    assert_eq!((report.num_objects, report.num_keys), (70, 3));
    let store = open(&config);
    assert!(matches!(fsck(&config, &vfs()), Err(StorageError::Locked)));
    verify(&store.shards()[0]);
    drop(store);
    std::fs::remove_dir_all(config.phi_root.join("shard-0000/index")).expect("removed");
    verify(&open(&config).shards()[0]);
    assert!(check(&config).is_sound(), "after a rebuild across compacted segments");
}

#[test]
fn planted_damage_is_found() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    fill(&config);
    let journal = files(&config.phi_root.join("shard-0000/journal"));
    let pixels = files(&config.pixel_root.join("shard-0000/pixels"));
    let keys = files(&config.key_root.join("keys"));
    assert!(
        journal.len() > 1 && pixels.len() > 1,
        "{} {}",
        journal.len(),
        pixels.len()
    );
    let mut num_planted = 0;
    let mut plant = |what: &str, damage: &mut dyn FnMut()| {
        let all: Vec<_> = journal.iter().chain(&pixels).chain(&keys).collect();
        let clean: Vec<_> = all.iter().map(|path| std::fs::read(path).expect("read")).collect();
        damage();
        let report = check(&config);
        assert!(!report.is_sound(), "{what} was not found");
        all.iter()
            .zip(clean)
            .for_each(|(path, bytes)| std::fs::write(path, bytes).expect("restored"));
        num_planted += 1;
    };
    for (name, files) in [("journal", &journal), ("pixels", &pixels), ("keys", &keys)] {
        let path = &files[0];
        let last = &files[files.len() - 1];
        let len = std::fs::read(path).expect("read").len();
        plant(&format!("{name}: deleted"), &mut || {
            std::fs::remove_file(path).expect("removed")
        });
        plant(&format!("{name}: last deleted"), &mut || {
            std::fs::remove_file(last).expect("removed")
        });
        plant(&format!("{name}: cut"), &mut || {
            let bytes = std::fs::read(path).expect("read");
            std::fs::write(path, &bytes[..bytes.len() - 40]).expect("written");
        });
        if files.len() > 1 {
            plant(&format!("{name}: swapped"), &mut || {
                let (one, other) = (
                    std::fs::read(path).expect("read"),
                    std::fs::read(&files[1]).expect("read"),
                );
                std::fs::write(path, other).expect("written");
                std::fs::write(&files[1], one).expect("written");
            });
        }
        for at in [8, 60, 126] {
            plant(&format!("{name}: header byte {at} flipped"), &mut || {
                let mut bytes = std::fs::read(path).expect("read");
                bytes[at] ^= 16;
                std::fs::write(path, bytes).expect("written");
            });
        }
        if name != "pixels" {
            for at in (130..len).step_by(len / 12) {
                plant(&format!("{name}: byte {at} flipped"), &mut || {
                    let mut bytes = std::fs::read(path).expect("read");
                    bytes[at] ^= 1;
                    std::fs::write(path, bytes).expect("written");
                });
            }
        }
    }
    println!("{num_planted} planted, {num_planted} found");
    assert!(check(&config).is_sound());
}

#[test]
fn a_lost_partition_map_is_found_and_made_anew() {
    let dir = tempfile::tempdir().expect("dir");
    let config = StoreConfig {
        shards: 3,
        ..config(dir.path())
    };
    drop(open(&config));
    let map = config.phi_root.join("layout");
    let clean = std::fs::read(&map).expect("read");
    let rebuild = || {
        let rebuilding = StoreConfig {
            create: false,
            rebuild_index: true,
            ..config.clone()
        };
        try_open(&rebuilding).map(drop)
    };
    let mut flipped = clean.clone();
    flipped[700] ^= 4;
    for lost in [None, Some(Vec::new()), Some(clean[..900].to_vec()), Some(flipped)] {
        match &lost {
            None => std::fs::remove_file(&map).expect("removed"),
            Some(bytes) => std::fs::write(&map, bytes).expect("written"),
        }
        let report = check(&config);
        assert_eq!(report.findings.len(), 1, "{report:#?}");
        assert!(report.findings[0].to_string().contains("partition map"), "{report:#?}");
        assert!(matches!(try_open(&config), Err(StorageError::Identity(_))));
        rebuild().expect("made anew");
        assert_eq!(std::fs::read(&map).expect("read"), clean);
        assert!(check(&config).is_sound());
    }
    std::fs::remove_file(&map).expect("removed");
    let foreign = config.pixel_root.join("shard-0003");
    std::fs::create_dir(&foreign).expect("a folder too many");
    let refused = rebuild().expect_err("the folders do not fit").to_string();
    assert!(
        refused.contains("3 shards") && refused.contains("folders of 4"),
        "{refused}"
    );
    assert!(!map.exists());
}

#[test]
fn an_old_journal_or_index_is_found() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    fill(&config);
    let last = files(&config.phi_root.join("shard-0000/journal"))
        .pop()
        .expect("a segment");
    let old = std::fs::read(&last).expect("read");
    let store = open(&config);
    let _proof = store_one(&store.shards()[0], 100, LEN).expect("commit");
    drop(store);
    let new = std::fs::read(&last).expect("read");
    std::fs::write(&last, &old).expect("rolled back");
    assert!(!check(&config).is_sound());
    std::fs::write(&last, new).expect("restored");
    assert!(check(&config).is_sound());
}

#[test]
fn scrub_covers_everything_in_small_steps_and_finds_damage() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    fill(&config);
    let scrub = || {
        let store = open(&config);
        let mut cursor = ScrubCursor::default();
        let (mut num, mut damage, mut steps) = (0, Vec::new(), 0);
        loop {
            let report = store.scrub(&mut cursor, 5000).expect("scrubs");
            num += report.num_verified;
            damage.extend(report.damage);
            steps += 1;
            if report.is_finished {
                return (num, damage, steps);
            }
        }
    };
    let (num, damage, steps) = scrub();
    assert!(damage.is_empty() && steps > 5, "{damage:?}, {steps} steps");
    assert!(num > 73, "{num}");
    let path = files(&config.pixel_root.join("shard-0000/pixels"))
        .pop()
        .expect("a segment");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[300] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let (_, damage, _) = scrub();
    assert_eq!(damage.len(), 1, "{damage:?}");
    bytes[140] ^= 1;
    bytes[300] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    assert!(!scrub().1.is_empty());
}

#[test]
fn backup_under_load_incremental_and_restore() {
    let dir = tempfile::tempdir().expect("dir");
    let source = config(&dir.path().join("one"));
    fill(&source);
    let roots = BackupRoots::under(&dir.path().join("backup"));
    let store = open(&source);
    let first = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            for number in 200..260 {
                let _proof = store_one(&store.shards()[0], number, LEN).expect("commit");
                let _report = store.shards()[0].compact(10_000).expect("compacts");
            }
        });
        let first = backup(&store, &roots, &[]).expect("backup under load");
        load.join().expect("load");
        first
    });
    assert_eq!(first.copied_bytes, first.total_bytes);
    let _proof = block_on(store.keys().destroy(&[key_id(1)])).expect("destroyed");
    let second = backup(&store, &roots, &[]).expect("second backup");
    assert!(second.copied_bytes < second.total_bytes, "{second:?}");
    let third = backup(&store, &roots, &[]).expect("third backup");
    assert_eq!(third.copied_bytes, 0, "nothing new");
    let _proof = store_one(&store.shards()[0], 300, LEN).expect("commit after the backup");
    drop(store);

    let target = config(&dir.path().join("two"));
    let report = restore(&roots, &target, &vfs()).expect("restores");
    assert_eq!(report.batches, third.batches);
    let check_restored = check(&target);
    assert!(check_restored.is_sound(), "{check_restored:#?}");
    let restored = open(&target);
    let shard = &restored.shards()[0];
    verify(shard);
    (200..260).for_each(|number| assert!(is_whole(shard, number, LEN)));
    assert!(!is_whole(shard, 300, LEN), "later than the backup");
    assert_eq!(
        restored.keys().get(&key_id(1)).expect("gone"),
        None,
        "destroyed stays destroyed"
    );
    assert_eq!(restored.keys().get(&key_id(2)).expect("key"), Some(vec![2; 60]));
    let _proof = store_one(shard, 301, LEN).expect("the restored store works on");
    drop(restored);
    assert!(matches!(
        restore(&roots, &target, &vfs()),
        Err(StorageError::NotEmpty(_))
    ));

    let other = config(&dir.path().join("three"));
    drop(open(&other));
    let error = backup(&open(&other), &roots, &[]).expect_err("another store's backup");
    assert!(matches!(error, StorageError::Identity(_)));
    let copy = files(&roots.pixel.join("shard-00000")).pop().expect("a copy");
    flip(&copy, 500);
    let four = config(&dir.path().join("four"));
    assert!(restore(&roots, &four, &vfs()).expect_err("damaged").is_corrupt());
    assert!(
        try_open(&StoreConfig { create: false, ..four }).is_err(),
        "a failed restore is no store"
    );
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn rotten_copies_are_named_and_made_anew() {
    let dir = tempfile::tempdir().expect("dir");
    let source = config(&dir.path().join("one"));
    fill(&source);
    let roots = BackupRoots::under(&dir.path().join("backup"));
    let store = open(&source);
    backup(&store, &roots, &[]).expect("first");
    assert_eq!(check_backup(&roots, &RealVfs).expect("checked"), []);
    let rotten = [
        files(&roots.pixel.join("shard-00000"))[0].clone(),
        files(&roots.phi.join("shard-00000"))[0].clone(),
        files(&roots.key.join("keys"))[0].clone(),
    ];
    flip(&rotten[0], 400);
    std::fs::write(&rotten[1], b"cut").expect("cut");
    std::fs::remove_file(&rotten[2]).expect("removed");

    let target = config(&dir.path().join("two"));
    let error = restore(&roots, &target, &vfs()).expect_err("damaged");
    let text = error.to_string();
    for path in &rotten {
        assert!(text.contains(&path.display().to_string()), "{text}");
    }
    for root in [&target.phi_root, &target.pixel_root, &target.key_root] {
        let mut left: Vec<_> = std::fs::read_dir(root)
            .expect("dir")
            .map(|e| e.expect("entry").file_name())
            .collect();
        left.retain(|name| name != "LOCK");
        assert!(left.is_empty(), "{left:?}");
    }

    let damaged = check_backup(&roots, &RealVfs).expect("checked");
    assert_eq!(damaged.len(), 3, "{damaged:?}");
    backup(&store, &roots, &damaged).expect("second");
    assert_eq!(check_backup(&roots, &RealVfs).expect("checked"), []);
    drop(store);
    restore(&roots, &target, &vfs()).expect("restored without wiping anything");
    verify(&open(&target).shards()[0]);
}

#[test]
fn the_remains_of_a_killed_restore_are_cleared_and_nothing_else() {
    let dir = tempfile::tempdir().expect("dir");
    let source = config(&dir.path().join("one"));
    fill(&source);
    let roots = BackupRoots::under(&dir.path().join("backup"));
    backup(&open(&source), &roots, &[]).expect("backup");
    let target = config(&dir.path().join("two"));
    restore(&roots, &target, &vfs()).expect("restored");
    // As if it had been killed before the end.
    std::fs::rename(target.phi_root.join("identity"), dir.path().join("kept")).expect("renamed");
    std::fs::write(target.phi_root.join("restoring"), [0; 16]).expect("marked");
    let foreign = target.key_root.join("root.key");
    std::fs::write(&foreign, b"key").expect("written");
    assert!(matches!(
        restore(&roots, &target, &vfs()),
        Err(StorageError::NotEmpty(_))
    ));
    assert!(foreign.exists(), "what no restore made is left alone");
    std::fs::remove_file(&foreign).expect("removed");
    restore(&roots, &target, &vfs()).expect("restored over the remains");
    verify(&open(&target).shards()[0]);
    // A store in use is never taken for remains.
    std::fs::write(target.phi_root.join("restoring"), [0; 16]).expect("marked");
    assert!(matches!(
        restore(&roots, &target, &vfs()),
        Err(StorageError::NotEmpty(_))
    ));
    verify(&open(&target).shards()[0]);
}
