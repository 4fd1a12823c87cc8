//! Key wrapping: one key sealed under another, bound to whom and what it is for.
//!
//! Account, half, epoch and study key are bound *here* and nowhere else, so that sharing a study, moving it or retiring
//! an epoch re-wraps keys and touches no sealed object.
//!
//! Wrapped key, 120 bytes, version 1:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `SPTK` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 1 | suite |
//! | 6 | 1 | kind of the wrapped key (binding, first byte) |
//! | 7 | 1 | reserved, 0 |
//! | 8 | 32 | random salt |
//! | 40 | 32 | commitment to the wrapping key and the binding |
//! | 72 | 32 | the key, encrypted |
//! | 104 | 16 | tag |
//!
//! A wrapping key lives long, so each wrapping draws a salt and derives a key of its own (HKDF-SHA-256): no nonce under
//! a long-lived key, no limit on how many keys it wraps.

use zeroize::Zeroizing;

use super::SealError;
use super::key::{DataKey, KEY_BYTES, Labels, commitments_match, fill_random};
use super::suite::{Cipher, Position, Suite, TAG_BYTES};
use crate::ids::{AccountId, StudyKeyId};

/// Bytes of a wrapped key.
pub const WRAPPED_KEY_BYTES: usize = 120;

const MAGIC: [u8; 4] = *b"SPTK";
const FORMAT_VERSION: u8 = 1;
const PREFIX_BYTES: usize = 8;
const LABELS: Labels = Labels {
    key: b"septum wrap 1 key",
    commit: b"septum wrap 1 commit",
};
const AT: Position = Position {
    frame: 0,
    chunk: 0,
    last: true,
};

/// The two sides of the wall (invariant 2). The number is part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Half {
    /// Identity: header bytes, metadata, records.
    Phi = 1,
    /// Pixels.
    Pixel = 2,
}

impl Half {
    /// Both halves.
    pub const ALL: [Self; 2] = [Self::Phi, Self::Pixel];
}

/// What an account's key is for. The number is part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum AccountKeyKind {
    /// Wraps the PHI keys of studies.
    Phi = 1,
    /// Wraps the pixel keys of studies.
    Pixel = 2,
    /// Makes blind index tokens.
    Index = 3,
}

impl From<Half> for AccountKeyKind {
    fn from(half: Half) -> Self {
        match half {
            Half::Phi => Self::Phi,
            Half::Pixel => Self::Pixel,
        }
    }
}

/// Keys of the installation itself. The number is part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SystemKey {
    /// Places studies on partitions. Never rotated: the placement of every study depends on it.
    Placement = 1,
    /// The Ed25519 seed that signs audit checkpoints.
    AuditSigning = 2,
    /// Seals the system's own records: accounts, users, settings.
    Record = 3,
    /// Pepper of password hashes.
    Password = 4,
    /// Seals temporary and spool files.
    Spool = 5,
}

/// Whom and what a wrapped key is for: associated data of the wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WrapBinding {
    /// A key of the installation, wrapped by the root key.
    System {
        /// What it is for.
        kind: SystemKey,
        /// Counts up at each rotation.
        epoch: u32,
    },
    /// A key of an account, wrapped by the root key.
    Account {
        /// The account.
        account: AccountId,
        /// What it is for.
        kind: AccountKeyKind,
        /// Counts up at each rotation; destroying an epoch's key makes all that it wrapped unreadable (invariant 9).
        epoch: u32,
    },
    /// A data key of a study, wrapped by its account's key of the same half and epoch.
    Study {
        /// The account whose key wraps.
        account: AccountId,
        /// Which side of the wall.
        half: Half,
        /// The epoch of the account's key.
        epoch: u32,
        /// The study's pair of keys.
        study_key: StudyKeyId,
    },
}

impl WrapBinding {
    /// level ‖ kind ‖ epoch (big endian) ‖ account ‖ study key, zeros where a level has none: 38 bytes, fixed length.
    fn encode(&self) -> [u8; 38] {
        let (level, kind, epoch, account, study_key) = match self {
            Self::System { kind, epoch } => (1, *kind as u8, *epoch, [0; 16], [0; 16]),
            Self::Account { account, kind, epoch } => (2, *kind as u8, *epoch, *account.as_bytes(), [0; 16]),
            Self::Study {
                account,
                half,
                epoch,
                study_key,
            } => (3, *half as u8, *epoch, *account.as_bytes(), *study_key.as_bytes()),
        };
        let mut bytes = [0; 38];
        bytes[0] = level;
        bytes[1] = kind;
        bytes[2..6].copy_from_slice(&epoch.to_be_bytes());
        bytes[6..22].copy_from_slice(&account);
        bytes[22..].copy_from_slice(&study_key);
        bytes
    }
}

/// Wraps `plain` under `wrapping`: [`WRAPPED_KEY_BYTES`] bytes.
///
/// # Errors
/// [`SealError::Unavailable`] where the build lacks the suite.
pub fn wrap(suite: Suite, wrapping: &DataKey, plain: &DataKey, binding: &WrapBinding) -> Result<Vec<u8>, SealError> {
    let mut salt = [0; 32];
    fill_random(&mut salt);
    wrap_with_salt(suite, wrapping, plain, binding, salt)
}

fn wrap_with_salt(
    suite: Suite,
    wrapping: &DataKey,
    plain: &DataKey,
    binding: &WrapBinding,
    salt: [u8; 32],
) -> Result<Vec<u8>, SealError> {
    let info = info(suite, binding);
    let (key, commitment) = wrapping.derive(&salt, LABELS, &info);
    let mut out = Vec::with_capacity(WRAPPED_KEY_BYTES);
    out.extend_from_slice(&prefix(suite, binding));
    out.extend_from_slice(&salt);
    out.extend_from_slice(&commitment);
    let mut text = Zeroizing::new(*plain.expose());
    let tag = Cipher::new(suite, key)?.seal(AT, &info, text.as_mut_slice())?;
    out.extend_from_slice(text.as_slice());
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Unwraps a key that [`wrap`] made.
///
/// # Errors
/// [`SealError::Length`], [`SealError::Magic`], [`SealError::UnknownVersion`], [`SealError::UnknownSuite`],
/// [`SealError::Unavailable`] for the form; [`SealError::Context`] for another kind of key; [`SealError::Key`] for
/// another wrapping key, another binding or changed bytes.
pub fn unwrap(wrapping: &DataKey, wrapped: &[u8], binding: &WrapBinding) -> Result<DataKey, SealError> {
    let wrapped: &[u8; WRAPPED_KEY_BYTES] = wrapped.try_into().map_err(|_| SealError::Length(wrapped.len()))?;
    if wrapped[..4] != MAGIC {
        return Err(SealError::Magic);
    }
    if wrapped[4] != FORMAT_VERSION {
        return Err(SealError::UnknownVersion(wrapped[4]));
    }
    let suite = Suite::from_number(wrapped[5])?;
    if wrapped[..PREFIX_BYTES] != prefix(suite, binding) {
        return Err(SealError::Context);
    }
    let info = info(suite, binding);
    let mut salt = [0; 32];
    salt.copy_from_slice(&wrapped[8..40]);
    let (key, commitment) = wrapping.derive(&salt, LABELS, &info);
    if !commitments_match(&wrapped[40..72], &commitment) {
        return Err(SealError::Key);
    }
    let mut text = Zeroizing::new([0; KEY_BYTES + TAG_BYTES]);
    text.copy_from_slice(&wrapped[72..]);
    Cipher::new(suite, key)?
        .open(AT, &info, text.as_mut_slice())
        .map_err(|_| SealError::Key)?;
    let mut plain = [0; KEY_BYTES];
    plain.copy_from_slice(&text[..KEY_BYTES]);
    let key = DataKey::from_bytes(plain);
    zeroize::Zeroize::zeroize(&mut plain);
    Ok(key)
}

fn prefix(suite: Suite, binding: &WrapBinding) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, FORMAT_VERSION, suite.number(), binding.encode()[0], 0]
}

/// What derivation and associated data are bound to: prefix ‖ binding.
fn info(suite: Suite, binding: &WrapBinding) -> [u8; PREFIX_BYTES + 38] {
    let mut info = [0; PREFIX_BYTES + 38];
    info[..PREFIX_BYTES].copy_from_slice(&prefix(suite, binding));
    info[PREFIX_BYTES..].copy_from_slice(&binding.encode());
    info
}

#[cfg(test)]
mod tests;
