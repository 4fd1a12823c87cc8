//! Bare, reversible HTJ2K codestreams by OpenJPH.
//!
//! Precision is Bits Stored, so that any viewer shows the stream as transfer syntax 1.2.840.10008.1.2.4.201; hence
//! only frames whose samples stay within Bits Stored qualify.

use crate::frame_shape::FrameShape;
use septum_htj2k::{Image, Options, Samples};

fn image_of(shape: &FrameShape) -> Option<Image> {
    Some(Image {
        width: shape.columns,
        height: shape.rows,
        components: shape.samples_per_pixel,
        bit_depth: u8::try_from(shape.bits_stored).ok()?,
        signed: shape.signed,
    })
}

fn bytes_per_sample(shape: &FrameShape) -> usize {
    usize::from(shape.bits_allocated / 8)
}

/// The codestream of samples by pixel.
pub(super) fn encode(shape: &FrameShape, samples: &[u8]) -> Option<Vec<u8>> {
    let samples = Samples {
        bytes: samples,
        bytes_per_sample: bytes_per_sample(shape),
        planar: false,
    };
    septum_htj2k::encode(&image_of(shape)?, samples, Options::default()).ok()
}

/// The samples by pixel of a codestream of ours.
pub(super) fn decode(shape: &FrameShape, codestream: &[u8], decoded_length: usize) -> Option<Vec<u8>> {
    let expected = image_of(shape)?;
    // Read the claim before anything is decoded, so that nothing larger than the frame is ever allocated.
    if septum_htj2k::inspect(codestream).ok()? != expected {
        return None;
    }
    let (_, samples) = septum_htj2k::decode(codestream, decoded_length as u64).ok()?;
    // One byte a sample up to 8 bits, two above.
    Some(if bytes_per_sample(shape) == 2 && expected.bit_depth <= 8 {
        widened(&samples, expected.signed)
    } else {
        samples
    })
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
