//! JPEG XL (ISO/IEC 18181), by jxl-oxide.

use crate::decode::{CodecError, FrameLayout, Output};
use crate::error::Damage;
use crate::jpeg;
use crate::samples::Packer;
use jxl_oxide::{AllocTracker, JpegReconstructionStatus, JxlImage};

/// Decodes one frame into interleaved samples.
///
/// Lossless streams (`keeps_colour`) hold the channels that Photometric Interpretation names. Recompressed JPEG is taken
/// back to that JPEG, so that the values are those of the original. Other lossy streams are rendered, which undoes YCbCr
/// and XYB: they come out as RGB.
pub(crate) fn decode(
    frame: &[u8],
    layout: &FrameLayout,
    photometric: &str,
    keeps_colour: bool,
) -> Result<Output, CodecError> {
    // The codec works in 4-byte samples and keeps a few copies.
    let memory = layout.num_samples().saturating_mul(64).saturating_add(64 << 20);
    let image = JxlImage::builder()
        .alloc_tracker(AllocTracker::with_limit(memory))
        .read(frame)
        .map_err(|_| Damage::CodedData)?;
    if (image.width(), image.height()) != (layout.columns, layout.rows) {
        return Err(Damage::Dimensions.into());
    }
    if image.pixel_format().channels() != usize::from(layout.samples_per_pixel) {
        return Err(Damage::Components.into());
    }
    if !keeps_colour && matches!(image.jpeg_reconstruction_status(), JpegReconstructionStatus::Available) {
        let mut original = Vec::new();
        if image.reconstruct_jpeg(&mut original).is_ok() {
            return jpeg::decode_frame(&original, layout, photometric);
        }
    }
    let precision = image.image_header().metadata.bit_depth.bits_per_sample();
    // Samples pass through 32-bit floating point, exact up to 24 bits only.
    if precision > 16 {
        return Err(CodecError::Unsupported);
    }
    let packer = Packer::new(layout, precision)?;
    let rendered = image.render_frame(0).map_err(|_| Damage::CodedData)?;
    let mut values = vec![0f32; layout.num_samples()];
    let mut stream = rendered.stream();
    if stream.write_to_buffer(&mut values) != values.len() {
        return Err(Damage::Dimensions.into());
    }
    let max = ((1u32 << precision) - 1) as f32;
    let samples = packer.pack(values.iter().map(|value| (value * max).round().clamp(0.0, max) as i32));
    let undone =
        matches!(photometric, "XYB" | "YBR_RCT" | "YBR_ICT") || (!keeps_colour && photometric.starts_with("YBR"));
    Ok(Output {
        samples,
        photometric: undone.then_some("RGB"),
        planar: false,
    })
}
