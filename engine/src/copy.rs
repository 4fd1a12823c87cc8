//! Copies of a study under other keys: what re-sealing and sharing have in common.
//!
//! The versions of a study are copied, each object opened with the study's keys and sealed with the copy's, into rows
//! under a study id that no reader sees yet. One commit then shows the copy; who makes it stages that. Until then the copy
//! stands under an intent to erase *it*, so neither a crash nor a failure leaves anything behind.
//!
//! Pixels are sealed anew as well, or used in common: then the copy's keys open them where they lie
//! ([`crate::pixel_use`]) and not a byte of them is written.
//!
//! Nothing of what is left out goes along: headers are compressed standing alone, because a template is the header of
//! one instance, and the summary is made anew from what was copied.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use septum_core::codec::compress_with_template;
use septum_core::ids::{ObjectId, PixelSetId, StudyId, VersionId};
use septum_core::seal::{ObjectContext, Token, open_record, seal_record};
use septum_storage::Placed;
use serde_json::{Map, Value};

use crate::attachments;
use crate::erase::{self, Intent};
use crate::error::{EngineError, Result};
use crate::ledger::Staging;
use crate::pipeline::arrival::{self, Arrival, Values};
use crate::pipeline::sealer::seal_run;
use crate::pixel_use;
use crate::records::{
    InstanceRow, MetadataRow, PixelRow, RunUnit, StudyRow, StudySummary, VersionRow, decode, encode, header_context,
    key, metadata_context, pixel_record_context, run_context, value_context, version_context,
};
use crate::retrieve::locate::tokens_of;
use crate::retrieve::{InstanceRef, PixelReader, StudyRef, metadata, stream};
use crate::services::Services;
use crate::summaries::absorb;

/// Versions committed together.
const PAGE_VERSIONS: usize = 128;

/// Sealed bytes committed together, about.
const PAGE_BYTES: usize = 4 << 20;

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

/// What becomes of the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// Sealed anew: the copy's keys have a pixel key of their own.
    Resealed,
    /// Used in common: the copy's pixel key is the study's.
    InCommon,
}

/// A series, an instance, its versions.
pub type InstanceEntry = (Token, Token, Vec<VersionId>);

/// The instances of a study, in the order of their rows.
///
/// # Errors
/// Where a row cannot be read.
pub fn instance_rows(services: &Services, found: &StudyRef) -> Result<Vec<InstanceEntry>> {
    crate::scan::rows(found.stored_in(services), key::all_instances(found.id()))
        .map(|row| {
            let (row_key, value) = row?;
            let (series, instance) = tokens_of(&row_key)?;
            let versions = decode::<InstanceRow>(&value, "instance row")?.versions;
            Ok((series, instance, versions))
        })
        .collect()
}

/// What is committed together.
#[derive(Default)]
struct Page {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    metadata: Vec<(Vec<u8>, MetadataRow)>,
    objects: Vec<(ObjectId, Bytes)>,
    placed: Vec<Placed>,
    used: Vec<(StudyId, PixelSetId)>,
    not_dense: Vec<PixelSetId>,
    values: Vec<(VersionId, Values)>,
    num_versions: usize,
    num_bytes: usize,
}

/// A copy being made.
pub struct StudyCopy<'a> {
    services: &'a Arc<Services>,
    from: &'a StudyRef,
    to: &'a StudyRef,
    pixels: Pixels,
    copied: HashSet<VersionId>,
    attachments: HashSet<ObjectId>,
    page: Page,
}

impl<'a> StudyCopy<'a> {
    /// Begins a copy: `to` is of the same shard, its row not written yet.
    ///
    /// # Errors
    /// Where its intent cannot be committed.
    pub async fn begin(
        services: &'a Arc<Services>,
        from: &'a StudyRef,
        to: &'a StudyRef,
        pixels: Pixels,
    ) -> Result<Self> {
        services.copies.set().insert(to.id());
        let copy = Self {
            services,
            from,
            to,
            pixels,
            copied: HashSet::new(),
            attachments: HashSet::new(),
            page: Page::default(),
        };
        let intent = copy.intent();
        let begun = copy.commit(|staging| {
            erase::stage_intent(staging, intent);
            Ok(())
        });
        match begun.await {
            Ok(()) => Ok(copy),
            Err(error) => Err(copy.abandon(error).await),
        }
    }

    fn intent(&self) -> Intent {
        Intent {
            study: self.to.id(),
            keys: self.to.row.keys,
        }
    }

    /// Copies what `is_wanted` and was not copied before; returns the summary of all that was, `seen` being the row of
    /// the study that is copied.
    ///
    /// # Errors
    /// Where something cannot be read, opened or stored.
    pub async fn catch_up(
        &mut self,
        seen: &StudyRow,
        is_wanted: impl Fn(&Token, &Token) -> bool,
    ) -> Result<StudySummary> {
        for (series, instance, versions) in instance_rows(self.services, self.from)? {
            if is_wanted(&series, &instance) {
                self.instance(series, instance, versions).await?;
            }
        }
        self.flush().await?;
        let (to, copied) = (self.to, &mut self.attachments);
        attachments::follow(self.services, self.from, to.id(), &to.keys, copied).await?;
        self.summary(seen).await
    }

    /// Stages that the copy is shown: nothing erases it any more.
    pub fn stage_shown(&self, staging: &mut Staging<'_>) {
        erase::withdraw_intent(staging, self.to.id());
    }

    /// The copy is shown, or was not: then it is erased. Where nobody can tell, it stays as it is until the next start,
    /// which finds the intent unless the copy was shown.
    ///
    /// # Errors
    /// The one given, or why the copy could not be erased.
    pub async fn end<T>(self, shown: Result<T>) -> Result<T> {
        match shown {
            Ok(shown) => {
                self.services.copies.set().remove(&self.to.id());
                Ok(shown)
            }
            Err(error) if error.left_all_as_it_was() => Err(self.abandon(error).await),
            Err(error) => Err(error),
        }
    }

    async fn abandon(self, error: EngineError) -> EngineError {
        self.services.copies.set().remove(&self.to.id());
        match erase::finish(self.services, self.from.shard, self.intent()).await {
            Ok(()) => error,
            Err(failed) => failed,
        }
    }

    async fn instance(&mut self, series: Token, instance: Token, versions: Vec<VersionId>) -> Result<()> {
        let mut current = None;
        for version in &versions {
            if self.copied.insert(*version) {
                let found = self.from.version(self.services, series, instance, *version)?;
                self.version(&found).await?;
                current = Some(found);
            }
        }
        let Some(found) = current else { return Ok(()) };
        let entry = metadata::of_instance(self.services, &found).await?;
        let packed = metadata::pack(None, entry.text.as_bytes());
        let (series, instance) = (
            self.to.series_token(&found.record.series_uid),
            self.to.instance_token(&found.record.instance_uid),
        );
        let to = self.to.id();
        let sealed = self.seal_phi(&metadata_context(to, &series, &instance), &packed)?;
        let (metadata, object) = MetadataRow::of(sealed);
        let page = &mut self.page;
        page.rows
            .push((key::instance(to, &series, &instance), encode(&InstanceRow { versions })));
        page.metadata.push((key::metadata(to, &series, &instance), metadata));
        page.num_bytes += packed.len();
        page.objects.extend(object);
        if page.num_versions >= PAGE_VERSIONS || page.num_bytes >= PAGE_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Commits what was put together.
    async fn flush(&mut self) -> Result<()> {
        let mut page = std::mem::take(&mut self.page);
        let values = std::mem::take(&mut page.values);
        let (to, keys, all_arrived) = (self.to.id(), self.to.row.keys, &values);
        self.commit(move |staging| {
            for (arriving, values) in all_arrived {
                values.stage_arrived(staging, *arriving)?;
            }
            for (study, pixel_set) in page.used {
                pixel_use::begin(staging, study, pixel_set)?;
            }
            for (row_key, metadata) in page.metadata {
                // An earlier round may have copied what was current then.
                if let Some(before) = staging.get(&row_key)?
                    && let MetadataRow::Object(object) = decode(&before, "metadata row")?
                {
                    staging.free([object]);
                }
                staging.put(row_key, encode(&metadata));
            }
            for (row_key, row) in page.rows {
                staging.put(row_key, row);
            }
            for (object, bytes) in page.objects {
                staging.object(object, bytes);
            }
            staging.place(page.placed);
            for pixel_set in page.not_dense {
                crate::densify::stage(staging, to, keys, pixel_set);
            }
            Ok(())
        })
        .await?;
        for (_, values) in values {
            values.settle();
        }
        Ok(())
    }

    async fn version(&mut self, found: &InstanceRef) -> Result<()> {
        let version = found.version;
        let record = open_record(&self.from.keys.phi, &version_context(version), &found.row.sealed)?;
        let header = stream::encoded_header(self.services, found).await?;
        let object = ObjectId::random();
        let header = self.seal_phi(&header_context(object, version), &compress_with_template(None, &header))?;
        let (arriving, values) = self.values(found).await?;
        let pixel_study = match (found.row.pixel_set, self.pixels) {
            (None, _) => None,
            (Some(pixel_set), Pixels::Resealed) => {
                self.reseal_pixels(found, pixel_set).await?;
                None
            }
            (Some(pixel_set), Pixels::InCommon) => {
                let study = found.row.pixel_study.unwrap_or(self.from.id());
                self.page.used.push((study, pixel_set));
                Some(study)
            }
        };
        let row = VersionRow {
            header: object,
            template: None,
            pixel_set: found.row.pixel_set,
            pixel_study,
            values: values.objects().to_vec(),
            sealed: self.seal_phi(&version_context(version), &record)?,
        };
        let page = &mut self.page;
        page.rows.push((key::version(self.to.id(), version), encode(&row)));
        page.num_bytes += header.len();
        page.num_versions += 1;
        page.objects.push((object, header.into()));
        page.values.push((arriving, values));
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
                Arc::clone(&self.to.keys),
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

    async fn reseal_pixels(&mut self, found: &InstanceRef, pixel_set: PixelSetId) -> Result<()> {
        let version = found.version;
        let reader = stream::pixels_of(self.services, found)?.ok_or(EngineError::Corrupt("version row"))?;
        let mut record = reader.record().clone();
        for run in &mut record.runs {
            let (units, table) = read_run(&reader, run.first_unit, run.units.len()).await?;
            let object = ObjectId::random();
            let context = run_context(object, version, pixel_set);
            let (suite, keys) = (self.services.keyring.suite(), Arc::clone(&self.to.keys));
            let sealed = self.services.compute.run(move || {
                let units: Vec<&[u8]> = units.iter().map(AsRef::as_ref).collect();
                seal_run(suite, &keys.pixel, &context, &units)
            });
            let sealed = sealed.await??;
            let stored_in = self.from.stored_in(self.services);
            self.page
                .placed
                .extend(stored_in.put_batch(vec![(object, sealed)]).await?);
            run.object = object;
            run.units = table;
        }
        reader.forget();
        let (suite, keys) = (self.services.keyring.suite(), &self.to.keys);
        let sealed = seal_record(suite, &keys.pixel, &pixel_record_context(pixel_set), &encode(&record))?;
        let objects = record.runs.iter().map(|run| run.object).collect();
        let row = encode(&PixelRow { objects, sealed });
        self.page.rows.push((key::pixels(self.to.id(), pixel_set), row));
        if !record.dense {
            self.page.not_dense.push(pixel_set);
        }
        Ok(())
    }

    /// The summary of what was copied, its series in the order they had.
    async fn summary(&self, seen: &StudyRow) -> Result<StudySummary> {
        let before = self.services.summaries.open(seen)?;
        let mut summary = StudySummary {
            study_uid: before.summary.study_uid.clone(),
            last_commit_ms: before.summary.last_commit_ms,
            shared: before.summary.shared.clone(),
            ..StudySummary::default()
        };
        for series in &before.summary.series {
            let mut reader = metadata::Reader::new(self.services, self.to, Some(&series.series_uid))?;
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

    fn seal_phi(&self, context: &ObjectContext, plain: &[u8]) -> Result<Vec<u8>> {
        let suite = self.services.keyring.suite();
        Ok(seal_record(suite, &self.to.keys.phi, context, plain)?)
    }

    async fn commit(&self, stage: impl FnOnce(&mut Staging<'_>) -> Result<()>) -> Result<()> {
        self.services.ledgers[self.from.shard].commit(stage).await
    }
}

/// The units of a run in their codecs' forms. What is read may be denser than the record says, if it was made dense
/// meanwhile: the table is of what is read.
async fn read_run(reader: &PixelReader, first: u32, count: usize) -> Result<(Vec<Bytes>, Vec<RunUnit>)> {
    let (mut units, mut table) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for index in (first..).take(count) {
        let (codec, bytes) = reader.unit_encoded(index).await?;
        let encoded_length = u32::try_from(bytes.len()).map_err(|_| EngineError::Corrupt("unit length"))?;
        table.push(RunUnit {
            codec: codec.into(),
            encoded_length,
        });
        units.push(bytes);
    }
    Ok((units, table))
}
