//! The identity file: which store, root and shard a directory belongs to.
//!
//! Every root and every shard's directory under it holds a file `identity`, 64 bytes: magic `SEPTUMID` (8), version
//! u16, root u8, 0, shard u16, number of shards u16, store UUID (16), epoch u64, created ms u64, zeros to 60, CRC32C.
//! A directory of another store, of another shard, or of an older epoch is never mixed in. The identity of the PHI
//! root is written last: a store without it was never finished.

use crate::error::{Result, StorageError};
use crate::format::{array_at, u16_at, u32_at, u64_at};
use crate::vfs::{Vfs, read_small, write_atomic};
use std::path::Path;

/// Shard number of the catalogue.
pub const CATALOG_SHARD: u16 = 0xFFFF;
/// Shard number that the key store's files carry.
pub const KEYS_SHARD: u16 = 0xFFFE;
/// Shard number in the identity of a root as a whole, and of findings that are about the store as a whole.
pub const ROOT_SHARD: u16 = 0xFFFD;
/// Epoch of a store that was just made.
pub(crate) const FIRST_EPOCH: u64 = 1;

const MAGIC: &[u8; 8] = b"SEPTUMID";
const VERSION: u16 = 1;
const ENCODED_BYTES: usize = 64;
/// Name of the file.
pub(crate) const FILE_NAME: &str = "identity";

/// One of the three roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Root {
    /// Sealed headers, records, index.
    Phi = 1,
    /// Sealed frames.
    Pixel = 2,
    /// Wrapped keys.
    Key = 3,
}

impl Root {
    fn name(self) -> &'static str {
        match self {
            Self::Phi => "PHI",
            Self::Pixel => "pixel",
            Self::Key => "key",
        }
    }
}

/// The content of an identity file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) root: Root,
    pub(crate) shard: u16,
    pub(crate) num_shards: u16,
    pub(crate) store: [u8; 16],
    /// Raised when a shard is fenced off from its former owner.
    pub(crate) epoch: u64,
    pub(crate) created_ms: u64,
}

impl Identity {
    pub(crate) fn encode(&self) -> [u8; ENCODED_BYTES] {
        let mut bytes = [0; ENCODED_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.root as u8;
        bytes[12..14].copy_from_slice(&self.shard.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.num_shards.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store);
        bytes[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_ms.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], root: Root) -> Result<Self> {
        let refuse = |what: &str| StorageError::Identity(format!("{} root: {what}", root.name()).into());
        if bytes.len() != ENCODED_BYTES || &bytes[..8] != MAGIC || u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(refuse("the identity file is damaged"));
        }
        let version = u16_at(bytes, 8);
        if version != VERSION {
            return Err(StorageError::UnknownVersion {
                what: "identity file",
                version,
            });
        }
        if bytes[10] != root as u8 {
            return Err(refuse("the identity file belongs to another kind of root"));
        }
        Ok(Self {
            root,
            shard: u16_at(bytes, 12),
            num_shards: u16_at(bytes, 14),
            store: array_at(bytes, 16),
            epoch: u64_at(bytes, 32),
            created_ms: u64_at(bytes, 40),
        })
    }

    /// Reads a directory's identity; `None` if there is none.
    pub(crate) fn read(vfs: &dyn Vfs, directory: &Path, root: Root) -> Result<Option<Self>> {
        let path = directory.join(FILE_NAME);
        if !vfs
            .exists(&path)
            .map_err(StorageError::io("look for an identity file"))?
        {
            return Ok(None);
        }
        let bytes = read_small(vfs, &path, 4096).map_err(StorageError::io("read an identity file"))?;
        Self::decode(&bytes, root).map(Some)
    }

    /// Writes the directory's identity durably.
    pub(crate) fn write(&self, vfs: &dyn Vfs, directory: &Path) -> Result<()> {
        write_atomic(vfs, &directory.join(FILE_NAME), &self.encode())
            .map_err(StorageError::io("write an identity file"))
    }

    /// Checks that `directory` belongs to the same store and epoch as `self` does, under `root`, as `shard`.
    pub(crate) fn expect(&self, vfs: &dyn Vfs, directory: &Path, root: Root, shard: u16) -> Result<()> {
        let refuse = |what: &str| StorageError::Identity(format!("{} root, shard {shard}: {what}", root.name()).into());
        let found = Self::read(vfs, directory, root)?.ok_or_else(|| refuse("the identity file is missing"))?;
        if found.store != self.store {
            return Err(refuse("the directory belongs to another store"));
        }
        if found.shard != shard || found.num_shards != self.num_shards {
            return Err(refuse("the directory belongs to another shard"));
        }
        if found.epoch != self.epoch {
            return Err(refuse("the directory is of another epoch"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_is_stable() {
        let identity = Identity {
            root: Root::Phi,
            shard: 1,
            num_shards: 4,
            store: [6; 16],
            epoch: 2,
            created_ms: 3,
        };
        let bytes = identity.encode();
        assert_eq!(&bytes[..16], b"SEPTUMID\x01\0\x01\0\x01\0\x04\0");
        assert_eq!(Identity::decode(&bytes, Root::Phi).expect("valid"), identity);
        assert!(Identity::decode(&bytes, Root::Key).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(&flipped, Root::Phi).is_err(), "bit {bit}");
        }
    }
}
