//! The table for people.

use std::fmt::Write as _;

use crate::medians::Row;
use crate::report::Report;

/// The whole table. Columns are targets; the last ones say how much better or worse the first is than each other.
pub(crate) fn table(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "medians of {} rounds, {} clients, {} instances a store request, images: {}, seed {}",
        report.rounds, report.clients, report.batch, report.corpus.0, report.seed
    );
    for images in &report.corpus.1 {
        let _ = writeln!(
            out,
            "  {:<36} {:>3} sources, compressed {:.2}:1, their copies {:.2}:1",
            images.images, images.num_sources, images.ratio_original, images.ratio_copies
        );
    }
    let mut scenario = None;
    for row in &report.table {
        if scenario != Some(row.scenario) {
            scenario = Some(row.scenario);
            let _ = write!(out, "\n{:<34}", row.scenario.name());
            report.targets.iter().for_each(|target| {
                let _ = write!(out, "{target:>12}");
            });
            out.push('\n');
        }
        line(&mut out, report, row);
    }
    notes(&mut out, report);
    out
}

fn line(out: &mut String, report: &Report, row: &Row) {
    let _ = write!(out, "  {:<32}", row.figure);
    for target in &report.targets {
        match row.medians.get(target) {
            Some(value) => {
                let _ = write!(out, "{:>12}", number(*value));
            }
            None => out.push_str("           –"),
        }
    }
    for target in report.targets.iter().skip(1) {
        match row.ratios.get(target) {
            Some(ratio) if *ratio >= 1.0 => {
                let _ = write!(out, "{ratio:>9.2}× better");
            }
            Some(ratio) => {
                let _ = write!(out, "{:>9.2}× worse ", 1.0 / ratio);
            }
            None => out.push_str("                "),
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
}

/// Three or four digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn notes(out: &mut String, report: &Report) {
    out.push('\n');
    for (target, times) in &report.times_the_cache {
        let enough = if *times >= 4.0 {
            ""
        } else {
            " (too few: 4 are wanted, raise --library and --reads)"
        };
        let _ = writeln!(
            out,
            "{target}: distinct frames read are {times:.1} times the cache{enough}"
        );
    }
    for (target, verification) in &report.verification {
        let _ = writeln!(out, "{target}: {}", verification.summary());
    }
    for run in &report.runs {
        let mut say = |what: String| {
            let _ = writeln!(
                out,
                "{} of {}, round {}: {what}",
                run.scenario.name(),
                run.target,
                run.round
            );
        };
        let unsupported = run.unsupported();
        for kind in &unsupported {
            say(format!("the server has no {}", kind.name()));
        }
        for (kind, requests) in run.requests.iter().filter(|(kind, _)| !unsupported.contains(kind)) {
            if !requests.failures.is_empty() {
                say(format!("{} failed: {:?}", kind.name(), requests.failures));
            }
        }
        if run.prepared_share < 1.0 {
            say(format!(
                "only {:.0} % of the store requests were made before the clock started",
                run.prepared_share * 100.0
            ));
        }
        if !run.settled {
            say("began while a server still did background work".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
        check(0.0, "0.00");
        check(0.0123, "0.0123");
        check(1.234, "1.23");
        check(12.34, "12.3");
        check(1234.5, "1234");
    }
}
