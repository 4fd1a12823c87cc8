//! Values of many MiB outside the pixels: split off, sealed apart, merged back (invariants 4, 6 and 9).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Bench, dataset_of};
use septum_core::dicom::{SplitLimits, VALUE_UNIT_BYTES};
use septum_engine::pipeline::messages::StoreKind;
use septum_engine::retrieve::stream::Form;
use septum_engine::retrieve::{Values, metadata, stream};
use septum_storage::RowKind;
use septum_testkit::dataset::Element;
use septum_testkit::{TinyInstance, TransferSyntax};

const LENGTH: usize = 2 * VALUE_UNIT_BYTES as usize + 1000;

fn value(seed: u8) -> Vec<u8> {
    (0..LENGTH).map(|at| (at / 7) as u8 ^ seed).collect()
}

fn raw(seed: u64, syntax: TransferSyntax) -> Vec<u8> {
    let instance = TinyInstance::new(seed).pixels(16, 16, 2, 16);
    let instance = instance
        .with(Element::bytes((0x0029, 0x1010), b"OB", value(seed as u8)))
        .append(Element::bytes((0x7FE1, 0x1010), b"OB", value(seed as u8 + 1)));
    instance.transfer_syntax(syntax).build().bytes
}

/// A header may be far shorter than what passes.
async fn bench() -> Bench {
    Bench::with(|config| {
        config.split = SplitLimits {
            header_bytes_max: 1 << 20,
            ..config.split
        };
    })
    .await
}

fn num_arriving(bench: &Bench) -> usize {
    let shards = bench.archive.services.store.shards().iter();
    let prefix = RowKind::Arriving.key(&[]);
    shards.map(|shard| shard.scan(&prefix, None, 1000).unwrap().len()).sum()
}

#[tokio::test]
async fn invariant_4_long_values_come_back() {
    let bench = bench().await;
    let files: Vec<Vec<u8>> = [
        TransferSyntax::ExplicitLittleEndian,
        TransferSyntax::ImplicitLittleEndian,
        TransferSyntax::ExplicitBigEndian,
        TransferSyntax::DeflatedExplicitLittleEndian,
    ]
    .into_iter()
    .zip(1..)
    .map(|(syntax, seed)| raw(seed, syntax))
    .collect();
    for file in &files {
        assert_eq!(bench.store(file).await.unwrap().kind, StoreKind::Stored);
        assert_eq!(bench.dataset(file).await.unwrap(), dataset_of(file));
        assert_eq!(bench.store(file).await.unwrap().kind, StoreKind::Duplicate);
    }
    assert_eq!(num_arriving(&bench), 0);
    let bench = bench.reopen().await;
    for (file, seed) in files.iter().zip(1..) {
        assert_eq!(
            bench.dataset(file).await.unwrap(),
            dataset_of(file),
            "also after a restart"
        );
        let services = &bench.archive.services;
        let found = bench.find(file).unwrap();
        let header = stream::header_of(services, &found).await.unwrap();
        let values = Values::new(services, &found, &header).unwrap();
        assert_eq!(values.all().len(), 2);
        let mut first = Vec::new();
        for number in values.units(0) {
            first.extend_from_slice(&values.unit(number).await.unwrap());
        }
        assert!(first == value(seed));
        let entry = metadata::of_instance(services, &found).await.unwrap();
        let attributes: serde_json::Value = serde_json::from_str(&entry.text).unwrap();
        for tag in ["00291010", "7FE11010"] {
            let uri = attributes[tag]["BulkDataURI"].as_str().unwrap();
            assert!(uri.ends_with(&format!("/bulkdata/{tag}")), "{uri}");
        }
        // The default transfer syntax has them too.
        let native = bench.read(&found, Form::Native).await.unwrap();
        let split = common::split(&native).unwrap();
        let lengths: Vec<_> = split
            .header
            .long_values()
            .map(|value| (value.tag, value.length))
            .collect();
        assert_eq!(
            lengths,
            [((0x0029, 0x1010), LENGTH as u32), ((0x7FE1, 0x1010), LENGTH as u32)]
        );
    }
}

#[tokio::test]
async fn invariant_9_deleting_beside_them_keeps_them() {
    let bench = bench().await;
    let (kept, gone) = (
        raw(1, TransferSyntax::ExplicitLittleEndian),
        raw(2, TransferSyntax::ImplicitLittleEndian),
    );
    bench.store(&kept).await.unwrap();
    bench.store(&gone).await.unwrap();
    let uid = common::identity(&gone);
    let services = &bench.archive.services;
    let (study, series, instance) = (uid.study.as_str(), uid.series.as_str(), uid.instance.as_str());
    septum_engine::erase::instance(services, &bench.namespace, study, series, instance, &common::source())
        .await
        .unwrap();
    assert!(bench.find(&gone).is_err());
    assert_eq!(bench.dataset(&kept).await.unwrap(), dataset_of(&kept));
    assert_eq!(num_arriving(&bench), 0);
    septum_engine::erase::study(services, &bench.namespace, study, &common::source())
        .await
        .unwrap();
    assert!(bench.find(&kept).is_err());
}

#[tokio::test]
async fn what_never_arrives_is_freed() {
    let bench = bench().await;
    let file = raw(1, TransferSyntax::ExplicitLittleEndian);
    let admit = || async {
        let pipeline = &bench.archive.pipeline;
        pipeline
            .admit(std::sync::Arc::clone(&bench.namespace), common::source())
            .await
            .unwrap()
    };
    let mut intake = admit().await;
    for chunk in file[..file.len() - 100].chunks(1 << 20) {
        intake.push(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    for _ in 0..100 {
        if num_arriving(&bench) == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(num_arriving(&bench), 5, "the last unit is not whole");
    // The sender goes away.
    drop(intake);
    for _ in 0..200 {
        if num_arriving(&bench) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(num_arriving(&bench), 0);
    assert_eq!(bench.store(&file).await.unwrap().kind, StoreKind::Stored);
}
