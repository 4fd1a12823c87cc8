//! Where each sample of a frame lies, for the predictors: scan lines of one component, their start and stride.

use crate::frame_shape::FrameShape;

/// The checked geometry of one frame whose length agrees with its shape.
///
/// Invariant: `rows * columns * components * bytes_per_sample` is the frame's length, without overflow, and each
/// factor is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Scan lines.
    pub(super) rows: usize,
    /// Samples of one component in a scan line.
    pub(super) columns: usize,
    /// Samples per Pixel.
    pub(super) components: usize,
    /// 1, 2 or 4.
    pub(super) bytes_per_sample: usize,
    /// Colour by plane.
    pub(super) planar: bool,
    /// Most significant byte first.
    pub(super) big_endian: bool,
    /// Two's complement.
    pub(super) signed: bool,
}

impl Layout {
    /// The layout of a frame of `length` bytes; `None` when it must be treated as opaque bytes: no shape, another
    /// length than the shape's, samples that are not 1, 2 or 4 bytes.
    pub(super) fn of(shape: Option<&FrameShape>, length: usize) -> Option<Self> {
        let shape = shape?;
        let bytes_per_sample = match shape.bits_allocated {
            8 => 1,
            16 => 2,
            32 => 4,
            _ => return None,
        };
        if shape.frame_length()? != u64::try_from(length).ok()? {
            return None;
        }
        Some(Self {
            rows: usize::try_from(shape.rows).ok()?,
            columns: usize::try_from(shape.columns).ok()?,
            components: usize::from(shape.samples_per_pixel),
            bytes_per_sample,
            planar: shape.planar && shape.samples_per_pixel > 1,
            big_endian: shape.big_endian,
            signed: shape.signed,
        })
    }

    /// Samples of one component.
    pub(super) fn component_samples(&self) -> usize {
        self.rows * self.columns
    }

    /// Samples from one sample of a component to the next in its scan line.
    pub(super) fn stride(&self) -> usize {
        if self.planar { 1 } else { self.components }
    }

    /// Bytes that the scan line `row` of `component` touches: from its first sample's first byte, `stride()` samples
    /// each, the last one cut short behind its own bytes.
    pub(super) fn line(&self, component: usize, row: usize) -> std::ops::Range<usize> {
        let size = self.bytes_per_sample;
        let start = if self.planar {
            (component * self.component_samples() + row * self.columns) * size
        } else {
            (row * self.columns * self.components + component) * size
        };
        start..start + ((self.columns - 1) * self.stride() + 1) * size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(samples_per_pixel: u16, bits_allocated: u16, planar: bool) -> FrameShape {
        FrameShape {
            rows: 2,
            columns: 3,
            samples_per_pixel,
            bits_allocated,
            bits_stored: bits_allocated,
            high_bit: bits_allocated - 1,
            signed: false,
            planar,
            big_endian: false,
        }
    }

    #[test]
    fn lines_cover_their_samples() {
        let check = |samples, bits, planar, component, row, expected: std::ops::Range<usize>| {
            let shape = shape(samples, bits, planar);
            let layout = Layout::of(Some(&shape), shape.frame_length().unwrap() as usize).unwrap();
            assert_eq!(layout.line(component, row), expected);
        };
        check(1, 8, false, 0, 1, 3..6);
        check(1, 16, false, 0, 1, 6..12);
        check(3, 8, false, 0, 0, 0..7);
        check(3, 8, false, 2, 1, 11..18);
        check(3, 8, true, 2, 1, 15..18);
        check(3, 16, true, 1, 0, 12..18);
    }

    #[test]
    fn what_does_not_fit_is_opaque() {
        let check = |shape: Option<&FrameShape>, length| assert_eq!(Layout::of(shape, length), None);
        check(None, 6);
        check(Some(&shape(1, 8, false)), 7);
        check(Some(&shape(1, 64, false)), 48);
        check(Some(&shape(1, 1, false)), 1);
        let huge = FrameShape {
            rows: u32::MAX,
            columns: u32::MAX,
            samples_per_pixel: u16::MAX,
            ..shape(1, 32, false)
        };
        check(Some(&huge), usize::MAX);
        check(
            Some(&FrameShape {
                rows: 0,
                ..shape(1, 8, false)
            }),
            0,
        );
    }
}
