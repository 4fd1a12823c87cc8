//! Freezing: a frozen study stays as it is, at every door, until it is thawed.
//!
//! A `frozen` row lies beside the study's row and is asked for in the very commit that would change the study: storing
//! into it, correcting it, deleting it or a part of it. All rows on the same pixels, the study and its shares, are frozen
//! and thawed in one commit. Taking a share back is no change of the study: it is always possible.

use std::collections::HashSet;
use std::sync::Arc;

use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::NamespaceId;
use septum_storage::RowKind;

use crate::error::{EngineError, Result};
use crate::ledger::{Event, Staging};
use crate::pipeline::messages::Source;
use crate::records::key;
use crate::retrieve::StudyRef;
use crate::scan;
use crate::services::Services;
use crate::share::holders;

const FREEZE: Action = Action::new("study.freeze");
const THAW: Action = Action::new("study.thaw");

/// What every change of a frozen study is refused with.
pub const FROZEN: &str = "the study is frozen";

fn row_of(study_row_key: &[u8]) -> Vec<u8> {
    key::beside(RowKind::Frozen, study_row_key)
}

/// Whether a study is frozen.
///
/// # Errors
/// Where that cannot be read.
pub fn is_frozen(services: &Services, study: &StudyRef) -> Result<bool> {
    Ok(study.stored_in(services).get(&row_of(&study.row_key))?.is_some())
}

/// The keys of the rows of a namespace's frozen studies.
///
/// # Errors
/// Where they cannot be read.
pub fn in_namespace(services: &Services, namespace: NamespaceId) -> Result<HashSet<Vec<u8>>> {
    let mut frozen = HashSet::new();
    for shard in services.store.shards() {
        for row in scan::rows(shard, RowKind::Frozen.key(&[namespace.as_bytes()])) {
            let (row_key, _) = row?;
            frozen.insert(RowKind::Study.key(&[&row_key[1..]]));
        }
    }
    Ok(frozen)
}

/// Refuses to change the study of a row.
///
/// # Errors
/// [`EngineError::Conflict`] with [`FROZEN`].
pub fn refuse(staging: &Staging<'_>, study_row_key: &[u8]) -> Result<()> {
    match staging.get(&row_of(study_row_key))? {
        Some(_) => Err(EngineError::Conflict(FROZEN)),
        None => Ok(()),
    }
}

/// Takes what is said of a study's row along with the row.
pub fn forget(staging: &mut Staging<'_>, study_row_key: &[u8]) {
    staging.delete(row_of(study_row_key));
}

/// Freezes or thaws a study with its shares; says whether it was the other way before.
///
/// # Errors
/// Where its shares cannot be read, or the commit fails.
pub async fn set(services: &Arc<Services>, study: &StudyRef, frozen: bool, source: &Source) -> Result<bool> {
    let holders = holders(services, study)?;
    let event = Event {
        actor: Actor::User(source.user),
        action: if frozen { FREEZE } else { THAW },
        object: ObjectRef::One(ObjectKind::Study, *study.id().as_bytes()),
        outcome: Outcome::Success,
        source: source.address,
        account: Some(study.account.account),
    };
    services.ledgers[study.shard]
        .commit(|staging| {
            let is_frozen = staging.get(&row_of(&study.row_key))?.is_some();
            for (_, holder) in holders {
                let row = row_of(&holder.row_key);
                if !frozen {
                    staging.delete(row);
                } else if staging.get(&holder.row_key)?.is_some() {
                    staging.put(row, Vec::new());
                }
            }
            staging.audit(event);
            Ok(is_frozen != frozen)
        })
        .await
}
