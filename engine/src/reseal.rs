//! Re-sealing a study under new keys: what deleting a part of it and rotating its keys have in common.
//!
//! The remaining versions are copied, each object opened with the old key and sealed with the new one, into rows under
//! a new study id that no reader sees yet. One commit then points the study's row at the new id and notes the intent to
//! erase the old one. If instances arrived meanwhile (the row's revision tells), they are copied too and the commit is
//! tried again. A crash before that commit leaves the copy under an intent to erase *it*.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use septum_core::ids::{ObjectId, StudyId, VersionId};
use septum_core::seal::{ObjectContext, StudyKeys, Token, open_record, seal_record};

use crate::erase::{self, Intent};
use crate::error::{EngineError, Result};
use crate::ledger::{Change, ChangeKind};
use crate::pipeline::messages::Source;
use crate::pipeline::sealer::seal_run;
use crate::records::{
    InstanceRow, PixelRow, SeriesRow, StudyRow, StudySummary, VersionRow, decode, encode, header_context, key,
    metadata_context, pixel_record_context, run_context, template_context, version_context,
};
use crate::retrieve::locate::tokens_of;
use crate::retrieve::{PixelReader, StudyRef};
use crate::services::{Services, now_ms};

/// Rounds of copying before the study counts as too busy.
const ROUNDS_MAX: usize = 16;

/// What to leave out.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The series.
    pub series_uid: String,
    /// One instance of it, or all of it.
    pub instance_uid: Option<String>,
}

struct Copy<'a> {
    services: &'a Arc<Services>,
    from: StudyRef,
    to: StudyId,
    keys: Arc<StudyKeys>,
    templates: HashMap<ObjectId, ObjectId>,
    copied: HashSet<VersionId>,
}

/// Makes the study what it is without the removed part.
pub async fn without(services: &Arc<Services>, found: StudyRef, removal: Removal, source: &Source) -> Result<()> {
    let series = found.series_token(&removal.series_uid);
    let instance = removal.instance_uid.as_deref().map(|uid| found.instance_token(uid));
    let is_removed = |row_series: &Token, row_instance: &Token| {
        *row_series == series && instance.is_none_or(|instance| *row_instance == instance)
    };
    let rows = || instance_rows(services, &found);
    let all = rows()?;
    if !all.iter().any(|(series, instance, _)| is_removed(series, instance)) {
        return Err(EngineError::NotFound);
    }
    if all.iter().all(|(series, instance, _)| is_removed(series, instance)) {
        let announced = services.summaries.open(&found.row)?.summary.study_uid.clone();
        return erase::erase(services, &found, source, Some(announced)).await;
    }
    let keys = services.keyring.create_study(&found.account).await?;
    let to = StudyId::random();
    let mut copy = Copy {
        services,
        from: found.clone(),
        to,
        keys: Arc::clone(&keys),
        templates: HashMap::new(),
        copied: HashSet::new(),
    };
    let ledger = &services.ledgers[found.shard];
    ledger
        .commit(|staging| {
            erase::stage_intent(
                staging,
                Intent {
                    study: to,
                    keys: keys.id,
                },
            );
            Ok(())
        })
        .await?;
    for _ in 0..ROUNDS_MAX {
        let row = services.store.shards()[found.shard]
            .get(&found.row_key)?
            .ok_or(EngineError::NotFound)?;
        let row: StudyRow = decode(&row, "study row")?;
        if row.study != found.id() {
            break;
        }
        for (series, instance, versions) in rows()? {
            if !is_removed(&series, &instance) {
                copy.instance(series, instance, &versions).await?;
            }
        }
        match switch(services, &found, &row, to, &keys, &removal, source) {
            Ok(ticket) => {
                let _proof = ticket.await?;
                services.summaries.forget(&row);
                return erase::finish(
                    services,
                    found.shard,
                    Intent {
                        study: found.id(),
                        keys: found.row.keys,
                    },
                )
                .await;
            }
            Err(EngineError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    erase::finish(
        services,
        found.shard,
        Intent {
            study: to,
            keys: keys.id,
        },
    )
    .await?;
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

/// Points the study at its copy, if nothing arrived since `seen`.
fn switch(
    services: &Services,
    found: &StudyRef,
    seen: &StudyRow,
    to: StudyId,
    keys: &StudyKeys,
    removal: &Removal,
    source: &Source,
) -> Result<septum_storage::CommitTicket> {
    let mut summary = services.summaries.open(seen)?.summary.clone();
    shrink(&mut summary, removal);
    let study_uid = summary.study_uid.clone();
    let ledger = &services.ledgers[found.shard];
    let ((), ticket) = ledger.submit(|staging| {
        let row = staging.get(&found.row_key)?.ok_or(EngineError::NotFound)?;
        let mut row: StudyRow = decode(&row, "study row")?;
        if row.revision != seen.revision || row.study != seen.study {
            return Err(EngineError::Conflict("instances arrived meanwhile"));
        }
        row.study = to;
        row.keys = keys.id;
        services
            .summaries
            .seal(&mut row, services.keyring.suite(), &keys.phi, summary)?;
        staging.put(found.row_key.clone(), encode(&row));
        erase::withdraw_intent(staging, to);
        erase::stage_intent(
            staging,
            Intent {
                study: found.id(),
                keys: found.row.keys,
            },
        );
        staging.audit(erase::event(found, source));
        let change = Change {
            kind: match removal.instance_uid {
                Some(_) => ChangeKind::InstanceDeleted,
                None => ChangeKind::SeriesDeleted,
            },
            time_ms: now_ms(),
            study_uid,
            series_uid: Some(removal.series_uid.clone()),
            instance_uid: removal.instance_uid.clone(),
        };
        let record_key = services.keyring.record_key().clone();
        staging.change(found.namespace, None, services.keyring.suite(), record_key, &change);
        Ok(())
    })?;
    Ok(ticket)
}

fn shrink(summary: &mut StudySummary, removal: &Removal) {
    if let Some(at) = summary
        .series
        .iter()
        .position(|series| series.series_uid == removal.series_uid)
    {
        match removal.instance_uid {
            Some(_) if summary.series[at].num_instances > 1 => summary.series[at].num_instances -= 1,
            _ => {
                summary.series.remove(at);
            }
        }
    }
}

impl Copy<'_> {
    async fn instance(&mut self, series: Token, instance: Token, versions: &[VersionId]) -> Result<()> {
        for version in versions {
            if self.copied.insert(*version) {
                self.version(series, instance, *version).await?;
            }
        }
        let stored_in = self.from.stored_in(self.services);
        let metadata = stored_in
            .get(&key::metadata(self.from.id(), &series, &instance))?
            .ok_or(EngineError::Corrupt("metadata row"))?;
        let plain = open_record(
            &self.from.keys.phi,
            &metadata_context(self.from.id(), &series, &instance),
            &metadata,
        )?;
        let metadata = self.seal_phi(&metadata_context(self.to, &series, &instance), &plain)?;
        let row = encode(&InstanceRow {
            versions: versions.to_vec(),
        });
        let to = self.to;
        self.commit(move |staging| {
            staging.put(key::instance(to, &series, &instance), row);
            staging.put(key::metadata(to, &series, &instance), metadata);
        })
        .await
    }

    async fn version(&mut self, series: Token, instance: Token, version: VersionId) -> Result<()> {
        self.template(series).await?;
        let found = self.from.version(self.services, series, instance, version)?;
        let stored_in = self.from.stored_in(self.services);
        let record = open_record(&self.from.keys.phi, &version_context(version), &found.row.sealed)?;
        let sealed_header = stored_in.read_object(found.row.header, None).await?;
        let header = open_record(
            &self.from.keys.phi,
            &header_context(found.row.header, version),
            &sealed_header,
        )?;
        let header_object = ObjectId::random();
        let header = self.seal_phi(&header_context(header_object, version), &header)?;
        let template = match found.row.template {
            Some(old) => Some(
                *self
                    .templates
                    .get(&old)
                    .ok_or(EngineError::Corrupt("header template"))?,
            ),
            None => None,
        };
        let row = encode(&VersionRow {
            header: header_object,
            template,
            pixel_set: found.row.pixel_set,
            sealed: self.seal_phi(&version_context(version), &record)?,
        });
        if let Some(pixel_set) = found.row.pixel_set {
            self.pixels(version, pixel_set).await?;
        }
        let to = self.to;
        self.commit(move |staging| {
            staging.put(key::version(to, version), row);
            staging.object(header_object, header.into());
        })
        .await
    }

    async fn pixels(&self, version: VersionId, pixel_set: septum_core::ids::PixelSetId) -> Result<()> {
        let from = &self.from;
        let reader = PixelReader::open(self.services, from.shard, from.id(), Arc::clone(&from.keys), pixel_set)?;
        let mut record = reader.record().clone();
        let stored_in = from.stored_in(self.services);
        let mut placed = Vec::new();
        for run in &mut record.runs {
            let mut units: Vec<Bytes> = Vec::with_capacity(run.units.len());
            for index in run.first_unit..run.first_unit + run.units.len() as u32 {
                units.push(reader.unit_encoded(index).await?.1);
            }
            let object = ObjectId::random();
            let context = run_context(object, version, pixel_set);
            let (suite, keys) = (self.services.keyring.suite(), Arc::clone(&self.keys));
            let sealed = self
                .services
                .compute
                .run(move || {
                    let units: Vec<&[u8]> = units.iter().map(AsRef::as_ref).collect();
                    seal_run(suite, &keys.pixel, &context, &units)
                })
                .await??;
            placed.extend(stored_in.put_batch(vec![(object, sealed)]).await?);
            run.object = object;
        }
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
        reader.forget();
        self.commit(move |staging| {
            staging.place(placed);
            staging.put(key::pixels(to, pixel_set), encode(&row));
            if !dense {
                crate::densify::stage(staging, to, keys, pixel_set);
            }
        })
        .await
    }

    async fn template(&mut self, series: Token) -> Result<()> {
        let stored_in = self.from.stored_in(self.services);
        let Some(row) = stored_in.get(&key::series(self.from.id(), &series))? else {
            return Ok(());
        };
        let old = decode::<SeriesRow>(&row, "series row")?.template;
        if self.templates.contains_key(&old) {
            return Ok(());
        }
        let sealed = stored_in.read_object(old, None).await?;
        let plain = open_record(&self.from.keys.phi, &template_context(old), &sealed)?;
        let object = ObjectId::random();
        let sealed = self.seal_phi(&template_context(object), &plain)?;
        self.templates.insert(old, object);
        let to = self.to;
        self.commit(move |staging| {
            staging.object(object, sealed.into());
            staging.put(key::series(to, &series), encode(&SeriesRow { template: object }));
        })
        .await
    }

    fn seal_phi(&self, context: &ObjectContext, plain: &[u8]) -> Result<Vec<u8>> {
        Ok(seal_record(
            self.services.keyring.suite(),
            &self.keys.phi,
            context,
            plain,
        )?)
    }

    async fn commit(&self, stage: impl FnOnce(&mut crate::ledger::Staging<'_>)) -> Result<()> {
        self.services.ledgers[self.from.shard]
            .commit(|staging| {
                stage(staging);
                Ok(())
            })
            .await
    }
}
