//! GIF 89a: one picture, or the frames of a cine loop that repeats without end.
//!
//! Grayscale keeps its 256 levels; colours are reduced to 256 a frame.

use gif::{Encoder, Frame, Repeat};

use super::short_sides;
use crate::error::RenderError;
use crate::image::Image;

/// How thoroughly colours are chosen, 1 (slow) to 30 (fast).
const QUANTIZATION_SPEED: i32 = 10;

/// Most bytes of a GIF: an animation that gets larger is refused.
const GIF_BYTES_MAX: usize = 256 << 20;

/// A GIF that is written frame by frame.
pub struct Animation {
    encoder: Encoder<Vec<u8>>,
    width: u16,
    height: u16,
    delay_hundredths: u16,
}

impl std::fmt::Debug for Animation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Animation({}x{})", self.width, self.height)
    }
}

impl Animation {
    /// Starts a GIF of the size of `first`, which is not written yet. Each frame shows for `delay_ms` (rounded to
    /// hundredths of a second); 0 is for a single picture, which does not repeat.
    ///
    /// # Errors
    /// [`RenderError::Encoding`] when a side exceeds 65535 pixels.
    pub fn new(first: &Image, delay_ms: u32) -> Result<Self, RenderError> {
        let failed = |_| RenderError::Encoding("GIF");
        let (width, height) = short_sides(first, "GIF")?;
        let levels: Vec<u8> = (0..=255).flat_map(|level| [level; 3]).collect();
        let mut encoder = Encoder::new(Vec::new(), width, height, &levels).map_err(failed)?;
        if delay_ms > 0 {
            encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        }
        // Viewers slow down what is faster than 50 frames a second.
        let delay_hundredths = match delay_ms {
            0 => 0,
            delay_ms => u16::try_from(delay_ms.saturating_add(5) / 10)
                .unwrap_or(u16::MAX)
                .max(2),
        };
        Ok(Self {
            encoder,
            width,
            height,
            delay_hundredths,
        })
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// [`RenderError::Encoding`] when its size differs from the first one's or the GIF gets too large.
    pub fn push(&mut self, image: &Image) -> Result<(), RenderError> {
        let failed = RenderError::Encoding("GIF");
        if (image.width(), image.height()) != (self.width.into(), self.height.into()) {
            return Err(failed);
        }
        let mut frame = if image.channels() == 1 {
            Frame {
                width: self.width,
                height: self.height,
                buffer: image.pixels().into(),
                ..Frame::default()
            }
        } else {
            Frame::from_rgb_speed(self.width, self.height, image.pixels(), QUANTIZATION_SPEED)
        };
        frame.delay = self.delay_hundredths;
        self.encoder.write_frame(&frame).map_err(|_| failed)?;
        if self.encoder.get_ref().len() > GIF_BYTES_MAX {
            return Err(failed);
        }
        Ok(())
    }

    /// The whole GIF.
    ///
    /// # Errors
    /// [`RenderError::Encoding`] when its end cannot be written.
    pub fn finish(self) -> Result<Vec<u8>, RenderError> {
        self.encoder.into_inner().map_err(|_| RenderError::Encoding("GIF"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::*;

    #[test]
    fn loops_read_back() {
        let image = picture(8, 6, 1);
        let mut animation = Animation::new(&image, 33).expect("small");
        for _ in 0..3 {
            animation.push(&image).expect("fits");
        }
        assert!(animation.push(&picture(8, 5, 1)).is_err());
        let bytes = animation.finish().expect("finishes");
        let mut decoder = gif::Decoder::new(&bytes[..]).expect("readable");
        let mut num_frames = 0;
        while let Some(frame) = decoder.read_next_frame().expect("readable") {
            assert_eq!((frame.delay, &frame.buffer[..]), (3, image.pixels()));
            num_frames += 1;
        }
        assert_eq!((num_frames, decoder.repeat()), (3, Repeat::Infinite));
    }

    #[test]
    fn few_colours_stay() {
        let mut image = picture(4, 4, 3);
        image.canvas.pixels = [[255, 0, 0], [0, 0, 255]].concat().repeat(8);
        let mut animation = Animation::new(&image, 0).expect("small");
        animation.push(&image).expect("fits");
        let bytes = animation.finish().expect("finishes");
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(&bytes[..]).expect("readable");
        let frame = decoder.read_next_frame().expect("readable").expect("a frame");
        assert_eq!(&frame.buffer[..8], [255, 0, 0, 255, 0, 0, 255, 255]);
    }
}
