//! The one file format of pixel segments, journal segments and key segments.
//!
//! A file is a header of 128 bytes followed by records; a record is a header of 64 bytes followed by its body. All
//! integers are little-endian. Both headers end in a CRC32C over the store's UUID and the bytes before it, so that a
//! file of another store never passes. A record names its own segment and offset, so that a misplaced write or a
//! swapped file never passes either.
//!
//! File header: magic `SEPTUMSG` (8), version u16, kind u8, 0, shard u16, 0 0, segment u32, replaces u32, store UUID
//! (16), created ms u64, first batch u64, running hash before the first batch (32), zeros to 124, CRC32C.
//!
//! Record header: magic `SPRC` (4), version u8, kind u8, flags u16, body length u64, id (16), offset u64, sequence
//! u64, segment u32, shard u16, 0 0, CRC32C of the body, CRC32C of the header.

use crate::error::{Damage, Result, SegmentKind, StorageError};

/// Length of a file header, in bytes.
pub(crate) const FILE_HEADER_BYTES: u64 = 128;
/// Length of a record header, in bytes.
pub(crate) const RECORD_HEADER_BYTES: u64 = 64;
/// Version of the file format written today.
pub(crate) const FORMAT_VERSION: u16 = 1;
/// Longest body of one record, in bytes.
pub(crate) const BODY_BYTES_MAX: u64 = 1 << 30;

const FILE_MAGIC: &[u8; 8] = b"SEPTUMSG";
pub(crate) const RECORD_MAGIC: &[u8; 4] = b"SPRC";

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// A sealed object; the record's id is the object's id.
    Object = 1,
    /// A committed batch; the record's sequence is the batch number.
    Batch = 2,
    /// A wrapped study key; the record's id is the study key's id.
    Key = 3,
    /// A named wrapped record of the key store; the record's id is a hash of the name.
    Named = 4,
}

/// Where a segment belongs: the same for every record of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentId {
    /// The store's UUID.
    pub(crate) store: [u8; 16],
    /// The shard.
    pub(crate) shard: u16,
    /// The kind of file.
    pub(crate) kind: SegmentKind,
    /// The number, from 1.
    pub(crate) segment: u32,
}

impl SegmentId {
    /// Damage in this segment.
    pub(crate) fn corrupt(&self, offset: u64, what: &'static str) -> StorageError {
        StorageError::Corrupt(Box::new(Damage {
            shard: self.shard,
            kind: self.kind,
            segment: self.segment,
            offset,
            what,
        }))
    }

    fn header_checksum(&self, header: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.store), header)
    }
}

/// A file header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    /// Where the file belongs.
    pub(crate) id: SegmentId,
    /// The segment that this one was rewritten from (key segments), 0 for none.
    pub(crate) replaces: u32,
    /// When it was created, milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// The first batch that may lie in it (journal).
    pub(crate) first_batch: u64,
    /// The running hash before that batch (journal).
    pub(crate) previous_hash: [u8; 32],
}

impl FileHeader {
    /// The header's bytes.
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER_BYTES as usize] {
        let mut bytes = [0; FILE_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(FILE_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10] = self.id.kind as u8;
        bytes[12..14].copy_from_slice(&self.id.shard.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.id.segment.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.replaces.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.id.store);
        bytes[40..48].copy_from_slice(&self.created_ms.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.first_batch.to_le_bytes());
        bytes[56..88].copy_from_slice(&self.previous_hash);
        let checksum = self.id.header_checksum(&bytes[..124]);
        bytes[124..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header that must be the one of segment `expected`.
    pub(crate) fn decode(bytes: &[u8; FILE_HEADER_BYTES as usize], expected: &SegmentId) -> Result<Self> {
        if &bytes[..8] != FILE_MAGIC {
            return Err(expected.corrupt(0, "no segment file header"));
        }
        // The checksum tells a new version from a flipped bit, so a future version must keep its place.
        if u32_at(bytes, 124) != expected.header_checksum(&bytes[..124]) {
            return Err(expected.corrupt(0, "file header checksum, or a file of another store"));
        }
        let version = u16_at(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(StorageError::UnknownVersion {
                what: "segment file",
                version,
            });
        }
        if SegmentKind::from_byte(bytes[10]) != Some(expected.kind)
            || u16_at(bytes, 12) != expected.shard
            || u32_at(bytes, 16) != expected.segment
            || bytes[24..40] != expected.store
        {
            return Err(expected.corrupt(0, "the file is another segment"));
        }
        Ok(Self {
            id: *expected,
            replaces: u32_at(bytes, 20),
            created_ms: u64_at(bytes, 40),
            first_batch: u64_at(bytes, 48),
            previous_hash: array_at(bytes, 56),
        })
    }
}

/// A record header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// The kind of record.
    pub(crate) kind: RecordKind,
    /// The object's or key's id; zero for batches.
    pub(crate) id: [u8; 16],
    /// Offset of this header in its file.
    pub(crate) offset: u64,
    /// Batch number or sequence of a key; 0 for objects.
    pub(crate) sequence: u64,
    /// Length of the body, in bytes.
    pub(crate) body_bytes: u64,
    /// CRC32C of the body.
    pub(crate) body_checksum: u32,
}

impl RecordHeader {
    /// Header and body together, in bytes.
    pub(crate) const fn total_bytes(&self) -> u64 {
        RECORD_HEADER_BYTES + self.body_bytes
    }

    /// The header's bytes.
    pub(crate) fn encode(&self, segment: &SegmentId) -> [u8; RECORD_HEADER_BYTES as usize] {
        let mut bytes = [0; RECORD_HEADER_BYTES as usize];
        bytes[..4].copy_from_slice(RECORD_MAGIC);
        bytes[4] = FORMAT_VERSION as u8;
        bytes[5] = self.kind as u8;
        bytes[8..16].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.id);
        bytes[32..40].copy_from_slice(&self.offset.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[48..52].copy_from_slice(&segment.segment.to_le_bytes());
        bytes[52..54].copy_from_slice(&segment.shard.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.body_checksum.to_le_bytes());
        let checksum = segment.header_checksum(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header that must stand at `offset` of `segment`.
    pub(crate) fn decode(bytes: &[u8; RECORD_HEADER_BYTES as usize], segment: &SegmentId, offset: u64) -> Result<Self> {
        if &bytes[..4] != RECORD_MAGIC || u32_at(bytes, 60) != segment.header_checksum(&bytes[..60]) {
            return Err(segment.corrupt(offset, "record header checksum"));
        }
        if u16::from(bytes[4]) != FORMAT_VERSION {
            return Err(StorageError::UnknownVersion {
                what: "segment record",
                version: bytes[4].into(),
            });
        }
        let kind = match bytes[5] {
            1 => RecordKind::Object,
            2 => RecordKind::Batch,
            3 => RecordKind::Key,
            4 => RecordKind::Named,
            other => {
                return Err(StorageError::UnknownVersion {
                    what: "record kind",
                    version: other.into(),
                });
            }
        };
        let flags = u16_at(bytes, 6);
        if flags != 0 {
            return Err(StorageError::UnknownVersion {
                what: "record flags",
                version: flags,
            });
        }
        let header = Self {
            kind,
            id: array_at(bytes, 16),
            offset: u64_at(bytes, 32),
            sequence: u64_at(bytes, 40),
            body_bytes: u64_at(bytes, 8),
            body_checksum: u32_at(bytes, 56),
        };
        if header.offset != offset || u32_at(bytes, 48) != segment.segment || u16_at(bytes, 52) != segment.shard {
            return Err(segment.corrupt(offset, "a record that belongs elsewhere"));
        }
        if header.body_bytes > BODY_BYTES_MAX {
            return Err(segment.corrupt(offset, "record length"));
        }
        Ok(header)
    }
}

/// CRC32C over pieces.
pub(crate) fn checksum<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    pieces.into_iter().fold(0, crc32c::crc32c_append)
}

/// A fixed-size array out of a longer slice; the callers know the bounds.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> SegmentId {
        SegmentId {
            store: *b"0123456789abcdef",
            shard: 3,
            kind: SegmentKind::Pixels,
            segment: 7,
        }
    }

    fn file_header() -> FileHeader {
        FileHeader {
            id: segment(),
            replaces: 2,
            created_ms: 1,
            first_batch: 9,
            previous_hash: [5; 32],
        }
    }

    fn record_header() -> RecordHeader {
        RecordHeader {
            kind: RecordKind::Object,
            id: [9; 16],
            offset: 128,
            sequence: 4,
            body_bytes: 10,
            body_checksum: 0xDEAD_BEEF,
        }
    }

    #[test]
    fn file_header_round_trips_and_is_stable() {
        let bytes = file_header().encode();
        assert_eq!(FileHeader::decode(&bytes, &segment()).expect("valid"), file_header());
        assert_eq!(&bytes[..24], b"SEPTUMSG\x01\0\x01\0\x03\0\0\0\x07\0\0\0\x02\0\0\0");
        assert_eq!(
            u32_at(&bytes, 124),
            0x9de0_0043,
            "golden checksum: {:#x}",
            u32_at(&bytes, 124)
        );
    }

    #[test]
    fn record_header_round_trips_and_is_stable() {
        let bytes = record_header().encode(&segment());
        assert_eq!(
            RecordHeader::decode(&bytes, &segment(), 128).expect("valid"),
            record_header()
        );
        assert_eq!(&bytes[..16], b"SPRC\x01\x01\0\0\x0a\0\0\0\0\0\0\0");
        assert_eq!(
            u32_at(&bytes, 60),
            0x8931_1be6,
            "golden checksum: {:#x}",
            u32_at(&bytes, 60)
        );
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = file_header().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                FileHeader::decode(&flipped, &segment()).is_err(),
                "file header bit {bit}"
            );
        }
        let bytes = record_header().encode(&segment());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                RecordHeader::decode(&flipped, &segment(), 128).is_err(),
                "record header bit {bit}"
            );
        }
    }

    #[test]
    fn misplaced_headers_are_refused() {
        let bytes = record_header().encode(&segment());
        assert!(RecordHeader::decode(&bytes, &segment(), 256).is_err(), "other offset");
        assert!(
            RecordHeader::decode(
                &bytes,
                &SegmentId {
                    segment: 8,
                    ..segment()
                },
                128
            )
            .is_err(),
            "other segment"
        );
        assert!(
            RecordHeader::decode(&bytes, &SegmentId { shard: 1, ..segment() }, 128).is_err(),
            "other shard"
        );
        assert!(
            RecordHeader::decode(
                &bytes,
                &SegmentId {
                    store: [0; 16],
                    ..segment()
                },
                128
            )
            .is_err(),
            "other store"
        );
    }

    #[test]
    fn unknown_version_is_named() {
        let mut bytes = file_header().encode();
        bytes[8] = 2;
        let checksum = segment().header_checksum(&bytes[..124]);
        bytes[124..].copy_from_slice(&checksum.to_le_bytes());
        let error = FileHeader::decode(&bytes, &segment()).expect_err("refused");
        assert!(
            matches!(error, StorageError::UnknownVersion { version: 2, .. }),
            "{error}"
        );
    }
}
