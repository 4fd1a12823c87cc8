//! Blind index tokens: what exact lookups (UIDs, Patient ID with issuer, accession number) are made by, so that no UID
//! and no identifier is a key on disk (invariant 3). And the keyed hash that places a study on a partition.
//!
//! Token = HMAC-SHA-256 (RFC 2104) under the account's index key, first 128 bits, over
//! `septum token 1` ‖ domain (1) ‖ namespace (16) ‖ number of parts (u32) ‖ for each part its length (u64) and bytes;
//! integers big endian. Golden-tested: the encoding may never change.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::DataKey;
use crate::ids::NamespaceId;

/// Number of fixed partitions that studies are placed on.
pub const NUM_PARTITIONS: u16 = 4096;

/// The key of an account's blind index. Wiped on drop; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct IndexKey(DataKey);

impl IndexKey {
    /// The index key with these secret bytes.
    pub fn new(key: DataKey) -> Self {
        Self(key)
    }

    pub(super) fn key(&self) -> &DataKey {
        &self.0
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IndexKey(…)")
    }
}

/// What a token stands for: equal values of different domains have different tokens. The number is part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TokenDomain {
    /// Study Instance UID (0020,000D).
    Study = 1,
    /// Series Instance UID (0020,000E), with the study's before it.
    Series = 2,
    /// SOP Instance UID (0008,0018), with study and series before it.
    Instance = 3,
    /// Issuer of Patient ID (0010,0021) and Patient ID (0010,0020), in this order.
    Patient = 4,
    /// Accession Number (0008,0050).
    Accession = 5,
    /// A user's sign-in name.
    UserName = 6,
    /// A session, API key or share link.
    Session = 7,
    /// Digest of an instance's normalised content, to find duplicates.
    Content = 8,
    /// Subject reference in the audit log.
    AuditSubject = 9,
    /// Patient ID (0010,0020), whoever issued it.
    PatientId = 10,
    /// A small record that may be sent twice: who, what kind, whose, what it says.
    Document = 11,
}

/// A blind index token, 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Token([u8; 16]);

impl Token {
    /// A token that was stored before.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The token's bytes, as stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

/// The token of one value. The caller normalises (padding off, case as the attribute demands) before.
pub fn token(key: &IndexKey, domain: TokenDomain, namespace: NamespaceId, value: &[u8]) -> Token {
    token_of(key, domain, namespace, &[value])
}

/// The token of several values together, such as issuer and Patient ID. Which byte belongs to which part matters.
pub fn token_of(key: &IndexKey, domain: TokenDomain, namespace: NamespaceId, parts: &[&[u8]]) -> Token {
    let mac = keyed_hash(key.key(), b"septum token 1", domain as u8, namespace, parts);
    let mut token = [0; 16];
    token.copy_from_slice(&mac[..16]);
    Token(token)
}

/// The partition, `0..4096`, of a study: first 12 bits of HMAC-SHA-256 under the installation's placement key over
/// `septum partition 1` and the same encoding as a token's, with a namespace of zeros: a study's copies in every
/// namespace lie in one shard, so that sharing it is one commit. `study_uid` without padding.
pub fn partition(placement_key: &DataKey, study_uid: &[u8]) -> u16 {
    let mac = keyed_hash(
        placement_key,
        b"septum partition 1",
        TokenDomain::Study as u8,
        NamespaceId::from_bytes([0; 16]),
        &[study_uid],
    );
    u16::from_be_bytes([mac[0], mac[1]]) >> 4
}

fn keyed_hash(key: &DataKey, label: &[u8], domain: u8, namespace: NamespaceId, parts: &[&[u8]]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("any length");
    mac.update(label);
    mac.update(&[domain]);
    mac.update(namespace.as_bytes());
    mac.update(&(parts.len() as u32).to_be_bytes());
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [0x42; 32];
    const NAMESPACE: NamespaceId = NamespaceId::from_bytes([0x17; 16]);

    fn index_key() -> IndexKey {
        IndexKey::new(DataKey::from_bytes(KEY))
    }

    #[test]
    fn golden() {
        let key = index_key();
        for (domain, parts, expected) in [
            (
                TokenDomain::Study,
                &[b"1.2.840.113619.2.1".as_slice()][..],
                "1707cc5228ff74f7188efcd59e7f98a3",
            ),
            (
                TokenDomain::Patient,
                &[b"HOSPITAL".as_slice(), b"12345"][..],
                "31a58c4de4ef054a9709d10c90ec137e",
            ),
            (
                TokenDomain::Accession,
                &[b"".as_slice()][..],
                "8fb520420bb78c40449237b4dc45a484",
            ),
        ] {
            assert_eq!(
                token_of(&key, domain, NAMESPACE, parts).to_string(),
                expected,
                "{domain:?}"
            );
        }
    }

    #[test]
    fn golden_partition() {
        let key = DataKey::from_bytes(KEY);
        let partitions = ["1.2.3", "1.2.4", "2.25.1"].map(|uid| partition(&key, uid.as_bytes()));
        assert_eq!(partitions, [1504, 807, 2234]);
    }

    #[test]
    fn tokens_differ_in_every_input() {
        let key = index_key();
        let base = token_of(&key, TokenDomain::Patient, NAMESPACE, &[b"ab", b"c"]);
        assert_eq!(base, token_of(&key, TokenDomain::Patient, NAMESPACE, &[b"ab", b"c"]));
        let other_key = IndexKey::new(DataKey::from_bytes([0x43; 32]));
        for other in [
            token_of(&key, TokenDomain::Patient, NAMESPACE, &[b"a", b"bc"]),
            token_of(&key, TokenDomain::Patient, NAMESPACE, &[b"abc"]),
            token_of(&key, TokenDomain::Patient, NAMESPACE, &[b"ab", b"c", b""]),
            token_of(&key, TokenDomain::Study, NAMESPACE, &[b"ab", b"c"]),
            token_of(
                &key,
                TokenDomain::Patient,
                NamespaceId::from_bytes([0x18; 16]),
                &[b"ab", b"c"],
            ),
            token_of(&other_key, TokenDomain::Patient, NAMESPACE, &[b"ab", b"c"]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn partitions_are_in_range_and_spread() {
        let key = DataKey::from_bytes(KEY);
        let mut counts = [0u32; NUM_PARTITIONS as usize];
        for number in 0..40_960u32 {
            counts[usize::from(partition(&key, format!("1.2.{number}").as_bytes()))] += 1;
        }
        // Mean 10; a Poisson tail beyond 35 has probability below 1e-9 for each partition.
        assert!(counts.iter().all(|&count| count < 35));
        assert!(counts.iter().filter(|&&count| count == 0).count() < 10);
    }
}
