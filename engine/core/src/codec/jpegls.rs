//! Lossless JPEG-LS codestreams by CharLS.
//!
//! Precision is Bits Stored. JPEG-LS knows no sign and coders take one byte a sample up to 8 bits and two above; hence
//! only frames that lie so qualify, and signed ones where the sign is the top bit of the cell.

use crate::frame_shape::FrameShape;
use charls::{CharLS, FrameInfo, InterleaveMode};

/// Longest side that the frame header can say (T.87, C.2.2).
const SIDE_MAX: u32 = 65_535;

const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];

/// What is asked of a shape beyond what any codestream needs.
pub(super) fn suits(shape: &FrameShape) -> bool {
    let fills_bytes = shape.bits_stored.div_ceil(8) * 8 == shape.bits_allocated;
    // CharLS takes words in the machine's own order.
    cfg!(target_endian = "little")
        && shape.bits_stored >= 2
        && fills_bytes
        && (!shape.signed || shape.bits_stored == shape.bits_allocated)
        && shape.rows <= SIDE_MAX
        && shape.columns <= SIDE_MAX
}

fn frame_info(shape: &FrameShape) -> FrameInfo {
    FrameInfo {
        width: shape.columns,
        height: shape.rows,
        bits_per_sample: shape.bits_stored.into(),
        component_count: shape.samples_per_pixel.into(),
    }
}

/// The codestream of samples by pixel. Noise has none: it would be longer than its samples.
pub(super) fn encode(shape: &FrameShape, samples: &[u8]) -> Option<Vec<u8>> {
    let mut coder = CharLS::default();
    if shape.samples_per_pixel > 1 {
        coder.set_interleave_mode(InterleaveMode::Sample).ok()?;
    }
    coder.encode(frame_info(shape), 0, samples).ok()
}

/// The samples by pixel of a codestream of ours.
pub(super) fn decode(shape: &FrameShape, codestream: &[u8]) -> Option<Vec<u8>> {
    // Where no marker stops it, CharLS counts on through made-up bits.
    if !codestream.ends_with(&END_OF_IMAGE) {
        return None;
    }
    // Read the claim before anything is decoded, so that nothing larger than the frame is ever allocated.
    if CharLS::default().get_frame_info(codestream).ok()? != frame_info(shape) {
        return None;
    }
    // CharLS refuses to read a header twice with one decoder.
    CharLS::default().decode(codestream).ok()
}
