//! DCT frames: collects the coefficients of all scans, then transforms them to samples.
//!
//! Coefficients of the whole frame are held (2 bytes each): sequential and progressive frames then differ in nothing but
//! how a block's coefficients are read, and scans may come in any order.

use super::bits::BitReader;
use super::huffman::Table;
use super::idct::{ZIGZAG, inverse};
use super::markers::{Component, FrameHeader, Process, Reader, ScanHeader, Segment, table};
use super::{Plane, progressive, upsample};
use crate::decode::CodecError;
use crate::error::Damage;

/// One component's coefficients while scans are read.
pub(crate) struct Coefficients {
    /// Blocks in a row, whole MCUs.
    pub(crate) blocks_wide: usize,
    /// Blocks in a row that hold samples: what scans of this component alone code.
    pub(crate) blocks_used_wide: usize,
    pub(crate) blocks_used_high: usize,
    /// In natural order, block by block.
    pub(crate) blocks: Vec<[i16; 64]>,
}

/// Decodes all scans and upsamples every component to the frame's size.
pub(crate) fn decode(
    reader: &mut Reader<'_>,
    header: &FrameHeader,
    rows: usize,
    columns: usize,
) -> Result<Vec<Plane>, CodecError> {
    let horizontal_max = header
        .components
        .iter()
        .map(|component| component.horizontal)
        .max()
        .unwrap_or(1);
    let vertical_max = header
        .components
        .iter()
        .map(|component| component.vertical)
        .max()
        .unwrap_or(1);
    let mcus_wide = columns.div_ceil(8 * horizontal_max);
    let mcus_high = rows.div_ceil(8 * vertical_max);
    let mut all: Vec<Coefficients> = header
        .components
        .iter()
        .map(|component| {
            let blocks_wide = mcus_wide * component.horizontal;
            Coefficients {
                blocks_wide,
                blocks_used_wide: (columns * component.horizontal).div_ceil(horizontal_max).div_ceil(8),
                blocks_used_high: (rows * component.vertical).div_ceil(vertical_max).div_ceil(8),
                blocks: vec![[0; 64]; blocks_wide * mcus_high * component.vertical],
            }
        })
        .collect();
    // The tables in force at a component's first scan count (T.81 section B.2.4.1 lets later ones replace them).
    let mut quantization = vec![None; all.len()];
    loop {
        match reader.next_segment()? {
            Segment::Scan(scan) => {
                let indices = scan.indices(header)?;
                for index in &indices {
                    let slot = header.components[*index].quantization;
                    quantization[*index] = quantization[*index].or(reader.quantization.get(slot).copied().flatten());
                }
                read_scan(reader, header, &scan, &indices, &mut all, (mcus_wide, mcus_high))?;
            }
            Segment::Frame(_) => return Err(Damage::Header.into()),
            Segment::End => break,
        }
    }
    let mut planes = Vec::with_capacity(all.len());
    for ((component, coefficients), table) in header.components.iter().zip(all).zip(quantization) {
        // A component without a scan has no table either.
        let table = table.ok_or(Damage::Truncated)?;
        let (samples, stride) = transform(&coefficients, &table, header.precision);
        drop(coefficients);
        let size = upsample::Size {
            stride,
            columns: (columns * component.horizontal).div_ceil(horizontal_max),
            rows: (rows * component.vertical).div_ceil(vertical_max),
        };
        let ratio = (
            ratio(component.horizontal, horizontal_max),
            ratio(component.vertical, vertical_max),
        );
        planes.push(Plane {
            samples: upsample::to_full(samples, size, ratio, rows, columns),
        });
    }
    Ok(planes)
}

fn ratio(own: usize, max: usize) -> upsample::Ratio {
    upsample::Ratio { own, max }
}

fn read_scan(
    reader: &mut Reader<'_>,
    header: &FrameHeader,
    scan: &ScanHeader,
    indices: &[usize],
    all: &mut [Coefficients],
    mcus: (usize, usize),
) -> Result<(), CodecError> {
    let mut block_reader = progressive::BlockReader::new(header.process, scan)?;
    let mut bits = BitReader::new(reader.data, reader.position);
    let needs_dc = block_reader.needs_dc_table();
    let needs_ac = block_reader.needs_ac_table();
    let mut tables: Vec<(Option<&Table>, Option<&Table>)> = Vec::with_capacity(indices.len());
    for (_, dc_slot, ac_slot) in &scan.components {
        let dc = if needs_dc {
            Some(table(&reader.dc_tables, *dc_slot)?)
        } else {
            None
        };
        let ac = if needs_ac {
            Some(table(&reader.ac_tables, *ac_slot)?)
        } else {
            None
        };
        tables.push((dc, ac));
    }
    // A scan of one component is not interleaved: its MCU is one block (T.81 section A.2.2).
    let alone = indices.len() == 1;
    let (mcus_wide, mcus_high) = if alone {
        (all[indices[0]].blocks_used_wide, all[indices[0]].blocks_used_high)
    } else {
        mcus
    };
    let mut left_to_restart = reader.restart_interval;
    for row in 0..mcus_high {
        for column in 0..mcus_wide {
            if reader.restart_interval > 0 {
                if left_to_restart == 0 {
                    bits.restart()?;
                    block_reader.restart();
                    left_to_restart = reader.restart_interval;
                }
                left_to_restart -= 1;
            }
            for (part, index) in indices.iter().enumerate() {
                let Component {
                    horizontal, vertical, ..
                } = header.components[*index];
                let (wide, high) = if alone { (1, 1) } else { (horizontal, vertical) };
                let coefficients = &mut all[*index];
                for inner_row in 0..high {
                    for inner_column in 0..wide {
                        let position =
                            (row * high + inner_row) * coefficients.blocks_wide + column * wide + inner_column;
                        block_reader.read(&mut bits, part, tables[part], &mut coefficients.blocks[position])?;
                    }
                }
            }
        }
        bits.check()?;
    }
    reader.position = bits.end();
    Ok(())
}

/// All blocks of a component to samples; returns them with their stride.
fn transform(coefficients: &Coefficients, table: &[u16; 64], precision: u32) -> (Vec<u16>, usize) {
    let mut quantization = [0i64; 64];
    for (position, value) in ZIGZAG.iter().zip(table) {
        quantization[usize::from(*position)] = i64::from(*value);
    }
    let stride = coefficients.blocks_wide * 8;
    let mut samples = vec![0; coefficients.blocks.len() * 64];
    for (row, blocks) in coefficients.blocks.chunks(coefficients.blocks_wide).enumerate() {
        for (column, block) in blocks.iter().enumerate() {
            inverse(
                block,
                &quantization,
                precision,
                &mut samples[row * 8 * stride + column * 8..],
                stride,
            );
        }
    }
    (samples, stride)
}

/// The process of a frame is known to be a DCT one here.
pub(crate) fn is_progressive(process: Process) -> bool {
    process == Process::Progressive
}
