//! Sealing: every byte at rest passes through here.
//!
//! Owns the key hierarchy, the sealed-object and wrapped-key formats and the blind index tokens.
//!
//! | file | owns |
//! |---|---|
//! | `suite` | the two AEAD suites behind one interface |
//! | `key` | [`DataKey`]: 32 secret bytes, wiped on drop |
//! | `wrap` | one key sealed under another, bound to who it is for |
//! | `hierarchy` | root → account → study keys |
//! | `context` | what a sealed object is bound to, and its header |
//! | `object` | sealing and opening objects frame by frame |
//! | `record` | one-shot sealing of small records |
//! | `token` | blind index tokens and the partition hash |
//!
//! # Invariants
//!
//! - Nothing here knows a UID, a name or a date: associated data are random ids only (invariants 2 and 3).
//! - A key is committed to in every header and compared before anything is decrypted; neither GCM nor Poly1305 commits
//!   to a key by itself.
//! - Plaintext leaves only after the tag of every chunk of the frame held.
//! - Errors name ids and numbers, never content.
//! - Formats carry a version; an unknown version is refused with its number.
//!
//! Construction after RFC 5869 (HKDF), RFC 8439 and draft-irtf-cfrg-xchacha-03 (XChaCha20-Poly1305), NIST SP 800-38D
//! (GCM), and STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) for chunks with a last flag.

mod context;
mod error;
mod hierarchy;
mod key;
mod object;
mod record;
mod suite;
mod token;
mod wrap;

pub use context::{OBJECT_HEADER_BYTES, ObjectContext, Part};
pub use error::SealError;
pub use hierarchy::{AccountKeys, StudyKeys, WrappedAccountKeys, WrappedStudyKeys};
pub use key::{DataKey, KEY_BYTES};
pub use object::{CHUNK_BYTES, ObjectOpener, ObjectSealer};
pub use record::{open_record, seal_record};
pub use suite::{Suite, TAG_BYTES};
pub use token::{IndexKey, NUM_PARTITIONS, Token, TokenDomain, partition, token, token_of};
pub use wrap::{AccountKeyKind, Half, SystemKey, WRAPPED_KEY_BYTES, WrapBinding, unwrap, wrap};

#[cfg(test)]
mod tamper_tests;
