//! Reads one block's coefficients: all at once in sequential scans (T.81 section F.2.2), or by spectral selection and
//! successive approximation in progressive ones (section G.1.2).

use super::bits::BitReader;
use super::dct::is_progressive;
use super::huffman::Table;
use super::idct::ZIGZAG;
use super::markers::{Process, ScanHeader};
use crate::error::Damage;

type Tables<'a> = (Option<&'a Table>, Option<&'a Table>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Sequential,
    DcFirst,
    DcRefine,
    AcFirst,
    AcRefine,
}

/// The state of one scan.
pub(crate) struct BlockReader {
    mode: Mode,
    first: usize,
    last: usize,
    low: u32,
    /// The last DC value of each component of the scan.
    predictions: [i32; 4],
    /// Blocks that are still wholly covered by an end-of-band run.
    end_of_band_run: u32,
}

impl BlockReader {
    pub(crate) fn new(process: Process, scan: &ScanHeader) -> Result<Self, Damage> {
        let (first, last) = (usize::from(scan.first), usize::from(scan.last));
        let mode = if !is_progressive(process) {
            Mode::Sequential
        } else {
            let sound = first <= last && last < 64 && scan.low <= 13 && scan.high <= 13;
            let bands = if first == 0 {
                last == 0
            } else {
                scan.components.len() == 1
            };
            if !sound || !bands {
                return Err(Damage::Header);
            }
            match (first, scan.high) {
                (0, 0) => Mode::DcFirst,
                (0, _) => Mode::DcRefine,
                (_, 0) => Mode::AcFirst,
                (_, _) => Mode::AcRefine,
            }
        };
        Ok(Self {
            mode,
            first,
            last,
            low: scan.low,
            predictions: [0; 4],
            end_of_band_run: 0,
        })
    }

    pub(crate) fn needs_dc_table(&self) -> bool {
        matches!(self.mode, Mode::Sequential | Mode::DcFirst)
    }

    pub(crate) fn needs_ac_table(&self) -> bool {
        matches!(self.mode, Mode::Sequential | Mode::AcFirst | Mode::AcRefine)
    }

    pub(crate) fn restart(&mut self) {
        self.predictions = [0; 4];
        self.end_of_band_run = 0;
    }

    /// Reads what the scan holds of one block; `part` is the component's index in the scan.
    pub(crate) fn read(
        &mut self,
        bits: &mut BitReader<'_>,
        part: usize,
        tables: Tables<'_>,
        block: &mut [i16; 64],
    ) -> Result<(), Damage> {
        match (self.mode, tables) {
            (Mode::Sequential, (Some(dc), Some(ac))) => {
                block[0] = self.next_dc(bits, part, dc)? as i16;
                sequential_ac(bits, ac, block)
            }
            (Mode::DcFirst, (Some(dc), _)) => {
                block[0] = self.next_dc(bits, part, dc)?.wrapping_shl(self.low) as i16;
                Ok(())
            }
            (Mode::DcRefine, _) => {
                block[0] |= (bits.bits(1) << self.low) as i16;
                Ok(())
            }
            (Mode::AcFirst, (_, Some(ac))) => self.first_ac(bits, ac, block),
            (Mode::AcRefine, (_, Some(ac))) => self.refine_ac(bits, ac, block),
            _ => Err(Damage::Header),
        }
    }

    fn next_dc(&mut self, bits: &mut BitReader<'_>, part: usize, table: &Table) -> Result<i32, Damage> {
        let category = u32::from(table.decode(bits)?);
        if category > 15 {
            return Err(Damage::CodedData);
        }
        let prediction = self.predictions.get_mut(part).ok_or(Damage::Header)?;
        *prediction = prediction.wrapping_add(bits.extended(category));
        Ok(*prediction)
    }

    fn first_ac(&mut self, bits: &mut BitReader<'_>, table: &Table, block: &mut [i16; 64]) -> Result<(), Damage> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        let mut position = self.first;
        while position <= self.last {
            let symbol = table.decode(bits)?;
            let (run, category) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if category == 0 {
                if run == 15 {
                    position += 16;
                    continue;
                }
                self.end_of_band_run = (1 << run) - 1 + bits.bits(run as u32);
                break;
            }
            position += run;
            if position > 63 {
                return Err(Damage::CodedData);
            }
            block[usize::from(ZIGZAG[position])] = bits.extended(category).wrapping_shl(self.low) as i16;
            position += 1;
        }
        Ok(())
    }

    /// Section G.1.2.3: bits that correct known coefficients lie between the codes of new ones.
    fn refine_ac(&mut self, bits: &mut BitReader<'_>, table: &Table, block: &mut [i16; 64]) -> Result<(), Damage> {
        let one = 1i16 << self.low;
        let mut position = self.first;
        if self.end_of_band_run == 0 {
            while position <= self.last {
                let symbol = table.decode(bits)?;
                let (mut run, category) = (usize::from(symbol >> 4), symbol & 15);
                let mut value = 0;
                match category {
                    0 if run < 15 => {
                        self.end_of_band_run = (1 << run) + bits.bits(run as u32);
                        break;
                    }
                    0 => {}
                    1 => value = if bits.bits(1) == 1 { one } else { -one },
                    _ => return Err(Damage::CodedData),
                }
                while position <= self.last {
                    let target = &mut block[usize::from(ZIGZAG[position])];
                    if *target != 0 {
                        correct(bits, target, one);
                    } else if run == 0 {
                        *target = value;
                        position += 1;
                        break;
                    } else {
                        run -= 1;
                    }
                    position += 1;
                }
            }
        }
        if self.end_of_band_run > 0 {
            while position <= self.last {
                let target = &mut block[usize::from(ZIGZAG[position])];
                if *target != 0 {
                    correct(bits, target, one);
                }
                position += 1;
            }
            self.end_of_band_run -= 1;
        }
        Ok(())
    }
}

#[inline]
fn correct(bits: &mut BitReader<'_>, target: &mut i16, one: i16) {
    if bits.bits(1) == 1 && *target & one == 0 {
        *target = if *target >= 0 {
            target.wrapping_add(one)
        } else {
            target.wrapping_sub(one)
        };
    }
}

fn sequential_ac(bits: &mut BitReader<'_>, table: &Table, block: &mut [i16; 64]) -> Result<(), Damage> {
    let mut position = 1;
    while position < 64 {
        let symbol = table.decode(bits)?;
        let (run, category) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if category == 0 {
            if run != 15 {
                break;
            }
            position += 16;
            continue;
        }
        position += run;
        if position > 63 {
            return Err(Damage::CodedData);
        }
        block[usize::from(ZIGZAG[position])] = bits.extended(category) as i16;
        position += 1;
    }
    Ok(())
}
