//! The writer: datasets to bytes in every uncompressed transfer syntax (PS3.5 annex A), and files (PS3.10 section 7).
//!
//! Writes what it is given: order, duplicates and false lengths stay. Odd values are padded, except
//! [`Value::Lie`].

use crate::dataset::{Dataset, Element, SequenceLength, Value};
use crate::tags;

/// How a dataset is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferSyntax {
    /// 1.2.840.10008.1.2
    ImplicitLittleEndian,
    /// 1.2.840.10008.1.2.1
    ExplicitLittleEndian,
    /// 1.2.840.10008.1.2.2 (retired)
    ExplicitBigEndian,
    /// 1.2.840.10008.1.2.1.99; made of stored blocks, so the bytes grow a little.
    DeflatedExplicitLittleEndian,
    /// Any encapsulated transfer syntax, by its UID: explicit little endian around the fragments.
    Encapsulated(&'static str),
}

/// RLE Lossless.
pub const RLE_LOSSLESS: TransferSyntax = TransferSyntax::Encapsulated("1.2.840.10008.1.2.5");

impl TransferSyntax {
    /// The transfer syntax UID.
    pub fn uid(self) -> &'static str {
        match self {
            Self::ImplicitLittleEndian => "1.2.840.10008.1.2",
            Self::ExplicitLittleEndian => "1.2.840.10008.1.2.1",
            Self::ExplicitBigEndian => "1.2.840.10008.1.2.2",
            Self::DeflatedExplicitLittleEndian => "1.2.840.10008.1.2.1.99",
            Self::Encapsulated(uid) => uid,
        }
    }

    /// Whether 8-bit pixel data is written as OW (PS3.5 section A.1), else OB or OW as the dataset says.
    fn is_implicit(self) -> bool {
        self == Self::ImplicitLittleEndian
    }

    fn is_big_endian(self) -> bool {
        self == Self::ExplicitBigEndian
    }
}

/// What of a file is written around the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileOptions {
    /// 128 zero bytes and `DICM`.
    pub preamble: bool,
    /// File meta information.
    pub meta: bool,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            preamble: true,
            meta: true,
        }
    }
}

/// Implementation Class UID of what is written here.
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.302684207519186113862946110586214383617";

/// Writes a file. SOP class and instance in the file meta are the dataset's.
pub fn write_file(dataset: &Dataset, transfer_syntax: TransferSyntax, options: FileOptions) -> Vec<u8> {
    let body = write_dataset(dataset, transfer_syntax);
    let mut bytes = Vec::with_capacity(body.len() + 512);
    if options.preamble {
        bytes.resize(128, 0);
        bytes.extend_from_slice(b"DICM");
    }
    if options.meta {
        let mut meta = Dataset::new();
        meta.set(Element::bytes((0x0002, 0x0001), b"OB", [0, 1]));
        meta.set_texts(&[
            ((0x0002, 0x0002), b"UI", dataset.text(tags::SOP_CLASS_UID)),
            ((0x0002, 0x0003), b"UI", dataset.text(tags::SOP_INSTANCE_UID)),
            ((0x0002, 0x0010), b"UI", transfer_syntax.uid()),
            ((0x0002, 0x0012), b"UI", IMPLEMENTATION_CLASS_UID),
            ((0x0002, 0x0013), b"SH", "SEPTUM_TESTKIT"),
        ]);
        let meta = write_dataset(&meta, TransferSyntax::ExplicitLittleEndian);
        let mut length = Dataset::new();
        length.set(Element::longs((0x0002, 0x0000), &[meta.len() as u32]));
        bytes.extend(write_dataset(&length, TransferSyntax::ExplicitLittleEndian));
        bytes.extend(meta);
    }
    bytes.extend(body);
    bytes
}

/// Writes the dataset alone.
pub fn write_dataset(dataset: &Dataset, transfer_syntax: TransferSyntax) -> Vec<u8> {
    let mut writer = Writer {
        transfer_syntax,
        bytes: Vec::new(),
    };
    writer.dataset(dataset);
    match transfer_syntax {
        TransferSyntax::DeflatedExplicitLittleEndian => deflate_stored(&writer.bytes),
        _ => writer.bytes,
    }
}

/// Raw deflate by stored blocks (RFC 1951 section 3.2.4), padded to even length (PS3.5 section A.5).
fn deflate_stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 16);
    let mut blocks = bytes.chunks(0xFFFF).peekable();
    if blocks.peek().is_none() {
        out.extend_from_slice(&[1, 0, 0, 0xFF, 0xFF]);
    }
    while let Some(block) = blocks.next() {
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&(block.len() as u16).to_le_bytes());
        out.extend_from_slice(&(!(block.len() as u16)).to_le_bytes());
        out.extend_from_slice(block);
    }
    if out.len() % 2 == 1 {
        out.push(0);
    }
    out
}

struct Writer {
    transfer_syntax: TransferSyntax,
    bytes: Vec<u8>,
}

impl Writer {
    fn u16(&mut self, value: u16) {
        match self.transfer_syntax.is_big_endian() {
            true => self.bytes.extend_from_slice(&value.to_be_bytes()),
            false => self.bytes.extend_from_slice(&value.to_le_bytes()),
        }
    }

    fn u32(&mut self, value: u32) {
        match self.transfer_syntax.is_big_endian() {
            true => self.bytes.extend_from_slice(&value.to_be_bytes()),
            false => self.bytes.extend_from_slice(&value.to_le_bytes()),
        }
    }

    fn u64(&mut self, value: u64) {
        match self.transfer_syntax.is_big_endian() {
            true => self.bytes.extend_from_slice(&value.to_be_bytes()),
            false => self.bytes.extend_from_slice(&value.to_le_bytes()),
        }
    }

    /// An item or delimitation tag with its length (PS3.5 section 7.5): no VR in any transfer syntax.
    fn item(&mut self, element: u16, length: u32) {
        self.u16(0xFFFE);
        self.u16(element);
        self.u32(length);
    }

    /// Tag, VR and length (PS3.5 section 7.1).
    fn header(&mut self, element: &Element, length: u32) {
        self.u16(element.tag.0);
        self.u16(element.tag.1);
        if self.transfer_syntax.is_implicit() {
            return self.u32(length);
        }
        match (is_long_form(element.vr), u16::try_from(length)) {
            (false, Ok(length)) => {
                self.bytes.extend_from_slice(&element.vr);
                self.u16(length);
            }
            (is_long, _) => {
                // A value too long for the VR's length field goes as UN (PS3.5 section 6.2.2).
                self.bytes.extend_from_slice(if is_long { &element.vr } else { b"UN" });
                self.bytes.extend_from_slice(&[0, 0]);
                self.u32(length);
            }
        }
    }

    fn plain(&mut self, element: &Element, value: &[u8], pad: u8) {
        self.header(element, (value.len() + value.len() % 2) as u32);
        self.bytes.extend_from_slice(value);
        if value.len() % 2 == 1 {
            self.bytes.push(pad);
        }
    }

    fn dataset(&mut self, dataset: &Dataset) {
        for element in dataset.elements() {
            self.element(element);
        }
    }

    fn element(&mut self, element: &Element) {
        match &element.value {
            Value::Text(text) => {
                let pad = if &element.vr == b"UI" { 0 } else { b' ' };
                self.plain(element, text.as_bytes(), pad);
            }
            Value::Bytes(bytes) => self.plain(element, bytes, 0),
            Value::Words(words) => {
                self.header(element, (words.len() * 2) as u32);
                words.iter().for_each(|&word| self.u16(word));
            }
            Value::Longs(longs) => {
                self.header(element, (longs.len() * 4) as u32);
                longs.iter().for_each(|&long| self.u32(long));
            }
            Value::VeryLongs(longs) => {
                self.header(element, (longs.len() * 8) as u32);
                longs.iter().for_each(|&long| self.u64(long));
            }
            Value::Items(items, length) => self.sequence(element, items, *length),
            Value::Fragments { offsets, fragments } => self.fragments(element, offsets, fragments),
            Value::Lie(length, bytes) => {
                self.header(element, *length);
                self.bytes.extend_from_slice(bytes);
            }
        }
    }

    fn sequence(&mut self, element: &Element, items: &[Dataset], length: SequenceLength) {
        match length {
            SequenceLength::Undefined => {
                self.header(element, u32::MAX);
                for item in items {
                    self.item(0xE000, u32::MAX);
                    self.dataset(item);
                    self.item(0xE00D, 0);
                }
                self.item(0xE0DD, 0);
            }
            SequenceLength::Explicit => {
                let mut inner = Writer {
                    transfer_syntax: self.transfer_syntax,
                    bytes: Vec::new(),
                };
                for item in items {
                    let mut one = Writer {
                        transfer_syntax: self.transfer_syntax,
                        bytes: Vec::new(),
                    };
                    one.dataset(item);
                    inner.item(0xE000, one.bytes.len() as u32);
                    inner.bytes.append(&mut one.bytes);
                }
                self.header(element, inner.bytes.len() as u32);
                self.bytes.append(&mut inner.bytes);
            }
        }
    }

    fn fragments(&mut self, element: &Element, offsets: &[u32], fragments: &[Vec<u8>]) {
        self.header(element, u32::MAX);
        self.item(0xE000, (offsets.len() * 4) as u32);
        offsets.iter().for_each(|&offset| self.u32(offset));
        for fragment in fragments {
            self.item(0xE000, (fragment.len() + fragment.len() % 2) as u32);
            self.bytes.extend_from_slice(fragment);
            if fragment.len() % 2 == 1 {
                self.bytes.push(0);
            }
        }
        self.item(0xE0DD, 0);
    }
}

/// Whether the VR has two reserved bytes and a 32-bit length (PS3.5 table 7.1-1).
fn is_long_form(vr: [u8; 2]) -> bool {
    matches!(
        &vr,
        b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(element: Element, transfer_syntax: TransferSyntax, expected: &[u8]) {
        let mut dataset = Dataset::new();
        dataset.set(element.clone());
        assert_eq!(
            write_dataset(&dataset, transfer_syntax),
            expected,
            "{element:?} {transfer_syntax:?}"
        );
    }

    #[test]
    fn golden_bytes() {
        use TransferSyntax::*;
        let rows = || Element::words(tags::ROWS, &[258]);
        check(rows(), ImplicitLittleEndian, &[0x28, 0, 0x10, 0, 2, 0, 0, 0, 2, 1]);
        check(rows(), ExplicitLittleEndian, b"\x28\0\x10\0US\x02\0\x02\x01");
        check(rows(), ExplicitBigEndian, b"\0\x28\0\x10US\0\x02\x01\x02");
        check(
            Element::text(tags::PATIENT_NAME, b"PN", "A"),
            ExplicitLittleEndian,
            b"\x10\0\x10\0PN\x02\0A ",
        );
        check(
            Element::text(tags::SOP_CLASS_UID, b"UI", "1.2"),
            ExplicitLittleEndian,
            b"\x08\0\x16\0UI\x04\x001.2\0",
        );
        check(
            Element::bytes(tags::PIXEL_DATA, b"OB", [7]),
            ExplicitLittleEndian,
            b"\xE0\x7F\x10\0OB\0\0\x02\0\0\0\x07\0",
        );
        let mut item = Dataset::new();
        item.set(rows());
        check(
            Element::sequence((0x0008, 0x1140), vec![item.clone()]),
            ExplicitLittleEndian,
            b"\x08\0\x40\x11SQ\0\0\x12\0\0\0\xFE\xFF\0\xE0\x0A\0\0\0\x28\0\x10\0US\x02\0\x02\x01",
        );
        check(
            Element {
                tag: (8, 0x1140),
                vr: *b"SQ",
                value: Value::Items(vec![item], SequenceLength::Undefined),
            },
            ImplicitLittleEndian,
            b"\x08\0\x40\x11\xFF\xFF\xFF\xFF\xFE\xFF\0\xE0\xFF\xFF\xFF\xFF\x28\0\x10\0\x02\0\0\0\x02\x01\
              \xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0",
        );
        check(
            Element {
                tag: tags::PIXEL_DATA,
                vr: *b"OB",
                value: Value::Fragments {
                    offsets: vec![0],
                    fragments: vec![vec![1, 2, 3]],
                },
            },
            RLE_LOSSLESS,
            b"\xE0\x7F\x10\0OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\0\xE0\x04\0\0\0\0\0\0\0\
              \xFE\xFF\0\xE0\x04\0\0\0\x01\x02\x03\0\xFE\xFF\xDD\xE0\0\0\0\0",
        );
    }

    #[test]
    fn short_form_overflow_becomes_unknown() {
        let mut dataset = Dataset::new();
        dataset.set(Element::text(tags::PATIENT_COMMENTS, b"LT", "x".repeat(70_000)));
        let bytes = write_dataset(&dataset, TransferSyntax::ExplicitLittleEndian);
        assert_eq!(&bytes[4..8], b"UN\0\0");
    }

    #[test]
    fn meta_group_length_counts_the_rest() {
        let bytes = write_file(
            &Dataset::new(),
            TransferSyntax::ExplicitLittleEndian,
            FileOptions::default(),
        );
        let length = u32::from_le_bytes([bytes[140], bytes[141], bytes[142], bytes[143]]) as usize;
        assert_eq!(bytes.len(), 144 + length);
        assert_eq!(&bytes[128..132], b"DICM");
    }
}
