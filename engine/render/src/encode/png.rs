//! PNG (ISO/IEC 15948), with the ICC profile in an iCCP chunk.

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
