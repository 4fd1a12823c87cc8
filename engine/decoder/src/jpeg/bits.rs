//! The entropy-coded segments as bits (T.81 section F.2.2.5): removes stuffed zero bytes, stops at markers.
//!
//! Past the end of a segment the reader hands out zero bits, so that look-ahead needs no special case; [`BitReader::check`]
//! tells whether such bits were used up.

use crate::error::Damage;

pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
    held: u64,
    num_held: u32,
    num_made_up: u32,
    at_marker: bool,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(data: &'a [u8], position: usize) -> Self {
        Self {
            data,
            position,
            held: 0,
            num_held: 0,
            num_made_up: 0,
            at_marker: false,
        }
    }

    /// Makes at least 56 bits available: enough for one code and its extra bits.
    #[inline]
    pub(crate) fn fill(&mut self) {
        while self.num_held <= 56 {
            let byte = self.next_byte();
            self.held = self.held << 8 | u64::from(byte);
            self.num_held += 8;
        }
    }

    fn next_byte(&mut self) -> u8 {
        if !self.at_marker {
            match (self.data.get(self.position), self.data.get(self.position + 1)) {
                (Some(0xFF), Some(0)) => {
                    self.position += 2;
                    return 0xFF;
                }
                (Some(0xFF), _) | (None, _) => self.at_marker = true,
                (Some(byte), _) => {
                    self.position += 1;
                    return *byte;
                }
            }
        }
        // A made-up byte never leaves `held` before a real one, so more than 64 of its bits are spent only by
        // a reader that does not check; saturating keeps that harmless.
        self.num_made_up = self.num_made_up.saturating_add(8);
        0
    }

    /// The next `count` bits (1 to 16) without consuming them; after [`Self::fill`].
    #[inline]
    pub(crate) fn peek(&self, count: u32) -> u32 {
        ((self.held >> (self.num_held - count)) & ((1 << count) - 1)) as u32
    }

    /// Consumes bits; after [`Self::fill`].
    #[inline]
    pub(crate) fn consume(&mut self, count: u32) {
        self.num_held -= count;
    }

    /// The next `count` bits (0 to 16).
    #[inline]
    pub(crate) fn bits(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        if self.num_held < count {
            self.fill();
        }
        let value = self.peek(count);
        self.consume(count);
        value
    }

    /// A difference of magnitude category `category`, 0 to 16 (T.81 section F.2.2.1, EXTEND).
    #[inline]
    pub(crate) fn extended(&mut self, category: u32) -> i32 {
        if category == 0 {
            return 0;
        }
        let value = self.bits(category) as i32;
        if value < 1 << (category - 1) {
            value - (1 << category) + 1
        } else {
            value
        }
    }

    /// # Errors
    /// [`Damage::Truncated`] when bits past the end of the segment were consumed.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Damage> {
        if self.num_made_up > self.num_held {
            Err(Damage::Truncated)
        } else {
            Ok(())
        }
    }

    /// Skips to the restart marker that must follow, and past it (T.81 section F.1.1.5.2).
    pub(crate) fn restart(&mut self) -> Result<(), Damage> {
        self.held = 0;
        self.num_held = 0;
        self.num_made_up = 0;
        self.at_marker = false;
        self.position = marker_position(self.data, self.position).ok_or(Damage::Truncated)?;
        match self.data.get(self.position + 1) {
            Some(0xD0..=0xD7) => {
                self.position += 2;
                Ok(())
            }
            Some(_) => Err(Damage::CodedData),
            None => Err(Damage::Truncated),
        }
    }

    /// Where the marker after the segment begins, or the end of the data.
    pub(crate) fn end(&self) -> usize {
        marker_position(self.data, self.position).unwrap_or(self.data.len())
    }
}

/// Position of the next 0xFF that begins a marker: not followed by a stuffed zero nor by a fill byte.
fn marker_position(data: &[u8], from: usize) -> Option<usize> {
    let rest = data.get(from..)?;
    rest.windows(2)
        .position(|pair| pair[0] == 0xFF && pair[1] != 0 && pair[1] != 0xFF)
        .map(|offset| from + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_past_stuffing_up_to_the_marker() {
        let mut reader = BitReader::new(&[0xA5, 0xFF, 0x00, 0x3C, 0xFF, 0xD9], 0);
        assert_eq!(reader.bits(4), 0xA);
        assert_eq!(reader.bits(16), 0x5FF3);
        assert_eq!(reader.bits(4), 0xC);
        assert_eq!(reader.check(), Ok(()));
        assert_eq!(reader.bits(1), 0);
        assert_eq!(reader.check(), Err(Damage::Truncated));
        assert_eq!(reader.end(), 4);
    }

    #[test]
    fn extends_signs() {
        let check = |bits: u8, category, expected| {
            assert_eq!(
                BitReader::new(&[bits << (8 - category)], 0).extended(category),
                expected
            );
        };
        check(0b0, 1, -1);
        check(0b1, 1, 1);
        check(0b00, 2, -3);
        check(0b11, 2, 3);
        check(0b011, 3, -4);
    }
}
