//! The clients and the clock.
//!
//! Each client has its own connection and takes the next request from a shared counter. Bodies are made by one thread a
//! client ahead of time, at most two in wait, so that making them neither counts as latency nor fills the memory; the
//! processor time it takes is the client's and reported as such.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use thiserror::Error;

use crate::Arguments;
use crate::http::{Connection, HttpError, Target};
use crate::process::Reading;
use crate::report::{Latency, Phase, Report};
use crate::template::{Random, Template, TemplateError, Uids};

const BOUNDARY: &str = "septum-loadtest-boundary-7f1c";
const CONTENT_TYPE: &str = "multipart/related; type=\"application/dicom\"; boundary=septum-loadtest-boundary-7f1c";
/// Bodies that wait ready for each client.
const NUM_READY: usize = 2;

/// Why nothing could be measured.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The server cannot be reached.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// `--pid` names no process.
    #[error("there is no process {0}")]
    NoProcess(u32),
    /// A thread could not be started.
    #[error("cannot start a client: {0}")]
    Thread(#[from] io::Error),
}

/// A client's share of a phase.
#[derive(Default)]
struct Share {
    num_instances: u64,
    num_failed: u64,
    durations_ms: Vec<f64>,
}

/// Stores, reads and reports.
pub(crate) fn run(arguments: &Arguments) -> Result<Report, RunError> {
    let template = match &arguments.template {
        Some(path) => Template::open(path)?,
        None => Template::phantom()?,
    };
    let password = std::env::var("LOADTEST_PASSWORD").unwrap_or_default();
    let user = arguments.user.as_deref().map(|user| (user, password.as_str()));
    let target = Target::new(arguments.url.clone(), user, arguments.certificate.as_deref())?;

    let next = AtomicU32::new(0);
    let (store, failed_storing) = phase(arguments, template.len(), || {
        store(arguments, &template, &target, &next)
    })?;
    let (read, failed_reading) = if arguments.read > 0 {
        let next = AtomicU32::new(0);
        let bytes = AtomicU64::new(0);
        let (mut read, failed) = phase(arguments, template.len(), || {
            self::read(arguments, &target, &next, &bytes)
        })?;
        read.megabytes_per_second = bytes.load(Ordering::Relaxed) as f64 / 1e6 / read.seconds;
        (Some(read), failed)
    } else {
        (None, 0)
    };
    Ok(Report {
        name: arguments.name.clone(),
        clients: arguments.clients,
        batch: arguments.batch,
        instance_bytes: template.len(),
        num_failed: failed_storing + failed_reading,
        store,
        read,
        server_peak_memory_bytes: arguments
            .pid
            .and_then(Reading::of)
            .map(|reading| reading.peak_memory_bytes),
    })
}

/// Runs one client's work on every client and measures; returns the phase and how many instances failed.
fn phase<F>(arguments: &Arguments, instance_bytes: usize, client: F) -> Result<(Phase, u64), RunError>
where
    F: Fn() -> Share + Sync,
{
    let server = |pid: u32| Reading::of(pid).ok_or(RunError::NoProcess(pid));
    let before = arguments.pid.map(server).transpose()?;
    let own_before = Reading::of(std::process::id()).unwrap_or_default();
    let began = Instant::now();
    let mut all = Share::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..arguments.clients).map(|_| scope.spawn(&client)).collect();
        for client in clients {
            match client.join() {
                Ok(share) => {
                    all.num_instances += share.num_instances;
                    all.num_failed += share.num_failed;
                    all.durations_ms.extend(share.durations_ms);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let after = arguments.pid.map(server).transpose()?;
    let own_after = Reading::of(std::process::id()).unwrap_or_default();
    let both = before.zip(after);
    let rate = all.num_instances as f64 / seconds;
    let phase = Phase {
        num_instances: all.num_instances,
        seconds,
        instances_per_second: rate,
        megabytes_per_second: rate * instance_bytes as f64 / 1e6,
        latency: Latency::of(all.durations_ms),
        server_cpu_seconds: both.map(|(before, after)| after.cpu_seconds - before.cpu_seconds),
        client_cpu_seconds: own_after.cpu_seconds - own_before.cpu_seconds,
        written_bytes: both.map(|(before, after)| after.written_bytes.saturating_sub(before.written_bytes)),
    };
    Ok((phase, all.num_failed))
}

/// One client storing until all instances are sent.
fn store(arguments: &Arguments, template: &Template, target: &Target, next: &AtomicU32) -> Share {
    let mut share = Share::default();
    let mut connection = Connection::new(target);
    let (sender, ready) = sync_channel::<(u64, Vec<u8>)>(NUM_READY);
    thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let first = next.fetch_add(arguments.batch, Ordering::Relaxed);
                if first >= arguments.count {
                    return;
                }
                let last = first.saturating_add(arguments.batch).min(arguments.count);
                if sender
                    .send((u64::from(last - first), body(arguments, template, first..last)))
                    .is_err()
                {
                    return;
                }
            }
        });
        for (num_sent, body) in ready {
            let began = Instant::now();
            let headers = [("Content-Type", CONTENT_TYPE), ("Accept", "application/dicom+json")];
            let num_stored = match connection.request("POST", "/studies", &headers, &body) {
                Ok(answer) if matches!(answer.status, 200 | 202) => num_stored(&answer.body).min(num_sent),
                _ => 0,
            };
            share.durations_ms.push(began.elapsed().as_secs_f64() * 1e3);
            share.num_instances += num_stored;
            share.num_failed += num_sent - num_stored;
        }
    });
    share
}

/// The multipart body (RFC 2046 5.1) with the instances of these numbers.
fn body(arguments: &Arguments, template: &Template, numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut out = Vec::with_capacity(numbers.len() * (template.len() + 128) + 64);
    for number in numbers {
        out.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n").as_bytes());
        let seed = Random::new(arguments.seed ^ (u64::from(number) << 32)).next();
        template.append(&mut out, &Uids::of(arguments.seed, number, arguments.series), seed);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    out
}

/// Items of the Referenced SOP Sequence (0008,1199) of a store response (PS3.18 10.5.3).
fn num_stored(body: &[u8]) -> u64 {
    let parsed: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    parsed["00081199"]["Value"].as_array().map_or(0, Vec::len) as u64
}

/// One client reading random instances in their original transfer syntax.
fn read(arguments: &Arguments, target: &Target, next: &AtomicU32, bytes: &AtomicU64) -> Share {
    let mut share = Share::default();
    let mut connection = Connection::new(target);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= arguments.read {
            return share;
        }
        let chosen = Random::new(u64::from(number)).next() % u64::from(arguments.count);
        let uids = Uids::of(arguments.seed, u32::try_from(chosen).unwrap_or(0), arguments.series);
        let path = format!(
            "/studies/{}/series/{}/instances/{}",
            uids.study, uids.series, uids.instance
        );
        let began = Instant::now();
        let accept = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
        let answer = connection.request("GET", &path, &[("Accept", accept)], b"");
        share.durations_ms.push(began.elapsed().as_secs_f64() * 1e3);
        match answer {
            Ok(answer) if answer.status == 200 && !answer.body.is_empty() => {
                share.num_instances += 1;
                bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
            }
            _ => share.num_failed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_instances_are_counted() {
        let check = |body: &str, expected| assert_eq!(num_stored(body.as_bytes()), expected, "{body}");
        check(r#"{"00081199":{"vr":"SQ","Value":[{},{}]}}"#, 2);
        check(r#"{"00081198":{"vr":"SQ","Value":[{}]}}"#, 0);
        check("", 0);
        check("[]", 0);
    }
}
