//! Counts, progress and the summary. Progress and messages go to stderr and name no patient and no UID; results go to
//! stdout.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

/// How often progress is told where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Why something wanted could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lack {
    /// The server does not have it (any more).
    Gone,
    /// The server lists it under a UID that is none, and cannot be asked for it.
    NoUid,
    /// Two namespaces have it.
    Ambiguous,
    /// Not in the transfer syntax asked for.
    Syntax,
    /// The request is refused, with this HTTP status.
    Status(u16),
    /// What came is not whole, cannot be read or is another instance.
    NotWhole,
    /// The connection breaks whenever it is asked for.
    Breaks,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("not on the server"),
            Self::NoUid => f.write_str("listed under a UID that is none"),
            Self::Ambiguous => f.write_str("in another namespace too, and left out there: choose one by --namespace"),
            Self::Syntax => f.write_str("cannot be had in this transfer syntax"),
            Self::Status(status) => write!(f, "refused (HTTP {status})"),
            Self::NotWhole => f.write_str("did not arrive whole"),
            Self::Breaks => f.write_str("the connection breaks whenever it is asked for"),
        }
    }
}

#[derive(Default)]
struct Counts {
    kept: u64,
    kept_bytes: u64,
    received_bytes: u64,
    already_there: u64,
    lacks: BTreeMap<Lack, u64>,
    last_line: Duration,
}

/// Told of everything, by all threads.
pub(super) struct Reporter {
    counts: Mutex<Counts>,
    bar: ProgressBar,
    /// `None`: no progress at all.
    has_terminal: Option<bool>,
    is_json: bool,
    out: Mutex<Box<dyn Write + Send>>,
    started: OnceLock<Instant>,
    is_planned: AtomicBool,
}

impl Reporter {
    /// A bar when stderr is a terminal, else a line now and then.
    pub(super) fn for_terminal(is_json: bool) -> Self {
        Self::new(is_json, Some(io::stderr().is_terminal()), Box::new(io::stdout()))
    }

    /// One that writes results to `out` and shows no progress.
    #[cfg(test)]
    pub(super) fn quiet(out: Box<dyn Write + Send>) -> Self {
        Self::new(true, None, out)
    }

    fn new(is_json: bool, has_terminal: Option<bool>, out: Box<dyn Write + Send>) -> Self {
        Self {
            counts: Mutex::default(),
            // Hidden until the work begins: before, a password may be asked for.
            bar: ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()),
            has_terminal,
            is_json,
            out: Mutex::new(out),
            started: OnceLock::new(),
            is_planned: AtomicBool::new(false),
        }
    }

    /// The work begins: the clock starts, the bar shows.
    pub(super) fn begin(&self) {
        self.elapsed();
        self.set_style("searching");
        if self.has_terminal == Some(true) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn set_style(&self, left: &str) {
        let template = format!("{{wide_bar}} {{percent:>3}} %  {{pos}} of {{len}} instances  {{msg}}  {left}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style);
        }
    }

    fn elapsed(&self) -> Duration {
        self.started.get_or_init(Instant::now).elapsed()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The search found instances.
    pub(super) fn expect(&self, num_instances: u64) {
        self.bar.inc_length(num_instances);
    }

    /// The search is at its end: the time left can be told.
    pub(super) fn planned(&self) {
        self.is_planned.store(true, Ordering::Relaxed);
        self.set_style("{eta} left");
    }

    /// Instances of an earlier run.
    pub(super) fn already_there(&self, num_instances: u64) {
        self.counts().already_there += num_instances;
        self.bar.inc(num_instances);
        // They say nothing about the pace of what is to come.
        self.bar.reset_eta();
    }

    /// Bytes that came.
    pub(super) fn received(&self, num_bytes: u64) {
        let elapsed = self.elapsed();
        let (received, is_due) = {
            let mut counts = self.counts();
            counts.received_bytes += num_bytes;
            let is_due = self.has_terminal == Some(false) && elapsed - counts.last_line >= PLAIN_INTERVAL;
            if is_due {
                counts.last_line = elapsed;
            }
            (counts.received_bytes, is_due)
        };
        let rate = (received as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        let text = format!("{}  {}/s", HumanBytes(received), HumanBytes(rate));
        if is_due {
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
            let left = match self.is_planned.load(Ordering::Relaxed) {
                true => format!("{} left", HumanDuration(self.bar.eta())),
                false => "still searching".into(),
            };
            eprintln!("septum: {done} of {total} instances, {text}, {left}");
        }
        self.bar.set_message(text);
    }

    /// An instance is there.
    pub(super) fn kept(&self, num_bytes: u64) {
        {
            let mut counts = self.counts();
            counts.kept += 1;
            counts.kept_bytes += num_bytes;
        }
        self.bar.inc(1);
    }

    /// Something that could not be had, by its path below the service's address.
    pub(super) fn lacks(&self, path: &str, lack: Lack) {
        *self.counts().lacks.entry(lack).or_default() += 1;
        self.bar.inc(1);
        match self.is_json {
            true => self.line(&json!({"event": "missing", "path": path, "reason": lack.to_string()}).to_string()),
            false => self.line(&format!("{path}: {lack}")),
        }
    }

    /// Something worth knowing that is no result.
    pub(super) fn note(&self, text: &str) {
        if self.has_terminal.is_some() {
            self.bar.suspend(|| eprintln!("septum: {text}"));
        }
    }

    fn line(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed pipe must not end an export.
        self.bar
            .suspend(|| drop(writeln!(out, "{text}").and_then(|()| out.flush())));
    }

    /// Whether anything could not be had.
    pub(super) fn has_lacks(&self) -> bool {
        !self.counts().lacks.is_empty()
    }

    /// Whether anything new is there.
    pub(super) fn has_kept(&self) -> bool {
        self.counts().kept > 0
    }

    /// The summary.
    pub(super) fn finish(&self, exit_code: u8, error: Option<&str>) {
        self.bar.finish_and_clear();
        let elapsed = self.elapsed();
        let text = {
            let counts = self.counts();
            let rate = (counts.kept_bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
            let num_lacks: u64 = counts.lacks.values().sum();
            if self.is_json {
                let reasons: BTreeMap<String, u64> = counts.lacks.iter().map(|(l, n)| (l.to_string(), *n)).collect();
                json!({
                    "event": "summary",
                    "fetched": counts.kept,
                    "fetched_bytes": counts.kept_bytes,
                    "already_there": counts.already_there,
                    "missing": num_lacks,
                    "missing_by_reason": reasons,
                    "seconds": elapsed.as_secs_f64(),
                    "bytes_per_second": rate,
                    "exit_code": exit_code,
                    "error": error,
                })
                .to_string()
            } else {
                if let Some(error) = error {
                    eprintln!("septum: {error}");
                }
                if exit_code == crate::remote::EXIT_USAGE {
                    return;
                }
                let (bytes, time) = (HumanBytes(counts.kept_bytes), HumanDuration(elapsed));
                let mut text = format!(
                    "{:<15}{}  ({bytes} in {time}, {}/s)",
                    "fetched",
                    counts.kept,
                    HumanBytes(rate)
                );
                for (name, count) in [("there before", counts.already_there), ("missing", num_lacks)] {
                    if count > 0 {
                        text.push_str(&format!("\n{name:<15}{count}"));
                    }
                }
                for (lack, count) in &counts.lacks {
                    text.push_str(&format!("\n{:<15}{count}  {lack}", ""));
                }
                text
            }
        };
        self.line(&text);
    }
}
