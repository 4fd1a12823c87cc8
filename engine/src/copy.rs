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

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use septum_core::codec::compress_with_template;
use septum_core::dicom::json::read_stored;
use septum_core::ids::{ObjectId, PixelSetId, StudyId, VersionId};
use septum_core::seal::{ObjectContext, Token, open_record, seal_record};
use septum_storage::Placed;
use serde_json::{Map, Value};

use crate::amendment::{Amended, Amendment};
use crate::attachments::{self, Attachment};
use crate::densify::Candidate;
use crate::erase::{self, Intent};
use crate::error::{EngineError, Result};
use crate::ledger::Staging;
use crate::pipeline::arrival::{self, Arrival, Values};
use crate::pipeline::sealer::seal_run;
use crate::pixel_use;
use crate::records::{
    InstanceRow, MetadataRow, PixelRow, RunUnit, StudyRow, StudySummary, VersionRecord, VersionRow, decode, encode,
    header_context, key, metadata_context, pixel_record_context, run_context, value_context, version_context,
};
use crate::retrieve::locate::tokens_of;
use crate::retrieve::{InstanceRef, PixelReader, StudyRef, metadata, stream};
use crate::services::Services;
use crate::standing::Standing;
use crate::summaries::said::absorb;

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

/// Rounds of copying before the study counts as too busy.
pub const ROUNDS_MAX: usize = 16;

/// What becomes of the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// Sealed anew: the copy's keys have a pixel key of their own.
    Resealed,
    /// Used in common: the copy's pixel key is the study's.
    InCommon,
}

/// An instance's row, and where it is.
pub struct InstanceEntry {
    /// Its series.
    pub series: Token,
    /// Its place in the series.
    pub instance: Token,
    /// Its versions.
    pub row: InstanceRow,
}

/// The instances of a study, in the order of their rows.
///
/// # Errors
/// Where a row cannot be read.
pub fn instance_rows(services: &Services, found: &StudyRef) -> Result<Vec<InstanceEntry>> {
    crate::scan::rows(found.stored_in(services), key::all_instances(found.id()))
        .map(|row| {
            let (row_key, value) = row?;
            let (series, instance) = tokens_of(&row_key)?;
            let row = decode(&value, "instance row")?;
            Ok(InstanceEntry { series, instance, row })
        })
        .collect()
}

/// What a copy is made for.
#[derive(Clone, Copy)]
pub struct Purpose<'a> {
    /// What becomes of the pixels.
    pub pixels: Pixels,
    /// Originals of corrections go along.
    pub takes_originals: bool,
    /// Attached documents go along.
    pub takes_attachments: bool,
    /// Each instance gets a newer version, where there is something to correct.
    pub amendment: Option<&'a Amendment>,
}

impl Purpose<'_> {
    /// Which versions of an instance go along, oldest first, and how many of them are originals.
    fn of(&self, row: &InstanceRow) -> (Vec<VersionId>, u32) {
        if self.takes_originals {
            (row.versions.clone(), row.num_originals)
        } else {
            (row.without_originals().to_vec(), 0)
        }
    }
}

/// What is committed together.
#[derive(Default)]
struct Page {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    metadata: Vec<(Vec<u8>, MetadataRow)>,
    objects: Vec<(ObjectId, Bytes)>,
    placed: Vec<Placed>,
    used: Vec<(StudyId, PixelSetId)>,
    not_dense: Vec<(StudyId, PixelSetId)>,
    values: Vec<(VersionId, Values)>,
    num_versions: usize,
    num_bytes: usize,
}

/// A copy being made.
pub struct StudyCopy<'a> {
    services: &'a Arc<Services>,
    from: &'a StudyRef,
    to: &'a StudyRef,
    purpose: Purpose<'a>,
    copied: HashSet<VersionId>,
    resealed: HashSet<PixelSetId>,
    amended: HashMap<VersionId, VersionId>,
    /// Length of the dataset of what is current, by series and instance.
    lengths: HashMap<(Token, Token), u64>,
    /// Pixels used in common that wait to be made dense, with keys that go.
    waiting: Vec<(StudyId, PixelSetId)>,
    attachments: HashSet<ObjectId>,
    attached_there: HashSet<ObjectId>,
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
        purpose: Purpose<'a>,
    ) -> Result<Self> {
        services.copies.set().insert(to.id());
        let copy = Self {
            services,
            from,
            to,
            purpose,
            copied: HashSet::new(),
            resealed: HashSet::new(),
            amended: HashMap::new(),
            lengths: HashMap::new(),
            waiting: Vec::new(),
            attachments: HashSet::new(),
            attached_there: HashSet::new(),
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
        for entry in instance_rows(self.services, self.from)? {
            if is_wanted(&entry.series, &entry.instance) {
                self.instance(&entry).await?;
            }
        }
        self.flush().await?;
        if self.purpose.takes_attachments {
            let (to, copied) = (self.to, &mut self.attachments);
            attachments::follow(self.services, self.from, (to.id(), &to.keys), copied, |_| true).await?;
        }
        self.summary(seen).await
    }

    /// Takes documents along that were attached to another study where they were.
    ///
    /// # Errors
    /// Where one cannot be read or stored.
    pub async fn take_attached_there(&mut self, place: &StudyRef) -> Result<()> {
        let (to, copied) = (self.to, &mut self.attached_there);
        let is_own = |attachment: &Attachment| attachment.record.phi_namespace == place.namespace;
        attachments::follow(self.services, place, (to.id(), &to.keys), copied, is_own).await
    }

    /// Stages that the copy is shown: nothing erases it any more.
    pub fn stage_shown(&self, staging: &mut Staging<'_>) {
        erase::withdraw_intent(staging, self.to.id());
        for (study, pixel_set) in &self.waiting {
            crate::densify::stage(staging, *study, self.to.row.keys, *pixel_set);
        }
    }

    /// Whether any version was amended.
    pub fn has_amended(&self) -> bool {
        !self.amended.is_empty()
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
                self.push(&self.waiting);
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

    async fn instance(&mut self, entry: &InstanceEntry) -> Result<()> {
        let (versions, mut num_originals) = self.purpose.of(&entry.row);
        let mut current = None;
        for version in &versions {
            if self.copied.insert(*version) {
                let found = self
                    .from
                    .version(self.services, entry.series, entry.instance, *version)?;
                self.version(&found).await?;
                current = Some(found);
            }
        }
        let Some(found) = current else { return Ok(()) };
        let (text, length) = match self.amend(&found).await? {
            Some(amended) => amended,
            None => {
                let text = metadata::of_instance(self.services, &found).await?.text;
                (text, found.record.dataset_length)
            }
        };
        self.lengths.insert((entry.series, entry.instance), length);
        // Amended versions stand behind what they correct.
        let mut shown = Vec::with_capacity(versions.len() + 1);
        for version in versions {
            shown.push(version);
            if let Some(amended) = self.amended.get(&version) {
                num_originals = u32::try_from(shown.len()).unwrap_or(u32::MAX);
                shown.push(*amended);
            }
        }
        let row = InstanceRow {
            versions: shown,
            num_originals,
        };
        let packed = metadata::pack(None, text.as_bytes());
        let (series, instance) = (
            self.to.series_token(&found.record.series_uid),
            self.to.instance_token(&found.record.instance_uid),
        );
        let to = self.to.id();
        let sealed = self.seal_phi(&metadata_context(to, &series, &instance), &packed)?;
        let (metadata, object) = MetadataRow::of(sealed);
        let page = &mut self.page;
        page.rows.push((key::instance(to, &series, &instance), encode(&row)));
        page.metadata.push((key::metadata(to, &series, &instance), metadata));
        page.num_bytes += packed.len();
        page.objects.extend(object);
        if page.num_versions >= PAGE_VERSIONS || page.num_bytes >= PAGE_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Makes the amended version of one that was copied, where there is anything to amend; gives its metadata and length.
    async fn amend(&mut self, found: &InstanceRef) -> Result<Option<(String, u64)>> {
        let Some(amendment) = self.purpose.amendment else {
            return Ok(None);
        };
        let Some(amended) = amendment.of(self.services, found).await? else {
            return Ok(None);
        };
        let Amended {
            header,
            record,
            text,
            not_dense,
        } = amended;
        if let Some(pixel_set) = not_dense {
            let study = found.row.pixel_study.unwrap_or(self.from.id());
            self.waiting.push((study, pixel_set));
        }
        let version = VersionId::random();
        self.put_version(found, version, &header.encode(), &record).await?;
        self.amended.insert(found.version, version);
        Ok(Some((text, record.dataset_length)))
    }

    /// Commits what was put together.
    async fn flush(&mut self) -> Result<()> {
        let mut page = std::mem::take(&mut self.page);
        let values = std::mem::take(&mut page.values);
        let (keys, all_arrived, not_dense) = (self.to.row.keys, &values, page.not_dense.clone());
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
            for (study, pixel_set) in page.not_dense {
                crate::densify::stage(staging, study, keys, pixel_set);
            }
            Ok(())
        })
        .await?;
        for (_, values) in values {
            values.settle();
        }
        self.push(&not_dense);
        Ok(())
    }

    /// Pixels wait to be made dense with the copy's keys.
    fn push(&self, waiting: &[(StudyId, PixelSetId)]) {
        for (study, pixel_set) in waiting {
            self.services.densify.push(Candidate {
                shard: self.from.shard,
                study: *study,
                keys: self.to.row.keys,
                pixel_set: *pixel_set,
            });
        }
    }

    async fn version(&mut self, found: &InstanceRef) -> Result<()> {
        let header = stream::encoded_header(self.services, found).await?;
        self.put_version(found, found.version, &header, &found.record).await
    }

    /// Adds a version with the pixels and long values of the one that was found.
    async fn put_version(
        &mut self,
        found: &InstanceRef,
        version: VersionId,
        header: &[u8],
        record: &VersionRecord,
    ) -> Result<()> {
        let object = ObjectId::random();
        let header = self.seal_phi(&header_context(object, version), &compress_with_template(None, header))?;
        let (arriving, values) = self.values(found, version).await?;
        let pixel_study = match (found.row.pixel_set, self.purpose.pixels) {
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
            sealed: self.seal_phi(&version_context(version), &encode(record))?,
        };
        let page = &mut self.page;
        page.rows.push((key::version(self.to.id(), version), encode(&row)));
        page.num_bytes += header.len();
        page.num_versions += 1;
        page.objects.push((object, header.into()));
        page.values.push((arriving, values));
        Ok(())
    }

    /// Copies the units of an instance's long values for a version. They arrive under an id of their own.
    async fn values(&self, found: &InstanceRef, into: VersionId) -> Result<(VersionId, Values)> {
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
                    &value_context(object, into, index),
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
        // A corrected version has the pixels of its original.
        if !self.resealed.insert(pixel_set) {
            return Ok(());
        }
        let reader = stream::pixels_of(self.services, found)?.ok_or(EngineError::Corrupt("version row"))?;
        let mut record = reader.record().clone();
        let version = record.version;
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
            self.page.not_dense.push((self.to.id(), pixel_set));
        }
        Ok(())
    }

    /// The summary of what was copied, its series in the order they had.
    async fn summary(&self, seen: &StudyRow) -> Result<StudySummary> {
        let before = self.services.summaries.open(seen)?;
        let mut summary = StudySummary {
            study_uid: before.summary.study_uid.clone(),
            first_commit_ms: before.summary.first_commit_ms,
            last_commit_ms: before.summary.last_commit_ms,
            dataset_bytes: self.lengths.values().sum(),
            shared: before.summary.shared.clone(),
            has_shares: before.summary.has_shares,
            standing: match self.purpose.amendment {
                Some(amendment) => Some(Standing::after(before.summary.standing.as_ref(), amendment)),
                None => before.summary.standing.clone(),
            },
            ..StudySummary::default()
        };
        for series in &before.summary.series {
            let mut reader = metadata::Reader::new(self.services, self.to, Some(&series.series_uid))?;
            while let Some(entries) = reader.next().await? {
                for entry in entries {
                    let attributes: Map<String, Value> =
                        read_stored(&entry.text).map_err(|_| EngineError::Corrupt("metadata"))?;
                    let sop_class = attributes.get("00080016").and_then(|class| class["Value"][0].as_str());
                    let sop_class = sop_class.unwrap_or_default();
                    absorb(&mut summary, &attributes, &series.series_uid, sop_class);
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
