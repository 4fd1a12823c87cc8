//! Studies in several namespaces on the same pixels (invariants 2, 4, 8 and 9).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{Bench, dataset_of, identity, source};
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::erase;
use septum_engine::pipeline::messages::StoreKind;
use septum_engine::retrieve::StudyRef;
use septum_engine::retrieve::stream::{self, Form};
use septum_engine::share::{self, Manner, Sharing, conflict};
use septum_storage::RowKind;
use septum_testkit::TinyInstance;

/// A study of three instances with pixels.
fn study() -> Vec<Vec<u8>> {
    let instance = |number| TinyInstance::new(number).pixels(64, 64, 2, 16).build().bytes;
    (0..3).map(instance).collect()
}

async fn other(bench: &Bench) -> Arc<Namespace> {
    let accounts = &bench.archive.services.accounts;
    let account = accounts.create_account("Other", None).await.unwrap();
    accounts.create_namespace(account.id, "There", "", None).await.unwrap()
}

fn found(bench: &Bench, namespace: &Namespace, file: &[u8]) -> Result<StudyRef, EngineError> {
    StudyRef::find(&bench.archive.services, namespace, identity(file).study.as_str())
}

async fn share_with(
    bench: &Bench,
    file: &[u8],
    into: &Arc<Namespace>,
    manner: Manner,
) -> Result<StudyRef, EngineError> {
    let sharing = Sharing {
        from: found(bench, &bench.namespace, file)?,
        into: Arc::clone(into),
        manner,
        by: source().user,
        message: "for a second look".into(),
        with_attachments: true,
    };
    share::share(&bench.archive.services, sharing, &source()).await
}

fn rows(bench: &Bench, kind: RowKind) -> usize {
    rows_of(bench, kind, 1000)
}

fn rows_of(bench: &Bench, kind: RowKind, most: usize) -> usize {
    let shards = bench.archive.services.store.shards().iter();
    shards
        .map(|shard| shard.scan(&kind.key(&[]), None, most).unwrap().len())
        .sum()
}

/// Bytes of all files below the pixel root.
fn pixel_bytes(bench: &Bench) -> u64 {
    fn sum(folder: &std::path::Path) -> u64 {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    sum(&entry.path())
                } else {
                    metadata.len()
                }
            })
            .sum()
    }
    sum(&bench.root.path().join("pixel"))
}

async fn is_whole(bench: &Bench, namespace: &Namespace, files: &[Vec<u8>]) {
    for file in files {
        let instance = bench.find_in(namespace, file).unwrap();
        let back = bench.read(&instance, Form::Original).await.unwrap();
        assert_eq!(dataset_of(&back), dataset_of(file));
    }
}

#[tokio::test]
async fn a_share_has_all_and_writes_no_pixels() {
    let (bench, files) = (Bench::new().await, study());
    let there = other(&bench).await;
    for file in &files {
        bench.store(file).await.unwrap();
    }
    let before = pixel_bytes(&bench);
    let shared = share_with(&bench, &files[0], &there, Manner::Share).await.unwrap();
    assert_eq!(pixel_bytes(&bench), before);
    is_whole(&bench, &there, &files).await;
    is_whole(&bench, &bench.namespace, &files).await;
    // Keys of its own for what names anybody.
    let original = found(&bench, &bench.namespace, &files[0]).unwrap();
    assert_ne!(shared.keys.phi, original.keys.phi);
    assert_ne!((shared.id(), shared.row.patient), (original.id(), original.row.patient));
    // Again: nothing happens. The other way: refused.
    let again = share_with(&bench, &files[0], &there, Manner::Share).await.unwrap();
    assert_eq!(again.id(), shared.id());
    let back = Sharing {
        from: shared.clone(),
        into: Arc::clone(&bench.namespace),
        manner: Manner::Share,
        by: source().user,
        message: String::new(),
        with_attachments: true,
    };
    let refused = share::share(&bench.archive.services, back, &source()).await;
    assert!(matches!(refused, Err(EngineError::Conflict(conflict::SAME))));
    // Who has it.
    let holders = share::holders(&bench.archive.services, &original).unwrap();
    let mut ids: Vec<_> = holders.iter().map(|(namespace, _)| namespace.id).collect();
    let mut expected = vec![bench.namespace.id, there.id];
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
    // After a restart as well.
    let bench = bench.reopen().await;
    is_whole(&bench, &there, &files).await;
}

#[tokio::test]
async fn a_thousand_instances_are_shared_without_a_pixel_byte() {
    let bench = Bench::new().await;
    let there = other(&bench).await;
    let uid = "1.2.826.0.1.3680043.10.999.77";
    let instance = |number: u64| {
        let tiny = TinyInstance::new(number);
        let texts = [
            ((0x0020, 0x000D), uid),
            ((0x0020, 0x000E), "1.2.826.0.1.3680043.10.999.77.1"),
        ];
        let tiny = texts
            .into_iter()
            .fold(tiny, |tiny, (tag, text)| tiny.with_text(tag, b"UI", text));
        tiny.build().bytes
    };
    for number in 0..1000 {
        bench.store(&instance(number)).await.unwrap();
    }
    let (before, records) = (pixel_bytes(&bench), pixel_records(&bench));
    share_with(&bench, &instance(0), &there, Manner::Share).await.unwrap();
    assert_eq!((pixel_bytes(&bench), pixel_records(&bench)), (before, records));
    assert_eq!(rows_of(&bench, RowKind::PixelUse, 2000), 1000);
    for number in [0, 500, 999] {
        is_whole(&bench, &there, &[instance(number)]).await;
    }
}

/// Pixel records of all shards.
fn pixel_records(bench: &Bench) -> usize {
    rows_of(bench, RowKind::PixelRecord, 2000)
}

#[tokio::test]
async fn sharing_again_brings_up_to_date() {
    let (bench, files) = (Bench::new().await, study());
    let there = other(&bench).await;
    for file in &files[..2] {
        bench.store(file).await.unwrap();
    }
    share_with(&bench, &files[0], &there, Manner::Share).await.unwrap();
    bench.store(&files[2]).await.unwrap();
    share_with(&bench, &files[0], &there, Manner::Share).await.unwrap();
    is_whole(&bench, &there, &files).await;
    assert_eq!(rows(&bench, RowKind::PixelUse), 3);
}

#[tokio::test]
async fn invariant_9_pixels_go_with_the_last_study() {
    let (bench, files) = (Bench::new().await, study());
    let there = other(&bench).await;
    for file in &files {
        bench.store(file).await.unwrap();
    }
    share_with(&bench, &files[0], &there, Manner::Share).await.unwrap();
    let services = Arc::clone(&bench.archive.services);
    let uid = identity(&files[0]).study.as_str().to_owned();
    erase::study(&services, &bench.namespace, &uid, &source())
        .await
        .unwrap();
    assert!(bench.find(&files[0]).is_err());
    is_whole(&bench, &there, &files).await;
    assert_eq!(
        (rows(&bench, RowKind::PixelRecord), rows(&bench, RowKind::PixelUse)),
        (3, 3)
    );
    erase::study(&services, &there, &uid, &source()).await.unwrap();
    for kind in [
        RowKind::PixelRecord,
        RowKind::PixelUse,
        RowKind::Version,
        RowKind::Study,
        RowKind::Saga,
        RowKind::Metadata,
        RowKind::Lookup,
    ] {
        assert_eq!(rows(&bench, kind), 0, "{kind:?}");
    }
    drop(services);
    // Nothing is left for a share of it to be made of.
    assert!(matches!(
        share_with(&bench, &files[0], &there, Manner::Share).await,
        Err(EngineError::NotFound)
    ));
    bench.must_be_sound().await;
}

#[tokio::test]
async fn what_is_deleted_here_stays_there() {
    let (bench, files) = (Bench::new().await, study());
    let there = other(&bench).await;
    for file in &files {
        bench.store(file).await.unwrap();
    }
    share_with(&bench, &files[0], &there, Manner::Duplicate).await.unwrap();
    let gone = identity(&files[1]);
    let (study, series, instance) = (gone.study.as_str(), gone.series.as_str(), gone.instance.as_str());
    let services = Arc::clone(&bench.archive.services);
    erase::instance(&services, &bench.namespace, study, series, instance, &source())
        .await
        .unwrap();
    assert!(bench.find(&files[1]).is_err());
    is_whole(&bench, &there, &files).await;
    erase::study(&services, &there, study, &source()).await.unwrap();
    // And the other way round, out of pixels that are common.
    share_with(&bench, &files[0], &there, Manner::Share).await.unwrap();
    assert!(bench.find_in(&there, &files[1]).is_err());
    let gone = identity(&files[0]);
    let (series, instance) = (gone.series.as_str(), gone.instance.as_str());
    erase::instance(&services, &there, study, series, instance, &source())
        .await
        .unwrap();
    is_whole(&bench, &there, &files[2..]).await;
    is_whole(&bench, &bench.namespace, &[files[0].clone(), files[2].clone()]).await;
    drop(services);
    bench.must_be_sound().await;
}

#[tokio::test]
async fn taking_back_stops_what_is_being_read() {
    let bench = Bench::new().await;
    let there = other(&bench).await;
    let file = TinyInstance::new(7).pixels(512, 512, 30, 16).build().bytes;
    bench.store(&file).await.unwrap();
    share_with(&bench, &file, &there, Manner::Share).await.unwrap();
    let services = &bench.archive.services;
    let instance = bench.find_in(&there, &file).unwrap();
    let mut stream = stream::open(services, &instance, Form::Original).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let original = found(&bench, &bench.namespace, &file).unwrap();
    share::stop(services, &original, there.id, &source()).await.unwrap();
    let mut read = 0;
    let ended = loop {
        match stream.next().await {
            Some(Ok(piece)) => read += piece.len(),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(
        ended.is_some() && read < file.len() / 2,
        "{read} of {} bytes",
        file.len()
    );
    assert!(bench.find_in(&there, &file).is_err());
    is_whole(&bench, &bench.namespace, &[file]).await;
    assert!(matches!(
        share::stop(services, &original, there.id, &source()).await,
        Err(EngineError::NotFound)
    ));
}

#[tokio::test]
async fn a_duplicate_is_the_receivers_own() {
    let (bench, files) = (Bench::new().await, study());
    let there = other(&bench).await;
    for file in &files[..2] {
        bench.store(file).await.unwrap();
    }
    share_with(&bench, &files[0], &there, Manner::Duplicate).await.unwrap();
    assert!(matches!(
        share_with(&bench, &files[0], &there, Manner::Duplicate).await,
        Err(EngineError::Conflict(conflict::EXISTS))
    ));
    // What comes there goes into it, what is there already is known.
    assert_eq!(
        bench.store_into(&there, &files[0]).await.unwrap().kind,
        StoreKind::Duplicate
    );
    assert_eq!(
        bench.store_into(&there, &files[2]).await.unwrap().kind,
        StoreKind::Stored
    );
    is_whole(&bench, &there, &files).await;
    assert!(bench.find(&files[2]).is_err());
    let uid = identity(&files[0]).study.as_str().to_owned();
    erase::study(&bench.archive.services, &bench.namespace, &uid, &source())
        .await
        .unwrap();
    is_whole(&bench, &there, &files).await;
}
