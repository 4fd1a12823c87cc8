//! The patrol: verifying checksums of a running store, a budget at a time.
//!
//! Reads every committed record of every segment in order: live objects and batches in full. A cursor says where to
//! go on; keep it across restarts, and a pass covers everything. The caller paces the calls.

use crate::batch::Location;
use crate::error::{Damage, Result, SegmentKind, StorageError};
use crate::format::{FILE_HEADER_BYTES, RecordKind};
use crate::metrics::Stage;
use crate::segment::SegmentFile;
use crate::shard::Shard;
use crate::shard::journal::Walker;
use crate::store::Store;
use crate::vfs::OpenMode;
use septum_core::ids::ObjectId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where a pass has come to. The default is the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubCursor {
    /// Position in the list of shards; the catalogue and then the key store come last.
    pub shard: u16,
    /// Segment within the shard: pixel segments first, then journal segments.
    pub is_journal: bool,
    /// Number of the segment, 0 before the first.
    pub segment: u32,
    /// Offset to go on at, in bytes.
    pub offset: u64,
}

/// What one call verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Bytes verified.
    pub verified_bytes: u64,
    /// Records and keys verified.
    pub num_verified: u64,
    /// Damage found.
    pub damage: Vec<Damage>,
    /// Whether the pass ended; the cursor is at the start again.
    pub is_finished: bool,
}

impl Store {
    /// Verifies about `budget_bytes` from `cursor` on, and moves the cursor. Blocks; not for asynchronous threads.
    ///
    /// # Errors
    /// What keeps it from reading; damage is not an error but part of the report.
    pub fn scrub(&self, cursor: &mut ScrubCursor, budget_bytes: u64) -> Result<ScrubReport> {
        let mut report = ScrubReport::default();
        let num_shards = self.shards().len();
        while report.verified_bytes < budget_bytes {
            let position = usize::from(cursor.shard);
            if position > num_shards {
                for result in self.keys().verify() {
                    match result {
                        Ok(bytes) => {
                            report.verified_bytes += bytes;
                            report.num_verified += 1;
                        }
                        Err(StorageError::Corrupt(damage)) => report.damage.push(*damage),
                        Err(error) => return Err(error),
                    }
                }
                *cursor = ScrubCursor::default();
                report.is_finished = true;
                break;
            }
            let shard = self.shards().get(position).unwrap_or(self.catalog());
            if !scrub_shard(shard, cursor, budget_bytes, &mut report)? {
                *cursor = ScrubCursor {
                    shard: cursor.shard + 1,
                    ..ScrubCursor::default()
                };
            }
        }
        Ok(report)
    }
}

/// Goes on in the shard's next segment; false if there is none left.
fn scrub_shard(shard: &Shard, cursor: &mut ScrubCursor, budget_bytes: u64, report: &mut ScrubReport) -> Result<bool> {
    let core = shard.core();
    core.readable()?;
    let kind = if cursor.is_journal {
        SegmentKind::Journal
    } else {
        SegmentKind::Pixels
    };
    let next = {
        let stats = crate::lock(&core.stats);
        stats
            .range((kind, cursor.segment)..)
            .find(|((found, _), _)| *found == kind)
            .map(|(key, stat)| (key.1, *stat))
    };
    let Some((number, stat)) = next else {
        if cursor.is_journal {
            return Ok(false);
        }
        *cursor = ScrubCursor {
            shard: cursor.shard,
            is_journal: true,
            ..ScrubCursor::default()
        };
        return Ok(true);
    };
    if number != cursor.segment {
        (cursor.segment, cursor.offset) = (number, FILE_HEADER_BYTES);
    }
    cursor.offset = cursor.offset.max(FILE_HEADER_BYTES);
    let id = core.files.id(kind, number);
    // Compaction may take the segment away meanwhile; then it is not damaged but gone.
    let is_needed = || {
        crate::lock(&core.stats)
            .get(&(kind, number))
            .is_some_and(|stat| stat.live_objects > 0)
    };
    let start = core.observer.start();
    let before = report.verified_bytes;
    let file = match SegmentFile::open(&*core.vfs, core.files.directory(kind)?, id, OpenMode::Read) {
        Ok(file) => Arc::new(file),
        Err(StorageError::Corrupt(damage)) => {
            if stat.live_objects > 0 && is_needed() {
                report.damage.push(*damage);
            }
            (cursor.segment, cursor.offset) = (number + 1, 0);
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    let mut walker = Walker::up_to(Arc::clone(&file), stat.end);
    if file.end() < stat.end {
        report.damage.extend(damage_of(
            file.id
                .corrupt(file.end(), "the file is shorter than what was committed"),
        ));
    }
    loop {
        if report.verified_bytes >= budget_bytes {
            break;
        }
        let header = match walker.header(cursor.offset) {
            Ok(Some(header)) => header,
            Ok(None) => {
                (cursor.segment, cursor.offset) = (number + 1, 0);
                break;
            }
            Err(StorageError::Corrupt(damage)) => {
                report.damage.push(*damage);
                cursor.offset = match file.find_header(cursor.offset + 1, stat.end.min(file.end()))? {
                    Some(header) => header.offset,
                    None => stat.end.max(file.end()),
                };
                continue;
            }
            Err(error) => return Err(error),
        };
        let place = Location {
            kind,
            segment: number,
            offset: cursor.offset,
            total_bytes: header.total_bytes(),
        };
        let needed = match header.kind {
            RecordKind::Object => core.locate(&ObjectId::from_bytes(header.id))? == Some(place),
            _ => true,
        };
        if needed {
            match file.read_record(cursor.offset, Some(place.total_bytes)) {
                Ok(_) => report.num_verified += 1,
                Err(StorageError::Corrupt(damage)) => report.damage.push(*damage),
                Err(error) => return Err(error),
            }
            report.verified_bytes += place.total_bytes;
        }
        cursor.offset += place.total_bytes;
    }
    core.observer
        .finish(Stage::Scrub, start, report.verified_bytes - before);
    Ok(true)
}

fn damage_of(error: StorageError) -> Option<Damage> {
    match error {
        StorageError::Corrupt(damage) => Some(*damage),
        _ => None,
    }
}
