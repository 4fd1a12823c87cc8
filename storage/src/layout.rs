//! The partition map: 4,096 fixed partitions, each on a shard, with owner and fencing epoch.
//!
//! File `layout` in the PHI root: magic `SEPTUMLY` (8), version u16, number of shards u16, generation u64, then per
//! partition shard u16, owner u16, epoch u32, then CRC32C over the store's UUID and all before. Replaced atomically.
//! With one node the owner is 0. A study's partition never changes; a partition's shard may.

use crate::error::{Result, StorageError};
use crate::format::{u16_at, u32_at, u64_at};
use crate::identity::{FIRST_EPOCH, Identity};
use crate::vfs::{Vfs, read_small, write_atomic};
use std::io;
use std::path::Path;

/// Number of partitions, for ever.
pub const NUM_PARTITIONS: u16 = 4096;
/// Most shards a store can have.
pub const NUM_SHARDS_MAX: u16 = 256;

const MAGIC: &[u8; 8] = b"SEPTUMLY";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 20;
const ENTRY_BYTES: usize = 8;
const FILE_NAME: &str = "layout";
const ENCODED_BYTES: usize = HEADER_BYTES + NUM_PARTITIONS as usize * ENTRY_BYTES + 4;

/// Where one partition lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// The shard.
    pub shard: u16,
    /// The node that may write it.
    pub owner: u16,
    /// Raised at each change of owner; a writer with an older one is fenced off.
    pub epoch: u32,
}

/// The partition map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    num_shards: u16,
    generation: u64,
    assignments: Vec<Assignment>,
}

impl Layout {
    /// Spreads the partitions evenly.
    pub fn new(num_shards: u16) -> Self {
        let num_shards = num_shards.clamp(1, NUM_SHARDS_MAX);
        let assignments = (0..NUM_PARTITIONS).map(|partition| Assignment {
            shard: partition % num_shards,
            owner: 0,
            epoch: 1,
        });
        Self {
            num_shards,
            generation: 1,
            assignments: assignments.collect(),
        }
    }

    /// Number of shards.
    pub fn num_shards(&self) -> u16 {
        self.num_shards
    }

    /// Raised by every change of the map.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where a partition lives; numbers beyond the last wrap around.
    pub fn assignment(&self, partition: u16) -> Assignment {
        self.assignments[usize::from(partition % NUM_PARTITIONS)]
    }

    /// The file's bytes.
    fn encode(&self, store: &[u8; 16]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENCODED_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.num_shards.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        for assignment in &self.assignments {
            bytes.extend_from_slice(&assignment.shard.to_le_bytes());
            bytes.extend_from_slice(&assignment.owner.to_le_bytes());
            bytes.extend_from_slice(&assignment.epoch.to_le_bytes());
        }
        let checksum = crc32c::crc32c_append(crc32c::crc32c(store), &bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the map of the store with this identity. One that is missing, damaged or another store's is
    /// [`StorageError::Identity`].
    pub(crate) fn read(vfs: &dyn Vfs, phi_root: &Path, identity: &Identity) -> Result<Self> {
        let bytes = match read_small(vfs, &phi_root.join(FILE_NAME), ENCODED_BYTES as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(refuse("the file `layout` of the PHI root is missing"));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(refuse("damaged")),
            Err(error) => return Err(StorageError::io("read the partition map")(error)),
        };
        let layout = Self::decode(&bytes, &identity.store)?;
        if layout.num_shards != identity.num_shards {
            return Err(refuse("another number of shards"));
        }
        Ok(layout)
    }

    /// Writes the map durably.
    pub(crate) fn write(&self, vfs: &dyn Vfs, phi_root: &Path, store: &[u8; 16]) -> Result<()> {
        write_atomic(vfs, &phi_root.join(FILE_NAME), &self.encode(store))
            .map_err(StorageError::io("write the partition map"))
    }

    /// Reads the map, and makes it anew if it is lost: of a store whose partitions never moved it follows from the
    /// number of shards. `roots` are the PHI and the pixel root, whose folders must say the same number.
    pub(crate) fn read_or_derive(vfs: &dyn Vfs, roots: [&Path; 2], identity: &Identity) -> Result<Self> {
        let lost = match Self::read(vfs, roots[0], identity) {
            Err(StorageError::Identity(lost)) => lost,
            other => return other,
        };
        let refuse = |why: &str| StorageError::Identity(format!("{lost}, and cannot be made anew: {why}").into());
        if identity.epoch != FIRST_EPOCH {
            return Err(refuse("shards have changed their owner since the store was made"));
        }
        for root in roots {
            let names = vfs.list(root).map_err(StorageError::io("list a root"))?;
            let num_folders = names.iter().filter(|name| name.starts_with("shard-")).count();
            if num_folders != usize::from(identity.num_shards) {
                let why = format!(
                    "the store is of {} shards, a root has folders of {num_folders}",
                    identity.num_shards
                );
                return Err(refuse(&why));
            }
        }
        let layout = Self::new(identity.num_shards);
        layout.write(vfs, roots[0], &identity.store)?;
        tracing::warn!(num_shards = layout.num_shards, "the partition map was made anew");
        Ok(layout)
    }

    /// Reads the file's bytes.
    fn decode(bytes: &[u8], store: &[u8; 16]) -> Result<Self> {
        let checksum_at = ENCODED_BYTES - 4;
        if bytes.len() != ENCODED_BYTES || &bytes[..8] != MAGIC {
            return Err(refuse("damaged"));
        }
        if u32_at(bytes, checksum_at) != crc32c::crc32c_append(crc32c::crc32c(store), &bytes[..checksum_at]) {
            return Err(refuse("damaged, or of another store"));
        }
        let version = u16_at(bytes, 8);
        if version != VERSION {
            return Err(StorageError::UnknownVersion {
                what: "partition map",
                version,
            });
        }
        let num_shards = u16_at(bytes, 10);
        let assignments: Vec<Assignment> = bytes[HEADER_BYTES..checksum_at]
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| Assignment {
                shard: u16_at(entry, 0),
                owner: u16_at(entry, 2),
                epoch: u32_at(entry, 4),
            })
            .collect();
        if num_shards == 0 || assignments.iter().any(|assignment| assignment.shard >= num_shards) {
            return Err(refuse("a partition is on no shard"));
        }
        Ok(Self {
            num_shards,
            generation: u64_at(bytes, 12),
            assignments,
        })
    }
}

fn refuse(what: &str) -> StorageError {
    StorageError::Identity(format!("partition map: {what}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_spreads_and_refuses_damage() {
        let layout = Layout::new(3);
        let store = [4; 16];
        let bytes = layout.encode(&store);
        assert_eq!(bytes.len(), ENCODED_BYTES);
        assert_eq!(Layout::decode(&bytes, &store).expect("valid"), layout);
        assert!(Layout::decode(&bytes, &[5; 16]).is_err(), "another store's map");
        let mut flipped = bytes;
        flipped[1000] ^= 1;
        assert!(Layout::decode(&flipped, &store).is_err());
        for shard in 0..3 {
            let num = (0..NUM_PARTITIONS)
                .filter(|p| layout.assignment(*p).shard == shard)
                .count();
            assert!((1365..=1366).contains(&num), "shard {shard} has {num}");
        }
    }
}
