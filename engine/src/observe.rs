//! What the storage layer reports, as metrics.

use std::sync::Arc;

use septum_storage::{Stage, StorageMetrics};

use crate::telemetry::Telemetry;

/// Turns storage's measurements into histograms.
pub struct StorageObserver(Arc<Telemetry>);

impl StorageObserver {
    /// An observer over the server's metrics.
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        Self(telemetry)
    }
}

impl std::fmt::Debug for StorageObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StorageObserver")
    }
}

impl StorageMetrics for StorageObserver {
    fn observe(&self, stage: Stage, seconds: f64, bytes: u64) {
        let telemetry = &self.0;
        let fsync = |kind| {
            telemetry
                .fsync_duration_seconds
                .with_label_values(&[kind])
                .observe(seconds)
        };
        let step = |name| {
            telemetry
                .stage_duration_seconds
                .with_label_values(&[name])
                .observe(seconds)
        };
        match stage {
            Stage::SyncPixels => fsync("pixels"),
            Stage::SyncJournal => fsync("journal"),
            Stage::SyncKeys => fsync("keys"),
            Stage::Group => telemetry.commit_batch_instances.observe(bytes as f64),
            Stage::AppendPixels => step("append-pixels"),
            Stage::AppendJournal => step("append-journal"),
            Stage::ApplyIndex => step("apply-index"),
            Stage::ReadObject => step("read-object"),
            Stage::Compact => step("compact"),
            Stage::Scrub => step("scrub"),
            _ => {}
        }
    }
}
