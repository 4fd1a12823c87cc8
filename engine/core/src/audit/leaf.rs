//! One audited event, and its only encoding: JSON without white space, members in the order below, absent ones left out.
//!
//! ```json
//! {"v":1,"seq":0,"time_ms":1700000000000,"actor":"user:00…","action":"study.read","object":"study:00…",
//!  "outcome":"success","source":"192.0.2.1","account":"00…","detail":"c2VhbGVk"}
//! ```
//!
//! No member can hold free text: ids are random, actions are names out of the code, `detail` is sealed bytes in Base64.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::tree::{Hash, leaf_hash};
use crate::ids::{AccountId, UserId};

/// Longest encoded leaf that is read, in bytes.
const LEAF_BYTES_MAX: usize = 1 << 20;
const FORMAT_VERSION: u8 = 1;

/// One event of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    #[serde(rename = "v")]
    version: Version,
    /// Number of the leaf in its tree, from 0, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// Upon what.
    pub object: ObjectRef,
    /// With what result.
    pub outcome: Outcome,
    /// The address the request came from, through trusted proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The account concerned.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "account_text")]
    pub account: Option<AccountId>,
    /// Sealed bytes for whoever holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "detail_text")]
    pub detail: Option<Vec<u8>>,
}

/// Why bytes are no leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Not the JSON of a leaf.
    #[error("the bytes are no audit leaf")]
    Malformed,
    /// The JSON of a leaf, but not its canonical form.
    #[error("the audit leaf is not in canonical form")]
    NotCanonical,
    /// Longer than 1 MiB.
    #[error("an audit leaf of {0} bytes is too long")]
    TooLong(usize),
}

impl Leaf {
    /// An event without source, account and detail; set them afterwards.
    pub fn new(seq: u64, time_ms: u64, actor: Actor, action: Action, object: ObjectRef, outcome: Outcome) -> Self {
        let version = Version;
        Self {
            version,
            seq,
            time_ms,
            actor,
            action,
            object,
            outcome,
            source: None,
            account: None,
            detail: None,
        }
    }

    /// The canonical bytes: what is stored and hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        #[expect(
            clippy::expect_used,
            reason = "numbers and strings always serialise; there is no map with other keys"
        )]
        serde_json::to_vec(self).expect("a leaf is plain JSON")
    }

    /// Reads canonical bytes; whatever would be written differently is refused.
    ///
    /// # Errors
    /// [`LeafError`], where it is no leaf or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(LeafError::TooLong(bytes.len()));
        }
        let leaf: Self = serde_json::from_slice(bytes).map_err(|_| LeafError::Malformed)?;
        if leaf.to_bytes() == bytes {
            Ok(leaf)
        } else {
            Err(LeafError::NotCanonical)
        }
    }

    /// The leaf's hash in the tree.
    pub fn hash(&self) -> Hash {
        leaf_hash(&self.to_bytes())
    }
}

/// The format's version, checked on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(FORMAT_VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            FORMAT_VERSION => Ok(Self),
            _ => Err(D::Error::custom("unknown version of an audit leaf")),
        }
    }
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The product itself: a job, a rule.
    System,
    /// Somebody who has not signed in.
    Anonymous,
    /// A user: `user:` and the id.
    User(UserId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(id) => write!(f, "user:{id}"),
        }
    }
}

impl Actor {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "system" => Some(Self::System),
            "anonymous" => Some(Self::Anonymous),
            _ => UserId::parse(text.strip_prefix("user:")?).map(Self::User),
        }
    }
}

/// What was done: a name out of the code such as `study.read`. 1 to 64 characters: a lower-case letter, then
/// lower-case letters, hyphens and dots, so that it cannot carry a UID, a number or a name from outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Action(Cow<'static, str>);

impl Action {
    /// A name known when compiling.
    ///
    /// # Panics
    /// When the name is not one: at compile time, in a `const`.
    pub const fn new(name: &'static str) -> Self {
        assert!(
            is_action(name.as_bytes()),
            "lower-case letters, hyphens and dots, at most 64"
        );
        Self(Cow::Borrowed(name))
    }

    /// A name read from a log.
    pub fn parse(name: &str) -> Option<Self> {
        is_action(name.as_bytes()).then(|| Self(Cow::Owned(name.to_owned())))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn is_action(name: &[u8]) -> bool {
    let mut index = 0;
    while index < name.len() {
        let is_letter = name[index].is_ascii_lowercase();
        if !is_letter && (index == 0 || !matches!(name[index], b'-' | b'.')) {
            return false;
        }
        index += 1;
    }
    !name.is_empty() && name.len() <= 64
}

macro_rules! object_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What kind of thing an [`ObjectRef`] names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ObjectKind { $($(#[$doc])* $name),+ }

        impl ObjectKind {
            /// The name in a leaf.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

object_kinds! {
    /// An account.
    Account = "account",
    /// A namespace.
    Namespace = "namespace",
    /// A study row.
    Study = "study",
    /// A series row.
    Series = "series",
    /// A version of an instance.
    Version = "version",
    /// A pixel set.
    PixelSet = "pixel-set",
    /// A sealed object.
    Object = "object",
    /// A study's pair of keys.
    StudyKey = "study-key",
    /// A user.
    User = "user",
    /// A role.
    Role = "role",
    /// A small record: an order, a custom field, an annotation.
    Document = "document",
    /// Something known by its blind index token only.
    Token = "token",
}

/// Upon what: nothing but a kind and a random id or token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectRef {
    /// The installation as a whole.
    System,
    /// One thing: kind, `:`, 32 hexadecimal digits.
    One(ObjectKind, [u8; 16]),
}

impl ObjectRef {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "system" {
            return Some(Self::System);
        }
        let (kind, id) = text.split_once(':')?;
        Some(Self::One(ObjectKind::from_name(kind)?, *UserId::parse(id)?.as_bytes()))
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::One(kind, id) => write!(f, "{}:{}", kind.name(), UserId::from_bytes(*id)),
        }
    }
}

macro_rules! text_serde {
    ($($name:ident),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| D::Error::custom(concat!("no ", stringify!($name))))
            }
        }
    )+};
}

text_serde!(Actor, Action, ObjectRef);

/// With what result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Success,
    /// Not permitted.
    Denied,
    /// Refused because of the request: the sender's fault.
    Rejected,
    /// Failed: ours.
    Failed,
}

mod account_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(account: &Option<AccountId>, serializer: S) -> Result<S::Ok, S::Error> {
        match account {
            Some(account) => serializer.collect_str(account),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AccountId>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        AccountId::parse(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom("no account id"))
    }
}

mod detail_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(detail: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match detail {
            Some(detail) => serializer.serialize_str(&BASE64_STANDARD.encode(detail)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        BASE64_STANDARD
            .decode(text.as_bytes())
            .map(Some)
            .map_err(|_| D::Error::custom("no Base64"))
    }
}

#[cfg(test)]
mod tests;
