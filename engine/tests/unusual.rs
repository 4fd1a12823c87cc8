//! Instances that are taken as they are, and must not be taken for more than that at any door.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{Bench, dataset_of};
use septum_core::codec::Interchange;
use septum_core::query::{Level, Query};
use septum_engine::error::ErrorKind;
use septum_engine::pipeline::messages::StoreKind;
use septum_engine::retrieve::frames::Frames;
use septum_engine::retrieve::interchange;
use septum_engine::retrieve::rendered::Pictures;
use septum_engine::retrieve::stream::{self, Form};
use septum_engine::search::{Scope, search};
use septum_testkit::TinyInstance;
use septum_testkit::dataset::{Element, SequenceLength};

/// A file under a transfer syntax of the same length as Explicit VR Little Endian's padded one.
fn under(syntax: &str, instance: TinyInstance) -> Vec<u8> {
    let mut file = instance.build().bytes;
    let explicit = b"1.2.840.10008.1.2.1\0";
    let at = file
        .windows(explicit.len())
        .position(|bytes| bytes == explicit)
        .unwrap();
    assert_eq!(syntax.len(), explicit.len());
    file[at..at + explicit.len()].copy_from_slice(syntax.as_bytes());
    file
}

#[tokio::test]
async fn pixels_of_an_unknown_syntax_are_had_as_stored_alone() {
    let bench = Bench::new().await;
    let file = under("1.2.3.4.5.6.7.8.9.10", TinyInstance::new(1));
    assert_eq!(bench.store(&file).await.unwrap().kind, StoreKind::Stored);
    let services = &bench.archive.services;
    let found = bench.find(&file).unwrap();
    assert_eq!(bench.dataset(&file).await.unwrap(), dataset_of(&file));
    let kind = |error: Option<septum_engine::EngineError>| error.map(|error| error.kind());
    assert_eq!(
        kind(bench.read(&found, Form::Native).await.err()),
        Some(ErrorKind::NotAcceptable)
    );
    let pixels = || stream::pixels_of(services, &found).unwrap().unwrap();
    assert_eq!(
        kind(Frames::native(services, pixels(), &found).await.err()),
        Some(ErrorKind::NotAcceptable)
    );
    assert_eq!(
        kind(Pictures::open(services, &found).await.err()),
        Some(ErrorKind::NotAcceptable)
    );
    for form in Interchange::ALL {
        assert!(!interchange::is_possible(&found.record, form));
        assert_eq!(
            kind(bench.read(&found, Form::Interchange(form)).await.err()),
            Some(ErrorKind::NotAcceptable)
        );
    }
}

#[tokio::test]
async fn pixels_that_are_elsewhere_are_not_had_decoded() {
    let bench = Bench::new().await;
    let without = TinyInstance::new(1).without((0x7FE0, 0x0010));
    let file = under("1.2.840.10008.1.2.1\0", without);
    // JPIP Referenced is two bytes longer: its group length with it.
    let file = {
        let explicit = b"UI\x14\x001.2.840.10008.1.2.1\0";
        let at = file
            .windows(explicit.len())
            .position(|bytes| bytes == explicit)
            .unwrap();
        let jpip = b"UI\x16\x001.2.840.10008.1.2.4.94";
        let mut changed = [&file[..at], jpip, &file[at + explicit.len()..]].concat();
        let length = u32::from_le_bytes(changed[140..144].try_into().unwrap()) + 2;
        changed[140..144].copy_from_slice(&length.to_le_bytes());
        changed
    };
    bench.store(&file).await.unwrap();
    let found = bench.find(&file).unwrap();
    assert_eq!(bench.dataset(&file).await.unwrap(), dataset_of(&file));
    let refused = bench.read(&found, Form::Native).await.err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::NotAcceptable));
}

#[tokio::test]
async fn one_deep_instance_breaks_no_search() {
    let bench = Bench::new().await;
    let deep = |seed: u64, innermost| TinyInstance::new(seed).nested(64, SequenceLength::Undefined, innermost);
    let innermost = || Element::text((0x0008, 0x103E), b"LO", "innermost");
    // A sequence of the instance's, and in another study one of the study's own.
    bench.store(&deep(1, innermost()).build().bytes).await.unwrap();
    let codes = {
        let nested = deep(101, innermost());
        let mut sequence = nested.dataset().get((0x0008, 0x1140)).unwrap().clone();
        sequence.tag = (0x0008, 0x1032);
        nested.without((0x0008, 0x1140)).with(sequence)
    };
    bench.store(&codes.build().bytes).await.unwrap();
    bench.store(&TinyInstance::new(2).build().bytes).await.unwrap();
    let bench = bench.reopen().await;
    for (level, text, expected) in [
        (Level::Study, "InstanceNumber=2", 2),
        (Level::Series, "InstanceNumber=3", 1),
        (Level::Instance, "PatientID=DEMO-TINY", 3),
    ] {
        let pairs = [text.split_once('=').unwrap(), ("includefield", "all")];
        let query = Query::parse(
            level,
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter(),
        );
        let namespaces = std::slice::from_ref(&bench.namespace);
        let found = search(&bench.archive.services, namespaces, Scope::default(), &query.unwrap()).await;
        assert_eq!(found.unwrap().items.len(), expected, "{text}");
    }
}
