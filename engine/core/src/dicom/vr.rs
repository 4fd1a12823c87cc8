//! Value representations as far as the length of an element header needs them (PS3.5 sections 7.1.2 and 7.1.3).

use super::transfer_syntax::Encoding;

/// VRs with a 16-bit length (PS3.5 table 7.1-2).
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
];

/// VRs with a 32-bit length (PS3.5 table 7.1-1).
const LONG: [&[u8; 2]; 13] = [
    b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV",
];

/// Whether the VR's explicit header has a 16-bit length. All others, unknown ones too, have a 32-bit length.
pub(super) fn has_short_length(vr: [u8; 2]) -> bool {
    SHORT.iter().any(|short| **short == vr)
}

/// Whether PS3.5 knows the VR.
pub(super) fn is_known(vr: [u8; 2]) -> bool {
    has_short_length(vr) || LONG.iter().any(|long| **long == vr)
}

/// One element's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ElementHeader {
    pub(super) tag: (u16, u16),
    /// As written; `None` in Implicit VR and for items and delimiters.
    pub(super) vr: Option<[u8; 2]>,
    /// `None`: undefined.
    pub(super) length: Option<u32>,
    /// 8 or 12.
    pub(super) header_bytes: u8,
}

/// Reads a 16-bit number.
pub(super) fn u16_of(bytes: &[u8], encoding: Encoding) -> Option<u16> {
    let bytes = bytes.get(..2)?.try_into().ok()?;
    Some(if encoding.is_big_endian() {
        u16::from_be_bytes(bytes)
    } else {
        u16::from_le_bytes(bytes)
    })
}

/// Reads a 32-bit number.
pub(super) fn u32_of(bytes: &[u8], encoding: Encoding) -> Option<u32> {
    let bytes = bytes.get(..4)?.try_into().ok()?;
    Some(if encoding.is_big_endian() {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    })
}

impl ElementHeader {
    /// Reads the header at the start of `bytes`; `None` if more bytes are needed (at most 12).
    pub(super) fn read(bytes: &[u8], encoding: Encoding) -> Option<Self> {
        let tag = (u16_of(bytes, encoding)?, u16_of(bytes.get(2..)?, encoding)?);
        let length_at_4 = u32_of(bytes.get(4..)?, encoding)?;
        let defined = |length: u32| (length != u32::MAX).then_some(length);
        if !encoding.is_explicit() || tag.0 == 0xFFFE {
            return Some(Self {
                tag,
                vr: None,
                length: defined(length_at_4),
                header_bytes: 8,
            });
        }
        let vr = [bytes[4], bytes[5]];
        if has_short_length(vr) {
            let length = u32::from(u16_of(&bytes[6..], encoding)?);
            return Some(Self {
                tag,
                vr: Some(vr),
                length: Some(length),
                header_bytes: 8,
            });
        }
        let length = u32_of(bytes.get(8..)?, encoding)?;
        Some(Self {
            tag,
            vr: Some(vr),
            length: defined(length),
            header_bytes: 12,
        })
    }
}
