//! Grey samples in full depth, 16 bits, as they are stored: for displays that do their own windowing.
//!
//! A value is the stored one, without the bits above Bits Stored; of signed samples the least value becomes 0; of more
//! than 16 bits the upper 16 are kept. Neither modality nor values of interest are applied, MONOCHROME1 stays inverted.

use septum_core::frame_shape::FrameShape;

use crate::error::RenderError;

/// A grey picture of 16 bits a sample.
#[derive(Clone, PartialEq, Eq)]
pub struct Deep {
    width: usize,
    height: usize,
    samples: Vec<u16>,
}

impl std::fmt::Debug for Deep {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Deep({}x{})", self.width, self.height)
    }
}

impl Deep {
    /// The picture of a native frame, little endian; `None` for colour, palettes and shapes that are not whole bytes.
    pub fn new(frame: &[u8], shape: &FrameShape, photometric: &str) -> Option<Self> {
        let bytes = match shape.bits_allocated {
            8 => 1,
            16 => 2,
            32 => 4,
            _ => return None,
        };
        let is_grey = shape.samples_per_pixel == 1 && photometric.trim().starts_with("MONOCHROME");
        let bits = u32::from(shape.bits_stored);
        let shift = (u32::from(shape.high_bit) + 1).checked_sub(bits)?;
        if !is_grey || bits == 0 || u32::from(shape.high_bit) >= u32::from(shape.bits_allocated) {
            return None;
        }
        let (width, height) = (shape.columns as usize, shape.rows as usize);
        let length = width.checked_mul(height)?.checked_mul(bytes)?;
        let mask = (1_u64 << bits) - 1;
        let sign = if shape.signed { 1_u64 << (bits - 1) } else { 0 };
        let sample = |word: &[u8]| {
            let stored = word
                .iter()
                .rev()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            // Flipping the sign bit of two's complement adds half of the range.
            let value = (stored >> shift & mask) ^ sign;
            (value >> bits.saturating_sub(16)) as u16
        };
        let samples = frame.get(..length)?.chunks_exact(bytes).map(sample).collect();
        Some(Self { width, height, samples })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Samples, row by row.
    pub fn samples(&self) -> &[u16] {
        &self.samples
    }

    /// The picture in at most `width` by `height` pixels, its sides in proportion; as it is where it fits.
    #[must_use]
    pub fn fitted(self, width: usize, height: usize) -> Self {
        if self.width == 0 || self.height == 0 || (self.width <= width && self.height <= height) {
            return self;
        }
        let by_width = self.width * height.max(1) > self.height * width.max(1);
        let (new_width, new_height) = if by_width {
            (width.max(1), (self.height * width.max(1) / self.width).max(1))
        } else {
            ((self.width * height.max(1) / self.height).max(1), height.max(1))
        };
        let mut samples = Vec::with_capacity(new_width * new_height);
        for row in 0..new_height {
            let rows = row * self.height / new_height
                ..((row + 1) * self.height / new_height).max(row * self.height / new_height + 1);
            for column in 0..new_width {
                let start = column * self.width / new_width;
                let columns = start..((column + 1) * self.width / new_width).max(start + 1);
                let mut sum = 0_u64;
                for y in rows.clone() {
                    let line = &self.samples[y * self.width..][..self.width];
                    sum += line[columns.clone()]
                        .iter()
                        .map(|sample| u64::from(*sample))
                        .sum::<u64>();
                }
                let count = (rows.len() * columns.len()) as u64;
                samples.push(((sum + count / 2) / count) as u16);
            }
        }
        Self {
            width: new_width,
            height: new_height,
            samples,
        }
    }

    /// As PNG (ISO/IEC 15948).
    ///
    /// # Errors
    /// [`RenderError::Encoding`] for sides that PNG cannot have.
    pub fn to_png(&self) -> Result<Vec<u8>, RenderError> {
        let failed = |_| RenderError::Encoding("PNG");
        let side = |side: usize| u32::try_from(side).map_err(|_| RenderError::Encoding("PNG"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, side(self.width)?, side(self.height)?);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Sixteen);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header().map_err(failed)?;
        let samples: Vec<u8> = self.samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
        writer.write_image_data(&samples).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(bytes)
    }

    /// As TIFF 6.0, uncompressed, little endian.
    ///
    /// # Errors
    /// [`RenderError::Encoding`] for pictures of 4 GiB and more.
    pub fn to_tiff(&self) -> Result<Vec<u8>, RenderError> {
        let samples: Vec<u8> = self.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        crate::encode::tiff(self.width, self.height, 1, 16, &samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(bits_allocated: u16, bits_stored: u16, signed: bool) -> FrameShape {
        FrameShape {
            rows: 2,
            columns: 2,
            samples_per_pixel: 1,
            bits_allocated,
            bits_stored,
            high_bit: bits_stored - 1,
            signed,
            planar: false,
            big_endian: false,
        }
    }

    #[test]
    fn stored_values_are_kept() {
        for (shape, words, expected) in [
            (shape(8, 8, false), vec![0, 1, 128, 255], [0, 1, 128, 255]),
            (
                shape(16, 12, false),
                vec![0xFF, 0xFF, 1, 0, 0, 8, 0, 0],
                [4095, 1, 2048, 0],
            ),
            (
                shape(16, 16, true),
                vec![0, 0x80, 0xFF, 0xFF, 0, 0, 0xFF, 0x7F],
                [0, 32767, 32768, 65535],
            ),
        ] {
            let deep = Deep::new(&words, &shape, "MONOCHROME2").expect("grey");
            assert_eq!(deep.samples(), expected);
        }
        assert!(Deep::new(&[0; 4], &shape(8, 8, false), "PALETTE COLOR").is_none());
        assert!(Deep::new(&[0; 3], &shape(8, 8, false), "MONOCHROME2").is_none());
    }

    #[test]
    fn png_and_tiff_hold_the_values() {
        let deep = Deep::new(&[0x34, 0x12, 1, 0, 2, 0, 3, 0], &shape(16, 16, false), "MONOCHROME2").expect("grey");
        let mut reader = png::Decoder::new(std::io::Cursor::new(deep.to_png().expect("encodes")))
            .read_info()
            .expect("readable");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        reader.next_frame(&mut pixels).expect("readable");
        assert_eq!(pixels, [0x12, 0x34, 0, 1, 0, 2, 0, 3]);
        let tiff = deep.to_tiff().expect("encodes");
        assert!(tiff.ends_with(&[0x34, 0x12, 1, 0, 2, 0, 3, 0]) && tiff.starts_with(b"II*\0"));
    }

    #[test]
    fn fitting_averages() {
        let deep = Deep::new(&[0, 0, 2, 0, 4, 0, 6, 0], &shape(16, 16, false), "MONOCHROME2").expect("grey");
        let small = deep.clone().fitted(1, 1);
        assert_eq!((small.width(), small.height(), small.samples()), (1, 1, &[3_u16][..]));
        assert_eq!(deep.clone().fitted(5, 2), deep);
    }
}
