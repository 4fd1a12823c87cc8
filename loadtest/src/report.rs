//! Percentiles and the result of a run.

use serde::Serialize;

/// Latency of requests, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// Half of the requests took no longer.
    pub(crate) p50_ms: f64,
    /// 99 of 100 took no longer.
    pub(crate) p99_ms: f64,
    /// The slowest.
    pub(crate) max_ms: f64,
}

impl Latency {
    /// Of durations in milliseconds, in any order; zero without any.
    pub(crate) fn of(mut durations_ms: Vec<f64>) -> Self {
        durations_ms.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * durations_ms.len() as f64).ceil() as usize;
            durations_ms.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self {
            p50_ms: at(0.50),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}

/// What one phase cost.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Phase {
    /// Instances stored or read.
    pub(crate) num_instances: u64,
    /// Wall-clock time.
    pub(crate) seconds: f64,
    /// Instances in a second.
    pub(crate) instances_per_second: f64,
    /// Megabytes (10^6) of instances in a second.
    pub(crate) megabytes_per_second: f64,
    /// Of whole requests.
    pub(crate) latency: Latency,
    /// Processor time of the server; absent without its process id.
    pub(crate) server_cpu_seconds: Option<f64>,
    /// Processor time of this client.
    pub(crate) client_cpu_seconds: f64,
    /// What the server sent to the disk; absent without its process id.
    pub(crate) written_bytes: Option<u64>,
}

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Name of the server.
    pub(crate) name: String,
    /// Clients at the same time.
    pub(crate) clients: u32,
    /// Instances in a request.
    pub(crate) batch: u32,
    /// Bytes of one instance.
    pub(crate) instance_bytes: usize,
    /// Instances that were not acknowledged or came back wrong.
    pub(crate) num_failed: u64,
    /// Storing.
    pub(crate) store: Phase,
    /// Reading back, when asked for.
    pub(crate) read: Option<Phase>,
    /// Largest memory of the server; absent without its process id.
    pub(crate) server_peak_memory_bytes: Option<u64>,
}

impl Report {
    /// One line for people.
    pub(crate) fn summary(&self) -> String {
        let phase = |word: &str, phase: &Phase| {
            format!(
                "{word} {:.0}/s, {:.0} MB/s, p50 {:.1} ms, p99 {:.1} ms, server CPU {:.1} s, client CPU {:.1} s, written {} MB",
                phase.instances_per_second,
                phase.megabytes_per_second,
                phase.latency.p50_ms,
                phase.latency.p99_ms,
                phase.server_cpu_seconds.unwrap_or(f64::NAN),
                phase.client_cpu_seconds,
                phase
                    .written_bytes
                    .map_or_else(|| "?".into(), |bytes| (bytes / 1_000_000).to_string()),
            )
        };
        let read = self.read.as_ref().map(|read| phase("; read", read)).unwrap_or_default();
        format!(
            "{}: {}{read}; {} failed",
            self.name,
            phase("stored", &self.store),
            self.num_failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let check = |durations: Vec<f64>, expected: [f64; 3]| {
            let latency = Latency::of(durations);
            assert_eq!([latency.p50_ms, latency.p99_ms, latency.max_ms], expected);
        };
        check(vec![], [0.0, 0.0, 0.0]);
        check(vec![7.0], [7.0, 7.0, 7.0]);
        check(vec![3.0, 1.0, 2.0], [2.0, 3.0, 3.0]);
        check((1..=200).map(f64::from).collect(), [100.0, 198.0, 200.0]);
    }
}
