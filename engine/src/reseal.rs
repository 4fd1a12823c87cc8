//! Re-sealing a study under new keys: what deleting a part of it and rotating its keys have in common.
//!
//! The remaining versions are copied, each object opened with the old key and sealed with the new one, into rows under
//! a new study id that no reader sees yet. One commit then points the study's row at the new id and notes the intent to
//! erase the old one. If instances arrived meanwhile (the row's revision tells), they are copied too and the commit is
//! tried again. Until that commit the copy stands under an intent to erase *it*, so neither a crash nor a failure leaves
//! anything behind.
//!
//! Nothing of what is removed goes along: headers are compressed standing alone, because a template is the header of
//! one instance, and the summary is made anew from what remains.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use septum_core::audit::Action;
use septum_core::codec::compress_with_template;
use septum_core::ids::{ObjectId, PixelSetId, StudyId, VersionId};
use septum_core::seal::{ObjectContext, StudyKeys, Token, open_record, seal_record};
use septum_storage::RowKind;
use serde_json::{Map, Value};

use crate::attachments;
use crate::columns::{self, withdraw};
use crate::erase::{self, Intent};
use crate::error::{EngineError, Result};
use crate::ledger::{Change, ChangeKind, Staging};
use crate::lookup;
use crate::pipeline::arrival::{self, Arrival, Values};
use crate::pipeline::messages::Source;
use crate::pipeline::sealer::seal_run;
use crate::records::{
    InstanceRow, MetadataRow, PixelRow, RunUnit, StudyRow, StudySummary, VersionRow, decode, encode, header_context,
    key, metadata_context, pixel_record_context, run_context, value_context, version_context,
};
use crate::retrieve::locate::tokens_of;
use crate::retrieve::{InstanceRef, PixelReader, StudyRef, metadata, stream};
use crate::search::study_map;
use crate::services::{Services, now_ms};
use crate::summaries::absorb;

/// Rounds of copying before the study counts as too busy.
const ROUNDS_MAX: usize = 16;

const DELETE_SERIES: Action = Action::new("series.delete");
const DELETE_INSTANCE: Action = Action::new("instance.delete");

/// What to leave out.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The series.
    pub series_uid: String,
    /// One instance of it, or all of it.
    pub instance_uid: Option<String>,
}

/// Copies being made: their intents to erase are not to be carried out.
#[derive(Default)]
pub struct Copies(Mutex<HashSet<StudyId>>);

impl Copies {
    fn set(&self) -> MutexGuard<'_, HashSet<StudyId>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a study id is a copy being made.
    pub fn holds(&self, study: StudyId) -> bool {
        self.set().contains(&study)
    }
}

struct Copy<'a> {
    services: &'a Arc<Services>,
    from: &'a StudyRef,
    to: StudyId,
    keys: Arc<StudyKeys>,
    copied: HashSet<VersionId>,
    /// Perhaps the copy is the study already: only the next start tells.
    is_uncertain: bool,
    attachments: HashSet<ObjectId>,
}

/// Makes the study what it is without the removed part.
pub async fn without(services: &Arc<Services>, found: StudyRef, removal: Removal, source: &Source) -> Result<()> {
    let series = found.series_token(&removal.series_uid);
    let instance = removal.instance_uid.as_deref().map(|uid| found.instance_token(uid));
    let is_removed = |row_series: &Token, row_instance: &Token| {
        *row_series == series && instance.is_none_or(|instance| *row_instance == instance)
    };
    let all = instance_rows(services, &found)?;
    if !all.iter().any(|(series, instance, _)| is_removed(series, instance)) {
        return Err(EngineError::NotFound);
    }
    if all.iter().all(|(series, instance, _)| is_removed(series, instance)) {
        let announced = services.summaries.open(&found.row)?.summary.study_uid.clone();
        return erase::erase(services, &found, source, Some(announced)).await;
    }
    let keys = services.keyring.create_study(&found.account).await?;
    let to = StudyId::random();
    let copy = Intent {
        study: to,
        keys: keys.id,
    };
    services.copies.set().insert(to);
    let mut work = Copy {
        services,
        from: &found,
        to,
        keys,
        copied: HashSet::new(),
        is_uncertain: false,
        attachments: HashSet::new(),
    };
    let made = make(&mut work, &removal, &is_removed, source).await;
    if work.is_uncertain {
        // It stays among the copies, so that nothing erases it. The next start finds the intent, unless it was switched to.
        return made.map(|_| ());
    }
    services.copies.set().remove(&to);
    match made {
        Ok(page) => {
            // The copy is the study now. What fails from here on is finished later: the intents are durable.
            if let Some(page) = page {
                erase::finish(services, found.shard, page).await?;
            }
            let old = Intent {
                study: found.id(),
                keys: found.row.keys,
            };
            erase::finish(services, found.shard, old).await
        }
        Err(error) => {
            erase::finish(services, found.shard, copy).await?;
            Err(error)
        }
    }
}

/// Copies and switches. What comes back is yet to be erased: the old keys of the study's page of columns.
async fn make(
    copy: &mut Copy<'_>,
    removal: &Removal,
    is_removed: &(impl Fn(&Token, &Token) -> bool + Sync),
    source: &Source,
) -> Result<Option<Intent>> {
    let (services, found) = (copy.services, copy.from);
    let intent = Intent {
        study: copy.to,
        keys: copy.keys.id,
    };
    copy.commit(|staging| {
        erase::stage_intent(staging, intent);
        Ok(())
    })
    .await?;
    for _ in 0..ROUNDS_MAX {
        let row = found
            .stored_in(services)
            .get(&found.row_key)?
            .ok_or(EngineError::NotFound)?;
        let seen: StudyRow = decode(&row, "study row")?;
        if seen.study != found.id() {
            return Err(EngineError::Overloaded { retry_after_seconds: 1 });
        }
        for (series, instance, versions) in instance_rows(services, found)? {
            if !is_removed(&series, &instance) {
                copy.instance(series, instance, &versions).await?;
            }
        }
        attachments::follow(services, found, copy.to, &copy.keys, &mut copy.attachments).await?;
        let summary = copy.summary(&seen).await?;
        match copy.switch(&seen, summary, removal, source).await {
            Err(EngineError::Conflict(_)) => {}
            Err(EngineError::Corrupt(columns::DAMAGED_PAGE)) => columns::mend(services).await,
            switched => {
                copy.is_uncertain = switched.as_ref().is_err_and(|error| !error.left_all_as_it_was());
                return switched;
            }
        }
    }
    Err(EngineError::Overloaded { retry_after_seconds: 5 })
}

type InstanceEntry = (Token, Token, Vec<VersionId>);

fn instance_rows(services: &Services, found: &StudyRef) -> Result<Vec<InstanceEntry>> {
    crate::scan::rows(found.stored_in(services), key::all_instances(found.id()))
        .map(|row| {
            let (row_key, value) = row?;
            let (series, instance) = tokens_of(&row_key)?;
            Ok((
                series,
                instance,
                decode::<InstanceRow>(&value, "instance row")?.versions,
            ))
        })
        .collect()
}

impl Copy<'_> {
    async fn instance(&mut self, series: Token, instance: Token, versions: &[VersionId]) -> Result<()> {
        let mut anything_new = false;
        for version in versions {
            if self.copied.insert(*version) {
                anything_new = true;
                self.version(series, instance, *version).await?;
            }
        }
        let Some(current) = versions.last().filter(|_| anything_new) else {
            return Ok(());
        };
        let found = self.from.version(self.services, series, instance, *current)?;
        let entry = metadata::of_instance(self.services, &found).await?;
        let packed = metadata::pack(None, entry.text.as_bytes());
        let sealed = self.seal_phi(&metadata_context(self.to, &series, &instance), &packed)?;
        let (metadata, object) = MetadataRow::of(sealed);
        let row = encode(&InstanceRow {
            versions: versions.to_vec(),
        });
        let to = self.to;
        self.commit(move |staging| {
            let metadata_key = key::metadata(to, &series, &instance);
            // An earlier round may have copied what was current then.
            if let Some(before) = staging.get(&metadata_key)?
                && let MetadataRow::Object(object) = decode(&before, "metadata row")?
            {
                staging.free([object]);
            }
            staging.put(key::instance(to, &series, &instance), row);
            staging.put(metadata_key, encode(&metadata));
            if let Some((object, bytes)) = object {
                staging.object(object, bytes);
            }
            Ok(())
        })
        .await
    }

    async fn version(&self, series: Token, instance: Token, version: VersionId) -> Result<()> {
        let found = self.from.version(self.services, series, instance, version)?;
        let record = open_record(&self.from.keys.phi, &version_context(version), &found.row.sealed)?;
        let header = stream::encoded_header(self.services, &found).await?;
        let object = ObjectId::random();
        let header = self.seal_phi(&header_context(object, version), &compress_with_template(None, &header))?;
        let (arriving, values) = self.values(&found).await?;
        let row = encode(&VersionRow {
            header: object,
            template: None,
            pixel_set: found.row.pixel_set,
            values: values.objects().to_vec(),
            sealed: self.seal_phi(&version_context(version), &record)?,
        });
        if let Some(pixel_set) = found.row.pixel_set {
            self.pixels(version, pixel_set).await?;
        }
        let to = self.to;
        let all_arrived = &values;
        self.commit(|staging| {
            all_arrived.stage_arrived(staging, arriving)?;
            staging.put(key::version(to, version), row);
            staging.object(object, header.into());
            Ok(())
        })
        .await?;
        values.settle();
        Ok(())
    }

    /// Copies the units of an instance's long values. They arrive under an id of their own.
    async fn values(&self, found: &InstanceRef) -> Result<(VersionId, Values)> {
        let (arriving, version) = (VersionId::random(), found.version);
        let arrival = Arrival::new(Arc::clone(self.services), self.from.shard, arriving);
        let mut objects = Vec::with_capacity(found.row.values.len());
        for (index, before) in (0..).zip(&found.row.values) {
            let sealed = self.from.stored_in(self.services).read_object(*before, None).await?;
            let (suite, from, to) = (
                self.services.keyring.suite(),
                Arc::clone(&self.from.keys),
                Arc::clone(&self.keys),
            );
            let (before, object) = (*before, ObjectId::random());
            let resealed = self.services.compute.run(move || -> Result<Vec<u8>> {
                let plain = open_record(&from.phi, &value_context(before, version, index), &sealed)?;
                Ok(seal_record(
                    suite,
                    &to.phi,
                    &value_context(object, version, index),
                    &plain,
                )?)
            });
            let resealed = resealed.await??;
            self.commit(move |staging| {
                arrival::stage(staging, arriving, index, object, resealed.into());
                Ok(())
            })
            .await?;
            objects.push(object);
        }
        Ok((arriving, Values::new(objects, Some(arrival))))
    }

    async fn pixels(&self, version: VersionId, pixel_set: PixelSetId) -> Result<()> {
        let from = self.from;
        let reader = PixelReader::open(self.services, from.shard, from.id(), Arc::clone(&from.keys), pixel_set)?;
        let mut record = reader.record().clone();
        let mut placed = Vec::new();
        for run in &mut record.runs {
            let mut units: Vec<Bytes> = Vec::with_capacity(run.units.len());
            let mut table = Vec::with_capacity(run.units.len());
            for index in run.first_unit..run.first_unit + run.units.len() as u32 {
                // What is read may be denser than the record says, if it was densified meanwhile: the table is of what
                // is read.
                let (codec, bytes) = reader.unit_encoded(index).await?;
                let encoded_length = u32::try_from(bytes.len()).map_err(|_| EngineError::Corrupt("unit length"))?;
                table.push(RunUnit {
                    codec: codec.into(),
                    encoded_length,
                });
                units.push(bytes);
            }
            let object = ObjectId::random();
            let context = run_context(object, version, pixel_set);
            let (suite, keys) = (self.services.keyring.suite(), Arc::clone(&self.keys));
            let sealed = self.services.compute.run(move || {
                let units: Vec<&[u8]> = units.iter().map(AsRef::as_ref).collect();
                seal_run(suite, &keys.pixel, &context, &units)
            });
            let sealed = sealed.await??;
            placed.extend(from.stored_in(self.services).put_batch(vec![(object, sealed)]).await?);
            run.object = object;
            run.units = table;
        }
        reader.forget();
        let suite = self.services.keyring.suite();
        let row = PixelRow {
            objects: record.runs.iter().map(|run| run.object).collect(),
            sealed: seal_record(
                suite,
                &self.keys.pixel,
                &pixel_record_context(pixel_set),
                &encode(&record),
            )?,
        };
        let (to, keys, dense) = (self.to, self.keys.id, record.dense);
        self.commit(move |staging| {
            staging.place(placed);
            staging.put(key::pixels(to, pixel_set), encode(&row));
            if !dense {
                crate::densify::stage(staging, to, keys, pixel_set);
            }
            Ok(())
        })
        .await
    }

    /// The summary of what was copied, its series in the order they had.
    async fn summary(&self, seen: &StudyRow) -> Result<StudySummary> {
        let before = self.services.summaries.open(seen)?;
        let copied = StudyRef {
            row: StudyRow {
                study: self.to,
                keys: self.keys.id,
                ..seen.clone()
            },
            keys: Arc::clone(&self.keys),
            ..self.from.clone()
        };
        let mut summary = StudySummary {
            study_uid: before.summary.study_uid.clone(),
            last_commit_ms: before.summary.last_commit_ms,
            ..StudySummary::default()
        };
        for series in &before.summary.series {
            let mut reader = metadata::Reader::new(self.services, &copied, Some(&series.series_uid))?;
            while let Some(entries) = reader.next().await? {
                for entry in entries {
                    let attributes: Map<String, Value> =
                        serde_json::from_str(&entry.text).map_err(|_| EngineError::Corrupt("metadata"))?;
                    let sop_class = attributes.get("00080016").and_then(|class| class["Value"][0].as_str());
                    let sop_class = sop_class.unwrap_or_default();
                    absorb(&mut summary, &attributes, &series.series_uid, sop_class, true);
                }
            }
        }
        Ok(summary)
    }

    /// Points the study at its copy, if nothing arrived since `seen`.
    async fn switch(
        &self,
        seen: &StudyRow,
        summary: StudySummary,
        removal: &Removal,
        source: &Source,
    ) -> Result<Option<Intent>> {
        let (services, found) = (self.services, self.from);
        let change = Change {
            kind: match removal.instance_uid {
                Some(_) => ChangeKind::InstanceDeleted,
                None => ChangeKind::SeriesDeleted,
            },
            time_ms: now_ms(),
            study_uid: summary.study_uid.clone(),
            series_uid: Some(removal.series_uid.clone()),
            instance_uid: removal.instance_uid.clone(),
        };
        let mut event = erase::event(found, source);
        event.action = if removal.instance_uid.is_some() {
            DELETE_INSTANCE
        } else {
            DELETE_SERIES
        };
        let attributes = study_map(&summary);
        let page_keys = erase::page_keys(services, &found.account, seen).await?;
        let mut noted = None;
        let switched = self.services.ledgers[found.shard]
            .commit(|staging| {
                let row = staging.get(&found.row_key)?.ok_or(EngineError::NotFound)?;
                let mut row: StudyRow = decode(&row, "study row")?;
                if row.revision != seen.revision || row.study != seen.study {
                    return Err(EngineError::Conflict("instances arrived meanwhile"));
                }
                for lookup in erase::lookup_rows(services, found, &row)? {
                    staging.delete(lookup);
                }
                let withdrawn = withdraw(services, staging, found.shard, &found.row_key, &row, page_keys.as_ref())?;
                for lookup in lookup::rows(&found.account, found.namespace, &found.row_key, &attributes)? {
                    staging.put(lookup, Vec::new());
                }
                staging.put(key::beside(RowKind::Unfolded, &found.row_key), Vec::new());
                row.page = None;
                row.study = self.to;
                row.keys = self.keys.id;
                let suite = services.keyring.suite();
                services.summaries.seal(&mut row, suite, &self.keys.phi, summary)?;
                staging.put(found.row_key.clone(), encode(&row));
                erase::withdraw_intent(staging, self.to);
                erase::stage_intent(
                    staging,
                    Intent {
                        study: found.id(),
                        keys: found.row.keys,
                    },
                );
                staging.audit(event);
                staging.change(
                    found.namespace,
                    None,
                    suite,
                    services.keyring.record_key().clone(),
                    &change,
                );
                noted = Some(services.columns.note(found.shard, &found.row_key, &attributes)?);
                services.columns.move_out(found.shard, found.namespace);
                Ok(withdrawn)
            })
            .await;
        let withdrawn = match switched {
            Ok(withdrawn) => withdrawn,
            Err(error) => {
                if let Some(noted) = noted
                    && let Err(error) = services.columns.revert(services, found.shard, &found.row_key, noted)
                {
                    tracing::warn!(%error, "a study that was to be changed stays as if it had been, until it is folded");
                }
                return Err(erase::unused(services, page_keys.as_ref(), error).await);
            }
        };
        services.summaries.forget(seen.study, seen.revision);
        services.folding.push(found.shard, &found.row_key);
        Ok(withdrawn.map(|withdrawn| {
            let intent = withdrawn.intent;
            withdrawn.settle(services);
            intent
        }))
    }

    fn seal_phi(&self, context: &ObjectContext, plain: &[u8]) -> Result<Vec<u8>> {
        Ok(seal_record(
            self.services.keyring.suite(),
            &self.keys.phi,
            context,
            plain,
        )?)
    }

    async fn commit(&self, stage: impl FnOnce(&mut Staging<'_>) -> Result<()>) -> Result<()> {
        self.services.ledgers[self.from.shard].commit(stage).await
    }
}
