//! The way back: header bytes, layout and units become the stream that came in, byte for byte (invariant 4).

use bytes::Bytes;

use super::header_bytes::HeaderBytes;
use super::layout::{Framing, PixelLayout, SequenceEnd};

/// What to write next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// All bytes of this unit.
    Unit(u32),
}

/// Why a header and a layout do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("header and pixel layout do not belong together: only one of them knows of pixels")]
pub struct MergeError;

#[derive(Debug)]
enum Step {
    Before,
    /// These units, then the fragment at an index if there is one.
    Units {
        next: u32,
        end: u32,
        fragment: Option<usize>,
    },
    Fragment(usize),
    After,
    Trailing,
    Done,
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
            step: Step::Before,
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
                Step::Before => {
                    self.step = match self.layout.map(|layout| (&layout.framing, layout.num_units())) {
                        None => Step::After,
                        Some((Framing::Native { .. }, end)) => Step::Units {
                            next: 0,
                            end,
                            fragment: None,
                        },
                        Some((Framing::Encapsulated { .. }, _)) => Step::Fragment(0),
                    };
                    self.header.before.clone()
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
                    self.step = fragment.map_or(Step::After, Step::Fragment);
                    continue;
                }
                Step::Fragment(index) => self.fragment(index),
                Step::After => {
                    self.step = Step::Trailing;
                    self.header.after.clone()
                }
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
                self.step = Step::After;
            }
        }
        bytes.into()
    }
}
