//! Bulk data that is held until its instances are complete.

use bytes::Bytes;
use septum_core::dicom::FailureReason;
use septum_core::dicom::from_json::media_type::{bulk_encoding, transfer_syntax_of_jpeg};
use septum_core::dicom::from_json::{BulkEncoding, BulkPart};

use super::held::Share;

/// Pieces shorter than this are copied: a slice would keep the whole buffer it was cut from.
const COPY_BYTES_MAX: usize = 128 << 10;

/// Item tag (FFFE,E000): no codestream starts with it, so what does is encapsulated pixels with their item headers.
const ITEM_TAG: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];

/// Said of a part whose bytes stand for others.
pub const CODED: &str = "the part is in a Content-Transfer-Encoding or Content-Encoding; send it as binary";

/// Why bulk data cannot be used: the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkFailure(pub FailureReason, pub &'static str);

/// How the part is encoded, by its Content-Type and its first bytes.
///
/// # Errors
/// [`BulkFailure`] for a media type that is not known, or a transfer syntax that does not go with it.
pub fn encoding_of(content_type: Option<&str>, start: &[u8]) -> Result<BulkEncoding, BulkFailure> {
    let encoding = match bulk_encoding(content_type) {
        Ok(encoding) => encoding,
        // Encapsulated documents and the like come under their own media type.
        Err(_) if content_type.is_some_and(is_document) => return Ok(BulkEncoding::Native),
        Err(_) => {
            return Err(BulkFailure(
                FailureReason::CannotUnderstand,
                "the media type or transfer syntax of the bulk data is not supported",
            ));
        }
    };
    let BulkEncoding::Compressed { transfer_syntax } = encoding else {
        return Ok(encoding);
    };
    if start.starts_with(&ITEM_TAG) {
        return Ok(BulkEncoding::Items { transfer_syntax });
    }
    let names_syntax = content_type.is_some_and(|text| text.to_ascii_lowercase().contains("transfer-syntax"));
    let found = if names_syntax {
        None
    } else {
        transfer_syntax_of_jpeg(start)
    };
    Ok(BulkEncoding::Compressed {
        transfer_syntax: found.map_or(transfer_syntax, str::to_owned),
    })
}

fn is_document(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    matches!(
        essence.as_str(),
        "application/pdf" | "text/xml" | "application/xml" | "text/plain" | "model/stl" | "model/obj" | "model/mtl"
    ) || essence.starts_with("application/vnd.")
}

/// One part.
pub struct Part {
    /// Its bytes.
    pub chunks: Vec<Bytes>,
    /// Their number.
    pub length_bytes: u64,
    /// The frame that its address says it is.
    pub frame: Option<u32>,
    share: Share,
}

impl Part {
    /// An empty part.
    pub fn new(frame: Option<u32>, share: Share) -> Self {
        Self {
            chunks: Vec::new(),
            length_bytes: 0,
            frame,
            share,
        }
    }

    /// Adds bytes. False where they cannot be held.
    #[must_use]
    pub fn push(&mut self, bytes: Bytes) -> bool {
        if !self.share.grow(bytes.len() as u64) {
            return false;
        }
        self.length_bytes += bytes.len() as u64;
        self.chunks.push(if bytes.len() < COPY_BYTES_MAX {
            Bytes::copy_from_slice(&bytes)
        } else {
            bytes
        });
        true
    }

    /// The first bytes, as many as came at once.
    pub fn start(&self) -> &[u8] {
        self.chunks.first().map_or(&[], |chunk| chunk)
    }
}

/// All parts of one address.
#[derive(Default)]
pub struct Entry {
    /// How all of them are encoded; the first one says it.
    pub encoding: Option<BulkEncoding>,
    /// Why they cannot be used.
    pub failure: Option<BulkFailure>,
    /// The parts so far.
    pub parts: Vec<Part>,
    /// Indices of the instances that wait for it.
    pub wanted_by: Vec<usize>,
    /// Nothing more belongs to it.
    pub is_closed: bool,
    /// Every instance that waited for it has got it.
    pub is_used: bool,
}

impl Entry {
    /// The encoding of a further part is another one, or none.
    pub fn note_encoding(&mut self, found: Result<BulkEncoding, BulkFailure>) {
        match (found, &self.encoding) {
            (Err(failure), _) => self.fail(failure),
            (Ok(found), None) => self.encoding = Some(found),
            (Ok(found), Some(known)) if found != *known => self.fail(BulkFailure(
                FailureReason::CannotUnderstand,
                "parts of one bulk data differ in their transfer syntax",
            )),
            (Ok(_), Some(_)) => {}
        }
    }

    /// Gives up: what is held is let go.
    pub fn fail(&mut self, failure: BulkFailure) {
        self.failure.get_or_insert(failure);
        self.parts.clear();
    }

    /// Parts that an instance of so many frames sends here; `None` where that cannot be said before the next address.
    pub fn num_expected(&self, num_frames: u32, is_video: bool) -> Option<usize> {
        match &self.encoding {
            Some(BulkEncoding::Compressed { .. }) if num_frames > 1 && !is_video => Some(num_frames as usize),
            _ => None,
        }
    }

    /// What is known of the parts, once it is closed.
    pub fn bulk_part(&self) -> Option<BulkPart> {
        let encoding = self.encoding.clone()?;
        let lengths_bytes = self.parts.iter().map(|part| Some(part.length_bytes)).collect();
        Some(BulkPart {
            encoding,
            lengths_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stow::held::Held;

    #[test]
    fn encodings_are_seen() {
        let syntax = |encoding| match encoding {
            Ok(BulkEncoding::Native) => "native".to_owned(),
            Ok(BulkEncoding::Compressed { transfer_syntax }) => transfer_syntax,
            Ok(BulkEncoding::Items { transfer_syntax }) => format!("items {transfer_syntax}"),
            Err(_) => "none".to_owned(),
        };
        for (content_type, start, expected) in [
            (None, &b"x"[..], "native"),
            (Some("application/octet-stream"), &ITEM_TAG, "native"),
            (Some("application/pdf"), b"%PDF", "native"),
            (
                Some("image/jpeg"),
                &[0xFF, 0xD8, 0xFF, 0xC0, 0, 2],
                "1.2.840.10008.1.2.4.50",
            ),
            (Some("image/jpeg"), b"?", "1.2.840.10008.1.2.4.70"),
            (
                Some("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.51"),
                &[0xFF, 0xD8, 0xFF, 0xC0, 0, 2],
                "1.2.840.10008.1.2.4.51",
            ),
            (
                Some("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.5"),
                &ITEM_TAG,
                "items 1.2.840.10008.1.2.5",
            ),
            (Some("text/html"), b"", "none"),
        ] {
            assert_eq!(syntax(encoding_of(content_type, start)), expected, "{content_type:?}");
        }
    }

    #[test]
    fn no_more_is_held_than_allowed() {
        let held = Held::new(4096);
        let mut part = Part::new(None, held.share());
        assert!(part.push(Bytes::from_static(&[0; 4000])));
        assert!(!part.push(Bytes::from_static(&[0; 97])));
        let mut entry = Entry::default();
        entry.parts.push(part);
        entry.fail(BulkFailure(FailureReason::OutOfResources, "full"));
        assert!(held.share().grow(4096));
    }
}
