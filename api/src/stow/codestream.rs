//! Compressed frames as parts: what they must begin with, and codestreams that come in a file of their own.
//!
//! A fragment holds a bare codestream (PS3.5 sections 8.2.4 and A.4.4), yet `image/jp2` names a file format whose boxes
//! stand around it (ITU-T T.800 annex I; T.814 for HTJ2K). The boxes go; the codestream stays as it is.

use bytes::Bytes;
use septum_core::dicom::FailureReason;

use super::parts::{BulkFailure, Part};

/// JP2 signature box, whole.
const JP2: [u8; 12] = *b"\0\0\0\x0CjP  \r\n\x87\n";
/// JPEG XL signature box, whole.
const JXL: [u8; 12] = *b"\0\0\0\x0CJXL \r\n\x87\n";
/// Start of image, and the first byte of any marker.
const JPEG: [u8; 3] = [0xFF, 0xD8, 0xFF];
/// Start of codestream, and of image and tile size (T.800 annex A).
const JPEG2000: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
/// JPEG XL without a box.
const JXL_BARE: [u8; 2] = [0xFF, 0x0A];

/// Bytes of the longest box header.
const BOX_HEADER_BYTES: usize = 16;
/// Most boxes looked at before the codestream.
const BOXES_MAX: usize = 64;

const NOT_SO: BulkFailure = BulkFailure(
    FailureReason::CannotUnderstand,
    "the bulk data does not begin as its media type or transfer syntax says",
);
const NO_CODESTREAM: BulkFailure = BulkFailure(
    FailureReason::CannotUnderstand,
    "the boxes around the codestream cannot be read, or hold none",
);

/// Whether a frame is a bare codestream of its transfer syntax, as far as its first bytes tell.
pub fn is_bare(transfer_syntax: &str, part: &Part) -> bool {
    let start = part.bytes_at(0, JP2.len());
    begins_with(transfer_syntax, &start)
}

fn begins_with(transfer_syntax: &str, start: &[u8]) -> bool {
    match transfer_syntax.strip_prefix("1.2.840.10008.1.2") {
        Some(".4.50" | ".4.51" | ".4.57" | ".4.70" | ".4.80" | ".4.81") => start.starts_with(&JPEG),
        Some(name) if is_jpeg2000(name) => start.starts_with(&JPEG2000),
        Some(".4.110" | ".4.111" | ".4.112") => start.starts_with(&JXL_BARE) || start.starts_with(&JXL),
        // Number of segments; the first one follows the header of 64 bytes (PS3.5 section G.5).
        Some(".5") => matches!(start, [1..=15, 0, 0, 0, 64, 0, 0, 0, ..]),
        _ => true,
    }
}

fn is_jpeg2000(name: &str) -> bool {
    matches!(
        name,
        ".4.90" | ".4.91" | ".4.92" | ".4.93" | ".4.201" | ".4.202" | ".4.203"
    )
}

/// Makes a complete part what goes into a fragment.
///
/// # Errors
/// Where it is no codestream of the transfer syntax.
pub fn unbox(transfer_syntax: &str, part: &mut Part) -> Result<(), BulkFailure> {
    // That nothing came is told elsewhere.
    if part.length_bytes == 0 || is_bare(transfer_syntax, part) {
        return Ok(());
    }
    let may_be_boxed = transfer_syntax
        .strip_prefix("1.2.840.10008.1.2")
        .is_some_and(is_jpeg2000);
    if !may_be_boxed || part.bytes_at(0, JP2.len()) != JP2 {
        return Err(NOT_SO);
    }
    let (start, end) = codestream(part).ok_or(NO_CODESTREAM)?;
    part.cut(start, end);
    if is_bare(transfer_syntax, part) {
        Ok(())
    } else {
        Err(NO_CODESTREAM)
    }
}

/// Where the first contiguous codestream box has its content.
fn codestream(part: &Part) -> Option<(u64, u64)> {
    let mut at = 0_u64;
    for _ in 0..BOXES_MAX {
        let header = part.bytes_at(at, BOX_HEADER_BYTES);
        let (length, kind) = (header.first_chunk::<4>()?, header.get(4..8)?);
        let (header_bytes, length) = match u32::from_be_bytes(*length) {
            0 => (8, part.length_bytes - at),
            1 => (16, u64::from_be_bytes(header.get(8..16)?.try_into().ok()?)),
            length => (8, u64::from(length)),
        };
        let end = at.checked_add(length).filter(|end| *end <= part.length_bytes)?;
        if length < header_bytes {
            return None;
        }
        if kind == b"jp2c" {
            return Some((at + header_bytes, end));
        }
        at = end;
    }
    None
}

impl Part {
    /// At most `length` bytes from `at` on.
    fn bytes_at(&self, at: u64, length: usize) -> Vec<u8> {
        let mut found = Vec::with_capacity(length);
        let mut before = 0_u64;
        for chunk in &self.chunks {
            let skipped = usize::try_from(at.saturating_sub(before)).unwrap_or(usize::MAX);
            let rest = chunk.get(skipped..).unwrap_or_default();
            found.extend_from_slice(&rest[..rest.len().min(length - found.len())]);
            if found.len() == length {
                break;
            }
            before += chunk.len() as u64;
        }
        found
    }

    /// Leaves the bytes from `start` to before `end`.
    fn cut(&mut self, start: u64, end: u64) {
        let (mut before, mut kept) = (0_u64, Vec::new());
        for chunk in std::mem::take(&mut self.chunks) {
            let length = chunk.len() as u64;
            let from = start.saturating_sub(before).min(length) as usize;
            let to = end.saturating_sub(before).min(length) as usize;
            before += length;
            if from < to {
                kept.push(chunk.slice(from..to));
            }
        }
        self.length_bytes = kept.iter().map(|chunk: &Bytes| chunk.len() as u64).sum();
        self.chunks = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stow::held::Held;

    const J2K: &str = "1.2.840.10008.1.2.4.90";

    fn part(bytes: &[u8], chunk: usize) -> Part {
        let mut part = Part::new(None, Held::new(1 << 20).share());
        for chunk in bytes.chunks(chunk) {
            assert!(part.push(Bytes::copy_from_slice(chunk)));
        }
        part
    }

    fn unboxed(transfer_syntax: &str, bytes: &[u8], chunk: usize) -> Result<Vec<u8>, BulkFailure> {
        let mut part = part(bytes, chunk);
        unbox(transfer_syntax, &mut part)?;
        let bytes = part.chunks.concat();
        assert_eq!(bytes.len() as u64, part.length_bytes);
        Ok(bytes)
    }

    #[test]
    fn boxes_around_codestreams_go() {
        let codestream = [&JPEG2000[..], b"pixels"].concat();
        let boxed = |lengths: &[u8], behind: &[u8]| {
            let (length, extended) = lengths.split_at(4);
            [
                &JP2[..],
                b"\0\0\0\x0Bftypjp2",
                length,
                b"jp2c",
                extended,
                &codestream,
                behind,
            ]
            .concat()
        };
        for chunk in [1, 3, 13, 1000] {
            assert_eq!(unboxed(J2K, &codestream, chunk), Ok(codestream.clone()));
            for (lengths, behind) in [
                (&[0, 0, 0, 18][..], &b""[..]),
                (&[0, 0, 0, 18], b"\0\0\0\x08free"),
                (&[0, 0, 0, 0], b""),
                (&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 26], b"\0\0\0\x08free"),
            ] {
                let found = unboxed(J2K, &boxed(lengths, behind), chunk);
                assert_eq!(found, Ok(codestream.clone()), "{lengths:?} {chunk}");
            }
            for lengths in [
                &[0, 0, 0, 7][..],
                &[0, 0, 0, 99],
                &[0, 0, 0, 1, 0xFF, 0, 0, 0, 0, 0, 0, 0],
            ] {
                assert_eq!(unboxed(J2K, &boxed(lengths, b""), chunk), Err(NO_CODESTREAM));
            }
        }
        assert_eq!(unboxed(J2K, &JP2, 5), Err(NO_CODESTREAM));
    }

    #[test]
    fn frames_begin_as_their_transfer_syntax_says() {
        let jpeg = [0xFF, 0xD8, 0xFF, 0xF7, 0, 11];
        for (syntax, bytes, is_so) in [
            ("1.2.840.10008.1.2.4.80", &jpeg[..], true),
            ("1.2.840.10008.1.2.4.50", &jpeg, true),
            ("1.2.840.10008.1.2.4.201", &jpeg, false),
            ("1.2.840.10008.1.2.4.201", &JPEG2000, true),
            ("1.2.840.10008.1.2.4.80", &JPEG2000, false),
            ("1.2.840.10008.1.2.4.80", &JP2, false),
            ("1.2.840.10008.1.2.5", &[1, 0, 0, 0, 64, 0, 0, 0, 7], true),
            ("1.2.840.10008.1.2.5", &[0, 0, 0, 0, 64, 0, 0, 0, 7], false),
            ("1.2.840.10008.1.2.4.110", &JXL, true),
            ("1.2.840.10008.1.2.4.102", b"video", true),
            ("1.2.3", b"anything", true),
            (J2K, b"", true),
        ] {
            assert_eq!(unboxed(syntax, bytes, 2).is_ok(), is_so, "{syntax} {bytes:?}");
        }
    }
}
