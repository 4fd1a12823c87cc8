//! Commits that fail: nothing of what they were to change stays in memory or in the key store, and nothing that is stored
//! is lost.

#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::{Bench, dataset_of, identity, source};
use septum_core::query::{Level, Query};
use septum_engine::records::{ColumnsRow, StudyRow, decode};
use septum_engine::search::{Scope, search};
use septum_storage::RowKind;
use septum_testkit::TinyInstance;

const APPEND: &str = "storage::append";

async fn num_found(bench: &Bench, text: &str) -> usize {
    let pairs = text.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    let query = Query::parse(Level::Study, pairs).unwrap();
    let namespaces = std::slice::from_ref(&bench.namespace);
    let found = search(&bench.archive.services, namespaces, Scope::default(), &query).await;
    found.unwrap().items.len()
}

fn rows(bench: &Bench, kind: RowKind) -> Vec<Vec<u8>> {
    let shards = bench.archive.services.store.shards();
    let rows = shards
        .iter()
        .flat_map(|shard| shard.scan(&kind.key(&[]), None, 10_000).unwrap());
    rows.map(|(_, value)| value).collect()
}

async fn folded(bench: &Bench) {
    let start = Instant::now();
    while !rows(bench, RowKind::Unfolded).is_empty() || !rows(bench, RowKind::Saga).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing is folded");
        septum_engine::erase::resume(&bench.archive.services).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every key that is stored is named by a row, and the other way round.
fn check_keys(bench: &Bench, when: &str) {
    let studies = rows(bench, RowKind::Study).into_iter();
    let studies = studies.map(|row| decode::<StudyRow>(&row, "study").unwrap().keys);
    let pages = rows(bench, RowKind::Columns).into_iter();
    let pages = pages.map(|row| decode::<ColumnsRow>(&row, "page").unwrap().keys);
    let named: BTreeSet<_> = studies.chain(pages).map(|keys| *keys.as_bytes()).collect();
    let stored = bench.archive.services.store.keys().list();
    let stored: BTreeSet<_> = stored.into_iter().map(|keys| *keys.as_bytes()).collect();
    assert_eq!(stored.difference(&named).count(), 0, "{when}: keys that nothing names");
    assert_eq!(named.difference(&stored).count(), 0, "{when}: keys that are gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_commits_leave_nothing_behind() {
    let scenario = fail::FailScenario::setup();
    let bench = Bench::new().await;
    let services = &bench.archive.services;

    // A study that never came to be is not searched for.
    let never = TinyInstance::new(100).build().bytes;
    fail::cfg(APPEND, "return").unwrap();
    assert!(bench.store(&never).await.is_err());
    fail::remove(APPEND);
    let account = services.keyring.account(bench.namespace.account).unwrap();
    let study_uid = identity(&never).study;
    let token = services
        .studies
        .study_token(&account, bench.namespace.id, study_uid.as_str());
    let row_key = septum_engine::records::key::study(bench.namespace.id, &token, bench.namespace.id);
    let (shard, _) = services.studies.shard(study_uid.as_str());
    assert_eq!(services.columns.stamp(shard, &row_key).unwrap(), None);

    // A study is found by what it says, and not by what it was to say.
    let first = TinyInstance::new(200).build().bytes;
    let second = TinyInstance::new(201)
        .with_text((0x0008, 0x1030), b"LO", "Thorax")
        .build()
        .bytes;
    bench.store(&first).await.unwrap();
    folded(&bench).await;
    let empty = "emptyvaluematching=true&StudyDescription=\"\"";
    assert_eq!(
        (
            num_found(&bench, empty).await,
            num_found(&bench, "StudyDescription=T*").await
        ),
        (1, 0)
    );
    fail::cfg(APPEND, "return").unwrap();
    assert!(bench.store(&second).await.is_err());
    fail::remove(APPEND);
    assert_eq!(
        (
            num_found(&bench, empty).await,
            num_found(&bench, "StudyDescription=T*").await
        ),
        (1, 0)
    );
    bench.store(&second).await.unwrap();
    assert_eq!(
        (
            num_found(&bench, empty).await,
            num_found(&bench, "StudyDescription=T*").await
        ),
        (0, 1)
    );

    // Erasing makes keys for the page that the study was in.
    folded(&bench).await;
    let uid = identity(&first).study;
    let erase = || septum_engine::erase::study(services, &bench.namespace, uid.as_str(), &SOURCE);
    let before = services.store.keys().list().len();
    fail::cfg(APPEND, "return").unwrap();
    assert!(erase().await.is_err());
    fail::remove(APPEND);
    assert_eq!(services.store.keys().list().len(), before);
    assert_eq!(bench.dataset(&first).await.unwrap(), dataset_of(&first));
    erase().await.unwrap();
    assert_eq!(num_found(&bench, "StudyDescription=*").await, 0);
    scenario.teardown();
}

static SOURCE: std::sync::LazyLock<septum_engine::pipeline::messages::Source> = std::sync::LazyLock::new(source);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_an_instance_may_fail_at_any_commit() {
    let scenario = fail::FailScenario::setup();
    let bench = Bench::new().await;
    let mut kept = Vec::new();
    let mut num_failed = 0;
    for round in 0..14_u64 {
        let (part, rest) = (
            TinyInstance::new(round * 100).build().bytes,
            TinyInstance::new(round * 100 + 1).build().bytes,
        );
        bench.store(&part).await.unwrap();
        bench.store(&rest).await.unwrap();
        folded(&bench).await;
        fail::cfg(APPEND, &format!("{round}*off->1*return->off")).unwrap();
        let uid = identity(&part);
        let erase = || {
            let (study, series, instance) = (uid.study.as_str(), uid.series.as_str(), uid.instance.as_str());
            septum_engine::erase::instance(
                &bench.archive.services,
                &bench.namespace,
                study,
                series,
                instance,
                &SOURCE,
            )
        };
        let is_failed = erase().await.is_err();
        fail::remove(APPEND);
        num_failed += usize::from(is_failed);
        assert_eq!(bench.dataset(&rest).await.unwrap(), dataset_of(&rest), "round {round}");
        if bench.find(&part).is_ok() {
            assert!(is_failed, "round {round}");
            erase().await.unwrap();
        }
        assert!(bench.find(&part).is_err(), "round {round}");
        assert_eq!(bench.dataset(&rest).await.unwrap(), dataset_of(&rest), "round {round}");
        kept.push(rest);
        folded(&bench).await;
        check_keys(&bench, &format!("round {round}"));
    }
    assert!(
        (3..14).contains(&num_failed),
        "{num_failed} commits of deleting an instance failed"
    );
    scenario.teardown();
    let bench = bench.reopen().await;
    for file in kept {
        assert_eq!(bench.dataset(&file).await.unwrap(), dataset_of(&file));
    }
}
