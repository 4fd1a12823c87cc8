//! Reads and writes the top level of an Explicit VR Little Endian dataset (PS3.5 7.1), just enough for a template.
//!
//! Invariant: every length is checked against what remains; sequences of undefined length are walked by their items'
//! delimiters with a counter, not by recursion.

use thiserror::Error;

/// Why a file cannot be a template.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ElementError {
    /// A length points behind the end of the data.
    #[error("an element at offset {0} is longer than what remains")]
    Truncated(usize),
    /// Bytes where a value representation was expected are not two capital letters.
    #[error("no explicit value representation at offset {0}")]
    NotExplicit(usize),
}

/// Group and element number.
pub(crate) type Tag = (u16, u16);

/// Where one element lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Group and element number.
    pub(crate) tag: Tag,
    /// Offset of the element's first byte.
    pub(crate) start: usize,
    /// Offset of the value's first byte.
    pub(crate) value: usize,
    /// Offset behind the value.
    pub(crate) end: usize,
}

fn long_form(vr: [u8; 2]) -> bool {
    matches!(
        &vr,
        b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV"
    )
}

fn u16_at(data: &[u8], at: usize) -> Result<u16, ElementError> {
    let bytes = data.get(at..at.saturating_add(2)).ok_or(ElementError::Truncated(at))?;
    Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn u32_at(data: &[u8], at: usize) -> Result<u32, ElementError> {
    let bytes = data.get(at..at.saturating_add(4)).ok_or(ElementError::Truncated(at))?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Header of the element at `start`: tag, offset of its value, length (`u32::MAX` when undefined).
fn header(data: &[u8], start: usize) -> Result<((u16, u16), usize, u32), ElementError> {
    let tag = (u16_at(data, start)?, u16_at(data, start + 2)?);
    if tag.0 == 0xFFFE {
        return Ok((tag, start + 8, u32_at(data, start + 4)?));
    }
    let vr = data.get(start + 4..start + 6).ok_or(ElementError::Truncated(start))?;
    if !vr.iter().all(u8::is_ascii_uppercase) {
        return Err(ElementError::NotExplicit(start));
    }
    if long_form([vr[0], vr[1]]) {
        Ok((tag, start + 12, u32_at(data, start + 8)?))
    } else {
        Ok((tag, start + 8, u32::from(u16_at(data, start + 6)?)))
    }
}

/// Places of the top-level elements of `data[from..]`, in file order.
pub(crate) fn top_level(data: &[u8], from: usize) -> Result<Vec<Place>, ElementError> {
    let mut places = Vec::new();
    let mut at = from;
    while at < data.len() {
        let start = at;
        let (tag, value, length) = header(data, start)?;
        let end = if length == u32::MAX {
            end_of_undefined(data, value)?
        } else {
            checked_end(data, value, length)?
        };
        places.push(Place { tag, start, value, end });
        at = end;
    }
    Ok(places)
}

fn checked_end(data: &[u8], value: usize, length: u32) -> Result<usize, ElementError> {
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| value.checked_add(length));
    end.filter(|end| *end <= data.len())
        .ok_or(ElementError::Truncated(value))
}

/// Offset behind the delimiter that closes an element of undefined length whose value begins at `at`.
fn end_of_undefined(data: &[u8], mut at: usize) -> Result<usize, ElementError> {
    // Containers of undefined length that are open: sequences end with (FFFE,E0DD), items with (FFFE,E00D).
    let mut num_open = 1_usize;
    loop {
        let (tag, value, length) = header(data, at)?;
        at = match tag {
            (0xFFFE, 0xE0DD | 0xE00D) => {
                num_open -= 1;
                if num_open == 0 {
                    return Ok(value);
                }
                value
            }
            _ if length == u32::MAX => {
                num_open += 1;
                value
            }
            _ => checked_end(data, value, length)?,
        };
    }
}

/// One element with its value padded to even length (PS3.5 7.1.2).
pub(crate) fn write(tag: (u16, u16), vr: [u8; 2], value: &[u8]) -> Vec<u8> {
    let odd = value.len() % 2;
    let length = value.len() + odd;
    let mut out = Vec::with_capacity(length + 12);
    out.extend_from_slice(&tag.0.to_le_bytes());
    out.extend_from_slice(&tag.1.to_le_bytes());
    out.extend_from_slice(&vr);
    if long_form(vr) {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    } else {
        out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    }
    out.extend_from_slice(value);
    if odd == 1 {
        out.push(if matches!(&vr, b"UI" | b"OB" | b"UN") { 0 } else { b' ' });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found() {
        let mut data = write((8, 0x18), *b"UI", b"1.2.3");
        data.extend(write((0x10, 0x10), *b"PN", b"A^B"));
        data.extend(write((0x7FE0, 0x10), *b"OW", &[1, 2, 3, 4]));
        let places = top_level(&data, 0).unwrap();
        assert_eq!(
            places.iter().map(|place| place.tag).collect::<Vec<_>>(),
            [(8, 0x18), (0x10, 0x10), (0x7FE0, 0x10)]
        );
        assert_eq!(&data[places[0].value..places[0].end], b"1.2.3\0");
        assert_eq!(&data[places[2].value..places[2].end], [1, 2, 3, 4]);
    }

    #[test]
    fn nested_sequences_of_undefined_length_are_one_element() {
        let undefined = |tag: (u16, u16), inner: &[u8]| {
            let mut out = write(tag, *b"SQ", b"");
            out[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
            out.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
            out.extend_from_slice(inner);
            out.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0]);
            out.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
            out
        };
        let inner = undefined((8, 0x1199), &write((8, 0x1155), *b"UI", b"1.2"));
        let mut data = undefined((8, 0x1140), &inner);
        data.extend(write((0x10, 0x20), *b"LO", b"X"));
        let places = top_level(&data, 0).unwrap();
        assert_eq!(
            places.iter().map(|place| place.tag).collect::<Vec<_>>(),
            [(8, 0x1140), (0x10, 0x20)]
        );
    }

    #[test]
    fn what_is_cut_is_refused() {
        let data = write((8, 0x18), *b"UI", b"1.2.3.4");
        for length in 1..data.len() {
            assert!(top_level(&data[..length], 0).is_err(), "{length}");
        }
        assert_eq!(
            top_level(&[8, 0, 0x18, 0, 1, 2, 3, 4], 0),
            Err(ElementError::NotExplicit(0))
        );
    }
}
