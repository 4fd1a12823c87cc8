//! A minimal DICOM writer for tests: writes what it is told, right or wrong.

use super::transfer_syntax::{Encoding, TransferSyntax};
use super::vr;

/// Tags that tests use.
pub(super) const PIXEL_DATA: (u16, u16) = (0x7FE0, 0x0010);

/// A dataset under construction.
#[derive(Clone)]
pub(super) struct Builder {
    pub(super) bytes: Vec<u8>,
    pub(super) encoding: Encoding,
}

impl Builder {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self {
            bytes: Vec::new(),
            encoding,
        }
    }

    /// A dataset that can be identified.
    pub(super) fn identified(encoding: Encoding) -> Self {
        Self::new(encoding)
            .element((0x0008, 0x0016), b"UI", b"1.2.840.10008.5.1.4.1.1.7\0")
            .element((0x0008, 0x0018), b"UI", b"1.2.3.4\0")
            .element((0x0010, 0x0020), b"LO", b" PAT1 ")
            .element((0x0020, 0x000D), b"UI", b"1.2.3.5\0")
            .element((0x0020, 0x000E), b"UI", b"1.2.3.6\0")
    }

    /// The Image Pixel module.
    pub(super) fn image(self, rows: u16, columns: u16, bits: u16, frames: &str) -> Self {
        let frames = if frames.len() % 2 == 1 {
            format!("{frames} ")
        } else {
            frames.to_owned()
        };
        let number = |builder: Self, element, value| builder.short((0x0028, element), value);
        let this = number(self, 0x0002, 1).element((0x0028, 0x0004), b"CS", b"MONOCHROME2 ");
        let this = this.element((0x0028, 0x0008), b"IS", frames.as_bytes());
        let this = number(number(number(this, 0x0010, rows), 0x0011, columns), 0x0100, bits);
        number(number(number(this, 0x0101, bits), 0x0102, bits - 1), 0x0103, 0)
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn u16(&mut self, number: u16) {
        let bytes = if self.encoding.is_big_endian() {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        };
        self.bytes.extend_from_slice(&bytes);
    }

    fn u32(&mut self, number: u32) {
        let bytes = if self.encoding.is_big_endian() {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        };
        self.bytes.extend_from_slice(&bytes);
    }

    /// An element's header, with any length.
    pub(super) fn header(mut self, tag: (u16, u16), vr: &[u8; 2], length: u32) -> Self {
        self.u16(tag.0);
        self.u16(tag.1);
        if !self.encoding.is_explicit() || tag.0 == 0xFFFE {
            self.u32(length);
        } else if vr::has_short_length(*vr) {
            self.bytes.extend_from_slice(vr);
            self.u16(length as u16);
        } else {
            self.bytes.extend_from_slice(vr);
            self.u16(0);
            self.u32(length);
        }
        self
    }

    pub(super) fn element(self, tag: (u16, u16), vr: &[u8; 2], value: &[u8]) -> Self {
        self.header(tag, vr, value.len() as u32).raw(value)
    }

    fn short(mut self, tag: (u16, u16), value: u16) -> Self {
        self = self.header(tag, b"US", 2);
        self.u16(value);
        self
    }

    pub(super) fn item(self, length: u32) -> Self {
        self.header((0xFFFE, 0xE000), b"  ", length)
    }

    pub(super) fn item_end(self) -> Self {
        self.header((0xFFFE, 0xE00D), b"  ", 0)
    }

    pub(super) fn sequence_end(self) -> Self {
        self.header((0xFFFE, 0xE0DD), b"  ", 0)
    }

    /// Encapsulated pixel data.
    pub(super) fn fragments(self, table: &[u8], fragments: &[&[u8]]) -> Self {
        let this = self
            .header(PIXEL_DATA, b"OB", u32::MAX)
            .item(table.len() as u32)
            .raw(table);
        let this = fragments
            .iter()
            .fold(this, |this, fragment| this.item(fragment.len() as u32).raw(fragment));
        this.sequence_end()
    }

    /// A Part 10 file around the dataset.
    pub(super) fn file(&self, transfer_syntax: &str) -> Vec<u8> {
        let mut uid = transfer_syntax.as_bytes().to_vec();
        if uid.len() % 2 == 1 {
            uid.push(0);
        }
        let meta = Self::new(Encoding::ExplicitLittle)
            .element((2, 1), b"OB", &[0, 1])
            .element((2, 2), b"UI", b"1.2.840.10008.5.1.4.1.1.7\0")
            .element((2, 3), b"UI", b"1.2.3.4\0")
            .element((2, 0x10), b"UI", &uid);
        let length = (meta.bytes.len() as u32).to_le_bytes();
        let start = Self::new(Encoding::ExplicitLittle)
            .raw(&[0; 128])
            .raw(b"DICM")
            .element((2, 0), b"UL", &length);
        [start.bytes, meta.bytes, self.bytes.clone()].concat()
    }

    /// A Part 10 file in the plain transfer syntax of the encoding.
    pub(super) fn plain_file(&self) -> Vec<u8> {
        self.file(TransferSyntax::of_encoding(self.encoding).uid())
    }
}
