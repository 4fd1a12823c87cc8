//! # septum-htj2k: lossless High-Throughput JPEG 2000
//!
//! A narrow, safe binding to OpenJPH (C++; Debian's `libopenjph-dev`). It writes and reads what Septum stores as its
//! dense form: a bare codestream (ITU-T T.814, DICOM transfer syntax 1.2.840.10008.1.2.4.201, PS3.5 section 8.2.17),
//! reversible 5/3 wavelet, reversible colour transform for three components, one tile, 64 × 64 code blocks, RPCL
//! progression, so many levels that the lowest resolution is at most 64 × 64.
//!
//! OpenJPH 0.9 writes no TLM marker, which transfer syntax 1.2.840.10008.1.2.4.202 demands besides RPCL and that
//! lowest resolution; [`Options::tile_part_lengths`] has this crate insert it.
//!
//! OpenJPH 0.9 does not give the same bytes for the same image every time: counting bit planes it reads padding that it
//! never wrote, so a codestream may be a percent longer than need be. It decodes to the same samples all the same;
//! nothing may rely on equal codestreams for equal images.
//!
//! **What may be decoded where.** [`decode`] runs C++ that is not hardened against hostile input. In the server it is
//! for codestreams of our own making that came out of sealed storage; anything else is decoded in the sandboxed child
//! process, which may use this crate too.
//!
//! All `unsafe` is in one module, `ffi`, with its argument.

mod ffi;
mod inspect;
mod tlm;

pub use inspect::inspect;

/// Longest side of an image, in pixels: what DICOM's Rows and Columns can say.
pub const DIMENSION_MAX: u32 = 65_535;

/// Most components of an image.
pub const COMPONENTS_MAX: u16 = 3;

/// Most samples of an image, over all components.
pub const SAMPLES_MAX: u64 = 1 << 30;

/// What a codestream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Columns, 1 to [`DIMENSION_MAX`].
    pub width: u32,
    /// Rows, 1 to [`DIMENSION_MAX`].
    pub height: u32,
    /// 1 (grey, palette index) or 3 (colour, of equal size).
    pub components: u16,
    /// Precision coded, 1 to 16 bits.
    pub bit_depth: u8,
    /// Two's complement samples.
    pub signed: bool,
}

impl Image {
    /// Samples over all components; at most 2^48.
    fn num_samples(&self) -> u64 {
        // Each factor is bounded by its type; the product is checked against SAMPLES_MAX where it matters.
        u64::from(self.width)
            .saturating_mul(u64::from(self.height))
            .saturating_mul(u64::from(self.components))
    }

    /// Length of the decoded samples, in bytes: one each up to 8 bits, two above.
    pub fn decoded_length(&self) -> u64 {
        self.num_samples()
            .saturating_mul(if self.bit_depth <= 8 { 1 } else { 2 })
    }

    fn check(&self) -> Result<(), Error> {
        let sides = 1..=DIMENSION_MAX;
        if !sides.contains(&self.width) || !sides.contains(&self.height) || self.num_samples() > SAMPLES_MAX {
            return Err(Error::Dimensions);
        }
        if !matches!(self.components, 1 | COMPONENTS_MAX) {
            return Err(Error::Unsupported("number of components"));
        }
        if !(1..=16).contains(&self.bit_depth) {
            return Err(Error::BitDepth);
        }
        Ok(())
    }
}

/// Samples to encode.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// Native samples, little endian; sign-extended where signed, zero-extended where not.
    pub bytes: &'a [u8],
    /// 1 or 2.
    pub bytes_per_sample: usize,
    /// Colour by plane instead of by pixel.
    pub planar: bool,
}

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Insert a TLM marker segment, so that the codestream suits transfer syntax 1.2.840.10008.1.2.4.202 too.
    pub tile_part_lengths: bool,
}

/// Why something was not encoded or decoded. Never holds samples.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A side is 0 or above [`DIMENSION_MAX`], or there are more than [`SAMPLES_MAX`] samples.
    #[error("the image's dimensions are outside what is supported")]
    Dimensions,
    /// Not 1 to 16 bits.
    #[error("the bit depth is not between 1 and 16")]
    BitDepth,
    /// The sample slice is not as long as the image needs.
    #[error("the samples are not as long as the image's dimensions need")]
    SamplesLength,
    /// A sample does not fit the bit depth.
    #[error("a sample lies outside the image's bit depth")]
    SampleRange,
    /// The bytes do not start as an HTJ2K codestream does.
    #[error("not an HTJ2K codestream")]
    NotHtj2k,
    /// A codestream that this crate does not decode.
    #[error("unsupported codestream: {0}")]
    Unsupported(&'static str),
    /// The decoded image would exceed the caller's limit.
    #[error("the decoded image would have {claimed} bytes, the limit is {limit}")]
    Limit {
        /// What the codestream claims, in bytes.
        claimed: u64,
        /// What the caller allows, in bytes.
        limit: u64,
    },
    /// Memory ran out.
    #[error("out of memory")]
    OutOfMemory,
    /// OpenJPH refused, with its code and message.
    #[error("OpenJPH: {0}")]
    Library(String),
}

/// Encodes an image without loss.
///
/// Takes memory of about the samples' length besides the result. The caller proves the result by [`decode`] before it
/// drops the original.
pub fn encode(image: &Image, samples: Samples<'_>, options: Options) -> Result<Vec<u8>, Error> {
    image.check()?;
    if samples.bytes_per_sample == 1 && image.bit_depth > 8 {
        return Err(Error::BitDepth);
    }
    let codestream = ffi::encode(
        image,
        samples.bytes,
        samples.bytes_per_sample,
        samples.planar,
        num_decompositions(image),
    )?;
    if options.tile_part_lengths {
        tlm::insert(codestream)
    } else {
        Ok(codestream)
    }
}

/// Decodes a codestream into interleaved samples, one byte each up to 8 bits and two (little endian, sign- or
/// zero-extended) above.
///
/// Refuses, before anything is allocated, codestreams that claim more than `limit_bytes` of decoded samples. See the
/// crate's text for which codestreams may be given to it.
pub fn decode(codestream: &[u8], limit_bytes: u64) -> Result<(Image, Vec<u8>), Error> {
    let image = inspect(codestream)?;
    image.check()?;
    let claimed = image.decoded_length();
    if claimed > limit_bytes {
        return Err(Error::Limit {
            claimed,
            limit: limit_bytes,
        });
    }
    let samples = ffi::decode(codestream, &image)?;
    Ok((image, samples))
}

/// Wavelet levels: five, where the shorter side has that many halvings in it, and more where the longer side would
/// otherwise leave more than 64 samples in the lowest resolution (PS3.5 section 8.2.17 for RPCL).
fn num_decompositions(image: &Image) -> u32 {
    let needed = image.width.max(image.height).div_ceil(64).next_power_of_two().ilog2();
    let useful = image.width.min(image.height).ilog2().min(5);
    needed.max(useful)
}

#[cfg(test)]
mod tests;
