//! A whole log against a signed checkpoint: what an auditor runs, offline, with nothing but the leaves, the checkpoint
//! and the public key.

use super::checkpoint::{CheckpointError, CheckpointVerifier};
use super::leaf::{Leaf, LeafError};
use super::tree::{Tree, leaf_hash};

/// What is wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// The checkpoint cannot be trusted.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint has no tree of that name.
    #[error("the checkpoint does not cover this log")]
    NotCovered,
    /// A leaf is damaged.
    #[error("leaf {index}: {fault}")]
    Leaf {
        /// Its place in the log, from 0.
        index: u64,
        /// What is wrong with it.
        fault: LeafError,
    },
    /// A leaf carries another number than its place: leaves were dropped, inserted, doubled or swapped here.
    #[error("leaf {index} carries number {seq}")]
    Sequence {
        /// Its place in the log, from 0.
        index: u64,
        /// The number it carries.
        seq: u64,
    },
    /// The log has fewer leaves than were signed.
    #[error("the log has {found} leaves, {signed} were signed")]
    Truncated {
        /// Leaves there are.
        found: u64,
        /// Leaves signed.
        signed: u64,
    },
    /// The log has more leaves than were signed.
    #[error("the log has leaves beyond the {signed} that were signed")]
    Beyond {
        /// Leaves signed.
        signed: u64,
    },
    /// Every leaf is well-formed, but some were changed: they do not give the signed root.
    #[error("the leaves do not give the signed root")]
    Root,
}

/// Proves that `leaves` (canonical bytes, in order) are exactly what `note` signs for `tree` (`None`: the main tree).
///
/// # Errors
/// [`AuditFault`]: the first thing found wrong.
pub fn verify_log<B: AsRef<[u8]>>(
    leaves: impl IntoIterator<Item = B>,
    note: &str,
    verifier: &CheckpointVerifier,
    tree: Option<&str>,
) -> Result<(), AuditFault> {
    let checked = check(leaves, note, verifier, tree, false)?;
    debug_assert_eq!(checked, 0);
    Ok(())
}

/// As [`verify_log`], but the log may have grown since: gives the number of leaves beyond the checkpoint. Those are
/// checked for form and number only.
///
/// # Errors
/// [`AuditFault`]: the first thing found wrong.
pub fn verify_log_prefix<B: AsRef<[u8]>>(
    leaves: impl IntoIterator<Item = B>,
    note: &str,
    verifier: &CheckpointVerifier,
    tree: Option<&str>,
) -> Result<u64, AuditFault> {
    check(leaves, note, verifier, tree, true)
}

fn check<B: AsRef<[u8]>>(
    leaves: impl IntoIterator<Item = B>,
    note: &str,
    verifier: &CheckpointVerifier,
    tree: Option<&str>,
    may_have_grown: bool,
) -> Result<u64, AuditFault> {
    let checkpoint = verifier.verify(note)?;
    let signed = match tree {
        None => checkpoint.main(),
        Some(name) => checkpoint.tree(name).ok_or(AuditFault::NotCovered)?,
    };
    let mut tree = Tree::new();
    let mut num_beyond = 0;
    for (index, bytes) in (0..).zip(leaves) {
        let bytes = bytes.as_ref();
        let leaf = Leaf::from_bytes(bytes).map_err(|fault| AuditFault::Leaf { index, fault })?;
        if leaf.seq != index {
            return Err(AuditFault::Sequence { index, seq: leaf.seq });
        }
        if index < signed.size {
            tree.append(leaf_hash(bytes));
        } else if may_have_grown {
            num_beyond += 1;
        } else {
            return Err(AuditFault::Beyond { signed: signed.size });
        }
    }
    if tree.size() < signed.size {
        return Err(AuditFault::Truncated {
            found: tree.size(),
            signed: signed.size,
        });
    }
    if tree.root() == signed.root {
        Ok(num_beyond)
    } else {
        Err(AuditFault::Root)
    }
}

#[cfg(test)]
mod tests;
