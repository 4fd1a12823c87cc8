//! Codecs that write codestreams of a DICOM transfer syntax. Those of the dense tier lie so on disk, so that viewers take
//! stored frames as they are; RLE Lossless is made on the way only.
//!
//! A coder gets samples by pixel in little endian order and gives them back so; how the frame had them is put right
//! here, and here a codestream is proved to decode to the frame it was made of.

use std::borrow::Cow;

use super::error::CodecError;
use super::layout::Layout;
use super::{Codec, FRAME_LENGTH_MAX, htj2k, jpegls, rle};
use crate::frame_shape::FrameShape;

/// A codec that writes codestreams which others read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interchange {
    /// High-Throughput JPEG 2000, lossless (ITU-T T.814; PS3.5 section A.4.4).
    Htj2k,
    /// JPEG-LS, lossless (ITU-T T.87; PS3.5 section A.4.3).
    JpegLs,
    /// RLE Lossless (PS3.5 annex G and section A.4.2).
    Rle,
}

impl Interchange {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Htj2k, Self::JpegLs, Self::Rle];

    /// The codec whose payloads they are, where frames lie on disk so.
    pub const fn codec(self) -> Option<Codec> {
        match self {
            Self::Htj2k => Some(Codec::Htj2k),
            Self::JpegLs => Some(Codec::JpegLs),
            Self::Rle => None,
        }
    }

    /// The transfer syntax of an instance of such frames.
    pub const fn transfer_syntax_uid(self) -> &'static str {
        match self {
            Self::Htj2k => "1.2.840.10008.1.2.4.201",
            Self::JpegLs => "1.2.840.10008.1.2.4.80",
            Self::Rle => "1.2.840.10008.1.2.5",
        }
    }

    /// The codec of a transfer syntax.
    pub fn of(transfer_syntax_uid: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|interchange| interchange.transfer_syntax_uid() == transfer_syntax_uid)
    }

    /// Photometric Interpretation of RGB samples in such a codestream: HTJ2K transforms three components.
    pub const fn photometric_of_rgb(self) -> &'static str {
        match self {
            Self::Htj2k => "YBR_RCT",
            Self::JpegLs | Self::Rle => "RGB",
        }
    }

    /// Whether three components of that Photometric Interpretation have such a codestream.
    pub fn takes_colour(self, photometric: &str) -> bool {
        photometric == "RGB" || (self == Self::Rle && photometric == "YBR_FULL")
    }

    /// Whether frames of `shape` have a codestream, as far as can be told without their samples: 1 or 3 components of
    /// 8 or 16 Bits Allocated, at the low end of their cells where the codestream has no others, and not 8-bit samples in
    /// big endian words, whose order depends on a VR that is not known here.
    pub fn suits(self, shape: &FrameShape) -> bool {
        let is_known = matches!(shape.bits_allocated, 8 | 16)
            && matches!(shape.samples_per_pixel, 1 | 3)
            && (1..=shape.bits_allocated).contains(&shape.bits_stored)
            && !(shape.big_endian && shape.bits_allocated == 8);
        let is_low = shape.high_bit + 1 == shape.bits_stored;
        is_known
            && match self {
                Self::Htj2k => is_low,
                Self::JpegLs => is_low && jpegls::suits(shape),
                Self::Rle => rle::suits(shape),
            }
    }

    /// The codestream of `frame`, proved to decode to it; `None` where there is none.
    pub fn encode(self, shape: &FrameShape, frame: &[u8]) -> Option<Vec<u8>> {
        if frame.len() > FRAME_LENGTH_MAX || !self.suits(shape) {
            return None;
        }
        let layout = Layout::of(Some(shape), frame.len())?;
        let samples = by_pixel(&layout, frame);
        let codestream = match self {
            Self::Htj2k => htj2k::encode(shape, &samples),
            Self::JpegLs => jpegls::encode(shape, &samples),
            Self::Rle => rle::encode(shape, &samples),
        }?;
        let decoded = self.decode(Some(shape), &codestream, frame.len()).ok()?;
        (decoded == frame).then_some(codestream)
    }

    /// Decodes a codestream of ours into the frame that `shape` describes.
    ///
    /// # Errors
    /// Where it is none of that shape.
    pub fn decode(
        self,
        shape: Option<&FrameShape>,
        codestream: &[u8],
        decoded_length: usize,
    ) -> Result<Vec<u8>, CodecError> {
        let unfit = CodecError::Shape { decoded_length };
        let shape = shape.filter(|shape| self.suits(shape)).ok_or(unfit)?;
        let layout = Layout::of(Some(shape), decoded_length).ok_or(unfit)?;
        let samples = match self {
            Self::Htj2k => htj2k::decode(shape, codestream, decoded_length),
            Self::JpegLs => jpegls::decode(shape, codestream),
            Self::Rle => rle::decode(shape, codestream, decoded_length),
        };
        let samples = samples.ok_or(self.codec().map_or(unfit, CodecError::Malformed))?;
        if samples.len() != decoded_length {
            return Err(CodecError::Length {
                expected: decoded_length,
            });
        }
        Ok(as_laid_out(&layout, samples))
    }
}

/// A frame's samples by pixel, little endian.
fn by_pixel<'a>(layout: &Layout, frame: &'a [u8]) -> Cow<'a, [u8]> {
    let mut samples = Cow::Borrowed(frame);
    if layout.planar {
        samples = Cow::Owned(interleaved(
            &samples,
            layout.bytes_per_sample,
            layout.component_samples(),
        ));
    }
    if layout.big_endian {
        swap(samples.to_mut());
    }
    samples
}

/// Turns what [`by_pixel`] made into the frame again.
fn as_laid_out(layout: &Layout, samples: Vec<u8>) -> Vec<u8> {
    let mut frame = if layout.planar {
        // Planes to pixels and pixels to planes are the same turn of a table.
        interleaved(&samples, layout.bytes_per_sample, layout.components)
    } else {
        samples
    };
    if layout.big_endian {
        swap(&mut frame);
    }
    frame
}

/// Takes lists of `length` samples, one after the other, and gives the first sample of each, then the second of each…
fn interleaved(samples: &[u8], sample_bytes: usize, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(samples.len());
    for index in 0..length {
        for list in samples.chunks_exact(length * sample_bytes) {
            out.extend_from_slice(&list[index * sample_bytes..][..sample_bytes]);
        }
    }
    out
}

fn swap(samples: &mut [u8]) {
    samples
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .for_each(|pair| pair.reverse());
}
