//! Palette colour lookup tables, plain and segmented (PS3.3 sections C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9.2).
//!
//! Invariant: a table holds 1 to 65536 entries, whatever its segments say.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::Dataset;

use crate::attributes::bytes;
use crate::error::RenderError;
use crate::frame::Frame;
use crate::lookup::{Descriptor, entries};

/// Descriptor, data and segmented data of each channel.
const CHANNELS: [[Tag; 3]; 3] = [
    [
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ],
    [
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ],
    [
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ],
];

/// Three tables as eight-bit colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Palette {
    first: i32,
    colours: Vec<[u8; 3]>,
}

impl Palette {
    /// Reads the tables. `signed` pixels have a signed first value.
    pub(crate) fn read(dataset: &Dataset, signed: bool) -> Result<Self, RenderError> {
        let mut channels: [Vec<u16>; 3] = Default::default();
        let mut first = 0;
        let mut bits = 8;
        for (number, [descriptor_tag, data_tag, segmented_tag]) in CHANNELS.into_iter().enumerate() {
            let descriptor = Descriptor::read(dataset, descriptor_tag, signed)?;
            let channel = match (bytes(dataset, data_tag), bytes(dataset, segmented_tag)) {
                (Some(data), _) => entries(&data, descriptor),
                (None, Some(data)) => segments(&data, descriptor).ok_or(RenderError::attribute(segmented_tag))?,
                (None, None) => return Err(RenderError::attribute(data_tag)),
            };
            if channel.is_empty() {
                return Err(RenderError::attribute(data_tag));
            }
            if number == 0 {
                (first, bits) = (descriptor.first, descriptor.bits);
            }
            channels[number] = channel;
        }
        let greatest = channels.iter().flatten().copied().max().unwrap_or(0);
        // Tables declared as 16 bits whose entries are bytes are common: believed literally, all would be black.
        let is_wide = bits > 8 && greatest > 255;
        let max = if is_wide {
            let used = u16::BITS - greatest.leading_zeros();
            u32::from(u16::MAX >> (16 - u32::from(bits).clamp(used, 16)))
        } else {
            255
        };
        let num_entries = channels.iter().map(Vec::len).max().unwrap_or(0);
        let colour = |index: usize| {
            channels.each_ref().map(|channel| {
                let entry = channel.get(index).or(channel.last()).copied().unwrap_or(0);
                if is_wide {
                    ((u32::from(entry) * 255 + max / 2) / max) as u8
                } else {
                    entry as u8
                }
            })
        };
        Ok(Self {
            first,
            colours: (0..num_entries).map(colour).collect(),
        })
    }

    /// The least stored value that has a colour of its own.
    pub(crate) fn first(&self) -> f64 {
        self.first.into()
    }

    /// The colour of a stored value; those outside of the table have the nearest entry's.
    pub(crate) fn colour(&self, stored: f64) -> [u8; 3] {
        // `as` saturates, and takes NaN to 0.
        let index = (stored - f64::from(self.first)) as usize;
        self.colours
            .get(index)
            .or(self.colours.last())
            .copied()
            .unwrap_or_default()
    }

    /// The colour of a display level: the whole table over 0 to 255 (PS3.4 section N.2.3).
    pub(crate) fn colour_of_level(&self, level: u8) -> [u8; 3] {
        let index = f64::from(level) / 255.0 * (self.colours.len() - 1) as f64;
        self.colour(index.round() + f64::from(self.first))
    }

    /// Three bytes a pixel.
    pub(crate) fn render(&self, frame: &Frame<'_>) -> Result<Vec<u8>, RenderError> {
        let num_pixels = frame.num_pixels()?;
        frame.require(num_pixels)?;
        let mut pixels = Vec::with_capacity(3 * num_pixels);
        frame.for_each_value(num_pixels, |value| pixels.extend_from_slice(&self.colour(value)));
        Ok(pixels)
    }
}

/// The values of segmented data: bytes for tables of 8 bits, else words.
struct Segments<'a> {
    data: &'a [u8],
    wide: bool,
}

impl Segments<'_> {
    fn value(&self, at: usize) -> Option<u16> {
        if self.wide {
            let bytes = self.data.get(at.checked_mul(2)?..)?.first_chunk()?;
            Some(u16::from_le_bytes(*bytes))
        } else {
            self.data.get(at).map(|&byte| byte.into())
        }
    }

    /// Appends the discrete or linear segment at `at`, up to `limit` entries in all; gives where the next one starts.
    fn expand(&self, at: usize, limit: usize, out: &mut Vec<u16>) -> Option<usize> {
        let opcode = self.value(at)?;
        let length = usize::from(self.value(at + 1)?);
        let room = limit.saturating_sub(out.len());
        match opcode {
            0 => {
                for number in 0..length {
                    let value = self.value(at + 2 + number)?;
                    if number < room {
                        out.push(value);
                    }
                }
                Some(at + 2 + length)
            }
            1 => {
                let target = f64::from(self.value(at + 2)?);
                let start = f64::from(*out.last()?);
                let step = (target - start) / length.max(1) as f64;
                out.extend((1..=length.min(room)).map(|number| (start + step * number as f64).round() as u16));
                Some(at + 3)
            }
            _ => None,
        }
    }
}

/// Expands segmented data; `None` when they break the rules of PS3.3 section C.7.9.2.
fn segments(data: &[u8], descriptor: Descriptor) -> Option<Vec<u16>> {
    let segments = Segments {
        data,
        wide: descriptor.bits > 8,
    };
    let limit = descriptor.num_entries;
    let mut out = Vec::new();
    let mut at = 0;
    while out.len() < limit {
        match segments.value(at) {
            // Padding to an even length.
            None => break,
            Some(_) if segments.value(at + 1).is_none() => break,
            Some(2) => {
                // Copies segments that stand before; those may not be copies in turn, so that nothing nests.
                let num_copied = usize::from(segments.value(at + 1)?);
                let (offset, next) = if segments.wide {
                    let low = u32::from(segments.value(at + 2)?);
                    ((low | u32::from(segments.value(at + 3)?) << 16) as usize / 2, at + 4)
                } else {
                    let bytes = data.get(at + 2..)?.first_chunk()?;
                    (u32::from_le_bytes(*bytes) as usize, at + 6)
                };
                if offset >= at {
                    return None;
                }
                let mut copied = offset;
                for _ in 0..num_copied {
                    copied = segments.expand(copied, limit, &mut out)?;
                }
                at = next;
            }
            Some(_) => at = segments.expand(at, limit, &mut out)?,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{frame, header, shape, words};

    fn descriptor(num_entries: usize, bits: u16) -> Descriptor {
        Descriptor {
            num_entries,
            first: 0,
            bits,
        }
    }

    #[test]
    fn segments_expand() {
        let check = |values: &[u16], num_entries: usize, expected: Option<&[u16]>| {
            let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(
                segments(&data, descriptor(num_entries, 16)).as_deref(),
                expected,
                "{values:?}"
            );
        };
        check(&[0, 2, 5, 6], 2, Some(&[5, 6]));
        check(&[0, 1, 0, 1, 4, 100], 5, Some(&[0, 25, 50, 75, 100]));
        check(&[0, 1, 100, 1, 4, 0], 5, Some(&[100, 75, 50, 25, 0]));
        // A copy of the first two segments.
        check(&[0, 1, 0, 1, 2, 10, 2, 2, 0, 0], 6, Some(&[0, 5, 10, 0, 5, 10]));
        // A linear segment alone copied goes on from where the table stands.
        check(&[0, 1, 20, 1, 2, 10, 2, 1, 6, 0], 5, Some(&[20, 15, 10, 10, 10]));
        check(&[0, 1, 7, 1, 60000, 0], 3, Some(&[7, 7, 7]));
        for bad in [
            &[1, 2, 3][..],
            &[9, 1, 1],
            &[0, 5, 1],
            &[0, 1, 1, 2, 1, 6, 0],
            &[0, 1, 1, 2, 1, 99, 0],
        ] {
            check(bad, 9, None);
        }
        let bytes = [0, 1, 3, 1, 2, 9, 2, 1, 3, 0, 0, 0];
        assert_eq!(segments(&bytes, descriptor(5, 8)), Some(vec![3, 6, 9, 9, 9]));
    }

    #[test]
    fn colours_are_eight_bits() {
        let check = |bits: u16, data: &[u16], pixels: &[u8], expected: &[u8]| {
            let elements: Vec<Vec<u8>> = CHANNELS
                .iter()
                .flat_map(|[descriptor, values, _]| {
                    [
                        words(*descriptor, b"US", &[data.len() as u16, 10, bits]),
                        words(*values, b"OW", data),
                    ]
                })
                .collect();
            let palette = Palette::read(header(&elements).dataset(), false).expect("readable");
            let rendered = palette.render(&frame(pixels, shape(1, pixels.len() as u32, 1, 8), "PALETTE COLOR"));
            let red: Vec<u8> = rendered.expect("rendered").chunks(3).map(|pixel| pixel[0]).collect();
            assert_eq!(red, expected);
        };
        check(16, &[0, 0x8080, 0xFFFF], &[0, 10, 11, 12, 13], &[0, 0, 128, 255, 255]);
        check(8, &[1, 2, 3], &[10, 11, 12], &[1, 2, 3]);
        // Declared as words, filled with bytes.
        check(16, &[0, 128, 255], &[10, 11, 12], &[0, 128, 255]);
        check(12, &[0, 4095], &[10, 11], &[0, 255]);
    }

    proptest! {
        #[test]
        fn any_segments_are_bounded(data: Vec<u8>, num_entries in 1_usize..=65536, wide: bool) {
            if let Some(entries) = segments(&data, descriptor(num_entries, if wide { 16 } else { 8 })) {
                prop_assert!(entries.len() <= num_entries);
            }
        }
    }
}
