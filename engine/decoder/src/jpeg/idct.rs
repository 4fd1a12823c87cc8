//! The accurate integer inverse DCT (Loeffler, Ligtenberg and Moschytz, 11 multiplications, 13-bit constants), rounding as
//! the Independent JPEG Group's `jidctint.c` does for 8 and for 12 bits.
//!
//! Sums are 64 bits wide: hostile coefficients times 16-bit quantizers do not overflow.

const CONSTANT_BITS: u32 = 13;

/// Position in natural (row by row) order of each zigzag position (T.81 figure A.6).
pub(crate) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Dequantizes and transforms one block, writing 8 rows of 8 samples to `out` with `stride` samples between rows.
///
/// `coefficients` and `quantization` are in natural order.
pub(crate) fn inverse(
    coefficients: &[i16; 64],
    quantization: &[i64; 64],
    precision: u32,
    out: &mut [u16],
    stride: usize,
) {
    let pass_bits = if precision == 8 { 2 } else { 1 };
    let (centre, max) = (1i64 << (precision - 1), (1i64 << precision) - 1);
    if coefficients[1..].iter().all(|value| *value == 0) {
        // What both passes come to when only the mean is coded.
        let mean = (i64::from(coefficients[0]) * quantization[0]) << pass_bits;
        let value = (descale(mean << CONSTANT_BITS, CONSTANT_BITS + pass_bits + 3) + centre).clamp(0, max) as u16;
        out.chunks_mut(stride).take(8).for_each(|row| row[..8].fill(value));
        return;
    }
    let mut block = [0i64; 64];
    for column in 0..8 {
        let input: [i64; 8] =
            std::array::from_fn(|row| i64::from(coefficients[8 * row + column]) * quantization[8 * row + column]);
        for (row, value) in butterfly(input).into_iter().enumerate() {
            block[8 * row + column] = descale(value, CONSTANT_BITS - pass_bits);
        }
    }
    for (input, row) in block.as_chunks::<8>().0.iter().zip(out.chunks_mut(stride)) {
        for (target, value) in row.iter_mut().zip(butterfly(*input)) {
            *target = (descale(value, CONSTANT_BITS + pass_bits + 3) + centre).clamp(0, max) as u16;
        }
    }
}

#[inline]
fn descale(value: i64, bits: u32) -> i64 {
    (value + (1 << (bits - 1))) >> bits
}

/// One dimension; results are scaled by 2^13.
#[inline]
fn butterfly(input: [i64; 8]) -> [i64; 8] {
    let common = (input[2] + input[6]) * 4433; // 0.541196100
    let even2 = common - input[6] * 15137; // 1.847759065
    let even3 = common + input[2] * 6270; // 0.765366865
    let even0 = (input[0] + input[4]) << CONSTANT_BITS;
    let even1 = (input[0] - input[4]) << CONSTANT_BITS;
    let sums = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];

    let z5 = (input[7] + input[3] + input[5] + input[1]) * 9633; // 1.175875602
    let z1 = -(input[7] + input[1]) * 7373; // 0.899976223
    let z2 = -(input[5] + input[3]) * 20995; // 2.562915447
    let z3 = z5 - (input[7] + input[3]) * 16069; // 1.961570560
    let z4 = z5 - (input[5] + input[1]) * 3196; // 0.390180644
    let odd = [
        input[1] * 12299 + z1 + z4, // 1.501321110
        input[3] * 25172 + z2 + z3, // 3.072711026
        input[5] * 16819 + z2 + z4, // 2.053119869
        input[7] * 2446 + z1 + z3,  // 0.298631336
    ];
    std::array::from_fn(|index| {
        if index < 4 {
            sums[index] + odd[index]
        } else {
            sums[7 - index] - odd[7 - index]
        }
    })
}
