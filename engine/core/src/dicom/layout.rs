//! How a pixel payload was framed in its element, and where each frame lies in it.
//!
//! The *payload* is the concatenation of all units. The layout holds everything else of the pixel element's value: item
//! headers, Basic Offset Table, delimiter; so that the merger writes the element byte for byte (invariant 4). Its
//! serialised form is O(1) for native pixels and a few bytes a fragment for encapsulated ones; what is read back is
//! checked. It says nothing about anybody and may lie on the pixel side.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Longest unit of a fragment, in bytes.
pub(super) const FRAGMENT_UNIT_BYTES: u64 = 8 << 20;

/// How encapsulated pixel data ends (PS3.5 section A.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SequenceEnd {
    /// A sequence delimiter with this length, normally 0.
    Delimiter(u32),
    /// No delimiter.
    Missing,
}

/// The bytes of the pixel element's value that are not payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Framing {
    /// None: the value is the payload, cut into units of one length, the last one shorter.
    Native { length: u64, unit_length: u64 },
    /// Items.
    Encapsulated {
        big_endian: bool,
        /// The value of the first item, if that is an offset table.
        basic_offset_table: Option<OffsetTable>,
        /// Lengths of all further items.
        fragments: Vec<u32>,
        end: SequenceEnd,
    },
}

/// A Basic Offset Table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OffsetTable {
    /// One offset for each frame of the frame table, as PS3.5 section A.4 says.
    Derived,
    /// Anything else, empty too.
    Verbatim(Vec<u8>),
}

/// Which part of the payload each frame is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FrameTable {
    /// Unknown.
    None,
    /// Native frames one after the other without padding between them.
    Native { bits_per_frame: u64, num_frames: u32 },
    /// Frame i is fragment i.
    FragmentEach,
    /// The first fragment of each frame; it goes on until the next frame's.
    Runs(Vec<u32>),
}

/// Where a frame lies in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRange {
    /// The bytes that hold the frame.
    pub bytes: Range<u64>,
    /// Bits of the first byte, counted from the least significant one (PS3.5 section 8.1.1), that belong to the frame
    /// before. Other than 0 only for bit-packed frames.
    pub bit_offset: u8,
    /// Bits of a native frame; `None` for an encapsulated one.
    pub num_bits: Option<u64>,
}

/// The framing of a pixel element and the frame table. See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct PixelLayout {
    pub(super) framing: Framing,
    frames: FrameTable,
    /// Payload offset and number of the first unit of each fragment, and of the end.
    starts: Vec<(u64, u32)>,
}

/// The serialised form.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    framing: Framing,
    frames: FrameTable,
}

/// Why a layout makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Units have no length, or there are more than 2³² of them.
    #[error("the layout's units cannot be counted")]
    Units,
    /// The frame table goes beyond the payload.
    #[error("the layout's frames lie outside its payload")]
    Frames,
}

impl TryFrom<Stored> for PixelLayout {
    type Error = LayoutError;

    fn try_from(stored: Stored) -> Result<Self, LayoutError> {
        Self::new(stored.framing, stored.frames)
    }
}

impl From<PixelLayout> for Stored {
    fn from(layout: PixelLayout) -> Self {
        Self {
            framing: layout.framing,
            frames: layout.frames,
        }
    }
}

impl PixelLayout {
    pub(super) fn new(framing: Framing, frames: FrameTable) -> Result<Self, LayoutError> {
        let mut starts = Vec::new();
        let num_fragments = match &framing {
            Framing::Native { length, unit_length } => {
                if *unit_length == 0 || u32::try_from(length.div_ceil(*unit_length)).is_err() {
                    return Err(LayoutError::Units);
                }
                0
            }
            Framing::Encapsulated { fragments, .. } => {
                starts.reserve_exact(fragments.len() + 1);
                let (mut offset, mut unit) = (0_u64, 0_u32);
                for length in fragments.iter().map(|length| u64::from(*length)) {
                    starts.push((offset, unit));
                    offset += length;
                    unit = u32::try_from(length.div_ceil(FRAGMENT_UNIT_BYTES))
                        .ok()
                        .and_then(|units| unit.checked_add(units))
                        .ok_or(LayoutError::Units)?;
                }
                starts.push((offset, unit));
                fragments.len()
            }
        };
        let sound = match (&frames, &framing) {
            (FrameTable::None, _) => true,
            (
                FrameTable::Native {
                    bits_per_frame,
                    num_frames,
                },
                Framing::Native { length, .. },
            ) => bits_per_frame
                .checked_mul(u64::from(*num_frames))
                .is_some_and(|bits| *bits_per_frame > 0 && bits.div_ceil(8) <= *length),
            (FrameTable::FragmentEach, Framing::Encapsulated { .. }) => true,
            (FrameTable::Runs(runs), Framing::Encapsulated { .. }) => {
                runs.first().is_none_or(|first| *first == 0)
                    && runs.is_sorted_by(|a, b| a < b)
                    && runs.last().is_none_or(|last| (*last as usize) < num_fragments)
            }
            _ => false,
        };
        if sound {
            Ok(Self {
                framing,
                frames,
                starts,
            })
        } else {
            Err(LayoutError::Frames)
        }
    }

    /// Number of units.
    pub fn num_units(&self) -> u32 {
        match &self.framing {
            Framing::Native { length, unit_length } => length.div_ceil(*unit_length) as u32,
            Framing::Encapsulated { .. } => self.starts.last().map_or(0, |end| end.1),
        }
    }

    /// The payload bytes of a unit; `None` beyond the last one.
    pub fn unit_range(&self, index: u32) -> Option<Range<u64>> {
        if index >= self.num_units() {
            return None;
        }
        match &self.framing {
            Framing::Native { length, unit_length } => {
                let start = u64::from(index) * unit_length;
                Some(start..(start + unit_length).min(*length))
            }
            Framing::Encapsulated { .. } => {
                // The last fragment that starts at or before the unit: empty fragments have no unit of their own.
                let fragment = self.starts.partition_point(|(_, unit)| *unit <= index).checked_sub(1)?;
                let ((offset, unit), (end, _)) = (self.starts[fragment], *self.starts.get(fragment + 1)?);
                let start = offset + u64::from(index - unit) * FRAGMENT_UNIT_BYTES;
                Some(start..(start + FRAGMENT_UNIT_BYTES).min(end))
            }
        }
    }

    /// Bytes of a unit; 0 beyond the last one.
    pub fn unit_length(&self, index: u32) -> u64 {
        self.unit_range(index).map_or(0, |range| range.end - range.start)
    }

    /// Bytes of all units together.
    pub fn payload_length(&self) -> u64 {
        match &self.framing {
            Framing::Native { length, .. } => *length,
            Framing::Encapsulated { .. } => self.starts.last().map_or(0, |end| end.0),
        }
    }

    /// Bytes of the pixel element's value as it stood in the stream, items and delimiter included.
    pub fn stored_length(&self) -> u64 {
        match &self.framing {
            Framing::Native { length, .. } => *length,
            Framing::Encapsulated {
                basic_offset_table,
                fragments,
                end,
                ..
            } => {
                let table = match basic_offset_table {
                    None => 0,
                    Some(OffsetTable::Verbatim(bytes)) => 8 + bytes.len() as u64,
                    Some(OffsetTable::Derived) => 8 + 4 * u64::from(self.num_frames()),
                };
                let delimiter = if matches!(end, SequenceEnd::Delimiter(_)) { 8 } else { 0 };
                table + 8 * fragments.len() as u64 + self.payload_length() + delimiter
            }
        }
    }

    /// Number of frames that [`Self::frame_range`] can tell: 0 if the frames are not located.
    pub fn num_frames(&self) -> u32 {
        match &self.frames {
            FrameTable::None => 0,
            FrameTable::Native { num_frames, .. } => *num_frames,
            FrameTable::FragmentEach => self.starts.len().saturating_sub(1) as u32,
            FrameTable::Runs(runs) => runs.len() as u32,
        }
    }

    /// Where a frame (counted from 0) lies in the payload.
    pub fn frame_range(&self, frame: u32) -> Option<FrameRange> {
        if frame >= self.num_frames() {
            return None;
        }
        match &self.frames {
            FrameTable::None => None,
            FrameTable::Native { bits_per_frame, .. } => {
                let start = bits_per_frame.checked_mul(u64::from(frame))?;
                let end = start.checked_add(*bits_per_frame)?;
                Some(FrameRange {
                    bytes: start / 8..end.div_ceil(8),
                    bit_offset: (start % 8) as u8,
                    num_bits: Some(*bits_per_frame),
                })
            }
            FrameTable::FragmentEach => self.fragments_range(frame as usize..frame as usize + 1),
            FrameTable::Runs(runs) => {
                let first = *runs.get(frame as usize)? as usize;
                let end = runs
                    .get(frame as usize + 1)
                    .map_or(self.starts.len() - 1, |next| *next as usize);
                self.fragments_range(first..end)
            }
        }
    }

    fn fragments_range(&self, fragments: Range<usize>) -> Option<FrameRange> {
        let bytes = self.starts.get(fragments.start)?.0..self.starts.get(fragments.end)?.0;
        Some(FrameRange {
            bytes,
            bit_offset: 0,
            num_bits: None,
        })
    }

    /// The units that hold a range of the payload; what lies beyond the payload is ignored.
    pub fn units_of(&self, range: Range<u64>) -> Range<u32> {
        let end = range.end.min(self.payload_length());
        if range.start >= end {
            return 0..0;
        }
        self.unit_at(range.start)..self.unit_at(end - 1) + 1
    }

    /// The unit that holds the payload byte at `offset`, which lies in the payload.
    fn unit_at(&self, offset: u64) -> u32 {
        match &self.framing {
            Framing::Native { unit_length, .. } => (offset / unit_length) as u32,
            Framing::Encapsulated { .. } => {
                let fragment = self
                    .starts
                    .partition_point(|(start, _)| *start <= offset)
                    .saturating_sub(1);
                let (start, unit) = self.starts[fragment];
                unit + ((offset - start) / FRAGMENT_UNIT_BYTES) as u32
            }
        }
    }

    /// The units of the fragment at `index`, which there is.
    pub(super) fn fragment_units(&self, index: usize) -> Range<u32> {
        match (self.starts.get(index), self.starts.get(index + 1)) {
            (Some((_, start)), Some((_, end))) => *start..*end,
            _ => 0..0,
        }
    }

    /// The Basic Offset Table's bytes, if the first item is one.
    pub(super) fn basic_offset_table(&self) -> Option<Vec<u8>> {
        let Framing::Encapsulated {
            big_endian,
            basic_offset_table: Some(table),
            fragments,
            ..
        } = &self.framing
        else {
            return None;
        };
        Some(match table {
            OffsetTable::Verbatim(bytes) => bytes.clone(),
            OffsetTable::Derived => derived_offsets(&self.frames, fragments, *big_endian),
        })
    }
}

/// The Basic Offset Table that goes with a frame table: for each frame the distance from the first fragment's item tag to
/// its own first item tag (PS3.5 section A.4), modulo 2³².
pub(super) fn derived_offsets(frames: &FrameTable, fragments: &[u32], big_endian: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut push = |offset: u32| {
        bytes.extend_from_slice(&if big_endian {
            offset.to_be_bytes()
        } else {
            offset.to_le_bytes()
        })
    };
    let mut runs = match frames {
        FrameTable::Runs(runs) => runs.iter().copied().peekable(),
        _ => [].iter().copied().peekable(),
    };
    let mut offset = 0_u32;
    for (index, length) in (0_u32..).zip(fragments) {
        if matches!(frames, FrameTable::FragmentEach) || runs.next_if_eq(&index).is_some() {
            push(offset);
        }
        offset = offset.wrapping_add(8).wrapping_add(*length);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(length: u64, unit_length: u64, bits_per_frame: u64, num_frames: u32) -> PixelLayout {
        PixelLayout::new(
            Framing::Native { length, unit_length },
            FrameTable::Native {
                bits_per_frame,
                num_frames,
            },
        )
        .unwrap()
    }

    fn encapsulated(
        fragments: Vec<u32>,
        frames: FrameTable,
        table: Option<OffsetTable>,
    ) -> Result<PixelLayout, LayoutError> {
        let framing = Framing::Encapsulated {
            big_endian: false,
            basic_offset_table: table,
            fragments,
            end: SequenceEnd::Delimiter(0),
        };
        PixelLayout::new(framing, frames)
    }

    #[test]
    fn native_units_and_frames() {
        let layout = native(21, 10, 80, 2);
        assert_eq!(
            (layout.num_units(), layout.num_frames(), layout.stored_length()),
            (3, 2, 21)
        );
        assert_eq!([0, 1, 2, 3].map(|unit| layout.unit_length(unit)), [10, 10, 1, 0]);
        assert_eq!(layout.frame_range(1).unwrap().bytes, 10..20);
        assert_eq!(layout.frame_range(2), None);
        for (range, expected) in [
            (0..1, 0..1),
            (9..11, 0..2),
            (20..99, 2..3),
            (5..5, 0..0),
            (30..40, 0..0),
        ] {
            assert_eq!(layout.units_of(range), expected);
        }
    }

    #[test]
    fn bit_packed_frames_start_inside_bytes() {
        let layout = native(4, 1 << 20, 9, 3);
        let frame = |i| layout.frame_range(i).map(|range| (range.bytes, range.bit_offset));
        assert_eq!(
            [frame(0), frame(1), frame(2)],
            [Some((0..2, 0)), Some((1..3, 1)), Some((2..4, 2))]
        );
    }

    #[test]
    fn fragments_make_units_and_frames() {
        let big = FRAGMENT_UNIT_BYTES as u32 + 1;
        let layout = encapsulated(vec![4, 0, big, 6], FrameTable::Runs(vec![0, 2]), None).unwrap();
        assert_eq!(layout.num_units(), 4);
        assert_eq!(
            [0, 1, 2, 3].map(|unit| layout.unit_length(unit)),
            [4, FRAGMENT_UNIT_BYTES, 1, 6]
        );
        assert_eq!(layout.frame_range(0).unwrap().bytes, 0..4);
        assert_eq!(layout.frame_range(1).unwrap().bytes, 4..4 + u64::from(big) + 6);
        assert_eq!(layout.units_of(3..5), 0..2);
        assert_eq!(layout.units_of(4 + FRAGMENT_UNIT_BYTES..5 + FRAGMENT_UNIT_BYTES), 2..3);
        assert_eq!(layout.stored_length(), 4 * 8 + 10 + u64::from(big) + 8);
    }

    #[test]
    fn offset_tables_are_derived() {
        let layout = encapsulated(vec![4, 2, 6], FrameTable::Runs(vec![0, 2]), Some(OffsetTable::Derived)).unwrap();
        assert_eq!(layout.basic_offset_table().unwrap(), [0, 0, 0, 0, 22, 0, 0, 0]);
        let layout = encapsulated(vec![4, 2], FrameTable::FragmentEach, Some(OffsetTable::Derived)).unwrap();
        assert_eq!(layout.basic_offset_table().unwrap(), [0, 0, 0, 0, 12, 0, 0, 0]);
    }

    #[test]
    fn senseless_layouts_are_refused() {
        for frames in [
            FrameTable::Runs(vec![1]),
            FrameTable::Runs(vec![0, 0]),
            FrameTable::Runs(vec![0, 2]),
        ] {
            assert_eq!(encapsulated(vec![4, 2], frames, None), Err(LayoutError::Frames));
        }
        for (length, unit_length, bits_per_frame, num_frames) in
            [(8, 0, 8, 1), (u64::MAX, 1, 8, 1), (8, 8, 72, 1), (8, 8, 0, 1)]
        {
            let framing = Framing::Native { length, unit_length };
            assert!(
                PixelLayout::new(
                    framing,
                    FrameTable::Native {
                        bits_per_frame,
                        num_frames
                    }
                )
                .is_err()
            );
        }
    }

    #[test]
    fn the_serialised_form_is_fixed_and_short() {
        let layout = native(524_288_000, 524_288, 4_194_304, 1000);
        let bytes = postcard::to_allocvec(&layout).unwrap();
        assert_eq!(
            bytes,
            [
                0, 0x80, 0x80, 0x80, 0xFA, 1, 0x80, 0x80, 32, 1, 0x80, 0x80, 0x80, 2, 0xE8, 7
            ]
        );
        assert_eq!(postcard::from_bytes::<PixelLayout>(&bytes).unwrap(), layout);
        assert!(postcard::from_bytes::<PixelLayout>(&[0, 8, 0, 0]).is_err());
    }
}
