//! Extended attributes: what is found must not depend on what is kept of them, and what is kept must spare opening studies.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, identity, source};
use septum_core::query::{Level, Query};
use septum_engine::EngineError;
use septum_engine::extended::AddError;
use septum_engine::records::key;
use septum_engine::retrieve::StudyRef;
use septum_engine::search::{Scope, search};
use septum_storage::RowKind;
use septum_testkit::TinyInstance;

const COMMENTS: (u16, u16) = (0x0020, 0x4000);
const NUM_STUDIES: u64 = 4;

fn files() -> Vec<Vec<u8>> {
    let file = |seed: u64| {
        TinyInstance::new(100 * seed)
            .with_text(COMMENTS, b"LT", &format!("comment {seed}"))
            .with_text((0x0029, 0x0010), b"LO", "ACME")
            .with_text((0x0029, 0x1001), b"LO", &format!("P{seed}"))
            .build()
            .bytes
    };
    (0..NUM_STUDIES).map(file).collect()
}

fn study_uid(file: &[u8]) -> String {
    identity(file).study.as_str().to_owned()
}

async fn asked(bench: &Bench, text: &str) -> septum_engine::Result<Vec<(String, String)>> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let query = Query::parse(
        Level::Study,
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let (services, namespace) = (&bench.archive.services, std::slice::from_ref(&bench.namespace));
    let found = search(services, namespace, Scope::default(), &query.unwrap()).await?;
    let shown = |item: septum_engine::search::Item| (item.study_uid, serde_json::to_string(&item.attributes).unwrap());
    Ok(found.items.into_iter().map(shown).collect())
}

fn rows(bench: &Bench, kind: RowKind) -> Vec<(Vec<u8>, Vec<u8>)> {
    let shards = bench.archive.services.store.shards().iter();
    shards
        .flat_map(|shard| shard.scan(&kind.key(&[]), None, 1000).unwrap())
        .collect()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ready(bench: &Bench) {
    let extended = &bench.archive.services.extended;
    until("the work does not end", || extended.progress().is_complete).await;
}

async fn add(bench: &Bench, path: &str, creator: Option<&str>) -> Result<septum_core::ids::DocumentId, AddError> {
    let services = &bench.archive.services;
    let tag = services.extended.add(services, path, creator, &source()).await?;
    Ok(tag.id)
}

/// Makes the metadata of a study unreadable: who opens it fails.
async fn break_metadata(bench: &Bench, file: &[u8]) {
    let services = &bench.archive.services;
    let study = StudyRef::find(services, &bench.namespace, &study_uid(file)).unwrap();
    let series = study.series_token(identity(file).series.as_str());
    services.ledgers[study.shard]
        .commit(|staging| {
            staging.put(key::folded(study.id(), &series), vec![0xFF]);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn studies_that_were_there_are_kept_and_those_that_do_not_match_are_not_opened() {
    let bench = Bench::new().await;
    let files = files();
    for file in &files {
        bench.store(file).await.unwrap();
    }
    until("nothing is folded", || rows(&bench, RowKind::Unfolded).is_empty()).await;
    let searches = [
        "ImageComments=comment 2",
        "ImageComments=*3",
        "ImageComments=nothing",
        "00290010=ACME&00291001=P1",
        "00290010=OTHER&00291001=P1",
        "00291001=P1",
        "emptyvaluematching=true&ImageComments=\"\"",
    ];
    let mut before = Vec::new();
    for text in searches {
        before.push(asked(&bench, text).await.unwrap().len());
    }
    assert_eq!(before, [1, 1, 0, 1, 0, 1, 0]);
    add(&bench, "ImageComments", None).await.unwrap();
    let private = add(&bench, "00291001", Some("ACME")).await.unwrap();
    assert!(matches!(
        add(&bench, "00204000", None).await,
        Err(AddError::Engine(EngineError::Conflict(_)))
    ));
    ready(&bench).await;
    assert_eq!(rows(&bench, RowKind::Extended).len(), files.len());
    for (_, value) in rows(&bench, RowKind::Extended) {
        assert!(!value.windows(7).any(|window| window == b"comment"), "in the clear");
    }
    for (text, before) in searches.iter().zip(before) {
        assert_eq!(asked(&bench, text).await.unwrap().len(), before, "{text}");
    }
    let found = asked(&bench, "ImageComments=comment 2").await.unwrap();
    assert!(found[0].1.contains("comment 2"), "it is returned");
    let found = asked(&bench, "includefield=ImageComments").await.unwrap();
    assert!(found.iter().all(|(_, shown)| shown.contains("comment ")));

    break_metadata(&bench, &files[0]).await;
    assert!(asked(&bench, "ImageComments=comment 0").await.is_err(), "it is opened");
    assert_eq!(asked(&bench, "ImageComments=comment 2").await.unwrap().len(), 1);
    assert_eq!(asked(&bench, "00290010=ACME&00291001=P3").await.unwrap().len(), 1);
    // A row that rules nothing out is not believed to.
    assert!(asked(&bench, "00291001=P3").await.is_err());

    let services = &bench.archive.services;
    services.extended.remove(services, private, &source()).await.unwrap();
    assert!(asked(&bench, "00290010=ACME&00291001=P3").await.is_err());
}

#[tokio::test]
async fn what_comes_later_is_kept_when_it_is_folded_and_goes_with_its_study() {
    let bench = Bench::new().await;
    let files = files();
    let comments = add(&bench, "ImageComments", None).await.unwrap();
    ready(&bench).await;
    for file in &files {
        bench.store(file).await.unwrap();
    }
    assert_eq!(
        asked(&bench, "ImageComments=comment 1").await.unwrap().len(),
        1,
        "fresh"
    );
    until("it is not kept", || {
        rows(&bench, RowKind::Extended).len() == files.len()
    })
    .await;

    // The same instance once more, corrected: what it said before is found no more.
    let again = TinyInstance::new(100)
        .with_text(COMMENTS, b"LT", "another")
        .build()
        .bytes;
    bench.store(&again).await.unwrap();
    for _ in 0..2 {
        assert_eq!(asked(&bench, "ImageComments=another").await.unwrap().len(), 1);
        assert_eq!(asked(&bench, "ImageComments=comment 1").await.unwrap().len(), 0);
        until("nothing is folded", || rows(&bench, RowKind::Unfolded).is_empty()).await;
    }

    let services = &bench.archive.services;
    let uid = study_uid(&files[2]);
    septum_engine::erase::study(services, &bench.namespace, &uid, &source())
        .await
        .unwrap();
    assert_eq!(rows(&bench, RowKind::Extended).len(), files.len() - 1);

    let bench = bench.reopen().await;
    assert_eq!(bench.archive.services.extended.tags().len(), 1);
    ready(&bench).await;
    assert_eq!(asked(&bench, "ImageComments=comment 3").await.unwrap().len(), 1);
    let services = &bench.archive.services;
    services.extended.remove(services, comments, &source()).await.unwrap();
    ready(&bench).await;
    assert!(rows(&bench, RowKind::Extended).is_empty());
    bench.must_be_sound().await;
}
