//! How one decoded frame lies in memory: the Image Pixel module (PS3.3 section C.7.6.3) reduced to what codecs need.

/// The shape of every native frame of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FrameShape {
    /// Rows (0028,0010).
    pub rows: u32,
    /// Columns (0028,0011).
    pub columns: u32,
    /// Samples per Pixel (0028,0002).
    pub samples_per_pixel: u16,
    /// Bits Allocated (0028,0100): 1, 8, 16, 32 or 64.
    pub bits_allocated: u16,
    /// Bits Stored (0028,0101).
    pub bits_stored: u16,
    /// High Bit (0028,0102).
    pub high_bit: u16,
    /// Pixel Representation (0028,0103) is 1: two's complement.
    pub signed: bool,
    /// Planar Configuration (0028,0006) is 1: colour by plane.
    pub planar: bool,
    /// The samples are stored big endian (Explicit VR Big Endian).
    pub big_endian: bool,
}

impl FrameShape {
    /// Bytes of one native frame, or `None` where bits do not fill bytes (Bits Allocated 1 and frames that do not end on a byte) or the product overflows.
    pub fn frame_length(&self) -> Option<u64> {
        let bits = u64::from(self.rows)
            .checked_mul(u64::from(self.columns))?
            .checked_mul(u64::from(self.samples_per_pixel))?
            .checked_mul(u64::from(self.bits_allocated))?;
        (bits > 0 && bits % 8 == 0).then_some(bits / 8)
    }
}
