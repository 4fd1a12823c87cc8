//! Which studies may match, in the order of results and a batch at a time, so that what is held does not grow with the
//! archive.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use septum_core::ids::NamespaceId;
use septum_core::query::columns::{Column, CompiledPredicates, RowKey};

use super::study_map;
use crate::accounts::Namespace;
use crate::columns::{Match, moment_of, namespace_of, row_key_of};
use crate::error::{EngineError, Result};
use crate::lookup;
use crate::records::{decode, key};
use crate::services::Services;

/// Studies in a batch: about 8 MiB.
const BATCH_STUDIES: usize = 65_536;

/// Where a study stands in the order of results, newest first.
pub(super) type Place = (Reverse<u64>, NamespaceId, RowKey, usize);

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

    fn offer(&mut self, found: Match) {
        let place = (Reverse(found.moment), found.namespace, found.key, found.shard);
        if self.after.is_some_and(|after| place <= after) {
            return;
        }
        self.kept.insert(place);
        if self.kept.len() > self.room {
            self.kept.pop_last();
            self.has_more = true;
        }
    }

    /// What was kept, and its last place if there is more behind it.
    fn finish(self) -> (Vec<Match>, Option<Place>) {
        let rest = self.kept.last().copied().filter(|_| self.has_more);
        // A study whose date was corrected meanwhile may have been seen twice.
        let mut seen = HashSet::with_capacity(self.kept.len());
        let matches = self
            .kept
            .into_iter()
            .filter(|(_, namespace, key, shard)| seen.insert((*namespace, *key, *shard)))
            .map(|(Reverse(moment), namespace, key, shard)| Match {
                namespace,
                shard,
                key,
                moment,
            });
        (matches.collect(), rest)
    }
}

/// The studies that may match, newest first, from behind `after` on; and how to go on where there are more.
pub(super) fn batch(
    services: &Services,
    namespaces: &[Arc<Namespace>],
    study_uid: Option<&str>,
    predicates: &CompiledPredicates,
    after: Option<Place>,
) -> Result<(Vec<Match>, Option<Place>)> {
    let mut first = First::new(after, BATCH_STUDIES);
    for namespace in namespaces {
        let uids = match study_uid {
            Some(uid) => Some(vec![uid]),
            None => predicates.exact_values(Column::StudyInstanceUid),
        };
        let account = services.keyring.account(namespace.account)?;
        if let Some(uids) = uids {
            for uid in uids {
                let token = services.studies.study_token(&account, namespace.id, uid);
                let (shard, stored_in) = services.studies.shard(uid);
                for row in crate::scan::rows(stored_in, key::studies_of(namespace.id, &token)) {
                    let (row_key, row) = row?;
                    first.offer(looked_up(services, shard, &row_key, Some(&row))?);
                }
            }
        } else if let Some(prefixes) = lookup::prefixes(&account, namespace.id, predicates) {
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
                        first.offer(looked_up(services, shard, &row_key, row.as_deref())?);
                    }
                }
            }
        } else {
            services
                .columns
                .scan(services, namespace.id, predicates, &mut |found| first.offer(found))?;
        }
    }
    Ok(first.finish())
}

/// A study found by its token; one that is gone meanwhile is left out when it is opened.
fn looked_up(services: &Services, shard: usize, row_key: &[u8], row: Option<&[u8]>) -> Result<Match> {
    let mut found = Match {
        namespace: namespace_of(row_key)?,
        shard,
        key: row_key_of(row_key)?,
        moment: 0,
    };
    if let Some(row) = row {
        match services.summaries.open(&decode(row, "study row")?) {
            Ok(open) => found.moment = moment_of(&study_map(&open.summary))?,
            Err(EngineError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
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
                    first.offer(found(number));
                    assert!(first.kept.len() <= room);
                }
                let (mut batch, rest) = first.finish();
                all.append(&mut batch);
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
