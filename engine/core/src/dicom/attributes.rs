//! The attributes of one dataset, read once into a tree.
//!
//! Owns the reading view of a header: tags, value representations, nested items, decoded text. It never owns truth:
//! the verbatim header bytes stay what is stored (invariant 4), and everything here is made from them when needed.
//!
//! Invariants:
//! - values are slices of the one buffer that was parsed, never copies;
//! - nesting is at most [`DEPTH_MAX`] and elements at most [`ELEMENTS_MAX`], whatever the input claims (invariant 6);
//! - text never fails: what a character set cannot decode becomes U+FFFD;
//! - an unreadable tail is left out and counted ([`Header::unread_bytes`]), what stands before it is kept;
//! - `Debug` shows counts, never values.

mod parse;
pub mod text;
mod vr;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use dicom_core::{Tag, VR};

pub use text::CharacterSets;
pub(crate) use vr::{dictionary_vr, is_long_form, swap_bytes, unit_bytes};

/// Deepest nesting of sequence items that is read.
pub const DEPTH_MAX: u16 = 64;

/// Most elements that are read from one header, nested ones included.
pub const ELEMENTS_MAX: u32 = 2_000_000;

/// How a dataset's elements are laid out (PS3.5 annex A). Deflated datasets are inflated before they come here and
/// count as [`Encoding::ExplicitLittle`], as do all encapsulated transfer syntaxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Implicit VR Little Endian, 1.2.840.10008.1.2.
    ImplicitLittle,
    /// Explicit VR Little Endian, 1.2.840.10008.1.2.1.
    ExplicitLittle,
    /// Explicit VR Big Endian, 1.2.840.10008.1.2.2 (retired).
    ExplicitBig,
}

impl Encoding {
    fn is_big_endian(self) -> bool {
        self == Self::ExplicitBig
    }

    /// The encoding that the first element speaks for: datasets start with a low group, and Explicit VR shows a VR in
    /// the element's fifth and sixth byte. `None` when `elements` look like no dataset.
    fn probe(elements: &[u8]) -> Option<Self> {
        let [a, b, _, _, rest @ ..] = *elements.first_chunk::<8>()?;
        let known = VR::from_binary([rest[0], rest[1]]).is_some();
        let length = u32::from_le_bytes(rest);
        match (a, b) {
            (1..=0x60, 0) if known => Some(Self::ExplicitLittle),
            (1..=0x60, 0) if length < 1 << 24 || length == u32::MAX => Some(Self::ImplicitLittle),
            (0, 1..=0x20) if known => Some(Self::ExplicitBig),
            _ => None,
        }
    }
}

/// Why no attribute tree can be made. Both are the sender's fault: reason 0xC000, "cannot understand".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Items nest deeper than [`DEPTH_MAX`].
    #[error("element ({:04X},{:04X}) at offset {offset} nests deeper than 64 items", .tag.0, .tag.1)]
    TooDeep {
        /// The sequence that goes too deep.
        tag: (u16, u16),
        /// Where it starts, in bytes from the start of the parsed elements.
        offset: usize,
    },
    /// More than [`ELEMENTS_MAX`] elements.
    #[error("more than 2000000 elements, reached at offset {offset}")]
    TooManyElements {
        /// Where the first element too many starts, in bytes from the start of the parsed elements.
        offset: usize,
    },
}

/// The attributes of one instance (or of any bare dataset).
#[derive(Clone)]
pub struct Header {
    dataset: Dataset,
    encoding: Encoding,
    unread_bytes: usize,
}

impl Header {
    /// Reads `elements`, the dataset without its pixel element, copying them once.
    pub fn parse(elements: &[u8], encoding: Encoding) -> Result<Self, HeaderError> {
        Self::from_bytes(Bytes::copy_from_slice(elements), encoding)
    }

    /// Reads `elements` without copying: the tree's values are slices of them. Files whose transfer syntax contradicts
    /// their dataset exist: where the first element speaks for another encoding than `encoding`, it is believed.
    pub fn from_bytes(elements: Bytes, encoding: Encoding) -> Result<Self, HeaderError> {
        let encoding = Encoding::probe(&elements).unwrap_or(encoding);
        let (dataset, unread_bytes) = parse::parse(&elements, encoding)?;
        Ok(Self {
            dataset,
            encoding,
            unread_bytes,
        })
    }

    /// The top-level dataset.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The encoding in which the elements were read.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How many bytes at the end could not be read as elements; 0 for a sound dataset.
    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    /// The top-level element `tag`. When a tag stands more than once, the last one counts.
    pub fn get(&self, tag: Tag) -> Option<&Element> {
        self.dataset.get(tag)
    }

    /// The first value of a top-level text attribute, decoded and trimmed; `None` when absent, empty or not text.
    pub fn text(&self, tag: Tag) -> Option<String> {
        let element = self.get(tag)?;
        let character_sets = self.dataset.character_sets().cloned().unwrap_or_default();
        let text = element.text(&character_sets)?;
        let first = text.split('\\').next().unwrap_or_default().trim_matches([' ', '\0']);
        (!first.is_empty()).then(|| first.to_owned())
    }

    /// The first value of a top-level integer attribute (US, SS, UL, SL, UV, SV or IS); `None` when absent.
    pub fn integer(&self, tag: Tag) -> Option<i64> {
        let element = self.get(tag)?;
        if matches!(element.vr, VR::IS | VR::DS) {
            return self.text(tag)?.trim().parse().ok();
        }
        let bytes = element.little_endian_bytes();
        Some(match element.vr {
            VR::US => u16::from_le_bytes(*bytes.first_chunk()?).into(),
            VR::SS => i16::from_le_bytes(*bytes.first_chunk()?).into(),
            VR::UL => u32::from_le_bytes(*bytes.first_chunk()?).into(),
            VR::SL => i32::from_le_bytes(*bytes.first_chunk()?).into(),
            VR::UV => u64::from_le_bytes(*bytes.first_chunk()?).try_into().ok()?,
            VR::SV => i64::from_le_bytes(*bytes.first_chunk()?),
            _ => return None,
        })
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Header({} elements, {} bytes unread)",
            self.dataset.elements.len(),
            self.unread_bytes
        )
    }
}

/// One dataset: the top level, or one item of a sequence. Elements stand in stream order.
#[derive(Clone, Default)]
pub struct Dataset {
    elements: Vec<Element>,
    character_sets: Option<CharacterSets>,
}

impl Dataset {
    /// The elements, in stream order, duplicates included.
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// The element `tag`; the last one when it stands more than once.
    pub fn get(&self, tag: Tag) -> Option<&Element> {
        // Searched from the end: duplicates are rare, and datasets that ask for this are small.
        self.elements.iter().rev().find(|element| element.tag == tag)
    }

    /// Specific Character Set (0008,0005) of this very dataset; `None` means that the enclosing one's applies.
    pub fn character_sets(&self) -> Option<&CharacterSets> {
        self.character_sets.as_ref()
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset({} elements)", self.elements.len())
    }
}

/// One data element.
#[derive(Clone)]
pub struct Element {
    /// Its tag.
    pub tag: Tag,
    /// Its value representation, resolved: from the dictionary in Implicit VR, and for a standard attribute that
    /// came as UN (PS3.5 section 6.2.2); UN when nobody knows.
    pub vr: VR,
    /// Its value.
    pub value: Value,
    /// Whether `value` is in big endian byte order.
    pub big_endian: bool,
}

impl Element {
    /// The value's bytes in little endian order; empty for sequences.
    pub fn little_endian_bytes(&self) -> Cow<'_, [u8]> {
        match &self.value {
            Value::Items(_) => Cow::Borrowed(&[]),
            Value::Fragments(bytes) => Cow::Borrowed(bytes),
            Value::Bytes(bytes) if self.big_endian && unit_bytes(self.vr) > 1 => {
                let mut swapped = bytes.to_vec();
                swap_bytes(&mut swapped, unit_bytes(self.vr));
                Cow::Owned(swapped)
            }
            Value::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// The whole value as decoded text, padding and backslashes included; `None` for binary VRs and sequences.
    pub fn text(&self, character_sets: &CharacterSets) -> Option<String> {
        let Value::Bytes(bytes) = &self.value else { return None };
        match self.vr {
            VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT => Some(character_sets.decode(bytes)),
            VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::IS | VR::TM | VR::UI | VR::UR => {
                Some(CharacterSets::default().decode(bytes))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Element({:04X},{:04X} {})",
            self.tag.0,
            self.tag.1,
            self.vr.to_string()
        )
    }
}

/// The value of an element.
#[derive(Clone)]
pub enum Value {
    /// A plain value, as it stands in the stream.
    Bytes(Bytes),
    /// The items of a sequence.
    Items(Vec<Dataset>),
    /// A nested encapsulated value (an icon's compressed pixels): item headers and fragments as they stand, without
    /// the sequence delimiter.
    Fragments(Bytes),
}

#[cfg(test)]
mod tests {
    use dicom_dictionary_std::tags;

    use super::*;

    #[test]
    fn the_first_element_decides_the_encoding() {
        let check = |elements: &[u8], claimed: Encoding, expected: Encoding| {
            let header = Header::parse(elements, claimed).expect("readable");
            assert_eq!(header.encoding(), expected);
            assert_eq!(header.text(tags::MODALITY).as_deref(), Some("CT"));
        };
        for claimed in [
            Encoding::ImplicitLittle,
            Encoding::ExplicitLittle,
            Encoding::ExplicitBig,
        ] {
            check(b"\x08\0\x60\0\x02\0\0\0CT", claimed, Encoding::ImplicitLittle);
            check(b"\x08\0\x60\0CS\x02\0CT", claimed, Encoding::ExplicitLittle);
            check(b"\0\x08\0\x60CS\0\x02CT", claimed, Encoding::ExplicitBig);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            let level = b"\x08\0\x40\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\0\xE0\xFF\xFF\xFF\xFF";
            Header::parse(&level.repeat(depth), Encoding::ExplicitLittle)
        };
        assert!(nested(usize::from(DEPTH_MAX)).is_ok());
        let error = nested(usize::from(DEPTH_MAX) + 1).expect_err("too deep");
        assert_eq!(
            error,
            HeaderError::TooDeep {
                tag: (8, 0x1140),
                offset: 64 * 20
            }
        );
        assert_eq!(
            error.to_string(),
            "element (0008,1140) at offset 1280 nests deeper than 64 items"
        );
        assert!(nested(100_000).is_err());
    }

    #[test]
    fn an_unreadable_tail_is_left_out() {
        let sound = b"\x08\0\x60\0CS\x02\0CT";
        let check = |tail: &[u8], unread: usize| {
            let header = Header::parse(&[sound, tail].concat(), Encoding::ExplicitLittle).expect("readable");
            assert_eq!((header.dataset().elements().len(), header.unread_bytes()), (1, unread));
        };
        check(b"", 0);
        check(b"\0", 1);
        check(b"\x10\0\x10\0PN\x09\0ab", 10);
        check(b"\x10\0\x10\0UT\0\0\xF0\xFF\xFF\xFFab", 14);
        // Delimiters that close nothing are skipped.
        check(b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0", 0);
    }

    #[test]
    fn values_are_found() {
        let elements =
            b"\x20\0\x13\0IS\x04\0 12 \x28\0\x10\0US\x02\0\x01\x02\x20\0\x13\0IS\x02\x0013\x08\0\x08\0CS\x04\0A \\B";
        let header = Header::parse(elements, Encoding::ExplicitLittle).expect("readable");
        assert_eq!(header.integer(tags::INSTANCE_NUMBER), Some(13));
        assert_eq!(header.integer(tags::ROWS), Some(513));
        assert_eq!(header.integer(tags::COLUMNS), None);
        assert_eq!(header.text(tags::IMAGE_TYPE).as_deref(), Some("A"));
        assert!(!format!("{header:?}{:?}", header.dataset().elements()).contains("12"));
    }
}
