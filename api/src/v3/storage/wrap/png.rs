//! A PNG file as an image: decoded to 8 bits, transparency left out.

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use super::super::error::{Answer, Kind, StorageError};
use super::{Large, Made, picture};

pub(super) fn made_of(file: &Bytes) -> Answer<Made> {
    let refused = || StorageError::new(Kind::NotAcceptable, "the PNG file cannot be read, or is too large");
    let decoded = septum_render::decode_png(file).ok_or_else(refused)?;
    let side = |side: u32| u16::try_from(side).ok().filter(|side| *side > 0).ok_or_else(refused);
    let (rows, columns) = (side(decoded.height)?, side(decoded.width)?);
    let photometric = if decoded.channels == 1 { "MONOCHROME2" } else { "RGB" };
    Ok(Made {
        edits: picture(rows, columns, decoded.channels, photometric),
        sop_class: uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN,
        element: Large::Plain(tags::PIXEL_DATA, VR::OB, decoded.samples.into()),
    })
}
