//! Resampling of a region: area average where pixels get fewer, bilinear where they get more, by axis.
//!
//! Memory: two rows of the result beside source and result, whatever the source's height.

use crate::canvas::Canvas;
use crate::error::RenderError;

/// A stretch of source pixels, along one axis, that makes `num_pixels` of the result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stretch {
    /// First edge, in source pixels; at least 0.
    pub(crate) start: f64,
    /// In source pixels, above 0; `start + length` is at most the source's.
    pub(crate) length: f64,
    /// Pixels of the result.
    pub(crate) num_pixels: usize,
    /// Last pixel first.
    pub(crate) reversed: bool,
}

/// The source pixels, from `first` on, that make one pixel of the result, and their shares; the shares' sum is 1.
#[derive(Debug, Clone, PartialEq)]
struct Share {
    first: usize,
    weights: Vec<f32>,
}

impl Stretch {
    /// All of an axis, as it is.
    #[cfg(test)]
    fn whole(num_pixels: usize) -> Self {
        Self {
            start: 0.0,
            length: num_pixels as f64,
            num_pixels,
            reversed: false,
        }
    }

    fn shares(&self, source_pixels: usize) -> Vec<Share> {
        let step = self.length / self.num_pixels as f64;
        let share = |number: usize| {
            let from = self.start + number as f64 * step;
            if step < 1.0 {
                bilinear(from + step / 2.0 - 0.5, source_pixels)
            } else {
                average(from, from + step, source_pixels)
            }
        };
        let mut shares: Vec<Share> = (0..self.num_pixels).map(share).collect();
        if self.reversed {
            shares.reverse();
        }
        shares
    }
}

/// The two pixels around `at`, where 0 is the middle of the first pixel.
fn bilinear(at: f64, source_pixels: usize) -> Share {
    let last = source_pixels.saturating_sub(1);
    let at = at.clamp(0.0, last as f64);
    let first = at.floor() as usize;
    let part = (at - at.floor()) as f32;
    let weights = if first >= last || part == 0.0 {
        vec![1.0]
    } else {
        vec![1.0 - part, part]
    };
    Share { first, weights }
}

/// The pixels between two edges, those at the ends in part.
fn average(from: f64, to: f64, source_pixels: usize) -> Share {
    let first = (from.max(0.0).floor() as usize).min(source_pixels.saturating_sub(1));
    let end = (to.ceil() as usize).clamp(first + 1, source_pixels.max(first + 1));
    let overlap = |pixel: usize| (to.min(pixel as f64 + 1.0) - from.max(pixel as f64)).max(0.0);
    let mut weights: Vec<f32> = (first..end).map(|pixel| overlap(pixel) as f32).collect();
    let sum: f32 = weights.iter().sum();
    if sum > 0.0 {
        weights.iter_mut().for_each(|weight| *weight /= sum);
    } else {
        weights = vec![1.0];
    }
    Share { first, weights }
}

/// The region that the two stretches span.
pub(crate) fn resample(canvas: &Canvas, across: Stretch, down: Stretch) -> Result<Canvas, RenderError> {
    let channels = canvas.channels;
    let mut result = Canvas::filled(across.num_pixels, down.num_pixels, channels, 0)?;
    let columns = across.shares(canvas.width);
    let rows = down.shares(canvas.height);
    // Neighbouring rows of the result share at most two source rows.
    let mut narrowed: [(Option<usize>, Vec<f32>); 2] = Default::default();
    let mut sums = vec![0.0_f32; across.num_pixels * channels];
    for (number, share) in rows.iter().enumerate() {
        sums.fill(0.0);
        for (source_row, weight) in (share.first..).zip(&share.weights) {
            let (held, row) = &mut narrowed[source_row % 2];
            if *held != Some(source_row) {
                narrow(canvas.row(source_row), channels, &columns, row);
                *held = Some(source_row);
            }
            sums.iter_mut()
                .zip(row.iter())
                .for_each(|(sum, level)| *sum += level * weight);
        }
        let pixels = result.row_mut(number).iter_mut();
        pixels.zip(&sums).for_each(|(pixel, sum)| *pixel = (sum + 0.5) as u8);
    }
    Ok(result)
}

fn narrow(source: &[u8], channels: usize, columns: &[Share], row: &mut Vec<f32>) {
    row.clear();
    for share in columns {
        for channel in 0..channels {
            let samples = source[share.first * channels + channel..].iter().step_by(channels);
            row.push(
                samples
                    .zip(&share.weights)
                    .map(|(&sample, weight)| f32::from(sample) * weight)
                    .sum(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(pixels: &[u8]) -> Canvas {
        Canvas {
            width: pixels.len(),
            height: 1,
            channels: 1,
            pixels: pixels.to_vec(),
        }
    }

    #[test]
    fn one_axis() {
        let check = |source: &[u8], start: f64, length: f64, reversed: bool, expected: &[u8]| {
            let across = Stretch {
                start,
                length,
                num_pixels: expected.len(),
                reversed,
            };
            let result = resample(&row(source), across, Stretch::whole(1)).expect("small");
            assert_eq!(result.pixels, expected, "{source:?} {start} {length}");
        };
        check(&[1, 2, 3, 4], 0., 4., false, &[1, 2, 3, 4]);
        check(&[1, 2, 3, 4], 0., 4., true, &[4, 3, 2, 1]);
        check(&[1, 2, 3, 4], 1., 2., false, &[2, 3]);
        check(&[10, 20, 30, 50], 0., 4., false, &[15, 40]);
        check(&[0, 90, 0], 0., 3., false, &[30, 30]);
        check(&[10, 20, 30], 0., 3., false, &[20]);
        check(&[0, 100], 0., 2., false, &[0, 25, 75, 100]);
        check(&[0, 100], 0.5, 1., false, &[50]);
        check(&[7], 0., 1., false, &[7, 7, 7]);
    }

    #[test]
    fn both_axes_and_all_channels() {
        let source = Canvas {
            width: 2,
            height: 2,
            channels: 3,
            pixels: vec![0, 10, 20, 4, 10, 20, 8, 10, 20, 12, 10, 20],
        };
        let half = Stretch {
            num_pixels: 1,
            ..Stretch::whole(2)
        };
        assert_eq!(resample(&source, half, half).expect("small").pixels, [6, 10, 20]);
        let same = resample(&source, Stretch::whole(2), Stretch::whole(2));
        assert_eq!(same, Ok(source));
    }

    proptest! {
        #[test]
        fn constants_stay(
            (width, height) in (1_usize..40, 1_usize..40),
            (columns, rows) in (1_usize..60, 1_usize..60),
            (from, part) in (0.0..0.9_f64, 0.01..1.0_f64),
            level: u8,
        ) {
            let source = Canvas::filled(width, height, 1, level).expect("small");
            let stretch = |pixels: usize, num_pixels| {
                let start = from * pixels as f64;
                Stretch { start, length: part * (pixels as f64 - start), num_pixels, reversed: false }
            };
            let result = resample(&source, stretch(width, columns), stretch(height, rows)).expect("small");
            prop_assert!(result.pixels.iter().all(|&pixel| pixel == level));
        }
    }
}
