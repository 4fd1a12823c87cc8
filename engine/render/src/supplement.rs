//! Supplemental palettes of grayscale images (PS3.3 sections C.7.6.19 and C.8.16.2.1.1.1): stored values from the first one
//! that the palette maps are colours, those below go through the grayscale pipeline.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::Header;

use crate::attributes::text;
use crate::error::RenderError;
use crate::frame::{Frame, SampleKind};
use crate::groups::functional_group;
use crate::palette::Palette;

/// Where frames of a mixed image say how they are presented.
const FRAME_TYPES: [Tag; 4] = [
    tags::CT_IMAGE_FRAME_TYPE_SEQUENCE,
    tags::MR_IMAGE_FRAME_TYPE_SEQUENCE,
    tags::PET_FRAME_TYPE_SEQUENCE,
    tags::PHOTOACOUSTIC_IMAGE_FRAME_TYPE_SEQUENCE,
];

/// Whether Pixel Presentation asks for colours in a frame.
pub(crate) fn is_wanted(header: &Header, frame_index: u32) -> bool {
    let mut presentation = text(header.dataset(), tags::PIXEL_PRESENTATION);
    if presentation.as_deref() == Some("MIXED") {
        let of_frame = |tag| text(functional_group(header, frame_index, tag)?, tags::PIXEL_PRESENTATION);
        presentation = FRAME_TYPES.into_iter().find_map(of_frame);
    }
    presentation.as_deref() == Some("COLOR")
}

/// The palette of a frame that is wanted in colour; `None` where there is none that can be read.
pub(crate) fn palette(header: &Header, frame: &Frame<'_>) -> Option<Palette> {
    let palette = || Palette::read(header.dataset(), frame.shape.signed).ok();
    (frame.kind == SampleKind::Integer).then(palette).flatten()
}

/// Three bytes a pixel: the palette's colours over the grayscale pipeline's levels.
pub(crate) fn colours(palette: &Palette, frame: &Frame<'_>, levels: &[u8]) -> Result<Vec<u8>, RenderError> {
    let num_pixels = frame.num_pixels()?;
    frame.require(num_pixels)?;
    let mut pixels = Vec::with_capacity(3 * num_pixels);
    let mut levels = levels.iter();
    frame.for_each_value(num_pixels, |value| {
        let level = levels.next().copied().unwrap_or_default();
        let colour = if value < palette.first() {
            [level; 3]
        } else {
            palette.colour(value)
        };
        pixels.extend_from_slice(&colour);
    });
    Ok(pixels)
}
