//! From the `viewport` parameter to what is resampled (PS3.18 section 8.3.5.1.3).

use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::Header;

use crate::attributes::pair;
use crate::canvas::Canvas;
use crate::error::RenderError;
use crate::groups::functional_group;
use crate::request::Viewport;
use crate::scale::{Stretch, resample};

/// Ratios of pixel sides beyond which an image is taken as square: they are mistakes.
const ASPECT_MAX: f64 = 20.0;

/// The region of the canvas in the largest size that fits the viewport. `aspect` is the height of a pixel divided by
/// its width.
pub(crate) fn show(canvas: &Canvas, viewport: &Viewport, aspect: f64) -> Result<Canvas, RenderError> {
    let (left, width, flip_across) = region(viewport.left, viewport.region_width, canvas.width)?;
    let (top, height, flip_down) = region(viewport.top, viewport.region_height, canvas.height)?;
    let aspect = if (1.0 / ASPECT_MAX..=ASPECT_MAX).contains(&aspect) {
        aspect
    } else {
        1.0
    };
    let tall = height * aspect;
    let scale = (f64::from(viewport.width) / width).min(f64::from(viewport.height) / tall);
    let fit = |length: f64, most: u32| ((length * scale).round() as usize).clamp(1, most as usize);
    let across = Stretch {
        start: left,
        length: width,
        num_pixels: fit(width, viewport.width),
        reversed: flip_across,
    };
    let down = Stretch {
        start: top,
        length: height,
        num_pixels: fit(tall, viewport.height),
        reversed: flip_down,
    };
    resample(canvas, across, down)
}

/// Start, length and flip of a region along one axis, held inside the image.
fn region(start: f64, length: Option<f64>, image_length: usize) -> Result<(f64, f64, bool), RenderError> {
    let image_length = image_length as f64;
    let is_flipped = length.is_some_and(|length| length < 0.0);
    let end = length
        .map_or(image_length, |length| start + length.abs())
        .min(image_length);
    let start = start.max(0.0);
    // Less than this is nothing that can be seen.
    if end - start < 1e-6 {
        return Err(RenderError::EmptyRegion);
    }
    Ok((start, end - start, is_flipped))
}

/// The height of a pixel divided by its width; 1 where nothing is said (PS3.3 sections 10.7.1 and C.7.6.3.1.7).
pub(crate) fn pixel_aspect(header: &Header, frame_index: u32) -> f64 {
    let dataset = header.dataset();
    let measures = functional_group(header, frame_index, tags::PIXEL_MEASURES_SEQUENCE);
    let candidates = [
        pair(dataset, tags::PIXEL_ASPECT_RATIO),
        measures.and_then(|group| pair(group, tags::PIXEL_SPACING)),
        pair(dataset, tags::PIXEL_SPACING),
        pair(dataset, tags::IMAGER_PIXEL_SPACING),
        pair(dataset, tags::NOMINAL_SCANNED_PIXEL_SPACING),
    ];
    let sound = candidates
        .into_iter()
        .flatten()
        .find(|[height, width]| *height > 0.0 && *width > 0.0);
    sound.map_or(1.0, |[height, width]| height / width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{element, header};

    #[test]
    fn sizes() {
        let check = |viewport: Viewport, aspect: f64, expected: (usize, usize)| {
            let canvas = Canvas::filled(100, 50, 1, 0).expect("small");
            let shown = show(&canvas, &viewport, aspect).expect("inside");
            assert_eq!((shown.width, shown.height), expected);
        };
        check(Viewport::fit(100, 100), 1.0, (100, 50));
        check(Viewport::fit(50, 50), 1.0, (50, 25));
        check(Viewport::fit(400, 100), 1.0, (200, 100));
        check(Viewport::fit(100, 100), 2.0, (100, 100));
        check(Viewport::fit(100, 100), 0.5, (100, 25));
        check(Viewport::fit(100, 100), 1e9, (100, 50));
        check(Viewport::fit(1, 1), 1.0, (1, 1));
        let region = Viewport {
            left: 90.0,
            region_width: Some(50.0),
            region_height: Some(-10.0),
            ..Viewport::fit(20, 20)
        };
        check(region, 1.0, (20, 20));
    }

    #[test]
    fn regions_and_flips() {
        let canvas = Canvas {
            width: 3,
            height: 2,
            channels: 1,
            pixels: vec![1, 2, 3, 4, 5, 6],
        };
        let check =
            |left: f64, top: f64, width: Option<f64>, height: Option<f64>, expected: Result<&[u8], RenderError>| {
                let width_shown = width.unwrap_or(3.0 - left).abs().min(3.0 - left) as u32;
                let height_shown = height.unwrap_or(2.0 - top).abs().min(2.0 - top) as u32;
                let viewport = Viewport {
                    width: width_shown.max(1),
                    height: height_shown.max(1),
                    left,
                    top,
                    region_width: width,
                    region_height: height,
                };
                let shown = show(&canvas, &viewport, 1.0).map(|shown| shown.pixels);
                assert_eq!(shown.as_deref(), expected.as_deref());
            };
        check(0., 0., None, None, Ok(&[1, 2, 3, 4, 5, 6]));
        check(1., 1., None, None, Ok(&[5, 6]));
        check(0., 0., Some(-3.), None, Ok(&[3, 2, 1, 6, 5, 4]));
        check(0., 0., Some(2.), Some(-2.), Ok(&[4, 5, 1, 2]));
        check(2., 0., Some(9.), Some(1.), Ok(&[3]));
        check(3., 0., None, None, Err(RenderError::EmptyRegion));
        check(0., 0., Some(1e-9), None, Err(RenderError::EmptyRegion));
    }

    #[test]
    fn aspects() {
        let check = |tag, vr: &[u8; 2], value: &str, expected: f64| {
            assert_eq!(
                pixel_aspect(&header(&[element(tag, vr, value.as_bytes())]), 0),
                expected
            );
        };
        check(tags::PIXEL_ASPECT_RATIO, b"IS", "4\\3", 4.0 / 3.0);
        check(tags::PIXEL_SPACING, b"DS", "0.5\\0.25", 2.0);
        check(tags::IMAGER_PIXEL_SPACING, b"DS", "0.1\\0.2", 0.5);
        check(tags::PIXEL_SPACING, b"DS", "0\\0.25", 1.0);
        check(tags::ROWS, b"IS", "1", 1.0);
    }
}
