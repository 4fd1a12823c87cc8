//! Deleting is forever (invariant 9): the keys go first, then what they sealed gives its space back.
//!
//! A study is erased in three steps that a crash may part, held together by a saga row:
//!
//! 1. one commit takes the study's row away (it is gone for every reader) and notes the intent;
//! 2. its wrapped keys are destroyed: what is left on disk is noise;
//! 3. its rows go and its objects are freed, a page at a time; the last page takes the intent along.
//!
//! Deleting a series or an instance re-seals what remains under new study keys ([`crate::reseal`]) and then erases the
//! old study.

use std::sync::Arc;

use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{ObjectId, PixelSetId, StudyId, StudyKeyId};
use septum_core::seal::{AccountKeys, StudyKeys};
use septum_storage::RowKind;
use serde::{Deserialize, Serialize};

use crate::accounts::Namespace;
use crate::attachments;
use crate::columns::{self, withdraw};
use crate::detached::detached;
use crate::error::{EngineError, Result};
use crate::freeze;
use crate::ledger::{Change, ChangeKind, Event, Staging};
use crate::lookup;
use crate::pipeline::messages::Source;
use crate::pixel_use;
use crate::records::{FoldedRow, MetadataRow, PixelRow, SeriesRow, StudyRow, VersionRow, decode, encode, key};
use crate::reseal::{self, Removal};
use crate::retrieve::StudyRef;
use crate::scan;
use crate::search::study_map;
use crate::services::{Services, now_ms};

const DELETE: Action = Action::new("study.delete");

/// Rows taken away in one commit.
const PAGE_ROWS: usize = 256;

/// The intent to erase everything of one study id.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Intent {
    /// Whose rows and objects.
    pub study: StudyId,
    /// Its keys.
    pub keys: StudyKeyId,
}

fn saga_key(study: StudyId) -> Vec<u8> {
    RowKind::Saga.key(&[study.as_bytes()])
}

/// Stages the intent to erase.
pub fn stage_intent(staging: &mut Staging<'_>, intent: Intent) {
    staging.put(saga_key(intent.study), encode(&intent));
}

/// Takes an intent back: what it named is in use now.
pub fn withdraw_intent(staging: &mut Staging<'_>, study: StudyId) {
    staging.delete(saga_key(study));
}

/// Erases a study.
pub async fn study(services: &Arc<Services>, namespace: &Namespace, study_uid: &str, source: &Source) -> Result<()> {
    let found = StudyRef::find(services, namespace, study_uid)?;
    of(services, found, study_uid.to_owned(), source).await
}

/// What becomes of a study that is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfFrozen {
    /// It stays.
    Refuse,
    /// It goes all the same: it is a share that is taken back, or takes another form.
    Erase,
}

/// Erases a study that was found; `study_uid` is what the change feed calls it.
pub async fn of(services: &Arc<Services>, found: StudyRef, study_uid: String, source: &Source) -> Result<()> {
    let (services, source) = (Arc::clone(services), source.clone());
    detached(async move { erase(&services, &found, &source, Some(study_uid), IfFrozen::Refuse).await }).await
}

/// Erases a study as it was found, and nothing that came since.
///
/// # Errors
/// [`EngineError::Conflict`] with [`CHANGED`] where something came.
pub async fn as_found(services: &Arc<Services>, found: StudyRef, study_uid: String, source: &Source) -> Result<()> {
    let (services, source) = (Arc::clone(services), source.clone());
    detached(async move { erase_as_found(&services, &found, &source, &study_uid).await }).await
}

/// What [`as_found`] and its like say where something came meanwhile.
pub const CHANGED: &str = "the study changed meanwhile, try again";

pub(crate) async fn erase_as_found(
    services: &Arc<Services>,
    found: &StudyRef,
    source: &Source,
    study_uid: &str,
) -> Result<()> {
    let terms = Terms {
        announced: Some(study_uid),
        if_frozen: IfFrozen::Refuse,
        is_as_found: true,
    };
    match erase_once(services, found, source, terms).await {
        Err(EngineError::Corrupt(columns::DAMAGED_PAGE)) => {
            columns::mend(services).await;
            erase_once(services, found, source, terms).await
        }
        erased => erased,
    }
}

/// Erases a part of a study that was found; the study goes with its last part.
///
/// # Errors
/// [`EngineError::NotFound`] where there is no such part; [`EngineError::Conflict`] where it holds more than
/// [`Removal::only`] says.
pub async fn part(services: &Arc<Services>, found: StudyRef, removal: Removal, source: &Source) -> Result<()> {
    let (services, source) = (Arc::clone(services), source.clone());
    detached(async move { reseal::without(&services, found, removal, &source).await }).await
}

/// Erases a series; the study goes with its last series.
pub async fn series(
    services: &Arc<Services>,
    namespace: &Namespace,
    study_uid: &str,
    series_uid: &str,
    source: &Source,
) -> Result<()> {
    let removal = Removal {
        series_uid: series_uid.to_owned(),
        instance_uid: None,
        only: None,
    };
    remove(services, namespace, study_uid, removal, source).await
}

/// Erases an instance with all its versions; series and study go with their last instance.
pub async fn instance(
    services: &Arc<Services>,
    namespace: &Namespace,
    study_uid: &str,
    series_uid: &str,
    instance_uid: &str,
    source: &Source,
) -> Result<()> {
    let removal = Removal {
        series_uid: series_uid.to_owned(),
        instance_uid: Some(instance_uid.to_owned()),
        only: None,
    };
    remove(services, namespace, study_uid, removal, source).await
}

async fn remove(
    services: &Arc<Services>,
    namespace: &Namespace,
    study_uid: &str,
    removal: Removal,
    source: &Source,
) -> Result<()> {
    let found = StudyRef::find(services, namespace, study_uid)?;
    part(services, found, removal, source).await
}

/// Erases whatever a study row names. `announced` is the UID that the change feed shows, none for held studies.
pub async fn erase(
    services: &Arc<Services>,
    found: &StudyRef,
    source: &Source,
    announced: Option<String>,
    if_frozen: IfFrozen,
) -> Result<()> {
    let terms = Terms {
        announced: announced.as_deref(),
        if_frozen,
        is_as_found: false,
    };
    match erase_once(services, found, source, terms).await {
        Err(EngineError::Corrupt(columns::DAMAGED_PAGE)) => columns::mend(services).await,
        Err(EngineError::Conflict(CHANGED)) => {}
        erased => return erased,
    }
    // Folded or re-sealed since it was found.
    let found = found.again(services)?;
    erase_once(services, &found, source, terms).await
}

/// How a study is erased.
#[derive(Clone, Copy)]
struct Terms<'a> {
    /// The UID that the change feed shows, none for held studies.
    announced: Option<&'a str>,
    if_frozen: IfFrozen,
    /// Nothing that came since it was found.
    is_as_found: bool,
}

async fn erase_once(services: &Arc<Services>, found: &StudyRef, source: &Source, terms: Terms<'_>) -> Result<()> {
    let announced = terms.announced;
    let intent = Intent {
        study: found.id(),
        keys: found.row.keys,
    };
    let page_keys = page_keys(services, &found.account, &found.row).await?;
    let ledger = &services.ledgers[found.shard];
    let erased = ledger
        .commit(|staging| {
            let row = staging.get(&found.row_key)?.ok_or(EngineError::NotFound)?;
            let row: StudyRow = decode(&row, "study row")?;
            if row.study != intent.study || (terms.is_as_found && row.revision != found.row.revision) {
                return Err(EngineError::Conflict(CHANGED));
            }
            if terms.if_frozen == IfFrozen::Refuse {
                freeze::refuse(staging, &found.row_key)?;
            }
            staging.use_reserve();
            staging.delete(found.row_key.clone());
            freeze::forget(staging, &found.row_key);
            let (mut withdrawn, mut stamp) = (None, None);
            if announced.is_some() {
                staging.delete(key::beside(RowKind::Unstable, &found.row_key));
                staging.delete(key::beside(RowKind::Unfolded, &found.row_key));
                for lookup in lookup_rows(services, found, &row)? {
                    staging.delete(lookup);
                }
                withdrawn = withdraw(services, staging, found.shard, &found.row_key, &row, page_keys.as_ref())?;
                stamp = services.columns.stamp(found.shard, &found.row_key)?;
            }
            stage_intent(staging, intent);
            staging.audit(event(found, source));
            if let Some(study_uid) = announced {
                let change = Change {
                    kind: ChangeKind::StudyDeleted,
                    time_ms: now_ms(),
                    study_uid: study_uid.to_owned(),
                    series_uid: None,
                    instance_uid: None,
                };
                let record_key = services.keyring.record_key().clone();
                staging.change(found.namespace, None, services.keyring.suite(), record_key, &change);
            }
            Ok((withdrawn, stamp))
        })
        .await;
    let (withdrawn, stamp) = match erased {
        Ok(erased) => erased,
        Err(error) => return Err(unused(services, page_keys.as_ref(), error).await),
    };
    services.summaries.forget(found.row.study, found.row.revision);
    if stamp.is_some() {
        services.columns.forget(found.shard, &found.row_key, stamp)?;
    }
    if let Some(withdrawn) = withdrawn {
        let intent = withdrawn.intent;
        withdrawn.settle(services);
        finish(services, found.shard, intent).await?;
    }
    finish(services, found.shard, intent).await
}

/// Keys for the page of columns that a study is in, if it is in one.
pub async fn page_keys(services: &Services, account: &AccountKeys, row: &StudyRow) -> Result<Option<Arc<StudyKeys>>> {
    Ok(match row.page {
        Some(_) => Some(services.keyring.create_study(account).await?),
        None => None,
    })
}

/// Destroys keys that were made for a commit which failed with `error`; what comes back is the error to tell.
pub async fn unused(services: &Services, keys: Option<&Arc<StudyKeys>>, error: EngineError) -> EngineError {
    if let Some(keys) = keys.filter(|_| error.left_all_as_it_was())
        && let Err(error) = services.keyring.destroy_studies(&[keys.id]).await
    {
        tracing::warn!(%error, "keys that nothing uses could not be destroyed");
    }
    error
}

/// The lookup rows of a study as it is.
pub fn lookup_rows(services: &Services, found: &StudyRef, row: &StudyRow) -> Result<Vec<Vec<u8>>> {
    let open = services.summaries.open(row)?;
    lookup::rows(
        &found.account,
        found.namespace,
        &found.row_key,
        &study_map(&open.summary),
    )
}

/// Who deleted what, for the audit log.
pub fn event(found: &StudyRef, source: &Source) -> Event {
    Event {
        actor: Actor::User(source.user),
        action: DELETE,
        object: ObjectRef::One(ObjectKind::Study, *found.id().as_bytes()),
        outcome: Outcome::Success,
        source: source.address,
        account: Some(found.account.account),
    }
}

/// Steps 2 and 3. Repeating them is harmless.
pub async fn finish(services: &Arc<Services>, shard: usize, intent: Intent) -> Result<()> {
    services.keyring.destroy_studies(&[intent.keys]).await?;
    let ledger = &services.ledgers[shard];
    for prefix in [
        key::all_series(intent.study),
        key::all_instances(intent.study),
        key::versions(intent.study),
        key::all_pixels(intent.study),
        key::study_metadata(intent.study),
        key::extended(intent.study),
        attachments::all_rows(intent.study),
        RowKind::Densify.key(&[intent.study.as_bytes()]),
    ] {
        let mut from = None;
        loop {
            let rows = ledger.shard().scan(&prefix, from.as_deref(), PAGE_ROWS)?;
            let Some((last, _)) = rows.last() else { break };
            from = Some(scan::after(last));
            ledger
                .commit(|staging| {
                    staging.use_reserve();
                    for (row_key, _) in rows {
                        // As it is now: densifying may have swapped it since the scan.
                        if let Some(value) = staging.get(&row_key)?
                            && !is_kept(staging, intent, &row_key, &value)?
                        {
                            staging.free(objects_of(&row_key, &value)?);
                            staging.delete(row_key);
                        }
                    }
                    Ok(())
                })
                .await?;
        }
    }
    ledger
        .commit(|staging| {
            staging.use_reserve();
            withdraw_intent(staging, intent.study);
            Ok(())
        })
        .await
}

/// Whether a row stays because other studies use what it names. One that uses pixels of another study lets them go.
fn is_kept(staging: &mut Staging<'_>, intent: Intent, row_key: &[u8], value: &[u8]) -> Result<bool> {
    match RowKind::of(row_key) {
        // Pixels that others keep may wait to be made dense with their keys.
        Some(RowKind::Densify) => Ok(decode::<StudyKeyId>(value, "densify row")? != intent.keys),
        Some(RowKind::PixelRecord) => {
            let (study, pixel_set) = place_of(row_key).ok_or(EngineError::Corrupt("pixel row key"))?;
            pixel_use::leave(staging, study, pixel_set)
        }
        Some(RowKind::Version) => {
            let row: VersionRow = decode(value, "version row")?;
            if let (Some(study), Some(pixel_set)) = (row.pixel_study, row.pixel_set) {
                pixel_use::end(staging, study, pixel_set)?;
            }
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// Study and pixel set in a pixel record's key.
fn place_of(row_key: &[u8]) -> Option<(StudyId, PixelSetId)> {
    let (study, pixel_set) = row_key.get(1..)?.split_at_checked(16)?;
    Some((
        StudyId::from_bytes(study.try_into().ok()?),
        PixelSetId::from_bytes(pixel_set.try_into().ok()?),
    ))
}

/// The objects that only this row refers to.
fn objects_of(row_key: &[u8], value: &[u8]) -> Result<Vec<ObjectId>> {
    Ok(match RowKind::of(row_key) {
        Some(RowKind::Series) => vec![decode::<SeriesRow>(value, "series row")?.template],
        Some(RowKind::Version) => {
            let row = decode::<VersionRow>(value, "version row")?;
            [vec![row.header], row.values].concat()
        }
        Some(RowKind::PixelRecord) => decode::<PixelRow>(value, "pixel row")?.objects,
        Some(RowKind::Metadata) if row_key.len() == key::FOLDED_BYTES => {
            decode::<FoldedRow>(value, "folded metadata")?.blocks
        }
        Some(RowKind::Metadata) => match decode(value, "metadata row")? {
            MetadataRow::Object(object) => vec![object],
            MetadataRow::Inline(_) => Vec::new(),
        },
        Some(RowKind::Attachment) => attachments::objects_of(row_key, value)?,
        _ => Vec::new(),
    })
}

/// Finishes what a crash or a failure interrupted; a shard that cannot is left for later. Copies that are being made
/// right now are not touched.
pub async fn resume(services: &Arc<Services>) {
    for (shard, ledger) in services.ledgers.iter().enumerate() {
        for row in crate::scan::rows(ledger.shard(), RowKind::Saga.key(&[])) {
            let finished = match row.and_then(|(_, value)| decode::<Intent>(&value, "saga row")) {
                Ok(intent) if services.copies.holds(intent.study) => Ok(()),
                Ok(intent) => finish(services, shard, intent).await,
                Err(error) => Err(error),
            };
            if let Err(error) = finished {
                tracing::error!(%error, shard, "an erasure could not be finished; it is tried again");
                break;
            }
        }
    }
}
