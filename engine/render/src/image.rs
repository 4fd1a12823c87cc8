//! A rendered picture, ready to be encoded.

use crate::canvas::Canvas;
use crate::error::RenderWarning;

/// A rendered picture of eight bits a sample.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    pub(crate) canvas: Canvas,
    pub(crate) icc_profile: Option<Vec<u8>>,
    pub(crate) warnings: Vec<RenderWarning>,
}

impl Image {
    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.canvas.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.canvas.height
    }

    /// Samples a pixel: 1 for grayscale, 3 for RGB.
    pub fn channels(&self) -> usize {
        self.canvas.channels
    }

    /// Samples, pixel by pixel and row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.canvas.pixels
    }

    /// The profile to be embedded.
    pub fn icc_profile(&self) -> Option<&[u8]> {
        self.icc_profile.as_deref()
    }

    /// What was left out, for a `Warning` header.
    pub fn warnings(&self) -> &[RenderWarning] {
        &self.warnings
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Canvas {
            width,
            height,
            channels,
            ..
        } = self.canvas;
        write!(formatter, "Image({width}x{height}x{channels})")
    }
}
