//! Corrections of patient and study data (invariants 4, 5, 9 and 10).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{Bench, dataset_of, identity, source, split};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::Header;
use septum_core::dicom::correct::Correction;
use septum_core::query::{Level, Query};
use septum_engine::accounts::Namespace;
use septum_engine::error::Result;
use septum_engine::pipeline::messages::StoreKind;
use septum_engine::retrieve::StudyRef;
use septum_engine::retrieve::stream::Form;
use septum_engine::share::{self, Manner, Sharing};
use septum_engine::{EngineError, correct, erase, freeze, search};
use septum_storage::RowKind;
use septum_testkit::{Encapsulation, TinyInstance, TransferSyntax};

const UID: &str = "1.2.826.0.1.3680043.10.999.5";

/// A study of one series whose instances came in every encoding.
fn study() -> Vec<Vec<u8>> {
    let of_study = |tiny: TinyInstance| {
        let series = format!("{UID}.1");
        tiny.with_text((0x0020, 0x000D), b"UI", UID)
            .with_text((0x0020, 0x000E), b"UI", &series)
            .build()
            .bytes
    };
    let tiny = |number| TinyInstance::new(number).pixels(64, 64, 2, 16);
    vec![
        of_study(tiny(0)),
        of_study(tiny(1).transfer_syntax(TransferSyntax::ImplicitLittleEndian)),
        of_study(tiny(2).transfer_syntax(TransferSyntax::ExplicitBigEndian)),
        of_study(tiny(3).transfer_syntax(TransferSyntax::DeflatedExplicitLittleEndian)),
        of_study(tiny(4).encapsulated(Encapsulation::default())),
        of_study(TinyInstance::new(5)),
    ]
}

fn found(bench: &Bench, namespace: &Namespace) -> Result<StudyRef> {
    StudyRef::find(&bench.archive.services, namespace, UID)
}

async fn correct(bench: &Bench, values: &[(Tag, &str)]) -> Result<()> {
    let mut correction = Correction::default();
    for (tag, value) in values {
        correction.set(*tag, value).unwrap();
    }
    let found = found(bench, &bench.namespace)?;
    let services = &bench.archive.services;
    correct::study(
        services,
        &bench.namespace,
        found,
        correction,
        "a typo".into(),
        &source(),
    )
    .await
}

/// The header of a file.
fn header(file: &[u8]) -> Header {
    let split = split(file).unwrap();
    Header::from_bytes(split.header.elements(), split.start.encoding.into()).unwrap()
}

async fn current(bench: &Bench, file: &[u8]) -> Vec<u8> {
    bench.read(&bench.find(file).unwrap(), Form::Original).await.unwrap()
}

async fn num_found(bench: &Bench, name: &str) -> usize {
    let pairs = [("PatientName".to_owned(), name.to_owned())];
    let query = Query::parse(Level::Study, pairs.into_iter()).unwrap();
    let namespaces = [Arc::clone(&bench.namespace)];
    let found = search::search(&bench.archive.services, &namespaces, Default::default(), &query);
    found.await.unwrap().items.len()
}

#[tokio::test]
async fn every_door_shows_what_is_corrected() {
    let (bench, files) = (Bench::new().await, study());
    for file in &files {
        bench.store(file).await.unwrap();
    }
    let name = (tags::PATIENT_NAME, "Right^Name");
    correct(&bench, &[name, (tags::STUDY_DESCRIPTION, "Knee")])
        .await
        .unwrap();
    for file in &files {
        let shown = current(&bench, file).await;
        assert_eq!(split(&shown).unwrap().layout, split(file).unwrap().layout);
        // Pixels stand at the end, where there are any and they are not deflated.
        let tail = 1_000;
        if file != &files[3] && file != &files[5] {
            assert_eq!(shown[shown.len() - tail..], file[file.len() - tail..]);
        }
        let read = header(&shown);
        assert_eq!(read.text(tags::PATIENT_NAME).as_deref(), Some("Right^Name"));
        assert_eq!(read.text(tags::STUDY_DESCRIPTION).as_deref(), Some("Knee"));
        assert!(read.get(tags::ORIGINAL_ATTRIBUTES_SEQUENCE).is_some());
        // What was not corrected is byte for byte what it was.
        assert_eq!(
            header(file).text(tags::PATIENT_BIRTH_DATE),
            read.text(tags::PATIENT_BIRTH_DATE)
        );
        // The native form is made of the corrected one.
        let native = bench.read(&bench.find(file).unwrap(), Form::Native).await;
        if let Ok(native) = native {
            assert_eq!(header(&native).text(tags::PATIENT_NAME).as_deref(), Some("Right^Name"));
        }
    }
    assert_eq!(
        (num_found(&bench, "RIGHT*").await, num_found(&bench, "DEMO*").await),
        (1, 0)
    );
    // What the sender sends again is known, and does not undo it.
    for file in &files {
        assert_eq!(bench.store(file).await.unwrap().kind, StoreKind::Duplicate);
        let shown = header(&current(&bench, file).await);
        assert_eq!(shown.text(tags::PATIENT_NAME).as_deref(), Some("Right^Name"));
    }
    let bench = bench.reopen().await;
    let shown = header(&current(&bench, &files[2]).await);
    assert_eq!(shown.text(tags::PATIENT_NAME).as_deref(), Some("Right^Name"));
    bench.must_be_sound().await;
}

#[tokio::test]
async fn invariant_5_originals_stay_readable() {
    let (bench, files) = (Bench::new().await, study());
    for file in &files {
        bench.store(file).await.unwrap();
    }
    correct(&bench, &[(tags::PATIENT_NAME, "First")]).await.unwrap();
    correct(&bench, &[(tags::PATIENT_NAME, "Second")]).await.unwrap();
    // Said again, nothing happens.
    let before = found(&bench, &bench.namespace).unwrap().id();
    correct(&bench, &[(tags::PATIENT_NAME, "Second")]).await.unwrap();
    assert_eq!(found(&bench, &bench.namespace).unwrap().id(), before);
    let services = &bench.archive.services;
    for file in &files {
        let now = bench.find(file).unwrap();
        let versions = now.study.versions(services, &now.series, &now.instance).unwrap();
        assert_eq!(versions.len(), 3);
        let original = now
            .study
            .version(services, now.series, now.instance, versions[0])
            .unwrap();
        let back = bench.read(&original, Form::Original).await.unwrap();
        assert_eq!(dataset_of(&back), dataset_of(file));
        assert!(now.study.is_original(services, &original).unwrap());
        assert!(!now.study.is_original(services, &now).unwrap());
        let note = now.record.correction.clone().unwrap();
        assert_eq!((note.of, note.reason.as_str()), (versions[1], "a typo"));
    }
}

#[tokio::test]
async fn invariant_4_no_pixel_is_written_and_all_go_in_the_end() {
    let (bench, files) = (Bench::new().await, study());
    for file in &files {
        bench.store(file).await.unwrap();
    }
    let rows = |kind: RowKind| -> usize {
        let shards = bench.archive.services.store.shards().iter();
        shards
            .map(|shard| shard.scan(&kind.key(&[]), None, 1000).unwrap().len())
            .sum()
    };
    let records = rows(RowKind::PixelRecord);
    correct(&bench, &[(tags::PATIENT_NAME, "First")]).await.unwrap();
    correct(&bench, &[(tags::PATIENT_SEX, "F")]).await.unwrap();
    assert_eq!(rows(RowKind::PixelRecord), records);
    // A part of it goes, the rest stays whole.
    let gone = identity(&files[1]);
    let services = &bench.archive.services;
    erase::instance(
        services,
        &bench.namespace,
        UID,
        gone.series.as_str(),
        gone.instance.as_str(),
        &source(),
    )
    .await
    .unwrap();
    let shown = header(&current(&bench, &files[0]).await);
    assert_eq!(shown.text(tags::PATIENT_SEX).as_deref(), Some("F"));
    erase::study(services, &bench.namespace, UID, &source()).await.unwrap();
    for kind in [
        RowKind::PixelRecord,
        RowKind::PixelUse,
        RowKind::Version,
        RowKind::Study,
        RowKind::Saga,
        RowKind::Metadata,
        RowKind::Lookup,
        RowKind::Densify,
    ] {
        assert_eq!(rows(kind), 0, "{kind:?}");
    }
    bench.must_be_sound().await;
}

#[tokio::test]
async fn a_share_has_no_originals() {
    let (bench, files) = (Bench::new().await, study());
    let accounts = &bench.archive.services.accounts;
    let account = accounts.create_account("Other", None).await.unwrap();
    let there = accounts.create_namespace(account.id, "There", "", None).await.unwrap();
    for file in &files {
        bench.store(file).await.unwrap();
    }
    correct(&bench, &[(tags::PATIENT_NAME, "Right")]).await.unwrap();
    for (manner, num_versions) in [(Manner::Share, 1), (Manner::Move, 2)] {
        let sharing = Sharing {
            from: found(&bench, &bench.namespace).unwrap(),
            into: Arc::clone(&there),
            manner,
            by: source().user,
            message: String::new(),
            with_attachments: true,
        };
        let services = &bench.archive.services;
        match manner {
            Manner::Move => share::move_to(services, sharing, &source()).await.unwrap(),
            _ => share::share(services, sharing, &source()).await.unwrap(),
        };
        for file in &files {
            let shown = bench.find_in(&there, file).unwrap();
            let versions = shown.study.versions(services, &shown.series, &shown.instance).unwrap();
            assert_eq!(versions.len(), num_versions);
            let shown = bench.read(&shown, Form::Original).await.unwrap();
            assert_eq!(header(&shown).text(tags::PATIENT_NAME).as_deref(), Some("Right"));
        }
        erase::study(services, &there, UID, &source()).await.unwrap();
    }
    bench.must_be_sound().await;
}

#[tokio::test]
async fn images_that_come_later_are_corrected() {
    let (bench, files) = (Bench::new().await, study());
    bench.store(&files[0]).await.unwrap();
    correct(&bench, &[(tags::PATIENT_NAME, "Right^Name")]).await.unwrap();
    correct(&bench, &[(tags::STUDY_DESCRIPTION, "Knee")]).await.unwrap();
    let services = &bench.archive.services;
    for file in &files[1..] {
        bench.store(file).await.unwrap();
    }
    let says = async |file: &[u8]| {
        let read = header(&current(&bench, file).await);
        (read.text(tags::PATIENT_NAME), read.text(tags::STUDY_DESCRIPTION))
    };
    let right = (Some("Right^Name".to_owned()), Some("Knee".to_owned()));
    let mut is_right = false;
    for _ in 0..200 {
        services.late_arrivals.sweep(services).await;
        is_right = true;
        for file in &files {
            is_right &= says(file).await == right;
        }
        if is_right {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(is_right);
    assert_eq!(num_found(&bench, "Right*").await, 1);
    bench.must_be_sound().await;
}

#[tokio::test]
async fn frozen_studies_stay_as_they_are() {
    let (bench, files) = (Bench::new().await, study());
    bench.store(&files[0]).await.unwrap();
    let services = &bench.archive.services;
    let account = services.accounts.create_account("Other", None).await.unwrap();
    let there = services
        .accounts
        .create_namespace(account.id, "There", "", None)
        .await
        .unwrap();
    let sharing = Sharing {
        from: found(&bench, &bench.namespace).unwrap(),
        into: Arc::clone(&there),
        manner: Manner::Share,
        by: source().user,
        message: String::new(),
        with_attachments: true,
    };
    share::share(services, sharing, &source()).await.unwrap();
    let study = found(&bench, &bench.namespace).unwrap();
    assert!(freeze::set(services, &study, true, &source()).await.unwrap());
    assert!(!freeze::set(services, &study, true, &source()).await.unwrap());
    let is_frozen = |result: Result<()>| matches!(result, Err(EngineError::Conflict(freeze::FROZEN)));
    assert!(is_frozen(bench.store(&files[1]).await.map(|_| ())));
    assert_eq!(bench.store(&files[0]).await.unwrap().kind, StoreKind::Duplicate);
    assert!(is_frozen(correct(&bench, &[(tags::PATIENT_NAME, "No")]).await));
    for namespace in [&bench.namespace, &there] {
        assert!(freeze::is_frozen(services, &found(&bench, namespace).unwrap()).unwrap());
        assert!(is_frozen(erase::study(services, namespace, UID, &source()).await));
    }
    let series = format!("{UID}.1");
    assert!(is_frozen(
        erase::series(services, &bench.namespace, UID, &series, &source()).await
    ));
    // Taking a share back changes nothing of the study.
    share::stop(services, &study, there.id, &source()).await.unwrap();
    freeze::set(services, &study, false, &source()).await.unwrap();
    bench.store(&files[1]).await.unwrap();
    erase::study(services, &bench.namespace, UID, &source()).await.unwrap();
    assert!(services.store.shards().iter().all(|shard| {
        let rows = shard.scan(&RowKind::Frozen.key(&[]), None, 1);
        rows.unwrap().is_empty()
    }));
    bench.must_be_sound().await;
}

#[tokio::test]
async fn invariant_10_a_corrected_patient_is_the_studys() {
    let (bench, files) = (Bench::new().await, study());
    bench.store(&files[0]).await.unwrap();
    correct(&bench, &[(tags::PATIENT_ID, "OTHER")]).await.unwrap();
    // Another image that says the old patient is held, one that says the new one belongs to the study.
    assert_eq!(bench.store(&files[1]).await.unwrap().kind, StoreKind::Held);
    let of_other = TinyInstance::new(9)
        .with_text((0x0020, 0x000D), b"UI", UID)
        .with_text((0x0010, 0x0020), b"LO", "OTHER")
        .build()
        .bytes;
    assert_eq!(bench.store(&of_other).await.unwrap().kind, StoreKind::Stored);
    bench.must_be_sound().await;
}

#[tokio::test]
async fn a_study_that_cannot_be_corrected_stays_as_it_is() {
    let (bench, files) = (Bench::new().await, study());
    for file in &files {
        bench.store(file).await.unwrap();
    }
    let latin = TinyInstance::new(8)
        .with_text((0x0020, 0x000D), b"UI", UID)
        .with_text((0x0008, 0x0005), b"CS", "ISO_IR 100")
        .build()
        .bytes;
    bench.store(&latin).await.unwrap();
    let refused = correct(&bench, &[(tags::PATIENT_NAME, "王^小東")]).await;
    assert!(matches!(refused, Err(EngineError::NotAcceptable(_))));
    for file in &files {
        let back = current(&bench, file).await;
        assert_eq!(dataset_of(&back), dataset_of(file));
    }
    bench.must_be_sound().await;
}
