//! Columns: the searchable fields of studies, sealed in pages at rest and scanned in memory.
//!
//! A study that changed is *fresh*: its row lies in memory, and an `unfolded` row beside it tells the next start to put
//! it there again. Once the study is stable [`fold`] moves its row into a page at rest. A page is sealed with keys of its
//! own, so that [`withdraw`] can take a study out and destroy what the page said of it (invariant 9).
//!
//! Invariants:
//! - every study that a reader may find is in a page at rest, or fresh, or both: then the fresh row counts;
//! - what a scan gives is a candidate: a commit may have failed, or a study gone, so the study itself is asked before
//!   anything is shown;
//! - opened pages are cached, bounded by bytes.

mod fold;
mod rest;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use septum_core::ids::{NamespaceId, ObjectId};
use septum_core::query::columns::{Column, CompiledPredicates, Page, Row, RowKey};
use septum_storage::RowKind;
use serde_json::{Map, Value};

use crate::error::{EngineError, Result};
use crate::records::{ColumnsRow, StudyRow, decode, key};
use crate::search::study_map;
use crate::services::Services;

pub use fold::fold;
pub use rest::{Withdrawn, withdraw};

/// Bytes of opened pages kept.
const CACHE_BYTES: u64 = 96 * 1024 * 1024;

/// A study that seems to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The shard of its row.
    pub shard: usize,
    /// Its row's key from the token on.
    pub key: RowKey,
    /// Study date and time as one number, 0 where there is no date.
    pub moment: u64,
}

impl Match {
    /// The key of its study row.
    pub fn row_key(&self) -> Vec<u8> {
        RowKind::Study.key(&[self.namespace.as_bytes(), &self.key])
    }
}

/// A study row's key from the token on.
pub fn row_key_of(study_row_key: &[u8]) -> Result<RowKey> {
    study_row_key
        .get(key::STUDY_PREFIX_BYTES..)
        .and_then(|rest| rest.try_into().ok())
        .ok_or(EngineError::Corrupt("study row key"))
}

/// The namespace of a study row's key.
pub fn namespace_of(study_row_key: &[u8]) -> Result<NamespaceId> {
    study_row_key
        .get(1..key::STUDY_PREFIX_BYTES)
        .and_then(|bytes| bytes.try_into().ok())
        .map(NamespaceId::from_bytes)
        .ok_or(EngineError::Corrupt("study row key"))
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(ObjectId, u64), Arc<Page>> for ByBytes {
    fn weight(&self, _: &(ObjectId, u64), page: &Arc<Page>) -> u64 {
        page.byte_size() as u64
    }
}

/// What is known of one namespace in one shard.
#[derive(Default)]
struct Space {
    fresh: Vec<Arc<Page>>,
    rows: HashMap<RowKey, FreshRow>,
    /// Pages at rest and their revisions.
    pages: HashMap<ObjectId, u64>,
    /// A page at rest that has room.
    open: Option<ObjectId>,
}

#[derive(Clone, Copy)]
struct FreshRow {
    page: usize,
    /// Tells whether the row changed while it was being folded.
    stamp: u64,
}

#[derive(Default)]
struct State {
    spaces: HashMap<(NamespaceId, usize), Space>,
    stamp: u64,
}

/// The columns of every namespace.
pub struct Columns {
    state: Mutex<State>,
    cache: Cache<(ObjectId, u64), Arc<Page>, ByBytes>,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            cache: Cache::with_weighter(1_024, CACHE_BYTES, ByBytes),
        }
    }
}

impl Columns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Finds the pages at rest and the studies that were not folded when the server stopped. A damaged shard's are left
    /// out.
    pub fn reload(&self, services: &Services) {
        for shard in 0..services.ledgers.len() {
            if let Err(error) = self.reload_shard(services, shard) {
                tracing::error!(%error, shard, "columns could not be read: searches will not find all");
            }
        }
    }

    fn reload_shard(&self, services: &Services, shard: usize) -> Result<()> {
        let stored_in = &services.store.shards()[shard];
        for row in crate::scan::rows(stored_in, RowKind::Columns.key(&[])) {
            let (row_key, value) = row?;
            let row: ColumnsRow = decode(&value, "columns row")?;
            let page = row_key[key::STUDY_PREFIX_BYTES..].try_into();
            let page = ObjectId::from_bytes(page.map_err(|_| EngineError::Corrupt("columns row"))?);
            let mut state = self.state();
            let space = state.spaces.entry((namespace_of(&row_key)?, shard)).or_default();
            space.pages.insert(page, row.revision);
            space.open = Some(page);
        }
        for row in crate::scan::rows(stored_in, RowKind::Unfolded.key(&[])) {
            let row_key = key::beside(RowKind::Study, &row?.0);
            let Some(row) = stored_in.get(&row_key)? else {
                continue;
            };
            match services.summaries.open(&decode::<StudyRow>(&row, "study row")?) {
                Ok(open) => self.note(shard, &row_key, &study_map(&open.summary))?,
                // Its keys are being destroyed.
                Err(EngineError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A study is new or changed.
    pub fn note(&self, shard: usize, study_row_key: &[u8], attributes: &Map<String, Value>) -> Result<()> {
        let key = row_key_of(study_row_key)?;
        let row = Row::from_attributes(key, attributes);
        let mut state = self.state();
        state.stamp += 1;
        let stamp = state.stamp;
        let space = state.spaces.entry((namespace_of(study_row_key)?, shard)).or_default();
        let known = space.rows.get(&key).map(|fresh| fresh.page);
        let page = known
            .or_else(|| space.fresh.iter().position(|page| !page.is_full()))
            .unwrap_or_else(|| {
                space.fresh.push(Arc::default());
                space.fresh.len() - 1
            });
        Arc::make_mut(&mut space.fresh[page])
            .upsert(&row)
            .map_err(|_| EngineError::Corrupt("fresh columns"))?;
        space.rows.insert(key, FreshRow { page, stamp });
        Ok(())
    }

    /// A study is gone, or never came to be.
    pub fn forget(&self, shard: usize, study_row_key: &[u8]) -> Result<()> {
        let key = row_key_of(study_row_key)?;
        let mut state = self.state();
        if let Some(space) = state.spaces.get_mut(&(namespace_of(study_row_key)?, shard)) {
            space.drop_fresh(&key);
        }
        Ok(())
    }

    /// The studies of a namespace that seem to match, in no order.
    pub fn scan(
        &self,
        services: &Services,
        namespace: NamespaceId,
        predicates: &CompiledPredicates,
    ) -> Result<Vec<Match>> {
        let mut found = Vec::new();
        for shard in 0..services.ledgers.len() {
            let (fresh, pages) = match self.state().spaces.get(&(namespace, shard)) {
                Some(space) => (space.fresh.clone(), space.pages.keys().copied().collect::<Vec<_>>()),
                None => continue,
            };
            let collect = |page: &Page, found: &mut Vec<Match>| {
                for row in page.scan(predicates) {
                    if let Some(key) = page.key(row) {
                        found.push(Match {
                            namespace,
                            shard,
                            key,
                            moment: moment(page, row),
                        });
                    }
                }
            };
            let start = found.len();
            for page in &fresh {
                collect(page, &mut found);
            }
            let changed: HashSet<RowKey> = found[start..].iter().map(|found| found.key).collect();
            let at_rest = found.len();
            for page in pages {
                if let Some(page) = self.open(services, shard, namespace, page)? {
                    collect(&page, &mut found);
                }
            }
            let state = self.state();
            let space = state.spaces.get(&(namespace, shard));
            let is_fresh =
                |key: &RowKey| changed.contains(key) || space.is_some_and(|space| space.rows.contains_key(key));
            let mut place = 0;
            found.retain(|found| {
                place += 1;
                place <= at_rest || !is_fresh(&found.key)
            });
        }
        Ok(found)
    }
}

impl Space {
    fn drop_fresh(&mut self, key: &RowKey) {
        if let Some(fresh) = self.rows.remove(key) {
            Arc::make_mut(&mut self.fresh[fresh.page]).remove(key);
        }
    }
}

/// Study date and time of a study as one number, 0 where there is no date.
pub fn moment_of(attributes: &Map<String, Value>) -> Result<u64> {
    let mut page = Page::new();
    page.upsert(&Row::from_attributes([0; 32], attributes))
        .map_err(|_| EngineError::Corrupt("columns page"))?;
    Ok(moment(&page, 0))
}

/// Study date and time as one number that sorts like them.
fn moment(page: &Page, row: usize) -> u64 {
    let digits = |column, length: usize| {
        let text = page.field(row, column).unwrap_or_default();
        let digits = text.bytes().take(length).take_while(u8::is_ascii_digit);
        let (number, count) = digits.fold((0_u64, 0), |(number, count), digit| {
            (number * 10 + u64::from(digit - b'0'), count + 1)
        });
        number * 10_u64.pow((length - count) as u32)
    };
    digits(Column::StudyDate, 8) * 1_000_000 + digits(Column::StudyTime, 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn moments_sort_like_dates_and_times() {
        let moment_of = |date: &str, time: &str| {
            let attributes = json!({
                "00080020": { "vr": "DA", "Value": [date] },
                "00080030": { "vr": "TM", "Value": [time] },
            });
            let mut page = Page::new();
            let row = Row::from_attributes([1; 32], attributes.as_object().expect("an object"));
            page.upsert(&row).expect("room");
            moment(&page, 0)
        };
        assert_eq!(moment_of("20200115", "103015.5"), 20_200_115_103_015);
        assert_eq!(moment_of("20200115", "10"), 20_200_115_100_000);
        assert_eq!(moment_of("", ""), 0);
        assert!(moment_of("20191231", "235959") < moment_of("20200101", ""));
    }
}
