//! Scenarios, rounds and targets: who is measured when, and what must be there before the clock starts.
//!
//! Targets alternate within a round and the order turns from round to round, so that a noisy machine is noisy for all. No
//! measurement begins while a server still does background work for an earlier one (`--settle`).

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::arguments::{Named, RunOptions, Scenario};
use crate::corpus::{Corpus, CorpusError};
use crate::drive::{Outcome, Plan};
use crate::folder;
use crate::loads::{Fixtures, Load, needs};
use crate::medians::table;
use crate::process::{Reading, wait_until_idle, watching_memory};
use crate::report::{Report, Run, Spent};
use crate::request::Kind;
use crate::schedule::Pacing;
use crate::target::{Target, TargetError, targets};
use crate::verify::verify;

/// Why nothing could be measured.
#[derive(Debug, Error)]
pub(crate) enum SuiteError {
    /// There is nothing to send.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A target cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// `--pid` names no process, or not any more.
    #[error("target {0}: there is no process {1}")]
    NoProcess(String, u32),
    /// A target did not take what later scenarios read.
    #[error("target {0} did not store what is to be read: {1}")]
    NotPrepared(String, String),
    /// The result cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// A run under way.
pub(crate) struct Suite<'a> {
    /// The command line.
    pub(crate) options: &'a RunOptions,
    /// Where identities, noise and choices come from.
    pub(crate) seed: u64,
    /// Images.
    pub(crate) corpus: Corpus,
    /// Servers, in the order of the command line.
    pub(crate) targets: Vec<Target>,
    /// What they hold to be read.
    pub(crate) fixtures: Fixtures,
    runs: Vec<Run>,
}

/// Runs everything and reports.
pub(crate) fn run(options: &RunOptions) -> Result<Report, SuiteError> {
    let targets = targets(options)?;
    let corpus = Corpus::new(options.corpus.as_deref(), needs(&options.scenarios))?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(u64::try_from(clock.as_micros()).unwrap_or(1));
    let mut suite = Suite {
        options,
        seed,
        corpus,
        targets,
        fixtures: Fixtures::default(),
        runs: Vec::new(),
    };
    for scenario in &options.scenarios {
        suite.scenario(*scenario)?;
    }
    Ok(suite.report())
}

impl Suite<'_> {
    fn scenario(&mut self, scenario: Scenario) -> Result<(), SuiteError> {
        self.prepare(scenario)?;
        // What is held does not change from round to round.
        let rounds = if scenario == Scenario::Dense {
            1
        } else {
            self.options.rounds
        };
        for round in 0..rounds {
            let load = self.load(scenario, round)?;
            let num_targets = self.targets.len();
            for turn in 0..num_targets {
                let index = (turn + round as usize) % num_targets;
                let run = self.measure(scenario, round, index, &load)?;
                eprintln!(
                    "{scenario}, round {round}, {}: {:.1} s, {} failed",
                    run.target,
                    run.seconds,
                    run.num_failed()
                );
                self.runs.push(run);
            }
        }
        Ok(())
    }

    fn measure(&mut self, scenario: Scenario, round: u32, index: usize, load: &Load) -> Result<Run, SuiteError> {
        let options = self.options;
        let pids: Vec<u32> = self.targets.iter().filter_map(|target| target.pid).collect();
        let set = load.set.as_deref();
        let plan = Plan::new(
            load.main.clone(),
            set,
            options.clients,
            load.pacing,
            options.prepared_bytes,
        );
        let beside = load
            .beside
            .as_ref()
            .map(|(reads, pacing)| Plan::new(reads.clone(), None, options.clients, *pacing, 0));
        // After the bodies are made, so that making them is over too.
        let settled = options.settle == 0 || wait_until_idle(&pids, Duration::from_secs(options.settle));
        let target = &mut self.targets[index];
        let folders = (!target.folders.is_empty()).then_some(target.folders.as_slice());
        if scenario == Scenario::Frames {
            folder::drop_from_page_cache(&target.folders);
        }
        let held_before = folders.map(folder::disk_bytes);
        let reading = |pid: u32| Reading::of(pid).ok_or_else(|| SuiteError::NoProcess(target.name.clone(), pid));
        let own = || Reading::of(std::process::id()).unwrap_or_default();
        let prepared_share = plan.prepared_share();
        let (before, own_before) = (target.pid.map(reading).transpose()?, own());
        let (outcome, memory) = watching_memory(target.pid, || drive_together(&plan, beside.as_ref(), target));
        let (after, own_after) = (target.pid.map(reading).transpose()?, own());
        let held_after = folders.map(folder::disk_bytes);
        let held_since = |before: Option<u64>| Some(held_after?.cast_signed() - before?.cast_signed());
        let dense = scenario == Scenario::Dense;
        let run = Run {
            scenario,
            target: target.name.clone(),
            round,
            open_loop: load.pacing != Pacing::Closed,
            seconds: outcome.seconds,
            requests: Run::requests_of(&outcome),
            server: before.zip(after).map(|(before, after)| Spent::between(&before, &after)),
            client: Spent::between(&own_before, &own_after),
            server_memory_bytes: memory,
            disk_bytes: held_since(if dense {
                Some(target.disk_bytes_before)
            } else {
                held_before
            }),
            prepared_share,
            settled,
            live_bytes: dense.then(|| target.ledger.live_bytes()),
        };
        if let Some(set) = &load.set {
            target.ledger.add(set, outcome.acknowledged);
        }
        if let Some(set) = &load.leaving {
            for index in outcome.deleted {
                target.ledger.remove(set, load.main[index].instances.clone());
            }
        }
        Ok(run)
    }

    fn report(self) -> Report {
        let verification = self.targets.iter();
        let verification: BTreeMap<_, _> = verification
            .map(|target| (target.name.clone(), verify(target, self.options.verify, self.seed)))
            .collect();
        let names: Vec<String> = self.targets.iter().map(|target| target.name.clone()).collect();
        Report {
            seed: self.seed,
            rounds: self.options.rounds,
            clients: self.options.clients,
            batch: self.options.batch,
            corpus: (self.corpus.origin.clone(), self.corpus.describe()),
            times_the_cache: times_the_cache(&self.options.cache_bytes, &self.runs),
            table: table(&names, &self.runs),
            verification,
            runs: self.runs,
            targets: names,
        }
    }
}

/// Drives the plan, and the other one beside it until the first is done.
fn drive_together(plan: &Plan<'_>, beside: Option<&Plan<'_>>, target: &Target) -> Outcome {
    let Some(beside) = beside else {
        return plan.drive(&target.endpoint, &target.accepts, None);
    };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reads = scope.spawn(|| beside.drive(&target.endpoint, &target.accepts, Some(&stop)));
        let mut outcome = plan.drive(&target.endpoint, &target.accepts, None);
        let seconds = outcome.seconds;
        stop.store(true, Ordering::Relaxed);
        match reads.join() {
            Ok(reads) => outcome.merge(reads),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        // The rate of stores is what this is about; the last read may end a little later.
        outcome.seconds = seconds;
        outcome
    })
}

/// How often the frames of one round fill a target's cache: by what came over the wire, which is what the server read.
fn times_the_cache(caches: &[Named<u64>], runs: &[Run]) -> BTreeMap<String, f64> {
    let of = |run: &Run| {
        let cache = caches
            .iter()
            .find(|cache| cache.name == run.target && cache.value > 0)?;
        let received = run
            .requests
            .get(&Kind::Frame)
            .map_or(0, |requests| requests.received_bytes);
        Some((run.target.clone(), received as f64 / cache.value as f64))
    };
    runs.iter()
        .filter(|run| run.scenario == Scenario::Frames)
        .filter_map(of)
        .collect()
}
