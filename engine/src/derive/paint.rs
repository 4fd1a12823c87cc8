//! Native frames with regions obscured, or cut down to one.
//!
//! Pure: samples in, samples out, little endian. Regions are clipped to the frame, so a careless one never fails.

use septum_core::frame_shape::FrameShape;

/// Pixels on a side of the checkerboard's squares.
const SQUARE: u32 = 8;

/// A rectangle in pixels; the first column and row are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Region {
    /// The part within a frame; `None` where there is none.
    pub fn clipped(self, columns: u32, rows: u32) -> Option<Self> {
        let width = self.width.min(columns.checked_sub(self.x)?);
        let height = self.height.min(rows.checked_sub(self.y)?);
        (width > 0 && height > 0).then_some(Self { width, height, ..self })
    }
}

/// What obscured pixels show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Squares of black and white.
    Checkerboard,
    /// Red, green and blue, 0 to 255.
    Rgb([u8; 3]),
}

impl Colour {
    fn at(self, column: u32, row: u32) -> [u8; 3] {
        match self {
            Self::Rgb(colour) => colour,
            Self::Checkerboard if (column / SQUARE + row / SQUARE).is_multiple_of(2) => [0; 3],
            Self::Checkerboard => [255; 3],
        }
    }
}

/// How native samples lie.
#[derive(Debug, Clone)]
pub struct Samples {
    shape: FrameShape,
    photometric: String,
}

impl Samples {
    /// Samples of that shape; `None` for shapes that cannot be painted: of parts of a byte, or of other than one or three
    /// samples a pixel, or where one word of a frame cannot be addressed.
    pub fn new(shape: FrameShape, photometric: &str) -> Option<Self> {
        let is_paintable = matches!(shape.bits_allocated, 8 | 16 | 32)
            && matches!(shape.samples_per_pixel, 1 | 3)
            && (1..=shape.bits_allocated).contains(&shape.bits_stored)
            && shape.high_bit < shape.bits_allocated
            && shape.high_bit + 1 >= shape.bits_stored
            && !photometric.trim().ends_with("_422")
            && usize::try_from(shape.frame_length()?).is_ok();
        is_paintable.then(|| Self {
            shape,
            photometric: photometric.trim().to_owned(),
        })
    }

    fn word_bytes(&self) -> usize {
        usize::from(self.shape.bits_allocated / 8)
    }

    /// Where a sample starts.
    fn offset(&self, column: u32, row: u32, sample: usize) -> usize {
        let pixel = row as usize * self.shape.columns as usize + column as usize;
        let num_samples = usize::from(self.shape.samples_per_pixel);
        let index = if self.shape.planar && num_samples > 1 {
            sample * self.shape.columns as usize * self.shape.rows as usize + pixel
        } else {
            pixel * num_samples + sample
        };
        index * self.word_bytes()
    }

    /// A colour as stored words, one for each sample.
    fn words(&self, [red, green, blue]: [u8; 3]) -> [u64; 3] {
        let (r, g, b) = (f64::from(red), f64::from(green), f64::from(blue));
        let luminance = 0.299 * r + 0.587 * g + 0.114 * b;
        let parts = match (self.shape.samples_per_pixel, self.photometric.as_str()) {
            (1, "MONOCHROME1") => [255.0 - luminance, 0.0, 0.0],
            // What an index looks like is the palette's business: the first entry.
            (1, "PALETTE COLOR") => [0.0; 3],
            (1, _) => [luminance, 0.0, 0.0],
            (_, "YBR_FULL") => [
                luminance,
                128.0 - 0.168_736 * r - 0.331_264 * g + 0.5 * b,
                128.0 + 0.5 * r - 0.418_688 * g - 0.081_312 * b,
            ],
            _ => [r, g, b],
        };
        parts.map(|part| self.word(part.clamp(0.0, 255.0)))
    }

    /// A part of a colour, 0 to 255, as a stored word.
    fn word(&self, part: f64) -> u64 {
        let bits = u32::from(self.shape.bits_stored);
        let most = (1_u64 << bits) - 1;
        let value = (part / 255.0 * most as f64).round() as u64;
        // Two's complement: the least value is the top bit alone. Sign bits above it are set by the shift of a signed word.
        let value = if self.shape.signed {
            let signed = value as i64 - (1_i64 << (bits - 1));
            signed as u64
        } else {
            value
        };
        value << (u32::from(self.shape.high_bit) + 1 - bits)
    }

    /// Obscures regions of a frame. A frame that is too short is painted as far as it goes.
    pub fn obscure(&self, frame: &mut [u8], regions: &[Region], colour: Colour) {
        let word_bytes = self.word_bytes();
        for region in regions {
            let Some(region) = region.clipped(self.shape.columns, self.shape.rows) else {
                continue;
            };
            for row in region.y..region.y + region.height {
                for column in region.x..region.x + region.width {
                    let words = self.words(colour.at(column, row));
                    for (sample, word) in words.iter().enumerate().take(self.shape.samples_per_pixel.into()) {
                        let at = self.offset(column, row, sample);
                        if let Some(place) = frame.get_mut(at..at + word_bytes) {
                            place.copy_from_slice(&word.to_le_bytes()[..word_bytes]);
                        }
                    }
                }
            }
        }
    }

    /// The part of a frame within a region that is clipped already; `None` where the frame is too short.
    pub fn cropped(&self, frame: &[u8], region: Region) -> Option<Vec<u8>> {
        let num_samples = usize::from(self.shape.samples_per_pixel);
        let (planes, run) = if self.shape.planar && num_samples > 1 {
            (num_samples, 1)
        } else {
            (1, num_samples)
        };
        let row_bytes = region.width as usize * run * self.word_bytes();
        let mut out = Vec::with_capacity(planes * row_bytes * region.height as usize);
        for plane in 0..planes {
            for row in region.y..region.y + region.height {
                let at = self.offset(region.x, row, plane);
                out.extend_from_slice(frame.get(at..at + row_bytes)?);
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(samples_per_pixel: u16, bits_allocated: u16, bits_stored: u16, signed: bool, planar: bool) -> FrameShape {
        FrameShape {
            rows: 3,
            columns: 4,
            samples_per_pixel,
            bits_allocated,
            bits_stored,
            high_bit: bits_stored - 1,
            signed,
            planar,
            big_endian: false,
        }
    }

    const REGION: Region = Region {
        x: 1,
        y: 1,
        width: 2,
        height: 9,
    };

    #[test]
    fn obscured_pixels_have_the_colour_and_no_other_changes() {
        for (shape, photometric, expected) in [
            (shape(1, 8, 8, false, false), "MONOCHROME2", vec![255]),
            (shape(1, 8, 8, false, false), "MONOCHROME1", vec![0]),
            (shape(1, 16, 12, false, false), "MONOCHROME2", vec![0xFF, 0x0F]),
            (shape(1, 16, 16, true, false), "MONOCHROME2", vec![0xFF, 0x7F]),
            (shape(3, 8, 8, false, false), "RGB", vec![255, 255, 255]),
            (shape(3, 8, 8, false, false), "YBR_FULL", vec![255, 128, 128]),
        ] {
            let samples = Samples::new(shape, photometric).expect("paintable");
            let mut frame = vec![7; shape.frame_length().expect("whole") as usize];
            samples.obscure(&mut frame, &[REGION], Colour::Rgb([255; 3]));
            for (index, pixel) in frame.chunks(expected.len()).enumerate() {
                let (column, row) = (index % 4, index / 4);
                let is_inside = (1..3).contains(&column) && row >= 1;
                let want = if is_inside {
                    expected.clone()
                } else {
                    vec![7; expected.len()]
                };
                assert_eq!(pixel, want, "{photometric} at {column}, {row}");
            }
        }
    }

    #[test]
    fn black_of_signed_samples_is_the_least_value() {
        let samples = Samples::new(shape(1, 16, 12, true, false), "MONOCHROME2").expect("paintable");
        let mut frame = vec![0; 24];
        samples.obscure(&mut frame, &[REGION], Colour::Rgb([0; 3]));
        let value = i16::from_le_bytes([frame[10], frame[11]]);
        assert_eq!(value, -2048);
    }

    #[test]
    fn planes_are_kept_apart() {
        let samples = Samples::new(shape(3, 8, 8, false, true), "RGB").expect("paintable");
        let mut frame = vec![0; 36];
        samples.obscure(&mut frame, &[REGION], Colour::Rgb([1, 2, 3]));
        assert_eq!((frame[5], frame[17], frame[29]), (1, 2, 3));
        let clipped = REGION.clipped(4, 3).expect("inside");
        let cropped = samples.cropped(&frame, clipped).expect("whole");
        assert_eq!(cropped, [[1; 4], [2; 4], [3; 4]].concat());
    }

    #[test]
    fn regions_outside_are_nothing() {
        let outside = Region { x: 4, ..REGION };
        assert_eq!(outside.clipped(4, 3), None);
        assert_eq!(Region { width: 0, ..REGION }.clipped(4, 3), None);
        assert!(
            Samples::new(shape(1, 8, 8, false, false), "X")
                .expect("paintable")
                .cropped(&[1, 2], REGION)
                .is_none()
        );
        let bits = FrameShape {
            bits_allocated: 1,
            bits_stored: 1,
            ..shape(1, 8, 8, false, false)
        };
        assert!(Samples::new(bits, "MONOCHROME2").is_none());
    }
}
