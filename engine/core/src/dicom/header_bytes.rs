//! The header half of an instance: every byte of the stream that is not the pixel element's value.
//!
//! Invariant 4: `preamble_and_meta ‖ before ‖ (pixel value) ‖ after ‖ trailing` is the stream (of a deflated dataset:
//! the inflated one), once each long value is put back where it was cut out. The stored form is one version byte, then
//! [`HeaderBytes`] in postcard's wire format.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::long_value::LongValue;

const VERSION: u8 = 1;

/// A change that makes the *readable* form of a header out of the verbatim one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Edit {
    /// Write these four bytes at this place: an undefined length becomes a defined one.
    Overwrite {
        /// Where, in the verbatim bytes.
        at: u32,
        /// The new bytes.
        bytes: [u8; 4],
    },
    /// Leave out eight bytes: a delimiter that closes nothing.
    Remove {
        /// Where, in the verbatim bytes.
        at: u32,
    },
    /// Add a delimiter (an item's if true, else a sequence's) at the end.
    Close {
        /// Whether an item is closed.
        item: bool,
        /// Whether it is written big endian.
        big_endian: bool,
    },
}

/// Everything of an instance but its pixel payload, verbatim. Patient data: `Debug` shows lengths only.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderBytes {
    /// Preamble, prefix and file meta; empty when the stream had none.
    pub preamble_and_meta: Bytes,
    /// The dataset up to and including the header (tag, VR, length) of the pixel element; without one, all of it.
    pub before: Bytes,
    /// The elements after the pixel element.
    pub after: Bytes,
    /// What followed the dataset and is no element.
    pub trailing: Bytes,
    /// Bytes of the pixel element's header at the end of `before`: 8 or 12; 0 without pixels.
    pub pixel_header_length: u8,
    /// The values that were cut out of `before`, ascending.
    pub long_before: Vec<LongValue>,
    /// The values that were cut out of `after`, ascending.
    pub long_after: Vec<LongValue>,
    pub(super) edits_before: Vec<Edit>,
    pub(super) edits_after: Vec<Edit>,
}

/// Why stored header bytes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderBytesError {
    /// Written by another version.
    #[error("the header bytes have version {0}, this program reads version 1")]
    Version(u8),
    /// Not what [`HeaderBytes::encode`] writes.
    #[error("the header bytes are damaged")]
    Damaged,
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    preamble_and_meta: &'a [u8],
    before: &'a [u8],
    after: &'a [u8],
    trailing: &'a [u8],
    pixel_header_length: u8,
    edits_before: Vec<Edit>,
    edits_after: Vec<Edit>,
    long_before: Vec<LongValue>,
    long_after: Vec<LongValue>,
}

impl HeaderBytes {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            preamble_and_meta: &self.preamble_and_meta,
            before: &self.before,
            after: &self.after,
            trailing: &self.trailing,
            pixel_header_length: self.pixel_header_length,
            edits_before: self.edits_before.clone(),
            edits_after: self.edits_after.clone(),
            long_before: self.long_before.clone(),
            long_after: self.long_after.clone(),
        };
        #[expect(clippy::expect_used, reason = "slices and numbers always serialise into memory")]
        postcard::to_extend(&stored, vec![VERSION]).expect("header bytes serialise")
    }

    /// Reads the stored form. The parts are slices of `bytes`, not copies.
    pub fn decode(bytes: &Bytes) -> Result<Self, HeaderBytesError> {
        let (version, body) = bytes.split_first().ok_or(HeaderBytesError::Damaged)?;
        if *version != VERSION {
            return Err(HeaderBytesError::Version(*version));
        }
        let (stored, rest) = postcard::take_from_bytes::<Stored<'_>>(body).map_err(|_| HeaderBytesError::Damaged)?;
        if !rest.is_empty()
            || !matches!(stored.pixel_header_length, 0 | 8 | 12)
            || usize::from(stored.pixel_header_length) > stored.before.len()
            || !are_inside(&stored.long_before, stored.before)
            || !are_inside(&stored.long_after, stored.after)
        {
            return Err(HeaderBytesError::Damaged);
        }
        Ok(Self {
            preamble_and_meta: bytes.slice_ref(stored.preamble_and_meta),
            before: bytes.slice_ref(stored.before),
            after: bytes.slice_ref(stored.after),
            trailing: bytes.slice_ref(stored.trailing),
            pixel_header_length: stored.pixel_header_length,
            edits_before: stored.edits_before,
            edits_after: stored.edits_after,
            long_before: stored.long_before,
            long_after: stored.long_after,
        })
    }

    /// The values that were cut out, in the order of the stream.
    pub fn long_values(&self) -> impl Iterator<Item = &LongValue> {
        self.long_before.iter().chain(&self.long_after)
    }

    /// The VR that the pixel element's header names; none in Implicit VR, or without pixels.
    pub fn pixel_vr(&self) -> Option<[u8; 2]> {
        let start = self.before.len().checked_sub(usize::from(self.pixel_header_length))?;
        match self.before.get(start + 4..start + 6)? {
            [first, second] if self.pixel_header_length == 12 => Some([*first, *second]),
            _ => None,
        }
    }

    /// Bytes of all parts and of the values that were cut out.
    pub fn len(&self) -> u64 {
        let parts = [&self.preamble_and_meta, &self.before, &self.after, &self.trailing];
        let long: u64 = self.long_values().map(|value| u64::from(value.length)).sum();
        parts.iter().map(|part| part.len() as u64).sum::<u64>() + long
    }

    /// Whether all parts are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements before the pixel element, fit for a dataset parser: without the pixel element's header, every
    /// sequence closed, and every value of VR UN or OB (and the like) of undefined length made one of defined length
    /// that covers its items, so that nothing nests deeper than the splitter saw. Values that were cut out are empty.
    pub fn elements_before(&self) -> Bytes {
        let end = self.before.len().saturating_sub(usize::from(self.pixel_header_length));
        apply(self.before.slice(..end), &self.edits_before)
    }

    /// The values that were cut out of the elements before, by their places in [`Self::elements_before`].
    pub(super) fn long_in_elements_before(&self) -> Vec<LongValue> {
        let removed_before = |at: u32| {
            let is_before = |edit: &&Edit| matches!(edit, Edit::Remove { at: removed } if *removed < at);
            self.edits_before.iter().filter(is_before).count() as u32 * 8
        };
        let moved = self.long_before.iter().map(|value| LongValue {
            at: value.at.saturating_sub(removed_before(value.at)),
            ..*value
        });
        moved.collect()
    }

    /// The same with other bytes before the pixel element, which are readable as they are, and the places of the values
    /// that were cut out of them.
    pub(super) fn with_before(&self, before: Bytes, long_before: Vec<LongValue>) -> Self {
        Self {
            before,
            long_before,
            edits_before: Vec::new(),
            ..self.clone()
        }
    }

    /// The elements after the pixel element, likewise.
    pub fn elements_after(&self) -> Bytes {
        apply(self.after.clone(), &self.edits_after)
    }

    /// Both, one after the other.
    pub fn elements(&self) -> Bytes {
        let (before, after) = (self.elements_before(), self.elements_after());
        if after.is_empty() {
            return before;
        }
        [before, after].concat().into()
    }
}

/// Whether places are ascending and inside the bytes.
fn are_inside(values: &[LongValue], bytes: &[u8]) -> bool {
    values.is_sorted_by_key(|value| value.at) && values.iter().all(|value| value.at as usize <= bytes.len())
}

fn apply(bytes: Bytes, edits: &[Edit]) -> Bytes {
    if edits.is_empty() {
        return bytes;
    }
    let mut result = Vec::with_capacity(bytes.len());
    let mut done = 0;
    // Edits come in no order only where a value and an outer one both are rewritten, which the walker never asks for.
    let mut copy_to = |result: &mut Vec<u8>, at: usize, skip: usize| {
        let at = at.clamp(done, bytes.len());
        result.extend_from_slice(&bytes[done..at]);
        done = (at + skip).min(bytes.len());
    };
    for edit in edits {
        match *edit {
            Edit::Overwrite { at, bytes: new } => {
                copy_to(&mut result, at as usize, 4);
                result.extend_from_slice(&new);
            }
            Edit::Remove { at } => copy_to(&mut result, at as usize, 8),
            Edit::Close { item, big_endian } => {
                copy_to(&mut result, usize::MAX, 0);
                let element: u16 = if item { 0xE00D } else { 0xE0DD };
                for half in [0xFFFE, element] {
                    result.extend_from_slice(&if big_endian {
                        half.to_be_bytes()
                    } else {
                        half.to_le_bytes()
                    });
                }
                result.extend_from_slice(&[0; 4]);
            }
        }
    }
    copy_to(&mut result, usize::MAX, 0);
    result.into()
}

impl fmt::Debug for HeaderBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderBytes")
            .field("preamble_and_meta_bytes", &self.preamble_and_meta.len())
            .field("before_bytes", &self.before.len())
            .field("after_bytes", &self.after.len())
            .field("trailing_bytes", &self.trailing.len())
            .field("pixel_header_length", &self.pixel_header_length)
            .field("num_long_values", &self.long_values().count())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> HeaderBytes {
        HeaderBytes {
            preamble_and_meta: Bytes::from_static(b"m"),
            before: Bytes::from_static(b"0123456789"),
            after: Bytes::from_static(b"ab"),
            trailing: Bytes::from_static(b"t"),
            pixel_header_length: 8,
            edits_before: vec![],
            edits_after: vec![Edit::Close {
                item: true,
                big_endian: false,
            }],
            long_before: vec![LongValue {
                tag: (0x0042, 0x0011),
                vr: Some(*b"OB"),
                at: 2,
                length: 300,
            }],
            long_after: vec![],
        }
    }

    #[test]
    fn the_stored_form_is_fixed() {
        let golden = b"\x01\x01m\x0a0123456789\x02ab\x01t\x08\x00\x01\x02\x01\x00\x01\x42\x11\x01OB\x02\xac\x02\x00";
        assert_eq!(example().encode(), golden);
        assert_eq!(HeaderBytes::decode(&Bytes::from_static(golden)), Ok(example()));
    }

    #[test]
    fn damage_is_found() {
        let good = example().encode();
        for (bytes, expected) in [
            (vec![], HeaderBytesError::Damaged),
            (vec![9], HeaderBytesError::Version(9)),
            (good[..good.len() - 1].to_vec(), HeaderBytesError::Damaged),
            ([good.as_slice(), &[0]].concat(), HeaderBytesError::Damaged),
            // A long value beyond the end.
            (
                [&good[..good.len() - 4], &[11, 0xac, 2, 0]].concat(),
                HeaderBytesError::Damaged,
            ),
        ] {
            assert_eq!(HeaderBytes::decode(&bytes.into()), Err(expected));
        }
    }

    #[test]
    fn edits_make_the_readable_form() {
        let bytes = Bytes::from_static(b"0123456789abcdefghij");
        for (edits, expected) in [
            (vec![], b"0123456789abcdefghij".to_vec()),
            (
                vec![Edit::Overwrite { at: 1, bytes: *b"WXYZ" }],
                b"0WXYZ56789abcdefghij".to_vec(),
            ),
            (vec![Edit::Remove { at: 2 }, Edit::Remove { at: 12 }], b"01ab".to_vec()),
            (
                vec![Edit::Close {
                    item: false,
                    big_endian: true,
                }],
                b"0123456789abcdefghij\xFF\xFE\xE0\xDD\0\0\0\0".to_vec(),
            ),
            // Damaged edits change no byte beyond the end and never panic.
            (vec![Edit::Remove { at: u32::MAX }], b"0123456789abcdefghij".to_vec()),
        ] {
            assert_eq!(apply(bytes.clone(), &edits), expected);
        }
    }

    #[test]
    fn debug_shows_no_bytes() {
        assert!(!format!("{:?}", example()).contains("0123"));
    }
}
