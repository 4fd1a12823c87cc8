//! The way back: header bytes, layout and units become the stream that came in, byte for byte (invariant 4).

use bytes::Bytes;

use super::header_bytes::HeaderBytes;
use super::layout::{Framing, PixelLayout, SequenceEnd};
use super::long_value::{LongValue, units_of};
use super::walker::Section;

/// What to write next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// All bytes of this unit of the pixels.
    Unit(u32),
    /// All bytes of this unit of the long values.
    ValueUnit(u32),
}

/// Why a header and a layout do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("header and pixel layout do not belong together: only one of them knows of pixels")]
pub struct MergeError;

#[derive(Debug)]
enum Step {
    /// Header bytes from a place on, up to the long value at an index of the section's.
    Header {
        section: Section,
        from: usize,
        value: usize,
    },
    /// These units of a long value.
    Value {
        section: Section,
        value: usize,
        next: u32,
        end: u32,
    },
    /// These units, then the fragment at an index if there is one.
    Units {
        next: u32,
        end: u32,
        fragment: Option<usize>,
    },
    Fragment(usize),
    Trailing,
    Done,
}

impl Step {
    fn header(section: Section) -> Self {
        Self::Header {
            section,
            from: 0,
            value: 0,
        }
    }
}

/// Writes the dataset in pieces. Units are fetched by the caller, so that it never holds more than one.
#[derive(Debug)]
pub struct Merger<'a> {
    header: &'a HeaderBytes,
    layout: Option<&'a PixelLayout>,
    step: Step,
}

impl<'a> Merger<'a> {
    /// A merger for one instance.
    pub fn new(header: &'a HeaderBytes, layout: Option<&'a PixelLayout>) -> Result<Self, MergeError> {
        if layout.is_some() != (header.pixel_header_length > 0) {
            return Err(MergeError);
        }
        Ok(Self {
            header,
            layout,
            step: Step::header(Section::Before),
        })
    }

    /// Preamble, prefix and file meta as they came in, to be written before the dataset where a file is asked for. A
    /// dataset that was deflated comes out inflated: the file meta of the copy must then name Explicit VR Little Endian.
    pub fn file_prefix(&self) -> Bytes {
        self.header.preamble_and_meta.clone()
    }

    /// Bytes of all pieces together.
    pub fn dataset_length(&self) -> u64 {
        let meta = self.header.preamble_and_meta.len() as u64;
        self.header.len() - meta + self.layout.map_or(0, PixelLayout::stored_length)
    }

    /// What to write next; `None` at the end. Never gives empty bytes.
    pub fn next_piece(&mut self) -> Option<Piece> {
        loop {
            let step = std::mem::replace(&mut self.step, Step::Done);
            let bytes = match step {
                Step::Header { section, from, value } => self.header_bytes(section, from, value),
                Step::Value {
                    section,
                    value,
                    next,
                    end,
                } => {
                    if next < end {
                        self.step = Step::Value {
                            section,
                            value,
                            next: next + 1,
                            end,
                        };
                        return Some(Piece::ValueUnit(next));
                    }
                    self.step = Step::Header {
                        section,
                        from: self.section(section).1[value].at as usize,
                        value: value + 1,
                    };
                    continue;
                }
                Step::Units { next, end, fragment } if next < end => {
                    self.step = Step::Units {
                        next: next + 1,
                        end,
                        fragment,
                    };
                    return Some(Piece::Unit(next));
                }
                Step::Units { fragment, .. } => {
                    self.step = fragment.map_or(Step::header(Section::After), Step::Fragment);
                    continue;
                }
                Step::Fragment(index) => self.fragment(index),
                Step::Trailing => self.header.trailing.clone(),
                Step::Done => return None,
            };
            if !bytes.is_empty() {
                return Some(Piece::Bytes(bytes));
            }
            if matches!(self.step, Step::Done) {
                return None;
            }
        }
    }

    /// The header bytes of a section, and the values that were cut out of them.
    fn section(&self, section: Section) -> (&'a Bytes, &'a [LongValue]) {
        match section {
            Section::Before => (&self.header.before, &self.header.long_before),
            Section::After => (&self.header.after, &self.header.long_after),
        }
    }

    /// The header bytes up to the next long value, or to the section's end.
    fn header_bytes(&mut self, section: Section, from: usize, value: usize) -> Bytes {
        let (bytes, values) = self.section(section);
        let Some(long) = values.get(value) else {
            self.step = match section {
                Section::Before => self.pixels(),
                Section::After => Step::Trailing,
            };
            return bytes.slice(from..);
        };
        let index = match section {
            Section::Before => value,
            Section::After => self.header.long_before.len() + value,
        };
        let units = units_of(self.header.long_values(), index);
        self.step = Step::Value {
            section,
            value,
            next: units.start,
            end: units.end,
        };
        bytes.slice(from..long.at as usize)
    }

    /// What comes behind the elements in front of the pixels.
    fn pixels(&self) -> Step {
        match self.layout.map(|layout| (&layout.framing, layout.num_units())) {
            None => Step::header(Section::After),
            Some((Framing::Native { .. }, end)) => Step::Units {
                next: 0,
                end,
                fragment: None,
            },
            Some((Framing::Encapsulated { .. }, _)) => Step::Fragment(0),
        }
    }

    /// The framing in front of the fragment at `index`, or after the last one.
    fn fragment(&mut self, index: usize) -> Bytes {
        let Some(layout) = self.layout else { return Bytes::new() };
        let Framing::Encapsulated {
            big_endian,
            fragments,
            end,
            ..
        } = &layout.framing
        else {
            return Bytes::new();
        };
        let mut bytes = Vec::new();
        let header = |bytes: &mut Vec<u8>, element: u16, length: u32| {
            if *big_endian {
                bytes.extend_from_slice(&0xFFFE_u16.to_be_bytes());
                bytes.extend_from_slice(&element.to_be_bytes());
                bytes.extend_from_slice(&length.to_be_bytes());
            } else {
                bytes.extend_from_slice(&0xFFFE_u16.to_le_bytes());
                bytes.extend_from_slice(&element.to_le_bytes());
                bytes.extend_from_slice(&length.to_le_bytes());
            }
        };
        if index == 0
            && let Some(table) = layout.basic_offset_table()
        {
            header(&mut bytes, 0xE000, table.len() as u32);
            bytes.extend_from_slice(&table);
        }
        match fragments.get(index) {
            Some(length) => {
                header(&mut bytes, 0xE000, *length);
                let units = layout.fragment_units(index);
                self.step = Step::Units {
                    next: units.start,
                    end: units.end,
                    fragment: Some(index + 1),
                };
            }
            None => {
                if let SequenceEnd::Delimiter(length) = end {
                    header(&mut bytes, 0xE0DD, *length);
                }
                self.step = Step::header(Section::After);
            }
        }
        bytes.into()
    }
}
