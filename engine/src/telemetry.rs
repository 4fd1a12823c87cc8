//! Metric names, in one place.
//!
//! Everything is `septum_…`, units last, counters end in `_total`. No label ever carries a UID or other patient data.

use std::sync::Arc;

use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// All metrics of one server.
pub struct Telemetry {
    registry: Registry,
    /// Seconds a stage worked on one message: `parser`, `compressor`, `sealer`, `committer`, `retrieve`, `densify`.
    pub stage_duration_seconds: HistogramVec,
    /// Seconds spent waiting for the next stage's credit.
    pub stage_blocked_seconds: CounterVec,
    /// Free credits of a stage.
    pub stage_credits: IntGaugeVec,
    /// Bytes: `received` from senders, `payload` pixel bytes before and `stored` after compression and sealing.
    pub ingest_bytes: IntCounterVec,
    /// Instances by outcome: `stored`, `duplicate`, `version`, `held`, `rejected`, `failed`, and
    /// `abandoned` where the stream broke off or was refused before its end.
    pub instances: IntCounterVec,
    /// Seconds from an instance's first byte to its acknowledgement.
    pub ingest_commit_duration_seconds: Histogram,
    /// Payload bytes over stored bytes of each instance with pixels.
    pub compression_ratio: Histogram,
    /// Pipeline generations that ended and were replaced.
    pub pipeline_restarts: IntCounter,
    /// Panics inside the CPU pool.
    pub compute_panics: IntCounter,
    /// Bytes of memory permits that are free.
    pub memory_permits_bytes: IntGauge,
    /// Requests by route and status.
    pub http_requests: IntCounterVec,
    /// Seconds until a response was ready to stream.
    pub http_request_duration_seconds: HistogramVec,
    /// Bytes sent in answer bodies.
    pub retrieve_bytes: IntCounter,
    /// Instances in one group commit.
    pub commit_batch_instances: Histogram,
    /// Seconds of one fsync: `pixels`, `journal`, `keys`.
    pub fsync_duration_seconds: HistogramVec,
    /// Committed bytes by root: `phi` (journal), `pixel`.
    pub storage_bytes: IntGaugeVec,
    /// Pixel sets that wait for the dense tier.
    pub densify_queue: IntGauge,
    /// Audit leaves written.
    pub audit_leaves: IntCounter,
    /// Ratio of payload to dense bytes of what was densified.
    pub densify_bytes: IntCounterVec,
    /// Studies that searches do not find because they cannot be read.
    pub studies_left_out: IntGauge,
    /// Mail by outcome: `queued`, `sent`, `retried`, and `dropped` where it never went out.
    pub mail: IntCounterVec,
    /// Mail that waits to go out.
    pub mail_waiting: IntGauge,
    /// 1 while the server takes requests.
    pub ready: Gauge,
    /// Build facts.
    pub build: GaugeVec,
}

fn seconds_buckets() -> Vec<f64> {
    vec![
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ]
}

macro_rules! registered {
    ($registry:expr, $metric:expr) => {{
        let metric = $metric?;
        $registry.register(Box::new(metric.clone()))?;
        metric
    }};
}

impl Telemetry {
    /// Registers every metric once.
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(seconds_buckets()), labels)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let telemetry = Self {
            stage_duration_seconds: registered!(
                registry,
                histograms(
                    "septum_stage_duration_seconds",
                    "Seconds a stage worked on one message.",
                    &["stage"]
                )
            ),
            stage_blocked_seconds: registered!(
                registry,
                CounterVec::new(
                    Opts::new(
                        "septum_stage_blocked_seconds_total",
                        "Seconds spent waiting for a stage's credit."
                    ),
                    &["stage"]
                )
            ),
            stage_credits: registered!(
                registry,
                IntGaugeVec::new(
                    Opts::new("septum_stage_credits", "Free credits of a stage."),
                    &["stage"]
                )
            ),
            ingest_bytes: registered!(
                registry,
                counters("septum_ingest_bytes_total", "Bytes through ingest.", &["kind"])
            ),
            instances: registered!(
                registry,
                counters(
                    "septum_instances_total",
                    "Instances received, by outcome.",
                    &["outcome"]
                )
            ),
            ingest_commit_duration_seconds: registered!(
                registry,
                histogram(
                    "septum_ingest_commit_duration_seconds",
                    "Seconds from an instance's first byte to its acknowledgement.",
                    seconds_buckets()
                )
            ),
            compression_ratio: registered!(
                registry,
                histogram(
                    "septum_compression_ratio",
                    "Payload bytes over stored bytes.",
                    vec![1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 16.0]
                )
            ),
            pipeline_restarts: registered!(
                registry,
                IntCounter::new(
                    "septum_pipeline_restarts_total",
                    "Pipeline generations that were replaced."
                )
            ),
            compute_panics: registered!(
                registry,
                IntCounter::new("septum_compute_panics_total", "Panics inside the CPU pool.")
            ),
            memory_permits_bytes: registered!(
                registry,
                IntGauge::new("septum_memory_permits_bytes", "Memory permits that are free, in bytes.")
            ),
            http_requests: registered!(
                registry,
                counters(
                    "septum_http_requests_total",
                    "Requests by route and status.",
                    &["route", "status"]
                )
            ),
            http_request_duration_seconds: registered!(
                registry,
                histograms(
                    "septum_http_request_duration_seconds",
                    "Seconds until an answer began.",
                    &["route"]
                )
            ),
            retrieve_bytes: registered!(
                registry,
                IntCounter::new("septum_retrieve_bytes_total", "Bytes sent in answer bodies.")
            ),
            commit_batch_instances: registered!(
                registry,
                histogram(
                    "septum_commit_batch_instances",
                    "Commits that shared one group of fsyncs.",
                    vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]
                )
            ),
            fsync_duration_seconds: registered!(
                registry,
                histograms("septum_fsync_duration_seconds", "Seconds of one fsync.", &["kind"])
            ),
            storage_bytes: registered!(
                registry,
                IntGaugeVec::new(Opts::new("septum_storage_bytes", "Bytes on disk by root."), &["root"])
            ),
            densify_queue: registered!(
                registry,
                IntGauge::new("septum_densify_queue", "Pixel sets that wait for the dense tier.")
            ),
            audit_leaves: registered!(
                registry,
                IntCounter::new("septum_audit_leaves_total", "Audit leaves written.")
            ),
            densify_bytes: registered!(
                registry,
                counters(
                    "septum_densify_bytes_total",
                    "Sealed bytes before and after densifying.",
                    &["kind"]
                )
            ),
            studies_left_out: registered!(
                registry,
                IntGauge::new(
                    "septum_studies_left_out",
                    "Studies that searches do not find because they cannot be read."
                )
            ),
            mail: registered!(
                registry,
                counters("septum_mail_total", "Mail, by outcome.", &["outcome"])
            ),
            mail_waiting: registered!(
                registry,
                IntGauge::new("septum_mail_waiting", "Mail that waits to go out.")
            ),
            ready: registered!(
                registry,
                Gauge::new("septum_ready", "1 while the server takes requests.")
            ),
            build: registered!(
                registry,
                GaugeVec::new(Opts::new("septum_build_info", "Build facts."), &["version", "suite"])
            ),
            registry,
        };
        Ok(Arc::new(telemetry))
    }

    /// The Prometheus text exposition of everything.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        text
    }

    /// Observes the seconds since `start` for `stage`.
    pub fn observe_stage(&self, stage: &str, start: std::time::Instant) {
        self.stage_duration_seconds
            .with_label_values(&[stage])
            .observe(start.elapsed().as_secs_f64());
    }
}

/// Counts as a plain counter of seconds.
pub fn add_seconds(counter: &Counter, since: std::time::Instant) {
    counter.inc_by(since.elapsed().as_secs_f64());
}
