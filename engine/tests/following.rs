//! What changes in a study is shown in its shares (invariants 4, 5 and 9).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Bench, identity, source, split};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::Header;
use septum_core::dicom::correct::Correction;
use septum_engine::accounts::Namespace;
use septum_engine::retrieve::StudyRef;
use septum_engine::retrieve::stream::Form;
use septum_engine::share::{self, Manner, Sharing};
use septum_engine::{correct, erase};
use septum_storage::RowKind;
use septum_testkit::TinyInstance;

fn study() -> Vec<Vec<u8>> {
    let instance = |number| TinyInstance::new(number).pixels(64, 64, 2, 16).build().bytes;
    (0..4).map(instance).collect()
}

async fn other(bench: &Bench, name: &str) -> Arc<Namespace> {
    let accounts = &bench.archive.services.accounts;
    let account = accounts.create_account(name, None).await.unwrap();
    accounts.create_namespace(account.id, name, "", None).await.unwrap()
}

fn found(bench: &Bench, namespace: &Namespace) -> StudyRef {
    let file = &study()[0];
    StudyRef::find(&bench.archive.services, namespace, identity(file).study.as_str()).unwrap()
}

async fn share_with(bench: &Bench, from: &Namespace, into: &Arc<Namespace>) {
    let sharing = Sharing {
        from: found(bench, from),
        into: Arc::clone(into),
        manner: Manner::Share,
        by: source().user,
        message: String::new(),
        with_attachments: true,
    };
    share::share(&bench.archive.services, sharing, &source()).await.unwrap();
}

async fn correct(bench: &Bench, namespace: &Arc<Namespace>, tag: Tag, value: &str) {
    let mut correction = Correction::default();
    correction.set(tag, value).unwrap();
    let (services, found) = (&bench.archive.services, found(bench, namespace));
    correct::study(services, namespace, found, correction, String::new(), &source())
        .await
        .unwrap();
}

async fn text(bench: &Bench, namespace: &Namespace, file: &[u8], tag: Tag) -> Option<String> {
    let read = bench
        .read(&bench.find_in(namespace, file).ok()?, Form::Original)
        .await
        .ok()?;
    let split = split(&read).unwrap();
    Header::from_bytes(split.header.elements(), split.start.encoding.into())
        .unwrap()
        .text(tag)
}

/// What waits is done, until something holds.
async fn until(bench: &Bench, what: &str, holds: impl AsyncFn() -> bool) {
    let services = &bench.archive.services;
    for _ in 0..400 {
        services.late_arrivals.sweep(services).await;
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}");
}

fn rows(bench: &Bench, kind: RowKind) -> usize {
    let shards = bench.archive.services.store.shards().iter();
    shards
        .map(|shard| shard.scan(&kind.key(&[]), None, 1000).unwrap().len())
        .sum()
}

#[tokio::test]
async fn images_and_corrections_reach_whoever_has_a_share() {
    let (bench, files) = (Bench::new().await, study());
    let here = Arc::clone(&bench.namespace);
    let (there, beyond) = (other(&bench, "There").await, other(&bench, "Beyond").await);
    bench.store(&files[0]).await.unwrap();
    share_with(&bench, &here, &there).await;
    share_with(&bench, &there, &beyond).await;
    bench.store(&files[1]).await.unwrap();
    until(&bench, "an image did not come", async || {
        [&there, &beyond]
            .iter()
            .all(|namespace| bench.find_in(namespace, &files[1]).is_ok())
    })
    .await;
    // Upon the same pixels.
    assert_eq!(rows(&bench, RowKind::PixelRecord), 2);
    assert_eq!(rows(&bench, RowKind::PixelUse), 2);
    correct(&bench, &here, tags::STUDY_DESCRIPTION, "Knee").await;
    let says = async |namespace: &Namespace, tag, value: &str| {
        text(&bench, namespace, &files[0], tag).await.as_deref() == Some(value)
    };
    until(&bench, "a correction did not come", async || {
        says(&beyond, tags::STUDY_DESCRIPTION, "Knee").await
    })
    .await;
    // The receiver's own corrections stay, in what comes later too.
    correct(&bench, &there, tags::PATIENT_NAME, "Own^Name").await;
    correct(&bench, &here, tags::STUDY_DESCRIPTION, "Left knee").await;
    bench.store(&files[2]).await.unwrap();
    until(&bench, "what came is not corrected", async || {
        says(&there, tags::STUDY_DESCRIPTION, "Left knee").await
            && says(&there, tags::PATIENT_NAME, "Own^Name").await
            && text(&bench, &there, &files[2], tags::PATIENT_NAME).await.as_deref() == Some("Own^Name")
            && text(&bench, &beyond, &files[2], tags::PATIENT_NAME).await.as_deref() == Some("Own^Name")
    })
    .await;
    assert!(!says(&here, tags::PATIENT_NAME, "Own^Name").await);
    bench.must_be_sound().await;
}

#[tokio::test]
async fn what_is_deleted_goes_and_what_the_receiver_deleted_stays_away() {
    let (bench, files) = (Bench::new().await, study());
    let there = other(&bench, "There").await;
    for file in &files[..3] {
        bench.store(file).await.unwrap();
    }
    let here = Arc::clone(&bench.namespace);
    share_with(&bench, &here, &there).await;
    let services = Arc::clone(&bench.archive.services);
    let delete = async |namespace: &Namespace, file: &[u8]| {
        let gone = identity(file);
        let (study, series, instance) = (gone.study.as_str(), gone.series.as_str(), gone.instance.as_str());
        erase::instance(&services, namespace, study, series, instance, &source())
            .await
            .unwrap();
    };
    delete(&there, &files[1]).await;
    delete(&here, &files[0]).await;
    bench.store(&files[3]).await.unwrap();
    until(&bench, "the share is not as the study", async || {
        bench.find_in(&there, &files[0]).is_err() && bench.find_in(&there, &files[3]).is_ok()
    })
    .await;
    assert!(bench.find_in(&there, &files[1]).is_err() && bench.find_in(&there, &files[2]).is_ok());
    assert!(bench.find(&files[1]).is_ok());
    // One that is taken back does not come back.
    share::stop(&services, &found(&bench, &here), there.id, &source())
        .await
        .unwrap();
    correct(&bench, &here, tags::STUDY_DESCRIPTION, "Knee").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    services.late_arrivals.sweep(&services).await;
    assert!(bench.find_in(&there, &files[2]).is_err());
    drop(services);
    bench.must_be_sound().await;
}
