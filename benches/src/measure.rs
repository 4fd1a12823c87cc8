//! The runner: subject and floor by turns, medians of rounds.
//!
//! Invariants: both sides do the same work (bytes or items) in one iteration; who goes first changes from round to
//! round, so that a machine that becomes slower or faster hits both; the reported ratio is the median of the rounds'
//! ratios, each from two samples taken one right after the other.

use std::time::{Duration, Instant};

use crate::options::Options;
use crate::report::{Comparison, Report};

/// What one iteration gets done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Bytes, native ones where a codec is measured. Shown as MB/s (10⁶ bytes).
    Bytes(u64),
    /// Things of a kind, shown as kind/s.
    Items(u64, &'static str),
}

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// `group/stage/input`.
    pub name: &'a str,
    /// What the floor is.
    pub floor: &'a str,
    /// What one iteration of either side gets done.
    pub work: Work,
}

/// Runs comparisons and keeps their results.
pub struct Runner {
    options: Options,
    report: Report,
}

impl Runner {
    /// A runner for these options.
    pub fn new(options: Options) -> Self {
        Self {
            report: Report::new(&options),
            options,
        }
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// `full`, or `quick` where that was asked for: sizes of inputs.
    pub fn size(&self, full: usize, quick: usize) -> usize {
        if self.options.quick { quick } else { full }
    }

    /// The results.
    pub fn into_report(self) -> Report {
        self.report
    }

    /// Compares two pieces of work that can be repeated as they are. `note` says what else is worth knowing; it is asked
    /// after the measurement.
    pub fn compare(
        &mut self,
        case: Case<'_>,
        note: impl FnOnce() -> String,
        mut subject: impl FnMut(),
        mut floor: impl FnMut(),
    ) {
        if !self.takes(case) {
            return;
        }
        let sample_time = Duration::from_millis(if self.options.quick { 5 } else { 40 });
        let subject_iterations = iterations(sample_time, &mut subject);
        let floor_iterations = iterations(sample_time, &mut floor);
        self.rounds(
            case,
            note,
            || time(subject_iterations, &mut subject) / f64::from(subject_iterations),
            || time(floor_iterations, &mut floor) / f64::from(floor_iterations),
        );
    }

    /// Compares two pieces of work that time themselves, so that what they prepare does not count. Each call is one
    /// iteration and one sample.
    pub fn compare_timed(
        &mut self,
        case: Case<'_>,
        note: impl FnOnce() -> String,
        mut subject: impl FnMut() -> Duration,
        mut floor: impl FnMut() -> Duration,
    ) {
        if !self.takes(case) {
            return;
        }
        // Files are created, caches filled and threads started in the first call.
        let _ = (subject(), floor());
        self.rounds(case, note, || subject().as_secs_f64(), || floor().as_secs_f64());
    }

    fn takes(&self, case: Case<'_>) -> bool {
        if !self.options.wants(case.name) {
            return false;
        }
        if self.options.list {
            println!("{}", case.name);
        }
        !self.options.list
    }

    fn rounds(
        &mut self,
        case: Case<'_>,
        note: impl FnOnce() -> String,
        mut subject: impl FnMut() -> f64,
        mut floor: impl FnMut() -> f64,
    ) {
        let num_rounds = if self.options.quick { 3 } else { 9 };
        let samples: Vec<(f64, f64)> = (0..num_rounds)
            .map(|round| {
                if round % 2 == 0 {
                    let subject_s = subject();
                    (subject_s, floor())
                } else {
                    let floor_s = floor();
                    (subject(), floor_s)
                }
            })
            .collect();
        self.report.add(Comparison::new(case, note(), &samples));
    }
}

/// Seconds that `iterations` calls take.
fn time(iterations: u32, work: &mut impl FnMut()) -> f64 {
    let began = Instant::now();
    (0..iterations).for_each(|_| work());
    began.elapsed().as_secs_f64()
}

/// How many calls fill a sample. The first call warms up and does not count.
fn iterations(sample_time: Duration, work: &mut impl FnMut()) -> u32 {
    work();
    let one = time(1, work).max(1e-9);
    (sample_time.as_secs_f64() / one).ceil().clamp(1.0, 1e6) as u32
}

/// CPU seconds that this process, all its threads together, has taken so far; `None` where the system does not tell
/// (proc(5), fields `utime` and `stime` of `/proc/self/stat`, in ticks of 10 ms).
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_run_and_the_ratio_is_theirs() {
        let mut runner = Runner::new(Options {
            quick: true,
            ..Options::default()
        });
        let case = Case {
            name: "a/b",
            floor: "sleep",
            work: Work::Bytes(1_000_000),
        };
        runner.compare_timed(
            case,
            String::new,
            || Duration::from_millis(4),
            || Duration::from_millis(1),
        );
        let report = runner.into_report();
        let comparison = &report.comparisons()[0];
        assert!((comparison.ratio - 0.25).abs() < 1e-9);
        assert!((comparison.subject - 250.0).abs() < 1e-9 && (comparison.floor - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_wanted_does_not_run() {
        let options = Options {
            filters: vec!["x".into()],
            ..Options::default()
        };
        let mut runner = Runner::new(options);
        let case = Case {
            name: "a/b",
            floor: "",
            work: Work::Bytes(1),
        };
        runner.compare(case, || unreachable!(), || unreachable!(), || unreachable!());
        assert!(runner.into_report().comparisons().is_empty());
    }

    #[test]
    fn cpu_time_grows() {
        let Some(before) = cpu_seconds() else { return };
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(0);
        }
        assert!(cpu_seconds().expect("told before") >= before);
    }
}
