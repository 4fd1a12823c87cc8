//! What comes out: a line for each comparison as it ends, and a JSON file.
//!
//! JSON: `{"quick": bool, "cores": n, "comparisons": [{"name", "unit", "subject", "floor", "floor_is", "ratio",
//! "ratio_low", "ratio_high", "rounds", "note"}]}`. Speeds are medians in `unit`; `ratio` is the median of subject ÷
//! floor over the rounds, `ratio_low` and `ratio_high` the lowest and highest of them.

use std::path::Path;

use serde::Serialize;

use crate::measure::{Case, Work};
use crate::options::Options;

/// One finished comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// `group/stage/input`.
    pub name: String,
    /// Of both speeds: `MB/s`, `instances/s` and the like.
    pub unit: String,
    /// Median speed of the subject.
    pub subject: f64,
    /// Median speed of the floor.
    pub floor: f64,
    /// What the floor is.
    pub floor_is: String,
    /// Subject ÷ floor, median of the rounds: 1 is as fast as the floor, more is better.
    pub ratio: f64,
    /// The lowest ratio of a round.
    pub ratio_low: f64,
    /// The highest ratio of a round.
    pub ratio_high: f64,
    /// How many rounds.
    pub rounds: usize,
    /// What else is worth knowing: sizes, CPU time.
    pub note: String,
}

impl Comparison {
    /// From the seconds that one iteration of subject and floor took in each round.
    pub fn new(case: Case<'_>, note: String, samples: &[(f64, f64)]) -> Self {
        let (amount, unit) = match case.work {
            Work::Bytes(bytes) => (bytes as f64 / 1e6, "MB/s".to_owned()),
            Work::Items(items, kind) => (items as f64, format!("{kind}/s")),
        };
        let speed = |seconds: f64| amount / seconds.max(1e-12);
        let ratios: Vec<f64> = samples
            .iter()
            .map(|(subject, floor)| speed(*subject) / speed(*floor))
            .collect();
        Self {
            name: case.name.to_owned(),
            unit,
            subject: median(samples.iter().map(|(subject, _)| speed(*subject)).collect()),
            floor: median(samples.iter().map(|(_, floor)| speed(*floor)).collect()),
            floor_is: case.floor.to_owned(),
            ratio: median(ratios.clone()),
            ratio_low: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            ratio_high: ratios.iter().copied().fold(0.0, f64::max),
            rounds: samples.len(),
            note,
        }
    }

    /// The comparison as a line of the table.
    fn line(&self) -> String {
        format!(
            "{:<56} {:>9} {:>9} {:<11} {:>7} {:>15}  {:<22} {}",
            self.name,
            number(self.subject),
            number(self.floor),
            self.unit,
            number(self.ratio),
            format!("({}–{})", number(self.ratio_low), number(self.ratio_high)),
            self.floor_is,
            self.note
        )
    }
}

/// All results of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    quick: bool,
    cores: usize,
    comparisons: Vec<Comparison>,
}

impl Report {
    /// An empty report.
    pub fn new(options: &Options) -> Self {
        Self {
            quick: options.quick,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            comparisons: Vec::new(),
        }
    }

    /// What was measured so far.
    pub fn comparisons(&self) -> &[Comparison] {
        &self.comparisons
    }

    /// Keeps a comparison and prints its line.
    pub fn add(&mut self, comparison: Comparison) {
        if self.comparisons.is_empty() {
            println!(
                "{:<56} {:>9} {:>9} {:<11} {:>7} {:>15}  {:<22} note",
                "name", "subject", "floor", "unit", "ratio", "(low–high)", "floor is"
            );
        }
        println!("{}", comparison.line());
        self.comparisons.push(comparison);
    }

    /// Writes the JSON result.
    ///
    /// # Errors
    /// As the file system says.
    pub fn write_json(&self, path: &Path) -> std::io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        std::fs::write(path, text)
    }
}

/// The middle value, of an even number the mean of the two in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value if value >= 0.002 => format!("{value:.3}"),
        value => format!("{value:.5}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_numbers() {
        for (values, expected) in [(vec![], 0.0), (vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 2.5)] {
            assert_eq!(median(values), expected);
        }
        for (value, expected) in [
            (12345.6, "12346"),
            (99.97, "100"),
            (12.34, "12.3"),
            (1.0, "1.00"),
            (0.012, "0.012"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn one_bad_round_does_not_move_the_ratio() {
        let case = Case {
            name: "n",
            floor: "f",
            work: Work::Items(10, "rows"),
        };
        let comparison = Comparison::new(case, String::new(), &[(2.0, 1.0), (2.0, 1.0), (90.0, 1.0)]);
        assert_eq!(
            (comparison.ratio, comparison.ratio_high, comparison.subject),
            (0.5, 0.5, 5.0)
        );
        assert!(comparison.ratio_low < 0.02 && comparison.unit == "rows/s");
    }

    #[test]
    fn the_json_result_is_written() {
        let mut report = Report::new(&Options::default());
        let case = Case {
            name: "n",
            floor: "f",
            work: Work::Bytes(1),
        };
        report.add(Comparison::new(case, "note".into(), &[(1.0, 1.0)]));
        let json = serde_json::to_value(&report).expect("serialises");
        assert_eq!(json["comparisons"][0]["floor_is"], "f");
        assert_eq!(json["comparisons"][0]["ratio"], 1.0);
    }
}
