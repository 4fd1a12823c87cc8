//! The audit log: an append-only Merkle tree of leaves, and signed checkpoints that make every change to it provable.
//!
//! | file | owns |
//! |---|---|
//! | `tree` | leaf and node hashes, the frontier of a growing tree |
//! | `proof` | inclusion and consistency proofs, made and verified |
//! | `leaf` | one event as canonical JSON |
//! | `checkpoint` | signed notes over the heads of one or several trees |
//! | `verify` | a whole log against a checkpoint, offline |
//!
//! # Invariants
//!
//! - Hashing after RFC 6962 section 2.1: 0x00 before leaves, 0x01 before nodes, so that no node passes for a leaf.
//! - A leaf has exactly one encoding; anything else is refused on reading.
//! - A leaf names random ids and tokens only; whatever identifies a person is in its sealed detail (invariant 3), and
//!   hashed as ciphertext, so that erasing the key leaves the tree valid (invariant 9).
//! - Nothing here keeps time or writes: when a leaf is durable is the caller's affair (invariant 8).

mod checkpoint;
mod leaf;
mod proof;
mod tree;
mod verify;

pub use checkpoint::{Checkpoint, CheckpointError, CheckpointSigner, CheckpointVerifier, TreeHead};
pub use leaf::{Action, Actor, Leaf, LeafError, ObjectKind, ObjectRef, Outcome};
pub use proof::{
    LeafHashes, ProofError, TreeNodes, consistency_proof, inclusion_proof, range_hash, root_of, verify_consistency,
    verify_inclusion,
};
pub use tree::{EMPTY_ROOT, FrontierError, Hash, Tree, leaf_hash, node_hash};
pub use verify::{AuditFault, verify_log, verify_log_prefix};

#[cfg(test)]
mod reference_tests;
