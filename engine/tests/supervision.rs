//! A panic in each stage in turn, under load: clients hear failure, the next generation is there at once, every credit
//! comes back and nothing acknowledged is lost.

#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Bench, dataset_of};
use septum_testkit::TinyInstance;

const RESTART_MAX: Duration = Duration::from_millis(250);

fn file(seed: u64) -> Vec<u8> {
    TinyInstance::new(seed).pixels(64, 64, 2, 16).build().bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_stage_may_panic() {
    let scenario = fail::FailScenario::setup();
    let bench = Arc::new(Bench::new().await);
    let mut acknowledged = Vec::new();
    for (round, stage) in ["parser", "compressor", "sealer", "committer"].into_iter().enumerate() {
        let before = bench.archive.pipeline.generation();
        let load: Vec<_> = (0..40_u64)
            .map(|index| {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move {
                    let seed = round as u64 * 1_000 + index;
                    tokio::time::sleep(Duration::from_millis(index)).await;
                    (seed, bench.store(&file(seed)).await)
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        fail::cfg(format!("pipeline::{stage}"), "1*panic(planted)->off").unwrap();
        let planted = Instant::now();
        while bench.archive.pipeline.generation() == before {
            assert!(
                planted.elapsed() < Duration::from_secs(5),
                "{stage}: the panic was never noticed"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let noticed = Instant::now();
        while bench.store(&file(900_000 + round as u64)).await.is_err() {
            assert!(
                noticed.elapsed() < RESTART_MAX,
                "{stage}: not back within {RESTART_MAX:?}"
            );
        }
        let mut failed = 0;
        for task in load {
            match task.await.unwrap() {
                (seed, Ok(_)) => acknowledged.push(seed),
                (seed, Err(_)) => {
                    failed += 1;
                    // Whoever hears failure tries again, and it converges.
                    bench.store(&file(seed)).await.unwrap();
                    acknowledged.push(seed);
                }
            }
        }
        println!("{stage}: {failed} of 40 heard failure");
        assert!(failed > 0, "{stage}: the panic hit nobody");
        let idle = Instant::now();
        while bench.archive.pipeline.num_credits_out() > 0 || bench.archive.pipeline.budget_bytes_out() > 0 {
            assert!(idle.elapsed() < Duration::from_secs(5), "{stage}: credits are missing");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    scenario.teardown();
    let bench = Arc::into_inner(bench).unwrap().reopen().await;
    for seed in acknowledged {
        let file = file(seed);
        assert!(bench.dataset(&file).await.unwrap() == dataset_of(&file), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_quarantined_the_second_time() {
    let scenario = fail::FailScenario::setup();
    let bench = Bench::new().await;
    let (poison, harmless) = (file(1), file(2));
    let source = common::source();
    let store = |file: Vec<u8>| {
        let (pipeline, namespace) = (Arc::clone(&bench.archive.pipeline), Arc::clone(&bench.namespace));
        let source = source.clone();
        async move {
            let mut intake = pipeline.admit(namespace, source).await?;
            intake.push(file.into()).await?;
            intake.finish().await.1
        }
    };
    fail::cfg("pipeline::split", &format!("return({})", source.user)).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            store(poison.clone()).await,
            Err(septum_engine::EngineError::Panicked)
        ));
        assert!(bench.store(&harmless).await.is_ok(), "others go on");
    }
    fail::remove("pipeline::split");
    assert!(matches!(
        store(poison.clone()).await,
        Err(septum_engine::EngineError::Quarantined)
    ));
    scenario.teardown();
    let bench = bench.reopen().await;
    assert!(
        matches!(bench.store(&poison).await, Err(septum_engine::EngineError::Quarantined)),
        "also after a restart"
    );
    assert!(bench.store(&file(3)).await.is_ok());
}
