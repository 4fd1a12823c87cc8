//! Byte-wise entropy coders: LZ4 blocks, and zstd frames where C code is allowed.
//!
//! Every decoder here takes the decoded length and allocates that much and no more.

use super::Codec;
use super::error::CodecError;

/// An LZ4 block of `bytes`, appended to `out`.
pub(super) fn lz4_compress(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
    // The maximum output size always suffices; were it not so, an empty block fails verification and Raw is kept.
    let written = lz4_flex::block::compress_into(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

/// Decodes an LZ4 block into exactly `length` bytes.
pub(super) fn lz4_decompress(codec: Codec, encoded: &[u8], length: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = vec![0; length];
    match lz4_flex::block::decompress_into(encoded, &mut out) {
        Ok(written) if written == length => Ok(out),
        Ok(_) => Err(CodecError::Length { expected: length }),
        Err(_) => Err(CodecError::Malformed(codec)),
    }
}

#[cfg(feature = "native")]
pub(super) use native::{zstd_compress, zstd_decompress};

#[cfg(feature = "native")]
mod native {
    use super::{Codec, CodecError};
    use std::cell::RefCell;
    use zstd::bulk::{Compressor, Decompressor};
    use zstd::zstd_safe::CParameter;

    /// After prediction there is little left for a higher level to find.
    const LEVEL: i32 = 1;

    /// Residuals are mostly noise, whose chance matches are short and cost more than they save: only long ones are
    /// looked for, in a table that fits the nearest cache. A third faster than the level's own settings, at the same
    /// ratio.
    const RESIDUALS: [CParameter; 2] = [CParameter::MinMatch(7), CParameter::HashLog(9)];

    thread_local! {
        // Contexts are slow to set up; a thread reuses its own. One for bytes as they are, one for residuals.
        static COMPRESSORS: RefCell<[Option<Compressor<'static>>; 2]> = const { RefCell::new([None, None]) };
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }

    fn compressor(residuals: bool) -> std::io::Result<Compressor<'static>> {
        let mut compressor = Compressor::new(LEVEL)?;
        for parameter in RESIDUALS.iter().filter(|_| residuals) {
            compressor.set_parameter(*parameter)?;
        }
        Ok(compressor)
    }

    /// A zstd frame of `bytes`, appended to `out`; `None` if the library refuses, which it has no reason to.
    /// `residuals` tunes for predicted planes.
    pub(in crate::codec) fn zstd_compress(bytes: &[u8], residuals: bool, out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        out.resize(start + zstd::zstd_safe::compress_bound(bytes.len()), 0);
        let written = COMPRESSORS.with_borrow_mut(|slots| {
            let slot = &mut slots[usize::from(residuals)];
            let compressor = match slot {
                Some(compressor) => compressor,
                None => slot.insert(compressor(residuals).ok()?),
            };
            compressor.compress_to_buffer(bytes, &mut out[start..]).ok()
        });
        out.truncate(start + written.unwrap_or(0));
        written.map(drop)
    }

    /// Decodes a zstd frame into exactly `length` bytes.
    pub(in crate::codec) fn zstd_decompress(
        codec: Codec,
        encoded: &[u8],
        length: usize,
    ) -> Result<Vec<u8>, CodecError> {
        let mut out = vec![0; length];
        let written = DECOMPRESSOR.with_borrow_mut(|slot| {
            let decompressor = match slot {
                Some(decompressor) => decompressor,
                None => slot.insert(Decompressor::new().ok()?),
            };
            decompressor.decompress_to_buffer(encoded, &mut out[..]).ok()
        });
        match written {
            Some(written) if written == length => Ok(out),
            Some(_) => Err(CodecError::Length { expected: length }),
            None => Err(CodecError::Malformed(codec)),
        }
    }
}
