//! Scenarios, rounds and targets: who is measured when, and what must be there before the clock starts.
//!
//! Targets alternate within a round and the order turns from round to round, so that a noisy machine is noisy for all. No
//! measurement begins while a server still does background work for an earlier one (`--settle`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use septum_testkit::random::Random;
use thiserror::Error;

use crate::arguments::{Named, RunOptions, Scenario};
use crate::corpus::set::Set;
use crate::corpus::{Corpus, CorpusError, Needs};
use crate::drive::{Outcome, Plan};
use crate::folder;
use crate::process::{Reading, wait_until_idle, watching_memory};
use crate::report::{Report, Run, Spent, table};
use crate::request::{Kind, Request};
use crate::scenario::{self, DaySets};
use crate::schedule::Pacing;
use crate::target::{Target, TargetError, targets};
use crate::verify::verify;

/// Objects with 100 frames that `frame-of-100` reads from.
const NUM_OBJECTS: usize = 3;

/// Scenarios that read from the library of CT instances.
const LIBRARY: [Scenario; 7] = [
    Scenario::Frames,
    Scenario::FramesNative,
    Scenario::Instances,
    Scenario::Metadata,
    Scenario::Study,
    Scenario::ReadsUnderIngest,
    Scenario::Day,
];

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

/// Sets that are stored once and read by several scenarios.
#[derive(Default)]
struct Fixtures {
    library: Option<Arc<Set>>,
    objects: Option<Arc<Set>>,
    patients: Option<Arc<Set>>,
}

struct Suite<'a> {
    options: &'a RunOptions,
    seed: u64,
    corpus: Corpus,
    targets: Vec<Target>,
    fixtures: Fixtures,
    runs: Vec<Run>,
}

/// What a round sends: to be driven at the same time.
struct Load {
    main: Vec<Request>,
    /// Instances that store requests in `main` send.
    set: Option<Arc<Set>>,
    /// Instances that delete requests in `main` delete.
    leaving: Option<Arc<Set>>,
    pacing: Pacing,
    /// Reads beside `main` at their own pace, until it is done.
    beside: Option<(Vec<Request>, Pacing)>,
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

/// Which images the scenarios send.
fn needs(scenarios: &[Scenario]) -> Needs {
    use Scenario as S;
    let any = |wanted: &[Scenario]| scenarios.iter().any(|scenario| wanted.contains(scenario));
    let searches = [
        S::SearchPrefix,
        S::SearchInfix,
        S::SearchId,
        S::SearchDates,
        S::SearchOffset,
    ];
    Needs {
        ct: any(&LIBRARY) || any(&[S::StoreCt]),
        mixed: any(&[S::StoreMixed, S::Day]),
        multi_frame: any(&[S::FrameOf100]),
        small: any(&searches) || any(&[S::Day, S::Delete]),
    }
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

    /// Seed of a set: no two sets of a run share an identity.
    fn set_seed(&self, what: u32, round: u32) -> u64 {
        Random::new(self.seed, u64::from(what) << 32 | u64::from(round)).next_u64()
    }

    /// Stores what the scenario reads, on every target, once.
    fn prepare(&mut self, scenario: Scenario) -> Result<(), SuiteError> {
        use Scenario as S;
        if LIBRARY.contains(&scenario) && self.fixtures.library.is_none() {
            let (count, series) = (self.options.library as usize, self.options.series as usize);
            let set = Arc::new(Set::even(self.set_seed(1, 0), &self.corpus.ct, count, series));
            self.store_everywhere(&set)?;
            self.fixtures.library = Some(set);
        }
        if scenario == S::FrameOf100 && self.fixtures.objects.is_none() {
            let set = Arc::new(Set::even(self.set_seed(2, 0), &self.corpus.multi_frame, NUM_OBJECTS, 1));
            self.store_everywhere(&set)?;
            self.fixtures.objects = Some(set);
        }
        let searches = matches!(
            scenario,
            S::SearchPrefix | S::SearchInfix | S::SearchId | S::SearchDates | S::SearchOffset | S::Day
        );
        if searches && self.fixtures.patients.is_none() {
            let count = self.options.patients as usize;
            let set = Arc::new(Set::even(self.set_seed(3, 0), &self.corpus.small, count, 1));
            self.store_everywhere(&set)?;
            self.fixtures.patients = Some(set);
        }
        Ok(())
    }

    /// Stores a set on every target, outside of any measurement.
    fn store_everywhere(&mut self, set: &Arc<Set>) -> Result<(), SuiteError> {
        for target in &mut self.targets {
            let requests = scenario::stores(set, self.options.batch as usize);
            // Bodies are made as they are sent: nothing is measured here, and a library may be large.
            let plan = Plan::new(requests, Some(set), self.options.clients, Pacing::Closed, 0);
            let outcome = plan.drive(&target.endpoint, &target.frame_accept, None);
            let num_stored = outcome.acknowledged.len();
            if num_stored < set.len() {
                let failures: Vec<_> = outcome.tallies.values().map(|tally| &tally.failures).collect();
                let why = format!("{num_stored} of {} instances acknowledged, {failures:?}", set.len());
                return Err(SuiteError::NotPrepared(target.name.clone(), why));
            }
            target.ledger.add(set, outcome.acknowledged);
        }
        Ok(())
    }

    /// What the round sends; the same for all targets.
    fn load(&mut self, scenario: Scenario, round: u32) -> Result<Load, SuiteError> {
        use Scenario as S;
        let options = self.options;
        let pacing = options.pacing(self.seed ^ u64::from(round));
        let mut random = scenario::random(self.seed, scenario, round);
        let what = 16 + scenario as u32;
        let (count, series) = (options.count as usize, options.series as usize);
        let reading = |main| Load {
            main,
            set: None,
            leaving: None,
            pacing,
            beside: None,
        };
        let storing = |set: Arc<Set>| Load {
            main: scenario::stores(&set, options.batch as usize),
            set: Some(set),
            leaving: None,
            pacing,
            beside: None,
        };
        let fixture = |fixture: &Option<Arc<Set>>| fixture.clone().ok_or(CorpusError::Missing("set that was stored"));
        Ok(match scenario {
            S::Dense => reading(Vec::new()),
            S::StoreCt => storing(Arc::new(Set::even(
                self.set_seed(what, round),
                &self.corpus.ct,
                count,
                series,
            ))),
            S::StoreMixed => storing(Arc::new(Set::mixed(self.set_seed(what, round), &self.corpus, count))),
            S::Frames | S::FramesNative | S::Instances | S::Metadata | S::Study => reading(scenario::reads(
                options,
                &*fixture(&self.fixtures.library)?,
                scenario,
                &mut random,
            )),
            S::FrameOf100 => reading(scenario::frames_of_many(
                options,
                &*fixture(&self.fixtures.objects)?,
                &mut random,
            )),
            S::SearchPrefix | S::SearchInfix | S::SearchId | S::SearchDates | S::SearchOffset => reading(
                scenario::searches(options, &*fixture(&self.fixtures.patients)?, scenario, &mut random),
            ),
            S::ReadsUnderIngest => {
                let library = fixture(&self.fixtures.library)?;
                let mut reads = scenario::reads(options, &library, S::Frames, &mut random);
                // Enough for ten minutes; they end with the stores.
                let enough = (options.read_rate * 600.0).ceil() as usize;
                reads = reads.into_iter().cycle().take(enough).collect();
                let set = Set::even(self.set_seed(what, round), &self.corpus.ct, count, series);
                Load {
                    beside: Some((reads, options.open(options.read_rate, self.seed ^ u64::from(round)))),
                    pacing: Pacing::Closed,
                    ..storing(Arc::new(set))
                }
            }
            S::Delete => {
                let (seed, studies) = (self.set_seed(what, round), options.deletes as usize);
                let set = Arc::new(Set::even(seed, &self.corpus.small, studies, 1));
                self.store_everywhere(&set)?;
                Load {
                    main: scenario::deletes(&set),
                    set: None,
                    leaving: Some(set),
                    pacing,
                    beside: None,
                }
            }
            S::Day => self.day(round, &mut random)?,
        })
    }

    fn day(&mut self, round: u32, random: &mut Random) -> Result<Load, SuiteError> {
        let options = self.options;
        let missing = CorpusError::Missing("set that was stored");
        let (Some(library), Some(patients)) = (self.fixtures.library.clone(), self.fixtures.patients.clone()) else {
            return Err(missing.into());
        };
        let (stored, deleted) = scenario::day_needs(options);
        let seed = self.set_seed(16 + Scenario::Day as u32, round);
        let leaving = Arc::new(Set::even(seed, &self.corpus.small, deleted, 1));
        let arriving = Arc::new(Set::mixed(seed.wrapping_add(1), &self.corpus, stored));
        self.store_everywhere(&leaving)?;
        let sets = DaySets {
            library: &library,
            patients: &patients,
            arriving: &arriving,
            leaving: &leaving,
        };
        let main = scenario::day(options, &sets, random);
        let pacing = options.open(options.day_rate, self.seed ^ u64::from(round));
        Ok(Load {
            main,
            set: Some(arriving),
            leaving: Some(leaving),
            pacing,
            beside: None,
        })
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
        return plan.drive(&target.endpoint, &target.frame_accept, None);
    };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reads = scope.spawn(|| beside.drive(&target.endpoint, &target.frame_accept, Some(&stop)));
        let mut outcome = plan.drive(&target.endpoint, &target.frame_accept, None);
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
