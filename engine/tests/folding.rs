//! Folding and searching: what is found must not depend on whether a study is fresh, folded or re-read after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{Bench, identity};
use septum_core::query::{Level, Query};
use septum_engine::records::key;
use septum_engine::retrieve::StudyRef;
use septum_engine::retrieve::metadata::Reader;
use septum_engine::search::{Scope, search};
use septum_storage::RowKind;
use septum_testkit::{StudySpec, TinyInstance};

const NUM_STUDIES: u64 = 5;

fn files() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for seed in 0..NUM_STUDIES {
        files.extend(StudySpec::ct(8, seed).instances().map(|instance| instance.bytes));
    }
    files
}

async fn found(bench: &Bench, level: Level, text: &str) -> Vec<String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    let query = Query::parse(level, pairs).unwrap();
    let found = search(
        &bench.archive.services,
        std::slice::from_ref(&bench.namespace),
        Scope::default(),
        &query,
    );
    let found = found.await.unwrap();
    let item = |item: septum_engine::search::Item| serde_json::to_string(&item.attributes).unwrap();
    found.items.into_iter().map(item).collect()
}

/// The answers to a set of searches.
async fn answers(bench: &Bench, files: &[Vec<u8>]) -> Vec<(String, Vec<String>)> {
    let first = String::from_utf8(identity(&files[0]).patient_id).unwrap();
    let first = first.trim();
    let mut answers = Vec::new();
    for (level, text) in [
        (Level::Study, String::new()),
        (Level::Study, format!("PatientID={first}")),
        (Level::Study, "PatientID=nobody".to_owned()),
        (Level::Study, "PatientName=*a*".to_owned()),
        (Level::Study, "StudyDate=19000101-20991231".to_owned()),
        (Level::Study, "limit=2&offset=1".to_owned()),
        (Level::Study, "ModalitiesInStudy=CT".to_owned()),
        (Level::Series, "Modality=CT".to_owned()),
        (Level::Instance, format!("PatientID={first}")),
        (Level::Instance, "InstanceNumber=3".to_owned()),
    ] {
        answers.push((text.clone(), found(bench, level, &text).await));
    }
    answers
}

async fn metadata(bench: &Bench, study_uid: &str) -> BTreeMap<Vec<u8>, String> {
    let services = &bench.archive.services;
    let study = StudyRef::find(services, &bench.namespace, study_uid).unwrap();
    let mut reader = Reader::new(services, &study, None).unwrap();
    let mut all = BTreeMap::new();
    while let Some(entries) = reader.next().await.unwrap() {
        for entry in entries {
            let known = all.insert(entry.instance.as_bytes().to_vec(), entry.text);
            assert!(known.is_none(), "each instance shows once");
        }
    }
    all
}

fn num_rows(bench: &Bench, prefix: &[u8]) -> usize {
    let shards = bench.archive.services.store.shards();
    shards
        .iter()
        .map(|shard| shard.scan(prefix, None, 10_000).unwrap().len())
        .sum()
}

async fn folded(bench: &Bench) {
    let start = Instant::now();
    while num_rows(bench, &RowKind::Unfolded.key(&[])) > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is folded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_is_found_does_not_depend_on_folding() {
    // Long enough for a busy machine to store a whole study: what comes later stays in rows.
    let bench = Bench::with(|config| config.stable_after = Duration::from_secs(3)).await;
    let files = files();
    for file in &files {
        bench.store(file).await.unwrap();
    }
    let study_uid = identity(&files[0]).study.as_str().to_owned();
    let (fresh, fresh_metadata) = (answers(&bench, &files).await, metadata(&bench, &study_uid).await);
    assert_eq!(fresh[0].1.len(), NUM_STUDIES as usize);
    assert_eq!((fresh[1].1.len(), fresh[2].1.len(), fresh[5].1.len()), (1, 0, 2));
    assert_eq!(fresh[8].1.len(), 8);
    folded(&bench).await;
    let num_folded = num_rows(&bench, &RowKind::Metadata.key(&[]));
    assert!(num_folded < files.len() / 4, "{num_folded} rows of metadata are left");
    assert!(num_rows(&bench, &RowKind::Columns.key(&[])) > 0);
    assert!(answers(&bench, &files).await == fresh, "folded");
    assert!(metadata(&bench, &study_uid).await == fresh_metadata, "folded");
    let bench = bench.reopen().await;
    assert!(answers(&bench, &files).await == fresh, "after a restart");
    assert!(metadata(&bench, &study_uid).await == fresh_metadata, "after a restart");
}

#[tokio::test]
async fn late_and_corrected_instances_show_at_once() {
    let bench = Bench::new().await;
    let files = files();
    for file in &files[1..] {
        bench.store(file).await.unwrap();
    }
    folded(&bench).await;
    let study_uid = identity(&files[0]).study.as_str().to_owned();
    assert_eq!(metadata(&bench, &study_uid).await.len(), 7);
    bench.store(&files[0]).await.unwrap();
    assert_eq!(metadata(&bench, &study_uid).await.len(), 8);
    let other = TinyInstance::new(99).build().bytes;
    bench.store(&other).await.unwrap();
    assert_eq!(found(&bench, Level::Study, "").await.len(), NUM_STUDIES as usize + 1);
    folded(&bench).await;
    assert_eq!(found(&bench, Level::Study, "").await.len(), NUM_STUDIES as usize + 1);
    assert_eq!(metadata(&bench, &study_uid).await.len(), 8);
}

#[tokio::test]
async fn invariant_9_what_is_erased_is_in_no_page_and_no_lookup() {
    let bench = Bench::new().await;
    let files = files();
    for file in &files {
        bench.store(file).await.unwrap();
    }
    folded(&bench).await;
    let services = &bench.archive.services;
    let before = page_keys(&bench);
    let (gone, source) = (identity(&files[0]), common::source());
    septum_engine::erase::study(services, &bench.namespace, gone.study.as_str(), &source)
        .await
        .unwrap();
    assert_eq!(found(&bench, Level::Study, "").await.len(), NUM_STUDIES as usize - 1);
    let destroyed = before
        .iter()
        .filter(|keys| services.keyring.study(**keys).is_err())
        .count();
    assert_eq!(destroyed, 1, "the keys of the page that it was in are destroyed");
    // Of the second study, one instance goes.
    let part = identity(&files[8]);
    septum_engine::erase::instance(
        services,
        &bench.namespace,
        part.study.as_str(),
        part.series.as_str(),
        part.instance.as_str(),
        &source,
    )
    .await
    .unwrap();
    assert_eq!(metadata(&bench, part.study.as_str()).await.len(), 7);
    assert_eq!(found(&bench, Level::Study, "").await.len(), NUM_STUDIES as usize - 1);
    folded(&bench).await;
    let bench = bench.reopen().await;
    assert_eq!(found(&bench, Level::Study, "").await.len(), NUM_STUDIES as usize - 1);
    for file in [&files[8], &files[16], &files[24], &files[32]] {
        let uid = identity(file);
        let source = common::source();
        septum_engine::erase::study(&bench.archive.services, &bench.namespace, uid.study.as_str(), &source)
            .await
            .unwrap();
    }
    assert!(found(&bench, Level::Study, "").await.is_empty());
    let own = key::studies(bench.namespace.id);
    for kind in [
        RowKind::Lookup,
        RowKind::Unfolded,
        RowKind::Metadata,
        RowKind::Series,
        RowKind::Version,
    ] {
        assert_eq!(num_rows(&bench, &kind.key(&[])), 0, "{kind:?}");
    }
    assert_eq!(num_rows(&bench, &own), 0);
}

fn page_keys(bench: &Bench) -> Vec<septum_core::ids::StudyKeyId> {
    let shards = bench.archive.services.store.shards();
    let rows = shards
        .iter()
        .flat_map(|shard| shard.scan(&RowKind::Columns.key(&[]), None, 100).unwrap());
    rows.map(|(_, row)| {
        septum_engine::records::decode::<septum_engine::records::ColumnsRow>(&row, "row")
            .unwrap()
            .keys
    })
    .collect()
}
