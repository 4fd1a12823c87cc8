//! What each round needs and sends: sets are made from the seed of the run, and what is to be read or deleted is stored on
//! every target before the clock starts.

use std::sync::Arc;

use septum_testkit::random::Random;

use crate::arguments::Scenario;
use crate::corpus::set::Set;
use crate::corpus::{CorpusError, Needs};
use crate::drive::Plan;
use crate::request::Request;
use crate::scenario::{self, DaySets};
use crate::schedule::Pacing;
use crate::suite::{Suite, SuiteError};

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

/// Sets that are stored once and read by several scenarios.
#[derive(Default)]
pub(crate) struct Fixtures {
    library: Option<Arc<Set>>,
    objects: Option<Arc<Set>>,
    patients: Option<Arc<Set>>,
}

/// What a round sends: to be driven at the same time.
pub(crate) struct Load {
    /// Requests in order.
    pub(crate) main: Vec<Request>,
    /// Instances that store requests in `main` send.
    pub(crate) set: Option<Arc<Set>>,
    /// Instances that delete requests in `main` delete.
    pub(crate) leaving: Option<Arc<Set>>,
    /// When requests of `main` begin.
    pub(crate) pacing: Pacing,
    /// Reads beside `main` at their own pace, until it is done.
    pub(crate) beside: Option<(Vec<Request>, Pacing)>,
}

/// Which images the scenarios send.
pub(crate) fn needs(scenarios: &[Scenario]) -> Needs {
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
    /// Seed of a set: no two sets of a run share an identity.
    fn set_seed(&self, what: u32, round: u32) -> u64 {
        Random::new(self.seed, u64::from(what) << 32 | u64::from(round)).next_u64()
    }

    /// Stores what the scenario reads, on every target, once.
    pub(crate) fn prepare(&mut self, scenario: Scenario) -> Result<(), SuiteError> {
        use Scenario as S;
        if LIBRARY.contains(&scenario) && self.fixtures.library.is_none() {
            let (count, series) = (self.options.library as usize, self.options.series as usize);
            let set = Arc::new(Set::even(self.set_seed(1, 0), &self.corpus.ct, count, series));
            self.store_everywhere(&set)?;
            self.fixtures.library = Some(set);
        }
        if scenario == S::FrameOf100 && self.fixtures.objects.is_none() {
            let count = self.options.objects as usize;
            let set = Arc::new(Set::even(self.set_seed(2, 0), &self.corpus.multi_frame, count, 1));
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
            let outcome = plan.drive(&target.endpoint, &target.accepts, None);
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
    pub(crate) fn load(&mut self, scenario: Scenario, round: u32) -> Result<Load, SuiteError> {
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
}
