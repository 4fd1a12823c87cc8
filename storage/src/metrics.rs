//! What storage tells about itself; the engine exports it. No labels, no ids.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A timed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Appending pixel objects to a segment (page cache).
    AppendPixels,
    /// Appending a batch to the journal (page cache).
    AppendJournal,
    /// Syncing pixel segments.
    SyncPixels,
    /// Syncing the journal.
    SyncJournal,
    /// Applying a batch to the index.
    ApplyIndex,
    /// A whole group commit; `bytes` is the number of commits in it.
    Group,
    /// Reading an object.
    ReadObject,
    /// Syncing new wrapped keys.
    SyncKeys,
    /// Bytes rewritten by compaction.
    Compact,
    /// Bytes verified by the scrubber.
    Scrub,
}

/// Receives measurements. Must be quick: it is called on the committing threads.
pub trait StorageMetrics: Send + Sync + fmt::Debug {
    /// One step took `seconds` and touched `bytes`.
    fn observe(&self, stage: Stage, seconds: f64, bytes: u64);
}

/// An optional receiver.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observer(pub(crate) Option<Arc<dyn StorageMetrics>>);

impl Observer {
    pub(crate) fn start(&self) -> Option<Instant> {
        self.0.as_ref().map(|_| Instant::now())
    }

    pub(crate) fn finish(&self, stage: Stage, start: Option<Instant>, bytes: u64) {
        if let (Some(metrics), Some(start)) = (&self.0, start) {
            metrics.observe(stage, start.elapsed().as_secs_f64(), bytes);
        }
    }
}
