//! Opened study summaries: what searches scan.
//!
//! A summary is sealed in its study's row; opened ones are cached by study and revision, bounded by bytes. What instances
//! make of one is in [`said`].

pub mod said;

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use septum_core::dicom::json::read_stored;
use septum_core::ids::StudyId;
use septum_core::seal::{DataKey, Suite, open_record, seal_record};

use crate::error::{EngineError, Result};
use crate::keyring::Keyring;
use crate::records::{StudyRow, StudySummary, summary_context};

/// Bytes of opened summaries kept.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// How much larger a summary is in memory than as JSON text.
const MEMORY_FACTOR: u64 = 4;

/// A summary and the length of its JSON text.
pub struct OpenSummary {
    /// The summary.
    pub summary: StudySummary,
    text_bytes: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(StudyId, u64), Arc<OpenSummary>> for ByBytes {
    fn weight(&self, _: &(StudyId, u64), open: &Arc<OpenSummary>) -> u64 {
        open.text_bytes * MEMORY_FACTOR + 256
    }
}

/// Opened summaries.
pub struct Summaries {
    keyring: Arc<Keyring>,
    cache: Cache<(StudyId, u64), Arc<OpenSummary>, ByBytes>,
}

impl Summaries {
    /// An empty cache.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        Self {
            keyring,
            cache: Cache::with_weighter(16_384, CACHE_BYTES, ByBytes),
        }
    }

    /// The summary of a row.
    pub fn open(&self, row: &StudyRow) -> Result<Arc<OpenSummary>> {
        let place = (row.study, row.revision);
        if let Some(open) = self.cache.get(&place) {
            return Ok(open);
        }
        let keys = self.keyring.study(row.keys)?;
        let text = open_record(&keys.phi, &summary_context(row.study), &row.sealed)?;
        let corrupt = || EngineError::Corrupt("study summary");
        let readable = std::str::from_utf8(&text).map_err(|_| corrupt())?;
        let summary = read_stored(readable).map_err(|_| corrupt())?;
        let open = Arc::new(OpenSummary {
            summary,
            text_bytes: text.len() as u64,
        });
        self.cache.insert(place, Arc::clone(&open));
        Ok(open)
    }

    /// Seals a summary as the row's next revision, and keeps it open.
    pub fn seal(&self, row: &mut StudyRow, suite: Suite, key: &DataKey, summary: StudySummary) -> Result<()> {
        #[expect(clippy::expect_used, reason = "a summary is a tree of JSON values")]
        let text = serde_json::to_vec(&summary).expect("JSON serialises");
        row.sealed = seal_record(suite, key, &summary_context(row.study), &text)?;
        self.cache.remove(&(row.study, row.revision));
        row.revision += 1;
        self.cache.insert(
            (row.study, row.revision),
            Arc::new(OpenSummary {
                summary,
                text_bytes: text.len() as u64,
            }),
        );
        Ok(())
    }

    /// Forgets a revision: the study's keys are destroyed, or the commit failed that was to make it.
    pub fn forget(&self, study: StudyId, revision: u64) {
        self.cache.remove(&(study, revision));
    }
}
