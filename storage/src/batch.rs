//! What a commit carries, and how a batch lies in the journal.
//!
//! A batch is one journal record whose sequence is the batch number. Objects that it carries are records of their
//! own, written just before it in the same append. The running hash of a batch is BLAKE3 over its record (header and
//! body); the body starts with the previous running hash, so the batches form a chain.
//!
//! Body, version 1, little-endian: version u8, previous hash (32), time in ms u64, then four lists, each with a count
//! u32: rows (operation u8: 1 put, 2 delete; key length u16, key; for a put: value length u32, value), placed
//! (location), objects (location), freed (id 16). A location is id (16), kind u8, segment u32, offset u64, length u64
//! (record header included).

use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{RECORD_HEADER_BYTES, SegmentId, array_at, u16_at, u32_at, u64_at};
use crate::segment::SegmentFile;
use bytes::Bytes;
use septum_core::ids::ObjectId;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Longest key of a row, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest value of a row, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Largest commit (rows and journal objects together), in bytes.
pub const COMMIT_BYTES_MAX: usize = 256 << 20;

const BODY_VERSION: u8 = 1;

/// A change of one row. Later rows of a commit win over earlier ones.
#[derive(Clone, PartialEq, Eq)]
pub enum Row {
    /// Writes a value.
    Put {
        /// Starts with a byte of [`crate::RowKind`]; at most [`KEY_BYTES_MAX`].
        key: Vec<u8>,
        /// Sealed or otherwise opaque; at most [`VALUE_BYTES_MAX`].
        value: Vec<u8>,
    },
    /// Removes a value, if there is one.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

impl Row {
    /// A row that writes a value.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
        }
    }

    /// A row that removes a value.
    pub fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The value, `None` for a delete.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }

    pub(crate) fn encoded_bytes(&self) -> usize {
        7 + self.key().len() + self.value().map_or(0, <[u8]>::len)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Row(kind {:02x?}, {} bytes)",
            self.key().first(),
            self.encoded_bytes()
        )
    }
}

/// One atomic change of a shard: all of it becomes durable and visible, or none.
#[derive(Debug, Default)]
pub struct CommitBatch {
    /// Rows, applied in order.
    pub rows: Vec<Row>,
    /// Sealed objects for the PHI journal (headers, metadata lists): the PHI side.
    pub objects: Vec<(ObjectId, Bytes)>,
    /// Pixel objects appended before, which this commit makes durable and findable.
    pub placed: Vec<Placed>,
    /// Objects that are no longer needed; unknown ids are ignored, so a repeat is harmless.
    pub freed: Vec<ObjectId>,
    /// If set and no longer the shard's generation, the commit fails with
    /// [`StorageError::EarlierCommitFailed`]. Read [`crate::Shard::generation`] *before* reading staged rows.
    pub generation: Option<u64>,
    /// May use the space held in reserve when the disk is full: for deletions, which give space back.
    pub may_use_reserve: bool,
    /// Nobody hears of this commit before later ones: it may wait some milliseconds for them, to share their sync.
    pub may_wait: bool,
}

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Pixel or journal segment.
    pub kind: SegmentKind,
    /// The segment's number.
    pub segment: u32,
    /// Offset of the record header, in bytes.
    pub offset: u64,
    /// Record header and body, in bytes.
    pub total_bytes: u64,
}

impl Location {
    /// Length of a location without an id, in bytes.
    pub(crate) const ENCODED_BYTES: usize = 21;

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.total_bytes.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::ENCODED_BYTES {
            return None;
        }
        let kind = SegmentKind::from_byte(bytes[0])?;
        Some(Self {
            kind,
            segment: u32_at(bytes, 1),
            offset: u64_at(bytes, 5),
            total_bytes: u64_at(bytes, 13),
        })
        .filter(|location| location.total_bytes >= RECORD_HEADER_BYTES)
    }

    /// Length of the object itself, in bytes.
    pub const fn body_bytes(&self) -> u64 {
        self.total_bytes - RECORD_HEADER_BYTES
    }
}

/// Proof that an object was appended to a pixel segment. It is not durable yet: hand it to a commit. Dropping it
/// leaves dead bytes that compaction reclaims.
#[must_use = "an appended object is lost unless a commit names it"]
pub struct Placed {
    pub(crate) id: ObjectId,
    pub(crate) location: Location,
    pub(crate) segment: Arc<SegmentFile>,
    pub(crate) shard: u16,
}

impl Placed {
    pub(crate) fn new(id: ObjectId, location: Location, segment: Arc<SegmentFile>) -> Self {
        segment.num_undecided.fetch_add(1, Ordering::AcqRel);
        let shard = segment.id.shard;
        Self {
            id,
            location,
            segment,
            shard,
        }
    }

    /// The object.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// The object's length in bytes.
    pub fn body_bytes(&self) -> u64 {
        self.location.body_bytes()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.segment.num_undecided.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Placed({:?}, {} bytes)", self.id, self.body_bytes())
    }
}

/// Proof that a commit is durable on both roots. Only the committer makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the proof is what an acknowledgement stands on"]
pub struct CommitProof {
    pub(crate) shard: u16,
    pub(crate) batch: u64,
}

impl CommitProof {
    /// The shard.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// The journal batch that carries the commit; many commits may share it.
    pub fn batch(&self) -> u64 {
        self.batch
    }
}

/// A batch as it lies in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BatchBody {
    pub(crate) previous_hash: [u8; 32],
    pub(crate) time_ms: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) placed: Vec<(ObjectId, Location)>,
    pub(crate) objects: Vec<(ObjectId, Location)>,
    pub(crate) freed: Vec<ObjectId>,
}

impl BatchBody {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let rows: usize = self.rows.iter().map(Row::encoded_bytes).sum();
        let located = 16 + Location::ENCODED_BYTES;
        let size = 57 + rows + (self.placed.len() + self.objects.len()) * located + self.freed.len() * 16;
        let mut out = Vec::with_capacity(size);
        out.push(BODY_VERSION);
        out.extend_from_slice(&self.previous_hash);
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        put_count(&mut out, self.rows.len());
        for row in &self.rows {
            out.push(if row.value().is_some() { 1 } else { 2 });
            out.extend_from_slice(&(row.key().len() as u16).to_le_bytes());
            out.extend_from_slice(row.key());
            if let Some(value) = row.value() {
                put_count(&mut out, value.len());
                out.extend_from_slice(value);
            }
        }
        for list in [&self.placed, &self.objects] {
            put_count(&mut out, list.len());
            for (id, location) in list {
                out.extend_from_slice(id.as_bytes());
                location.encode_into(&mut out);
            }
        }
        put_count(&mut out, self.freed.len());
        for id in &self.freed {
            out.extend_from_slice(id.as_bytes());
        }
        out
    }

    /// Reads a body whose checksum was verified. `segment` and `offset` say where, for the error.
    pub(crate) fn decode(bytes: &[u8], segment: &SegmentId, offset: u64) -> Result<Self> {
        match bytes.first() {
            Some(&BODY_VERSION) => {}
            Some(&version) => {
                return Err(StorageError::UnknownVersion {
                    what: "journal batch",
                    version: version.into(),
                });
            }
            None => return Err(segment.corrupt(offset, "empty batch")),
        }
        Self::decode_body(&bytes[1..]).ok_or_else(|| segment.corrupt(offset, "batch structure"))
    }

    fn decode_body(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let previous_hash = input.array()?;
        let time_ms = u64::from_le_bytes(input.array()?);
        let mut rows = Vec::new();
        for _ in 0..input.count()? {
            let operation = input.take(1)?[0];
            let key_bytes = u16_at(input.take(2)?, 0);
            let key = input.take(key_bytes.into())?.to_vec();
            rows.push(match operation {
                1 => {
                    let value_bytes = input.count()?;
                    Row::Put {
                        key,
                        value: input.take(value_bytes)?.to_vec(),
                    }
                }
                2 => Row::Delete { key },
                _ => return None,
            });
        }
        let placed = input.locations()?;
        let objects = input.locations()?;
        let mut freed = Vec::new();
        for _ in 0..input.count()? {
            freed.push(ObjectId::from_bytes(input.array()?));
        }
        input.0.is_empty().then_some(Self {
            previous_hash,
            time_ms,
            rows,
            placed,
            objects,
            freed,
        })
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // Bounded by COMMIT_BYTES_MAX, far below 4 GiB.
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).map(|bytes| array_at(bytes, 0))
    }

    fn count(&mut self) -> Option<usize> {
        self.array().map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    fn locations(&mut self) -> Option<Vec<(ObjectId, Location)>> {
        let mut list = Vec::new();
        for _ in 0..self.count()? {
            let id = ObjectId::from_bytes(self.array()?);
            list.push((id, Location::decode(self.take(Location::ENCODED_BYTES)?)?));
        }
        Some(list)
    }
}

/// The running hash after a batch record.
pub(crate) fn running_hash(header: &[u8], body: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(header).update(body).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment() -> SegmentId {
        SegmentId {
            store: [1; 16],
            shard: 0,
            kind: SegmentKind::Journal,
            segment: 1,
        }
    }

    fn location() -> impl Strategy<Value = (ObjectId, Location)> {
        (
            any::<[u8; 16]>(),
            any::<bool>(),
            any::<u32>(),
            any::<u64>(),
            RECORD_HEADER_BYTES..u64::MAX,
        )
            .prop_map(|(id, pixels, segment, offset, total_bytes)| {
                let kind = if pixels {
                    SegmentKind::Pixels
                } else {
                    SegmentKind::Journal
                };
                (
                    ObjectId::from_bytes(id),
                    Location {
                        kind,
                        segment,
                        offset,
                        total_bytes,
                    },
                )
            })
    }

    fn row() -> impl Strategy<Value = Row> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            (bytes(), bytes()).prop_map(|(key, value)| Row::Put { key, value }),
            bytes().prop_map(Row::delete)
        ]
    }

    proptest! {
        #[test]
        fn bodies_round_trip(
            rows in proptest::collection::vec(row(), 0..8),
            placed in proptest::collection::vec(location(), 0..4),
            objects in proptest::collection::vec(location(), 0..4),
            freed in proptest::collection::vec(any::<[u8; 16]>().prop_map(ObjectId::from_bytes), 0..4),
            previous_hash: [u8; 32], time_ms: u64,
        ) {
            let body = BatchBody { previous_hash, time_ms, rows, placed, objects, freed };
            let bytes = body.encode();
            prop_assert_eq!(BatchBody::decode(&bytes, &segment(), 0).expect("valid"), body);
        }

        #[test]
        fn damaged_bodies_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() { *first = BODY_VERSION; }
            let _ = BatchBody::decode(&bytes, &segment(), 0);
        }
    }

    #[test]
    fn encoding_is_stable() {
        let body = BatchBody {
            previous_hash: [7; 32],
            time_ms: 258,
            rows: vec![Row::put([0x10, 1], *b"v"), Row::delete([0x11])],
            placed: vec![],
            objects: vec![],
            freed: vec![ObjectId::from_bytes([3; 16])],
        };
        let mut expected = vec![1];
        expected.extend([7; 32]);
        expected.extend([2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([2, 0, 0, 0, 1, 2, 0, 0x10, 1, 1, 0, 0, 0, b'v', 2, 1, 0, 0x11]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend([3; 16]);
        assert_eq!(body.encode(), expected);
    }
}
