//! Counts, progress and the summary. Progress and messages go to stderr, results to stdout.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::answer;
use super::arguments::ImportArguments;

/// How often progress is told where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Why a file is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// A DICOMDIR.
    Directory,
    /// Not DICOM.
    NotDicom,
    /// A container within a container.
    Nested,
}

/// Why an instance is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// Failure Reason (0008,1197).
    Reason(u16),
    /// The request is refused, with this HTTP status.
    Status(u16),
    /// The server's answer does not mention it.
    Unmentioned,
    /// The connection breaks whenever it is sent.
    Breaks,
    /// It changed while it was sent.
    Changed,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reason(reason) => write!(f, "{} ({reason:04X}H)", answer::describe(*reason)),
            Self::Status(413) => f.write_str("too large for the server (HTTP 413)"),
            Self::Status(status) => write!(f, "refused (HTTP {status})"),
            Self::Unmentioned => f.write_str("not mentioned in the server's answer"),
            Self::Breaks => f.write_str("the connection breaks whenever it is sent"),
            Self::Changed => f.write_str("changed while it was sent"),
        }
    }
}

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// A bar on the terminal.
    Bar,
    /// A line now and then.
    Lines,
    /// Not at all.
    #[cfg(test)]
    Hidden,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    sent_bytes: u64,
    warned: u64,
    already_there: u64,
    sent_before: u64,
    gone: u64,
    refused: BTreeMap<Refusal, u64>,
    unreadable: u64,
    missing: u64,
    directories: u64,
    not_dicom: u64,
    nested: u64,
    /// Of these, those that have something in them.
    left_behind: u64,
    would_send: u64,
    would_send_bytes: u64,
    last_line: Duration,
}

/// Told of everything, by all threads.
pub(super) struct Reporter {
    counts: Mutex<Counts>,
    bar: ProgressBar,
    progress: Progress,
    is_json: bool,
    out: Mutex<Box<dyn Write + Send>>,
    started: OnceLock<Instant>,
    is_counted: AtomicBool,
    has_noted: AtomicBool,
}

impl Reporter {
    /// A bar when stderr is a terminal, else a line now and then.
    pub(super) fn for_terminal(arguments: &ImportArguments) -> Self {
        let progress = if io::stderr().is_terminal() {
            Progress::Bar
        } else {
            Progress::Lines
        };
        Self::new(arguments.json, progress, Box::new(io::stdout()))
    }

    /// One that writes results to `out` and shows no progress.
    #[cfg(test)]
    pub(super) fn quiet(is_json: bool, out: Box<dyn Write + Send>) -> Self {
        Self::new(is_json, Progress::Hidden, out)
    }

    fn new(is_json: bool, progress: Progress, out: Box<dyn Write + Send>) -> Self {
        Self {
            counts: Mutex::default(),
            // Hidden until the work begins: before, a password may be asked for.
            bar: ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()),
            progress,
            is_json,
            out: Mutex::new(out),
            started: OnceLock::new(),
            is_counted: AtomicBool::new(false),
            has_noted: AtomicBool::new(false),
        }
    }

    /// The work begins: the clock starts, the bar shows.
    pub(super) fn begin(&self) {
        self.elapsed();
        self.set_style("counting");
        if self.progress == Progress::Bar {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn set_style(&self, left: &str) {
        let template = format!(
            "{{wide_bar}} {{percent:>3}} %  {{binary_bytes}} of {{binary_total_bytes}}  {{binary_bytes_per_sec}}  {left}"
        );
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style);
        }
    }

    /// Time since the work began.
    fn elapsed(&self) -> Duration {
        self.started.get_or_init(Instant::now).elapsed()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The walk saw a file.
    pub(super) fn expect_bytes(&self, num_bytes: u64) {
        self.bar.inc_length(num_bytes);
    }

    /// The walk has seen all files: the time left can be told.
    pub(super) fn counted(&self) {
        self.is_counted.store(true, Ordering::Relaxed);
        self.set_style("{eta} left");
    }

    /// Bytes that need no more work.
    pub(super) fn advance(&self, num_bytes: u64) {
        self.bar.inc(num_bytes);
        if self.progress == Progress::Lines {
            self.plain_line();
        }
    }

    /// Bytes that must be sent again.
    pub(super) fn retreat(&self, num_bytes: u64) {
        self.bar.dec(num_bytes);
    }

    fn plain_line(&self) {
        let elapsed = self.elapsed();
        {
            let mut counts = self.counts();
            if elapsed - counts.last_line < PLAIN_INTERVAL {
                return;
            }
            counts.last_line = elapsed;
        }
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
        let left = match self.is_counted.load(Ordering::Relaxed) {
            true => {
                let seconds = (total.saturating_sub(done) as f64 / rate.max(1.0)).min(1e9);
                format!("{} left", HumanDuration(Duration::from_secs_f64(seconds)))
            }
            false => "still counting".into(),
        };
        let (done, total, rate) = (HumanBytes(done), HumanBytes(total), HumanBytes(rate as u64));
        eprintln!("septum: {done} of {total}, {rate}/s, {left}");
    }

    /// Files stored by this run.
    pub(super) fn sent(&self, num_bytes: u64, has_warning: bool) {
        let mut counts = self.counts();
        counts.sent += 1;
        counts.sent_bytes += num_bytes;
        counts.warned += u64::from(has_warning);
    }

    /// A file that a dry run would send.
    pub(super) fn would_send(&self, num_bytes: u64) {
        self.advance(num_bytes);
        let mut counts = self.counts();
        counts.would_send += 1;
        counts.would_send_bytes += num_bytes;
    }

    /// A file that the server says it has: found by asking (`num_bytes` are then done without sending) or by its answer.
    pub(super) fn already_there(&self, num_bytes: u64, num_files: u64) {
        self.advance(num_bytes);
        self.counts().already_there += num_files;
    }

    /// A file that an earlier run sent, passed over without asking the server for it.
    pub(super) fn sent_before(&self, num_bytes: u64) {
        self.advance(num_bytes);
        self.counts().sent_before += 1;
    }

    /// A file that an earlier run sent and that the server does not show any more: it is sent again.
    pub(super) fn gone(&self) {
        self.counts().gone += 1;
    }

    /// A container within a container, which is not looked into: what lies in it is left behind.
    pub(super) fn nested(&self, path: &Path, num_bytes: u64) {
        self.skipped(Skip::Nested, num_bytes);
        self.counts().left_behind += 1;
        let why = "lies in another ZIP file or disc image and was not looked into: unpack that one first";
        self.tell(path, "nested", why, json!(null));
    }

    /// A file that is nothing to send.
    pub(super) fn skipped(&self, skip: Skip, num_bytes: u64) {
        self.advance(num_bytes);
        let mut counts = self.counts();
        match skip {
            Skip::Directory => counts.directories += 1,
            Skip::NotDicom => counts.not_dicom += 1,
            Skip::Nested => counts.nested += 1,
        }
    }

    /// A file or folder that cannot be read.
    pub(super) fn unreadable(&self, path: &Path) {
        self.unreadable_because(path, "cannot be read");
    }

    /// The same, and why.
    pub(super) fn unreadable_because(&self, path: &Path, why: &str) {
        self.counts().unreadable += 1;
        self.tell(path, "unreadable", why, json!(null));
    }

    /// A file that a DICOMDIR lists and that is not there.
    pub(super) fn missing(&self, path: &Path) {
        self.counts().missing += 1;
        self.tell(path, "missing", "in the DICOMDIR, but not there", json!(null));
    }

    /// A file that is not stored.
    pub(super) fn refused(&self, path: &Path, refusal: Refusal) {
        self.refused_with(path, refusal, None);
    }

    /// The same, and what the server says besides.
    pub(super) fn refused_with(&self, path: &Path, refusal: Refusal, comment: Option<&str>) {
        *self.counts().refused.entry(refusal).or_default() += 1;
        let code = match refusal {
            Refusal::Reason(reason) => json!(reason),
            _ => json!(null),
        };
        let reason = match comment {
            Some(comment) => format!("{refusal}: {comment}"),
            None => refusal.to_string(),
        };
        self.tell(path, "refused", &reason, code);
    }

    /// Something worth knowing that is no result.
    pub(super) fn note(&self, text: &str) {
        self.bar.suspend(|| eprintln!("septum: {text}"));
    }

    /// The same, told once.
    pub(super) fn note_once(&self, text: &str) {
        if !self.has_noted.swap(true, Ordering::Relaxed) {
            self.note(text);
        }
    }

    fn tell(&self, path: &Path, event: &str, reason: &str, code: serde_json::Value) {
        match self.is_json {
            true => {
                let path = path.display().to_string();
                self.line(&json!({"event": event, "path": path, "reason": reason, "reason_code": code}).to_string());
            }
            false => self.note(&format!("{}: {reason}", path.display())),
        }
    }

    fn line(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed pipe must not end an import.
        self.bar
            .suspend(|| drop(writeln!(out, "{text}").and_then(|()| out.flush())));
    }

    /// Whether anything is left behind.
    pub(super) fn has_refusals(&self) -> bool {
        let counts = self.counts();
        !counts.refused.is_empty() || counts.unreadable > 0 || counts.missing > 0 || counts.left_behind > 0
    }

    /// The summary.
    pub(super) fn finish(&self, exit_code: u8, error: Option<&str>, dry_run: bool) {
        self.bar.finish_and_clear();
        let elapsed = self.elapsed();
        let rate = (self.counts().sent_bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        let counts = self.counts();
        let refused: u64 = counts.refused.values().sum();
        if self.is_json {
            let reasons: BTreeMap<String, u64> = counts.refused.iter().map(|(r, n)| (r.to_string(), *n)).collect();
            let summary = json!({
                "event": "summary",
                "sent": counts.sent,
                "sent_bytes": counts.sent_bytes,
                "sent_with_warning": counts.warned,
                "already_there": counts.already_there,
                "sent_before": counts.sent_before,
                "gone": counts.gone,
                "refused": refused,
                "refused_by_reason": reasons,
                "unreadable": counts.unreadable,
                "missing": counts.missing,
                "skipped": {
                    "dicomdir": counts.directories,
                    "not_dicom": counts.not_dicom,
                    "nested": counts.nested,
                },
                "would_send": counts.would_send,
                "would_send_bytes": counts.would_send_bytes,
                "dry_run": dry_run,
                "seconds": elapsed.as_secs_f64(),
                "bytes_per_second": rate,
                "exit_code": exit_code,
                "error": error,
            });
            drop(counts);
            return self.line(&summary.to_string());
        }
        if let Some(error) = error {
            eprintln!("septum: {error}");
        }
        if exit_code == crate::remote::EXIT_USAGE {
            return;
        }
        let mut text = String::new();
        let mut row = |name: &str, value: String| text.push_str(&format!("{name:<15}{value}\n"));
        match dry_run {
            true => row(
                "would send",
                format!("{}  ({})", counts.would_send, HumanBytes(counts.would_send_bytes)),
            ),
            false => row(
                "sent",
                format!(
                    "{}  ({} in {}, {}/s)",
                    counts.sent,
                    HumanBytes(counts.sent_bytes),
                    HumanDuration(elapsed),
                    HumanBytes(rate)
                ),
            ),
        }
        for (name, count) in [
            ("  with warning", counts.warned),
            ("  was gone", counts.gone),
            ("already there", counts.already_there),
            ("sent before", counts.sent_before),
            ("refused", refused),
        ] {
            if count > 0 {
                row(name, count.to_string());
            }
        }
        for (refusal, count) in &counts.refused {
            row("", format!("{count}  {refusal}"));
        }
        for (name, count) in [
            ("unreadable", counts.unreadable),
            ("missing", counts.missing),
            ("not DICOM", counts.not_dicom),
            ("in two packings", counts.nested),
            ("DICOMDIR", counts.directories),
        ] {
            if count > 0 {
                row(name, count.to_string());
            }
        }
        drop(counts);
        self.line(text.trim_end());
    }
}
