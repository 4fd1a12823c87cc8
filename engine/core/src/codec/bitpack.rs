//! Blocks of 128 numbers of 16 bits, packed to as many bits as most of them need.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bits 0–4: the width, 0 to 16; bit 7: there are exceptions |
//! | 1 | with exceptions: how many, 1 to 128 |
//! | count | their places, ascending |
//! | count | what lies above their lowest `width` bits |
//! | 16 × width | the lowest `width` bits of all numbers |
//!
//! Packed bits lie in eight lanes of 16-bit words, little endian: number `i` goes to lane `i % 8`, behind the number
//! `i - 8`, from the least significant bit on. So eight numbers are packed by the same shifts, which compilers turn
//! into vector instructions.

/// Numbers of a block.
pub(super) const BLOCK: usize = 128;
const LANES: usize = 8;
/// Longest form of a block: no exceptions at full width; exceptions are only taken where they save.
pub(super) const BLOCK_BYTES_MAX: usize = 1 + 2 * BLOCK;
const HAS_EXCEPTIONS: u8 = 0x80;
/// How many bits narrower than the widest number a block may be. Exceptions keep what is cut off in one byte.
const CUT_MAX: u32 = 6;
/// Bits that an exception takes.
const EXCEPTION_BITS: u32 = 16;

type Lanes = [u16; LANES];

fn lanes(block: &[u16; BLOCK]) -> &[Lanes] {
    block.as_chunks().0
}

/// Appends the packed form of `block`.
pub(super) fn put(block: &[u16; BLOCK], out: &mut Vec<u8>) {
    let all = block.iter().fold(0, |all, number| all | number);
    let widest = u16::BITS - all.leading_zeros();
    let (width, num_exceptions) = narrowest(block, widest);
    if num_exceptions == 0 {
        out.push(width as u8);
    } else {
        put_exceptions(block, width, num_exceptions, out);
    }
    let start = out.len();
    out.resize(start + width as usize * 2 * LANES, 0);
    pack(width, block, &mut out[start..]);
}

/// The width that gives the shortest form, and how many numbers are wider.
fn narrowest(block: &[u16; BLOCK], widest: u32) -> (u32, u32) {
    let mut best = (widest, 0);
    let mut least_bits = widest * BLOCK as u32;
    for width in (widest.saturating_sub(CUT_MAX)..widest).rev() {
        let limit = (1_u16 << width) - 1;
        // A wrapping sum, as a checked one would be counted one by one.
        let wider = block
            .iter()
            .fold(0_u16, |sum, &number| sum.wrapping_add(u16::from(number > limit)));
        let extra = 8 + EXCEPTION_BITS * u32::from(wider);
        let bits = width * BLOCK as u32 + extra;
        if bits < least_bits {
            least_bits = bits;
            best = (width, u32::from(wider));
        }
        // Narrower still, there are only more of them.
        if extra >= (widest - width) * BLOCK as u32 + BLOCK as u32 {
            break;
        }
    }
    best
}

fn put_exceptions(block: &[u16; BLOCK], width: u32, num_exceptions: u32, out: &mut Vec<u8>) {
    let count = num_exceptions as usize;
    out.extend_from_slice(&[width as u8 | HAS_EXCEPTIONS, num_exceptions as u8]);
    let start = out.len();
    out.resize(start + 2 * count, 0);
    let (places, above) = out[start..].split_at_mut(count);
    let mut slots = places.iter_mut().zip(above);
    // Where they are is found without branches, as nobody could guess them.
    for (half, first) in block.as_chunks::<64>().0.iter().zip([0, 64]) {
        let mut wide = wider_than(width, half);
        while wide != 0
            && let Some((place, above)) = slots.next()
        {
            let index = wide.trailing_zeros();
            wide &= wide - 1;
            *place = first + index as u8;
            *above = (half[index as usize] >> width) as u8;
        }
    }
}

/// A bit for each number that has more than `width` bits, the first one's lowest.
fn wider_than(width: u32, numbers: &[u16; 64]) -> u64 {
    const TOPS: u64 = 0x8000_8000_8000_8000;
    /// Moves the bits 0, 16, 32 and 48 to 48 and up; no two products meet in one place.
    const TOGETHER: u64 = 1 << 48 | 1 << 33 | 1 << 18 | 1 << 3;
    let above = u64::from(!low_bits(width)) * 0x0001_0001_0001_0001;
    let mut wide = 0;
    for (index, four) in numbers.as_chunks::<4>().0.iter().enumerate() {
        let four = (0..4).fold(0, |all, i| all | u64::from(four[i]) << (16 * i)) & above;
        // In each number of 16 bits, the carry into the top bit tells whether any lower one is set.
        let tops = (((four & !TOPS) + !TOPS) | four) & TOPS;
        wide |= ((tops >> 15).wrapping_mul(TOGETHER) >> 48 & 0xF) << (4 * index);
    }
    wide
}

/// Reads a block and cuts it off `input`; `None` where there is none.
pub(super) fn take(input: &mut &[u8], block: &mut [u16; BLOCK]) -> Option<()> {
    let (&first, mut rest) = input.split_first()?;
    let width = u32::from(first & !HAS_EXCEPTIONS);
    let mut exceptions: (&[u8], &[u8]) = (&[], &[]);
    if first & HAS_EXCEPTIONS != 0 {
        let (&count, behind) = rest.split_first()?;
        let count = usize::from(count);
        let places = behind.get(..count)?;
        let above = behind.get(count..2 * count)?;
        rest = &behind[2 * count..];
        exceptions = (places, above);
    }
    if width > u16::BITS {
        return None;
    }
    let (packed, rest) = rest.split_at_checked(width as usize * 2 * LANES)?;
    unpack(width, packed, block);
    for (&place, &above) in exceptions.0.iter().zip(exceptions.1) {
        *block.get_mut(usize::from(place))? |= u16::from(above).checked_shl(width)?;
    }
    *input = rest;
    Some(())
}

#[inline(always)]
fn low_bits(width: u32) -> u16 {
    if width >= u16::BITS { u16::MAX } else { (1 << width) - 1 }
}

/// One step of packing: the numbers of row `I`, `WIDTH` bits each, behind what is in `word`.
#[inline(always)]
fn pack_row<const WIDTH: u32, const I: u32>(rows: &[Lanes], word: &mut Lanes, out: &mut [[u8; 2 * LANES]]) {
    let (index, shift) = ((I * WIDTH / 16) as usize, I * WIDTH % 16);
    let row = &rows[I as usize];
    for (word, number) in word.iter_mut().zip(row) {
        *word |= (number & low_bits(WIDTH)).wrapping_shl(shift);
    }
    if shift + WIDTH >= 16 {
        for (bytes, word) in out[index].as_chunks_mut::<2>().0.iter_mut().zip(*word) {
            *bytes = word.to_le_bytes();
        }
        *word = [0; LANES];
        if shift + WIDTH > 16 {
            for (word, number) in word.iter_mut().zip(row) {
                *word = (number & low_bits(WIDTH)).wrapping_shr(16 - shift);
            }
        }
    }
}

/// One step of unpacking: row `I`, out of one or two words a lane.
#[inline(always)]
fn unpack_row<const WIDTH: u32, const I: u32>(words: &[[u8; 2 * LANES]], rows: &mut [Lanes]) {
    let (index, shift) = ((I * WIDTH / 16) as usize, I * WIDTH % 16);
    let row = &mut rows[I as usize];
    for (number, bytes) in row.iter_mut().zip(words[index].as_chunks::<2>().0) {
        *number = u16::from_le_bytes(*bytes).wrapping_shr(shift);
    }
    if shift + WIDTH > 16 {
        for (number, bytes) in row.iter_mut().zip(words[index + 1].as_chunks::<2>().0) {
            *number |= u16::from_le_bytes(*bytes).wrapping_shl(16 - shift);
        }
    }
    for number in row {
        *number &= low_bits(WIDTH);
    }
}

macro_rules! sixteen_rows {
    ($function:ident, $width:ident, $($argument:expr),*) => {
        sixteen_rows!(@ $function, $width, ($($argument),*), 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $function:ident, $width:ident, $arguments:tt, $($row:literal)*) => {
        $(sixteen_rows!(@@ $function, $width, $row, $arguments);)*
    };
    (@@ $function:ident, $width:ident, $row:literal, ($($argument:expr),*)) => {
        $function::<$width, $row>($($argument),*)
    };
}

fn pack_width<const WIDTH: u32>(block: &[u16; BLOCK], out: &mut [u8]) {
    let rows = lanes(block);
    let out = &mut out.as_chunks_mut().0[..WIDTH as usize];
    let mut word = [0; LANES];
    sixteen_rows!(pack_row, WIDTH, rows, &mut word, out);
}

fn unpack_width<const WIDTH: u32>(packed: &[u8], block: &mut [u16; BLOCK]) {
    let words = &packed.as_chunks().0[..WIDTH as usize];
    let rows = block.as_chunks_mut().0;
    sixteen_rows!(unpack_row, WIDTH, words, rows);
}

macro_rules! by_width {
    ($width:expr, $function:ident, $from:expr, $to:expr, $($known:literal)*) => {
        match $width {
            $($known => $function::<$known>($from, $to),)*
            _ => {}
        }
    };
}

/// Packs the lowest `width` bits of all numbers into `out`, 16 × `width` bytes.
fn pack(width: u32, block: &[u16; BLOCK], out: &mut [u8]) {
    by_width!(width, pack_width, block, out, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

/// Inverse of [`pack`]; the bits above become 0.
fn unpack(width: u32, packed: &[u8], block: &mut [u16; BLOCK]) {
    if width == 0 {
        block.fill(0);
    }
    by_width!(width, unpack_width, packed, block, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(block: &[u16; BLOCK]) -> Vec<u8> {
        let mut packed = Vec::new();
        put(block, &mut packed);
        assert!(packed.len() <= BLOCK_BYTES_MAX);
        let (mut input, mut back) = (&packed[..], [0xAAAA; BLOCK]);
        assert_eq!(take(&mut input, &mut back), Some(()));
        assert!(input.is_empty());
        assert_eq!(&back, block);
        for length in 0..packed.len() {
            assert_eq!(take(&mut &packed[..length], &mut back), None, "cut to {length}");
        }
        packed
    }

    #[test]
    fn golden_blocks() {
        assert_eq!(check(&[0; BLOCK]), [0]);
        // Every ninth number is 1: too many for exceptions.
        let block = std::array::from_fn(|i| u16::from(i % 9 == 0));
        assert_eq!(check(&block), [&[1][..], &packed_bit_by_bit(1, &block)].concat());
        // One large number among ones.
        let mut block = [1; BLOCK];
        block[77] = 0x41;
        let mut expected = vec![1 | HAS_EXCEPTIONS, 1, 77, 0x20];
        expected.extend([0xFF; 16]);
        assert_eq!(check(&block), expected);
        // Noise: nothing to save.
        let block = std::array::from_fn(|i| if i % 2 == 0 { 0xFFFF } else { i as u16 });
        let packed = check(&block);
        assert_eq!((packed.len(), packed[0]), (BLOCK_BYTES_MAX, 16));
    }

    /// What the module's text says, one bit at a time.
    fn packed_bit_by_bit(width: usize, block: &[u16; BLOCK]) -> Vec<u8> {
        let mut packed = vec![0; 16 * width];
        for (i, number) in block.iter().enumerate() {
            for bit in 0..width {
                let (word, place) = ((i / 8 * width + bit) / 16, (i / 8 * width + bit) % 16);
                packed[16 * word + 2 * (i % 8) + place / 8] |= ((number >> bit & 1) as u8) << (place % 8);
            }
        }
        packed
    }

    #[test]
    fn every_width_is_packed_as_described() {
        for width in 1..=16 {
            let block: [u16; BLOCK] = std::array::from_fn(|i| (i as u16).wrapping_mul(40_503) >> (16 - width));
            let mut packed = vec![0; 16 * width];
            pack(width as u32, &block, &mut packed);
            assert_eq!(packed, packed_bit_by_bit(width, &block), "width {width}");
            let mut back = [0; BLOCK];
            unpack(width as u32, &packed, &mut back);
            assert_eq!(back, block, "width {width}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let mut block = [0; BLOCK];
        let mut full = vec![17];
        full.extend([0; 17 * 16]);
        for (name, bytes) in [
            ("no width of 17", full),
            ("no place 128", vec![HAS_EXCEPTIONS, 1, 128, 1]),
            (
                "nothing above full width",
                [&[16 | HAS_EXCEPTIONS, 1, 0, 1][..], &[0; 256]].concat(),
            ),
        ] {
            assert_eq!(take(&mut &bytes[..], &mut block), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_block_comes_back(
            numbers in prop::collection::vec(any::<u16>(), BLOCK),
            widths in prop::collection::vec(0_u32..16, BLOCK),
            common in 0_u32..16,
            rare in 0_u32..3,
        ) {
            let block: [u16; BLOCK] = std::array::from_fn(|i| {
                let shift = if widths[i] <= rare { 0 } else { common };
                numbers[i] >> shift
            });
            check(&block);
        }

        #[test]
        fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut block = [0; BLOCK];
            let mut input = &bytes[..];
            while take(&mut input, &mut block).is_some() {}
        }
    }
}
