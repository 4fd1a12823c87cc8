//! What happens at the same time as something else, or is damaged, changes nothing of what is found and read.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Bench, identity, source};
use septum_core::query::columns::{CompiledPredicates, Page};
use septum_core::query::{Level, Query};
use septum_engine::EngineError;
use septum_engine::archive::{Archive, ArchiveConfig};
use septum_engine::columns::Match;
use septum_engine::error::ErrorKind;
use septum_engine::folding::series;
use septum_engine::maintenance;
use septum_engine::patients::PatientKey;
use septum_engine::records::{FoldedRow, key};
use septum_engine::retrieve::StudyRef;
use septum_engine::retrieve::frames::{check_stored, stored_frame};
use septum_engine::retrieve::metadata::{Reader, SeriesMetadata};
use septum_engine::retrieve::stream::{Form, pixels_of};
use septum_engine::search::{Scope, search};
use septum_storage::{RowKind, StorageError};
use septum_testkit::TinyInstance;

const STUDY_UID: &str = "1.2.826.0.1.3680043.10.999.1";

/// An instance of one large series.
fn slice(number: u64) -> Vec<u8> {
    let instance = TinyInstance::new(number)
        .with_text((0x0020, 0x000D), b"UI", STUDY_UID)
        .with_text((0x0020, 0x000E), b"UI", "1.2.826.0.1.3680043.10.999.2")
        .with_text((0x0020, 0x0013), b"IS", &number.to_string());
    instance.build().bytes
}

/// A bench that folds nothing by itself.
async fn quiet() -> Arc<Bench> {
    Arc::new(Bench::with(|config| config.stable_after = Duration::from_secs(3_600)).await)
}

async fn store_all(bench: &Arc<Bench>, numbers: impl IntoIterator<Item = u64>) {
    let tasks: Vec<_> = numbers
        .into_iter()
        .map(|number| {
            let bench = Arc::clone(bench);
            tokio::spawn(async move { bench.store(&slice(number)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

fn study(bench: &Bench, uid: &str) -> StudyRef {
    StudyRef::find(&bench.archive.services, &bench.namespace, uid).unwrap()
}

fn number_of(text: &str) -> u64 {
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    let number = &json["00200013"]["Value"][0];
    number
        .as_u64()
        .unwrap_or_else(|| number.as_str().unwrap().parse().unwrap())
}

/// Instance Numbers in the order in which they are read; fails when one shows twice.
async fn numbers(bench: &Bench) -> Vec<u64> {
    let services = &bench.archive.services;
    let mut reader = Reader::new(services, &study(bench, STUDY_UID), None).unwrap();
    let mut all = Vec::new();
    while let Some(entries) = reader.next().await.unwrap() {
        all.extend(entries.iter().map(|entry| number_of(&entry.text)));
    }
    let distinct: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "each instance shows once");
    all
}

async fn fold(bench: &Bench, held_bytes_max: usize) {
    let study = study(bench, STUDY_UID);
    let token = study.series_token("1.2.826.0.1.3680043.10.999.2");
    series::fold(&bench.archive.services, &study, token, held_bytes_max)
        .await
        .unwrap();
}

async fn found(bench: &Bench, level: Level, text: &str) -> Result<Vec<String>, EngineError> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    let query = Query::parse(level, pairs).unwrap();
    let namespaces = std::slice::from_ref(&bench.namespace);
    let found = search(&bench.archive.services, namespaces, Scope::default(), &query).await?;
    let item = |item: septum_engine::search::Item| serde_json::to_string(&item.attributes).unwrap();
    Ok(found.items.into_iter().map(item).collect())
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn num_rows(bench: &Bench, kind: RowKind) -> usize {
    let shards = bench.archive.services.store.shards();
    let rows = shards
        .iter()
        .map(|shard| shard.scan(&kind.key(&[]), None, 10_000).unwrap().len());
    rows.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_series_shows_each_instance_once_while_it_is_folded() {
    let bench = quiet().await;
    store_all(&bench, 0..520).await;
    let reading = {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move {
            for _ in 0..20 {
                assert_eq!(numbers(&bench).await.len(), 520);
            }
        })
    };
    fold(&bench, series::HELD_BYTES_MAX).await;
    reading.await.unwrap();

    // A reader that was told of blocks which are gone when it comes to them.
    let services = &bench.archive.services;
    let mut reader = Reader::new(services, &study(&bench, STUDY_UID), None).unwrap();
    let mut read: Vec<u64> = Vec::new();
    let mut note = |entries: &[septum_engine::retrieve::metadata::Entry]| {
        read.extend(entries.iter().map(|entry| number_of(&entry.text)));
    };
    note(&reader.next().await.unwrap().unwrap());
    store_all(&bench, 520..600).await;
    fold(&bench, series::HELD_BYTES_MAX).await;
    while let Some(entries) = reader.next().await.unwrap() {
        note(&entries);
    }
    let distinct: BTreeSet<u64> = read.iter().copied().collect();
    assert_eq!((distinct.len(), read.len()), (600, 600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_too_long_to_be_held_is_folded_all_the_same() {
    let bench = quiet().await;
    store_all(&bench, (0..40).map(|number| number * 2)).await;
    fold(&bench, 10_000).await;
    store_all(&bench, (0..40).map(|number| number * 2 + 1)).await;
    // Nothing is held: texts come from rows and from the block, in turn.
    fold(&bench, 0).await;
    assert_eq!(num_rows(&bench, RowKind::Metadata), 1, "all is folded");
    assert_eq!(numbers(&bench).await, (0..80).collect::<Vec<_>>());
    let study = study(&bench, STUDY_UID);
    let token = study.series_token("1.2.826.0.1.3680043.10.999.2");
    let stored = SeriesMetadata::load(&bench.archive.services, &study, token).unwrap();
    let (row, _): (FoldedRow, _) = stored.folded.unwrap();
    assert_eq!((row.num_instances, row.blocks.len()), (80, 1));
    let page = found(&bench, Level::Instance, "limit=3&offset=5&includefield=InstanceNumber")
        .await
        .unwrap();
    assert_eq!(page.iter().map(|text| number_of(text)).collect::<Vec<_>>(), [5, 6, 7]);
}

#[tokio::test]
async fn instances_come_in_their_order_however_they_are_stored() {
    let bench = quiet().await;
    store_all(&bench, (0..30).rev()).await;
    let all = found(&bench, Level::Instance, "").await.unwrap();
    assert_eq!(
        all.iter().map(|text| number_of(text)).collect::<Vec<_>>(),
        (0..30).collect::<Vec<_>>()
    );
    for (offset, limit) in [(0, 10), (10, 10), (25, 10), (30, 1), (29, 1)] {
        let page = found(&bench, Level::Instance, &format!("limit={limit}&offset={offset}"))
            .await
            .unwrap();
        let end = (offset + limit).min(30);
        assert_eq!(page, all[offset.min(30)..end], "{offset} {limit}");
    }
    let descending = found(&bench, Level::Instance, "orderby=-InstanceNumber&limit=2")
        .await
        .unwrap();
    assert_eq!(
        descending.iter().map(|text| number_of(text)).collect::<Vec<_>>(),
        [29, 28]
    );
}

#[tokio::test]
async fn a_scan_finds_studies_that_become_fresh_while_it_runs() {
    let bench = Bench::new().await;
    let services = &bench.archive.services;
    let files: Vec<Vec<u8>> = (1..13)
        .map(|seed| TinyInstance::new(seed * 100).build().bytes)
        .collect();
    for file in &files {
        bench.store(file).await.unwrap();
    }
    until("nothing is folded", async || num_rows(&bench, RowKind::Unfolded) == 0).await;
    let row_keys: Vec<(usize, Vec<u8>)> = files
        .iter()
        .map(|file| bench.find(file).unwrap().study)
        .map(|study| (study.shard, study.row_key))
        .collect();
    let (all, _) = CompiledPredicates::new(&[]);
    let nothing = serde_json::Map::new();
    // They stay in their pages at first, and then are about to leave them.
    for leaves in [false, true] {
        let (mut first, mut seen) = (true, BTreeSet::new());
        for shard in 0..services.ledgers.len() {
            let mut each = |found: Match, _: &Page, _: usize| {
                seen.insert(found.row_key());
                if std::mem::take(&mut first) {
                    for (shard, row_key) in &row_keys {
                        services.columns.note(*shard, row_key, &nothing, 0).unwrap();
                        if leaves {
                            services.columns.move_out(*shard, bench.namespace.id);
                        }
                    }
                }
            };
            let scan = services
                .columns
                .scan(services, bench.namespace.id, shard, &all, &mut each);
            scan.unwrap();
        }
        assert_eq!(seen, row_keys.iter().map(|(_, row_key)| row_key.clone()).collect());
    }
    // What was noted later is of another study, which erasing the one before it must not hide.
    let (shard, row_key) = &row_keys[0];
    let before = services.columns.stamp(*shard, row_key).unwrap();
    services.columns.note(*shard, row_key, &nothing, 0).unwrap();
    services.columns.forget(*shard, row_key, before).unwrap();
    let now = services.columns.stamp(*shard, row_key).unwrap();
    assert!(now.is_some() && now != before);
    services.columns.forget(*shard, row_key, now).unwrap();
    assert_eq!(services.columns.stamp(*shard, row_key).unwrap(), None);
}

#[tokio::test]
async fn studies_that_were_folded_since_they_were_found_can_be_erased() {
    let bench = Bench::new().await;
    let services = &bench.archive.services;
    let files = [100, 200, 201].map(|seed| TinyInstance::new(seed).build().bytes);
    for file in &files {
        bench.store(file).await.unwrap();
    }
    let [whole, part, rest] = files.each_ref().map(|file| bench.find(file).unwrap());
    assert!(whole.study.row.page.is_none() && part.study.row.page.is_none());
    until("nothing is folded", async || num_rows(&bench, RowKind::Unfolded) == 0).await;
    septum_engine::erase::of(services, whole.study.clone(), "1.2".to_owned(), &source())
        .await
        .unwrap();
    let removal = septum_engine::reseal::Removal {
        series_uid: part.record.series_uid.clone(),
        instance_uid: Some(part.record.instance_uid.clone()),
        only: None,
    };
    septum_engine::reseal::without(services, part.study.clone(), removal, &source())
        .await
        .unwrap();
    assert_eq!(found(&bench, Level::Study, "").await.unwrap().len(), 1);
    assert!(matches!(bench.find(&files[1]), Err(EngineError::NotFound)));
    assert!(
        bench.find(&files[2]).unwrap().study.id() != rest.study.id(),
        "re-sealed"
    );
}

/// Puts noise in place of the sealed part of every page of columns.
async fn damage_pages(bench: &Bench) {
    for ledger in &bench.archive.services.ledgers {
        let pages = ledger.shard().scan(&RowKind::Columns.key(&[]), None, 100).unwrap();
        let damage = ledger.commit(|staging| {
            for (row_key, mut value) in pages {
                let at = value.len() - 20;
                value[at] ^= 1;
                staging.put(row_key, value);
            }
            Ok(())
        });
        damage.await.unwrap();
    }
}

#[tokio::test]
async fn damaged_pages_are_made_anew_and_do_not_stop_erasing() {
    let bench = Bench::new().await;
    let files: Vec<Vec<u8>> = (1..6).map(|seed| TinyInstance::new(seed * 100).build().bytes).collect();
    for file in &files {
        bench.store(file).await.unwrap();
    }
    let is_folded = async || num_rows(&bench, RowKind::Unfolded) == 0;
    until("nothing is folded", is_folded).await;
    damage_pages(&bench).await;
    let gone = identity(&files[0]);
    septum_engine::erase::study(
        &bench.archive.services,
        &bench.namespace,
        gone.study.as_str(),
        &source(),
    )
    .await
    .unwrap();
    let bench = bench.reopen().await;
    // Of the other shard's page nobody has heard yet: a search says that it is damaged, and finds it mended later.
    until("not mended", async || match found(&bench, Level::Study, "").await {
        Ok(found) => {
            assert_eq!(found.len(), 4);
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            false
        }
    })
    .await;
    until("nothing is folded", async || num_rows(&bench, RowKind::Unfolded) == 0).await;
    assert_eq!(found(&bench, Level::Study, "").await.unwrap().len(), 4);
    for file in &files[1..] {
        assert!(bench.find(file).unwrap().study.row.page.is_some());
    }
}

#[tokio::test]
async fn one_damaged_row_hides_no_other_study() {
    let bench = Bench::new().await;
    for seed in 1..6 {
        bench.store(&TinyInstance::new(seed * 100).build().bytes).await.unwrap();
    }
    for ledger in &bench.archive.services.ledgers {
        let damage = ledger.commit(|staging| {
            // Before all others, so that whoever stops at it finds none.
            let row_key = RowKind::Study.key(&[&[0; 48]]);
            staging.put(key::beside(RowKind::Unfolded, &row_key), Vec::new());
            staging.put(row_key, vec![99]);
            staging.put(RowKind::Columns.key(&[&[0; 32]]), vec![99]);
            Ok(())
        });
        damage.await.unwrap();
    }
    let bench = bench.reopen().await;
    assert_eq!(found(&bench, Level::Study, "").await.unwrap().len(), 5);
}

#[tokio::test]
async fn frames_are_served_in_one_piece_only_as_far_as_memory_goes() {
    let bench = Bench::with(|config| config.read_memory_bytes = 64 << 10).await;
    let (small, large) = (
        TinyInstance::new(1).pixels(128, 128, 3, 16).build().bytes,
        TinyInstance::new(2).pixels(256, 256, 2, 16).build().bytes,
    );
    let services = &bench.archive.services;
    for file in [&small, &large] {
        bench.store(file).await.unwrap();
        // Whole instances go in pieces of their own.
        let instance = bench.find(file).unwrap();
        assert!(bench.read(&instance, Form::Original).await.is_ok());
    }
    let pixels = |file: &[u8]| pixels_of(services, &bench.find(file).unwrap()).unwrap().unwrap();
    assert_eq!(stored_frame(&pixels(&small), 1).await.unwrap().len(), 32 << 10);
    for refused in [
        stored_frame(&pixels(&large), 1).await.map(|_| ()),
        check_stored(services, &pixels(&large), 1),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotAcceptable);
        assert!(refused.to_string().contains("131072"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_of_the_catalogue_follow_one_another() {
    let bench = Bench::new().await;
    let services = Arc::clone(&bench.archive.services);
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let services = Arc::clone(&services);
            let put = async move {
                services
                    .accounts
                    .put_user("reader", format!("hash {number}"), false, None)
                    .await
            };
            tokio::spawn(put)
        })
        .collect();
    let mut ids = BTreeSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap().unwrap().id.to_string());
    }
    assert_eq!(ids.len(), 1, "one name is one user");
    // Whoever asks goes away at once; the change goes on, and memory with it.
    tokio::select! {
        biased;
        _ = services.accounts.put_user("hasty", String::new(), false, None) => panic!("nothing is that fast"),
        () = std::future::ready(()) => {}
    }
    until("never in memory", async || {
        services.accounts.user("hasty").unwrap().is_some()
    })
    .await;
    let key = |id: &str| PatientKey {
        issuer: String::new(),
        id: id.to_owned(),
    };
    let merge = |from: &'static str, into: &'static str| {
        let (services, namespace) = (Arc::clone(&services), Arc::clone(&bench.namespace));
        tokio::spawn(async move {
            services
                .patients
                .merge(&namespace, key(from), key(into), &source())
                .await
        })
    };
    let (one, other) = (merge("A", "B"), merge("B", "A"));
    let merged = [one.await.unwrap(), other.await.unwrap()];
    assert_eq!(
        merged.iter().filter(|merged| merged.is_ok()).count(),
        1,
        "not in a circle"
    );
    assert_eq!(services.patients.list(bench.namespace.id).len(), 1);
    let before = services.accounts.user("reader").unwrap().unwrap();
    drop(services);
    let bench = bench.reopen().await;
    let after = bench.archive.services.accounts.user("reader").unwrap().unwrap();
    assert_eq!((after.id, &after.password_hash), (before.id, &before.password_hash));
    assert_eq!(bench.archive.services.patients.list(bench.namespace.id).len(), 1);
}

#[tokio::test]
async fn the_root_key_is_proven_with_the_store() {
    let bench = Bench::new().await;
    bench.store(&slice(1)).await.unwrap();
    let Bench { root, archive, .. } = bench;
    archive.shutdown(Duration::from_secs(5)).await;
    let config = common::config(root.path());
    let findings = || {
        let report = loop {
            match maintenance::fsck(&config) {
                Err(EngineError::Storage(StorageError::Locked)) => std::thread::sleep(Duration::from_millis(5)),
                report => break report.unwrap(),
            }
        };
        report.findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(findings(), Vec::<String>::new());
    let clean = std::fs::read_to_string(&config.root_key_file).unwrap();
    let other_digit = if clean.starts_with('0') { "1" } else { "0" };
    let flipped_bit = {
        let mut bytes = clean.clone().into_bytes();
        bytes[9] ^= 0x80;
        bytes
    };
    for (key, word) in [
        (None, "is missing"),
        (Some(Vec::new()), "is damaged"),
        (Some(clean.as_bytes()[..40].to_vec()), "is damaged"),
        (Some(flipped_bit), "is damaged"),
        (Some(format!("{other_digit}{}", &clean[1..]).into_bytes()), "opens none"),
    ] {
        match key {
            None => std::fs::remove_file(&config.root_key_file).unwrap(),
            Some(key) => std::fs::write(&config.root_key_file, key).unwrap(),
        }
        let findings = findings();
        assert!(
            findings.len() == 1 && findings[0].contains(word),
            "{word}: {findings:?}"
        );
    }
    std::fs::write(&config.root_key_file, clean).unwrap();
    assert_eq!(findings(), Vec::<String>::new());
}

#[tokio::test]
async fn an_archive_that_drains_or_lost_its_catalogue_is_not_ready() {
    let bench = Bench::new().await;
    bench.store(&slice(1)).await.unwrap();
    let metrics = |archive: &Archive| String::from_utf8(archive.metrics()).unwrap();
    assert!(bench.archive.is_ready() && metrics(&bench.archive).contains("septum_ready 1"));
    bench.archive.drain();
    assert!(!bench.archive.is_ready() && metrics(&bench.archive).contains("septum_ready 0"));
    let Bench { root, archive, .. } = bench;
    archive.shutdown(Duration::from_secs(5)).await;

    let journal = root.path().join("phi/catalog/journal/00000001.seg");
    let mut bytes = std::fs::read(&journal).unwrap();
    let near_the_end = bytes.len() - 20;
    bytes[near_the_end] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let archive = loop {
        let config = common::config(root.path());
        match Archive::open(ArchiveConfig {
            create: false,
            ..config
        })
        .await
        {
            Err(EngineError::Storage(StorageError::Locked)) => tokio::time::sleep(Duration::from_millis(5)).await,
            opened => break opened.unwrap(),
        }
    };
    assert!(!archive.is_ready(), "nothing can be read without the audit log");
    assert!(metrics(&archive).contains("septum_ready 0"));
}
