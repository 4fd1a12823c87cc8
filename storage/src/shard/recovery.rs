//! Opening a shard: comparing index and journal, replaying, rebuilding, cutting torn tails.
//!
//! The journal is the truth (reliability rule R2). At boot the index's applied mark is looked up in the journal:
//!
//! - it is there and the last: nothing to do;
//! - batches follow: they are replayed;
//! - the index is missing, damaged, or older than a journal segment that was compacted away: rebuilt from all of the
//!   journal;
//! - the journal ends before the mark, or is damaged: the shard opens read-only if the index is complete, and fails
//!   all calls if it is not.
//!
//! Only the last batch of the journal can be unfinished, because the committer syncs one before it appends the next.
//! If the index has not applied it, all objects it names are verified; if one is missing the batch is cut away (it
//! was never acknowledged), else its bytes are written over once more and synced before they are trusted.

use super::core::{Applied, Core, Health, SegmentStat, StatMap};
use super::journal::{FoundBatch, JournalReader, has_later_batch, is_damage};
use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{FILE_HEADER_BYTES, FileHeader};
use crate::index::{Index, IndexMode, IndexOpener};
use crate::keys::internal;
use crate::segment::{self, SegmentFile};
use crate::vfs::{OpenMode, read_exact_at};
use std::path::Path;
use std::sync::Arc;

/// What opening a shard found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The last batch.
    pub last_batch: u64,
    /// Batches replayed into the index.
    pub num_replayed: u64,
    /// Whether the index was rebuilt from nothing, and why.
    pub rebuilt: Option<String>,
    /// Bytes of unacknowledged appends that were cut from journal and pixel segments.
    pub cut_bytes: u64,
    /// Why the last batch was cut away: it was never acknowledged, and what it names is not whole.
    pub cut_batch: Option<String>,
    /// Damage that made the shard read-only or failed.
    pub damage: Option<String>,
}

/// What recovery hands to the committer.
pub(super) struct Recovered {
    pub(super) health: Health,
    pub(super) report: RecoveryReport,
    pub(super) journal: Option<Arc<SegmentFile>>,
    pub(super) next_journal: u32,
    pub(super) pixels: Option<Arc<SegmentFile>>,
    pub(super) next_pixels: u32,
}

/// How the index stands to the journal.
enum Standing {
    /// Replay from this mark on.
    From(Applied),
    Rebuild(&'static str),
    Damaged(StorageError),
}

/// Opens the index; a missing or damaged one is made anew (and will be found empty).
pub(super) fn open_index(
    opener: &IndexOpener,
    directory: &Path,
    shard: u16,
    read_only: bool,
) -> Result<(Arc<dyn Index>, Option<String>)> {
    if read_only {
        return Ok((opener.open(directory, shard, IndexMode::ReadOnly)?, None));
    }
    match opener.open(directory, shard, IndexMode::Existing) {
        Ok(index) => Ok((index, None)),
        Err(StorageError::NoSpace) => Err(StorageError::NoSpace),
        Err(error) => {
            tracing::error!(shard, %error, "the index is missing or damaged; rebuilding it from the journal");
            Ok((opener.recreate(directory, shard)?, Some(error.to_string())))
        }
    }
}

/// Removes all rows, so that a rebuild starts from nothing.
fn clear_index(core: &Core) -> Result<()> {
    loop {
        let rows = core.index.scan(&[], None, 4096)?;
        if rows.is_empty() {
            return Ok(());
        }
        core.index
            .write(&rows.into_iter().map(|(key, _)| (key, None)).collect())?;
    }
}

/// Removes a newest segment whose creation was never finished. True if it was one.
fn is_unfinished(core: &Core, kind: SegmentKind, number: u32) -> Result<bool> {
    let path = core.files.directory(kind)?.join(segment::file_name(number));
    let file = core
        .vfs
        .open(&path, OpenMode::Read)
        .map_err(StorageError::io("open a segment"))?;
    let len_bytes = file.len().map_err(StorageError::io("measure a segment"))?;
    if len_bytes > FILE_HEADER_BYTES {
        return Ok(false);
    }
    let mut bytes = [0; FILE_HEADER_BYTES as usize];
    if len_bytes == FILE_HEADER_BYTES {
        read_exact_at(&*file, &mut bytes, 0).map_err(StorageError::io("read a segment header"))?;
    }
    match FileHeader::decode(&bytes, &core.files.id(kind, number)) {
        Ok(_) => Ok(false),
        Err(StorageError::UnknownVersion { what, version }) => Err(StorageError::UnknownVersion { what, version }),
        Err(_) => Ok(true),
    }
}

fn segments(core: &Core, kind: SegmentKind, read_only: bool) -> Result<Vec<u32>> {
    let directory = core.files.directory(kind)?;
    let mut numbers = segment::list(&*core.vfs, directory)?;
    while let Some(newest) = numbers.last().copied() {
        let stat = crate::lock(&core.stats).get(&(kind, newest)).copied();
        // A committed segment can only have lost its content: that is damage, and stays.
        if stat.is_some_and(|stat| stat.end > FILE_HEADER_BYTES) || !is_unfinished(core, kind, newest)? {
            break;
        }
        if !read_only {
            core.vfs
                .unlink(&directory.join(segment::file_name(newest)))
                .map_err(StorageError::io("remove an unfinished segment"))?;
            core.vfs
                .sync_dir(directory)
                .map_err(StorageError::io("sync a directory"))?;
        }
        numbers.pop();
    }
    Ok(numbers)
}

fn open_segment(core: &Core, kind: SegmentKind, number: u32, mode: OpenMode) -> Result<Arc<SegmentFile>> {
    let directory = core.files.directory(kind)?;
    SegmentFile::open(&*core.vfs, directory, core.files.id(kind, number), mode).map(Arc::new)
}

/// Compares the applied mark with the journal.
fn standing(core: &Core, numbers: &[u32]) -> Result<Standing> {
    let broken = || StorageError::Index {
        shard: core.shard,
        message: "applied row".into(),
    };
    let applied = match core.index.get(internal::APPLIED) {
        Ok(Some(value)) => Applied::decode(&value).ok_or_else(broken)?,
        Ok(None) => return Ok(Standing::Rebuild("it is empty")),
        Err(error) => {
            tracing::error!(shard = core.shard, %error, "the index cannot be read");
            return Ok(Standing::Rebuild("it cannot be read"));
        }
    };
    if applied.batch == 0 {
        return Ok(match numbers.first() {
            None | Some(1) => Standing::From(applied),
            Some(_) => Standing::Rebuild("it is older than the journal"),
        });
    }
    if !numbers.contains(&applied.segment) {
        return Ok(match numbers.last() {
            Some(newest) if *newest > applied.segment => Standing::Rebuild("it is older than the journal"),
            _ => Standing::Damaged(
                core.files
                    .id(SegmentKind::Journal, applied.segment)
                    .corrupt(0, "the journal ends before the index"),
            ),
        });
    }
    let file = match open_segment(core, SegmentKind::Journal, applied.segment, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if is_damage(&error) => return Ok(Standing::Damaged(error)),
        Err(error) => return Err(error),
    };
    if file.end() < applied.end {
        return Ok(Standing::Damaged(
            file.id.corrupt(file.end(), "the journal ends before the index"),
        ));
    }
    match file.read_record(applied.offset, Some(applied.end - applied.offset)) {
        Ok((header, body)) => {
            let hash = crate::batch::running_hash(&header.encode(&file.id), &body);
            if header.sequence != applied.batch || hash != applied.hash {
                return Ok(Standing::Damaged(
                    file.id.corrupt(applied.offset, "journal and index disagree"),
                ));
            }
            Ok(Standing::From(applied))
        }
        Err(error) if is_damage(&error) => Ok(Standing::Damaged(error)),
        Err(error) => Err(error),
    }
}

/// Replays the journal into the index.
struct Replay<'a> {
    core: &'a Core,
    read_only: bool,
    report: &'a mut RecoveryReport,
    /// The newest batch, not applied yet because it may be unfinished.
    pending: Option<(FoundBatch, u32)>,
    newest: Option<u32>,
    /// Where the newest segment's valid part ends.
    end: Option<u64>,
}

impl Replay<'_> {
    fn apply(&mut self, found: &FoundBatch, segment: u32) -> Result<()> {
        if self.read_only {
            return Err(StorageError::NeedsRecovery { shard: self.core.shard });
        }
        let applied = Applied {
            batch: found.number,
            hash: found.hash,
            segment,
            offset: found.offset,
            end: found.end,
        };
        let (batch, changes) = self.core.plan(&found.body, &applied)?;
        self.core.index.write(&batch)?;
        self.core.settle(changes, applied);
        self.report.num_replayed += 1;
        Ok(())
    }

    fn segment(
        &mut self,
        mut reader: JournalReader,
        file: &Arc<SegmentFile>,
        is_newest: bool,
    ) -> Result<JournalReader> {
        loop {
            match reader.next() {
                Ok(Some(found)) => {
                    if let Some((before, segment)) = self.pending.replace((found, file.id.segment)) {
                        self.apply(&before, segment)?;
                    }
                }
                Ok(None) => break,
                Err(error) if is_damage(&error) && is_newest => {
                    if matches!(error, StorageError::UnknownVersion { .. })
                        || has_later_batch(file, reader.at(), reader.next_batch())?
                    {
                        return Err(error);
                    }
                    tracing::warn!(shard = self.core.shard, "cutting an unfinished append from the journal");
                    self.end = Some(reader.at());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if is_newest && self.end.is_none() {
            self.end = Some(reader.at());
        }
        Ok(reader)
    }

    /// Decides about the last batch.
    fn finish(&mut self) -> Result<()> {
        let Some((found, segment)) = self.pending.take() else {
            return Ok(());
        };
        if self.read_only {
            return Err(StorageError::NeedsRecovery { shard: self.core.shard });
        }
        match self.secure(&found, segment) {
            Ok(()) => self.apply(&found, segment),
            Err(error) if is_damage(&error) && self.newest == Some(segment) => {
                tracing::error!(shard = self.core.shard, %error, "the last batch is unfinished and cut away");
                self.report.cut_batch = Some(error.to_string());
                self.end = Some(found.start);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Verifies all the last batch stands on, writes it once more, and syncs.
    fn secure(&self, found: &FoundBatch, segment: u32) -> Result<()> {
        let mut files: Vec<Arc<SegmentFile>> = Vec::new();
        let mut writable = |kind, number| -> Result<Arc<SegmentFile>> {
            if let Some(file) = files
                .iter()
                .find(|file| file.id.kind == kind && file.id.segment == number)
            {
                return Ok(Arc::clone(file));
            }
            let file = open_segment(self.core, kind, number, OpenMode::Write)?;
            files.push(Arc::clone(&file));
            Ok(file)
        };
        for (id, location) in found.body.placed.iter().chain(&found.body.objects) {
            let file = writable(location.kind, location.segment)?;
            let (header, body) = file.read_record(location.offset, Some(location.total_bytes))?;
            if header.id != *id.as_bytes() {
                return Err(file.id.corrupt(location.offset, "another object"));
            }
            file.rewrite(location.offset, &header.encode(&file.id))?;
            file.rewrite(location.offset + crate::format::RECORD_HEADER_BYTES, &body)?;
        }
        let journal = writable(SegmentKind::Journal, segment)?;
        let (header, body) = journal.read_record(found.offset, Some(found.end - found.offset))?;
        journal.rewrite(found.offset, &header.encode(&journal.id))?;
        journal.rewrite(found.offset + crate::format::RECORD_HEADER_BYTES, &body)?;
        files.iter().try_for_each(|file| file.sync())
    }
}

/// Loads the segment counters of an existing index.
pub(crate) fn load_stats(index: &dyn Index, shard: u16) -> Result<StatMap> {
    let end = crate::keys::prefix_end(internal::STAT);
    let rows = index.scan(internal::STAT, end.as_deref(), usize::MAX)?;
    let broken = || StorageError::Index {
        shard,
        message: "segment counters".into(),
    };
    rows.iter()
        .map(|(key, value)| {
            internal::parse_stat(key)
                .zip(SegmentStat::decode(value))
                .ok_or_else(broken)
        })
        .collect()
}

/// Brings index and journal together. `core.stats` holds what the index says.
pub(super) fn recover(core: &Core, rebuild: Option<String>, read_only: bool) -> Result<Recovered> {
    let mut report = RecoveryReport {
        rebuilt: rebuild,
        ..RecoveryReport::default()
    };
    let numbers = segments(core, SegmentKind::Journal, read_only)?;
    let standing = match &report.rebuilt {
        Some(_) => Standing::Rebuild("it was damaged"),
        None => standing(core, &numbers)?,
    };
    let mut health = Health::Healthy;
    let mut end = None;
    match standing {
        Standing::Damaged(error) => {
            health = verdict(core, &numbers, error)?;
            let value = core.index.get(internal::APPLIED)?;
            *crate::lock(&core.applied) = value.as_deref().and_then(Applied::decode).unwrap_or_default();
        }
        Standing::From(applied) => {
            *crate::lock(&core.applied) = applied;
            match replay(core, &numbers, Some(applied), read_only, &mut report) {
                Ok(Some(found)) => end = found,
                Ok(None) => {
                    report.rebuilt = Some("it is older than the journal".to_owned());
                    (health, end) = rebuild_all(core, &numbers, read_only, &mut report)?;
                }
                Err(error) if is_damage(&error) => health = Health::Failed(error),
                Err(error) => return Err(error),
            }
        }
        Standing::Rebuild(reason) => {
            report.rebuilt.get_or_insert_with(|| reason.to_owned());
            (health, end) = rebuild_all(core, &numbers, read_only, &mut report)?;
        }
    }
    if matches!(health, Health::Healthy)
        && let Some(error) = find_missing(core, &numbers)?
    {
        health = Health::ReadOnly(error.to_string().into());
    }
    let mut recovered = Recovered {
        health,
        report,
        journal: None,
        next_journal: numbers.last().map_or(1, |newest| newest + 1),
        pixels: None,
        next_pixels: 1,
    };
    if matches!(recovered.health, Health::Healthy) {
        open_tails(core, &numbers, end, read_only, &mut recovered)?;
    } else {
        let text = match &recovered.health {
            Health::Failed(error) => error.to_string(),
            Health::ReadOnly(reason) => reason.to_string(),
            Health::Healthy => String::new(),
        };
        tracing::error!(shard = core.shard, reason = %text, "the shard takes no writes");
        recovered.report.damage = Some(text);
    }
    recovered.report.last_batch = crate::lock(&core.applied).batch;
    Ok(recovered)
}

/// The journal is damaged at or before the applied mark: read-only if nothing acknowledged lies behind the mark.
fn verdict(core: &Core, numbers: &[u32], error: StorageError) -> Result<Health> {
    let value = core.index.get(internal::APPLIED)?;
    let applied = value.as_deref().and_then(Applied::decode).unwrap_or_default();
    let mut has_more = numbers.last().is_some_and(|newest| *newest > applied.segment);
    if !has_more && let Ok(file) = open_segment(core, SegmentKind::Journal, applied.segment, OpenMode::Read) {
        has_more = has_later_batch(&file, applied.offset, applied.batch)?;
    }
    Ok(if has_more {
        Health::Failed(error)
    } else {
        Health::ReadOnly(error.to_string().into())
    })
}

type End = Option<u64>;

/// Replays from a mark, or all of the journal. `Ok(None)` means that segments between the mark and the rest are gone.
fn replay(
    core: &Core,
    numbers: &[u32],
    from: Option<Applied>,
    read_only: bool,
    report: &mut RecoveryReport,
) -> Result<Option<End>> {
    let newest = numbers.last().copied();
    let mut replay = Replay {
        core,
        read_only,
        report,
        pending: None,
        newest,
        end: None,
    };
    let first = from.map_or(0, |applied| applied.segment);
    let mut expected = from.map(|applied| (applied.batch + 1, applied.hash));
    let mut gaps = Vec::new();
    let mut previous = if from.is_some() { first.max(1) - 1 } else { 0 };
    for number in numbers.iter().copied().filter(|number| *number >= first) {
        let file = open_segment(core, SegmentKind::Journal, number, OpenMode::Read)?;
        let reader = match from {
            Some(applied) if applied.batch > 0 && applied.segment == number => {
                JournalReader::from_position(Arc::clone(&file), applied.end, applied.batch + 1, applied.hash)
            }
            _ => {
                if number != previous + 1 {
                    if from.is_some() {
                        return Ok(None);
                    }
                    gaps.extend(previous + 1..number);
                } else if let Some((batch, hash)) = expected
                    && (file.header.first_batch != batch || file.header.previous_hash != hash)
                {
                    return Err(file.id.corrupt(0, "the segment does not continue the one before"));
                }
                JournalReader::from_head(Arc::clone(&file))
            }
        };
        let reader = replay.segment(reader, &file, Some(number) == newest)?;
        expected = Some((reader.next_batch(), reader.hash()));
        previous = number;
    }
    replay.finish()?;
    let end = replay.end;
    if !gaps.is_empty() {
        let retired = core.retired()?;
        if let Some(number) = gaps.into_iter().find(|number| !retired.contains_key(number)) {
            return Err(core
                .files
                .id(SegmentKind::Journal, number)
                .corrupt(0, "the file is missing"));
        }
    }
    Ok(Some(end))
}

fn rebuild_all(core: &Core, numbers: &[u32], read_only: bool, report: &mut RecoveryReport) -> Result<(Health, End)> {
    if read_only {
        return Err(StorageError::NeedsRecovery { shard: core.shard });
    }
    clear_index(core)?;
    crate::lock(&core.stats).clear();
    *crate::lock(&core.applied) = Applied::default();
    match replay(core, numbers, None, false, report) {
        Ok(end) => {
            if crate::lock(&core.applied).batch == 0 {
                let start = (internal::APPLIED.to_vec(), Some(Applied::default().encode()));
                core.index.write(&vec![start])?;
            }
            core.index.flush()?;
            Ok((Health::Healthy, end.flatten()))
        }
        Err(error) if is_damage(&error) => {
            // Leave no half-built index behind: the next start must see that it has to rebuild.
            clear_index(core)?;
            Ok((Health::Failed(error), None))
        }
        Err(error) => Err(error),
    }
}

/// Names a segment that should be there, in full, and is not.
fn find_missing(core: &Core, numbers: &[u32]) -> Result<Option<StorageError>> {
    let retired = core.retired()?;
    let newest = numbers.last().copied().unwrap_or(0);
    for number in 1..newest {
        if numbers.binary_search(&number).is_err() && !retired.contains_key(&number) {
            return Ok(Some(
                core.files
                    .id(SegmentKind::Journal, number)
                    .corrupt(0, "the file is missing"),
            ));
        }
    }
    let stats = crate::lock(&core.stats).clone();
    for ((kind, number), stat) in stats {
        if kind == SegmentKind::Pixels && stat.live_objects == 0 {
            continue;
        }
        match open_segment(core, kind, number, OpenMode::Read) {
            Ok(file) if file.end() < stat.end => {
                return Ok(Some(
                    file.id
                        .corrupt(file.end(), "the file is shorter than what was committed"),
                ));
            }
            Ok(_) => {}
            Err(error) if is_damage(&error) => return Ok(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Opens the segments to go on in, cut to their committed part, and removes journal segments that were retired.
fn open_tails(core: &Core, numbers: &[u32], end: End, read_only: bool, recovered: &mut Recovered) -> Result<()> {
    let mode = if read_only { OpenMode::Read } else { OpenMode::Write };
    let cut = |file: &SegmentFile, end: u64, report: &mut RecoveryReport| -> Result<()> {
        let surplus = file.end().saturating_sub(end);
        if surplus > 0 && !read_only {
            file.truncate(end)?;
            report.cut_bytes += surplus;
        }
        Ok(())
    };
    if !read_only {
        let directory = core.files.directory(SegmentKind::Journal)?;
        let mut removed = false;
        for number in core.retired()?.keys().filter(|number| numbers.contains(number)) {
            core.vfs
                .unlink(&directory.join(segment::file_name(*number)))
                .map_err(StorageError::io("remove a retired segment"))?;
            removed = true;
        }
        if removed {
            core.vfs
                .sync_dir(directory)
                .map_err(StorageError::io("sync a directory"))?;
        }
    }
    if let Some(newest) = numbers.last() {
        let file = open_segment(core, SegmentKind::Journal, *newest, mode)?;
        cut(
            &file,
            end.unwrap_or_else(|| file.end()).max(FILE_HEADER_BYTES),
            &mut recovered.report,
        )?;
        recovered.journal = Some(file);
    }
    if core.files.directory(SegmentKind::Pixels).is_err() {
        return Ok(());
    }
    let pixels = segments(core, SegmentKind::Pixels, read_only)?;
    let newest_known = crate::lock(&core.stats)
        .keys()
        .filter(|(kind, _)| *kind == SegmentKind::Pixels)
        .map(|(_, n)| *n)
        .max();
    recovered.next_pixels = pixels.last().copied().max(newest_known).map_or(1, |newest| newest + 1);
    if let Some(newest) = pixels.last().copied().filter(|newest| Some(*newest) >= newest_known) {
        let file = open_segment(core, SegmentKind::Pixels, newest, mode)?;
        let stat = crate::lock(&core.stats)
            .get(&(SegmentKind::Pixels, newest))
            .copied()
            .unwrap_or_default();
        cut(&file, stat.end.max(FILE_HEADER_BYTES), &mut recovered.report)?;
        recovered.pixels = Some(file);
    }
    Ok(())
}
