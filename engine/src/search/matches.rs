//! Which studies may match, in the order of results and a batch at a time, so that what is held does not grow with the
//! archive.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use rayon::prelude::*;
use septum_core::ids::NamespaceId;
use septum_core::query::columns::{Column, CompiledPredicates, Page, RowKey};
use septum_core::query::{OrderKey, Query};
use septum_storage::RowKind;
use serde_json::Map;

use super::study_map;
use crate::accounts::Namespace;
use crate::columns::{Match, moment_of, namespace_of, row_key_of};
use crate::error::{EngineError, Result};
use crate::lookup;
use crate::records::{decode, key};
use crate::services::Services;

/// Studies in a batch, at most: about 8 MiB.
const BATCH_STUDIES: usize = 65_536;

/// Studies in a batch of a search that columns decide, at least.
const DECIDED_STUDIES: usize = 64;

/// So many pages of columns are scanned on all cores: waking them costs as much as scanning a few.
const PAGES_MANY: usize = 8;

/// What comes first: the newest, or what the search is sorted by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// By the study's date and time, or by when it came.
    Newest(Reverse<u64>),
    Sorted(OrderKey),
}

/// Where a study stands in the order of results.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    rank: Rank,
    namespace: NamespaceId,
    key: RowKey,
    shard: usize,
    moment: u64,
    came_ms: u64,
}

/// The first ones behind a place, of however many come in whatever order.
struct First {
    after: Option<Place>,
    room: usize,
    /// The last of them on top.
    kept: BinaryHeap<Place>,
    has_more: bool,
}

impl First {
    fn new(after: Option<Place>, room: usize) -> Self {
        Self {
            after,
            room,
            kept: BinaryHeap::new(),
            has_more: false,
        }
    }

    fn offer(&mut self, rank: Rank, found: Match) {
        let is_full = self.kept.len() >= self.room;
        if is_full && self.kept.peek().is_some_and(|last| rank > last.rank) {
            self.has_more = true;
            return;
        }
        self.place(Place {
            rank,
            namespace: found.namespace,
            key: found.key,
            shard: found.shard,
            moment: found.moment,
            came_ms: found.came_ms,
        });
    }

    /// Whether `compare` tells that something comes behind all that is kept, and nothing more has room.
    fn is_behind(&mut self, compare: impl FnOnce(&OrderKey) -> bool) -> bool {
        let is_full = self.kept.len() >= self.room;
        let is_behind = match self.kept.peek() {
            Some(Place {
                rank: Rank::Sorted(last),
                ..
            }) => is_full && compare(last),
            _ => false,
        };
        self.has_more |= is_behind;
        is_behind
    }

    fn place(&mut self, place: Place) {
        if self.after.as_ref().is_some_and(|after| place <= *after) {
            return;
        }
        self.kept.push(place);
        if self.kept.len() > self.room {
            self.kept.pop();
            self.has_more = true;
        }
    }

    /// Takes over what another one kept, which began behind the same place.
    fn join(&mut self, other: Self) {
        self.has_more |= other.has_more;
        other.kept.into_iter().for_each(|place| self.place(place));
    }

    /// What was kept, and its last place if there is more behind it.
    fn finish(self) -> Batch {
        let rest = self.kept.peek().cloned().filter(|_| self.has_more);
        // A study that was corrected meanwhile may have been seen twice.
        let mut seen = HashSet::with_capacity(self.kept.len());
        let matches = self
            .kept
            .into_sorted_vec()
            .into_iter()
            .filter(|place| seen.insert((place.namespace, place.key, place.shard)))
            .map(|place| Match {
                namespace: place.namespace,
                shard: place.shard,
                key: place.key,
                moment: place.moment,
                came_ms: place.came_ms,
            });
        Batch {
            matches: matches.collect(),
            rest,
        }
    }
}

/// Studies that may match, in the order of results.
pub(super) struct Batch {
    pub(super) matches: Vec<Match>,
    /// How to go on where there are more.
    pub(super) rest: Option<Place>,
}

/// What is looked for, and in which order it comes.
#[derive(Clone)]
pub(super) struct Looking {
    pub(super) namespaces: Vec<Arc<Namespace>>,
    pub(super) study_uid: Option<String>,
    pub(super) predicates: Arc<CompiledPredicates>,
    /// The search, where columns say all that it is sorted by; else the newest come first.
    pub(super) sorted: Option<Arc<Query>>,
    /// How many studies are wanted of those that come first, where columns decide which match.
    pub(super) wanted: Option<usize>,
    /// The newest are those that came last.
    pub(super) latest_first: bool,
    /// Shares beside a study of the same UID are wanted, too.
    pub(super) each_of_a_uid: bool,
}

impl Looking {
    fn newest(&self, found: &Match) -> Rank {
        Rank::Newest(Reverse(if self.latest_first { found.came_ms } else { found.moment }))
    }

    fn room(&self) -> usize {
        let wanted = self.wanted.map(|wanted| wanted.saturating_add(1));
        wanted.map_or(BATCH_STUDIES, |wanted| wanted.clamp(DECIDED_STUDIES, BATCH_STUDIES))
    }

    /// Whether so much is to be scanned that it is worth all cores.
    pub(super) fn is_wide(&self, services: &Services) -> bool {
        let mut namespaces = self.namespaces.iter();
        namespaces.any(|namespace| services.columns.num_pages(namespace.id) >= PAGES_MANY)
    }

    /// The studies that may match, from behind `after` on. `None` where a column lacks what the search is sorted by.
    pub(super) fn batch(&self, services: &Services, after: Option<Place>) -> Result<Option<Batch>> {
        let mut first = First::new(after, self.room());
        for namespace in &self.namespaces {
            let uids = match &self.study_uid {
                Some(uid) => Some(vec![uid.as_str()]),
                None => self.predicates.exact_values(Column::StudyInstanceUid),
            };
            let account = services.keyring.account(namespace.account)?;
            if let Some(uids) = uids {
                for uid in uids {
                    let token = services.studies.study_token(&account, namespace.id, uid);
                    let (shard, stored_in) = services.studies.shard(uid);
                    for row in crate::scan::rows(stored_in, key::studies_of(namespace.id, &token)) {
                        let (row_key, row) = row?;
                        self.looked_up(services, &mut first, shard, &row_key, Some(&row))?;
                    }
                }
            } else if let Some(prefixes) = lookup::prefixes(&account, namespace.id, &self.predicates) {
                for (shard, stored_in) in services.store.shards().iter().enumerate() {
                    for prefix in &prefixes {
                        for row in crate::scan::rows(stored_in, prefix.clone()) {
                            let (lookup, _) = row?;
                            let row_key = [
                                &key::studies(namespace.id),
                                lookup.get(prefix.len()..).unwrap_or_default(),
                            ]
                            .concat();
                            let row = stored_in.get(&row_key)?;
                            self.looked_up(services, &mut first, shard, &row_key, row.as_deref())?;
                        }
                    }
                }
            } else if !self.scanned(services, namespace, &mut first)? {
                return Ok(None);
            }
        }
        let mut batch = first.finish();
        if !self.each_of_a_uid {
            // Each is asked for once it is known to be among the first ones: of these there are few.
            let mut standing = Vec::with_capacity(batch.matches.len());
            for found in batch.matches {
                if stands_for_its_uid(services, &found)? {
                    standing.push(found);
                }
            }
            batch.matches = standing;
        }
        Ok(Some(batch))
    }

    /// Offers what the columns of a namespace have; `false` where one lacks what the search is sorted by. Where there are
    /// many, the shards are scanned side by side.
    fn scanned(&self, services: &Services, namespace: &Namespace, first: &mut First) -> Result<bool> {
        let num_shards = services.ledgers.len();
        if services.columns.num_pages(namespace.id) < PAGES_MANY {
            let mut shards = 0..num_shards;
            return shards.try_fold(true, |known, shard| {
                Ok(self.scanned_shard(services, namespace.id, shard, first)? && known)
            });
        }
        let (after, room) = (first.after.clone(), first.room);
        let scanned: Result<Vec<(First, bool)>> = (0..num_shards)
            .into_par_iter()
            .map(|shard| {
                let mut part = First::new(after.clone(), room);
                let is_known = self.scanned_shard(services, namespace.id, shard, &mut part)?;
                Ok((part, is_known))
            })
            .collect();
        let mut all_known = true;
        for (part, is_known) in scanned? {
            first.join(part);
            all_known &= is_known;
        }
        Ok(all_known)
    }

    fn scanned_shard(
        &self,
        services: &Services,
        namespace: NamespaceId,
        shard: usize,
        first: &mut First,
    ) -> Result<bool> {
        let mut is_known = true;
        let mut offer = |found: Match, page: &Page, row: usize| match &self.sorted {
            None => first.offer(self.newest(&found), found),
            Some(query) if first.is_behind(|last| query.is_row_behind(page, row, last)) => {}
            Some(query) => match query.order_key_of_row(page, row) {
                Some(key) => first.offer(Rank::Sorted(key), found),
                None => is_known = false,
            },
        };
        let columns = &services.columns;
        columns.scan(services, namespace, shard, &self.predicates, &mut offer)?;
        Ok(is_known)
    }

    /// Offers a study found by its token; one that is gone meanwhile is left out when it is opened.
    fn looked_up(
        &self,
        services: &Services,
        first: &mut First,
        shard: usize,
        row_key: &[u8],
        row: Option<&[u8]>,
    ) -> Result<()> {
        let (mut attributes, mut came_ms) = (Map::new(), 0);
        if let Some(row) = row {
            match services.summaries.open(&decode(row, "study row")?) {
                Ok(open) => {
                    attributes = study_map(&open.summary);
                    came_ms = u64::try_from(open.summary.first_commit_ms).unwrap_or(0);
                }
                Err(EngineError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let found = Match {
            namespace: namespace_of(row_key)?,
            shard,
            key: row_key_of(row_key)?,
            moment: moment_of(&attributes)?,
            came_ms,
        };
        let rank = match &self.sorted {
            None => self.newest(&found),
            Some(query) => Rank::Sorted(query.order_key(&attributes)),
        };
        first.offer(rank, found);
        Ok(())
    }
}

/// Whether a study is the one that its UID names in its namespace, as [`crate::retrieve::StudyRef::find`] has it: the
/// namespace's own, else the first of those shared with it.
fn stands_for_its_uid(services: &Services, found: &Match) -> Result<bool> {
    let (token, storage) = found.key.split_at(found.key.len() / 2);
    if storage == found.namespace.as_bytes() {
        return Ok(true);
    }
    let stored_in = &services.store.shards()[found.shard];
    let own = [token, found.namespace.as_bytes().as_slice()].concat();
    let row_key = |key: &[u8]| RowKind::Study.key(&[found.namespace.as_bytes(), key]);
    if stored_in.get(&row_key(&own))?.is_some() {
        return Ok(false);
    }
    let first = crate::scan::rows(stored_in, row_key(token)).next().transpose()?;
    // Gone meanwhile, it is left out when it is opened.
    Ok(first.is_none_or(|(first, _)| first == found.row_key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_give_each_study_once_and_newest_first() {
        let namespace = NamespaceId::from_bytes([1; 16]);
        let found = |number: u8| Match {
            namespace,
            shard: usize::from(number % 2),
            key: [number; 32],
            moment: u64::from(number / 2),
            came_ms: 0,
        };
        for room in [1, 2, 3, 19, 20, 21] {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let mut first = First::new(after, room);
                for number in (0..20).rev().chain(0..20) {
                    let found = found(number);
                    first.offer(Rank::Newest(Reverse(found.moment)), found);
                    assert!(first.kept.len() <= room);
                }
                let Batch { mut matches, rest } = first.finish();
                all.append(&mut matches);
                match rest {
                    Some(_) => after = rest,
                    None => break,
                }
            }
            let mut expected: Vec<Match> = (0..20).map(found).collect();
            expected.sort_by_key(|found| (Reverse(found.moment), found.key));
            assert_eq!(all, expected, "{room}");
        }
    }
}
