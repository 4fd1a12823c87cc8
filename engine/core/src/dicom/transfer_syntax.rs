//! Transfer syntaxes (PS3.5 annex A, PS3.6 table A-1).

use std::borrow::Cow;
use std::fmt;

/// How the elements of a dataset are encoded (PS3.5 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Encoding {
    /// Implicit VR Little Endian.
    ImplicitLittle,
    /// Explicit VR Little Endian.
    ExplicitLittle,
    /// Explicit VR Big Endian.
    ExplicitBig,
}

impl Encoding {
    /// Whether elements carry their VR.
    pub const fn is_explicit(self) -> bool {
        !matches!(self, Self::ImplicitLittle)
    }

    /// The encoding of item headers, which carry no VR.
    pub(super) const fn items(self) -> Self {
        match self {
            Self::ExplicitBig => Self::ExplicitBig,
            Self::ExplicitLittle | Self::ImplicitLittle => Self::ImplicitLittle,
        }
    }

    /// Whether numbers start with their most significant byte.
    pub const fn is_big_endian(self) -> bool {
        matches!(self, Self::ExplicitBig)
    }
}

/// What kind of pixel data a transfer syntax holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Pixels {
    Native,
    Encapsulated,
    Video,
}

#[derive(Debug)]
struct Entry {
    uid: &'static str,
    encoding: Encoding,
    deflated: bool,
    pixels: Pixels,
}

/// A transfer syntax: one of the standard ones, or an unknown one that is kept verbatim and read as Explicit VR Little
/// Endian with encapsulated pixel data allowed.
#[derive(Clone)]
pub struct TransferSyntax {
    uid: Cow<'static, str>,
    entry: Option<&'static Entry>,
}

const fn entry(uid: &'static str, encoding: Encoding, deflated: bool, pixels: Pixels) -> Entry {
    Entry {
        uid,
        encoding,
        deflated,
        pixels,
    }
}

const fn little(uid: &'static str, pixels: Pixels) -> Entry {
    entry(uid, Encoding::ExplicitLittle, false, pixels)
}

/// PS3.6 table A-1, transfer syntaxes. MIME and XML encodings (1.2.840.10008.1.2.6) are none of a dataset and left out.
static TABLE: [Entry; 63] = {
    use Encoding::{ExplicitBig, ExplicitLittle, ImplicitLittle};
    use Pixels::{Encapsulated, Native, Video};
    [
        entry("1.2.840.10008.1.2", ImplicitLittle, false, Native),
        entry("1.2.840.10008.1.20", ImplicitLittle, false, Native),
        entry("1.2.840.10008.1.2.1", ExplicitLittle, false, Native),
        entry("1.2.840.10008.1.2.1.99", ExplicitLittle, true, Native),
        entry("1.2.840.10008.1.2.2", ExplicitBig, false, Native),
        // JPIP: the pixels are elsewhere, referenced by URL.
        entry("1.2.840.10008.1.2.4.94", ExplicitLittle, false, Native),
        entry("1.2.840.10008.1.2.4.95", ExplicitLittle, true, Native),
        entry("1.2.840.10008.1.2.4.204", ExplicitLittle, false, Native),
        entry("1.2.840.10008.1.2.4.205", ExplicitLittle, true, Native),
        // SMPTE ST 2110 real-time video: no pixels in the dataset.
        entry("1.2.840.10008.1.2.7.1", ExplicitLittle, false, Native),
        entry("1.2.840.10008.1.2.7.2", ExplicitLittle, false, Native),
        entry("1.2.840.10008.1.2.7.3", ExplicitLittle, false, Native),
        little("1.2.840.10008.1.2.1.98", Encapsulated),
        little("1.2.840.10008.1.2.5", Encapsulated),
        little("1.2.840.10008.1.2.8.1", Encapsulated),
        little("1.2.840.10008.1.2.4.50", Encapsulated),
        little("1.2.840.10008.1.2.4.51", Encapsulated),
        little("1.2.840.10008.1.2.4.52", Encapsulated),
        little("1.2.840.10008.1.2.4.53", Encapsulated),
        little("1.2.840.10008.1.2.4.54", Encapsulated),
        little("1.2.840.10008.1.2.4.55", Encapsulated),
        little("1.2.840.10008.1.2.4.56", Encapsulated),
        little("1.2.840.10008.1.2.4.57", Encapsulated),
        little("1.2.840.10008.1.2.4.58", Encapsulated),
        little("1.2.840.10008.1.2.4.59", Encapsulated),
        little("1.2.840.10008.1.2.4.60", Encapsulated),
        little("1.2.840.10008.1.2.4.61", Encapsulated),
        little("1.2.840.10008.1.2.4.62", Encapsulated),
        little("1.2.840.10008.1.2.4.63", Encapsulated),
        little("1.2.840.10008.1.2.4.64", Encapsulated),
        little("1.2.840.10008.1.2.4.65", Encapsulated),
        little("1.2.840.10008.1.2.4.66", Encapsulated),
        little("1.2.840.10008.1.2.4.70", Encapsulated),
        little("1.2.840.10008.1.2.4.80", Encapsulated),
        little("1.2.840.10008.1.2.4.81", Encapsulated),
        little("1.2.840.10008.1.2.4.90", Encapsulated),
        little("1.2.840.10008.1.2.4.91", Encapsulated),
        little("1.2.840.10008.1.2.4.92", Encapsulated),
        little("1.2.840.10008.1.2.4.93", Encapsulated),
        little("1.2.840.10008.1.2.4.110", Encapsulated),
        little("1.2.840.10008.1.2.4.111", Encapsulated),
        little("1.2.840.10008.1.2.4.112", Encapsulated),
        little("1.2.840.10008.1.2.4.201", Encapsulated),
        little("1.2.840.10008.1.2.4.202", Encapsulated),
        little("1.2.840.10008.1.2.4.203", Encapsulated),
        little("1.2.840.10008.1.2.4.100", Video),
        little("1.2.840.10008.1.2.4.100.1", Video),
        little("1.2.840.10008.1.2.4.101", Video),
        little("1.2.840.10008.1.2.4.101.1", Video),
        little("1.2.840.10008.1.2.4.102", Video),
        little("1.2.840.10008.1.2.4.102.1", Video),
        little("1.2.840.10008.1.2.4.103", Video),
        little("1.2.840.10008.1.2.4.103.1", Video),
        little("1.2.840.10008.1.2.4.104", Video),
        little("1.2.840.10008.1.2.4.104.1", Video),
        little("1.2.840.10008.1.2.4.105", Video),
        little("1.2.840.10008.1.2.4.105.1", Video),
        little("1.2.840.10008.1.2.4.106", Video),
        little("1.2.840.10008.1.2.4.106.1", Video),
        little("1.2.840.10008.1.2.4.107", Video),
        little("1.2.840.10008.1.2.4.107.1", Video),
        little("1.2.840.10008.1.2.4.108", Video),
        little("1.2.840.10008.1.2.4.108.1", Video),
    ]
};

impl TransferSyntax {
    /// Implicit VR Little Endian, the default (PS3.5 section A.1).
    pub const IMPLICIT_LITTLE: &'static str = "1.2.840.10008.1.2";
    /// Explicit VR Little Endian (PS3.5 section A.2).
    pub const EXPLICIT_LITTLE: &'static str = "1.2.840.10008.1.2.1";
    /// Explicit VR Big Endian, retired.
    pub const EXPLICIT_BIG: &'static str = "1.2.840.10008.1.2.2";
    /// Deflated Explicit VR Little Endian (PS3.5 section A.5).
    pub const DEFLATED: &'static str = "1.2.840.10008.1.2.1.99";

    /// The transfer syntax of a UID (without padding), known or not.
    pub fn of(uid: &str) -> Self {
        match TABLE.iter().find(|entry| entry.uid == uid) {
            Some(entry) => Self {
                uid: Cow::Borrowed(entry.uid),
                entry: Some(entry),
            },
            None => Self {
                uid: Cow::Owned(uid.to_owned()),
                entry: None,
            },
        }
    }

    /// The plain transfer syntax of an encoding.
    pub fn of_encoding(encoding: Encoding) -> Self {
        Self::of(match encoding {
            Encoding::ImplicitLittle => Self::IMPLICIT_LITTLE,
            Encoding::ExplicitLittle => Self::EXPLICIT_LITTLE,
            Encoding::ExplicitBig => Self::EXPLICIT_BIG,
        })
    }

    /// The UID.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Whether PS3.6 lists it.
    pub fn is_known(&self) -> bool {
        self.entry.is_some()
    }

    /// How elements are encoded.
    pub fn encoding(&self) -> Encoding {
        self.entry.map_or(Encoding::ExplicitLittle, |entry| entry.encoding)
    }

    /// Whether the dataset is deflated (RFC 1951).
    pub fn is_deflated(&self) -> bool {
        self.entry.is_some_and(|entry| entry.deflated)
    }

    /// Whether pixel data is encapsulated (PS3.5 section A.4). False for unknown ones.
    pub fn is_encapsulated(&self) -> bool {
        self.entry.is_some_and(|entry| entry.pixels != Pixels::Native)
    }

    /// Whether the payload is one video stream, whose frames are not to be had singly.
    pub fn is_video(&self) -> bool {
        self.entry.is_some_and(|entry| entry.pixels == Pixels::Video)
    }
}

impl PartialEq for TransferSyntax {
    fn eq(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

impl Eq for TransferSyntax {}

impl fmt::Debug for TransferSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An unknown UID came from outside and may say who made it.
        write!(f, "TransferSyntax({})", self.entry.map_or("unknown", |entry| entry.uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntaxes_are_as_the_standard_says() {
        for (uid, known, encoding, deflated, encapsulated, video) in [
            ("1.2.840.10008.1.2", true, Encoding::ImplicitLittle, false, false, false),
            (
                "1.2.840.10008.1.2.1",
                true,
                Encoding::ExplicitLittle,
                false,
                false,
                false,
            ),
            ("1.2.840.10008.1.2.2", true, Encoding::ExplicitBig, false, false, false),
            (
                "1.2.840.10008.1.2.1.99",
                true,
                Encoding::ExplicitLittle,
                true,
                false,
                false,
            ),
            (
                "1.2.840.10008.1.2.8.1",
                true,
                Encoding::ExplicitLittle,
                false,
                true,
                false,
            ),
            (
                "1.2.840.10008.1.2.4.107",
                true,
                Encoding::ExplicitLittle,
                false,
                true,
                true,
            ),
            ("1.2.3", false, Encoding::ExplicitLittle, false, false, false),
        ] {
            let syntax = TransferSyntax::of(uid);
            assert_eq!(
                (
                    syntax.is_known(),
                    syntax.encoding(),
                    syntax.is_deflated(),
                    syntax.is_encapsulated(),
                    syntax.is_video(),
                    syntax.uid()
                ),
                (known, encoding, deflated, encapsulated, video, uid)
            );
        }
    }
}
