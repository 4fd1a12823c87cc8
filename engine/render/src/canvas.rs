//! The picture while it is made: eight-bit levels or colours, one or three bytes a pixel, row by row.

use crate::MAX_OUTPUT_PIXELS;
use crate::error::RenderError;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canvas {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// 1 or 3.
    pub(crate) channels: usize,
    pub(crate) pixels: Vec<u8>,
}

impl Canvas {
    /// A picture of one level.
    pub(crate) fn filled(width: usize, height: usize, channels: usize, level: u8) -> Result<Self, RenderError> {
        let num_pixels = width.checked_mul(height).ok_or(RenderError::TooLarge)?;
        if num_pixels as u64 > MAX_OUTPUT_PIXELS {
            return Err(RenderError::TooLarge);
        }
        Ok(Self {
            width,
            height,
            channels,
            pixels: vec![level; num_pixels * channels],
        })
    }

    /// Sets a pixel; nothing happens outside of the picture.
    pub(crate) fn set(&mut self, row: usize, column: usize, level: u8) {
        if row < self.height && column < self.width {
            let at = (row * self.width + column) * self.channels;
            self.pixels[at..at + self.channels].fill(level);
        }
    }

    /// The bytes of a row.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        let length = self.width * self.channels;
        &self.pixels[row * length..(row + 1) * length]
    }

    /// The bytes of a row, to be changed.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [u8] {
        let length = self.width * self.channels;
        &mut self.pixels[row * length..(row + 1) * length]
    }
}
