//! Cuts the pixel element's value into units while it arrives, and notes its framing.
//!
//! At most one unit is assembled at a time; a unit that lies wholly within one push is a slice of it. What a length
//! claims is never allocated beyond a constant: assembly grows with what arrives (invariant 6).

use bytes::Bytes;

use super::frames::{FrameEvidence, locate_frames, read_offsets};
use super::instance::{PixelUnit, SplitEvent, ValueUnit};
use super::layout::{FRAGMENT_UNIT_BYTES, FrameTable, Framing, OffsetTable, PixelLayout, SequenceEnd, derived_offsets};
use super::limits::SplitLimits;
use super::rejection::{Rejection, RejectionKind, Tag};
use super::transfer_syntax::Encoding;
use super::vr::ElementHeader;
use super::warning::{Warning, Warnings};

/// Memory that a unit gets before its bytes have arrived.
const RESERVE_BYTES: u64 = 1 << 20;

/// What units are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The pixels.
    Pixels,
    /// A long value.
    LongValue,
}

/// Where units go, and the digest of what passes.
pub(super) struct UnitSink<'a> {
    pub(super) events: &'a mut Vec<SplitEvent>,
    pub(super) dataset: &'a mut blake3::Hasher,
    pub(super) of: Of,
    pub(super) next_index: &'a mut u32,
}

impl UnitSink<'_> {
    fn unit(&mut self, bytes: Bytes) -> Result<(), RejectionKind> {
        self.dataset.update(&bytes);
        let index = *self.next_index;
        *self.next_index = index.checked_add(1).ok_or(RejectionKind::TooManyFragments)?;
        self.events.try_reserve(1).map_err(|_| RejectionKind::OutOfMemory)?;
        self.events.push(match self.of {
            Of::Pixels => SplitEvent::Unit(PixelUnit { index, bytes }),
            Of::LongValue => SplitEvent::ValueUnit(ValueUnit { index, bytes }),
        });
        Ok(())
    }
}

enum State {
    /// A native value or a fragment: bytes left, and the longest unit.
    Value {
        left: u64,
        unit_length: u64,
    },
    /// An item header; so many bytes of it are here.
    ItemHeader {
        bytes: [u8; 8],
        filled: usize,
    },
    /// The first item, while it may be the offset table.
    FirstItem {
        left: u64,
        bytes: Vec<u8>,
    },
    Done,
}

/// The reader of one pixel element's value.
pub(super) struct UnitReader {
    state: State,
    encapsulated: bool,
    native_length: u64,
    native_unit: u64,
    encoding: Encoding,
    limits: SplitLimits,
    /// Where the next byte lies in the stream.
    offset: u64,
    tag: Tag,
    partial: Vec<u8>,
    table: Option<Vec<u8>>,
    first_item_seen: bool,
    fragments: Vec<u32>,
    image_ends: Vec<u32>,
    tail: [u8; 3],
    end: SequenceEnd,
    table_bytes_max: u64,
}

impl UnitReader {
    /// A reader of a native value.
    pub(super) fn native(length: u64, unit_length: u64, tag: Tag, offset: u64, limits: SplitLimits) -> Self {
        let state = if length == 0 {
            State::Done
        } else {
            State::Value {
                left: length,
                unit_length,
            }
        };
        Self {
            state,
            encapsulated: false,
            native_length: length,
            native_unit: unit_length,
            encoding: Encoding::ExplicitLittle,
            limits,
            offset,
            tag,
            partial: Vec::new(),
            table: None,
            first_item_seen: false,
            fragments: Vec::new(),
            image_ends: Vec::new(),
            tail: [0; 3],
            end: SequenceEnd::Missing,
            table_bytes_max: 0,
        }
    }

    /// A reader of encapsulated pixel data. `table_bytes_max`: the longest offset table.
    pub(super) fn encapsulated(
        encoding: Encoding,
        tag: Tag,
        offset: u64,
        limits: SplitLimits,
        table_bytes_max: usize,
    ) -> Self {
        let mut reader = Self::native(0, 1, tag, offset, limits);
        reader.state = State::ItemHeader {
            bytes: [0; 8],
            filled: 0,
        };
        reader.encapsulated = true;
        reader.encoding = encoding;
        reader.table_bytes_max = table_bytes_max as u64;
        reader
    }

    fn reject(&self, kind: RejectionKind) -> Rejection {
        Rejection::new(kind, Some(self.tag), self.offset)
    }

    /// Where the next byte lies in the stream.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads as much as belongs to the pixel element. Returns `Some` when the element has ended: bytes that were read too
    /// far, because they turned out to be the next element's header.
    pub(super) fn push(
        &mut self,
        input: &mut Bytes,
        sink: &mut UnitSink<'_>,
        warnings: &mut Warnings,
    ) -> Result<Option<Bytes>, Rejection> {
        loop {
            match &mut self.state {
                State::Done => return Ok(Some(Bytes::new())),
                _ if input.is_empty() => return Ok(None),
                State::Value { left, unit_length } => {
                    let target = (*left + self.partial.len() as u64).min(*unit_length);
                    let Some(unit) = fill(&mut self.partial, input, target, left, &mut self.offset)
                        .map_err(|kind| Rejection::new(kind, Some(self.tag), self.offset))?
                    else {
                        return Ok(None);
                    };
                    let ended = *left == 0;
                    if self.encapsulated {
                        let mut tail = self.tail.to_vec();
                        tail.extend_from_slice(&unit[unit.len().saturating_sub(3)..]);
                        self.tail.copy_from_slice(&tail[tail.len() - 3..]);
                    }
                    sink.unit(unit).map_err(|kind| self.reject(kind))?;
                    if ended {
                        self.end_of_value();
                    }
                }
                State::ItemHeader { bytes, filled } => {
                    let taken = (8 - *filled).min(input.len());
                    bytes[*filled..*filled + taken].copy_from_slice(&input.split_to(taken));
                    *filled += taken;
                    if *filled == 8 {
                        let bytes = *bytes;
                        if let Some(unread) = self.item(bytes, sink, warnings)? {
                            return Ok(Some(unread));
                        }
                    }
                }
                State::FirstItem { .. } => self.first_item(input, sink, warnings)?,
            }
        }
    }

    fn end_of_value(&mut self) {
        if !self.encapsulated {
            self.state = State::Done;
            return;
        }
        // PS3.5 section A.4: fragments are padded to even length, with 00H after JPEG's and JPEG 2000's end marker.
        if self.tail[1..] == [0xFF, 0xD9] || self.tail == [0xFF, 0xD9, 0] {
            self.image_ends.push(self.fragments.len() as u32 - 1);
        }
        self.state = State::ItemHeader {
            bytes: [0; 8],
            filled: 0,
        };
    }

    fn start_fragment(&mut self, length: u32) -> Result<(), Rejection> {
        if self.fragments.len() as u64 >= u64::from(self.limits.fragments_max) {
            return Err(self.reject(RejectionKind::TooManyFragments));
        }
        self.fragments
            .try_reserve(1)
            .map_err(|_| self.reject(RejectionKind::OutOfMemory))?;
        self.fragments.push(length);
        self.tail = [0; 3];
        self.state = State::Value {
            left: u64::from(length),
            unit_length: FRAGMENT_UNIT_BYTES,
        };
        if length == 0 {
            self.end_of_value();
        }
        Ok(())
    }

    fn item(
        &mut self,
        bytes: [u8; 8],
        sink: &mut UnitSink<'_>,
        warnings: &mut Warnings,
    ) -> Result<Option<Bytes>, Rejection> {
        let Some(header) = ElementHeader::read(&bytes, self.encoding.items()) else {
            return Ok(None);
        };
        match (header.tag, header.length) {
            ((0xFFFE, 0xE000), Some(length)) => {
                if u64::from(length) > self.limits.instance_bytes_max {
                    return Err(self.reject(RejectionKind::InstanceTooLarge));
                }
                sink.dataset.update(&bytes);
                self.offset += 8;
                if self.first_item_seen {
                    self.start_fragment(length)?;
                } else {
                    self.first_item_seen = true;
                    self.state = State::FirstItem {
                        left: u64::from(length),
                        bytes: Vec::new(),
                    };
                    if length == 0 {
                        self.table = Some(Vec::new());
                        self.state = State::ItemHeader {
                            bytes: [0; 8],
                            filled: 0,
                        };
                    }
                }
                Ok(None)
            }
            ((0xFFFE, 0xE0DD), _) => {
                sink.dataset.update(&bytes);
                self.offset += 8;
                let length = header.length.unwrap_or(u32::MAX);
                if length != 0 {
                    warnings.add(Warning::PixelDelimiterLength);
                }
                self.end = SequenceEnd::Delimiter(length);
                self.state = State::Done;
                Ok(Some(Bytes::new()))
            }
            // An element that may follow pixel data: somebody forgot the delimiter.
            (tag, _) if self.first_item_seen && tag.0 != 0xFFFE && tag > self.tag => {
                warnings.add(Warning::MissingPixelDelimiter);
                self.state = State::Done;
                Ok(Some(Bytes::copy_from_slice(&bytes)))
            }
            _ => Err(self.reject(RejectionKind::BadFragment)),
        }
    }

    fn first_item(
        &mut self,
        input: &mut Bytes,
        sink: &mut UnitSink<'_>,
        warnings: &mut Warnings,
    ) -> Result<(), Rejection> {
        let State::FirstItem { left, bytes } = &mut self.state else {
            return Ok(());
        };
        // Two bytes tell an image from a table: no table starts with an offset near 4 GiB.
        let wanted = if bytes.len() < 2 {
            2 - bytes.len() as u64
        } else {
            u64::MAX
        };
        let taken = wanted.min(*left).min(input.len() as u64);
        if bytes.try_reserve(taken as usize).is_err() {
            return Err(self.reject(RejectionKind::OutOfMemory));
        }
        bytes.extend_from_slice(&input.split_to(taken as usize));
        *left -= taken;
        self.offset += taken;
        if bytes.len() == 2 && matches!(bytes[..], [0xFF, 0xD8 | 0x4F]) {
            warnings.add(Warning::MissingOffsetTable);
            let (left, bytes) = (*left, std::mem::take(bytes));
            let length = (left + 2) as u32;
            self.start_fragment(length)?;
            if left == 0 {
                sink.unit(bytes.into()).map_err(|kind| self.reject(kind))?;
                self.end_of_value();
            } else {
                self.partial = bytes;
                self.state = State::Value {
                    left,
                    unit_length: FRAGMENT_UNIT_BYTES,
                };
            }
        } else if *left == 0 {
            let bytes = std::mem::take(bytes);
            sink.dataset.update(&bytes);
            self.table = Some(bytes);
            self.state = State::ItemHeader {
                bytes: [0; 8],
                filled: 0,
            };
        } else if bytes.len() as u64 + *left > self.table_bytes_max {
            return Err(self.reject(RejectionKind::HeaderTooLarge));
        }
        Ok(())
    }

    /// The stream is at its end, perhaps inside the element.
    pub(super) fn end_of_stream(&mut self, warnings: &mut Warnings) -> Result<(), Rejection> {
        let missing_bytes = match &self.state {
            State::Done => return Ok(()),
            State::ItemHeader { filled: 0, .. } if self.first_item_seen => {
                warnings.add(Warning::MissingPixelDelimiter);
                self.state = State::Done;
                return Ok(());
            }
            State::ItemHeader { filled, .. } => 8 - *filled as u64,
            State::Value { left, .. } | State::FirstItem { left, .. } => *left,
        };
        Err(self.reject(RejectionKind::Truncated { missing_bytes }))
    }

    /// The layout of the whole element.
    pub(super) fn layout(
        self,
        native_frames: FrameTable,
        num_frames: u32,
        extended_offsets: Vec<u64>,
        video: bool,
        warnings: &mut Warnings,
    ) -> Result<PixelLayout, Rejection> {
        let big_endian = self.encoding.is_big_endian();
        let (framing, frames) = if self.encapsulated {
            let basic_offsets = read_offsets(self.table.as_deref().unwrap_or_default(), 4, big_endian);
            let has_table = self.table.as_ref().is_some_and(|table| !table.is_empty());
            let evidence = FrameEvidence {
                num_frames,
                fragments: &self.fragments,
                basic_offsets,
                extended_offsets,
                image_ends: &self.image_ends,
                video,
            };
            let frames = locate_frames(&evidence);
            if frames == FrameTable::None && !video {
                warnings.add(Warning::FramesNotLocated);
            }
            let basic_offset_table = self.table.map(|table| {
                if frames != FrameTable::None && table == derived_offsets(&frames, &self.fragments, big_endian) {
                    return OffsetTable::Derived;
                }
                if has_table && !video {
                    warnings.add(Warning::BadOffsetTable);
                }
                OffsetTable::Verbatim(table)
            });
            let (fragments, end) = (self.fragments, self.end);
            (
                Framing::Encapsulated {
                    big_endian,
                    basic_offset_table,
                    fragments,
                    end,
                },
                frames,
            )
        } else {
            (
                Framing::Native {
                    length: self.native_length,
                    unit_length: self.native_unit,
                },
                native_frames,
            )
        };
        let (tag, offset) = (self.tag, self.offset);
        PixelLayout::new(framing, frames)
            .map_err(|_| Rejection::new(RejectionKind::TooManyFragments, Some(tag), offset))
    }
}

/// Takes bytes off `input` until a unit of `target` bytes is whole.
fn fill(
    partial: &mut Vec<u8>,
    input: &mut Bytes,
    target: u64,
    left: &mut u64,
    offset: &mut u64,
) -> Result<Option<Bytes>, RejectionKind> {
    let wanted = target - partial.len() as u64;
    let taken = wanted.min(input.len() as u64);
    let bytes = input.split_to(taken as usize);
    *left -= taken;
    *offset += taken;
    if partial.is_empty() && taken == target {
        return Ok(Some(bytes));
    }
    // Small units get their memory at once, large ones by doubling: growth follows what arrives.
    let needed = if partial.is_empty() {
        target.min(RESERVE_BYTES) as usize
    } else {
        0
    };
    partial
        .try_reserve(needed.max(bytes.len()))
        .map_err(|_| RejectionKind::OutOfMemory)?;
    partial.extend_from_slice(&bytes);
    Ok((taken == wanted).then(|| std::mem::take(partial).into()))
}
