//! One decoded frame, and how its samples are read.

use septum_core::frame_shape::FrameShape;

use crate::MAX_OUTPUT_PIXELS;
use crate::error::RenderError;

/// What the words of a frame are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleKind {
    /// Pixel Data (7FE0,0010): integers.
    Integer,
    /// Float Pixel Data (7FE0,0008): IEEE 754 binary32.
    Float,
    /// Double Float Pixel Data (7FE0,0009): IEEE 754 binary64.
    Double,
}

/// A decoded frame.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Its native samples, little endian. YBR_FULL_422 and YBR_PARTIAL_422 may come with chroma at half the columns
    /// (two samples a pixel, PS3.3 section C.7.6.3.1.2) or at all of them; 1-bit samples start at bit 0. A padding byte
    /// at the end is allowed.
    pub samples: &'a [u8],
    /// Their shape; `planar` and `samples_per_pixel` as decoded, `big_endian` is not looked at.
    pub shape: FrameShape,
    /// Photometric Interpretation of `samples`, as decoded.
    pub photometric: &'a str,
    /// What the words are.
    pub kind: SampleKind,
}

impl std::fmt::Debug for Frame<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Frame({} bytes, {:?})", self.samples.len(), self.kind)
    }
}

/// How a stored value lies in its word (PS3.5 section 8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredBits {
    /// 1 to 64.
    pub(crate) num_bits: u32,
    pub(crate) shift: u32,
    pub(crate) signed: bool,
}

impl StoredBits {
    /// The stored value that a word holds.
    pub(crate) fn value(self, word: u64) -> f64 {
        let spare = 64 - self.num_bits;
        let top = (word >> self.shift) << spare;
        if self.signed {
            ((top as i64) >> spare) as f64
        } else {
            (top >> spare) as f64
        }
    }

    /// The least and the greatest stored value there can be.
    pub(crate) fn range(self) -> (f64, f64) {
        let span = (self.num_bits as f64).exp2();
        if self.signed {
            (-span / 2.0, span / 2.0 - 1.0)
        } else {
            (0.0, span - 1.0)
        }
    }
}

impl Frame<'_> {
    /// Pixels of the frame.
    pub(crate) fn num_pixels(&self) -> Result<usize, RenderError> {
        let pixels = u64::from(self.shape.rows) * u64::from(self.shape.columns);
        if pixels == 0 {
            return Err(RenderError::Unsupported("a frame without pixels"));
        }
        if pixels > MAX_OUTPUT_PIXELS {
            return Err(RenderError::TooLarge);
        }
        usize::try_from(pixels).map_err(|_| RenderError::TooLarge)
    }

    /// Checks that `num_samples` are there.
    pub(crate) fn require(&self, num_samples: usize) -> Result<(), RenderError> {
        if !matches!(
            (self.kind, self.shape.bits_allocated),
            (SampleKind::Integer, 1 | 8 | 16 | 32 | 64) | (SampleKind::Float, 32) | (SampleKind::Double, 64)
        ) {
            return Err(RenderError::Unsupported("this number of bits allocated"));
        }
        let expected = (num_samples as u64)
            .checked_mul(u64::from(self.shape.bits_allocated))
            .ok_or(RenderError::TooLarge)?
            .div_ceil(8);
        let actual = self.samples.len() as u64;
        if actual < expected {
            return Err(RenderError::FrameLength { expected, actual });
        }
        Ok(())
    }

    /// Where the stored value lies in its word. Attributes that contradict each other give way to Bits Allocated.
    pub(crate) fn stored_bits(&self) -> StoredBits {
        let allocated = u32::from(self.shape.bits_allocated).clamp(1, 64);
        let stored = u32::from(self.shape.bits_stored);
        let num_bits = if (1..=allocated).contains(&stored) {
            stored
        } else {
            allocated
        };
        let high = u32::from(self.shape.high_bit);
        let high = if (num_bits - 1..allocated).contains(&high) {
            high
        } else {
            num_bits - 1
        };
        StoredBits {
            num_bits,
            shift: high + 1 - num_bits,
            signed: self.shape.signed,
        }
    }

    /// Calls `visit` with each of the first `num_samples` words; those that are missing are left out.
    pub(crate) fn for_each_word(&self, num_samples: usize, mut visit: impl FnMut(u64)) {
        match self.shape.bits_allocated {
            1 => {
                let bits = self
                    .samples
                    .iter()
                    .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
                bits.take(num_samples).for_each(|bit| visit(bit.into()));
            }
            8 => self
                .samples
                .iter()
                .take(num_samples)
                .for_each(|&byte| visit(byte.into())),
            16 => {
                let words = self.samples.as_chunks().0.iter().take(num_samples);
                words.for_each(|&word| visit(u16::from_le_bytes(word).into()));
            }
            32 => {
                let words = self.samples.as_chunks().0.iter().take(num_samples);
                words.for_each(|&word| visit(u32::from_le_bytes(word).into()));
            }
            _ => {
                let words = self.samples.as_chunks().0.iter().take(num_samples);
                words.for_each(|&word| visit(u64::from_le_bytes(word)));
            }
        }
    }

    /// Calls `visit` with each of the first `num_samples` stored values as numbers.
    pub(crate) fn for_each_value(&self, num_samples: usize, mut visit: impl FnMut(f64)) {
        let stored = self.stored_bits();
        match self.kind {
            SampleKind::Integer => self.for_each_word(num_samples, |word| visit(stored.value(word))),
            SampleKind::Float => self.for_each_word(num_samples, |word| visit(f32::from_bits(word as u32).into())),
            SampleKind::Double => self.for_each_word(num_samples, |word| visit(f64::from_bits(word))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shape;

    #[test]
    fn words_become_values() {
        let check = |allocated: u16, stored: u16, high: u16, signed: bool, samples: &[u8], expected: &[f64]| {
            let mut shape = shape(1, expected.len() as u32, 1, allocated);
            (shape.bits_stored, shape.high_bit, shape.signed) = (stored, high, signed);
            let frame = Frame {
                samples,
                shape,
                photometric: "MONOCHROME2",
                kind: SampleKind::Integer,
            };
            frame.require(expected.len()).expect("long enough");
            let mut values = Vec::new();
            frame.for_each_value(expected.len(), |value| values.push(value));
            assert_eq!(values, expected);
        };
        check(1, 1, 0, false, &[0b0000_0101, 1], &[1., 0., 1., 0., 0., 0., 0., 0., 1.]);
        check(8, 8, 7, false, &[0, 255], &[0., 255.]);
        check(8, 8, 7, true, &[0x7F, 0x80], &[127., -128.]);
        check(16, 12, 11, true, &[0xFF, 0xFF, 0xFF, 0x07], &[-1., 2047.]);
        // What lies in the unused bits does not count.
        check(16, 12, 11, false, &[0x01, 0xF0], &[1.]);
        check(16, 12, 15, false, &[0x1F, 0x80], &[2049.]);
        check(32, 32, 31, true, &[0, 0, 0, 0x80], &[-2147483648.]);
        check(32, 24, 23, false, &[1, 2, 3, 4], &[197121.]);
        check(64, 64, 63, true, &[254, 255, 255, 255, 255, 255, 255, 255], &[-2.]);
        // Nonsense gives way to Bits Allocated.
        check(8, 0, 40, false, &[200], &[200.]);
        check(8, 12, 11, false, &[200], &[200.]);
    }

    #[test]
    fn frames_that_are_too_short_are_refused() {
        let frame = Frame {
            samples: &[0; 5],
            shape: shape(2, 3, 1, 8),
            photometric: "MONOCHROME2",
            kind: SampleKind::Integer,
        };
        assert_eq!(
            frame.require(6),
            Err(RenderError::FrameLength { expected: 6, actual: 5 })
        );
        assert_eq!(frame.require(5), Ok(()));
    }
}
