//! YCbCr to RGB as JFIF (ITU-T T.871) defines it, with the rounding of the Independent JPEG Group's `jdcolor.c`.

use super::Plane;
use super::markers::{FrameHeader, Reader};

/// Whether a three-component DCT stream holds YCbCr.
pub(crate) fn is_ycbcr(reader: &Reader<'_>, header: &FrameHeader, photometric: &str) -> bool {
    if let Some(transform) = reader.adobe_transform {
        return transform != 0;
    }
    let identifiers: Vec<u8> = header.components.iter().map(|component| component.identifier).collect();
    if identifiers == b"RGB" || identifiers == b"rgb" {
        return false;
    }
    reader.has_jfif || photometric != "RGB"
}

/// Converts three full-size planes in place.
pub(crate) fn to_rgb(planes: &mut [Plane], precision: u32) {
    let (centre, max) = (1i32 << (precision - 1), (1i32 << precision) - 1);
    let [luminance, blue_difference, red_difference] = planes else {
        return;
    };
    let chroma = blue_difference
        .samples
        .iter_mut()
        .zip(red_difference.samples.iter_mut());
    for (first, (second, third)) in luminance.samples.iter_mut().zip(chroma) {
        let y = i32::from(*first);
        let (cb, cr) = (i32::from(*second) - centre, i32::from(*third) - centre);
        // 16-bit fixed point: 1.402, 0.344136, 0.714136, 1.772.
        *first = (y + ((91881 * cr + 32768) >> 16)).clamp(0, max) as u16;
        *second = (y + ((-22554 * cb - 46802 * cr + 32768) >> 16)).clamp(0, max) as u16;
        *third = (y + ((116_130 * cb + 32768) >> 16)).clamp(0, max) as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours() {
        let check = |ycbcr: [u16; 3], rgb: [u16; 3]| {
            let mut planes = ycbcr.map(|value| Plane { samples: vec![value] });
            to_rgb(&mut planes, 8);
            assert_eq!(planes.map(|plane| plane.samples[0]), rgb);
        };
        check([128, 128, 128], [128, 128, 128]);
        check([76, 85, 255], [254, 0, 0]);
        check([150, 44, 21], [0, 255, 1]);
        check([29, 255, 107], [0, 0, 254]);
    }
}
