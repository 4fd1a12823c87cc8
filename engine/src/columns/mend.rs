//! Damaged pages at rest: thrown away, their studies folded again from what they are made of.

use std::sync::Arc;

use septum_core::ids::{NamespaceId, ObjectId, StudyId};
use septum_storage::RowKind;

use super::Columns;
use crate::erase::{self, Intent};
use crate::error::{EngineError, Result};
use crate::ledger::Staging;
use crate::records::{ColumnsRow, StudyRow, decode, encode, key};
use crate::search::study_map;
use crate::services::Services;

impl Columns {
    pub(super) fn note_damage(&self, shard: usize, namespace: NamespaceId, id: ObjectId) {
        self.state().damaged.insert((shard, namespace, id));
    }

    fn drop_page(&self, shard: usize, namespace: NamespaceId, id: ObjectId) {
        let mut state = self.state();
        if let Some(space) = state.spaces.get_mut(&(namespace, shard)) {
            if let Some(revision) = space.pages.remove(&id) {
                self.cache.remove(&(id, revision));
            }
            space.open = space.open.filter(|open| *open != id);
        }
    }
}

/// Throws away the pages that could not be opened. What fails is tried again the next time.
pub async fn mend(services: &Arc<Services>) {
    let damaged = std::mem::take(&mut services.columns.state().damaged);
    for (shard, namespace, id) in damaged {
        tracing::warn!(shard, "a page of columns is damaged; its studies are folded again");
        if let Err(error) = abandon(services, shard, namespace, id).await {
            tracing::error!(%error, shard, "a damaged page of columns could not be thrown away");
            services.columns.note_damage(shard, namespace, id);
        }
    }
    let num_left_out = services.columns.num_left_out();
    services.telemetry.studies_left_out.set(num_left_out as i64);
}

async fn abandon(services: &Arc<Services>, shard: usize, namespace: NamespaceId, id: ObjectId) -> Result<()> {
    let mut held = Vec::new();
    for row in crate::scan::rows(&services.store.shards()[shard], key::studies(namespace)) {
        let (row_key, value) = row?;
        // Nothing is folded into a page that cannot be opened, so these are all.
        match decode::<StudyRow>(&value, "study row") {
            Ok(row) if row.page == Some(id) => held.push(row_key),
            Ok(_) => {}
            Err(_) => services.columns.leave_out(shard, &row_key),
        }
    }
    let intent = services.ledgers[shard]
        .commit(|staging| stage(services, staging, (shard, namespace, id), &held))
        .await?;
    services.columns.drop_page(shard, namespace, id);
    for row_key in &held {
        services.folding.push(shard, row_key);
    }
    match intent {
        Some(intent) => erase::finish(services, shard, intent).await,
        None => Ok(()),
    }
}

fn stage(
    services: &Services,
    staging: &mut Staging<'_>,
    (shard, namespace, id): (usize, NamespaceId, ObjectId),
    held: &[Vec<u8>],
) -> Result<Option<Intent>> {
    staging.use_reserve();
    for row_key in held {
        let Some(row) = staging.get(row_key)? else { continue };
        let mut row: StudyRow = decode(&row, "study row")?;
        if row.page != Some(id) {
            continue;
        }
        match services.summaries.open(&row) {
            // This is as it is, whether the commit succeeds or not.
            Ok(open) => {
                let (attributes, came_ms) = (study_map(&open.summary), open.summary.first_commit_ms);
                let _stamp = services.columns.note(shard, row_key, &attributes, came_ms)?;
            }
            Err(EngineError::NotFound) => {}
            Err(error) => {
                tracing::error!(%error, shard, "a study could not be opened: searches will not find it");
                services.columns.leave_out(shard, row_key);
            }
        }
        row.page = None;
        staging.put(row_key.clone(), encode(&row));
        staging.put(key::beside(RowKind::Unfolded, row_key), Vec::new());
    }
    services.columns.move_out(shard, namespace);
    let columns_key = key::columns(namespace, id);
    let intent = match staging.get(&columns_key)? {
        None => None,
        // A row that cannot be read does not name its keys.
        Some(value) => decode::<ColumnsRow>(&value, "columns row").ok().map(|row| Intent {
            study: StudyId::random(),
            keys: row.keys,
        }),
    };
    if let Some(intent) = intent {
        erase::stage_intent(staging, intent);
    }
    staging.delete(columns_key);
    Ok(intent)
}
