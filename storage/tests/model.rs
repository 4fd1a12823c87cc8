//! Random operations against a model, with reopening, index loss, power cuts and compaction in between.

#![allow(clippy::expect_used, reason = "a test")]

mod support;

use proptest::prelude::*;
use septum_storage::vfs::FaultyVfs;
use septum_storage::{CommitBatch, Row, Shard, Store, StoreConfig};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::*;

#[derive(Debug, Clone)]
enum Op {
    /// Row, value, object length.
    Put(u8, u8, u16),
    Delete(u8),
    /// Appended, never committed.
    Abandon(u16),
    Compact,
    Reopen,
    PowerCut(u64),
    LoseIndex,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..24u8, any::<u8>(), 0..1500u16).prop_map(|(key, value, len)| Op::Put(key, value, len)),
        4 => (0..24u8).prop_map(Op::Delete),
        1 => (0..1500u16).prop_map(Op::Abandon),
        2 => Just(Op::Compact),
        1 => Just(Op::Reopen),
        1 => any::<u64>().prop_map(Op::PowerCut),
        1 => Just(Op::LoseIndex),
    ]
}

/// What a row refers to: value, object numbers, length.
type Model = BTreeMap<u8, (u8, u32, u16)>;

fn apply(shard: &Shard, model: &mut Model, next: &mut u32, op: &Op) {
    match op {
        Op::Put(row, value, len) => {
            *next += 1;
            let (number, len_bytes) = (*next, usize::from(*len));
            let placed = shard
                .put_batch_blocking(vec![(id(2 * number), body(number, len_bytes))])
                .expect("placed");
            let freed = model
                .get(row)
                .map(|(_, old, _)| vec![id(2 * old), id(2 * old + 1)])
                .unwrap_or_default();
            let batch = CommitBatch {
                rows: vec![Row::put(key(u32::from(*row)), vec![*value; 20])],
                objects: vec![(id(2 * number + 1), body(number + 7, len_bytes / 3).into())],
                placed,
                freed,
                ..CommitBatch::default()
            };
            let _proof = shard.submit(batch).wait().expect("commit");
            model.insert(*row, (*value, number, *len));
        }
        Op::Delete(row) => {
            let freed = model
                .remove(row)
                .map(|(_, old, _)| vec![id(2 * old), id(2 * old + 1)])
                .unwrap_or_default();
            let rows = vec![Row::delete(key(u32::from(*row)))];
            let _proof = shard
                .submit(CommitBatch {
                    rows,
                    freed,
                    ..CommitBatch::default()
                })
                .wait()
                .expect("commit");
        }
        Op::Abandon(len) => {
            *next += 1;
            drop(
                shard
                    .put_batch_blocking(vec![(id(2 * *next), body(*next, usize::from(*len)))])
                    .expect("placed"),
            );
        }
        Op::Compact => {
            shard.compact(u64::MAX).expect("compacts");
        }
        Op::Reopen | Op::PowerCut(_) | Op::LoseIndex => {}
    }
}

fn verify(shard: &Shard, model: &Model, next: u32) {
    let rows = shard.scan(&[0x10], None, 1000).expect("scan");
    let expected: Vec<_> = model
        .iter()
        .map(|(row, (value, ..))| (key(u32::from(*row)), vec![*value; 20]))
        .collect();
    assert_eq!(rows, expected);
    let live: std::collections::BTreeSet<u32> = model.values().map(|(_, number, _)| *number).collect();
    for (_, number, len) in model.values() {
        let len = usize::from(*len);
        assert_eq!(
            shard.read_object_blocking(id(2 * number), None).expect("pixels"),
            body(*number, len)
        );
        assert_eq!(
            shard.read_object_blocking(id(2 * number + 1), None).expect("header"),
            body(number + 7, len / 3)
        );
    }
    for number in (1..=next).filter(|number| !live.contains(number)) {
        assert_eq!(shard.object_bytes(id(2 * number)).expect("lookup"), None);
    }
    let stats = shard.stats();
    let bytes: u64 = model.values().map(|(.., len)| u64::from(*len) + 64).sum();
    assert_eq!(
        (stats.pixel_live_bytes, stats.num_pixel_objects),
        (bytes, model.len() as u64)
    );
}

fn run(ops: &[Op], mut open: impl FnMut() -> Arc<Store>, mut between: impl FnMut(&Op)) {
    let mut model = Model::new();
    let mut next = 0;
    let mut store = Some(open());
    for op in ops {
        let current = store.take().unwrap_or_else(&mut open);
        apply(&current.shards()[0], &mut model, &mut next, op);
        verify(&current.shards()[0], &model, next);
        match op {
            Op::Reopen | Op::PowerCut(_) | Op::LoseIndex => {
                drop(current);
                between(op);
                let reopened = open();
                verify(&reopened.shards()[0], &model, next);
                store = Some(reopened);
            }
            _ => store = Some(current),
        }
    }
}

/// `PROPTEST_CASES` asks for more.
fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(default)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(120), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn in_memory_with_power_cuts(ops in proptest::collection::vec(op(), 1..80)) {
        let vfs = FaultyVfs::new();
        run(&ops, || open_faulty(&vfs).expect("opens"), |op| match op {
            Op::PowerCut(seed) => vfs.power_cut(Some(*seed)),
            _ => vfs.restart(),
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(12), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn on_disk_with_rocksdb(ops in proptest::collection::vec(op(), 1..60)) {
        let dir = tempfile::tempdir().expect("dir");
        let config = StoreConfig { reserve_bytes: 0, ..config(dir.path()) };
        run(&ops, || open(&config), |op| if matches!(op, Op::LoseIndex) {
            std::fs::remove_dir_all(config.phi_root.join("shard-0000/index")).expect("removed");
        });
        let report = septum_storage::fsck(&config, &(Arc::new(septum_storage::vfs::RealVfs) as Arc<dyn septum_storage::vfs::Vfs>)).expect("fsck");
        prop_assert!(report.is_sound(), "{:#?}", report);
    }
}
