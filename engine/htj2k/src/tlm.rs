//! The tile-part length marker segment (TLM, ITU-T T.800 section A.7.1), for codestreams of one tile-part.

use crate::Error;

const SOT: [u8; 2] = [0xFF, 0x90];
const TLM: [u8; 2] = [0xFF, 0x55];
/// Length of SOT's marker segment with its marker, in bytes.
const SOT_LENGTH: usize = 12;

/// Inserts a TLM segment behind the last segment of the main header.
pub(crate) fn insert(codestream: Vec<u8>) -> Result<Vec<u8>, Error> {
    const UNEXPECTED: Error = Error::Unsupported("not one tile-part, for TLM");
    let mut at = 2;
    loop {
        let segment = codestream.get(at..).ok_or(UNEXPECTED)?;
        let (marker, rest) = segment.split_first_chunk::<2>().ok_or(UNEXPECTED)?;
        if *marker == SOT {
            break;
        }
        let length = rest
            .first_chunk()
            .map(|b| usize::from(u16::from_be_bytes(*b)))
            .ok_or(UNEXPECTED)?;
        at += 2 + length.max(2);
    }
    let (header, tile_part) = codestream.split_at(at);
    let psot = tile_part
        .get(6..10)
        .and_then(|b| b.first_chunk::<4>())
        .ok_or(UNEXPECTED)?;
    // One tile-part: it ends where the codestream's EOC begins.
    let length = usize::try_from(u32::from_be_bytes(*psot)).map_err(|_| UNEXPECTED)?;
    if length < SOT_LENGTH || length + 2 != tile_part.len() {
        return Err(UNEXPECTED);
    }
    let mut out = Vec::with_capacity(codestream.len() + 12);
    out.extend_from_slice(header);
    out.extend_from_slice(&TLM);
    // Ltlm; Ztlm 0; Stlm 0x60: two-byte tile index, four-byte length.
    out.extend_from_slice(&[0, 10, 0, 0x60, 0, 0]);
    out.extend_from_slice(psot);
    out.extend_from_slice(tile_part);
    Ok(out)
}
