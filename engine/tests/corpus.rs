//! Every file of the corpus through the engine, in one archive that is never wiped.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use common::{Bench, dataset_of};
use septum_engine::pipeline::messages::StoreKind;
use septum_engine::retrieve::stream::Form;
use septum_engine::retrieve::{InstanceRef, StudyRef};

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else if !path
            .extension()
            .is_some_and(|ending| ["md", "csv", "json", "txt", "hl7"].iter().any(|e| ending == *e))
        {
            files.push(path);
        }
    }
}

/// Puts the files into an order that has nothing to do with their names, the same each time.
fn shuffle(files: &mut [PathBuf]) {
    files.sort_by_key(|path| *blake3::hash(path.as_os_str().as_encoded_bytes()).as_bytes());
}

/// The version that a file became, wherever it was put.
fn find(bench: &Bench, file: &[u8], version: septum_core::ids::VersionId) -> InstanceRef {
    let services = &bench.archive.services;
    let identity = common::identity(file);
    let in_study = |study: &StudyRef| {
        study
            .instance(
                services,
                identity.series.as_str(),
                identity.instance.as_str(),
                Some(version),
            )
            .ok()
    };
    StudyRef::find(services, &bench.namespace, identity.study.as_str())
        .into_iter()
        .chain(StudyRef::find_held(services, &bench.namespace, identity.study.as_str()).unwrap())
        .find_map(|study| in_study(&study))
        .expect("an acknowledged version can be read")
}

#[tokio::test]
async fn invariant_4_and_5_every_file_comes_back_as_its_own_version() {
    let Some(corpus) = common::corpus() else { return };
    let mut files = Vec::new();
    files_below(&corpus, &mut files);
    shuffle(&mut files);
    let bench = Bench::new().await;
    let mut stored = Vec::new();
    let (mut refused, mut held) = (0, 0);
    for path in &files {
        let bytes = std::fs::read(path).unwrap();
        match bench.store(&bytes).await {
            Ok(outcome) => {
                held += usize::from(outcome.kind == StoreKind::Held);
                stored.push((path, bytes, outcome.version));
            }
            Err(error) => {
                assert!(common::is_rejection(&error), "{}: {error}", path.display());
                refused += 1;
            }
        }
    }
    println!("{} stored, {held} of them held, {refused} refused", stored.len());
    assert!(stored.len() > 400);
    for (path, bytes, version) in &stored {
        let found = find(&bench, bytes, *version);
        let back = bench.read(&found, Form::Original).await.unwrap();
        assert!(dataset_of(&back) == dataset_of(bytes), "{}", path.display());
    }
    let bench = bench.reopen().await;
    for (path, bytes, version) in &stored {
        let found = find(&bench, bytes, *version);
        assert!(
            dataset_of(&bench.read(&found, Form::Original).await.unwrap()) == dataset_of(bytes),
            "{}",
            path.display()
        );
    }
    assert_eq!(bench.archive.pipeline.num_credits_out(), 0);
    assert_eq!(bench.archive.pipeline.budget_bytes_out(), 0);
}

#[tokio::test]
async fn invariant_3_nothing_planted_shows_on_disk() {
    let Some(corpus) = common::corpus() else { return };
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(corpus.join("phi/phi_expected.json")).unwrap()).unwrap();
    let mut needles = Vec::new();
    collect_needles(&expected, &mut needles);
    assert!(needles.len() > 50, "{} planted strings", needles.len());
    let bench = Bench::new().await;
    let mut files = Vec::new();
    files_below(&corpus.join("phi"), &mut files);
    for path in &files {
        bench.store(&std::fs::read(path).unwrap()).await.unwrap();
    }
    let root = bench.root.path().to_owned();
    let bench = bench.reopen().await;
    let mut on_disk = Vec::new();
    files_below_all(&root, &mut on_disk);
    assert!(on_disk.len() > 10);
    for path in on_disk {
        let bytes = std::fs::read(&path).unwrap();
        for needle in &needles {
            assert!(
                !contains(&bytes, needle),
                "a planted string of {} bytes shows in {}",
                needle.len(),
                path.display()
            );
        }
    }
    drop(bench);
}

fn files_below_all(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below_all(&path, files)
        } else {
            files.push(path)
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = haystack[at..].iter().position(|byte| *byte == needle[0]) {
        at += found;
        if haystack[at..].starts_with(needle) {
            return true;
        }
        at += 1;
    }
    false
}

/// Every string of at least 6 bytes under a key that names planted bytes or text.
fn collect_needles(value: &serde_json::Value, needles: &mut Vec<Vec<u8>>) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_needles(item, needles)),
        serde_json::Value::Object(map) => {
            for (key, item) in map {
                match (key.as_str(), item.as_str()) {
                    ("bytes_hex", Some(hex)) => {
                        let bytes: Vec<u8> = (0..hex.len() / 2)
                            .filter_map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok())
                            .collect();
                        if bytes.len() >= 6 {
                            needles.push(bytes);
                        }
                    }
                    ("value", Some(text)) if text.len() >= 6 => needles.push(text.as_bytes().to_vec()),
                    _ => collect_needles(item, needles),
                }
            }
        }
        _ => {}
    }
}
