//! Overlays: bitmaps in groups 6000 to 601E, beside the pixels or in unused bits of them (PS3.3 section C.9.2, PS3.5
//! section 8.1.2).

use std::borrow::Cow;

use dicom_core::Tag;
use septum_core::dicom::attributes::Dataset;

use crate::attributes::{bytes, number, numbers, text, word};
use crate::canvas::Canvas;
use crate::frame::{Frame, SampleKind};

/// Repeating groups that hold overlays.
pub(crate) fn overlay_groups() -> impl Iterator<Item = u16> {
    (0x6000..=0x601E).step_by(2)
}

const ROWS: u16 = 0x0010;
const COLUMNS: u16 = 0x0011;
const NUMBER_OF_FRAMES: u16 = 0x0015;
const TYPE: u16 = 0x0040;
const ORIGIN: u16 = 0x0050;
const IMAGE_FRAME_ORIGIN: u16 = 0x0051;
const BIT_POSITION: u16 = 0x0102;
const ACTIVATION_LAYER: u16 = 0x1001;
const DATA: u16 = 0x3000;

/// One bitmap, as it lies over one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overlay<'a> {
    rows: usize,
    columns: usize,
    /// The image row and column, from 0, of the bitmap's first pixel.
    top: i64,
    left: i64,
    bits: Bits<'a>,
    /// Overlay Type is G: graphics. Regions of interest (R) mark pixels for measurements and are not drawn.
    pub(crate) is_graphics: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Bits<'a> {
    /// Packed, least significant bit first.
    Packed { bytes: Cow<'a, [u8]>, first_bit: u64 },
    /// In this bit of the image's words.
    Embedded { position: u32 },
}

impl<'a> Overlay<'a> {
    /// The overlay of `group` where it covers the frame, counted from 0. `None` when there is none, it does not cover
    /// the frame, or its attributes make no sense.
    pub(crate) fn read(dataset: &'a Dataset, group: u16, frame_index: u32) -> Option<Self> {
        let tag = |element: u16| Tag(group, element);
        let rows = usize::from(word(dataset, tag(ROWS))?);
        let columns = usize::from(word(dataset, tag(COLUMNS))?);
        let num_frames = number(dataset, tag(NUMBER_OF_FRAMES));
        let first_frame = word(dataset, tag(IMAGE_FRAME_ORIGIN)).unwrap_or(1).saturating_sub(1);
        // An overlay without a number of frames applies to every frame.
        let own_frame = match num_frames {
            Some(num_frames) if num_frames > 1.0 || first_frame > 0 => {
                let own_frame = frame_index.checked_sub(first_frame.into())?;
                (f64::from(own_frame) < num_frames).then_some(own_frame)?
            }
            _ => 0,
        };
        let origin = numbers(dataset, tag(ORIGIN));
        let &[top, left] = origin.as_slice().first_chunk().unwrap_or(&[1.0, 1.0]);
        let bits = match bytes(dataset, tag(DATA)) {
            Some(bytes) => Bits::Packed {
                bytes,
                first_bit: u64::from(own_frame) * (rows as u64) * (columns as u64),
            },
            None => Bits::Embedded {
                position: u32::from(word(dataset, tag(BIT_POSITION))?),
            },
        };
        Some(Self {
            rows,
            columns,
            top: top as i64 - 1,
            left: left as i64 - 1,
            bits,
            is_graphics: text(dataset, tag(TYPE)).as_deref() != Some("R"),
        })
    }

    /// Calls `visit` with row and column, from 0, of each image pixel that the bitmap marks.
    pub(crate) fn for_each_mark(&self, frame: &Frame<'_>, mut visit: impl FnMut(usize, usize)) {
        let (image_rows, image_columns) = (frame.shape.rows as usize, frame.shape.columns as usize);
        match &self.bits {
            Bits::Packed { bytes, first_bit } => {
                for row in covered(self.top, self.rows, image_rows) {
                    let overlay_row = (row as i64 - self.top) as u64;
                    for column in covered(self.left, self.columns, image_columns) {
                        let overlay_column = (column as i64 - self.left) as u64;
                        let bit = first_bit + overlay_row * self.columns as u64 + overlay_column;
                        let byte = usize::try_from(bit / 8).ok().and_then(|at| bytes.get(at));
                        if byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1) {
                            visit(row, column);
                        }
                    }
                }
            }
            Bits::Embedded { position } => {
                let stored = frame.stored_bits();
                let used = stored.shift..stored.shift + stored.num_bits;
                let is_spare = !used.contains(position) && *position < u32::from(frame.shape.bits_allocated);
                if frame.kind != SampleKind::Integer || frame.shape.samples_per_pixel != 1 || !is_spare {
                    return;
                }
                let num_pixels = image_rows * image_columns;
                // Codecs extend signed values over the spare bits: what repeats the sign everywhere marks nothing.
                let sign = stored.shift + stored.num_bits - 1;
                let mut repeats_sign = stored.signed;
                frame.for_each_word(num_pixels, |word| {
                    repeats_sign &= (word >> position ^ word >> sign) & 1 == 0
                });
                if repeats_sign {
                    return;
                }
                let mut at = 0;
                frame.for_each_word(num_pixels, |word| {
                    if word >> position & 1 == 1 {
                        visit(at / image_columns, at % image_columns);
                    }
                    at += 1;
                });
            }
        }
    }

    /// Burns the bitmap in.
    pub(crate) fn draw(&self, frame: &Frame<'_>, canvas: &mut Canvas, level: u8) {
        self.for_each_mark(frame, |row, column| canvas.set(row, column, level));
    }
}

/// The image rows (or columns) that `length` of them from `start` on cover.
fn covered(start: i64, length: usize, image_length: usize) -> std::ops::Range<usize> {
    let clamp = |at: i64| at.clamp(0, image_length as i64) as usize;
    clamp(start)..clamp(start.saturating_add(length as i64))
}

/// The graphic layer on which a presentation state shows the overlay of `group` (PS3.3 section C.11.7).
pub(crate) fn activation_layer(dataset: &Dataset, group: u16) -> Option<String> {
    text(dataset, Tag(group, ACTIVATION_LAYER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{element, frame, header, shape, words};

    fn marks(elements: &[Vec<u8>], frame_index: u32, frame: &Frame<'_>) -> Option<Vec<(usize, usize)>> {
        let header = header(elements);
        let overlay = Overlay::read(header.dataset(), 0x6000, frame_index)?;
        let mut marks = Vec::new();
        overlay.for_each_mark(frame, |row, column| marks.push((row, column)));
        Some(marks)
    }

    #[test]
    fn bitmaps_beside_the_pixels() {
        let image = [0; 6];
        let image = frame(&image, shape(2, 3, 1, 8), "MONOCHROME2");
        let check = |origin: [i16; 2], frames: Option<(&str, u16)>, index: u32, expected: Option<&[(usize, usize)]>| {
            let mut elements = vec![
                words(Tag(0x6000, ROWS), b"US", &[2]),
                words(Tag(0x6000, COLUMNS), b"US", &[2]),
                words(Tag(0x6000, ORIGIN), b"SS", &origin.map(|value| value as u16)),
                // Frames of four bits: the diagonal, then the first column.
                element(Tag(0x6000, DATA), b"OW", &[0b0101_1001, 0]),
            ];
            if let Some((num_frames, first)) = frames {
                elements.push(element(Tag(0x6000, NUMBER_OF_FRAMES), b"IS", num_frames.as_bytes()));
                elements.push(words(Tag(0x6000, IMAGE_FRAME_ORIGIN), b"US", &[first]));
            }
            assert_eq!(marks(&elements, index, &image).as_deref(), expected);
        };
        check([1, 1], None, 0, Some(&[(0, 0), (1, 1)]));
        check([1, 1], None, 5, Some(&[(0, 0), (1, 1)]));
        check([1, 2], None, 0, Some(&[(0, 1), (1, 2)]));
        check([0, 0], None, 0, Some(&[(0, 0)]));
        check([-9, 30000], None, 0, Some(&[]));
        check([1, 1], Some(("2", 1)), 1, Some(&[(0, 0), (1, 0)]));
        check([1, 1], Some(("2", 3)), 1, None);
        check([1, 1], Some(("2", 3)), 3, Some(&[(0, 0), (1, 0)]));
        check([1, 1], Some(("2", 3)), 4, None);
    }

    #[test]
    fn bitmaps_in_unused_bits() {
        let bytes = [0xFF, 0x0F, 0x00, 0x10, 0x00, 0x80];
        let mut shape = shape(1, 3, 1, 16);
        (shape.bits_stored, shape.high_bit) = (12, 11);
        let image = frame(&bytes, shape, "MONOCHROME2");
        let check = |position: u16, expected: &[(usize, usize)]| {
            let elements = [
                words(Tag(0x6000, ROWS), b"US", &[1]),
                words(Tag(0x6000, COLUMNS), b"US", &[3]),
                words(Tag(0x6000, BIT_POSITION), b"US", &[position]),
            ];
            assert_eq!(marks(&elements, 0, &image).as_deref(), Some(expected));
        };
        check(12, &[(0, 1)]);
        check(15, &[(0, 2)]);
        // A bit that belongs to the pixel values, or to nothing.
        check(11, &[]);
        check(16, &[]);
        // Signed: -1 and 7 as a codec extends them, then with a mark on the 7.
        shape.signed = true;
        let mut bytes = [0xFF, 0xFF, 0x07, 0x00, 0xFF, 0xFF];
        let marked = |bytes: &[u8]| {
            let elements = [
                words(Tag(0x6000, ROWS), b"US", &[1]),
                words(Tag(0x6000, COLUMNS), b"US", &[3]),
                words(Tag(0x6000, BIT_POSITION), b"US", &[15]),
            ];
            marks(&elements, 0, &frame(bytes, shape, "MONOCHROME2"))
        };
        assert_eq!(marked(&bytes), Some(vec![]));
        bytes[3] = 0x80;
        assert_eq!(marked(&bytes), Some(vec![(0, 0), (0, 1), (0, 2)]));
    }
}
