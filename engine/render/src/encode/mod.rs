//! Rendered media types (PS3.18 section 8.7.4): JPEG, PNG and GIF.

mod gif;
mod jpeg;
mod png;
mod tiff;

pub use gif::Animation;
pub use png::{DecodedPng, decode as decode_png};
pub(crate) use tiff::tiff;

use crate::error::RenderError;
use crate::image::Image;

/// A rendered media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `image/jpeg`, baseline.
    Jpeg,
    /// `image/png`.
    Png,
    /// `image/gif`.
    Gif,
    /// `image/tiff`, uncompressed.
    Tiff,
}

impl MediaType {
    /// The media type's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Tiff => "image/tiff",
        }
    }

    /// The media type of that name, without parameters; case does not matter.
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [Self::Jpeg, Self::Png, Self::Gif];
        all.into_iter()
            .find(|media_type| media_type.name().eq_ignore_ascii_case(name))
    }
}

/// Encodes one picture. `quality`, 1 to 100, matters to JPEG only.
///
/// # Errors
/// [`RenderError::Encoding`] when the format cannot hold the picture (sides above 65535 pixels in JPEG and GIF).
pub fn encode(image: &Image, media_type: MediaType, quality: u8) -> Result<Vec<u8>, RenderError> {
    match media_type {
        MediaType::Jpeg => jpeg::encode(image, quality),
        MediaType::Png => png::encode(image),
        MediaType::Tiff => tiff(image.width(), image.height(), image.channels(), 8, image.pixels()),
        MediaType::Gif => {
            let mut animation = Animation::new(image, 0)?;
            animation.push(image)?;
            animation.finish()
        }
    }
}

/// Both sides as a format of 16-bit sizes needs them.
fn short_sides(image: &Image, format: &'static str) -> Result<(u16, u16), RenderError> {
    let short = |side: usize| u16::try_from(side).map_err(|_| RenderError::Encoding(format));
    Ok((short(image.width())?, short(image.height())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::Canvas;

    /// A gradient with a profile.
    pub(super) fn picture(width: usize, height: usize, channels: usize) -> Image {
        let pixels = (0..width * height * channels).map(|at| (at * 7 % 256) as u8).collect();
        let canvas = Canvas {
            width,
            height,
            channels,
            pixels,
        };
        Image {
            canvas,
            icc_profile: Some(vec![7; 200]),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn names() {
        assert_eq!(MediaType::of_name("IMAGE/JPEG"), Some(MediaType::Jpeg));
        assert_eq!(MediaType::of_name("image/tiff"), None);
    }

    #[test]
    fn signatures_and_sizes() {
        let check = |media_type: MediaType, start: &[u8], channels: usize| {
            let bytes = encode(&picture(5, 3, channels), media_type, 90).expect("encodes");
            assert_eq!(&bytes[..start.len()], start, "{media_type:?}");
        };
        for channels in [1, 3] {
            check(MediaType::Jpeg, &[0xFF, 0xD8, 0xFF], channels);
            check(MediaType::Png, b"\x89PNG\r\n\x1A\n", channels);
            check(MediaType::Gif, b"GIF89a\x05\0\x03\0", channels);
        }
        let long = picture(70000, 1, 1);
        assert_eq!(encode(&long, MediaType::Jpeg, 90), Err(RenderError::Encoding("JPEG")));
        assert_eq!(encode(&long, MediaType::Gif, 90), Err(RenderError::Encoding("GIF")));
        assert!(encode(&long, MediaType::Png, 90).is_ok());
    }
}
