//! The lossless process (T.81 annex H): prediction from up to three neighbours, Huffman-coded differences modulo 65536.

use super::Plane;
use super::bits::BitReader;
use super::huffman::Table;
use super::markers::{FrameHeader, Reader, ScanHeader, Segment, table};
use crate::decode::CodecError;
use crate::error::Damage;

/// Decodes all scans.
pub(crate) fn decode(
    reader: &mut Reader<'_>,
    header: &FrameHeader,
    rows: usize,
    columns: usize,
) -> Result<Vec<Plane>, CodecError> {
    let sampling = (header.components[0].horizontal, header.components[0].vertical);
    if header
        .components
        .iter()
        .any(|component| (component.horizontal, component.vertical) != sampling)
    {
        return Err(CodecError::Unsupported);
    }
    let num_components = header.components.len();
    // Factors above 1 that are all the same change the order of samples within an MCU.
    if sampling != (1, 1) && num_components > 1 {
        return Err(CodecError::Unsupported);
    }
    let mut planes: Vec<Plane> = (0..num_components)
        .map(|_| Plane {
            samples: vec![0; rows * columns],
        })
        .collect();
    let mut seen = vec![false; num_components];
    while seen.contains(&false) {
        match reader.next_segment()? {
            Segment::Scan(scan) => {
                let indices = scan.indices(header)?;
                decode_scan(reader, header, &scan, &indices, &mut planes, columns)?;
                indices.iter().for_each(|index| seen[*index] = true);
            }
            Segment::Frame(_) => return Err(Damage::Header.into()),
            Segment::End => return Err(Damage::Truncated.into()),
        }
    }
    Ok(planes)
}

fn decode_scan(
    reader: &mut Reader<'_>,
    header: &FrameHeader,
    scan: &ScanHeader,
    indices: &[usize],
    planes: &mut [Plane],
    columns: usize,
) -> Result<(), CodecError> {
    let (predictor, shift) = (scan.first, scan.low);
    if !(1..=7).contains(&predictor) || shift >= header.precision {
        return Err(Damage::Header.into());
    }
    // Restarts inside a line are not allowed (T.81 section H.1.1).
    if !reader.restart_interval.is_multiple_of(columns) {
        return Err(Damage::Header.into());
    }
    let lines_between_restarts = reader.restart_interval / columns;
    let tables = scan
        .components
        .iter()
        .map(|(_, slot, _)| table(&reader.dc_tables, *slot))
        .collect::<Result<Vec<_>, _>>()?;
    let mut bits = BitReader::new(reader.data, reader.position);
    let rows = planes[indices[0]].samples.len() / columns;
    let initial = 1i32 << (header.precision - shift - 1);
    // Values are kept undivided by the point transform until the scan is done.
    let mut above: Vec<Vec<u16>> = vec![vec![0; columns]; indices.len()];
    let mut line: Vec<Vec<u16>> = vec![vec![0; columns]; indices.len()];
    for row in 0..rows {
        let restarts = lines_between_restarts > 0 && row > 0 && row.is_multiple_of(lines_between_restarts);
        if restarts {
            bits.restart()?;
        }
        let is_first_line = row == 0 || restarts;
        for column in 0..columns {
            for (part, table) in tables.iter().enumerate() {
                let prediction = match (is_first_line, column) {
                    (true, 0) => initial,
                    (true, _) => i32::from(line[part][column - 1]),
                    (false, 0) => i32::from(above[part][0]),
                    (false, _) => {
                        let (left, up, corner) = (line[part][column - 1], above[part][column], above[part][column - 1]);
                        predict(predictor, i32::from(left), i32::from(up), i32::from(corner))
                    }
                };
                line[part][column] = (prediction + difference(table, &mut bits)?) as u16;
            }
        }
        bits.check()?;
        for (part, index) in indices.iter().enumerate() {
            let target = &mut planes[*index].samples[row * columns..(row + 1) * columns];
            target
                .iter_mut()
                .zip(&line[part])
                .for_each(|(target, value)| *target = value << shift);
        }
        std::mem::swap(&mut above, &mut line);
    }
    reader.position = bits.end();
    Ok(())
}

/// Table H.1.
#[inline]
fn predict(predictor: u8, left: i32, up: i32, corner: i32) -> i32 {
    match predictor {
        1 => left,
        2 => up,
        3 => corner,
        4 => left + up - corner,
        5 => left + ((up - corner) >> 1),
        6 => up + ((left - corner) >> 1),
        _ => (left + up) >> 1,
    }
}

#[inline]
fn difference(table: &Table, bits: &mut BitReader<'_>) -> Result<i32, Damage> {
    match table.decode(bits)? {
        category @ 0..=15 => Ok(bits.extended(u32::from(category))),
        // No extra bits: the one difference that is its own negative (T.81 section H.1.2.2).
        16 => Ok(32768),
        _ => Err(Damage::CodedData),
    }
}
