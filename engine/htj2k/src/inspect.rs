//! Reads what a codestream claims to be (SOC and SIZ, ITU-T T.800 section A.5.1) before any C++ sees it.

use crate::{COMPONENTS_MAX, DIMENSION_MAX, Error, Image};

/// Most tiles of a codestream: each costs the decoder memory before its first byte is read.
const TILES_MAX: u64 = 4096;

const SOC_SIZ: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
/// Rsiz bit 14: capabilities follow, as every HTJ2K codestream must say (ITU-T T.814 section A.2).
const RSIZ_CAPABILITIES: u16 = 1 << 14;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Error::NotHtj2k)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_be_bytes)
    }
}

/// The image that a codestream claims to hold, from its first bytes; nothing is decoded.
///
/// Refuses what this crate does not decode: other than 1 or 3 components of one size, depth and sign, more than 16
/// bits, an image or tile offset, more than 4,096 tiles, sides above [`DIMENSION_MAX`].
pub fn inspect(codestream: &[u8]) -> Result<Image, Error> {
    let mut reader = Reader(codestream);
    if reader.take()? != SOC_SIZ {
        return Err(Error::NotHtj2k);
    }
    let segment_length = reader.u16()?;
    if reader.u16()? & RSIZ_CAPABILITIES == 0 {
        return Err(Error::NotHtj2k);
    }
    let (width, height) = (reader.u32()?, reader.u32()?);
    let offset = (reader.u32()?, reader.u32()?);
    let (tile_width, tile_height) = (reader.u32()?, reader.u32()?);
    let tile_offset = (reader.u32()?, reader.u32()?);
    let components = reader.u16()?;
    if offset != (0, 0) || tile_offset != (0, 0) {
        return Err(Error::Unsupported("image or tile offset"));
    }
    if !(1..=DIMENSION_MAX).contains(&width) || !(1..=DIMENSION_MAX).contains(&height) {
        return Err(Error::Dimensions);
    }
    if tile_width == 0 || tile_height == 0 {
        return Err(Error::NotHtj2k);
    }
    if u64::from(width.div_ceil(tile_width)) * u64::from(height.div_ceil(tile_height)) > TILES_MAX {
        return Err(Error::Unsupported("more than 4096 tiles"));
    }
    if !matches!(components, 1 | COMPONENTS_MAX) || segment_length != 38 + 3 * components {
        return Err(Error::Unsupported("number of components"));
    }
    let depth = reader.u8()?;
    let mut same = true;
    for index in 0..components {
        same &= index == 0 || reader.u8()? == depth;
        same &= reader.u8()? == 1 && reader.u8()? == 1;
    }
    if !same {
        return Err(Error::Unsupported("components of different depth or size"));
    }
    let bit_depth = (depth & 0x7F) + 1;
    if bit_depth > 16 {
        return Err(Error::BitDepth);
    }
    Ok(Image {
        width,
        height,
        components,
        bit_depth,
        signed: depth & 0x80 != 0,
    })
}
