//! The result: what each round measured, and figures taken from it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::arguments::Scenario;
use crate::corpus::Described;
use crate::drive::Outcome;
use crate::histogram::Latency;
use crate::medians::Row;
use crate::process::Reading;
use crate::request::Kind;
use crate::verify::Verification;

const GIGABYTE: f64 = 1e9;

/// Requests of one kind in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Requests {
    /// Answered as they should be.
    pub(crate) num_good: u64,
    /// The others, by what was wrong.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Instances acknowledged, of store requests.
    pub(crate) num_instances: u64,
    /// Bytes of bodies sent.
    pub(crate) sent_bytes: u64,
    /// Bytes of bodies received.
    pub(crate) received_bytes: u64,
    /// Native bytes of what was moved.
    pub(crate) native_bytes: u64,
    /// From the intended begin to the last byte of the answer.
    pub(crate) latency: Latency,
    /// From the real begin to the last byte of the answer; equal to the latency in a closed loop.
    pub(crate) service: Latency,
}

/// What one side spent.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spent {
    /// Processor time, seconds.
    pub(crate) cpu_seconds: f64,
    /// Bytes sent to the disk.
    pub(crate) written_bytes: u64,
    /// Bytes that came from the disk.
    pub(crate) read_bytes: u64,
}

impl Spent {
    /// Between two readings of a process.
    pub(crate) fn between(before: &Reading, after: &Reading) -> Self {
        Self {
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
            read_bytes: after.read_bytes.saturating_sub(before.read_bytes),
        }
    }
}

/// One scenario on one target in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    /// What was measured.
    pub(crate) scenario: Scenario,
    /// On which target.
    pub(crate) target: String,
    /// Round, from 0.
    pub(crate) round: u32,
    /// Arrivals had a rate of their own.
    pub(crate) open_loop: bool,
    /// Wall-clock time.
    pub(crate) seconds: f64,
    /// By kind of request.
    pub(crate) requests: BTreeMap<Kind, Requests>,
    /// The server's, absent without its process id.
    pub(crate) server: Option<Spent>,
    /// This program's.
    pub(crate) client: Spent,
    /// Largest resident memory of the server meanwhile.
    pub(crate) server_memory_bytes: Option<u64>,
    /// How much more its folders hold than before this round; absent without folders.
    pub(crate) disk_bytes: Option<i64>,
    /// Share of store requests that were made before the clock started.
    pub(crate) prepared_share: f64,
    /// No server did background work when the round began.
    pub(crate) settled: bool,
    /// Native bytes of everything the server holds, in the scenario `dense`.
    pub(crate) live_bytes: Option<u64>,
}

/// A figure of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// What it is, with its unit.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: f64,
    /// Whether more of it is better; absent where neither is.
    pub(crate) more_is_better: Option<bool>,
}

impl Run {
    /// Puts an outcome into words.
    pub(crate) fn requests_of(outcome: &Outcome) -> BTreeMap<Kind, Requests> {
        let of = |tally: &crate::drive::Tally| Requests {
            num_good: tally.num_good,
            failures: tally.failures.clone(),
            num_instances: tally.num_instances,
            sent_bytes: tally.sent_bytes,
            received_bytes: tally.received_bytes,
            native_bytes: tally.native_bytes,
            latency: tally.latency.latency(),
            service: tally.service.latency(),
        };
        outcome.tallies.iter().map(|(kind, tally)| (*kind, of(tally))).collect()
    }

    /// Kinds of requests that the target answered with "there is no such method" throughout.
    pub(crate) fn unsupported(&self) -> Vec<Kind> {
        let none = |requests: &Requests| {
            let refused = |why: &String| matches!(why.as_str(), "status 405" | "status 501");
            requests.num_good == 0 && !requests.failures.is_empty() && requests.failures.keys().all(refused)
        };
        self.requests
            .iter()
            .filter(|(_, requests)| none(requests))
            .map(|(kind, _)| *kind)
            .collect()
    }

    /// Requests that failed, without those of unsupported kinds.
    pub(crate) fn num_failed(&self) -> u64 {
        let unsupported = self.unsupported();
        let supported = self.requests.iter().filter(|(kind, _)| !unsupported.contains(kind));
        supported
            .map(|(_, requests)| requests.failures.values().sum::<u64>())
            .sum()
    }

    /// Share of the processor time of both sides that the client took.
    fn client_share(&self) -> Option<f64> {
        let both = self.server?.cpu_seconds + self.client.cpu_seconds;
        (both > 0.0).then(|| self.client.cpu_seconds / both)
    }

    /// What the table shows of it.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut figures = Figures(Vec::new());
        if let Some(live) = self.live_bytes {
            figures.less(
                "disk bytes/native byte",
                self.disk_bytes.map(|bytes| bytes as f64 / live.max(1) as f64),
            );
            figures.neither("native GB held", Some(live as f64 / GIGABYTE));
            return figures.0;
        }
        let sum = |of: fn(&Requests) -> u64| self.requests.values().map(of).sum::<u64>() as f64;
        let native = sum(|requests| requests.native_bytes);
        let stored = self
            .requests
            .get(&Kind::Store)
            .map_or(0.0, |requests| requests.native_bytes as f64);
        let good = sum(|requests| requests.num_good);
        let per_gigabyte = |value: f64, bytes: f64| (bytes > 0.0).then(|| value / (bytes / GIGABYTE));
        let unsupported = self.unsupported();
        if self.requests.keys().all(|kind| unsupported.contains(kind)) {
            return figures.0;
        }
        if stored > 0.0 {
            figures.more("stored MB/s (native)", Some(stored / 1e6 / self.seconds));
            let instances = sum(|requests| requests.num_instances);
            figures.more("stored instances/s", Some(instances / self.seconds));
        }
        if !self.open_loop && stored == 0.0 {
            figures.more("requests/s", Some(good / self.seconds));
            figures.more("native MB/s", (native > 0.0).then(|| native / 1e6 / self.seconds));
        }
        let several = self.requests.len() > 1;
        for (kind, requests) in self.requests.iter().filter(|(kind, _)| !unsupported.contains(kind)) {
            let prefix = if several {
                format!("{} ", kind.name())
            } else {
                String::new()
            };
            figures.less(&format!("{prefix}p50 ms"), Some(requests.latency.p50_ms));
            figures.less(&format!("{prefix}p99 ms"), Some(requests.latency.p99_ms));
        }
        let server = self.server;
        if native > 0.0 {
            figures.less(
                "server CPU s/native GB",
                server.and_then(|spent| per_gigabyte(spent.cpu_seconds, native)),
            );
            figures.neither("client CPU s/native GB", per_gigabyte(self.client.cpu_seconds, native));
        } else {
            let each = server.map(|spent| spent.cpu_seconds * 1e3 / good.max(1.0));
            figures.less("server CPU ms/request", each);
        }
        figures.neither(
            "client cores busy",
            (self.seconds > 0.0).then(|| self.client.cpu_seconds / self.seconds),
        );
        figures.neither("client share of CPU %", self.client_share().map(|share| share * 100.0));
        if stored > 0.0 && native == stored {
            let written = server.map(|spent| spent.written_bytes as f64 / stored);
            figures.less("server wrote bytes/native byte", written);
            figures.neither(
                "client wrote bytes/native byte",
                Some(self.client.written_bytes as f64 / stored),
            );
            figures.less(
                "disk bytes/native byte",
                self.disk_bytes.map(|bytes| bytes as f64 / stored),
            );
        }
        if !several && native > stored {
            let received = sum(|requests| requests.received_bytes);
            figures.neither("received bytes/native byte", Some(received / native));
            // Shows whether the page cache was cold.
            figures.neither("read from disk MB", server.map(|spent| spent.read_bytes as f64 / 1e6));
        }
        figures.less(
            "server memory MB",
            self.server_memory_bytes.map(|bytes| bytes as f64 / 1e6),
        );
        figures.0
    }
}

struct Figures(Vec<Figure>);

impl Figures {
    fn push(&mut self, name: &str, value: Option<f64>, more_is_better: Option<bool>) {
        self.0.extend(value.map(|value| Figure {
            name: name.into(),
            value,
            more_is_better,
        }));
    }

    fn more(&mut self, name: &str, value: Option<f64>) {
        self.push(name, value, Some(true));
    }

    fn less(&mut self, name: &str, value: Option<f64>) {
        self.push(name, value, Some(false));
    }

    fn neither(&mut self, name: &str, value: Option<f64>) {
        self.push(name, value, None);
    }
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Seed of the run: with it the same load is made again.
    pub(crate) seed: u64,
    /// Names of the targets in order.
    pub(crate) targets: Vec<String>,
    /// Rounds of each scenario.
    pub(crate) rounds: u32,
    /// Clients at the same time.
    pub(crate) clients: u32,
    /// Instances in one store request.
    pub(crate) batch: u32,
    /// Where the images are from, and how their copies compress.
    pub(crate) corpus: (String, Vec<Described>),
    /// How often the bytes of the frames read in one round of `frames` fill the servers' caches, by target.
    pub(crate) times_the_cache: BTreeMap<String, f64>,
    /// Medians and ratios.
    pub(crate) table: Vec<Row>,
    /// What came back of what was acknowledged, by target.
    pub(crate) verification: BTreeMap<String, Verification>,
    /// Every round.
    pub(crate) runs: Vec<Run>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn run(target: &str, round: u32, seconds: f64, failures: &[(&str, u64)], kind: Kind) -> Run {
        let requests = Requests {
            num_good: u64::from(failures.is_empty()) * 10,
            failures: failures
                .iter()
                .map(|(why, count)| ((*why).to_owned(), *count))
                .collect(),
            num_instances: 0,
            sent_bytes: 0,
            received_bytes: 100,
            native_bytes: 0,
            latency: Latency::default(),
            service: Latency::default(),
        };
        Run {
            scenario: Scenario::Frames,
            target: target.into(),
            round,
            open_loop: false,
            seconds,
            requests: BTreeMap::from([(kind, requests)]),
            server: Some(Spent {
                cpu_seconds: 3.0,
                written_bytes: 0,
                read_bytes: 0,
            }),
            client: Spent {
                cpu_seconds: 1.0,
                written_bytes: 0,
                read_bytes: 0,
            },
            server_memory_bytes: None,
            disk_bytes: None,
            prepared_share: 1.0,
            settled: true,
            live_bytes: None,
        }
    }

    #[test]
    fn what_a_server_does_not_offer_is_no_failure() {
        let one = |failures: &[(&str, u64)]| run("a", 0, 1.0, failures, Kind::Delete);
        assert_eq!((one(&[]).num_failed(), one(&[]).unsupported()), (0, vec![]));
        let absent = one(&[("status 405", 7)]);
        assert_eq!((absent.num_failed(), absent.unsupported()), (0, vec![Kind::Delete]));
        assert_eq!(absent.figures(), []);
        let broken = one(&[("status 405", 7), ("connection", 1)]);
        assert_eq!((broken.num_failed(), broken.unsupported()), (8, vec![]));
    }
}
