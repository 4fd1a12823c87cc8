//! Inclusion and consistency proofs (RFC 6962 sections 2.1.1 and 2.1.2), made without recursion; verified after
//! RFC 9162 sections 2.1.3.2 and 2.1.4.2. A proof over n leaves has at most ⌈log2 n⌉ + 1 hashes.

use super::tree::{EMPTY_ROOT, Hash, Tree, node_hash};

/// Longest proof that is looked at: more than any tree of 2^64 leaves needs.
const PROOF_LENGTH_MAX: usize = 65;

/// Where the hashes of complete subtrees come from: kept nodes, or leaf hashes.
pub trait TreeNodes {
    /// Why a hash cannot be had.
    type Error;

    /// The hash of the complete subtree over leaves `index << level .. (index + 1) << level`; level 0 is a leaf's hash.
    /// Asked only for subtrees inside the tree.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Nodes computed from leaf hashes, `leaf(index)`. Work grows with the tree: keep nodes for large ones
/// ([`Tree::append_with`]).
pub struct LeafHashes<F>(pub F);

impl<F: Fn(u64) -> Result<Hash, E>, E> TreeNodes for LeafHashes<F> {
    type Error = E;

    fn node(&self, level: u32, index: u64) -> Result<Hash, E> {
        let mut tree = Tree::new();
        for leaf in (index << level)..((index + 1) << level) {
            tree.append((self.0)(leaf)?);
        }
        Ok(tree.root())
    }
}

/// Why a proof could not be made or does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E = std::convert::Infallible> {
    /// The leaf or the smaller tree does not lie within the larger tree.
    #[error("{0} does not lie within a tree of {1} leaves")]
    OutOfRange(u64, u64),
    /// The proof has too few or too many hashes for its sizes.
    #[error("the proof has {0} hashes, which does not fit its tree sizes")]
    Length(usize),
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root")]
    Root,
    /// A node could not be read.
    #[error("a node of the tree could not be read")]
    Nodes(E),
}

/// The Merkle tree hash of leaves `first .. end`. `first` must be a multiple of the largest power of two not above the
/// range's length, as every range in a proof is.
///
/// # Errors
/// What `nodes` gives.
pub fn range_hash<N: TreeNodes>(nodes: &N, first: u64, end: u64) -> Result<Hash, N::Error> {
    // Complete subtrees from left to right, each the largest that still fits; then joined from the right.
    let mut peaks = Vec::new();
    let mut at = first;
    while at < end {
        let level = (end - at).ilog2();
        peaks.push(nodes.node(level, at >> level)?);
        at += 1 << level;
    }
    let mut peaks = peaks.into_iter().rev();
    let Some(last) = peaks.next() else {
        return Ok(EMPTY_ROOT);
    };
    Ok(peaks.fold(last, |right, left| node_hash(&left, &right)))
}

/// The root of the first `size` leaves. Errors: what `nodes` gives.
pub fn root_of<N: TreeNodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    range_hash(nodes, 0, size)
}

/// The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962 section 2.1.1), leaf to root.
///
/// # Errors
/// [`ProofError::OutOfRange`]; [`ProofError::Nodes`] with what `nodes` gives.
pub fn inclusion_proof<N: TreeNodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, ProofError<N::Error>> {
    if index >= size {
        return Err(ProofError::OutOfRange(index, size));
    }
    let (mut first, mut end) = (0, size);
    let mut path = Vec::new();
    while end - first > 1 {
        let middle = first + split(end - first);
        let (sibling_first, sibling_end) = if index < middle { (middle, end) } else { (first, middle) };
        path.push(range_hash(nodes, sibling_first, sibling_end).map_err(ProofError::Nodes)?);
        if index < middle { end = middle } else { first = middle }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of the first `old_size` leaves is a prefix of that of the first `new_size` (RFC 6962 section
/// 2.1.2). Empty where the sizes are equal or the old is zero.
///
/// # Errors
/// [`ProofError::OutOfRange`]; [`ProofError::Nodes`] with what `nodes` gives.
pub fn consistency_proof<N: TreeNodes>(
    nodes: &N,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<Hash>, ProofError<N::Error>> {
    if old_size > new_size {
        return Err(ProofError::OutOfRange(old_size, new_size));
    }
    if old_size == 0 || old_size == new_size {
        return Ok(Vec::new());
    }
    let (mut first, mut end) = (0, new_size);
    let mut path = Vec::new();
    // Down to the subtree that ends with the old tree; its hash is known to the verifier if it is the whole old tree.
    while end != old_size {
        let middle = first + split(end - first);
        let (sibling_first, sibling_end) = if old_size <= middle {
            (middle, end)
        } else {
            (first, middle)
        };
        path.push(range_hash(nodes, sibling_first, sibling_end).map_err(ProofError::Nodes)?);
        if old_size <= middle {
            end = middle
        } else {
            first = middle
        }
    }
    if first > 0 {
        path.push(range_hash(nodes, first, end).map_err(ProofError::Nodes)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `path` proves that the leaf with hash `leaf` is number `index` of the tree with `size` leaves and `root`.
///
/// # Errors
/// [`ProofError`], where it does not.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange(index, size));
    }
    let wrong_length = ProofError::Length(path.len());
    if path.len() > PROOF_LENGTH_MAX {
        return Err(wrong_length);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last, &hash == root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(wrong_length),
    }
}

/// Whether `path` proves that the tree with `old_size` leaves and `old_root` is a prefix of the tree with `new_size`
/// leaves and `new_root`.
///
/// # Errors
/// [`ProofError`], where it does not.
pub fn verify_consistency(
    old_size: u64,
    new_size: u64,
    old_root: &Hash,
    new_root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::OutOfRange(old_size, new_size));
    }
    let wrong_length = ProofError::Length(path.len());
    if old_size == new_size || old_size == 0 {
        let roots_hold = if old_size == 0 {
            *old_root == EMPTY_ROOT
        } else {
            old_root == new_root
        };
        // Two empty trees have one root.
        let roots_hold = roots_hold && (new_size > 0 || *new_root == EMPTY_ROOT);
        return match (path.is_empty(), roots_hold) {
            (false, _) => Err(wrong_length),
            (true, false) => Err(ProofError::Root),
            (true, true) => Ok(()),
        };
    }
    if path.len() > PROOF_LENGTH_MAX {
        return Err(wrong_length);
    }
    let mut hashes = path.iter();
    // A complete old tree is itself the first node and is left out of the proof.
    let start = if old_size.is_power_of_two() {
        old_root
    } else {
        hashes.next().ok_or(wrong_length)?
    };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    let skipped = node.trailing_ones();
    node = node.checked_shr(skipped).unwrap_or(0);
    last = last.checked_shr(skipped).unwrap_or(0);
    let (mut old_hash, mut new_hash) = (*start, *start);
    for sibling in hashes {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last, &old_hash == old_root && &new_hash == new_root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(wrong_length),
    }
}

/// The largest power of two below `length`, which is at least 2: where RFC 6962 splits a tree.
fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}
