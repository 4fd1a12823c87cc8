//! Packs decoded sample values into native little-endian bytes.

use crate::decode::FrameLayout;
use crate::error::Damage;

/// Writes sample values of a stream into native samples.
///
/// Streams know values of `precision` bits; DICOM knows containers of Bits Allocated bits with Pixel Representation.
/// Several codecs (JPEG, JPEG-LS) cannot say that values are signed, and JPEG 2000 streams sometimes say it wrongly, so
/// the attribute decides: the low `precision` bits are taken, then extended by sign or by zero (PS3.5 section 8.2).
pub(crate) struct Packer {
    precision: u32,
    signed: bool,
    sample_bytes: usize,
}

impl Packer {
    /// `precision` is in bits, 1 to 32.
    pub(crate) fn new(layout: &FrameLayout, precision: u32) -> Result<Self, Damage> {
        if !(1..=32).contains(&precision) || precision > u32::from(layout.bits_allocated) || layout.bits_allocated > 32
        {
            return Err(Damage::Precision);
        }
        // 0 stands for samples of one bit.
        let sample_bytes = if layout.bits_allocated == 1 {
            0
        } else {
            layout.sample_bytes()
        };
        Ok(Self {
            precision,
            signed: layout.signed,
            sample_bytes,
        })
    }

    /// Packs all values, in the order given.
    ///
    /// Samples of one bit fill bytes from the least significant bit up (PS3.5 section 8.1.1).
    pub(crate) fn pack(&self, values: impl ExactSizeIterator<Item = i32>) -> Vec<u8> {
        if self.sample_bytes == 0 {
            let mut out = vec![0u8; values.len().div_ceil(8)];
            values
                .enumerate()
                .for_each(|(index, value)| out[index / 8] |= ((value & 1) as u8) << (index % 8));
            return out;
        }
        let mut out = Vec::with_capacity(values.len().saturating_mul(self.sample_bytes));
        match self.sample_bytes {
            1 => out.extend(values.map(|value| self.extend(value) as u8)),
            2 => values.for_each(|value| out.extend_from_slice(&(self.extend(value) as u16).to_le_bytes())),
            _ => values.for_each(|value| out.extend_from_slice(&self.extend(value).to_le_bytes())),
        }
        out
    }

    #[inline]
    fn extend(&self, value: i32) -> u32 {
        let unused = 32 - self.precision;
        let shifted = (value as u32) << unused;
        if self.signed {
            ((shifted as i32) >> unused) as u32
        } else {
            shifted >> unused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_samples_are_packed() {
        let layout = FrameLayout {
            rows: 1,
            columns: 10,
            samples_per_pixel: 1,
            bits_allocated: 1,
            bits_stored: 1,
            high_bit: 0,
            signed: false,
            planar: false,
        };
        let values = [1, 0, 0, 0, 0, 0, 0, 1, 0, 1];
        let packed = Packer::new(&layout, 1).map(|packer| packer.pack(values.into_iter()));
        assert_eq!(packed, Ok(vec![0x81, 0x02]));
        assert!(Packer::new(&layout, 2).is_err());
    }

    #[test]
    fn extends_by_the_attribute() {
        let check = |bits_allocated, signed, precision, value, expected: &[u8]| {
            let layout = FrameLayout {
                rows: 1,
                columns: 1,
                samples_per_pixel: 1,
                bits_allocated,
                bits_stored: bits_allocated,
                high_bit: bits_allocated - 1,
                signed,
                planar: false,
            };
            let packed = Packer::new(&layout, precision).map(|packer| packer.pack([value].into_iter()));
            assert_eq!(packed, Ok(expected.to_vec()));
        };
        check(16, true, 12, 0xF30, &[0x30, 0xFF]);
        check(16, false, 12, -208, &[0x30, 0x0F]);
        check(16, true, 16, -2, &[0xFE, 0xFF]);
        check(8, false, 8, 200, &[200]);
        check(32, true, 24, 0x80_0000, &[0, 0, 0x80, 0xFF]);
    }
}
