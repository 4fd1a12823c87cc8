//! What a new instance means for what is stored: the rows of one commit.
//!
//! Runs under the shard's ledger lock, so what it reads is what it changes. The rules:
//!
//! - the same dataset bytes in the same transfer syntax as any stored version: a duplicate, acknowledged, stored once. A
//!   resend in another encoding is a version, however alike its meaning: whoever asks for the original gets what they sent
//!   (invariant 4);
//! - the same identity with other content: the newest version, older ones stay readable (invariant 5);
//! - nothing new goes into a study that is frozen;
//! - a study that was deleted or re-sealed while the instance was on its way: the sender repeats.

use std::sync::Arc;

use septum_core::audit::{Action, Actor, ObjectRef, Outcome};
use septum_core::seal::{Token, TokenDomain, open_record, token};
use septum_storage::RowKind;

use super::messages::{SealedInstance, StoreKind};
use crate::columns::Stamp;
use crate::error::{EngineError, Result};
use crate::freeze;
use crate::ledger::{Change, ChangeKind, Event, Staging};
use crate::lookup;
use crate::records::{
    InstanceRow, MetadataRow, PixelRow, SeriesRow, StudyRow, StudySummary, VersionRecord, VersionRow, decode, encode,
    key, version_context,
};
use crate::search::study_map;
use crate::services::{Services, now_ms};
use crate::stability::Stability;
use crate::studies::StudyHandle;
use crate::summaries::said::{absorb, supersede};

const STORE: Action = Action::new("instance.store");

/// What was decided, and what a failure of the commit takes back.
pub struct Decision {
    /// What becomes of the instance.
    pub kind: StoreKind,
    /// The revision of the study's summary that was made.
    made: Option<u64>,
    /// The study was noted for searches.
    noted: Option<Stamp>,
    /// The study was corrected, or others have shares of it: this is to be corrected, and shown there, too.
    pub is_to_follow: bool,
}

impl Decision {
    /// The commit failed: memory says again what is stored.
    pub fn take_back(&self, services: &Services, study: &StudyHandle) {
        if let Some(revision) = self.made {
            services.summaries.forget(study.study, revision);
        }
        if let Some(noted) = self.noted
            && let Err(error) = services.columns.revert(services, study.shard, &study.row_key, noted)
        {
            tracing::warn!(%error, "a study that was to be changed stays as if it had been, until it is folded");
        }
    }
}

/// Stages the commit of one instance and says what becomes of it.
pub fn decide(services: &Services, staging: &mut Staging<'_>, sealed: &mut SealedInstance) -> Result<Decision> {
    let study = &sealed.instance.study;
    let index = study.account.index_key();
    let series: Token = token(
        index,
        TokenDomain::Series,
        study.namespace,
        sealed.record.series_uid.as_bytes(),
    );
    let instance: Token = token(
        index,
        TokenDomain::Instance,
        study.namespace,
        sealed.record.instance_uid.as_bytes(),
    );
    let mut row = match staging.get(&study.row_key)? {
        Some(row) => decode::<StudyRow>(&row, "study row")?,
        None if study.was_committed() => {
            return Err(EngineError::Overloaded { retry_after_seconds: 1 });
        }
        None => StudyRow {
            study: study.study,
            keys: study.keys.id,
            patient: study.patient,
            revision: 0,
            page: None,
            sealed: Vec::new(),
        },
    };
    if row.study != study.study || row.keys != study.keys.id {
        return Err(EngineError::Overloaded { retry_after_seconds: 1 });
    }
    let instance_key = key::instance(study.study, &series, &instance);
    let mut versions = match staging.get(&instance_key)? {
        Some(row) => decode::<InstanceRow>(&row, "instance row")?,
        None => InstanceRow::default(),
    };
    let event = |outcome| Event {
        actor: Actor::User(sealed.instance.source.user),
        action: STORE,
        object: ObjectRef::One(
            septum_core::audit::ObjectKind::Version,
            *sealed.instance.version.as_bytes(),
        ),
        outcome,
        source: sealed.instance.source.address,
        account: Some(study.account.account),
    };
    staging.audit(event(Outcome::Success));
    sealed.values.stage_arrived(staging, sealed.instance.version)?;
    if sealed.instance.more.follows() {
        staging.may_wait();
    }
    let (alike, replaced_bytes) = stored_alike(staging, sealed, &versions)?;
    if let Some(version) = alike {
        staging.free(sealed.values.objects().iter().copied());
        sealed.instance.version = version;
        return Ok(Decision {
            kind: StoreKind::Duplicate,
            made: None,
            noted: None,
            is_to_follow: false,
        });
    }
    if !study.held {
        freeze::refuse(staging, &study.row_key)?;
    }
    let is_new = versions.versions.is_empty();
    versions.versions.push(sealed.instance.version);
    staging.put(instance_key, encode(&versions));

    let mut summary = if row.sealed.is_empty() {
        StudySummary {
            study_uid: sealed.record.study_uid.clone(),
            ..StudySummary::default()
        }
    } else {
        services.summaries.open(&row)?.summary.clone()
    };
    let before = (!is_new && !study.held).then(|| study_map(&summary));
    let note = if is_new { absorb } else { supersede };
    let is_study_changed = note(
        &mut summary,
        &sealed.attributes,
        &sealed.record.series_uid,
        &sealed.record.sop_class_uid,
    );
    let bytes = summary.dataset_bytes.saturating_sub(replaced_bytes);
    summary.dataset_bytes = bytes.saturating_add(sealed.record.dataset_length);
    summary.last_commit_ms = now_ms();
    if row.sealed.is_empty() {
        summary.first_commit_ms = summary.last_commit_ms;
    }
    let came_ms = summary.first_commit_ms;
    let changed = (!study.held && is_study_changed).then(|| study_map(&summary));
    if !study.held {
        if let Some(attributes) = &changed {
            let (account, before) = (&study.account, before.as_ref());
            lookup::restage(staging, account, study.namespace, &study.row_key, before, attributes)?;
        }
        staging.put(key::beside(RowKind::Unfolded, &study.row_key), Vec::new());
    }
    let is_to_follow = summary.standing.is_some() || summary.has_shares;
    services
        .summaries
        .seal(&mut row, services.keyring.suite(), &study.keys.phi, summary)?;
    staging.put(study.row_key.clone(), encode(&row));
    // Not before the row can be seen: an instance that finds neither the handle nor the row makes the study anew.
    let handle = Arc::clone(study);
    staging.once_staged(move || handle.note_committed());

    let series_key = key::series(study.study, &series);
    if staging.get(&series_key)?.is_none()
        && let Some((object, bytes)) = sealed.new_template.take()
    {
        staging.put(series_key, encode(&SeriesRow { template: object }));
        staging.object(object, bytes);
    }

    let version = VersionRow {
        header: sealed.header.0,
        template: sealed.template,
        pixel_set: sealed.pixels.as_ref().map(|_| sealed.instance.pixel_set),
        pixel_study: None,
        values: sealed.values.objects().to_vec(),
        sealed: std::mem::take(&mut sealed.sealed_record),
    };
    staging.put(key::version(study.study, sealed.instance.version), encode(&version));
    staging.object(sealed.header.0, sealed.header.1.clone());
    let metadata_key = key::metadata(study.study, &series, &instance);
    if let Some(before) = staging.get(&metadata_key)?
        && let MetadataRow::Object(object) = decode(&before, "metadata row")?
    {
        staging.free([object]);
    }
    staging.put(metadata_key, encode(&sealed.metadata));
    if let Some((object, bytes)) = sealed.metadata_object.take() {
        staging.object(object, bytes);
    }
    if let Some((objects, record)) = sealed.pixels.take() {
        let pixel_row = PixelRow {
            objects,
            sealed: record,
        };
        staging.put(key::pixels(study.study, sealed.instance.pixel_set), encode(&pixel_row));
        if sealed.waits_for_density() {
            crate::densify::stage(staging, study.study, study.keys.id, sealed.instance.pixel_set);
        }
    }
    staging.place(std::mem::take(&mut sealed.placed));
    if !study.held {
        Stability::stage(staging, &study.row_key, now_ms());
        let change = Change {
            kind: if is_new {
                ChangeKind::InstanceStored
            } else {
                ChangeKind::InstanceReplaced
            },
            time_ms: now_ms(),
            study_uid: sealed.record.study_uid.clone(),
            series_uid: Some(sealed.record.series_uid.clone()),
            instance_uid: Some(sealed.record.instance_uid.clone()),
        };
        let suite = services.keyring.suite();
        staging.change(
            study.namespace,
            Some(study.keys.id),
            suite,
            study.keys.phi.clone(),
            &change,
        );
    }
    // Last, because nothing that is staged may fail any more.
    let noted = match &changed {
        Some(attributes) => Some(
            services
                .columns
                .note(study.shard, &study.row_key, attributes, came_ms)?,
        ),
        None => None,
    };
    Ok(Decision {
        kind: match (study.held, is_new) {
            (true, _) => StoreKind::Held,
            (false, true) => StoreKind::Stored,
            (false, false) => StoreKind::Version,
        },
        made: Some(row.revision),
        noted,
        is_to_follow,
    })
}

/// The stored version with the same bytes, if there is one; and the length of the version that is current.
fn stored_alike(
    staging: &Staging<'_>,
    sealed: &SealedInstance,
    versions: &InstanceRow,
) -> Result<(Option<septum_core::ids::VersionId>, u64)> {
    let study = &sealed.instance.study;
    let mut current_bytes = 0;
    for version in &versions.versions {
        let row = staging
            .get(&key::version(study.study, *version))?
            .ok_or(EngineError::Corrupt("version row"))?;
        let row: VersionRow = decode(&row, "version row")?;
        let record = open_record(&study.keys.phi, &version_context(*version), &row.sealed)?;
        let record: VersionRecord = decode(&record, "version record")?;
        if record.dataset_digest == sealed.record.dataset_digest
            && record.dataset_length == sealed.record.dataset_length
            && record.transfer_syntax_uid == sealed.record.transfer_syntax_uid
        {
            return Ok((Some(*version), current_bytes));
        }
        current_bytes = record.dataset_length;
    }
    Ok((None, current_bytes))
}
