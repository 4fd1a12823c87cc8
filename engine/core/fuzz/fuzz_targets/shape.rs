//! Frame shapes out of a few bytes.

use septum_core::frame_shape::FrameShape;

/// A shape of at most 64 × 64 samples out of five bytes, and the rest.
pub fn of_bytes(data: &[u8]) -> Option<(FrameShape, &[u8])> {
    let [rows, columns, samples, bits, flags, rest @ ..] = data else {
        return None;
    };
    let bits_allocated = [1, 8, 16, 32, 64][usize::from(bits % 5)];
    let bits_stored = u16::from(bits / 5).clamp(1, bits_allocated);
    let shape = FrameShape {
        rows: u32::from(rows % 65),
        columns: u32::from(columns % 65),
        samples_per_pixel: u16::from(samples % 5),
        bits_allocated,
        bits_stored,
        high_bit: if flags & 8 != 0 {
            bits_allocated - 1
        } else {
            bits_stored - 1
        },
        signed: flags & 1 != 0,
        planar: flags & 2 != 0,
        big_endian: flags & 4 != 0,
    };
    Some((shape, rest))
}
