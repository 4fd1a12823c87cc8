//! Reading the journal back, batch by batch, with the running hash checked.

use crate::batch::{BatchBody, running_hash};
use crate::error::{Result, StorageError};
use crate::format::{FILE_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordKind, array_at};
use crate::segment::SegmentFile;
use std::sync::Arc;

/// A batch found in the journal.
#[derive(Debug)]
pub(crate) struct FoundBatch {
    pub(crate) number: u64,
    pub(crate) body: BatchBody,
    /// Running hash after it.
    pub(crate) hash: [u8; 32],
    /// Where its append began (objects first), where its record lies, and where it ends.
    pub(crate) start: u64,
    pub(crate) offset: u64,
    pub(crate) end: u64,
}

/// Reads records through a read-ahead buffer.
pub(crate) struct Walker {
    pub(crate) file: Arc<SegmentFile>,
    end: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
}

const READ_AHEAD_BYTES: u64 = 1 << 20;

impl Walker {
    /// Walks up to the end of the file's valid part.
    pub(crate) fn new(file: Arc<SegmentFile>) -> Self {
        let end = file.end();
        Self {
            file,
            end,
            buffer: Vec::new(),
            buffer_start: 0,
        }
    }

    /// Walks up to `end` only.
    pub(crate) fn up_to(file: Arc<SegmentFile>, end: u64) -> Self {
        let end = end.min(file.end());
        Self {
            file,
            end,
            buffer: Vec::new(),
            buffer_start: 0,
        }
    }

    /// The header at `offset`, `None` at the end.
    pub(crate) fn header(&mut self, offset: u64) -> Result<Option<RecordHeader>> {
        if offset >= self.end {
            return Ok(None);
        }
        let header_end = offset + RECORD_HEADER_BYTES;
        if header_end > self.end {
            return Err(self.file.id.corrupt(offset, "the file ends inside a record header"));
        }
        let buffer_end = self.buffer_start + self.buffer.len() as u64;
        if offset < self.buffer_start || header_end > buffer_end {
            let len_bytes = READ_AHEAD_BYTES.min(self.end - offset);
            self.buffer.resize(len_bytes as usize, 0);
            // Set first, so that a failed read leaves no stale buffer behind.
            self.buffer_start = u64::MAX;
            self.file.read_into(&mut self.buffer, offset)?;
            self.buffer_start = offset;
        }
        let bytes = array_at(&self.buffer, (offset - self.buffer_start) as usize);
        let header = RecordHeader::decode(&bytes, &self.file.id, offset)?;
        if offset + header.total_bytes() > self.end {
            return Err(self.file.id.corrupt(offset, "the file ends inside a record"));
        }
        Ok(Some(header))
    }
}

/// Reads batches in order.
pub(crate) struct JournalReader {
    walker: Walker,
    at: u64,
    next_batch: u64,
    hash: [u8; 32],
}

impl JournalReader {
    /// Reads from the head of a segment.
    pub(crate) fn from_head(file: Arc<SegmentFile>) -> Self {
        let (next_batch, hash) = (file.header.first_batch, file.header.previous_hash);
        Self::from_position(file, FILE_HEADER_BYTES, next_batch, hash)
    }

    /// Reads from `offset`, where batch `next_batch` must come next after running hash `hash`.
    pub(crate) fn from_position(file: Arc<SegmentFile>, offset: u64, next_batch: u64, hash: [u8; 32]) -> Self {
        Self {
            walker: Walker::new(file),
            at: offset,
            next_batch,
            hash,
        }
    }

    /// The offset behind the last batch that was read.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The number that the next batch must have.
    pub(crate) fn next_batch(&self) -> u64 {
        self.next_batch
    }

    /// The running hash after the last batch that was read.
    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The next batch; `None` at a clean end. Objects behind the last batch are an unfinished append, an error.
    pub(crate) fn next(&mut self) -> Result<Option<FoundBatch>> {
        let start = self.at;
        let mut offset = start;
        while let Some(header) = self.walker.header(offset)? {
            let file = &self.walker.file;
            match header.kind {
                RecordKind::Object => offset += header.total_bytes(),
                RecordKind::Batch => {
                    let (header, bytes) = file.read_record(offset, Some(header.total_bytes()))?;
                    if header.sequence != self.next_batch {
                        return Err(file.id.corrupt(offset, "batch number out of order"));
                    }
                    let body = BatchBody::decode(&bytes, &file.id, offset)?;
                    if body.previous_hash != self.hash {
                        return Err(file.id.corrupt(offset, "the running hash does not continue"));
                    }
                    let end = offset + header.total_bytes();
                    let hash = running_hash(&header.encode(&file.id), &bytes);
                    (self.at, self.hash, self.next_batch) = (end, hash, self.next_batch + 1);
                    return Ok(Some(FoundBatch {
                        number: header.sequence,
                        body,
                        hash,
                        start,
                        offset,
                        end,
                    }));
                }
                RecordKind::Key | RecordKind::Named => {
                    return Err(file.id.corrupt(offset, "a key record in the journal"));
                }
            }
        }
        if offset == start {
            return Ok(None);
        }
        Err(self.walker.file.id.corrupt(start, "objects without a batch"))
    }
}

/// Whether an intact batch with a number above `number` lies at or behind `from`: then what is wrong at `from` is
/// damage, not the torn end of an append that never was acknowledged.
pub(crate) fn has_later_batch(file: &SegmentFile, from: u64, number: u64) -> Result<bool> {
    let end = file.end();
    let mut at = from;
    while let Some(header) = file.find_header(at, end)? {
        if header.kind == RecordKind::Batch && header.sequence > number {
            return Ok(true);
        }
        at = header.offset + 1;
    }
    Ok(false)
}

/// Whether an error speaks about bytes rather than about the system.
pub(crate) fn is_damage(error: &StorageError) -> bool {
    matches!(error, StorageError::Corrupt(_) | StorageError::UnknownVersion { .. })
}
