//! JPEG 2000 (ITU-T T.800) and High-Throughput JPEG 2000 (T.814), by OpenJPEG.

use crate::decode::{CodecError, FrameLayout, Output};
use crate::error::Damage;
use crate::samples::Packer;
use jpeg2k::{DecodeParameters, Image};

/// Decodes one frame into interleaved samples; a multiple component transform is undone by the codec, so that YBR_RCT and
/// YBR_ICT (PS3.3 section C.7.6.3.1.2) come out as RGB.
pub(crate) fn decode(frame: &[u8], layout: &FrameLayout, photometric: &str) -> Result<Output, CodecError> {
    // Palettes and channel definitions belong to the JP2 container, which DICOM forbids (PS3.5 section A.4.4) and some
    // writers leave in: the attributes say it all.
    let parameters = DecodeParameters::new().strict(true).ignore_pclr_cmap_cdef();
    check_size(frame, layout)?;
    let image = Image::from_bytes_with(frame, parameters).map_err(|_| Damage::CodedData)?;
    let components = image.components();
    if components.len() != usize::from(layout.samples_per_pixel) {
        return Err(Damage::Components.into());
    }
    let Some(first) = components.first() else {
        return Err(Damage::Components.into());
    };
    if components
        .iter()
        .any(|part| (part.width(), part.height()) != (layout.columns, layout.rows))
    {
        return Err(Damage::Dimensions.into());
    }
    if components.iter().any(|part| part.precision() != first.precision()) {
        return Err(CodecError::Unsupported);
    }
    let packer = Packer::new(layout, first.precision())?;
    let num_components = components.len();
    let values: Vec<&[i32]> = components.iter().map(|part| part.data()).collect();
    let samples =
        packer.pack((0..layout.num_samples()).map(|index| values[index % num_components][index / num_components]));
    let photometric = matches!(photometric, "YBR_RCT" | "YBR_ICT").then_some("RGB");
    Ok(Output {
        samples,
        photometric,
        planar: false,
    })
}

/// Compares the size in the SIZ segment with the attributes before anything is allocated for it.
fn check_size(frame: &[u8], layout: &FrameLayout) -> Result<(), CodecError> {
    // SOC, then SIZ: the first two markers of every codestream (T.800 section A.4); behind boxes in a JP2 file.
    const START: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
    let start = frame
        .windows(4)
        .position(|bytes| bytes == START)
        .ok_or(Damage::Header)?;
    let fields = frame
        .get(start + 8..start + 24)
        .ok_or(Damage::Truncated)?
        .as_chunks::<4>()
        .0;
    let [right, bottom, left, top] = std::array::from_fn(|index| u32::from_be_bytes(fields[index]));
    if right.checked_sub(left) != Some(layout.columns) || bottom.checked_sub(top) != Some(layout.rows) {
        return Err(Damage::Dimensions.into());
    }
    Ok(())
}
