//! Marker segments (T.81 annex B): tables, frame and scan headers, and the application segments that tell colour.

use super::huffman::Table;
use crate::decode::CodecError;
use crate::error::Damage;

/// How the frame is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// Baseline and extended sequential DCT (SOF0, SOF1).
    Sequential,
    /// Progressive DCT (SOF2).
    Progressive,
    /// Lossless (SOF3).
    Lossless,
}

/// One component of the frame header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Component {
    pub(crate) identifier: u8,
    /// Horizontal sampling factor, 1 to 4.
    pub(crate) horizontal: usize,
    /// Vertical sampling factor, 1 to 4.
    pub(crate) vertical: usize,
    pub(crate) quantization: usize,
}

/// The frame header (SOF).
#[derive(Debug, Clone)]
pub(crate) struct FrameHeader {
    pub(crate) process: Process,
    pub(crate) precision: u32,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) components: Vec<Component>,
}

/// One scan header (SOS).
#[derive(Debug, Clone)]
pub(crate) struct ScanHeader {
    /// For each component of the scan: identifier, DC (or lossless) table, AC table.
    pub(crate) components: Vec<(u8, usize, usize)>,
    /// Ss: first coefficient, or the predictor of lossless scans.
    pub(crate) first: u8,
    /// Se: last coefficient.
    pub(crate) last: u8,
    /// Ah: the point transform of the scan before, 0 for a first scan.
    pub(crate) high: u32,
    /// Al: the point transform.
    pub(crate) low: u32,
}

/// What [`Reader::next_segment`] stops at.
pub(crate) enum Segment {
    Frame(FrameHeader),
    /// Entropy-coded data begin at [`Reader::position`].
    Scan(ScanHeader),
    End,
}

/// Walks the segments and keeps the tables in force.
pub(crate) struct Reader<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) position: usize,
    /// In zigzag order.
    pub(crate) quantization: [Option<[u16; 64]>; 4],
    pub(crate) dc_tables: [Option<Table>; 4],
    pub(crate) ac_tables: [Option<Table>; 4],
    /// In MCUs; 0 for none.
    pub(crate) restart_interval: usize,
    pub(crate) has_jfif: bool,
    /// The colour transform of the Adobe segment.
    pub(crate) adobe_transform: Option<u8>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Result<Self, Damage> {
        if !data.starts_with(&[0xFF, 0xD8]) {
            return Err(Damage::Header);
        }
        Ok(Self {
            data,
            position: 2,
            quantization: [None; 4],
            dc_tables: [const { None }; 4],
            ac_tables: [const { None }; 4],
            restart_interval: 0,
            has_jfif: false,
            adobe_transform: None,
        })
    }

    /// Reads segments up to a frame header, a scan header or the end.
    pub(crate) fn next_segment(&mut self) -> Result<Segment, CodecError> {
        loop {
            let Some(marker) = self.marker() else {
                return Ok(Segment::End);
            };
            match marker {
                // End of image; a second image in one frame is none of ours.
                0xD9 => return Ok(Segment::End),
                // Stand-alone markers.
                0xD0..=0xD8 | 0x01 => {}
                0xC4 => self.huffman_tables()?,
                0xC0..=0xC3 => return Ok(Segment::Frame(self.frame_header(marker)?)),
                // Hierarchical and arithmetic coding: no DICOM transfer syntax in use has them.
                0xC5..=0xC7 | 0xC9..=0xCB | 0xCC | 0xCD..=0xCF | 0xDE | 0xDF => return Err(CodecError::Unsupported),
                0xDA => return Ok(Segment::Scan(self.scan_header()?)),
                0xDB => self.quantization_tables()?,
                0xDD => {
                    let body = self.body()?;
                    let interval = body.first_chunk::<2>().ok_or(Damage::Header)?;
                    self.restart_interval = usize::from(u16::from_be_bytes(*interval));
                }
                0xE0 => self.has_jfif |= self.body()?.starts_with(b"JFIF\0"),
                0xEE => {
                    let body = self.body()?;
                    if body.starts_with(b"Adobe") && body.len() >= 12 {
                        self.adobe_transform = Some(body[11]);
                    }
                }
                _ => {
                    self.body()?;
                }
            }
        }
    }

    /// The next marker's code; skips anything before it, as encoders leave stray bytes after scans.
    fn marker(&mut self) -> Option<u8> {
        loop {
            let rest = self.data.get(self.position..)?;
            self.position += rest.iter().position(|byte| *byte == 0xFF)? + 1;
            match *self.data.get(self.position)? {
                0 => self.position += 1,
                0xFF => {}
                code => {
                    self.position += 1;
                    return Some(code);
                }
            }
        }
    }

    /// The segment's parameters, after its length.
    fn body(&mut self) -> Result<&'a [u8], Damage> {
        let rest = self.data.get(self.position..).ok_or(Damage::Truncated)?;
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk::<2>().ok_or(Damage::Truncated)?));
        if length < 2 {
            return Err(Damage::Header);
        }
        let body = rest.get(2..length).ok_or(Damage::Truncated)?;
        self.position += length;
        Ok(body)
    }

    fn quantization_tables(&mut self) -> Result<(), Damage> {
        let mut rest = self.body()?;
        while let Some((&head, tail)) = rest.split_first() {
            let (wide, slot) = (head >> 4 != 0, usize::from(head & 15));
            let length = if wide { 128 } else { 64 };
            let values = tail.get(..length).ok_or(Damage::Header)?;
            let mut table = [0; 64];
            for (index, value) in table.iter_mut().enumerate() {
                *value = if wide {
                    u16::from_be_bytes([values[2 * index], values[2 * index + 1]])
                } else {
                    u16::from(values[index])
                };
            }
            *self.quantization.get_mut(slot).ok_or(Damage::Header)? = Some(table);
            rest = &tail[length..];
        }
        Ok(())
    }

    fn huffman_tables(&mut self) -> Result<(), Damage> {
        let mut rest = self.body()?;
        while let Some((&head, tail)) = rest.split_first() {
            let counts = tail.first_chunk::<16>().ok_or(Damage::Header)?;
            let num_symbols: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let symbols = tail.get(16..16 + num_symbols).ok_or(Damage::Header)?;
            let tables = if head >> 4 == 0 {
                &mut self.dc_tables
            } else {
                &mut self.ac_tables
            };
            *tables.get_mut(usize::from(head & 15)).ok_or(Damage::Header)? = Some(Table::new(counts, symbols)?);
            rest = &tail[16 + num_symbols..];
        }
        Ok(())
    }

    fn frame_header(&mut self, marker: u8) -> Result<FrameHeader, CodecError> {
        let body = self.body()?;
        let [
            precision,
            rows_high,
            rows_low,
            columns_high,
            columns_low,
            num_components,
            rest @ ..,
        ] = body
        else {
            return Err(Damage::Header.into());
        };
        let process = match marker {
            0xC0 | 0xC1 => Process::Sequential,
            0xC2 => Process::Progressive,
            _ => Process::Lossless,
        };
        let precision = u32::from(*precision);
        let known = if process == Process::Lossless {
            (2..=16).contains(&precision)
        } else {
            matches!(precision, 8 | 12)
        };
        if !known {
            return Err(CodecError::Unsupported);
        }
        let num_components = usize::from(*num_components);
        if !(1..=4).contains(&num_components) || rest.len() < 3 * num_components {
            return Err(Damage::Header.into());
        }
        let mut components = Vec::with_capacity(num_components);
        for part in rest.as_chunks::<3>().0.iter().take(num_components) {
            let component = Component {
                identifier: part[0],
                horizontal: usize::from(part[1] >> 4),
                vertical: usize::from(part[1] & 15),
                quantization: usize::from(part[2]),
            };
            if !(1..=4).contains(&component.horizontal) || !(1..=4).contains(&component.vertical) {
                return Err(Damage::Header.into());
            }
            components.push(component);
        }
        let rows = usize::from(u16::from_be_bytes([*rows_high, *rows_low]));
        let columns = usize::from(u16::from_be_bytes([*columns_high, *columns_low]));
        Ok(FrameHeader {
            process,
            precision,
            rows,
            columns,
            components,
        })
    }

    fn scan_header(&mut self) -> Result<ScanHeader, Damage> {
        let body = self.body()?;
        let (&num_components, rest) = body.split_first().ok_or(Damage::Header)?;
        let num_components = usize::from(num_components);
        let parameters = rest
            .get(2 * num_components..)
            .and_then(|tail| tail.first_chunk::<3>())
            .ok_or(Damage::Header)?;
        if !(1..=4).contains(&num_components) {
            return Err(Damage::Header);
        }
        let components = rest
            .as_chunks::<2>()
            .0
            .iter()
            .take(num_components)
            .map(|part| (part[0], usize::from(part[1] >> 4), usize::from(part[1] & 15)))
            .collect();
        let [first, last, approximation] = *parameters;
        let (high, low) = (u32::from(approximation >> 4), u32::from(approximation & 15));
        Ok(ScanHeader {
            components,
            first,
            last,
            high,
            low,
        })
    }
}

impl ScanHeader {
    /// Indices into the frame's components, in scan order.
    pub(crate) fn indices(&self, header: &FrameHeader) -> Result<Vec<usize>, Damage> {
        let mut indices = Vec::with_capacity(self.components.len());
        for (identifier, ..) in &self.components {
            let found = header
                .components
                .iter()
                .enumerate()
                .position(|(index, component)| component.identifier == *identifier && !indices.contains(&index));
            indices.push(found.ok_or(Damage::Header)?);
        }
        Ok(indices)
    }
}

/// The Huffman table in a slot.
pub(crate) fn table(tables: &[Option<Table>; 4], slot: usize) -> Result<&Table, Damage> {
    tables.get(slot).and_then(Option::as_ref).ok_or(Damage::Header)
}
