//! RFC 6962 section 2.1 hashing and the frontier: what is needed of a tree to go on growing it.
//!
//! Frontier on disk, version 1: version (1) ‖ number of leaves (8, big endian) ‖ one hash of 32 bytes for each bit set
//! in that number, largest subtree first.

use sha2::{Digest, Sha256};

/// A SHA-256 node of the tree.
pub type Hash = [u8; 32];

/// The root of a tree without leaves: SHA-256 of nothing (RFC 6962 section 2.1).
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

const FORMAT_VERSION: u8 = 1;

/// SHA-256 of 0x00 ‖ leaf.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new_with_prefix([0]).chain_update(leaf).finalize().into()
}

/// SHA-256 of 0x01 ‖ left ‖ right.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new_with_prefix([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// Why stored bytes are no frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// A version this build does not know.
    #[error("the audit tree's frontier has version {0}, which this build does not know")]
    UnknownVersion(u8),
    /// The length does not fit the number of leaves.
    #[error("the audit tree's frontier has a wrong length of {0} bytes")]
    Length(usize),
}

/// A growing tree, reduced to its frontier: the roots of its complete subtrees, largest first. At most 64 hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    peaks: Vec<Hash>,
}

impl Tree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends one leaf by its hash (see [`leaf_hash`]); amortised one node hash.
    pub fn append(&mut self, leaf: Hash) {
        self.append_with(leaf, |_, _, _| ());
    }

    /// Appends one leaf by its hash and tells of every subtree that becomes complete, the leaf (level 0) first:
    /// level, index within the level, hash. Whoever keeps them can prove from them, see
    /// [`TreeNodes`](super::TreeNodes).
    pub fn append_with(&mut self, leaf: Hash, mut completed: impl FnMut(u32, u64, &Hash)) {
        let mut hash = leaf;
        completed(0, self.size, &hash);
        // Every trailing one-bit of the size is a complete subtree that the new leaf completes to the next level.
        for level in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
                completed(level + 1, self.size >> (level + 1), &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The Merkle tree hash of all leaves.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else {
            return EMPTY_ROOT;
        };
        peaks.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// The frontier's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(9 + 32 * self.peaks.len());
        bytes.push(FORMAT_VERSION);
        bytes.extend_from_slice(&self.size.to_be_bytes());
        self.peaks.iter().for_each(|peak| bytes.extend_from_slice(peak));
        bytes
    }

    /// Reads a frontier. It is as trustworthy as where it came from: compare the root with a checkpoint.
    ///
    /// # Errors
    /// [`FrontierError`] where the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrontierError> {
        let wrong_length = FrontierError::Length(bytes.len());
        let (&version, rest) = bytes.split_first().ok_or(wrong_length)?;
        if version != FORMAT_VERSION {
            return Err(FrontierError::UnknownVersion(version));
        }
        let (size, hashes) = rest.split_first_chunk().ok_or(wrong_length)?;
        let size = u64::from_be_bytes(*size);
        let (peaks, rest) = hashes.as_chunks::<32>();
        if !rest.is_empty() || peaks.len() != size.count_ones() as usize {
            return Err(wrong_length);
        }
        Ok(Self {
            size,
            peaks: peaks.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontier_survives_storing_at_every_size() {
        let mut tree = Tree::new();
        for number in 0..200u32 {
            let bytes = tree.to_bytes();
            assert_eq!(Tree::from_bytes(&bytes).unwrap(), tree);
            assert!(Tree::from_bytes(&bytes[..bytes.len() - 1]).is_err());
            let mut longer = bytes.clone();
            longer.push(0);
            assert_eq!(Tree::from_bytes(&longer), Err(FrontierError::Length(longer.len())));
            tree.append(leaf_hash(&number.to_be_bytes()));
        }
        assert_eq!(tree.size(), 200);
        assert_eq!(Tree::from_bytes(&[7; 9]), Err(FrontierError::UnknownVersion(7)));
        assert_eq!(Tree::from_bytes(&[]), Err(FrontierError::Length(0)));
    }

    #[test]
    fn completed_subtrees_are_told_once_each() {
        let mut tree = Tree::new();
        let mut nodes = std::collections::BTreeMap::new();
        for number in 0..100u8 {
            tree.append_with(leaf_hash(&[number]), |level, index, hash| {
                assert!(nodes.insert((level, index), *hash).is_none());
            });
        }
        assert_eq!(nodes.len(), 100 + 50 + 25 + 12 + 6 + 3 + 1);
        for (&(level, index), hash) in nodes.iter().filter(|((level, _), _)| *level > 0) {
            assert_eq!(
                *hash,
                node_hash(&nodes[&(level - 1, index * 2)], &nodes[&(level - 1, index * 2 + 1)])
            );
        }
    }
}
