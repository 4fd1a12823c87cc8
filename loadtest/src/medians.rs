//! Medians over rounds, and how the first target does beside the others.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::arguments::Scenario;
use crate::report::Run;

/// A figure over all rounds and targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) scenario: Scenario,
    /// What it is, with its unit.
    pub(crate) figure: String,
    /// Median over rounds, by target.
    pub(crate) medians: BTreeMap<String, f64>,
    /// How much better (above 1) or worse the first target is than each other.
    pub(crate) ratios: BTreeMap<String, f64>,
    /// Whether more of it is better.
    pub(crate) more_is_better: Option<bool>,
}

/// The median; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => f64::NAN,
    }
}

/// Medians and ratios of all runs, in the order in which figures first appear.
pub(crate) fn table(targets: &[String], runs: &[Run]) -> Vec<Row> {
    let mut rows: Vec<(Scenario, String, Option<bool>)> = Vec::new();
    let mut values: BTreeMap<(Scenario, String, String), Vec<f64>> = BTreeMap::new();
    for run in runs {
        for figure in run.figures() {
            let row = (run.scenario, figure.name.clone(), figure.more_is_better);
            if !rows.contains(&row) {
                rows.push(row);
            }
            values
                .entry((run.scenario, figure.name, run.target.clone()))
                .or_default()
                .push(figure.value);
        }
    }
    rows.sort_by_key(|(scenario, ..)| runs.iter().position(|run| run.scenario == *scenario));
    rows.into_iter()
        .map(|(scenario, figure, more_is_better)| {
            let of = |target: &String| {
                let values = values.get(&(scenario, figure.clone(), target.clone()))?;
                Some((target.clone(), median(values.clone())))
            };
            let medians: BTreeMap<String, f64> = targets.iter().filter_map(of).collect();
            let first = targets.first().and_then(|first| medians.get(first)).copied();
            let ratio = |target: &String| {
                let (first, other) = (first?, *medians.get(target)?);
                let ratio = if more_is_better? { first / other } else { other / first };
                (first > 0.0 && other > 0.0).then(|| (target.clone(), ratio))
            };
            Row {
                ratios: targets.iter().skip(1).filter_map(ratio).collect(),
                scenario,
                figure,
                medians,
                more_is_better,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::run;
    use crate::request::Kind;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
        let runs = [("a", 1.0), ("b", 4.0), ("b", 2.0), ("a", 2.0), ("a", 9.0), ("b", 4.0)]
            .map(|(target, seconds)| run(target, 0, seconds, &[], Kind::Frame));
        let rows = table(&["a".into(), "b".into()], &runs);
        let row = rows.iter().find(|row| row.figure == "requests/s").unwrap();
        assert_eq!((row.medians["a"], row.medians["b"], row.ratios["b"]), (5.0, 2.5, 2.0));
        let cpu = rows.iter().find(|row| row.figure == "client share of CPU %").unwrap();
        assert_eq!((cpu.medians["a"], cpu.ratios.len()), (25.0, 0));
        let each = rows.iter().find(|row| row.figure == "server CPU ms/request").unwrap();
        assert_eq!((each.medians["a"], each.ratios["b"]), (300.0, 1.0));
    }
}
