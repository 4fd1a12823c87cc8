//! Frames of three samples a pixel, to eight-bit RGB (PS3.3 section C.7.6.3.1.2).

use std::borrow::Cow;

use crate::error::RenderError;
use crate::frame::Frame;

/// How three samples make a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    Rgb,
    /// ITU-R BT.601 over all 256 levels.
    YbrFull,
    /// ITU-R BT.601 over 16 to 235.
    YbrPartial,
}

/// Three bytes a pixel.
pub(crate) fn render(frame: &Frame<'_>) -> Result<Vec<u8>, RenderError> {
    // YBR_ICT and YBR_RCT name what the JPEG 2000 codec does inside: its output is RGB.
    let (space, may_be_halved) = match frame.photometric {
        "RGB" | "YBR_ICT" | "YBR_RCT" | "XYB" => (Space::Rgb, false),
        "YBR_FULL" => (Space::YbrFull, false),
        "YBR_FULL_422" => (Space::YbrFull, true),
        "YBR_PARTIAL_422" | "YBR_PARTIAL_420" => (Space::YbrPartial, true),
        _ => return Err(RenderError::Photometric),
    };
    if frame.shape.samples_per_pixel != 3 {
        return Err(RenderError::Photometric);
    }
    let num_pixels = frame.num_pixels()?;
    let num_samples = num_pixels.checked_mul(3).ok_or(RenderError::TooLarge)?;
    let mut pixels = if may_be_halved && frame.require(num_samples).is_err() {
        frame.require(2 * num_pixels)?;
        if !num_pixels.is_multiple_of(2) {
            return Err(RenderError::Unsupported("chroma at half of an odd number of pixels"));
        }
        doubled_chroma(&eight_bits(frame, 2 * num_pixels))
    } else {
        frame.require(num_samples)?;
        let samples = eight_bits(frame, num_samples);
        if frame.shape.planar {
            interleaved(&samples, num_pixels)
        } else {
            samples.into_owned()
        }
    };
    let convert: fn([u8; 3]) -> [u8; 3] = match space {
        Space::Rgb => return Ok(pixels),
        Space::YbrFull => full_to_rgb,
        Space::YbrPartial => partial_to_rgb,
    };
    pixels
        .as_chunks_mut()
        .0
        .iter_mut()
        .for_each(|pixel| *pixel = convert(*pixel));
    Ok(pixels)
}

/// The samples scaled to eight bits.
fn eight_bits<'a>(frame: &Frame<'a>, num_samples: usize) -> Cow<'a, [u8]> {
    let stored = frame.stored_bits();
    if frame.shape.bits_allocated == 8 && stored.num_bits == 8 {
        return Cow::Borrowed(&frame.samples[..num_samples.min(frame.samples.len())]);
    }
    let mut samples = Vec::with_capacity(num_samples);
    let (least, greatest) = stored.range();
    let scale = 255.0 / (greatest - least);
    frame.for_each_value(num_samples, |value| {
        samples.push(((value - least) * scale).round() as u8)
    });
    Cow::Owned(samples)
}

/// Colour by plane to colour by pixel.
fn interleaved(samples: &[u8], num_pixels: usize) -> Vec<u8> {
    let (first, rest) = samples.split_at(num_pixels.min(samples.len()));
    let (second, third) = rest.split_at(num_pixels.min(rest.len()));
    let pixels = first.iter().zip(second).zip(third);
    pixels
        .flat_map(|((&first, &second), &third)| [first, second, third])
        .collect()
}

/// Y1 Y2 Cb Cr to Y1 Cb Cr Y2 Cb Cr.
fn doubled_chroma(samples: &[u8]) -> Vec<u8> {
    let pairs = samples.as_chunks::<4>().0.iter();
    pairs
        .flat_map(|&[first, second, cb, cr]| [first, cb, cr, second, cb, cr])
        .collect()
}

fn full_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(rounded)
}

fn partial_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (
        1.164_384 * (f32::from(y) - 16.0),
        f32::from(cb) - 128.0,
        f32::from(cr) - 128.0,
    );
    [
        y + 1.596_027 * cr,
        y - 0.391_762 * cb - 0.812_968 * cr,
        y + 2.017_232 * cb,
    ]
    .map(rounded)
}

/// Nearest level; `as` cuts off and saturates.
fn rounded(level: f32) -> u8 {
    (level + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{frame, shape};

    #[test]
    fn every_layout_becomes_rgb() {
        let check = |samples: &[u8], bits: u16, planar: bool, photometric: &str, expected: &[u8]| {
            let mut shape = shape(1, expected.len() as u32 / 3, 3, bits);
            shape.planar = planar;
            let pixels = render(&frame(samples, shape, photometric));
            assert_eq!(pixels.as_deref(), Ok(expected), "{photometric} {bits} {planar}");
        };
        check(&[1, 2, 3, 4, 5, 6], 8, false, "RGB", &[1, 2, 3, 4, 5, 6]);
        check(&[1, 4, 2, 5, 3, 6], 8, true, "RGB", &[1, 2, 3, 4, 5, 6]);
        check(&[0, 0, 0xFF, 0xFF, 0x80, 0x80], 16, false, "RGB", &[0, 255, 128]);
        check(&[1, 2, 3], 8, false, "YBR_RCT", &[1, 2, 3]);
        check(&[76, 85, 255], 8, false, "YBR_FULL", &[254, 0, 0]);
        check(&[128, 128, 128], 8, false, "YBR_FULL", &[128, 128, 128]);
        check(&[10, 20, 128, 128], 8, false, "YBR_FULL_422", &[10, 10, 10, 20, 20, 20]);
        check(
            &[10, 128, 128, 20, 128, 128],
            8,
            false,
            "YBR_FULL_422",
            &[10, 10, 10, 20, 20, 20],
        );
        check(
            &[16, 235, 128, 128],
            8,
            false,
            "YBR_PARTIAL_422",
            &[0, 0, 0, 255, 255, 255],
        );
    }

    #[test]
    fn what_is_not_rendered() {
        let check = |samples: &[u8], samples_per_pixel: u16, photometric: &str, expected: RenderError| {
            let shape = shape(1, 1, samples_per_pixel, 8);
            assert_eq!(render(&frame(samples, shape, photometric)), Err(expected));
        };
        check(&[0; 4], 4, "CMYK", RenderError::Photometric);
        check(&[0; 1], 1, "RGB", RenderError::Photometric);
        check(&[0; 2], 3, "RGB", RenderError::FrameLength { expected: 3, actual: 2 });
        check(
            &[0; 2],
            3,
            "YBR_FULL_422",
            RenderError::Unsupported("chroma at half of an odd number of pixels"),
        );
    }
}
