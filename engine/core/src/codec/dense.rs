//! The dense and interchange form: a bare, reversible HTJ2K codestream.
//!
//! Precision is Bits Stored, so that any viewer shows the stream as transfer syntax 1.2.840.10008.1.2.4.201; hence
//! only frames whose samples stay within Bits Stored qualify, proved by decoding.

use super::Codec;
use super::error::CodecError;
use super::layout::Layout;
use crate::frame_shape::FrameShape;
use septum_htj2k::{Image, Options, Samples};
use std::borrow::Cow;

/// What a frame of `shape` is as an image, or `None` where it has no HTJ2K form: other than 8 or 16 Bits Allocated,
/// other than 1 or 3 components, samples not at the low end of their cell, or 8-bit samples in big endian words, whose
/// order depends on a VR that is not known here.
fn image_of(shape: &FrameShape) -> Option<Image> {
    let bit_depth = u8::try_from(shape.bits_stored).ok()?;
    let suits = matches!(shape.bits_allocated, 8 | 16)
        && matches!(shape.samples_per_pixel, 1 | 3)
        && (1..=shape.bits_allocated).contains(&shape.bits_stored)
        && shape.high_bit + 1 == shape.bits_stored
        && !(shape.big_endian && shape.bits_allocated == 8);
    suits.then_some(Image {
        width: shape.columns,
        height: shape.rows,
        components: shape.samples_per_pixel,
        bit_depth,
        signed: shape.signed,
    })
}

/// Whether frames of `shape` may have a codestream.
pub(super) fn suits(shape: &FrameShape) -> bool {
    image_of(shape).is_some()
}

/// The codestream of `frame`, proved to decode to it; `None` where there is none.
pub(super) fn encode(shape: &FrameShape, frame: &[u8]) -> Option<Vec<u8>> {
    let layout = Layout::of(Some(shape), frame.len())?;
    let image = image_of(shape)?;
    let little_endian = if layout.big_endian {
        Cow::Owned(swapped(frame))
    } else {
        Cow::Borrowed(frame)
    };
    let samples = Samples {
        bytes: &little_endian,
        bytes_per_sample: layout.bytes_per_sample,
        planar: layout.planar,
    };
    let codestream = septum_htj2k::encode(&image, samples, Options::default()).ok()?;
    let decoded = decode(Some(shape), &codestream, frame.len()).ok()?;
    (decoded == frame).then_some(codestream)
}

/// Decodes a codestream of ours into the frame that `shape` describes.
pub(super) fn decode(
    shape: Option<&FrameShape>,
    codestream: &[u8],
    decoded_length: usize,
) -> Result<Vec<u8>, CodecError> {
    const MALFORMED: CodecError = CodecError::Malformed(Codec::Htj2k);
    let layout = Layout::of(shape, decoded_length).ok_or(CodecError::Shape { decoded_length })?;
    let expected = shape.and_then(image_of).ok_or(CodecError::Shape { decoded_length })?;
    // Read the claim before anything is decoded, so that nothing larger than the frame is ever allocated.
    if septum_htj2k::inspect(codestream).map_err(|_| MALFORMED)? != expected {
        return Err(MALFORMED);
    }
    let (_, samples) = septum_htj2k::decode(codestream, decoded_length as u64).map_err(|_| MALFORMED)?;
    // One byte a sample up to 8 bits, two above; interleaved; little endian.
    let samples = match layout.bytes_per_sample {
        2 if expected.bit_depth <= 8 => widened(&samples, expected.signed),
        _ => samples,
    };
    if samples.len() != decoded_length {
        return Err(CodecError::Length {
            expected: decoded_length,
        });
    }
    let samples = if layout.planar {
        by_plane(&layout, &samples)
    } else {
        samples
    };
    Ok(if layout.big_endian { swapped(&samples) } else { samples })
}

fn swapped(frame: &[u8]) -> Vec<u8> {
    let mut out = frame.to_vec();
    out.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
    out
}

fn widened(samples: &[u8], signed: bool) -> Vec<u8> {
    let widen = |&sample: &u8| {
        if signed {
            i16::from(sample as i8).to_le_bytes()
        } else {
            [sample, 0]
        }
    };
    samples.iter().flat_map(widen).collect()
}

fn by_plane(layout: &Layout, samples: &[u8]) -> Vec<u8> {
    let size = layout.bytes_per_sample;
    let mut out = Vec::with_capacity(samples.len());
    for component in 0..layout.components {
        for pixel in samples.chunks_exact(layout.components * size) {
            out.extend_from_slice(&pixel[component * size..][..size]);
        }
    }
    out
}
