//! Colour profiles (PS3.3 section C.11.15, PS3.18 section 8.3.5.1.5).
//!
//! Invariant: a profile is embedded only where it describes the pixels beside it: RGB profiles with three channels, gray
//! ones with one.

use dicom_dictionary_std::tags;
use moxcms::{ColorProfile, DataColorSpace, Layout, LocalizableString, ProfileText, TransformOptions};
use septum_core::dicom::attributes::Dataset;

use crate::attributes::{bytes, items};
use crate::canvas::Canvas;
use crate::error::RenderWarning;
use crate::request::IccProfileChoice;

/// Longest profile that is read, in bytes: scanners' profiles have at most a few million.
const PROFILE_BYTES_MAX: usize = 8 << 20;

/// Longest profile that is embedded without being asked for, in bytes: thumbnails and tiles should not be mostly profile.
const UNASKED_BYTES_MAX: usize = 64 << 10;

/// The profile of an image or presentation state: its own, else that of its first optical path.
pub(crate) fn own_profile(dataset: &Dataset) -> Option<Vec<u8>> {
    let optical_path = items(dataset, tags::OPTICAL_PATH_SEQUENCE).first();
    let profile = bytes(dataset, tags::ICC_PROFILE).or_else(|| bytes(optical_path?, tags::ICC_PROFILE))?;
    Some(profile.into_owned())
}

/// Converts the canvas as the choice asks for, and gives the profile to be embedded.
pub(crate) fn apply(
    canvas: &mut Canvas,
    own: Option<Vec<u8>>,
    choice: IccProfileChoice,
) -> Result<Option<Vec<u8>>, RenderWarning> {
    let unusable = RenderWarning::IccProfileUnusable;
    let encoded = |profile: &ColorProfile| profile.encode().map(Some).map_err(|_| unusable);
    if choice == IccProfileChoice::No {
        return Ok(None);
    }
    if canvas.channels == 1 {
        // Display levels of grayscale have no colour to convert. Unasked, they go without.
        return match choice {
            IccProfileChoice::Own => Ok(None),
            _ => encoded(&gray_profile()),
        };
    }
    let is_unasked = choice == IccProfileChoice::Own;
    if is_unasked && own.as_ref().is_some_and(|profile| profile.len() > UNASKED_BYTES_MAX) {
        return Ok(None);
    }
    let source = match &own {
        Some(bytes) => Some(rgb_profile(bytes).ok_or(unusable)?),
        None => None,
    };
    let target = match choice {
        IccProfileChoice::No => return Ok(None),
        IccProfileChoice::Own => return Ok(own),
        IccProfileChoice::Yes if own.is_some() => return Ok(own),
        IccProfileChoice::Yes | IccProfileChoice::Srgb => ColorProfile::new_srgb(),
        IccProfileChoice::AdobeRgb => ColorProfile::new_adobe_rgb(),
        IccProfileChoice::RommRgb => ColorProfile::new_pro_photo_rgb(),
        IccProfileChoice::DisplayP3 => ColorProfile::new_display_p3(),
    };
    // Colours of no stated space are taken as sRGB.
    let is_converted = source.is_some() || !matches!(choice, IccProfileChoice::Yes | IccProfileChoice::Srgb);
    if is_converted {
        let source = source.unwrap_or_else(ColorProfile::new_srgb);
        let transform = source
            .create_transform_8bit(Layout::Rgb, &target, Layout::Rgb, TransformOptions::default())
            .map_err(|_| unusable)?;
        let mut converted = vec![0; canvas.pixels.len()];
        transform
            .transform(&canvas.pixels, &mut converted)
            .map_err(|_| unusable)?;
        canvas.pixels = converted;
    }
    encoded(&target)
}

/// A profile that is sound and one for RGB.
fn rgb_profile(bytes: &[u8]) -> Option<ColorProfile> {
    if bytes.len() > PROFILE_BYTES_MAX {
        return None;
    }
    let profile = ColorProfile::new_from_slice(bytes).ok()?;
    (profile.color_space == DataColorSpace::Rgb).then_some(profile)
}

/// Gamma 2.2, with the description that ICC.1 section 8.2 asks of every profile.
fn gray_profile() -> ColorProfile {
    let mut profile = ColorProfile::new_gray_with_gamma(2.2);
    let description = LocalizableString::new("en".to_owned(), "US".to_owned(), "Gray gamma 2.2".to_owned());
    profile.description = Some(ProfileText::Localizable(vec![description]));
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    fn red(own: Option<Vec<u8>>, choice: IccProfileChoice) -> Result<([u8; 3], bool), RenderWarning> {
        let mut canvas = Canvas {
            width: 1,
            height: 1,
            channels: 3,
            pixels: vec![255, 0, 0],
        };
        let profile = apply(&mut canvas, own, choice)?;
        Ok((
            [canvas.pixels[0], canvas.pixels[1], canvas.pixels[2]],
            profile.is_some(),
        ))
    }

    #[test]
    fn choices() {
        use IccProfileChoice as Choice;
        let wide = || ColorProfile::new_display_p3().encode().ok();
        let narrow = || ColorProfile::new_srgb().encode().ok();
        let pure = [255, 0, 0];
        assert_eq!(red(None, Choice::Own), Ok((pure, false)));
        assert_eq!(red(wide(), Choice::Own), Ok((pure, true)));
        assert_eq!(red(wide(), Choice::No), Ok((pure, false)));
        assert_eq!(red(None, Choice::Yes), Ok((pure, true)));
        assert_eq!(red(None, Choice::Srgb), Ok((pure, true)));
        assert_eq!(red(narrow(), Choice::Srgb), Ok((pure, true)));
        // sRGB red in Display P3, as published with that space.
        let ([r, g, b], _) = red(narrow(), Choice::DisplayP3).expect("convertible");
        assert!(
            r.abs_diff(234) <= 1 && g.abs_diff(51) <= 1 && b.abs_diff(35) <= 1,
            "{r} {g} {b}"
        );
        let adobe = red(None, Choice::AdobeRgb).expect("convertible").0;
        assert!(adobe[0].abs_diff(219) <= 1, "{adobe:?}");
        assert!(red(None, Choice::RommRgb).is_ok());
    }

    #[test]
    fn unusable_profiles_are_left_out() {
        let unusable = Err(RenderWarning::IccProfileUnusable);
        assert_eq!(red(Some(vec![0; 200]), IccProfileChoice::Own), unusable);
        let gray = ColorProfile::new_gray_with_gamma(2.2).encode().ok();
        assert_eq!(red(gray, IccProfileChoice::Srgb), unusable);
    }

    #[test]
    fn long_profiles_are_embedded_when_asked_for() {
        let mut profile = ColorProfile::new_srgb().encode().expect("encodes");
        profile.resize(UNASKED_BYTES_MAX + 1, 0);
        assert_eq!(
            red(Some(profile.clone()), IccProfileChoice::Own),
            Ok(([255, 0, 0], false))
        );
        assert_eq!(red(Some(profile), IccProfileChoice::Yes), Ok(([255, 0, 0], true)));
    }

    #[test]
    fn grayscale_goes_without_unless_asked() {
        let mut canvas = Canvas::filled(1, 1, 1, 9).expect("small");
        assert_eq!(apply(&mut canvas, None, IccProfileChoice::Own), Ok(None));
        let gray = apply(&mut canvas, None, IccProfileChoice::Srgb)
            .expect("a profile")
            .expect("embedded");
        assert_eq!((&gray[16..20], canvas.pixels[0]), (&b"GRAY"[..], 9));
    }
}
