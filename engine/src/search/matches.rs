//! Which studies may match, in the order of results and a batch at a time, so that what is held does not grow with the
//! archive.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use septum_core::ids::NamespaceId;
use septum_core::query::columns::{Column, CompiledPredicates, Page, RowKey};
use septum_core::query::{OrderKey, Query};
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

/// Studies in a batch of a search that is sorted, at least.
const SORTED_STUDIES: usize = 64;

/// What comes first: the newest, or what the search is sorted by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
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
}

/// The first ones behind a place, of however many come in whatever order.
struct First {
    after: Option<Place>,
    room: usize,
    kept: BTreeSet<Place>,
    has_more: bool,
}

impl First {
    fn new(after: Option<Place>, room: usize) -> Self {
        Self {
            after,
            room,
            kept: BTreeSet::new(),
            has_more: false,
        }
    }

    fn offer(&mut self, rank: Rank, found: Match) {
        let place = Place {
            rank,
            namespace: found.namespace,
            key: found.key,
            shard: found.shard,
            moment: found.moment,
        };
        if self.after.as_ref().is_some_and(|after| place <= *after) {
            return;
        }
        self.kept.insert(place);
        if self.kept.len() > self.room {
            self.kept.pop_last();
            self.has_more = true;
        }
    }

    /// What was kept, and its last place if there is more behind it.
    fn finish(self) -> Batch {
        let rest = self.kept.last().cloned().filter(|_| self.has_more);
        // A study that was corrected meanwhile may have been seen twice.
        let mut seen = HashSet::with_capacity(self.kept.len());
        let matches = self
            .kept
            .into_iter()
            .filter(|place| seen.insert((place.namespace, place.key, place.shard)))
            .map(|place| Match {
                namespace: place.namespace,
                shard: place.shard,
                key: place.key,
                moment: place.moment,
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
}

impl Looking {
    fn room(&self) -> usize {
        let Some(query) = &self.sorted else {
            return BATCH_STUDIES;
        };
        let wanted = query.limit.unwrap_or(super::RESULTS_MAX).saturating_add(query.offset);
        wanted.saturating_add(1).clamp(SORTED_STUDIES, BATCH_STUDIES)
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
        Ok(Some(first.finish()))
    }

    /// Offers what the columns of a namespace have; `false` where one lacks what the search is sorted by.
    fn scanned(&self, services: &Services, namespace: &Namespace, first: &mut First) -> Result<bool> {
        let mut is_known = true;
        let mut offer = |found: Match, page: &Page, row: usize| match &self.sorted {
            None => first.offer(Rank::Newest(Reverse(found.moment)), found),
            Some(query) => match query.order_key_of_row(page, row) {
                Some(key) => first.offer(Rank::Sorted(key), found),
                None => is_known = false,
            },
        };
        let columns = &services.columns;
        columns.scan(services, namespace.id, &self.predicates, &mut offer)?;
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
        let mut attributes = Map::new();
        if let Some(row) = row {
            match services.summaries.open(&decode(row, "study row")?) {
                Ok(open) => attributes = study_map(&open.summary),
                Err(EngineError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let found = Match {
            namespace: namespace_of(row_key)?,
            shard,
            key: row_key_of(row_key)?,
            moment: moment_of(&attributes)?,
        };
        let rank = match &self.sorted {
            None => Rank::Newest(Reverse(found.moment)),
            Some(query) => Rank::Sorted(query.order_key(&attributes)),
        };
        first.offer(rank, found);
        Ok(())
    }
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
