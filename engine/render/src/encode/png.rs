//! PNG (ISO/IEC 15948), with the ICC profile in an iCCP chunk; and the way back.

use std::borrow::Cow;

use png::{BitDepth, ColorType, Compression, Encoder, Info};

use crate::error::RenderError;
use crate::image::Image;

pub(super) fn encode(image: &Image) -> Result<Vec<u8>, RenderError> {
    let failed = |_| RenderError::Encoding("PNG");
    let side = |side: usize| u32::try_from(side).map_err(|_| RenderError::Encoding("PNG"));
    let mut info = Info::with_size(side(image.width())?, side(image.height())?);
    info.bit_depth = BitDepth::Eight;
    info.color_type = if image.channels() == 1 {
        ColorType::Grayscale
    } else {
        ColorType::Rgb
    };
    info.icc_profile = image.icc_profile().map(Cow::Borrowed);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::with_info(&mut bytes, info).map_err(failed)?;
    encoder.set_compression(Compression::Fast);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(image.pixels()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// A decoded PNG file.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodedPng {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 1 for grey, 3 for RGB.
    pub channels: u16,
    /// Samples of eight bits, pixel by pixel.
    pub samples: Vec<u8>,
}

impl std::fmt::Debug for DecodedPng {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "DecodedPng({}x{}x{})",
            self.width, self.height, self.channels
        )
    }
}

/// Longest picture that is decoded, in bytes.
const DECODED_BYTES_MAX: usize = 256 << 20;

/// Decodes a PNG file to eight bits a sample, palettes resolved, transparency left out; `None` where it cannot be read or
/// would take more than 256 MiB.
pub fn decode(bytes: &[u8]) -> Option<DecodedPng> {
    let limits = png::Limits {
        bytes: DECODED_BYTES_MAX,
    };
    let mut decoder = png::Decoder::new_with_limits(std::io::Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().ok()?;
    let length = reader
        .output_buffer_size()
        .filter(|length| *length <= DECODED_BYTES_MAX)?;
    let mut samples = vec![0; length];
    let frame = reader.next_frame(&mut samples).ok()?;
    samples.truncate(frame.buffer_size());
    let (kept, has_alpha) = match frame.color_type {
        ColorType::Grayscale => (1, false),
        ColorType::GrayscaleAlpha => (1, true),
        ColorType::Rgb => (3, false),
        ColorType::Rgba => (3, true),
        ColorType::Indexed => return None,
    };
    if has_alpha {
        samples = samples
            .chunks_exact(kept + 1)
            .flat_map(|pixel| pixel[..kept].iter().copied())
            .collect();
    }
    Some(DecodedPng {
        width: frame.width,
        height: frame.height,
        channels: kept as u16,
        samples,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::*;

    #[test]
    fn reads_back_the_same() {
        for channels in [1, 3] {
            let image = picture(9, 4, channels);
            let bytes = encode(&image).expect("encodes");
            let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
                .read_info()
                .expect("readable");
            let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
            reader.next_frame(&mut pixels).expect("readable");
            assert_eq!(pixels, image.pixels());
            assert_eq!(reader.info().icc_profile.as_deref(), image.icc_profile());
        }
    }
}
