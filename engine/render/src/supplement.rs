//! Supplemental palettes of grayscale images (PS3.3 sections C.7.6.19 and C.8.16.2.1.1.1), and those of optical paths
//! (section C.8.12.5): stored values from the first one that the palette maps are colours, those below go through the
//! grayscale pipeline.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::{Dataset, Header};

use crate::attributes::{items, text};
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

/// Where the optical path of a frame has its palette; none where it has none.
///
/// # Errors
/// [`RenderError::Unsupported`] where some paths have palettes and nothing tells which one the frame is of.
pub(crate) fn of_optical_path(header: &Header, frame_index: u32) -> Result<Option<&Dataset>, RenderError> {
    let dataset = header.dataset();
    let paths = items(dataset, tags::OPTICAL_PATH_SEQUENCE);
    let palette_of = |path| items(path, tags::PALETTE_COLOR_LOOKUP_TABLE_SEQUENCE).first();
    if paths.iter().all(|path| palette_of(path).is_none()) {
        return Ok(None);
    }
    let named = functional_group(header, frame_index, tags::OPTICAL_PATH_IDENTIFICATION_SEQUENCE)
        .and_then(|group| text(group, tags::OPTICAL_PATH_IDENTIFIER));
    let path = match (named, paths) {
        (Some(name), paths) => paths
            .iter()
            .find(|path| text(path, tags::OPTICAL_PATH_IDENTIFIER).as_deref() == Some(&name)),
        (None, [only]) => Some(only),
        // One path after the other (section C.7.6.17.3).
        (None, paths) if text(dataset, tags::DIMENSION_ORGANIZATION_TYPE).as_deref() == Some("TILED_FULL") => {
            let num_frames = header.integer(tags::NUMBER_OF_FRAMES).unwrap_or(0);
            let frames_of_path = usize::try_from(num_frames).unwrap_or(0) / paths.len();
            (frame_index as usize)
                .checked_div(frames_of_path)
                .and_then(|number| paths.get(number))
        }
        _ => None,
    };
    path.map(palette_of).ok_or(RenderError::Unsupported(
        "a frame that does not say which of several optical paths it is of",
    ))
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
