//! The list of key segments that must exist, so that a lost file is noticed.
//!
//! `keys/manifest`: magic `SEPTUMKM` (8), version u16, 0 0, count u32, per segment number u32 and length u64 (0 while
//! it is written to), then CRC32C over the store's UUID and all before. Replaced atomically.

use crate::error::{Result, StorageError};
use crate::format::{u16_at, u32_at, u64_at};
use crate::vfs::{Vfs, read_small, write_atomic};
use std::collections::BTreeMap;
use std::path::Path;

const MAGIC: &[u8; 8] = b"SEPTUMKM";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 12;
const FILE_BYTES_MAX: u64 = 64 << 20;
pub(crate) const FILE_NAME: &str = "manifest";

pub(crate) fn encode(segments: &BTreeMap<u32, Option<u64>>, store: &[u8; 16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + segments.len() * ENTRY_BYTES + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&(segments.len() as u32).to_le_bytes());
    for (number, len_bytes) in segments {
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&len_bytes.unwrap_or(0).to_le_bytes());
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(store), &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8], store: &[u8; 16]) -> Result<BTreeMap<u32, Option<u64>>> {
    let refuse = || StorageError::Identity("key store: the manifest is damaged or of another store".into());
    let end = bytes
        .len()
        .checked_sub(4)
        .filter(|end| *end >= HEADER_BYTES)
        .ok_or_else(refuse)?;
    if &bytes[..8] != MAGIC || u32_at(bytes, end) != crc32c::crc32c_append(crc32c::crc32c(store), &bytes[..end]) {
        return Err(refuse());
    }
    let version = u16_at(bytes, 8);
    if version != VERSION {
        return Err(StorageError::UnknownVersion {
            what: "key manifest",
            version,
        });
    }
    let entries = &bytes[HEADER_BYTES..end];
    if entries.len() != u32_at(bytes, 12) as usize * ENTRY_BYTES {
        return Err(refuse());
    }
    let entry = |entry: &[u8]| {
        (
            u32_at(entry, 0),
            Some(u64_at(entry, 4)).filter(|len_bytes| *len_bytes > 0),
        )
    };
    Ok(entries.chunks_exact(ENTRY_BYTES).map(entry).collect())
}

pub(crate) fn read(vfs: &dyn Vfs, directory: &Path, store: &[u8; 16]) -> Result<BTreeMap<u32, Option<u64>>> {
    let bytes = read_small(vfs, &directory.join(FILE_NAME), FILE_BYTES_MAX)
        .map_err(StorageError::io("read the key manifest"))?;
    decode(&bytes, store)
}

pub(crate) fn write(
    vfs: &dyn Vfs,
    directory: &Path,
    store: &[u8; 16],
    segments: &BTreeMap<u32, Option<u64>>,
) -> Result<()> {
    write_atomic(vfs, &directory.join(FILE_NAME), &encode(segments, store))
        .map_err(StorageError::io("write the key manifest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_finds_every_flip() {
        let segments = BTreeMap::from([(1, Some(5000)), (7, None)]);
        let bytes = encode(&segments, &[1; 16]);
        assert_eq!(bytes.len(), 16 + 24 + 4);
        assert_eq!(decode(&bytes, &[1; 16]).expect("valid"), segments);
        assert!(decode(&bytes, &[2; 16]).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped, &[1; 16]).is_err(), "bit {bit}");
        }
    }
}
