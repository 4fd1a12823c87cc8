//! Baseline JPEG (ITU-T T.81), with the ICC profile in APP2 segments.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::short_sides;
use crate::error::RenderError;
use crate::image::Image;

/// From this quality on, colour is not subsampled.
const FULL_CHROMA_QUALITY: u8 = 90;

pub(super) fn encode(image: &Image, quality: u8) -> Result<Vec<u8>, RenderError> {
    let failed = |_| RenderError::Encoding("JPEG");
    let (width, height) = short_sides(image, "JPEG")?;
    let quality = quality.clamp(1, 100);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(if quality >= FULL_CHROMA_QUALITY {
        SamplingFactor::F_1_1
    } else {
        SamplingFactor::F_2_2
    });
    if let Some(profile) = image.icc_profile() {
        encoder.add_icc_profile(profile).map_err(failed)?;
    }
    let colour = if image.channels() == 1 {
        ColorType::Luma
    } else {
        ColorType::Rgb
    };
    encoder.encode(image.pixels(), width, height, colour).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::*;

    #[test]
    fn profile_and_quality() {
        let image = picture(64, 64, 3);
        let fine = encode(&image, 100).expect("encodes");
        let coarse = encode(&image, 1).expect("encodes");
        assert!(coarse.len() < fine.len());
        assert!(fine.windows(12).any(|window| window == b"ICC_PROFILE\0"));
        // SOF0: baseline.
        assert!(fine.windows(2).any(|window| window == [0xFF, 0xC0]));
        assert_eq!(encode(&image, 0), encode(&image, 1));
    }
}
