//! An instance sent again with other content: the newest is current at every door (invariant 5), searches included.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::Bench;
use septum_core::query::{Level, Query};
use septum_engine::pipeline::messages::StoreKind;
use septum_engine::search::{Scope, search};
use septum_storage::RowKind;
use septum_testkit::TinyInstance;
use serde_json::{Map, Value};

const ACCESSION_NUMBER: (u16, u16) = (0x0008, 0x0050);
const MODALITY: (u16, u16) = (0x0008, 0x0060);
const STUDY_DESCRIPTION: (u16, u16) = (0x0008, 0x1030);
const SERIES_DESCRIPTION: (u16, u16) = (0x0008, 0x103E);

const COMPREHENSIVE_SR: &str = "1.2.840.10008.5.1.4.1.1.88.33";

fn first(seed: u64) -> TinyInstance {
    TinyInstance::new(seed)
        .with_text(ACCESSION_NUMBER, b"SH", "A1")
        .with_text(STUDY_DESCRIPTION, b"LO", "first")
        .with_text(SERIES_DESCRIPTION, b"LO", "one")
}

/// The same without an Accession Number.
fn second(seed: u64) -> TinyInstance {
    first(seed)
        .with_text((0x0010, 0x0010), b"PN", "CORRECTED^NAME")
        .with_text(STUDY_DESCRIPTION, b"LO", "second")
        .with_text(SERIES_DESCRIPTION, b"LO", "two")
        .with_text(MODALITY, b"CS", "MR")
        .without(ACCESSION_NUMBER)
}

async fn found(bench: &Bench, level: Level, text: &str) -> Vec<Map<String, Value>> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let query = Query::parse(level, pairs.chain([("includefield".to_owned(), "all".to_owned())])).unwrap();
    let namespaces = std::slice::from_ref(&bench.namespace);
    let found = search(&bench.archive.services, namespaces, Scope::default(), &query);
    found
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|item| item.attributes)
        .collect()
}

fn texts(attributes: &Map<String, Value>, tag: &str) -> Vec<String> {
    let values = attributes.get(tag).and_then(|attribute| attribute["Value"].as_array());
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or(value["Alphabetic"].as_str().unwrap_or_default())
            .to_owned()
    };
    values.into_iter().flatten().map(text).collect()
}

/// What searches of all levels find.
async fn check(bench: &Bench, cases: &[(&str, [usize; 3])]) {
    for (text, expected) in cases {
        for (level, expected) in [Level::Study, Level::Series, Level::Instance].into_iter().zip(expected) {
            assert_eq!(found(bench, level, text).await.len(), *expected, "{level:?} {text}");
        }
    }
}

async fn folded(bench: &Bench) {
    let start = Instant::now();
    let num_unfolded = || {
        let shards = bench.archive.services.store.shards().iter();
        let rows = shards.map(|shard| shard.scan(&RowKind::Unfolded.key(&[]), None, 100).unwrap().len());
        rows.sum::<usize>()
    };
    while num_unfolded() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is folded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn invariant_5_what_was_replaced_is_found_no_more() {
    let bench = Bench::new().await;
    assert_eq!(
        bench.store(&first(1).build().bytes).await.unwrap().kind,
        StoreKind::Stored
    );
    folded(&bench).await;
    check(&bench, &[("AccessionNumber=A1", [1; 3]), ("Modality=OT", [1; 3])]).await;
    assert_eq!(
        bench.store(&second(1).build().bytes).await.unwrap().kind,
        StoreKind::Version
    );
    let cases = [
        ("AccessionNumber=A1", [0; 3]),
        ("StudyDescription=first", [0; 3]),
        ("StudyDescription=second", [1; 3]),
        ("SeriesDescription=one", [0; 3]),
        ("SeriesDescription=two", [1; 3]),
        ("PatientName=CORRECTED*", [1; 3]),
        ("Modality=OT", [0; 3]),
        ("Modality=MR", [1; 3]),
        ("ModalitiesInStudy=OT", [0; 3]),
        ("ModalitiesInStudy=MR", [1; 3]),
    ];
    check(&bench, &cases).await;
    let study = found(&bench, Level::Study, "").await.remove(0);
    assert_eq!(
        (texts(&study, "00100010"), texts(&study, "00080061")),
        (vec!["CORRECTED^NAME".to_owned()], vec!["MR".to_owned()])
    );
    folded(&bench).await;
    check(&bench, &cases).await;
    let bench = bench.reopen().await;
    check(&bench, &cases).await;
    bench.must_be_sound().await;
}

#[tokio::test]
async fn what_no_instance_says_any_more_goes_once_the_study_is_stable() {
    let bench = Bench::with(|config| config.stable_after = Duration::from_secs(2)).await;
    for seed in 1..4 {
        bench.store(&first(seed).build().bytes).await.unwrap();
    }
    let replaced = second(1).with_text((0x0008, 0x0016), b"UI", COMPREHENSIVE_SR);
    bench.store(&replaced.build().bytes).await.unwrap();
    // The others say the old values: they stay where nothing newer is said.
    let cases = [
        ("AccessionNumber=A1", [1, 1, 3]),
        ("StudyDescription=second", [1, 1, 3]),
        ("Modality=OT", [1, 1, 2]),
        ("Modality=MR", [1, 1, 1]),
    ];
    check(&bench, &cases).await;
    folded(&bench).await;
    check(&bench, &cases).await;
    for seed in 2..4 {
        bench.store(&second(seed).build().bytes).await.unwrap();
    }
    bench.store(&second(1).build().bytes).await.unwrap();
    check(
        &bench,
        &[("StudyDescription=second", [1, 1, 3]), ("Modality=MR", [1, 1, 3])],
    )
    .await;
    folded(&bench).await;
    let cases = [
        ("AccessionNumber=A1", [0; 3]),
        ("StudyDescription=second", [1, 1, 3]),
        ("Modality=OT", [0; 3]),
        ("ModalitiesInStudy=OT", [0; 3]),
        ("ModalitiesInStudy=MR", [1, 1, 3]),
    ];
    check(&bench, &cases).await;
    let study = found(&bench, Level::Study, "").await.remove(0);
    assert_eq!(texts(&study, "00080062").len(), 1, "one SOP class is left");
    let bench = bench.reopen().await;
    check(&bench, &cases).await;
    bench.must_be_sound().await;
}

#[tokio::test]
async fn instances_of_one_series_keep_their_own_modality() {
    let bench = Bench::new().await;
    bench
        .store(&first(1).with_text(MODALITY, b"CS", "CT").build().bytes)
        .await
        .unwrap();
    bench
        .store(&first(2).with_text(MODALITY, b"CS", "SR").build().bytes)
        .await
        .unwrap();
    let cases = [
        ("Modality=CT", [1, 1, 1]),
        ("Modality=SR", [1, 1, 1]),
        ("Modality=SR&InstanceNumber=2", [0, 0, 0]),
        ("Modality=SR&InstanceNumber=3", [1, 1, 1]),
        ("ModalitiesInStudy=SR", [1, 1, 2]),
        ("Modality=US", [0, 0, 0]),
    ];
    check(&bench, &cases).await;
    let study = found(&bench, Level::Study, "").await.remove(0);
    assert_eq!(texts(&study, "00080061"), ["CT", "SR"]);
    let mut own: Vec<String> = Vec::new();
    for instance in found(&bench, Level::Instance, "").await {
        own.extend(texts(&instance, "00080060"));
    }
    own.sort();
    assert_eq!(own, ["CT", "SR"]);
    assert_eq!(
        texts(&found(&bench, Level::Series, "Modality=SR").await[0], "00080060"),
        ["SR"]
    );
}
