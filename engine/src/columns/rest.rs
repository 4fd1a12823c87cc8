//! Pages at rest: opening them, sealing them, taking a study out of one.

use std::sync::Arc;

use septum_core::ids::{NamespaceId, ObjectId, StudyId};
use septum_core::query::columns::Page;
use septum_core::seal::{StudyKeys, open_record, seal_record};

use super::{Columns, namespace_of, row_key_of};
use crate::erase::{Intent, stage_intent};
use crate::error::{EngineError, ErrorKind, Result};
use crate::ledger::Staging;
use crate::records::{ColumnsRow, StudyRow, columns_context, decode, encode, key};
use crate::services::Services;

/// How often a page is looked at again whose keys went while it was read.
const READS_MAX: usize = 8;

/// Said where a page at rest cannot be opened; it waits for [`super::mend`] then.
pub const DAMAGED_PAGE: &str = "columns page";

/// A page as it lies in its row.
pub(super) struct Rest {
    pub(super) row: ColumnsRow,
    pub(super) page: Page,
}

impl Rest {
    /// Opens the bytes of a row.
    pub(super) fn read(services: &Services, namespace: NamespaceId, id: ObjectId, value: &[u8]) -> Result<Self> {
        let row: ColumnsRow = decode(value, "columns row")?;
        let keys = services.keyring.study(row.keys)?;
        let plain = open_record(&keys.phi, &columns_context(namespace, id), &row.sealed)?;
        let page = Page::decode(&plain).map_err(|_| EngineError::Corrupt(DAMAGED_PAGE))?;
        Ok(Self { row, page })
    }

    /// Reads a page that is to be changed.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] with [`DAMAGED_PAGE`] where it cannot be opened.
    pub(super) fn staged(
        services: &Services,
        staging: &Staging<'_>,
        shard: usize,
        namespace: NamespaceId,
        id: ObjectId,
    ) -> Result<Self> {
        let value = staging.get(&key::columns(namespace, id))?;
        let read = value
            .ok_or(EngineError::Corrupt(DAMAGED_PAGE))
            .and_then(|value| Self::read(services, namespace, id, &value));
        read.map_err(|error| match error {
            EngineError::Storage(_) => error,
            _ => {
                services.columns.note_damage(shard, namespace, id);
                EngineError::Corrupt(DAMAGED_PAGE)
            }
        })
    }

    /// Seals the page as the next revision.
    pub(super) fn stage(
        &mut self,
        services: &Services,
        staging: &mut Staging<'_>,
        namespace: NamespaceId,
        id: ObjectId,
        keys: &StudyKeys,
    ) -> Result<()> {
        self.row.keys = keys.id;
        self.row.revision += 1;
        let (suite, context) = (services.keyring.suite(), columns_context(namespace, id));
        self.row.sealed = seal_record(suite, &keys.phi, &context, &self.page.encode())?;
        staging.put(key::columns(namespace, id), encode(&self.row));
        Ok(())
    }
}

impl Columns {
    /// The page of that id; none if it is gone.
    pub(super) fn open(
        &self,
        services: &Services,
        shard: usize,
        namespace: NamespaceId,
        id: ObjectId,
    ) -> Result<Option<Arc<Page>>> {
        for _ in 0..READS_MAX {
            let known = self
                .state()
                .spaces
                .get(&(namespace, shard))
                .and_then(|space| space.pages.get(&id).copied());
            let Some(revision) = known else { return Ok(None) };
            if let Some(page) = self.cache.get(&(id, revision)) {
                return Ok(Some(page));
            }
            let Some(value) = services.store.shards()[shard].get(&key::columns(namespace, id))? else {
                return Ok(None);
            };
            match Rest::read(services, namespace, id, &value) {
                Ok(rest) => {
                    let page = Arc::new(rest.page);
                    self.cache.insert((id, rest.row.revision), Arc::clone(&page));
                    return Ok(Some(page));
                }
                // A study was taken out meanwhile; what is there now has other keys.
                Err(EngineError::NotFound) => {}
                Err(error) => {
                    if error.kind() == ErrorKind::Corrupt {
                        self.note_damage(shard, namespace, id);
                    }
                    return Err(error);
                }
            }
        }
        self.note_damage(shard, namespace, id);
        Err(EngineError::Corrupt("columns page keys"))
    }

    /// A page at rest is what it says now, after the commit that changed it.
    pub(super) fn settle(&self, shard: usize, namespace: NamespaceId, id: ObjectId, rest: Rest) {
        let mut state = self.state();
        let space = state.spaces.entry((namespace, shard)).or_default();
        if let Some(old) = space.pages.insert(id, rest.row.revision) {
            self.cache.remove(&(id, old));
        }
        if !rest.page.is_full() {
            space.open = Some(id);
        } else if space.open == Some(id) {
            space.open = None;
        }
        self.cache.insert((id, rest.row.revision), Arc::new(rest.page));
    }
}

/// A page that a study was taken out of.
pub struct Withdrawn {
    shard: usize,
    namespace: NamespaceId,
    id: ObjectId,
    rest: Rest,
    /// The page's old keys are to be destroyed.
    pub intent: Intent,
}

impl Withdrawn {
    /// After the commit: searches see the page as it is now.
    pub fn settle(self, services: &Services) {
        services.columns.settle(self.shard, self.namespace, self.id, self.rest);
    }
}

/// Stages that a study is in no page any more: its page is sealed anew with `keys`, its old keys are to go. A study that
/// stays must be noted, and then moved out, first.
///
/// # Errors
/// [`EngineError::Conflict`] where keys are needed and none are given: the study was folded meanwhile.
/// [`EngineError::Corrupt`] with [`DAMAGED_PAGE`] where the page cannot be opened.
pub fn withdraw(
    services: &Services,
    staging: &mut Staging<'_>,
    shard: usize,
    study_row_key: &[u8],
    row: &StudyRow,
    keys: Option<&Arc<StudyKeys>>,
) -> Result<Option<Withdrawn>> {
    let Some(id) = row.page else { return Ok(None) };
    let keys = keys.ok_or(EngineError::Conflict("the study changed meanwhile, try again"))?;
    let namespace = namespace_of(study_row_key)?;
    let mut rest = Rest::staged(services, staging, shard, namespace, id)?;
    rest.page.remove(&row_key_of(study_row_key)?);
    let intent = Intent {
        // The page has no rows of its own kind: only its keys go.
        study: StudyId::random(),
        keys: rest.row.keys,
    };
    rest.stage(services, staging, namespace, id, keys)?;
    stage_intent(staging, intent);
    Ok(Some(Withdrawn {
        shard,
        namespace,
        id,
        rest,
        intent,
    }))
}
