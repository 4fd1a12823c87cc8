//! Appending pixel objects: into the page cache now, durable with the commit that names them.

use super::core::Core;
use crate::batch::{Location, Placed};
use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{BODY_BYTES_MAX, FileHeader, RECORD_HEADER_BYTES, RecordHeader, RecordKind, checksum};
use crate::metrics::Stage;
use crate::segment::{SegmentFile, now_ms};
use bytes::Bytes;
use septum_core::ids::ObjectId;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

/// An object's bytes in one or more pieces, so that a caller need not join them.
#[derive(Debug, Clone, Default)]
pub struct Pieces(pub(crate) Vec<Bytes>);

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(bytes: Vec<u8>) -> Self {
        Self(vec![bytes.into()])
    }
}

impl From<Vec<Bytes>> for Pieces {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(pieces)
    }
}

impl Pieces {
    fn len_bytes(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// Lays out records for one append: small pieces are joined, so that the number of calls stays low; large ones are
/// passed through, so that nothing large is copied.
#[derive(Default)]
pub(super) struct Gather {
    done: Vec<Bytes>,
    open: Vec<u8>,
    len_bytes: u64,
}

const COPY_BYTES_MAX: usize = 64 << 10;

impl Gather {
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.len_bytes += bytes.len() as u64;
        self.open.extend_from_slice(bytes);
    }

    pub(super) fn push(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPY_BYTES_MAX {
            return self.copy(bytes);
        }
        self.len_bytes += bytes.len() as u64;
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open).into());
        }
        self.done.push(bytes.clone());
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    pub(super) fn append_to(mut self, file: &SegmentFile) -> Result<()> {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open).into());
        }
        let pieces: Vec<&[u8]> = self.done.iter().map(|piece| &piece[..]).collect();
        file.append(&pieces)
    }
}

/// The shard's open pixel segment.
#[derive(Debug)]
pub(crate) struct PixelAppender {
    segment_bytes: u64,
    active: Mutex<Active>,
}

#[derive(Debug)]
struct Active {
    /// Opened or created at the first append.
    segment: Option<Arc<SegmentFile>>,
    /// Closed segments that commits in flight may still name.
    closed: Vec<Weak<SegmentFile>>,
    next: u32,
}

impl PixelAppender {
    /// Goes on in `segment`, if there is one; else with number `next`.
    pub(crate) fn new(segment_bytes: u64, segment: Option<Arc<SegmentFile>>, next: u32) -> Self {
        Self {
            segment_bytes,
            active: Mutex::new(Active {
                segment,
                closed: Vec::new(),
                next,
            }),
        }
    }

    /// Whether the segment is being written, or commits in flight name it: compaction must leave it alone.
    pub(crate) fn is_busy(&self, number: u32) -> bool {
        let mut active = crate::lock(&self.active);
        active.closed.retain(|file| {
            file.upgrade()
                .is_some_and(|file| file.num_undecided.load(Ordering::Acquire) > 0)
        });
        active.segment.as_ref().is_some_and(|file| file.id.segment <= number)
            || number >= active.next
            || active
                .closed
                .iter()
                .any(|file| file.upgrade().is_some_and(|file| file.id.segment == number))
    }

    /// Appends the objects in order. All or none are placed.
    pub(crate) fn append(&self, core: &Core, objects: Vec<(ObjectId, Pieces)>) -> Result<Vec<Placed>> {
        core.writable()?;
        for (_, pieces) in &objects {
            let size = pieces.len_bytes();
            if size > BODY_BYTES_MAX {
                return Err(StorageError::TooLarge {
                    what: "a pixel object",
                    size,
                    limit: BODY_BYTES_MAX,
                });
            }
        }
        let start = core.observer.start();
        let mut active = crate::lock(&self.active);
        let mut all = Vec::with_capacity(objects.len());
        let mut total_bytes = 0;
        let mut rest = objects.into_iter().peekable();
        while rest.peek().is_some() {
            let segment = self.segment(core, &mut active)?;
            let mut gather = Gather::default();
            let mut locations = Vec::new();
            while let Some((id, pieces)) =
                rest.next_if(|_| gather.len_bytes() == 0 || segment.end() + gather.len_bytes() < self.segment_bytes)
            {
                let header = RecordHeader {
                    kind: RecordKind::Object,
                    id: *id.as_bytes(),
                    offset: segment.end() + gather.len_bytes(),
                    sequence: 0,
                    body_bytes: pieces.len_bytes(),
                    body_checksum: checksum(pieces.0.iter().map(|piece| &piece[..])),
                };
                let location = Location {
                    kind: SegmentKind::Pixels,
                    segment: segment.id.segment,
                    offset: header.offset,
                    total_bytes: RECORD_HEADER_BYTES + header.body_bytes,
                };
                gather.copy(&header.encode(&segment.id));
                pieces.0.iter().for_each(|piece| gather.push(piece));
                locations.push((id, location));
            }
            total_bytes += gather.len_bytes();
            core.checked(gather.append_to(&segment))?;
            all.extend(
                locations
                    .into_iter()
                    .map(|(id, place)| Placed::new(id, place, Arc::clone(&segment))),
            );
        }
        drop(active);
        core.observer.finish(Stage::AppendPixels, start, total_bytes);
        Ok(all)
    }

    fn segment(&self, core: &Core, active: &mut Active) -> Result<Arc<SegmentFile>> {
        if let Some(segment) = &active.segment
            && segment.end() < self.segment_bytes
        {
            return Ok(Arc::clone(segment));
        }
        let header = FileHeader {
            id: core.files.id(SegmentKind::Pixels, active.next),
            replaces: 0,
            created_ms: now_ms(),
            first_batch: 0,
            previous_hash: [0; 32],
        };
        let directory = core.files.directory(SegmentKind::Pixels)?;
        let segment = Arc::new(core.checked(SegmentFile::create(&*core.vfs, directory, header))?);
        active.next += 1;
        if let Some(closed) = active.segment.take() {
            active.closed.push(Arc::downgrade(&closed));
        }
        active.segment = Some(Arc::clone(&segment));
        Ok(segment)
    }
}
