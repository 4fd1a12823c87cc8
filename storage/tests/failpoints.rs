//! The named points between the durable steps of a commit. Needs the feature `failpoints`; single-threaded by nature,
//! because fail points are global.
#![cfg(feature = "failpoints")]
#![allow(clippy::expect_used, reason = "a test")]

mod support;

use septum_storage::StorageError;
use support::*;

#[test]
fn a_failure_at_each_step_leaves_all_or_nothing() {
    for point in [
        "storage::append",
        "storage::fsync_pixels",
        "storage::fsync_journal",
        "storage::apply",
        "storage::ack",
    ] {
        let dir = tempfile::tempdir().expect("dir");
        let config = config(dir.path());
        let store = open(&config);
        let _proof = store_one(&store.shards()[0], 1, 500).expect("commit");
        fail::cfg(point, "return").expect("set");
        let error = store_one(&store.shards()[0], 2, 500).expect_err("fails");
        fail::remove(point);
        let is_over = matches!(error, StorageError::Poisoned { .. });
        assert_eq!(is_over, point != "storage::append", "{point}: {error}");
        assert_eq!(store_one(&store.shards()[0], 3, 500).is_ok(), !is_over, "{point}");
        drop(store);
        let store = open(&config);
        let shard = &store.shards()[0];
        assert!(is_whole(shard, 1, 500), "{point}");
        let found = is_whole(shard, 2, 500);
        match point {
            "storage::append" => assert!(!found),
            "storage::apply" | "storage::ack" => assert!(found, "{point}: durable on both roots"),
            _ => {}
        }
        let _proof = store_one(shard, 4, 500).expect("goes on");
    }
    let dir = tempfile::tempdir().expect("dir");
    let store = open(&config(dir.path()));
    fail::cfg("storage::fsync_keys", "return").expect("set");
    let id = septum_core::ids::StudyKeyId::random();
    assert!(matches!(
        block_on(store.keys().put(vec![(id, vec![1; 40])])),
        Err(StorageError::Poisoned { .. })
    ));
    fail::remove("storage::fsync_keys");
    assert!(matches!(store.keys().get(&id), Err(StorageError::Poisoned { .. })));
}
