//! Huffman tables (T.81 annex C and section F.2.2.3).

use super::bits::BitReader;
use crate::error::Damage;

const LOOK_AHEAD_BITS: u32 = 9;

/// A decoding table: short codes by look-up, longer ones by comparing with the largest code of each length.
#[derive(Clone)]
pub(crate) struct Table {
    /// For the next 9 bits: code length << 8 | symbol; 0 where the code is longer.
    short: Vec<u16>,
    /// Largest code of each length, -1 where there is none.
    max_code: [i32; 17],
    /// Index of the first symbol of each length, minus its code.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// `counts[n]` is the number of codes of `n + 1` bits.
    pub(crate) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, Damage> {
        let mut short = vec![0u16; 1 << LOOK_AHEAD_BITS];
        let mut max_code = [-1; 17];
        let mut offset = [0; 17];
        let mut code = 0i32;
        let mut index = 0usize;
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            offset[length as usize] = index as i32 - code;
            for _ in 0..count {
                let symbol = *symbols.get(index).ok_or(Damage::Header)?;
                if code >= 1 << length {
                    return Err(Damage::Header);
                }
                if length <= LOOK_AHEAD_BITS {
                    let spare = LOOK_AHEAD_BITS - length;
                    let first = (code as usize) << spare;
                    short[first..first + (1 << spare)].fill((length as u16) << 8 | u16::from(symbol));
                }
                max_code[length as usize] = code;
                code += 1;
                index += 1;
            }
            code <<= 1;
        }
        Ok(Self {
            short,
            max_code,
            offset,
            symbols: symbols[..index].to_vec(),
        })
    }

    /// The next symbol. Leaves at least 40 bits available in the reader.
    #[inline]
    pub(crate) fn decode(&self, reader: &mut BitReader<'_>) -> Result<u8, Damage> {
        reader.fill();
        let entry = self.short[reader.peek(LOOK_AHEAD_BITS) as usize];
        if entry != 0 {
            reader.consume(u32::from(entry >> 8));
            return Ok(entry as u8);
        }
        let ahead = reader.peek(16) as i32;
        for length in LOOK_AHEAD_BITS + 1..=16 {
            let code = ahead >> (16 - length);
            if code <= self.max_code[length as usize] {
                reader.consume(length);
                let index = usize::try_from(code + self.offset[length as usize]).map_err(|_| Damage::CodedData)?;
                return self.symbols.get(index).copied().ok_or(Damage::CodedData);
            }
        }
        Err(Damage::CodedData)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_short_and_long_codes() {
        let mut counts = [0u8; 16];
        counts[0] = 1; // 0
        counts[2] = 1; // 100
        counts[11] = 2; // 101000000000, 101000000001
        let table = Table::new(&counts, &[7, 8, 9, 10]).expect("a valid table");
        // 0, 100, 101000000001, 0, 101000000000
        let mut reader = BitReader::new(&[0b0100_1010, 0b0000_0001, 0b0101_0000, 0b0000_0000], 0);
        let mut next = || table.decode(&mut reader);
        assert_eq!(
            [next(), next(), next(), next(), next()],
            [Ok(7), Ok(8), Ok(10), Ok(7), Ok(9)]
        );
    }

    #[test]
    fn overfull_tables_are_refused() {
        let mut counts = [0u8; 16];
        counts[0] = 3;
        assert!(Table::new(&counts, &[1, 2, 3]).is_err());
        counts[0] = 2;
        assert!(Table::new(&counts, &[1]).is_err());
    }
}
