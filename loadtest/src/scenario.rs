//! What each scenario sends in a round. Pure: the same options, sets and round give the same requests for every target.

use std::ops::Range;

use septum_testkit::random::Random;

use crate::arguments::{RunOptions, Scenario};
use crate::corpus::set::Set;
use crate::request::{Kind, Request};

/// Bytes of one store request at most; fewer instances go into it when they are large.
const STORE_REQUEST_BYTES: u64 = 64 << 20;
/// Results of one page of a search.
const PAGE: u32 = 25;
/// Instances in one store request of the day, as modalities send them.
const DAY_BATCH: usize = 10;
/// Frames of the multi-frame object.
const NUM_FRAMES: u32 = 100;

/// A choice that follows from the seed of the run.
pub(crate) fn random(seed: u64, scenario: Scenario, round: u32) -> Random {
    Random::new(seed, (scenario as u64) << 32 | u64::from(round))
}

/// `count` numbers below `bound` in random order, each once; once more when there are not enough.
fn distinct(random: &mut Random, bound: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..bound).collect();
    for index in (1..all.len()).rev() {
        all.swap(index, random.below(index as u32 + 1) as usize);
    }
    all.into_iter()
        .cycle()
        .take(if bound == 0 { 0 } else { count })
        .collect()
}

/// Stores everything of a set.
pub(crate) fn stores(set: &Set, batch: usize) -> Vec<Request> {
    let of = |instances: Range<usize>| Request {
        kind: Kind::Store,
        path: "/studies".into(),
        native_bytes: set.bytes(instances.clone()),
        instances,
    };
    set.batches(batch, STORE_REQUEST_BYTES).into_iter().map(of).collect()
}

fn frame(set: &Set, number: usize, index: u32, kind: Kind) -> Request {
    let native_bytes = set.source(number).shape().frame_length().unwrap_or(0);
    Request::read(
        kind,
        format!("{}/frames/{index}", set.instance_path(number)),
        native_bytes,
    )
}

/// Deletes every study of a set.
pub(crate) fn deletes(set: &Set) -> Vec<Request> {
    let studies = set.studies().iter();
    let of = |(identity, numbers): &(crate::corpus::identity::StudyIdentity, Range<usize>)| Request {
        kind: Kind::Delete,
        path: format!("/studies/{}", identity.study),
        instances: numbers.clone(),
        native_bytes: 0,
    };
    studies.map(of).collect()
}

/// Reads of a set of single-frame instances, or of its series and studies.
pub(crate) fn reads(options: &RunOptions, set: &Set, scenario: Scenario, random: &mut Random) -> Vec<Request> {
    let reads = options.reads as usize;
    let numbers = |random: &mut Random, count| distinct(random, set.len(), count);
    let first_of_study = |random: &mut Random, count: usize| {
        let chosen = distinct(random, set.studies().len(), count.max(1));
        chosen
            .into_iter()
            .map(|study| set.studies()[study].1.clone())
            .collect::<Vec<_>>()
    };
    match scenario {
        Scenario::FramesNative => numbers(random, reads)
            .into_iter()
            .map(|number| frame(set, number, 1, Kind::FrameNative))
            .collect(),
        Scenario::Instances => {
            let of = |number| {
                Request::read(
                    Kind::Instance,
                    set.instance_path(number),
                    set.source(number).len() as u64,
                )
            };
            numbers(random, reads).into_iter().map(of).collect()
        }
        Scenario::Metadata => {
            let of = |numbers: Range<usize>| {
                Request::read(
                    Kind::Metadata,
                    format!("{}/metadata", set.series_path(numbers.start)),
                    0,
                )
            };
            first_of_study(random, reads / 10).into_iter().map(of).collect()
        }
        Scenario::Study => {
            let of =
                |numbers: Range<usize>| Request::read(Kind::Study, set.study_path(numbers.start), set.bytes(numbers));
            first_of_study(random, reads / 100).into_iter().map(of).collect()
        }
        _ => numbers(random, reads)
            .into_iter()
            .map(|number| frame(set, number, 1, Kind::Frame))
            .collect(),
    }
}

/// One frame of objects with many, any frame of any object.
pub(crate) fn frames_of_many(options: &RunOptions, set: &Set, random: &mut Random) -> Vec<Request> {
    let one = |_| {
        let number = random.below(set.len() as u32) as usize;
        frame(set, number, 1 + random.below(NUM_FRAMES), Kind::Frame)
    };
    (0..(options.reads / 10).max(1)).map(one).collect()
}

/// Searches for studies of the set of patients.
pub(crate) fn searches(options: &RunOptions, set: &Set, scenario: Scenario, random: &mut Random) -> Vec<Request> {
    (0..options.searches)
        .map(|_| search(options, set, scenario, random))
        .collect()
}

fn search(options: &RunOptions, set: &Set, scenario: Scenario, random: &mut Random) -> Request {
    let (identity, _) = &set.studies()[random.below(set.studies().len() as u32) as usize];
    let family = identity.name.split('^').next().unwrap_or_default();
    let query = match scenario {
        Scenario::SearchPrefix => format!("PatientName={}*&limit={PAGE}", &family[..4]),
        Scenario::SearchInfix => format!("PatientName=*{}*&limit={PAGE}", &family[2..5]),
        Scenario::SearchId => format!("PatientID={}&limit={PAGE}", identity.patient_id),
        Scenario::SearchDates => {
            // Half a year, in which the study lies.
            let (year, month) = (&identity.date[..4], &identity.date[4..6]);
            let (from, to) = if month <= "06" {
                ("0101", "0630")
            } else {
                ("0701", "1231")
            };
            format!("StudyDate={year}{from}-{year}{to}&limit={PAGE}")
        }
        _ => {
            let last_page = u32::try_from(set.studies().len())
                .unwrap_or(u32::MAX)
                .saturating_sub(PAGE);
            format!("limit={PAGE}&offset={}", options.offset.min(last_page))
        }
    };
    Request::read(Kind::Search, format!("/studies?{query}"), 0)
}

/// Shares of a hospital's day, in hundredths of the requests: reading dominates, as it does.
const DAY: [(Kind, u32); 8] = [
    (Kind::Frame, 58),
    (Kind::Search, 16),
    (Kind::Metadata, 8),
    (Kind::Store, 6),
    (Kind::Instance, 6),
    (Kind::FrameNative, 3),
    (Kind::Delete, 2),
    (Kind::Study, 1),
];

/// Number of requests of a day, and of stores and deletes among them (about: which request is what is drawn).
pub(crate) fn day_requests(options: &RunOptions) -> usize {
    ((options.day_rate * f64::from(options.day_seconds)).ceil() as usize).max(1)
}

/// Instances that a day needs for its stores, and studies for its deletes: enough for any draw.
pub(crate) fn day_needs(options: &RunOptions) -> (usize, usize) {
    let requests = day_requests(options);
    let enough = |share: usize| requests * share / 100 + requests / 20 + 8;
    (enough(6) * DAY_BATCH, enough(2))
}

/// Sets that a day works on.
pub(crate) struct DaySets<'a> {
    /// What is read.
    pub(crate) library: &'a Set,
    /// What is searched for.
    pub(crate) patients: &'a Set,
    /// What is stored.
    pub(crate) arriving: &'a Set,
    /// What is deleted.
    pub(crate) leaving: &'a Set,
}

/// A day's requests in order. Store and delete requests are the next of their kind; when those are used up, a frame is read.
pub(crate) fn day(options: &RunOptions, sets: &DaySets<'_>, random: &mut Random) -> Vec<Request> {
    let mut arriving = stores(sets.arriving, DAY_BATCH).into_iter();
    let mut leaving = deletes(sets.leaving).into_iter();
    let one_read = |scenario: Scenario, random: &mut Random| {
        // Popular studies are read more often: the smaller of two draws.
        let numbers = [0; 2].map(|_| random.below(sets.library.len() as u32) as usize);
        let number = numbers[0].min(numbers[1]);
        match scenario {
            Scenario::FramesNative => frame(sets.library, number, 1, Kind::FrameNative),
            Scenario::Frames => frame(sets.library, number, 1, Kind::Frame),
            _ => {
                let source = sets.library.source(number).len() as u64;
                Request::read(Kind::Instance, sets.library.instance_path(number), source)
            }
        }
    };
    let mut requests = Vec::new();
    while requests.len() < day_requests(options) {
        let mut drawn = random.below(100);
        let kind = DAY.iter().find(|(_, share)| {
            let here = drawn < *share;
            drawn = drawn.saturating_sub(*share);
            here
        });
        let found = match kind.map(|(kind, _)| *kind) {
            Some(Kind::Store) => arriving.next(),
            Some(Kind::Delete) => leaving.next(),
            Some(Kind::Search) => {
                let all = [
                    Scenario::SearchPrefix,
                    Scenario::SearchInfix,
                    Scenario::SearchId,
                    Scenario::SearchDates,
                    Scenario::SearchOffset,
                ];
                Some(search(options, sets.patients, all[random.below(5) as usize], random))
            }
            Some(Kind::Metadata) => reads(options, sets.library, Scenario::Metadata, random)
                .into_iter()
                .next(),
            Some(Kind::Study) => reads(options, sets.library, Scenario::Study, random).into_iter().next(),
            Some(Kind::Instance) => Some(one_read(Scenario::Instances, random)),
            Some(Kind::FrameNative) => Some(one_read(Scenario::FramesNative, random)),
            _ => None,
        };
        requests.push(found.unwrap_or_else(|| one_read(Scenario::Frames, random)));
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Arguments, Command};
    use crate::corpus::source::Source;
    use clap::Parser;
    use septum_testkit::{StudyKind, StudySpec};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    fn options(more: &[&str]) -> RunOptions {
        let base = ["x", "run", "--target", "a=http://127.0.0.1:1"];
        match Arguments::parse_from(base.iter().chain(more)).command {
            Command::Run(options) => *options,
            Command::Generate(_) => unreachable!(),
        }
    }

    fn set(count: usize, per_study: usize) -> Set {
        let kind = StudyKind::Ct {
            slices: 1,
            rows: 8,
            columns: 8,
        };
        let source = Source::parse(&StudySpec::new(kind, 5).instance(0).bytes).unwrap();
        Set::even(9, &Arc::new(vec![source]), count, per_study)
    }

    #[test]
    fn frames_are_distinct_while_there_are_enough() {
        let (options, set) = (options(&["--reads", "30"]), set(40, 10));
        let requests = reads(&options, &set, Scenario::Frames, &mut Random::new(1, 1));
        let paths: BTreeSet<_> = requests.iter().map(|request| &request.path).collect();
        assert_eq!((requests.len(), paths.len()), (30, 30));
        assert!(paths.iter().all(|path| path.ends_with("/frames/1")));
        let again = reads(&options, &set, Scenario::Frames, &mut Random::new(1, 1));
        assert_eq!(requests, again);
        assert_eq!(distinct(&mut Random::new(1, 1), 3, 7).len(), 7);
        assert_eq!(distinct(&mut Random::new(1, 1), 0, 7).len(), 0);
    }

    #[test]
    fn whole_studies_count_all_their_bytes() {
        let (options, set) = (options(&["--reads", "200"]), set(20, 10));
        let requests = reads(&options, &set, Scenario::Study, &mut Random::new(1, 1));
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|request| request.native_bytes == set.bytes(0..10)));
    }

    #[test]
    fn searches_are_for_something_that_is_there() {
        let (options, set) = (options(&["--offset", "1000", "--searches", "9"]), set(100, 1));
        let of = |scenario| searches(&options, &set, scenario, &mut Random::new(1, 1));
        assert!(
            of(Scenario::SearchOffset)
                .iter()
                .all(|request| request.path.ends_with("offset=75"))
        );
        for request in of(Scenario::SearchInfix) {
            let inner = request.path.split('*').nth(1).unwrap();
            assert!(inner.len() == 3 && set.studies().iter().any(|(study, _)| study.name.contains(inner)));
        }
        for request in of(Scenario::SearchDates) {
            let (from, to) = request.path["/studies?StudyDate=".len()..].split_at(8);
            let to = &to[1..9];
            assert!(
                set.studies()
                    .iter()
                    .any(|(study, _)| *from <= *study.date && *study.date <= *to)
            );
        }
    }

    #[test]
    fn a_day_has_its_shares() {
        assert_eq!(DAY.iter().map(|(_, share)| share).sum::<u32>(), 100);
        let options = options(&["--day-rate", "100", "--day-seconds", "40"]);
        let (stored, deleted) = day_needs(&options);
        let (library, arriving, leaving) = (set(50, 10), set(stored, 20), set(deleted, 1));
        let sets = DaySets {
            library: &library,
            patients: &library,
            arriving: &arriving,
            leaving: &leaving,
        };
        let requests = day(&options, &sets, &mut Random::new(2, 2));
        let mut shares: BTreeMap<Kind, usize> = BTreeMap::new();
        requests
            .iter()
            .for_each(|request| *shares.entry(request.kind).or_default() += 1);
        for (kind, share) in DAY {
            let got = shares[&kind] as f64 / 40.0;
            assert!((got - f64::from(share)).abs() < 2.5, "{kind:?}: {got} %");
        }
        let stores: BTreeSet<_> = requests
            .iter()
            .filter(|one| one.kind == Kind::Store)
            .map(|one| one.instances.start)
            .collect();
        assert_eq!(stores.len(), shares[&Kind::Store]);
    }
}
