//! The stream while it grows: literal bytes, and the places where bulk data goes between them.
//!
//! Bytes lie in one buffer and bulk data is only counted, so the length of a sequence can be set when it is closed,
//! whatever stands inside.

use bytes::Bytes;
use dicom_core::{Tag, VR};

use super::bulk::{BulkPiece, BulkShape, Piece};
use crate::dicom::attributes::is_long_form;

/// The longest even value, in bytes, for a 16-bit length.
const SHORT_VALUE_BYTES_MAX: u64 = 0xFFFE;
/// The longest even value, in bytes, for a 32-bit length.
pub(super) const VALUE_BYTES_MAX: u64 = 0xFFFF_FFFE;
const UNDEFINED: u32 = u32::MAX;

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_DELIMITATION: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_DELIMITATION: Tag = Tag(0xFFFE, 0xE0DD);

/// Elements in Explicit VR Little Endian (PS3.5 section 7.1.2), with gaps for bulk data.
#[derive(Default)]
pub(in crate::dicom) struct Stream {
    bytes: Vec<u8>,
    /// Bulk data and where in `bytes` it goes.
    bulks: Vec<(usize, BulkPiece)>,
    bulk_bytes: u64,
    num_unknown: usize,
}

/// A sequence or item that is not closed yet.
pub(super) struct Open {
    /// Where in the buffer its content starts, right behind its length.
    start: usize,
    bulk_bytes: u64,
    num_unknown: usize,
    delimiter: Tag,
}

/// Whether a value of this length cannot be written under its VR.
pub(super) fn becomes_unknown(vr: VR, length_bytes: u64) -> bool {
    !is_long_form(vr) && length_bytes > SHORT_VALUE_BYTES_MAX
}

/// PS3.5 section 6.2: text is padded with a space, UIDs and bytes with NUL.
pub(super) fn padding(vr: VR) -> u8 {
    match vr {
        VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::IS | VR::LO | VR::LT => b' ',
        VR::PN | VR::SH | VR::ST | VR::TM | VR::UC | VR::UR | VR::UT => b' ',
        _ => 0,
    }
}

impl Stream {
    /// Writes one element, padded to an even length. The value must be shorter than 4 GiB.
    pub(in crate::dicom) fn element(&mut self, tag: Tag, vr: VR, value: &[u8]) {
        self.header(tag, vr, value.len() as u64);
        self.bytes.extend_from_slice(value);
        if value.len() % 2 == 1 {
            self.bytes.push(padding(vr));
        }
    }

    /// Writes tag, VR and length of a value, which is `length_bytes` long without padding.
    pub(super) fn header(&mut self, tag: Tag, vr: VR, length_bytes: u64) {
        let padded = length_bytes + length_bytes % 2;
        let written = if becomes_unknown(vr, padded) { VR::UN } else { vr };
        self.tag(tag);
        self.bytes.extend_from_slice(&written.to_bytes());
        if is_long_form(written) {
            self.bytes.extend_from_slice(&[0, 0]);
            // Bulk data is checked before, everything else comes from metadata in memory.
            let length = u32::try_from(padded).unwrap_or(u32::MAX - 1);
            self.bytes.extend_from_slice(&length.to_le_bytes());
        } else {
            self.bytes.extend_from_slice(&(padded as u16).to_le_bytes());
        }
    }

    /// Leaves a gap for bulk data.
    pub(super) fn bulk(&mut self, piece: BulkPiece) {
        match piece.shape {
            BulkShape::Whole { length_bytes } => self.bulk_bytes += length_bytes,
            BulkShape::Fragments => self.num_unknown += 1,
        }
        self.bulks.push((self.bytes.len(), piece));
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn open_sequence(&mut self, tag: Tag) -> Open {
        self.open_encapsulated(tag, VR::SQ)
    }

    /// Opens an element of undefined length.
    pub(super) fn open_encapsulated(&mut self, tag: Tag, vr: VR) -> Open {
        self.tag(tag);
        self.bytes.extend_from_slice(&vr.to_bytes());
        self.bytes.extend_from_slice(&[0, 0]);
        self.opened(SEQUENCE_DELIMITATION)
    }

    pub(super) fn open_item(&mut self) -> Open {
        self.tag(ITEM);
        self.opened(ITEM_DELIMITATION)
    }

    /// Writes the header of a fragment.
    pub(super) fn fragment(&mut self, length: u32) {
        self.tag(ITEM);
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }

    fn opened(&mut self, delimiter: Tag) -> Open {
        self.bytes.extend_from_slice(&UNDEFINED.to_le_bytes());
        Open {
            start: self.bytes.len(),
            bulk_bytes: self.bulk_bytes,
            num_unknown: self.num_unknown,
            delimiter,
        }
    }

    /// Sets the length where it is known and wanted, else writes a delimiter.
    pub(super) fn close(&mut self, open: Open, defined: bool) {
        let length = (self.bytes.len() - open.start) as u64 + (self.bulk_bytes - open.bulk_bytes);
        let is_known = open.num_unknown == self.num_unknown && length <= VALUE_BYTES_MAX;
        if defined && is_known {
            let length = (length as u32).to_le_bytes();
            self.bytes[open.start - 4..open.start].copy_from_slice(&length);
        } else {
            self.tag(open.delimiter);
            self.bytes.extend_from_slice(&[0; 4]);
        }
    }

    fn tag(&mut self, tag: Tag) {
        self.bytes.extend_from_slice(&tag.0.to_le_bytes());
        self.bytes.extend_from_slice(&tag.1.to_le_bytes());
    }

    /// Length of all that is written and counted; `None` when bulk data of unknown length is among it.
    pub(super) fn length_bytes(&self) -> Option<u64> {
        (self.num_unknown == 0).then_some(self.bytes.len() as u64 + self.bulk_bytes)
    }

    /// The literal bytes, for a stream without bulk data.
    pub(in crate::dicom) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Cuts the stream at its gaps. `prefix` stands before it.
    pub(super) fn into_pieces(self, prefix: Vec<u8>) -> Vec<Piece> {
        let bytes = Bytes::from(self.bytes);
        let mut pieces = vec![Piece::Bytes(prefix.into())];
        let mut at = 0;
        for (end, bulk) in self.bulks {
            if at < end {
                pieces.push(Piece::Bytes(bytes.slice(at..end)));
            }
            pieces.push(Piece::Bulk(bulk));
            at = end;
        }
        if at < bytes.len() {
            pieces.push(Piece::Bytes(bytes.slice(at..)));
        }
        pieces
    }
}
