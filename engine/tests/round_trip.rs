//! Store and read back: invariants 1, 4, 5 and 10 through the whole engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{Bench, dataset_of};
use septum_engine::EngineError;
use septum_engine::pipeline::messages::StoreKind;
use septum_engine::retrieve::StudyRef;
use septum_engine::retrieve::stream::Form;
use septum_testkit::{StudySpec, TinyInstance, TransferSyntax};

fn tiny(seed: u64) -> TinyInstance {
    TinyInstance::new(seed).pixels(16, 16, 3, 16)
}

#[tokio::test]
async fn invariant_4_what_goes_in_comes_out() {
    let bench = Bench::new().await;
    let mut files: Vec<Vec<u8>> = StudySpec::ct(3, 1).instances().map(|instance| instance.bytes).collect();
    for syntax in [
        TransferSyntax::ImplicitLittleEndian,
        TransferSyntax::ExplicitBigEndian,
        TransferSyntax::DeflatedExplicitLittleEndian,
        septum_testkit::part10::RLE_LOSSLESS,
    ] {
        let mut spec = StudySpec::ultrasound_cine(3, 7 + files.len() as u64);
        spec.transfer_syntax = syntax;
        files.extend(spec.instances().map(|instance| instance.bytes));
    }
    files.push(tiny(50).pixels(3, 5, 7, 1).build().bytes);
    for file in &files {
        let outcome = bench.store(file).await.unwrap();
        assert_eq!(outcome.kind, StoreKind::Stored);
        assert_eq!(bench.dataset(file).await.unwrap(), dataset_of(file));
    }
    let bench = bench.reopen().await;
    for file in &files {
        assert_eq!(
            bench.dataset(file).await.unwrap(),
            dataset_of(file),
            "also after a restart"
        );
    }
}

/// The fragments of encapsulated pixel data at the end of a Part 10 stream, without the offset table.
fn fragments(file: &[u8]) -> Vec<&[u8]> {
    let element = [0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    let at = file.windows(element.len()).position(|bytes| bytes == element).unwrap();
    let (mut rest, mut items) = (&file[at + element.len()..], Vec::new());
    while let Some(item) = rest.strip_prefix(&[0xFE, 0xFF, 0x00, 0xE0]) {
        let (length, behind) = item.split_first_chunk().unwrap();
        let (item, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        items.push(item);
        rest = behind;
    }
    assert_eq!(rest, [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    assert_eq!(items.remove(0), [0_u8; 0], "an empty offset table");
    items
}

#[tokio::test]
async fn invariant_4_interchange_forms_have_the_same_samples() {
    use septum_core::codec::{Interchange, Tier};
    // Encoded on the way, and as it lies.
    for tier in [Tier::Pressure, Tier::Dense] {
        let bench = Bench::with(|config| config.tier = tier).await;
        let mut colour = StudySpec::ultrasound_cine(3, 5);
        colour.transfer_syntax = TransferSyntax::ImplicitLittleEndian;
        let mut grey = StudySpec::ct(1, 1);
        grey.transfer_syntax = TransferSyntax::ExplicitBigEndian;
        for (file, interchange) in grey
            .instances()
            .chain(colour.instances())
            .flat_map(|file| Interchange::ALL.map(|interchange| (file.clone(), interchange)))
        {
            bench.store(&file.bytes).await.unwrap();
            let found = bench.find(&file.bytes).unwrap();
            let shape = found.record.pixels.as_ref().unwrap().shape.unwrap();
            let form = Form::Interchange(interchange);
            if !interchange.suits(&shape) {
                let refused = bench.read(&found, form).await;
                assert!(matches!(refused, Err(EngineError::NotAcceptable(_))));
                continue;
            }
            let made = bench.read(&found, form).await.unwrap();
            let native = bench.read(&found, Form::Native).await.unwrap();
            let described = common::split(&made).unwrap();
            assert!(described.layout.is_some());
            let length = usize::try_from(shape.frame_length().unwrap()).unwrap();
            let mut shape_of_native = shape;
            shape_of_native.big_endian = false;
            let fragments = fragments(&made);
            let payload = &native[native.len() - fragments.len() * length..];
            for (fragment, frame) in fragments.iter().zip(payload.chunks(length)) {
                assert_eq!(fragment.len() % 2, 0);
                // JPEG-LS ends where it says so.
                let end = fragment.len() - usize::from(fragment.ends_with(&[0xFF, 0xD9, 0]));
                let decoded = interchange
                    .decode(Some(&shape_of_native), &fragment[..end], length)
                    .unwrap();
                assert_eq!(decoded, frame);
            }
            let words = match shape.samples_per_pixel {
                3 => interchange.photometric_of_rgb(),
                _ => "MONOCHROME2",
            };
            assert!(made.windows(words.len()).any(|bytes| bytes == words.as_bytes()));
        }
        let packed = tiny(50).pixels(3, 5, 7, 1).build().bytes;
        bench.store(&packed).await.unwrap();
        for interchange in Interchange::ALL {
            let refused = bench
                .read(&bench.find(&packed).unwrap(), Form::Interchange(interchange))
                .await;
            assert!(matches!(refused, Err(EngineError::NotAcceptable(_))));
        }
    }
}

#[tokio::test]
async fn what_is_noted_of_a_batch_sees_its_rows() {
    let bench = Bench::new().await;
    let ledger = &bench.archive.services.ledgers[0];
    let key = septum_storage::RowKind::Unfolded.key(&[b"a study"]);
    let (seen, sees) = std::sync::mpsc::channel();
    ledger
        .commit(|staging| {
            let (shard, key) = (std::sync::Arc::clone(ledger.shard()), key.clone());
            staging.put(key.clone(), vec![1]);
            staging.once_staged(move || seen.send(shard.get_staged(&key).unwrap()).unwrap());
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(sees.recv().unwrap(), Some(vec![1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn instances_of_a_new_study_may_arrive_at_once() {
    let bench = std::sync::Arc::new(Bench::new().await);
    for study in 0..8 {
        let mut arriving = tokio::task::JoinSet::new();
        for instance in StudySpec::ct(6, 500 + study).instances() {
            let bench = std::sync::Arc::clone(&bench);
            arriving.spawn(async move { bench.store(&instance.bytes).await.map(|outcome| outcome.kind) });
        }
        while let Some(done) = arriving.join_next().await {
            assert_eq!(done.unwrap().unwrap(), StoreKind::Stored, "study {study}");
        }
    }
}

#[tokio::test]
async fn invariant_5_repeats_are_stored_once_and_corrections_become_versions() {
    let bench = Bench::new().await;
    let first = tiny(1).build().bytes;
    let corrected = tiny(1).with_text((0x0008, 0x103E), b"LO", "corrected").build().bytes;
    assert_eq!(bench.store(&first).await.unwrap().kind, StoreKind::Stored);
    let stored = bench
        .archive
        .services
        .store
        .shards()
        .iter()
        .map(|shard| shard.stats().last_batch)
        .sum::<u64>();
    assert_eq!(bench.store(&first).await.unwrap().kind, StoreKind::Duplicate);
    assert!(stored > 0);
    assert_eq!(bench.store(&corrected).await.unwrap().kind, StoreKind::Version);
    assert_eq!(
        bench.dataset(&first).await.unwrap(),
        dataset_of(&corrected),
        "the newest is current"
    );
    let services = &bench.archive.services;
    let current = bench.find(&first).unwrap();
    let versions = current
        .study
        .versions(services, &current.series, &current.instance)
        .unwrap();
    assert_eq!(versions.len(), 2);
    let older = current
        .study
        .version(services, current.series, current.instance, versions[0])
        .unwrap();
    assert_eq!(
        dataset_of(&bench.read(&older, Form::Original).await.unwrap()),
        dataset_of(&first)
    );
    assert_eq!(
        bench.store(&first).await.unwrap().kind,
        StoreKind::Duplicate,
        "a late repeat changes nothing"
    );
}

#[tokio::test]
async fn invariant_5_accounts_neither_collide_nor_learn() {
    let bench = Bench::new().await;
    let accounts = &bench.archive.services.accounts;
    let other = accounts.create_account("other", None).await.unwrap();
    let other = accounts.create_namespace(other.id, "other", "", None).await.unwrap();
    let ours = tiny(1).build().bytes;
    let theirs = tiny(1).with_text((0x0008, 0x103E), b"LO", "theirs").build().bytes;
    assert_eq!(bench.store(&ours).await.unwrap().kind, StoreKind::Stored);
    assert_eq!(bench.store_into(&other, &theirs).await.unwrap().kind, StoreKind::Stored);
    let uid = common::identity(&ours);
    let source = common::source();
    septum_engine::erase::study(&bench.archive.services, &bench.namespace, uid.study.as_str(), &source)
        .await
        .unwrap();
    assert!(matches!(bench.find(&ours), Err(EngineError::NotFound)));
    let kept = bench.find_in(&other, &theirs).unwrap();
    assert_eq!(
        dataset_of(&bench.read(&kept, Form::Original).await.unwrap()),
        dataset_of(&theirs)
    );
}

#[tokio::test]
async fn invariant_10_another_patient_is_held_apart() {
    let bench = Bench::new().await;
    let right = tiny(1).build().bytes;
    let wrong = tiny(1)
        .with_text((0x0010, 0x0020), b"LO", "SOMEBODY-ELSE")
        .build()
        .bytes;
    assert_eq!(bench.store(&right).await.unwrap().kind, StoreKind::Stored);
    assert_eq!(bench.store(&wrong).await.unwrap().kind, StoreKind::Held);
    assert_eq!(bench.dataset(&right).await.unwrap(), dataset_of(&right));
    let services = &bench.archive.services;
    let held = septum_engine::exceptions::list(services, &bench.namespace).unwrap();
    assert_eq!(held.len(), 1);
    let study = septum_engine::exceptions::find(services, &bench.namespace, &held[0].id).unwrap();
    let instances: Vec<_> = study.instances(services, None).collect::<Result<_, _>>().unwrap();
    assert_eq!(
        dataset_of(&bench.read(&instances[0], Form::Original).await.unwrap()),
        dataset_of(&wrong)
    );
    septum_engine::exceptions::reject(services, &bench.namespace, &held[0].id, &common::source())
        .await
        .unwrap();
    assert!(
        septum_engine::exceptions::list(services, &bench.namespace)
            .unwrap()
            .is_empty()
    );
    assert_eq!(bench.dataset(&right).await.unwrap(), dataset_of(&right));
}

#[tokio::test]
async fn invariant_9_deleting_a_part_re_seals_the_rest() {
    let bench = Bench::new().await;
    let files: Vec<Vec<u8>> = StudySpec::ct(4, 9).instances().map(|instance| instance.bytes).collect();
    for file in &files {
        bench.store(file).await.unwrap();
    }
    let before = bench.find(&files[0]).unwrap().study.row.keys;
    let uid = common::identity(&files[1]);
    let services = &bench.archive.services;
    septum_engine::erase::instance(
        services,
        &bench.namespace,
        uid.study.as_str(),
        uid.series.as_str(),
        uid.instance.as_str(),
        &common::source(),
    )
    .await
    .unwrap();
    assert!(matches!(bench.find(&files[1]), Err(EngineError::NotFound)));
    for file in [&files[0], &files[2], &files[3]] {
        assert_eq!(bench.dataset(file).await.unwrap(), dataset_of(file));
    }
    assert!(
        matches!(services.keyring.study(before), Err(EngineError::NotFound)),
        "the old keys are gone"
    );
    let bench = bench.reopen().await;
    assert_eq!(bench.dataset(&files[3]).await.unwrap(), dataset_of(&files[3]));
    assert_eq!(
        bench.store(&files[1]).await.unwrap().kind,
        StoreKind::Stored,
        "it may come again"
    );
}

#[tokio::test]
async fn densified_frames_still_merge_exactly() {
    let bench = Bench::new().await;
    let files: Vec<Vec<u8>> = StudySpec::mr(2, 3).instances().map(|instance| instance.bytes).collect();
    for file in &files {
        bench.store(file).await.unwrap();
        let found = bench.find(file).unwrap();
        let candidate = septum_engine::densify::Candidate {
            shard: found.study.shard,
            study: found.study.id(),
            keys: found.study.row.keys,
            pixel_set: found.row.pixel_set.unwrap(),
        };
        let services = &bench.archive.services;
        septum_engine::densify::densify(services, &candidate).await.unwrap();
        let pixels = septum_engine::retrieve::stream::pixels_of(services, &found)
            .unwrap()
            .unwrap();
        assert!(pixels.record().dense);
        assert_eq!(bench.dataset(file).await.unwrap(), dataset_of(file));
    }
}

#[tokio::test]
async fn a_study_becomes_stable_once_it_is_quiet() {
    let bench = Bench::new().await;
    let file = tiny(1).build().bytes;
    bench.store(&file).await.unwrap();
    let kinds = || {
        let page = septum_engine::feed::changes(&bench.archive.services, &bench.namespace, None, 100).unwrap();
        page.changes
            .iter()
            .map(|numbered| numbered.change.kind)
            .collect::<Vec<_>>()
    };
    use septum_engine::ledger::ChangeKind::{InstanceStored, StudyStable};
    assert_eq!(kinds(), [InstanceStored]);
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(kinds(), [InstanceStored, StudyStable]);
}

#[tokio::test]
async fn the_change_feed_is_the_same_whatever_pages_are_asked_for() {
    let bench = Bench::with(|config| config.stable_after = std::time::Duration::from_secs(600)).await;
    for seed in (0..1200).step_by(100).chain(1..4) {
        bench.store(&tiny(seed).build().bytes).await.unwrap();
    }
    let read = |limit: usize| {
        let (mut all, mut since) = (Vec::new(), None::<String>);
        loop {
            let services = &bench.archive.services;
            let page = septum_engine::feed::changes(services, &bench.namespace, since.as_deref(), limit).unwrap();
            assert!(page.changes.len() <= limit);
            if page.changes.is_empty() {
                assert_eq!(since.as_deref(), Some(&*page.next), "nothing new");
                return all;
            }
            let shown = |numbered: septum_engine::feed::Numbered| (numbered.sequence, numbered.change);
            all.extend(page.changes.into_iter().map(shown));
            since = Some(page.next);
        }
    };
    let all = read(1000);
    assert_eq!(all.len(), 15);
    assert!(all.is_sorted_by_key(|(_, change)| change.time_ms));
    let numbers: std::collections::HashSet<&str> = all.iter().map(|(sequence, _)| &**sequence).collect();
    assert_eq!(numbers.len(), all.len());
    let of = |all: &[(String, septum_engine::ledger::Change)]| -> Vec<(String, Option<String>)> {
        let shown = all
            .iter()
            .map(|(sequence, change)| (sequence.clone(), change.instance_uid.clone()));
        shown.collect()
    };
    for limit in [1, 2, 7] {
        assert_eq!(of(&read(limit)), of(&all), "{limit}");
    }
    let none = septum_engine::feed::changes(&bench.archive.services, &bench.namespace, None, 0).unwrap();
    assert_eq!((none.changes.len(), &*none.next), (0, "0.0"));
}

#[tokio::test]
async fn searches_find_at_every_level() {
    use septum_core::query::{Level, Query};
    let bench = Bench::new().await;
    for file in StudySpec::ct(3, 1).instances() {
        bench.store(&file.bytes).await.unwrap();
    }
    bench.store(&tiny(5).build().bytes).await.unwrap();
    let services = &bench.archive.services;
    let namespaces = [std::sync::Arc::clone(&bench.namespace)];
    for (level, pairs, expected) in [
        (Level::Study, vec![], 2),
        (Level::Study, vec![("ModalitiesInStudy", "CT")], 1),
        (Level::Study, vec![("PatientName", "*ct*")], 1),
        (Level::Series, vec![("Modality", "CT")], 1),
        (Level::Instance, vec![("Modality", "CT")], 3),
        (Level::Instance, vec![("Modality", "CT"), ("limit", "2")], 2),
    ] {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let query = Query::parse(level, pairs).unwrap();
        let found = septum_engine::search::search(services, &namespaces, Default::default(), &query)
            .await
            .unwrap();
        assert_eq!(found.items.len(), expected, "{level:?} {query:?}");
    }
    let found = StudyRef::find(services, &bench.namespace, "1.2.3");
    assert!(matches!(found, Err(EngineError::NotFound)));
}

#[tokio::test]
async fn invariant_6_large_objects_pass_through_a_fixed_budget() {
    // 192 MiB of fragments, which cost 576 MiB of permits, through a pool that is far smaller.
    let bench = Bench::new().await;
    let small = TinyInstance::new(77)
        .pixels(16, 16, 2, 16)
        .encapsulated(septum_testkit::Encapsulation::default())
        .build();
    let split = common::split(&small.bytes).unwrap();
    let header = split.header.preamble_and_meta.len() + split.header.before.len();
    let mut intake = bench
        .archive
        .pipeline
        .admit(bench.namespace.clone(), common::source())
        .await
        .unwrap();
    intake
        .push(bytes::Bytes::copy_from_slice(&small.bytes[..header]))
        .await
        .unwrap();
    let item = |length: u32| [&[0xFE, 0xFF, 0x00, 0xE0], length.to_le_bytes().as_slice()].concat();
    intake.push(item(0).into()).await.unwrap();
    let frame = bytes::Bytes::from(vec![7_u8; 4 << 20]);
    for _ in 0..48 {
        intake.push(item(4 << 20).into()).await.unwrap();
        for at in (0..frame.len()).step_by(48 << 10) {
            intake
                .push(frame.slice(at..frame.len().min(at + (48 << 10))))
                .await
                .unwrap();
        }
    }
    intake
        .push(vec![0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0].into())
        .await
        .unwrap();
    let (_, outcome) = intake.finish().await;
    assert_eq!(outcome.unwrap().kind, StoreKind::Stored);
    assert_eq!(bench.archive.pipeline.budget_bytes_out(), 0);
}

#[tokio::test]
async fn invariant_6_a_long_first_piece_reserves_no_more_than_its_frame_needs() {
    // As multipart bodies give them: a piece longer than what needs no reservation, from several instances at once.
    let bench = Bench::with(|config| config.admission_timeout = std::time::Duration::from_millis(300)).await;
    let mut intakes = Vec::new();
    for file in StudySpec::ct(4, 1).instances() {
        let mut intake = bench
            .archive
            .pipeline
            .admit(bench.namespace.clone(), common::source())
            .await
            .unwrap();
        let bytes = bytes::Bytes::from(file.bytes);
        intake.push(bytes.slice(..400 << 10)).await.unwrap();
        intakes.push((intake, bytes.slice(400 << 10..)));
    }
    for (intake, rest) in intakes {
        assert_eq!(intake.finish_with(rest).await.1.unwrap().kind, StoreKind::Stored);
    }
}

#[tokio::test]
async fn invariant_10_merged_patients_are_one_until_unmerged() {
    use septum_engine::patients::PatientKey;
    let bench = Bench::new().await;
    let services = &bench.archive.services;
    let right = tiny(1).build().bytes;
    let other = |series: &str| {
        tiny(1)
            .with_text((0x0010, 0x0020), b"LO", "OLD-NUMBER")
            .with_text((0x0008, 0x0018), b"UI", series)
            .build()
            .bytes
    };
    let identity = common::identity(&right);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().trim().to_owned();
    let key = |id: &str| PatientKey {
        issuer: text(&identity.issuer_of_patient_id),
        id: id.to_owned(),
    };
    let id = text(&identity.patient_id);
    let source = common::source();
    bench.store(&right).await.unwrap();
    services
        .patients
        .merge(&bench.namespace, key("OLD-NUMBER"), key(id.trim()), &source)
        .await
        .unwrap();
    assert!(matches!(
        services
            .patients
            .merge(&bench.namespace, key(id.trim()), key("OLD-NUMBER"), &source)
            .await,
        Err(EngineError::Conflict(_))
    ));
    assert_eq!(bench.store(&other("1.2.3.1")).await.unwrap().kind, StoreKind::Stored);
    let bench = bench.reopen().await;
    assert_eq!(bench.store(&other("1.2.3.2")).await.unwrap().kind, StoreKind::Stored);
    let patients = &bench.archive.services.patients;
    patients
        .unmerge(&bench.namespace, &key("OLD-NUMBER"), &source)
        .await
        .unwrap();
    assert_eq!(bench.store(&other("1.2.3.3")).await.unwrap().kind, StoreKind::Held);
    assert!(patients.list(bench.namespace.id).is_empty());
}
