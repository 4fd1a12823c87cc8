//! Columns: the searchable fields of studies, sealed in pages at rest and scanned in memory.
//!
//! A study that changed is *fresh*: its row lies in memory, and an `unfolded` row beside it tells the next start to put
//! it there again. Once the study is stable [`fold`] moves its row into a page at rest. A page is sealed with keys of its
//! own, so that [`withdraw`] can take a study out and destroy what the page said of it (invariant 9).
//!
//! Invariants:
//! - every study that a reader may find is in a page at rest, or fresh, or both: then the fresh row counts. It is fresh
//!   before the commit that changes it, and what that commit was to change is taken back if it fails;
//! - what a scan gives is a candidate: a study may be gone, so the study itself is asked before anything is shown;
//! - a scan misses nothing: a study that leaves a page at rest while it is running makes it start anew;
//! - opened pages are cached, bounded by bytes;
//! - pages are made of study rows, so a damaged one is thrown away and its studies are folded again ([`mend`]).

mod fold;
mod left_out;
mod mend;
mod rest;

use std::cell::LazyCell;
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
pub use mend::mend;
pub use rest::{DAMAGED_PAGE, Withdrawn, withdraw};

/// How often a scan starts anew.
const SCANS_MAX: usize = 8;

/// Bytes of opened pages kept: those of about a million studies.
const CACHE_BYTES: u64 = 144 * 1024 * 1024;

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
    /// When the study came, milliseconds since 1970.
    pub came_ms: u64,
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
    /// How many studies have left a page at rest and are still there.
    num_moves: u64,
}

/// What a scan goes by.
struct Seen {
    fresh: Vec<Arc<Page>>,
    pages: Vec<ObjectId>,
    num_moves: u64,
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
    /// Pages at rest that could not be opened.
    damaged: HashSet<(usize, NamespaceId, ObjectId)>,
    left_out: HashSet<left_out::Place>,
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
            cache: Cache::with_weighter(2_048, CACHE_BYTES, ByBytes),
        }
    }
}

impl Columns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Finds the pages at rest and the studies that were not folded when the server stopped. Damaged rows are left out: of
    /// a study that cannot be opened there is nothing to find it by. Who searches is told ([`Self::leaves_out`]).
    pub fn reload(&self, services: &Services) {
        std::thread::scope(|threads| {
            for shard in 0..services.ledgers.len() {
                threads.spawn(move || self.reload_shard(services, shard));
            }
        });
        services.telemetry.studies_left_out.set(self.num_left_out() as i64);
    }

    fn reload_shard(&self, services: &Services, shard: usize) {
        let stored_in = &services.store.shards()[shard];
        for row in crate::scan::rows(stored_in, RowKind::Columns.key(&[])) {
            if let Err(error) = row.and_then(|(row_key, value)| self.reload_page(shard, &row_key, &value)) {
                tracing::error!(%error, shard, "a page of columns could not be found: searches will not find all");
                self.leave_out(shard, &[]);
            }
        }
        for row in crate::scan::rows(stored_in, RowKind::Unfolded.key(&[])) {
            let unfolded = row.map(|(row_key, _)| row_key);
            let row_key = unfolded.as_ref().map(|unfolded| key::beside(RowKind::Study, unfolded));
            let row_key = row_key.unwrap_or_default();
            if let Err(error) = unfolded.and_then(|_| self.reload_study(services, shard, &row_key)) {
                tracing::error!(%error, shard, "a study could not be opened: searches will not find it");
                self.leave_out(shard, &row_key);
            }
        }
    }

    fn reload_page(&self, shard: usize, row_key: &[u8], value: &[u8]) -> Result<()> {
        let namespace = namespace_of(row_key)?;
        let page = row_key[key::STUDY_PREFIX_BYTES..].try_into();
        let page = ObjectId::from_bytes(page.map_err(|_| EngineError::Corrupt("columns row"))?);
        let revision = decode::<ColumnsRow>(value, "columns row").map(|row| row.revision);
        let mut state = self.state();
        if revision.is_err() {
            state.damaged.insert((shard, namespace, page));
        }
        let space = state.spaces.entry((namespace, shard)).or_default();
        // A damaged one stays known, so that searches fail until it is mended: they must not leave studies out.
        space.pages.insert(page, revision.as_ref().copied().unwrap_or(0));
        if revision.is_ok() {
            space.open = Some(page);
        }
        Ok(())
    }

    fn reload_study(&self, services: &Services, shard: usize, row_key: &[u8]) -> Result<()> {
        let Some(row) = services.store.shards()[shard].get(row_key)? else {
            return Ok(());
        };
        match services.summaries.open(&decode::<StudyRow>(&row, "study row")?) {
            Ok(open) => {
                let (attributes, came_ms) = (study_map(&open.summary), open.summary.first_commit_ms);
                self.note(shard, row_key, &attributes, came_ms).map(|_| ())
            }
            // Its keys are being destroyed.
            Err(EngineError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A study that came at a time is new or changed, or is about to be: to be called where the commit is decided, so that notes come in the
    /// order of commits. What comes back is for [`Self::revert`].
    pub fn note(
        &self,
        shard: usize,
        study_row_key: &[u8],
        attributes: &Map<String, Value>,
        came_ms: i64,
    ) -> Result<Stamp> {
        let key = row_key_of(study_row_key)?;
        let row = Row::from_attributes(key, attributes).that_came(came_ms);
        let mut state = self.state();
        if !state.left_out.is_empty() {
            state.left_out.remove(&(shard, study_row_key.to_vec()));
        }
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
        Ok(Stamp(stamp))
    }

    /// A study that stays is about to leave its page at rest; it was noted before.
    pub fn move_out(&self, shard: usize, namespace: NamespaceId) {
        let mut state = self.state();
        state.spaces.entry((namespace, shard)).or_default().num_moves += 1;
    }

    /// How far a study's fresh row is now, if it has one.
    pub fn stamp(&self, shard: usize, study_row_key: &[u8]) -> Result<Option<Stamp>> {
        let state = self.state();
        let space = state.spaces.get(&(namespace_of(study_row_key)?, shard));
        let key = row_key_of(study_row_key)?;
        Ok(space.and_then(|space| Some(Stamp(space.rows.get(&key)?.stamp))))
    }

    /// A study is gone; one that came after `stamp` is another and stays.
    pub fn forget(&self, shard: usize, study_row_key: &[u8], stamp: Option<Stamp>) -> Result<()> {
        let key = row_key_of(study_row_key)?;
        let mut state = self.state();
        state.left_out.remove(&(shard, study_row_key.to_vec()));
        if let Some(space) = state.spaces.get_mut(&(namespace_of(study_row_key)?, shard))
            && space.rows.get(&key).map(|fresh| Stamp(fresh.stamp)) == stamp
        {
            space.drop_fresh(&key);
        }
        Ok(())
    }

    /// The commit failed that a study was noted for: if nothing was noted since, it is what its row says again.
    pub fn revert(&self, services: &Services, shard: usize, study_row_key: &[u8], stamp: Stamp) -> Result<()> {
        let stored_in = &services.store.shards()[shard];
        let row = stored_in.get(study_row_key)?;
        let row: Option<StudyRow> = row.map(|row| decode(&row, "study row")).transpose()?;
        let is_unfolded = stored_in.get(&key::beside(RowKind::Unfolded, study_row_key))?.is_some();
        let known = match row.filter(|row| row.page.is_none() || is_unfolded) {
            None => None,
            Some(row) => match services.summaries.open(&row) {
                Ok(open) => Some((study_map(&open.summary), open.summary.first_commit_ms)),
                Err(EngineError::NotFound) => None,
                Err(error) => return Err(error),
            },
        };
        let key = row_key_of(study_row_key)?;
        let mut state = self.state();
        let Some(space) = state.spaces.get_mut(&(namespace_of(study_row_key)?, shard)) else {
            return Ok(());
        };
        let Some(fresh) = space.rows.get(&key).filter(|fresh| fresh.stamp == stamp.0) else {
            return Ok(());
        };
        match known {
            Some((attributes, came_ms)) => Arc::make_mut(&mut space.fresh[fresh.page])
                .upsert(&Row::from_attributes(key, &attributes).that_came(came_ms))
                .map_err(|_| EngineError::Corrupt("fresh columns")),
            None => {
                space.drop_fresh(&key);
                Ok(())
            }
        }
    }

    /// Pages of a namespace, of all shards.
    pub fn num_pages(&self, namespace: NamespaceId) -> usize {
        let state = self.state();
        let spaces = state.spaces.iter().filter(|((of, _), _)| *of == namespace);
        spaces.map(|(_, space)| space.fresh.len() + space.pages.len()).sum()
    }

    /// Gives the studies of a namespace in a shard that seem to match to `each`, in no order, some perhaps more than once.
    pub fn scan(
        &self,
        services: &Services,
        namespace: NamespaceId,
        shard: usize,
        predicates: &CompiledPredicates,
        each: &mut dyn FnMut(Match, &Page, usize),
    ) -> Result<()> {
        let mut matching = |page: &Page, is_behind: &dyn Fn(&RowKey) -> bool| {
            for row in page.scan(predicates) {
                if let Some(key) = page.key(row).filter(|key| !is_behind(key)) {
                    let found = Match {
                        namespace,
                        shard,
                        key,
                        moment: moment(page, row),
                        came_ms: page.came_ms(row),
                    };
                    each(found, page, row);
                }
            }
        };
        for _ in 0..SCANS_MAX {
            let Some(seen) = self.see(namespace, shard) else {
                return Ok(());
            };
            // Of what is seen here: a study that becomes fresh only now is found where it rests.
            let keys = |page: &Page| (0..page.num_rows()).filter_map(|row| page.key(row)).collect::<Vec<_>>();
            let fresh = LazyCell::new(|| {
                seen.fresh
                    .iter()
                    .flat_map(|page| keys(page))
                    .collect::<HashSet<RowKey>>()
            });
            for page in &seen.fresh {
                matching(page, &|_| false);
            }
            for page in &seen.pages {
                if let Some(page) = self.open(services, shard, namespace, *page)? {
                    matching(&page, &|key| fresh.contains(key));
                }
            }
            let now = self.see(namespace, shard);
            if now.is_some_and(|now| now.num_moves == seen.num_moves) {
                return Ok(());
            }
        }
        Err(EngineError::Overloaded { retry_after_seconds: 1 })
    }

    fn see(&self, namespace: NamespaceId, shard: usize) -> Option<Seen> {
        let state = self.state();
        let space = state.spaces.get(&(namespace, shard))?;
        Some(Seen {
            fresh: space.fresh.clone(),
            pages: space.pages.keys().copied().collect(),
            num_moves: space.num_moves,
        })
    }
}

/// Tells whether a study was noted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64);

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
