//! Keys and values of rows.
//!
//! The first byte of a key says what the row is ([`RowKind`]); 0x00 to 0x0f are storage's own. What follows is up to
//! the engine, and holds ids, tokens and sealed bytes only, never a UID or a name (invariant 3). Values that are not
//! sealed as a whole start with the version of their format ([`Versioned`]).

use crate::batch::Location;
use crate::error::{Result, SegmentKind, StorageError};
use septum_core::ids::ObjectId;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// First byte of a key. The numbers are on disk: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RowKind {
    /// A study in a namespace.
    Study = 0x10,
    /// A series of a study.
    Series = 0x11,
    /// An instance (its current version).
    Instance = 0x12,
    /// One version of an instance.
    Version = 0x13,
    /// Where the frames of a pixel set lie and in which codec.
    PixelRecord = 0x14,
    /// Pre-built metadata of a series and its deltas.
    Metadata = 0x15,
    /// A patient key.
    Patient = 0x16,
    /// An entry of the exception list (invariant 10).
    Exception = 0x17,
    /// The change feed.
    Change = 0x18,
    /// Audit leaves.
    AuditLeaf = 0x19,
    /// Inner nodes of the audit tree.
    AuditTree = 0x1a,
    /// Changes across shards that are under way.
    Saga = 0x1b,
    /// Inputs that made the program fail twice.
    Quarantine = 0x1c,
    /// An account.
    Account = 0x20,
    /// A namespace.
    Namespace = 0x21,
    /// A user.
    User = 0x22,
    /// Signed audit checkpoints.
    Checkpoint = 0x23,
    /// Patient keys that were merged.
    PatientAlias = 0x24,
    /// Studies into which something was stored a short while ago.
    Unstable = 0x25,
    /// Pixel sets that wait for the dense tier.
    Densify = 0x26,
    /// Pages of the searchable fields of studies.
    Columns = 0x27,
    /// Studies whose folded forms (columns, series metadata) are behind.
    Unfolded = 0x28,
    /// Studies by a token of one of their attributes.
    Lookup = 0x29,
    /// Long values of an instance that is not committed yet.
    Arriving = 0x2a,
    /// Studies that nothing may change.
    Frozen = 0x2b,
    /// A role of an account.
    Role = 0x30,
    /// What a user is in a namespace.
    Membership = 0x31,
    /// Somebody who is signed in.
    Session = 0x32,
    /// A small record of any other kind.
    Document = 0x33,
    /// Documents attached to studies.
    Attachment = 0x34,
    /// How many studies use a pixel set besides the one it was stored with.
    PixelUse = 0x35,
    /// What the instances of a study say of extended attributes.
    Extended = 0x36,
}

impl RowKind {
    /// All kinds, ascending.
    pub const ALL: [Self; 32] = [
        Self::Study,
        Self::Series,
        Self::Instance,
        Self::Version,
        Self::PixelRecord,
        Self::Metadata,
        Self::Patient,
        Self::Exception,
        Self::Change,
        Self::AuditLeaf,
        Self::AuditTree,
        Self::Saga,
        Self::Quarantine,
        Self::Account,
        Self::Namespace,
        Self::User,
        Self::Checkpoint,
        Self::PatientAlias,
        Self::Unstable,
        Self::Densify,
        Self::Columns,
        Self::Unfolded,
        Self::Lookup,
        Self::Arriving,
        Self::Frozen,
        Self::Role,
        Self::Membership,
        Self::Session,
        Self::Document,
        Self::Attachment,
        Self::PixelUse,
        Self::Extended,
    ];

    /// `kind ‖ parts`. Parts other than the last must have a fixed length, else keys become ambiguous.
    pub fn key(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
        key.push(self as u8);
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }

    /// The kind of a key, `None` for storage's own and unknown ones.
    pub fn of(key: &[u8]) -> Option<Self> {
        let first = *key.first()?;
        Self::ALL.into_iter().find(|kind| *kind as u8 == first)
    }
}

/// First byte of keys that callers may use.
pub(crate) const FIRST_ROW_BYTE: u8 = 0x10;

/// The smallest key greater than every key that starts with `prefix`; `None` if there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Storage's own rows.
pub(crate) mod internal {
    use super::*;

    /// How far the index has applied the journal.
    pub(crate) const APPLIED: &[u8] = &[0x00, b'a'];
    /// Prefix of object locations.
    pub(crate) const LOCATION: &[u8] = &[0x00, b'o'];
    /// Prefix of segment counters.
    pub(crate) const STAT: &[u8] = &[0x00, b's'];
    /// Prefix of retired journal segments. The only internal rows that lie in the journal themselves.
    pub(crate) const RETIRED: &[u8] = &[0x00, b'r'];

    pub(crate) fn location(id: &ObjectId) -> Vec<u8> {
        [LOCATION, id.as_bytes()].concat()
    }

    pub(crate) fn stat(kind: SegmentKind, segment: u32) -> Vec<u8> {
        [STAT, &[kind as u8], &segment.to_be_bytes()].concat()
    }

    pub(crate) fn parse_stat(key: &[u8]) -> Option<(SegmentKind, u32)> {
        let rest: &[u8; 5] = key.strip_prefix(STAT)?.try_into().ok()?;
        Some((
            SegmentKind::from_byte(rest[0])?,
            u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]),
        ))
    }

    pub(crate) fn retired(segment: u32) -> Vec<u8> {
        [RETIRED, &segment.to_be_bytes()].concat()
    }

    pub(crate) fn parse_retired(key: &[u8]) -> Option<u32> {
        Some(u32::from_be_bytes(key.strip_prefix(RETIRED)?.try_into().ok()?))
    }
}

/// A location as an index value: version byte, then [`Location`].
pub(crate) fn encode_location(location: &Location) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + Location::ENCODED_BYTES);
    value.push(1);
    location.encode_into(&mut value);
    value
}

pub(crate) fn decode_location(value: &[u8]) -> Option<Location> {
    match value.split_first() {
        Some((1, rest)) => Location::decode(rest),
        _ => None,
    }
}

/// A value format: a serde type with a version of its own.
pub trait Record: Serialize + DeserializeOwned {
    /// What the format is called in errors.
    const NAME: &'static str;
    /// The version written today.
    const VERSION: u8;

    /// Reads the predecessor of today's version; `None` means unknown or damaged.
    fn upgrade(_version: u8, _body: &[u8]) -> Option<Self> {
        None
    }
}

/// Encodes a value as version byte ‖ postcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T>(pub T);

impl<T: Record> Versioned<T> {
    /// The bytes to store.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`] if the type refuses to serialise (unsized sequences).
    pub fn encode(value: &T) -> Result<Vec<u8>> {
        let refused = |_| StorageError::TooLarge {
            what: T::NAME,
            size: 0,
            limit: 0,
        };
        postcard::to_extend(value, vec![T::VERSION]).map_err(refused)
    }

    /// Reads stored bytes. An unknown version is refused with its number; anything left over is damage.
    ///
    /// # Errors
    /// [`StorageError::UnknownVersion`], also (with version 0) for bytes that do not parse.
    pub fn decode(bytes: &[u8]) -> Result<T> {
        let Some((&version, body)) = bytes.split_first() else {
            return Err(StorageError::UnknownVersion {
                what: T::NAME,
                version: 0,
            });
        };
        let value = if version == T::VERSION {
            match postcard::take_from_bytes::<T>(body) {
                Ok((value, [])) => Some(value),
                _ => {
                    return Err(StorageError::UnknownVersion {
                        what: T::NAME,
                        version: 0,
                    });
                }
            }
        } else {
            T::upgrade(version, body)
        };
        value.ok_or(StorageError::UnknownVersion {
            what: T::NAME,
            version: version.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_stable_and_distinct() {
        let bytes: Vec<u8> = RowKind::ALL.iter().map(|kind| *kind as u8).collect();
        let expected: Vec<u8> = (0x10..=0x1c).chain(0x20..=0x2b).chain(0x30..=0x36).collect();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn keys_are_golden() {
        for (key, expected) in [
            (RowKind::Study.key(&[&[1, 2], &[3]]), vec![0x10, 1, 2, 3]),
            (RowKind::PatientAlias.key(&[]), vec![0x24]),
            (internal::APPLIED.to_vec(), vec![0, b'a']),
            (internal::stat(SegmentKind::Journal, 258), vec![0, b's', 2, 0, 0, 1, 2]),
            (internal::retired(1), vec![0, b'r', 0, 0, 0, 1]),
            (
                internal::location(&ObjectId::from_bytes([7; 16])),
                [vec![0, b'o'], vec![7; 16]].concat(),
            ),
        ] {
            assert_eq!(key, expected);
        }
        assert_eq!(RowKind::of(&[0x12, 0]), Some(RowKind::Instance));
        assert_eq!(RowKind::of(&[0x00, b'a']), None);
    }

    #[test]
    fn prefix_ends() {
        for (prefix, expected) in [
            (&[0x10][..], Some(vec![0x11])),
            (&[0x10, 0xff], Some(vec![0x11])),
            (&[0xff], None),
            (&[], None),
        ] {
            assert_eq!(prefix_end(prefix), expected);
        }
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Sample {
        number: u32,
        text: String,
    }

    impl Record for Sample {
        const NAME: &'static str = "sample";
        const VERSION: u8 = 3;

        fn upgrade(version: u8, body: &[u8]) -> Option<Self> {
            (version == 2).then(|| Self {
                number: u32::from(body[0]),
                text: String::new(),
            })
        }
    }

    #[test]
    fn values_carry_their_version() {
        let value = Sample {
            number: 300,
            text: "a".into(),
        };
        let bytes = Versioned::encode(&value).expect("encodes");
        assert_eq!(bytes, [3, 0xac, 0x02, 1, b'a']);
        assert_eq!(Versioned::<Sample>::decode(&bytes).expect("valid"), value);
        assert_eq!(Versioned::<Sample>::decode(&[2, 9]).expect("predecessor").number, 9);
        for (bytes, expected) in [(&[9u8, 1][..], 9u16), (&[], 0), (&[3, 1], 0), (&[3, 1, 0, 0], 0)] {
            let error = Versioned::<Sample>::decode(bytes).expect_err("refused");
            assert!(
                matches!(error, StorageError::UnknownVersion { version, .. } if version == expected),
                "{error}"
            );
        }
    }
}
