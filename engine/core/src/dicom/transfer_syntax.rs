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
    /// The dataset has none: they come over a protocol of their own.
    Elsewhere,
}

#[derive(Debug)]
struct Entry {
    uid: &'static str,
    name: &'static str,
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

const fn entry(uid: &'static str, name: &'static str, encoding: Encoding, deflated: bool, pixels: Pixels) -> Entry {
    Entry {
        uid,
        name,
        encoding,
        deflated,
        pixels,
    }
}

const fn little(uid: &'static str, name: &'static str, pixels: Pixels) -> Entry {
    entry(uid, name, Encoding::ExplicitLittle, false, pixels)
}

/// PS3.6 table A-1, transfer syntaxes. MIME and XML encodings (1.2.840.10008.1.2.6) are none of a dataset and left out.
#[rustfmt::skip]
static TABLE: [Entry; 63] = {
    use Encoding::{ExplicitBig, ExplicitLittle, ImplicitLittle};
    use Pixels::{Elsewhere, Encapsulated, Native, Video};
    [
        entry("1.2.840.10008.1.2", "Implicit VR Little Endian", ImplicitLittle, false, Native),
        entry("1.2.840.10008.1.20", "Papyrus 3 Implicit VR Little Endian (Retired)", ImplicitLittle, false, Native),
        entry("1.2.840.10008.1.2.1", "Explicit VR Little Endian", ExplicitLittle, false, Native),
        entry("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian", ExplicitLittle, true, Native),
        entry("1.2.840.10008.1.2.2", "Explicit VR Big Endian (Retired)", ExplicitBig, false, Native),
        // JPIP: the pixels are elsewhere, referenced by URL.
        entry("1.2.840.10008.1.2.4.94", "JPIP Referenced", ExplicitLittle, false, Elsewhere),
        entry("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate", ExplicitLittle, true, Elsewhere),
        entry("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced", ExplicitLittle, false, Elsewhere),
        entry("1.2.840.10008.1.2.4.205", "JPIP HTJ2K Referenced Deflate", ExplicitLittle, true, Elsewhere),
        // SMPTE ST 2110 real-time video: no pixels in the dataset.
        entry("1.2.840.10008.1.2.7.1", "SMPTE ST 2110-20 Uncompressed Progressive Active Video", ExplicitLittle, false, Elsewhere),
        entry("1.2.840.10008.1.2.7.2", "SMPTE ST 2110-20 Uncompressed Interlaced Active Video", ExplicitLittle, false, Elsewhere),
        entry("1.2.840.10008.1.2.7.3", "SMPTE ST 2110-30 PCM Digital Audio", ExplicitLittle, false, Elsewhere),
        little("1.2.840.10008.1.2.1.98", "Encapsulated Uncompressed Explicit VR Little Endian", Encapsulated),
        little("1.2.840.10008.1.2.5", "RLE Lossless", Encapsulated),
        little("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression", Encapsulated),
        little("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)", Encapsulated),
        little("1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 & 4)", Encapsulated),
        little("1.2.840.10008.1.2.4.52", "JPEG Extended (Process 3 & 5) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 & 8) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.54", "JPEG Spectral Selection, Non-Hierarchical (Process 7 & 9) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.55", "JPEG Full Progression, Non-Hierarchical (Process 10 & 12) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.56", "JPEG Full Progression, Non-Hierarchical (Process 11 & 13) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)", Encapsulated),
        little("1.2.840.10008.1.2.4.58", "JPEG Lossless, Non-Hierarchical (Process 15) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.59", "JPEG Extended, Hierarchical (Process 16 & 18) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.60", "JPEG Extended, Hierarchical (Process 17 & 19) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.61", "JPEG Spectral Selection, Hierarchical (Process 20 & 22) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.62", "JPEG Spectral Selection, Hierarchical (Process 21 & 23) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.63", "JPEG Full Progression, Hierarchical (Process 24 & 26) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.64", "JPEG Full Progression, Hierarchical (Process 25 & 27) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.65", "JPEG Lossless, Hierarchical (Process 28) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.66", "JPEG Lossless, Hierarchical (Process 29) (Retired)", Encapsulated),
        little("1.2.840.10008.1.2.4.70", "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])", Encapsulated),
        little("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless Image Compression", Encapsulated),
        little("1.2.840.10008.1.2.4.81", "JPEG-LS Lossy (Near-Lossless) Image Compression", Encapsulated),
        little("1.2.840.10008.1.2.4.90", "JPEG 2000 Image Compression (Lossless Only)", Encapsulated),
        little("1.2.840.10008.1.2.4.91", "JPEG 2000 Image Compression", Encapsulated),
        little("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)", Encapsulated),
        little("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2 Multi-component Image Compression", Encapsulated),
        little("1.2.840.10008.1.2.4.110", "JPEG XL Lossless", Encapsulated),
        little("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression", Encapsulated),
        little("1.2.840.10008.1.2.4.112", "JPEG XL", Encapsulated),
        little("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 Image Compression (Lossless Only)", Encapsulated),
        little("1.2.840.10008.1.2.4.202", "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)", Encapsulated),
        little("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000 Image Compression", Encapsulated),
        little("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level", Video),
        little("1.2.840.10008.1.2.4.100.1", "Fragmentable MPEG2 Main Profile / Main Level", Video),
        little("1.2.840.10008.1.2.4.101", "MPEG2 Main Profile / High Level", Video),
        little("1.2.840.10008.1.2.4.101.1", "Fragmentable MPEG2 Main Profile / High Level", Video),
        little("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", Video),
        little("1.2.840.10008.1.2.4.102.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1", Video),
        little("1.2.840.10008.1.2.4.103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", Video),
        little("1.2.840.10008.1.2.4.103.1", "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", Video),
        little("1.2.840.10008.1.2.4.104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", Video),
        little("1.2.840.10008.1.2.4.104.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", Video),
        little("1.2.840.10008.1.2.4.105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", Video),
        little("1.2.840.10008.1.2.4.105.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", Video),
        little("1.2.840.10008.1.2.4.106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", Video),
        little("1.2.840.10008.1.2.4.106.1", "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", Video),
        little("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile / Level 5.1", Video),
        little("1.2.840.10008.1.2.4.107.1", "Fragmentable HEVC/H.265 Main Profile / Level 5.1", Video),
        little("1.2.840.10008.1.2.4.108", "HEVC/H.265 Main 10 Profile / Level 5.1", Video),
        little("1.2.840.10008.1.2.4.108.1", "Fragmentable HEVC/H.265 Main 10 Profile / Level 5.1", Video),
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

    /// Every one that PS3.6 lists.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|entry| Self {
            uid: Cow::Borrowed(entry.uid),
            entry: Some(entry),
        })
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

    /// Its name in PS3.6; `None` for unknown ones.
    pub fn name(&self) -> Option<&'static str> {
        self.entry.map(|entry| entry.name)
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
        self.entry
            .is_some_and(|entry| matches!(entry.pixels, Pixels::Encapsulated | Pixels::Video))
    }

    /// Whether the dataset's pixels mean what Explicit VR Little Endian says of them, once what is compressed is decoded.
    /// Not for unknown ones, where nobody can tell, nor where the pixels are elsewhere.
    pub fn has_readable_pixels(&self) -> bool {
        self.entry.is_some_and(|entry| entry.pixels != Pixels::Elsewhere)
    }

    /// Whether the pixels are not in the dataset, but to be had over a protocol of their own.
    pub fn has_pixels_elsewhere(&self) -> bool {
        self.entry.is_some_and(|entry| entry.pixels == Pixels::Elsewhere)
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
    fn every_syntax_is_listed_once_with_a_name() {
        let mut uids: Vec<String> = TransferSyntax::all().map(|syntax| syntax.uid().to_owned()).collect();
        assert!(TransferSyntax::all().all(|syntax| syntax.name().is_some_and(|name| name.len() > 3)));
        uids.sort();
        uids.dedup();
        assert_eq!(uids.len(), TABLE.len());
    }

    #[test]
    fn pixels_are_read_where_they_are_and_can_be() {
        for (uid, readable, elsewhere) in [
            (TransferSyntax::EXPLICIT_LITTLE, true, false),
            ("1.2.840.10008.1.2.4.70", true, false),
            ("1.2.840.10008.1.2.4.107", true, false),
            ("1.2.840.10008.1.2.4.94", false, true),
            ("1.2.840.10008.1.2.4.205", false, true),
            ("1.2.840.10008.1.2.7.1", false, true),
            ("1.2.840.113619.5.2", false, false),
        ] {
            let syntax = TransferSyntax::of(uid);
            assert_eq!(
                (syntax.has_readable_pixels(), syntax.has_pixels_elsewhere()),
                (readable, elsewhere),
                "{uid}"
            );
            assert!(!(elsewhere && syntax.is_encapsulated()), "{uid}");
        }
    }

    #[test]
    fn names_are_whole() {
        for syntax in TransferSyntax::all() {
            let name = syntax.name().unwrap_or_default();
            let count = |wanted: char| name.chars().filter(|character| *character == wanted).count();
            assert_eq!(count('('), count(')'), "{name}");
        }
        assert_eq!(
            TransferSyntax::of("1.2.840.10008.1.2.4.51").name(),
            Some("JPEG Extended (Process 2 & 4)")
        );
    }

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
