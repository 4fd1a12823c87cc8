//! The key store on real files.

#![allow(clippy::expect_used, reason = "a test")]

mod support;

use septum_core::ids::StudyKeyId;
use septum_storage::StorageError;
use support::*;

fn key_id(number: u32) -> StudyKeyId {
    // Like random ones: the search for traces looks for them at any offset.
    let hash = blake3::hash(&(number + 1_000_000).to_be_bytes());
    StudyKeyId::from_bytes(hash.as_bytes()[..16].try_into().expect("16 bytes"))
}

fn value(number: u32) -> Vec<u8> {
    blake3::hash(&number.to_be_bytes()).as_bytes().repeat(3)
}

fn all_bytes(config: &septum_storage::StoreConfig) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(config.key_root.join("keys")).expect("dir").flatten() {
        all.extend(std::fs::read(entry.path()).expect("read"));
    }
    all
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn keys_are_durable_replaceable_and_destroyed_for_good() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let store = open(&config);
    let keys = store.keys();
    block_on(async {
        for number in 0..100 {
            keys.put(vec![(key_id(number), value(number))]).await.expect("put");
        }
        keys.put((100..9000).map(|number| (key_id(number), value(number))).collect())
            .await
            .expect("put");
        keys.put_named(b"account/1", b"first wrapped account key 0123456789".to_vec())
            .await
            .expect("put");
        keys.put_named(b"account/1", b"second wrapped account key 0123456789".to_vec())
            .await
            .expect("put");
    });
    assert!(keys.stats().num_segments > 1, "{:?}", keys.stats());
    drop(store);
    let store = open(&config);
    let keys = store.keys();
    assert_eq!(keys.list().len(), 9000);
    assert_eq!(keys.get(&key_id(8999)).expect("key"), Some(value(8999)));
    assert_eq!(
        keys.get_named(b"account/1").expect("key"),
        Some(b"second wrapped account key 0123456789".to_vec())
    );
    assert_eq!(keys.list_named(b"acc"), [b"account/1".to_vec()]);
    assert!(contains(&all_bytes(&config), b"first wrapped account key"));
    let proof = block_on(keys.purge_superseded()).expect("purged");
    assert_eq!(proof.num_segments, 1);
    assert!(!contains(&all_bytes(&config), b"first wrapped account key"));
    let proof = block_on(keys.destroy(&[key_id(5), key_id(8999), key_id(77777)])).expect("destroyed");
    assert_eq!(proof.num_destroyed, 2);
    assert!(proof.searched_bytes > 0);
    let check = |store: &septum_storage::Store| {
        let bytes = all_bytes(&config);
        for number in [5, 8999] {
            assert_eq!(store.keys().get(&key_id(number)).expect("gone"), None);
            assert!(!contains(&bytes, &value(number)) && !contains(&bytes, key_id(number).as_bytes()));
        }
        for number in (0..5).chain(6..8999) {
            assert_eq!(
                store.keys().get(&key_id(number)).expect("kept"),
                Some(value(number)),
                "{number}"
            );
        }
    };
    check(&store);
    block_on(keys.put(vec![(key_id(9001), value(9001))])).expect("put goes on");
    drop(store);
    let store = open(&config);
    check(&store);
    assert_eq!(store.keys().get(&key_id(9001)).expect("key"), Some(value(9001)));
}

#[test]
fn damage_is_corrupt_and_a_lost_segment_is_noticed() {
    let dir = tempfile::tempdir().expect("dir");
    let config = config(dir.path());
    let store = open(&config);
    block_on(store.keys().put((0..10).map(|n| (key_id(n), value(n))).collect())).expect("put");
    drop(store);
    let path = config.key_root.join("keys/00000001.seg");
    let clean = std::fs::read(&path).expect("read");
    for bit in (128 * 8..clean.len() * 8).step_by(211) {
        let mut bytes = clean.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).expect("written");
        let store = open(&config);
        let mut num_corrupt = 0;
        for number in 0..10 {
            match store.keys().get(&key_id(number)) {
                Ok(Some(found)) => assert_eq!(found, value(number)),
                Ok(None) => panic!("bit {bit}: key {number} vanished"),
                Err(error) => {
                    assert!(error.is_corrupt(), "{error}");
                    num_corrupt += 1;
                }
            }
        }
        assert_eq!(num_corrupt, 1, "bit {bit}");
    }
    std::fs::remove_file(&path).expect("removed");
    let store = open(&config);
    assert!(store.keys().get(&key_id(1)).expect_err("lost").is_corrupt());
    assert_eq!(store.keys().stats().num_damaged, 1);
}

#[test]
fn limits() {
    let dir = tempfile::tempdir().expect("dir");
    let store = open(&config(dir.path()));
    let error = block_on(store.keys().put(vec![(key_id(1), vec![0; 65537])])).expect_err("too large");
    assert!(matches!(error, StorageError::TooLarge { .. }));
    let error = block_on(store.keys().put_named(&[1; 257], vec![])).expect_err("too long");
    assert!(matches!(error, StorageError::TooLarge { .. }));
}
