//! Folding: rows of studies that became stable move into pages at rest.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use septum_core::ids::{NamespaceId, ObjectId};
use septum_core::query::columns::{Page, Row};
use septum_core::seal::{AccountKeys, StudyKeys};
use septum_storage::RowKind;

use super::rest::Rest;
use super::{Columns, RowKey, row_key_of};
use crate::error::{EngineError, Result};
use crate::ledger::Staging;
use crate::records::{ColumnsRow, StudyRow, decode, encode, key};
use crate::search::study_map;
use crate::services::Services;

/// Said inside a commit that needs one more page; never leaves this module.
const NO_ROOM: &str = "no page has room";

/// A page that does not exist yet, and its keys.
type Spare = (ObjectId, Arc<StudyKeys>);

/// Folds studies of one namespace and shard: `study_row_keys` name them. Studies that are gone, or not stable, are left
/// out.
pub async fn fold(
    services: &Arc<Services>,
    shard: usize,
    namespace: NamespaceId,
    account: &AccountKeys,
    study_row_keys: &[Vec<u8>],
) -> Result<()> {
    let mut spare: Option<Spare> = None;
    let folded = loop {
        let mut stamps = services.columns.stamps(shard, namespace, study_row_keys)?;
        let open = services.columns.open_page(shard, namespace);
        let staged = services.ledgers[shard]
            .commit(|staging| {
                stage(
                    services,
                    staging,
                    (shard, namespace),
                    open,
                    spare.as_ref(),
                    study_row_keys,
                )
            })
            .await;
        match staged {
            Ok(folded) => {
                if spare.as_ref().is_some_and(|(id, _)| folded.pages.contains_key(id)) {
                    spare = None;
                }
                for (id, rest) in folded.pages {
                    services.columns.settle(shard, namespace, id, rest);
                }
                stamps.retain(|(key, _)| folded.keys.contains(key));
                services.columns.release(shard, namespace, &stamps);
                break Ok(());
            }
            Err(EngineError::Conflict(NO_ROOM)) if spare.is_none() => {
                spare = Some((ObjectId::random(), services.keyring.create_study(account).await?));
            }
            Err(error) => break Err(error),
        }
    };
    let is_unused = folded.as_ref().err().is_none_or(EngineError::left_all_as_it_was);
    if let Some((_, keys)) = spare.filter(|_| is_unused) {
        services.keyring.destroy_studies(&[keys.id]).await?;
    }
    folded
}

type Pages = HashMap<ObjectId, Rest>;

#[derive(Default)]
struct Folded {
    pages: Pages,
    keys: HashSet<RowKey>,
}

fn stage(
    services: &Services,
    staging: &mut Staging<'_>,
    (shard, namespace): (usize, NamespaceId),
    mut open: Option<ObjectId>,
    spare: Option<&Spare>,
    study_row_keys: &[Vec<u8>],
) -> Result<Folded> {
    let Folded { mut pages, mut keys } = Folded::default();
    for row_key in study_row_keys {
        let unfolded = key::beside(RowKind::Unfolded, row_key);
        let Some(row) = staging.get(row_key)? else {
            staging.delete(unfolded);
            continue;
        };
        if staging.get(&key::beside(RowKind::Unstable, row_key))?.is_some() {
            continue;
        }
        let mut row: StudyRow = decode(&row, "study row")?;
        let summary = match services.summaries.open(&row) {
            Ok(summary) => summary,
            Err(EngineError::NotFound) => continue,
            Err(error) => return Err(error),
        };
        let columns = Row::from_attributes(row_key_of(row_key)?, &study_map(&summary.summary))
            .that_came(summary.summary.first_commit_ms);
        let id = match row.page {
            Some(id) => id,
            None => match open {
                Some(id)
                    if !page(services, staging, (shard, namespace), id, &mut pages)?
                        .page
                        .is_full() =>
                {
                    id
                }
                _ => {
                    let (id, page_keys) = spare
                        .filter(|(id, _)| !pages.contains_key(id))
                        .ok_or(EngineError::Conflict(NO_ROOM))?;
                    let rest = Rest {
                        row: ColumnsRow {
                            keys: page_keys.id,
                            revision: 0,
                            sealed: Vec::new(),
                        },
                        page: Page::new(),
                    };
                    pages.insert(*id, rest);
                    open = Some(*id);
                    *id
                }
            },
        };
        page(services, staging, (shard, namespace), id, &mut pages)?
            .page
            .upsert(&columns)
            .map_err(|_| EngineError::Corrupt("columns page"))?;
        if row.page.is_none() {
            row.page = Some(id);
            staging.put(row_key.clone(), encode(&row));
        }
        // One that is behind will be folded once more, after a restart too.
        if !summary.summary.is_behind {
            staging.delete(unfolded);
        }
        keys.insert(row_key_of(row_key)?);
    }
    for (id, rest) in &mut pages {
        let sealed_with = services.keyring.study(rest.row.keys)?;
        rest.stage(services, staging, namespace, *id, &sealed_with)?;
    }
    Ok(Folded { pages, keys })
}

fn page<'a>(
    services: &Services,
    staging: &Staging<'_>,
    (shard, namespace): (usize, NamespaceId),
    id: ObjectId,
    pages: &'a mut Pages,
) -> Result<&'a mut Rest> {
    use std::collections::hash_map::Entry;
    match pages.entry(id) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(place) => Ok(place.insert(Rest::staged(services, staging, shard, namespace, id)?)),
    }
}

impl Columns {
    fn open_page(&self, shard: usize, namespace: NamespaceId) -> Option<ObjectId> {
        self.state().spaces.get(&(namespace, shard))?.open
    }

    /// What the fresh rows of these studies are at now.
    fn stamps(&self, shard: usize, namespace: NamespaceId, study_row_keys: &[Vec<u8>]) -> Result<Vec<(RowKey, u64)>> {
        let state = self.state();
        let Some(space) = state.spaces.get(&(namespace, shard)) else {
            return Ok(Vec::new());
        };
        let mut stamps = Vec::new();
        for row_key in study_row_keys {
            let key = row_key_of(row_key)?;
            stamps.extend(space.rows.get(&key).map(|fresh| (key, fresh.stamp)));
        }
        Ok(stamps)
    }

    /// Fresh rows that did not change while they were folded are at rest now.
    fn release(&self, shard: usize, namespace: NamespaceId, stamps: &[(RowKey, u64)]) {
        let mut state = self.state();
        let Some(space) = state.spaces.get_mut(&(namespace, shard)) else {
            return;
        };
        for (key, stamp) in stamps {
            if space.rows.get(key).is_some_and(|fresh| fresh.stamp == *stamp) {
                space.drop_fresh(key);
            }
        }
    }
}
