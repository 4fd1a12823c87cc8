//! Units and frames of one pixel set.
//!
//! One ranged read a unit: the pixel record (cached) says where it lies in its run's object. Every unit passes its tags
//! before a byte of it is used. A record that was swapped under the reader (densified, re-sealed) shows as a missing
//! object; the record is then read anew, once.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use septum_core::codec::{Codec, decode as decode_frame};
use septum_core::ids::{ObjectId, PixelSetId, StudyId};
use septum_core::seal::{OBJECT_HEADER_BYTES, ObjectOpener, ObjectSealer, StudyKeys, open_record};
use septum_storage::StorageError;

use super::permits::ReadPermit;
use crate::error::{EngineError, Result};
use crate::records::{PixelRecord, PixelRow, Run, decode, key, pixel_record_context, run_context, unit_shape};
use crate::services::Services;

/// Bytes of opened pixel records kept.
const RECORDS_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes read in one step where units are smaller.
const STEP_BYTES: u64 = 1 << 20;

/// Derived object keys kept.
const OPENERS: usize = 8_192;

/// Re-sealing keeps a pixel set's id but gives it a new study id.
type Place = (StudyId, PixelSetId);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Place, Arc<PixelRecord>> for ByBytes {
    fn weight(&self, _: &Place, record: &Arc<PixelRecord>) -> u64 {
        record
            .runs
            .iter()
            .map(|run| 64 + 8 * run.units.len() as u64)
            .sum::<u64>()
            + 512
    }
}

/// Opened records and derived keys, shared by all readers.
pub struct PixelCaches {
    records: Cache<Place, Arc<PixelRecord>, ByBytes>,
    openers: Cache<ObjectId, Arc<ObjectOpener>>,
}

impl Default for PixelCaches {
    fn default() -> Self {
        Self {
            records: Cache::with_weighter(4_096, RECORDS_BYTES, ByBytes),
            openers: Cache::new(OPENERS),
        }
    }
}

/// Reads one pixel set.
#[derive(Clone)]
pub struct PixelReader {
    services: Arc<Services>,
    shard: usize,
    study: StudyId,
    keys: Arc<StudyKeys>,
    pixel_set: PixelSetId,
    record: Arc<PixelRecord>,
    /// Another study stored them: they do not go with the one that is read.
    is_lent: bool,
}

impl PixelReader {
    /// A reader over a pixel set as it is now.
    pub fn open(
        services: &Arc<Services>,
        shard: usize,
        study: StudyId,
        keys: Arc<StudyKeys>,
        pixel_set: PixelSetId,
    ) -> Result<Self> {
        let record = match services.pixel_caches.records.get(&(study, pixel_set)) {
            Some(record) => record,
            None => load(services, shard, study, &keys, pixel_set)?,
        };
        Ok(Self {
            services: Arc::clone(services),
            shard,
            study,
            keys,
            pixel_set,
            record,
            is_lent: false,
        })
    }

    /// A reader that stops as soon as its keys are destroyed: what a share showed is over at once when it is taken back,
    /// although the pixels stay.
    #[must_use]
    pub fn lent(self) -> Self {
        Self { is_lent: true, ..self }
    }

    /// The pixel record.
    pub fn record(&self) -> &PixelRecord {
        &self.record
    }

    /// The keys it opens with.
    pub fn keys(&self) -> &Arc<StudyKeys> {
        &self.keys
    }

    /// The pixel set.
    pub fn pixel_set(&self) -> PixelSetId {
        self.pixel_set
    }

    /// Index of its shard.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Drops what is cached of it.
    pub fn forget(&self) {
        self.services.pixel_caches.records.remove(&(self.study, self.pixel_set));
    }

    /// A unit in the form it is stored in.
    pub async fn unit_encoded(&self, index: u32) -> Result<(Codec, Bytes)> {
        self.read(index, |codec, bytes| Ok((codec, bytes.into()))).await
    }

    /// Reads and opens a unit, and makes of it what is wanted.
    async fn read<T: Send + 'static>(
        &self,
        index: u32,
        finish: impl FnOnce(Codec, Vec<u8>) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        if self.is_lent && !self.services.keyring.has_study(self.keys.id)? {
            return Err(EngineError::NotFound);
        }
        match self.read_by(&self.record, index, finish.clone()).await {
            Err(EngineError::Storage(StorageError::NotFound)) => {
                self.forget();
                let record = load(&self.services, self.shard, self.study, &self.keys, self.pixel_set)?;
                self.read_by(&record, index, finish).await
            }
            read => read,
        }
    }

    /// All in one go, on a thread that may wait for the disk: handing a frame from thread to thread costs about as much as
    /// opening it does. How many do so at a time is bounded by the permits that they hold.
    async fn read_by<T: Send + 'static>(
        &self,
        record: &Arc<PixelRecord>,
        index: u32,
        finish: impl FnOnce(Codec, Vec<u8>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reader, record) = (self.clone(), Arc::clone(record));
        let work = move || {
            let (codec, bytes) = reader.open_unit(&record, index)?;
            finish(codec, bytes)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| EngineError::Panicked)?
    }

    fn open_unit(&self, record: &PixelRecord, index: u32) -> Result<(Codec, Vec<u8>)> {
        let (run, within) = find_run(record, index)?;
        let unit = run.units[within];
        let codec = unit.codec()?;
        let sealed_length =
            |unit: &crate::records::RunUnit| ObjectSealer::sealed_length(unit.encoded_length as usize) as u64;
        let start = OBJECT_HEADER_BYTES as u64 + run.units[..within].iter().map(sealed_length).sum::<u64>();
        let end = start + sealed_length(&unit);
        let stored_in = &self.services.store.shards()[self.shard];
        let read = |range: Range<u64>| stored_in.read_object_blocking(run.object, Some(range));
        let openers = &self.services.pixel_caches.openers;
        let context = run_context(run.object, record.version, self.pixel_set);
        let new_opener = |header: &[u8]| ObjectOpener::new(&self.keys.pixel, header, &context).map(Arc::new);
        let (opener, sealed) = match openers.get(&run.object) {
            Some(opener) => (opener, read(start..end)?),
            None if within == 0 => {
                let bytes = read(0..end)?;
                (
                    new_opener(&bytes[..OBJECT_HEADER_BYTES])?,
                    bytes.slice(OBJECT_HEADER_BYTES..),
                )
            }
            None => (new_opener(&read(0..OBJECT_HEADER_BYTES as u64)?)?, read(start..end)?),
        };
        openers.insert(run.object, Arc::clone(&opener));
        let frame = u32::try_from(within).map_err(|_| EngineError::Corrupt("pixel record"))?;
        Ok((codec, opener.open_frame(frame, &sealed)?))
    }

    /// A unit as it was received.
    pub async fn unit(&self, index: u32) -> Result<Bytes> {
        let permit = self
            .services
            .read_permits
            .acquire(2 * self.record.layout.unit_length(index))
            .await?;
        self.unit_plain(index).await.map(|bytes| permit.hold(bytes))
    }

    pub(super) async fn unit_plain(&self, index: u32) -> Result<Bytes> {
        let length = self.record.layout.unit_length(index);
        let length = usize::try_from(length).map_err(|_| EngineError::Corrupt("unit length"))?;
        let shape = unit_shape(&self.record.description);
        self.read(index, move |codec, bytes| match codec {
            Codec::Raw if bytes.len() == length => Ok(bytes.into()),
            Codec::Raw => Err(EngineError::Corrupt("unit length")),
            codec => decode_frame(codec, shape.as_ref(), &bytes, length)
                .map(Bytes::from)
                .map_err(|_| EngineError::Corrupt("frame")),
        })
        .await
    }

    /// Payload bytes from `at` on, at most to `end`: the rest of the unit that holds `at`, or of several small ones.
    pub async fn payload_from(&self, at: u64, end: u64) -> Result<Bytes> {
        let layout = &self.record.layout;
        let unit = layout.units_of(at..at + 1).start;
        let unit_end = layout.unit_range(unit).map_or(at, |unit| unit.end);
        let range = at..end.min(unit_end.max(at + STEP_BYTES));
        let permit = self.acquire(&range, 0).await?;
        Ok(permit.hold(self.gather(range).await?))
    }

    /// Payload bytes of a range as one piece, out of as many units as it crosses.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`] where that is too long to be one piece.
    pub async fn payload(&self, range: Range<u64>) -> Result<Bytes> {
        let permit = self.permit(&range, 0).await?;
        Ok(permit.hold(self.gather(range).await?))
    }

    /// Permits for reading a range by [`Self::gather`], and for `made_bytes` that are then made of it.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`] where either is too long to be one piece.
    pub async fn permit(&self, range: &Range<u64>, made_bytes: u64) -> Result<ReadPermit> {
        let length = range.end.saturating_sub(range.start);
        self.services.read_permits.check_whole(length.max(made_bytes))?;
        self.acquire(range, made_bytes).await
    }

    async fn acquire(&self, range: &Range<u64>, made_bytes: u64) -> Result<ReadPermit> {
        let layout = &self.record.layout;
        let units = layout.units_of(range.clone());
        let gathered = match units.len() {
            0 | 1 => 0,
            _ => range.end - range.start,
        };
        // One unit is opened at a time: sealed and plain.
        let longest = units.map(|index| layout.unit_length(index)).max().unwrap_or(0);
        let bytes = longest.saturating_mul(2).saturating_add(gathered);
        self.services
            .read_permits
            .acquire(bytes.saturating_add(made_bytes))
            .await
    }

    /// As [`Self::payload`], under permits that the caller has for all of it.
    pub async fn gather(&self, range: Range<u64>) -> Result<Bytes> {
        let layout = &self.record.layout;
        let units = layout.units_of(range.clone());
        let mut gathered = Vec::new();
        for index in units.clone() {
            let at = layout.unit_range(index).ok_or(EngineError::Corrupt("pixel record"))?;
            let unit = self.unit_plain(index).await?;
            let cut = |position: u64| -> Result<usize> {
                usize::try_from(position.saturating_sub(at.start))
                    .map(|position| position.min(unit.len()))
                    .map_err(|_| EngineError::Corrupt("pixel record"))
            };
            let part = unit.slice(cut(range.start)?..cut(range.end)?);
            if units.len() == 1 {
                return Ok(part);
            }
            gathered.extend_from_slice(&part);
        }
        Ok(gathered.into())
    }
}

fn load(
    services: &Services,
    shard: usize,
    study: StudyId,
    keys: &StudyKeys,
    pixel_set: PixelSetId,
) -> Result<Arc<PixelRecord>> {
    let row = services.store.shards()[shard]
        .get(&key::pixels(study, pixel_set))?
        .ok_or(EngineError::NotFound)?;
    let row: PixelRow = decode(&row, "pixel row")?;
    let record = open_record(&keys.pixel, &pixel_record_context(pixel_set), &row.sealed)?;
    let record: Arc<PixelRecord> = Arc::new(decode(&record, "pixel record")?);
    services
        .pixel_caches
        .records
        .insert((study, pixel_set), Arc::clone(&record));
    Ok(record)
}

fn find_run(record: &PixelRecord, index: u32) -> Result<(&Run, usize)> {
    let corrupt = || EngineError::Corrupt("pixel record");
    let at = record
        .runs
        .partition_point(|run| run.first_unit <= index)
        .checked_sub(1)
        .ok_or_else(corrupt)?;
    let run = &record.runs[at];
    let within = (index - run.first_unit) as usize;
    if within < run.units.len() {
        Ok((run, within))
    } else {
        Err(corrupt())
    }
}
