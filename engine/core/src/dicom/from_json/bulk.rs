//! Where bulk data goes in the stream (PS3.18 section 8.7.3.3, PS3.5 section A.4).

use bytes::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::write::{VALUE_BYTES_MAX, becomes_unknown, padding};
use super::{Encoder, FromJsonError, FromJsonErrorKind, FromJsonWarning};
use crate::dicom::transfer_syntax::TransferSyntax;

/// How the bytes behind a `BulkDataURI` are encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkEncoding {
    /// The value itself, little endian (PS3.18 section 8.7.3.3.1). Several parts are put one after the other.
    Native,
    /// Compressed pixels without item headers (PS3.18 section 8.7.3.3.2): one part a frame, or one part for a video.
    Compressed {
        /// Transfer Syntax UID.
        transfer_syntax: String,
    },
    /// Encapsulated pixels with their item headers, the offset table first, without the sequence delimiter: as
    /// [`crate::dicom::json::bulk_value`] gives them. One part, of an even and known length.
    Items {
        /// Transfer Syntax UID.
        transfer_syntax: String,
    },
}

/// What is known of the bytes behind a `BulkDataURI`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkPart {
    /// How they are encoded.
    pub encoding: BulkEncoding,
    /// Length of each part in bytes. `None`, unknown, is allowed only for the one part of compressed pixels.
    pub lengths_bytes: Vec<Option<u64>>,
}

impl BulkPart {
    /// One native part.
    pub fn native(length_bytes: u64) -> Self {
        Self {
            encoding: BulkEncoding::Native,
            lengths_bytes: vec![Some(length_bytes)],
        }
    }
}

/// A piece of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// Bytes of a bulk part.
    Bulk(BulkPiece),
}

/// A bulk part that goes into the stream here.
#[derive(Clone, PartialEq, Eq)]
pub struct BulkPiece {
    /// The `BulkDataURI`, as in the metadata.
    pub uri: String,
    /// Which of its parts, from 0.
    pub part: usize,
    /// The attribute.
    pub tag: Tag,
    /// The attribute's VR.
    pub vr: VR,
    /// What is to be written.
    pub shape: BulkShape,
}

impl std::fmt::Debug for BulkPiece {
    // A URI may hold UIDs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BulkPiece({:?} part {} {:?})", self.tag, self.part, self.shape)
    }
}

/// How a bulk part is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkShape {
    /// The part's bytes, exactly so many: a part of another length must fail the instance. Padding follows in the next
    /// piece where it is needed.
    Whole {
        /// Length of the part in bytes.
        length_bytes: u64,
    },
    /// The part's length was unknown: write it as fragments, at least one, each with a [`fragment_header`]. All but the
    /// last must have an even length.
    Fragments,
}

/// The item header of a fragment of `length_bytes`, and the byte to write behind it where its length is odd (PS3.5
/// section A.4). `None` for a fragment that is empty or too long for one item.
pub fn fragment_header(length_bytes: u64) -> Option<([u8; 8], Option<u8>)> {
    if length_bytes == 0 || length_bytes > VALUE_BYTES_MAX {
        return None;
    }
    let is_odd = length_bytes % 2 == 1;
    let padded = (length_bytes + u64::from(is_odd)) as u32;
    let mut header = [0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&padded.to_le_bytes());
    Some((header, is_odd.then_some(0)))
}

impl Encoder<'_> {
    pub(super) fn bulk(&mut self, tag: Tag, vr: VR, uri: &str) -> Result<(), FromJsonError> {
        let Some(part) = (self.resolve)(uri) else {
            return self.error(FromJsonErrorKind::BulkMissing);
        };
        if part.lengths_bytes.is_empty() {
            return self.error(FromJsonErrorKind::BulkMissing);
        }
        match &part.encoding {
            BulkEncoding::Native => self.native(tag, vr, uri, &part),
            BulkEncoding::Compressed { transfer_syntax } => {
                self.use_transfer_syntax(tag, transfer_syntax)?;
                self.compressed(tag, uri, &part)
            }
            BulkEncoding::Items { transfer_syntax } => {
                self.use_transfer_syntax(tag, transfer_syntax)?;
                self.items(tag, uri, &part)
            }
        }
    }

    /// All compressed pixels of an instance are in the transfer syntax of the instance.
    fn use_transfer_syntax(&mut self, tag: Tag, uid: &str) -> Result<(), FromJsonError> {
        if tag != tags::PIXEL_DATA {
            return self.error(FromJsonErrorKind::NotPixels);
        }
        if !TransferSyntax::of(uid).is_encapsulated() {
            return self.error(FromJsonErrorKind::UnsupportedTransferSyntax);
        }
        if self.transfer_syntax.as_deref().is_some_and(|used| used != uid) {
            return self.error(FromJsonErrorKind::TransferSyntaxesDiffer);
        }
        self.transfer_syntax = Some(uid.to_owned());
        Ok(())
    }

    fn piece(&self, tag: Tag, vr: VR, uri: &str, part: usize, length_bytes: Option<u64>) -> BulkPiece {
        let uri = uri.to_owned();
        let shape = length_bytes.map_or(BulkShape::Fragments, |length_bytes| BulkShape::Whole { length_bytes });
        BulkPiece {
            uri,
            part,
            tag,
            vr,
            shape,
        }
    }

    /// Pixels of the instance itself cannot be native once its icon is compressed; the other way round they can (PS3.5
    /// section A.4).
    pub(super) fn check_native(&self, tag: Tag) -> Result<(), FromJsonError> {
        let is_outermost = self.path.len() == 8;
        match tag == tags::PIXEL_DATA && is_outermost && self.transfer_syntax.is_some() {
            true => self.error(FromJsonErrorKind::TransferSyntaxesDiffer),
            false => Ok(()),
        }
    }

    fn native(&mut self, tag: Tag, vr: VR, uri: &str, part: &BulkPart) -> Result<(), FromJsonError> {
        self.check_native(tag)?;
        let mut total = 0_u64;
        for length in &part.lengths_bytes {
            let Some(length) = length else {
                return self.error(FromJsonErrorKind::BulkLengthUnknown);
            };
            total = total.saturating_add(*length);
        }
        if total > VALUE_BYTES_MAX {
            return self.error(FromJsonErrorKind::BulkTooLong);
        }
        // Pixel Data is never UN; OW is right for whatever was OW or unknown before (PS3.5 section 8.1).
        let vr = match (tag, vr) {
            (tags::PIXEL_DATA, VR::OB | VR::OW) => vr,
            (tags::PIXEL_DATA, _) => VR::OW,
            _ => vr,
        };
        if becomes_unknown(vr, total) {
            self.warn(FromJsonWarning::LongValueAsUnknown);
        }
        self.stream.header(tag, vr, total);
        for (number, length) in part.lengths_bytes.iter().enumerate() {
            let piece = self.piece(tag, vr, uri, number, *length);
            self.stream.bulk(piece);
        }
        if total % 2 == 1 {
            self.stream.push(padding(vr));
        }
        Ok(())
    }

    fn compressed(&mut self, tag: Tag, uri: &str, part: &BulkPart) -> Result<(), FromJsonError> {
        let open = self.stream.open_encapsulated(tag, VR::OB);
        self.stream.fragment(0);
        for (number, length) in part.lengths_bytes.iter().enumerate() {
            let piece = self.piece(tag, VR::OB, uri, number, *length);
            let Some(length) = *length else {
                // Without an offset table, frames of several fragments each could not be told apart.
                if part.lengths_bytes.len() > 1 {
                    return self.error(FromJsonErrorKind::BulkLengthUnknown);
                }
                self.stream.bulk(piece);
                continue;
            };
            if length > VALUE_BYTES_MAX {
                return self.error(FromJsonErrorKind::BulkTooLong);
            }
            self.stream.fragment((length + length % 2) as u32);
            self.stream.bulk(piece);
            if length % 2 == 1 {
                self.stream.push(0);
            }
        }
        self.stream.close(open, false);
        Ok(())
    }

    fn items(&mut self, tag: Tag, uri: &str, part: &BulkPart) -> Result<(), FromJsonError> {
        let length = match part.lengths_bytes[..] {
            [Some(length)] if length % 2 == 0 => length,
            [Some(_)] => return self.error(FromJsonErrorKind::NotPixels),
            _ => return self.error(FromJsonErrorKind::BulkLengthUnknown),
        };
        let open = self.stream.open_encapsulated(tag, VR::OB);
        let piece = self.piece(tag, VR::OB, uri, 0, Some(length));
        self.stream.bulk(piece);
        self.stream.close(open, false);
        Ok(())
    }
}
