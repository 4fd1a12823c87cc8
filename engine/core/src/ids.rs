//! Identifiers.
//!
//! Two families, never mixed:
//!
//! - *UIDs* come from the outside (DICOM PS3.5 section 9) and are patient data: they live only in memory and inside
//!   sealed bytes. [`Uid`] and the typed [`StudyInstanceUid`], [`SeriesInstanceUid`], [`SopInstanceUid`] print
//!   redacted under `Debug`; ask for [`Uid::as_str`] to see the value.
//! - *Random ids* are ours, 128 bits from the operating system, and say nothing about anybody. They name what lies
//!   on disk and what ciphertexts are bound to.

use std::fmt;

/// Longest UID, in bytes (PS3.5 section 9.1).
pub const UID_LENGTH_MAX: usize = 64;

/// A DICOM unique identifier: 1 to 64 characters out of `0-9` and `.`.
///
/// Components with leading zeros, empty components and a leading or trailing dot break PS3.5 section 9.1, yet occur
/// in the field; they are accepted here and [`Uid::is_conformant`] tells. Trailing NUL and space padding is removed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(Box<str>);

/// Why a text is not a UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
    /// Nothing is left after padding is removed.
    #[error("the UID is empty")]
    Empty,
    /// More than [`UID_LENGTH_MAX`] characters.
    #[error("the UID has {0} characters, at most 64 are allowed")]
    TooLong(usize),
    /// A character other than `0-9` and `.`.
    #[error("the UID has a character that is neither a digit nor a dot, at position {0}")]
    Character(usize),
}

impl Uid {
    /// Reads a UID as it stands in a dataset or a URL.
    pub fn parse(text: &str) -> Result<Self, UidError> {
        let text = text.trim_end_matches(['\0', ' ']);
        if text.is_empty() {
            return Err(UidError::Empty);
        }
        if text.len() > UID_LENGTH_MAX {
            return Err(UidError::TooLong(text.len()));
        }
        match text.bytes().position(|b| !(b.is_ascii_digit() || b == b'.')) {
            Some(position) => Err(UidError::Character(position)),
            None => Ok(Self(text.into())),
        }
    }

    /// A UID made of a random UUID (PS3.5 section B.2).
    pub fn random() -> Self {
        let mut uuid = random_bytes();
        uuid[6] = uuid[6] & 0x0F | 0x40;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        Self(format!("2.25.{}", u128::from_be_bytes(uuid)).into())
    }

    /// The UID's text, without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the UID keeps PS3.5 section 9.1: no empty component, no leading zero.
    pub fn is_conformant(&self) -> bool {
        self.0
            .split('.')
            .all(|c| !c.is_empty() && (c == "0" || !c.starts_with('0')))
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uid(…)")
    }
}

macro_rules! typed_uid {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uid);

        impl $name {
            /// Reads the UID as it stands in a dataset or a URL.
            pub fn parse(text: &str) -> Result<Self, UidError> {
                Uid::parse(text).map(Self)
            }

            /// The UID's text, without padding.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// The untyped UID.
            pub fn uid(&self) -> &Uid {
                &self.0
            }
        }
    )+};
}

typed_uid! {
    /// Study Instance UID (0020,000D).
    StudyInstanceUid,
    /// Series Instance UID (0020,000E).
    SeriesInstanceUid,
    /// SOP Instance UID (0008,0018).
    SopInstanceUid,
}

fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    #[expect(clippy::expect_used, reason = "no id may ever be predictable")]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

macro_rules! random_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Draws a fresh id from the operating system.
            ///
            /// # Panics
            /// When the operating system has no randomness to give: nothing safe can be done without it.
            pub fn random() -> Self {
                Self(random_bytes())
            }

            /// An id that was stored before.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The id's bytes, as stored.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads 32 hexadecimal digits.
            pub fn parse(text: &str) -> Option<Self> {
                let text = text.as_bytes();
                if text.len() != 32 {
                    return None;
                }
                let mut bytes = [0; 16];
                for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
                    let digit = |d: u8| (d as char).to_digit(16);
                    *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
                }
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )+};
}

random_id! {
    /// An account: the tenant, the border of keys and tokens.
    AccountId,
    /// A namespace: the space in which a study UID is unique. Owned by an account.
    NamespaceId,
    /// A study row.
    StudyId,
    /// A series row.
    SeriesId,
    /// One version of one instance.
    VersionId,
    /// The pixels of one version of one instance, whatever codec they are in.
    PixelSetId,
    /// One sealed object: a run of frames, a header, a metadata list.
    ObjectId,
    /// The pair of data keys of one study (brief section 4).
    StudyKeyId,
    /// Binds a PHI record to its pixel set; lies inside both ciphertexts.
    SplitId,
    /// A user.
    UserId,
    /// A group or location of an account.
    UnitId,
    /// A role of an account.
    RoleId,
    /// A small record of any other kind: an order, a custom field, an annotation.
    DocumentId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_bounded_and_plain() {
        let too_long = "1".repeat(65);
        for (text, expected) in [
            ("1.2.840.10008.1.2", Ok(true)),
            ("1.2.3\0", Ok(true)),
            ("1.2.3  ", Ok(true)),
            ("1.02.3", Ok(false)),
            ("1..3", Ok(false)),
            ("0", Ok(true)),
            ("", Err(UidError::Empty)),
            ("\0", Err(UidError::Empty)),
            ("../etc", Err(UidError::Character(2))),
            ("1.2.a", Err(UidError::Character(4))),
            (too_long.as_str(), Err(UidError::TooLong(65))),
        ] {
            assert_eq!(Uid::parse(text).map(|uid| uid.is_conformant()), expected, "{text:?}");
        }
    }

    #[test]
    fn debug_shows_no_uid() {
        assert!(!format!("{:?}", SopInstanceUid::parse("1.2.3")).contains("1.2.3"));
    }

    #[test]
    fn random_ids_round_trip_as_text() {
        let id = ObjectId::random();
        assert_eq!(ObjectId::parse(&id.to_string()), Some(id));
        assert_eq!(ObjectId::parse("xyz"), None);
        assert_ne!(ObjectId::random(), id);
    }
}
