//! Giving space back: segments of which less than half is live are rewritten and removed.
//!
//! Pixel segments: live objects are appended anew, the moves committed in batches (each only if the object still lies
//! where it was), then the file is unlinked.
//!
//! Journal segments: what is still true (rows whose value the index still has, objects and places the index still
//! names, and, unless this is the oldest segment, deletions) goes into new batches; then a *retired* row keeps the
//! ends of the hash chain; then the index is flushed, because an index older than this point could no longer be
//! replayed; then the file is unlinked. A crash in between leaves a file that the next start removes.

use super::Shard;
use super::core::{Retired, SegmentStat};
use super::journal::{JournalReader, Walker};
use super::writer::{Carry, Message};
use crate::batch::{Location, Row};
use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{FILE_HEADER_BYTES, RecordKind};
use crate::keys::internal;
use crate::metrics::Stage;
use crate::segment::{self, SegmentFile, file_name};
use crate::vfs::OpenMode;
use septum_core::ids::ObjectId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Live bytes carried over per batch.
const CHUNK_BYTES: u64 = 4 << 20;

/// What one round of compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Bytes read from old segments.
    pub read_bytes: u64,
    /// Segments removed.
    pub num_removed: u64,
    /// Bytes of removed files.
    pub removed_bytes: u64,
    /// Whether the budget ended before the work.
    pub has_more: bool,
}

/// When journal segments were last examined, so that a full one is not read again and again: number → last batch.
pub(super) type Examined = Mutex<BTreeMap<u32, u64>>;

impl Shard {
    /// Reads at most about `budget_bytes` of old segments and gives back what it can. Call it again and again, with
    /// pauses: that is the throttle. Blocks; not for asynchronous threads.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if a live record is damaged; its segment stays. [`StorageError::NoSpace`] if there
    /// is no room for the copies; segments without live bytes are removed all the same.
    pub fn compact(&self, budget_bytes: u64) -> Result<CompactReport> {
        self.core.writable()?;
        let _one_at_a_time = crate::lock(&self.compacting);
        let start = self.core.observer.start();
        let mut report = CompactReport::default();
        let pixels = self.compact_pixels(budget_bytes, &mut report);
        let journal = self.compact_journal(budget_bytes, &mut report);
        self.core.observer.finish(Stage::Compact, start, report.read_bytes);
        let _ = self.core.ensure_reserve();
        pixels.and(journal).map(|()| report)
    }

    fn carry(&self, carry: Carry) -> Result<()> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let sender = crate::lock(&self.sender).clone().ok_or(StorageError::Closed)?;
        sender
            .send(Message::Carry(Box::new(carry), reply))
            .map_err(|_| StorageError::Closed)?;
        answer.recv().unwrap_or(Err(StorageError::Closed)).map(|_| ())
    }

    fn stat(&self, kind: SegmentKind, number: u32) -> SegmentStat {
        crate::lock(&self.core.stats)
            .get(&(kind, number))
            .copied()
            .unwrap_or_default()
    }

    fn open_old(&self, kind: SegmentKind, number: u32) -> Result<Arc<SegmentFile>> {
        let directory = self.core.files.directory(kind)?;
        SegmentFile::open(
            &*self.core.vfs,
            directory,
            self.core.files.id(kind, number),
            OpenMode::Read,
        )
        .map(Arc::new)
    }

    /// Takes the file away; nothing needs it any more.
    fn remove(&self, kind: SegmentKind, number: u32, len_bytes: u64, report: &mut CompactReport) -> Result<()> {
        let _guard = crate::lock(&self.core.removal);
        let directory = self.core.files.directory(kind)?;
        self.core.files.forget(kind, number);
        self.core
            .vfs
            .unlink(&directory.join(file_name(number)))
            .map_err(StorageError::io("remove a compacted segment"))?;
        self.core.vfs.sync_dir(directory).map_err(|_| self.core.poison())?;
        report.num_removed += 1;
        report.removed_bytes += len_bytes;
        Ok(())
    }

    fn compact_pixels(&self, budget_bytes: u64, report: &mut CompactReport) -> Result<()> {
        let Some(pixels) = &self.pixels else { return Ok(()) };
        let numbers = segment::list(&*self.core.vfs, self.core.files.directory(SegmentKind::Pixels)?)?;
        let mut first_error = Ok(());
        for number in numbers {
            if pixels.is_busy(number) {
                continue;
            }
            let result = self.compact_pixel_segment(number, budget_bytes, report);
            first_error = first_error.and(result);
        }
        first_error
    }

    fn compact_pixel_segment(&self, number: u32, budget_bytes: u64, report: &mut CompactReport) -> Result<()> {
        let Some(pixels) = &self.pixels else { return Ok(()) };
        let file = self.open_old(SegmentKind::Pixels, number)?;
        let len_bytes = file.end();
        let stat = self.stat(SegmentKind::Pixels, number);
        if stat.live_objects > 0 {
            if stat.live_bytes * 2 >= len_bytes {
                return Ok(());
            }
            // Behind the committed end may lie an append that was given up and never synced.
            let mut walker = Walker::up_to(Arc::clone(&file), stat.end);
            let mut at = FILE_HEADER_BYTES;
            let mut chunk = Vec::new();
            let mut chunk_bytes = 0;
            loop {
                let header = walker.header(at)?;
                if header.is_none() || chunk_bytes >= CHUNK_BYTES {
                    let (objects, old): (Vec<_>, Vec<Location>) = std::mem::take(&mut chunk)
                        .into_iter()
                        .map(|(id, body, old)| ((id, body), old))
                        .unzip();
                    if !objects.is_empty() {
                        let placed = pixels.append(&self.core, objects)?;
                        self.carry(Carry {
                            moves: placed.into_iter().zip(old).collect(),
                            ..Carry::default()
                        })?;
                    }
                    chunk_bytes = 0;
                }
                let Some(header) = header else { break };
                if report.read_bytes >= budget_bytes {
                    report.has_more = true;
                    return Ok(());
                }
                let place = Location {
                    kind: SegmentKind::Pixels,
                    segment: number,
                    offset: at,
                    total_bytes: header.total_bytes(),
                };
                let id = ObjectId::from_bytes(header.id);
                if header.kind == RecordKind::Object && self.core.locate(&id)? == Some(place) {
                    let (_, body) = file.read_record(at, Some(place.total_bytes))?;
                    report.read_bytes += place.total_bytes;
                    chunk_bytes += place.total_bytes;
                    chunk.push((id, body.into(), place));
                }
                at += header.total_bytes();
            }
        }
        if self.stat(SegmentKind::Pixels, number).live_objects > 0 {
            return Err(file.id.corrupt(0, "live objects were not found by walking the segment"));
        }
        self.remove(SegmentKind::Pixels, number, len_bytes, report)?;
        let forget = Row::delete(internal::stat(SegmentKind::Pixels, number));
        self.carry(Carry {
            internal_rows: vec![forget],
            ..Carry::default()
        })
    }

    fn compact_journal(&self, budget_bytes: u64, report: &mut CompactReport) -> Result<()> {
        let numbers = segment::list(&*self.core.vfs, self.core.files.directory(SegmentKind::Journal)?)?;
        let mut oldest = numbers.first().copied();
        for number in numbers {
            let active = crate::lock(&self.core.applied).segment;
            if number >= active {
                break;
            }
            if report.read_bytes >= budget_bytes {
                report.has_more = true;
                break;
            }
            let len_bytes = self.stat(SegmentKind::Journal, number).end;
            if self.live_journal_bytes(number, report)? * 2 < len_bytes {
                self.compact_journal_segment(number, oldest == Some(number), report)?;
                if oldest == Some(number) {
                    oldest = Some(number + 1);
                }
            }
        }
        Ok(())
    }

    /// Bytes of a journal segment that would have to be carried over.
    fn live_journal_bytes(&self, number: u32, report: &mut CompactReport) -> Result<u64> {
        let stat = self.stat(SegmentKind::Journal, number);
        if (stat.live_bytes + stat.batch_bytes) * 2 < stat.end {
            return Ok(stat.live_bytes + stat.batch_bytes);
        }
        let last_batch = crate::lock(&self.core.applied).batch;
        if let Some(examined) = crate::lock(&self.examined).get(&number)
            && last_batch <= examined + examined / 4
        {
            return Ok(stat.end);
        }
        let mut live_bytes = stat.live_bytes;
        let mut reader = JournalReader::from_head(self.open_old(SegmentKind::Journal, number)?);
        while let Some(found) = reader.next()? {
            report.read_bytes += found.end - found.offset;
            for row in &found.body.rows {
                if row.value().is_some() && self.core.index.get(row.key())?.as_deref() == row.value() {
                    live_bytes += row.encoded_bytes() as u64;
                }
            }
            for (id, place) in &found.body.placed {
                live_bytes += if self.core.locate(id)? == Some(*place) { 37 } else { 0 };
            }
        }
        crate::lock(&self.examined).insert(number, last_batch);
        Ok(live_bytes)
    }

    fn compact_journal_segment(&self, number: u32, is_oldest: bool, report: &mut CompactReport) -> Result<()> {
        let file = self.open_old(SegmentKind::Journal, number)?;
        let len_bytes = file.end();
        let mut reader = JournalReader::from_head(Arc::clone(&file));
        let empty = || Carry {
            forget_deletions: is_oldest,
            ..Carry::default()
        };
        let mut carry = empty();
        let mut chunk_bytes = 0;
        while let Some(found) = reader.next()? {
            chunk_bytes += found.end - found.offset;
            carry.rows.extend(found.body.rows);
            carry.placed.extend(found.body.placed);
            carry.freed.extend(found.body.freed);
            for (id, place) in found.body.objects {
                if self.core.locate(&id)? == Some(place) {
                    let (_, body) = file.read_record(place.offset, Some(place.total_bytes))?;
                    chunk_bytes += place.total_bytes;
                    carry.objects.push((id, body, place));
                }
            }
            if chunk_bytes >= CHUNK_BYTES {
                report.read_bytes += chunk_bytes;
                chunk_bytes = 0;
                self.carry(std::mem::replace(&mut carry, empty()))?;
            }
        }
        report.read_bytes += chunk_bytes;
        self.carry(carry)?;
        if self.stat(SegmentKind::Journal, number).live_objects > 0 {
            return Err(file.id.corrupt(0, "live objects were not found by walking the segment"));
        }
        let retired = Retired {
            first_batch: file.header.first_batch,
            last_batch: reader.next_batch() - 1,
            hash_before: file.header.previous_hash,
            hash_after: reader.hash(),
        };
        let row = Row::put(internal::retired(number), retired.encode());
        self.carry(Carry {
            internal_rows: vec![row],
            ..Carry::default()
        })?;
        self.core.index.flush()?;
        self.remove(SegmentKind::Journal, number, len_bytes, report)
    }
}
