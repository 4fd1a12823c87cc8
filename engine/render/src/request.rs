//! Query parameters of `/rendered` and `/thumbnail` (PS3.18 sections 8.3.5.1 and 8.3.5.2).

use crate::MAX_OUTPUT_PIXELS;
use crate::error::RequestError;

/// What is to be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `/rendered`: all parameters.
    Rendered,
    /// `/thumbnail`: only `viewport=vw,vh`.
    Thumbnail,
}

/// Side of a thumbnail's viewport when none is asked for, in pixels.
pub const THUMBNAIL_SIDE: u32 = 128;

/// JPEG quality when none is asked for.
pub const DEFAULT_QUALITY: u8 = 90;

/// The size of the result, and the region of the image that it shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Viewport {
    /// Greatest width of the result, pixels.
    pub width: u32,
    /// Greatest height of the result, pixels.
    pub height: u32,
    /// Left edge of the region, in source pixels.
    pub left: f64,
    /// Top edge of the region, in source pixels.
    pub top: f64,
    /// Width of the region, in source pixels; negative to flip horizontally; `None` for all that is right of `left`.
    pub region_width: Option<f64>,
    /// Height of the region, in source pixels; negative to flip vertically; `None` for all that is below `top`.
    pub region_height: Option<f64>,
}

/// The shape of a window (PS3.3 section C.11.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowShape {
    /// `linear`.
    Linear,
    /// `linear-exact`.
    LinearExact,
    /// `sigmoid`.
    Sigmoid,
}

/// A window that takes the place of the image's own VOI transformation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Window Center, in units of the modality transformation's output.
    pub center: f64,
    /// Window Width: above 0, and at least 1 for [`WindowShape::Linear`].
    pub width: f64,
    /// Its shape.
    pub shape: WindowShape,
}

/// What is done about colour profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IccProfileChoice {
    /// No parameter: the image's own profile is embedded, if it has one of at most 64 KiB.
    #[default]
    Own,
    /// `no`: none is embedded.
    No,
    /// `yes`: the image's own profile, else sRGB (gamma 2.2 for grayscale).
    Yes,
    /// `srgb`: colours are converted to sRGB.
    Srgb,
    /// `adobergb`: colours are converted to Adobe RGB (1998).
    AdobeRgb,
    /// `rommrgb`: colours are converted to ROMM RGB (ISO 22028-2).
    RommRgb,
    /// `displayp3`: colours are converted to Display P3.
    DisplayP3,
}

/// What text is burned in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Annotation {
    /// `patient`: who it is.
    pub patient: bool,
    /// `technique`: how and when it was made.
    pub technique: bool,
}

/// The checked parameters of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RenderRequest {
    /// `annotation`.
    pub annotation: Annotation,
    /// `quality`, 1 to 100; lossy media types only.
    pub quality: u8,
    /// `viewport`; `None` shows every pixel once.
    pub viewport: Option<Viewport>,
    /// `window`.
    pub window: Option<Window>,
    /// `iccprofile`.
    pub icc_profile: IccProfileChoice,
    /// Whether overlays (PS3.3 section C.9.2) and a presentation state's graphics are burned in. Not a query parameter; true unless set otherwise.
    pub overlays: bool,
}

impl Default for RenderRequest {
    fn default() -> Self {
        Self {
            annotation: Annotation::default(),
            quality: DEFAULT_QUALITY,
            viewport: None,
            window: None,
            icc_profile: IccProfileChoice::Own,
            overlays: true,
        }
    }
}

impl RenderRequest {
    /// Reads decoded query parameters. Names that are not rendering parameters are passed over; of a name that stands
    /// more than once the last counts.
    ///
    /// # Errors
    /// [`RequestError`] for values that PS3.18 does not allow.
    pub fn parse<'a>(
        target: Target,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RequestError> {
        let mut request = Self::default();
        if target == Target::Thumbnail {
            request.viewport = Some(Viewport::fit(THUMBNAIL_SIDE, THUMBNAIL_SIDE));
        }
        for (name, value) in pairs {
            match (name, target) {
                ("viewport", _) => request.viewport = Some(viewport(value, target)?),
                (_, Target::Thumbnail) => {}
                ("annotation", _) => request.annotation = annotation(value)?,
                ("quality", _) => request.quality = quality(value)?,
                ("window", _) => request.window = Some(window(value)?),
                ("iccprofile", _) => request.icc_profile = icc_profile(value)?,
                _ => {}
            }
        }
        Ok(request)
    }
}

impl Viewport {
    /// The whole image in at most `width` by `height` pixels.
    pub fn fit(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            left: 0.0,
            top: 0.0,
            region_width: None,
            region_height: None,
        }
    }
}

fn annotation(value: &str) -> Result<Annotation, RequestError> {
    let mut asked = Annotation::default();
    for word in value.split(',') {
        match word.trim() {
            "patient" => asked.patient = true,
            "technique" => asked.technique = true,
            _ => return Err(RequestError::Malformed("annotation")),
        }
    }
    Ok(asked)
}

fn quality(value: &str) -> Result<u8, RequestError> {
    let quality = value.parse().ok().filter(|quality| (1..=100).contains(quality));
    quality.ok_or(RequestError::Malformed("quality"))
}

fn decimal(text: &str) -> Option<f64> {
    // Neither "inf" nor "nan", which Rust would read.
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse()
        .ok()
        .filter(|value: &f64| plain && value.is_finite() && value.abs() < 1e15)
}

fn viewport(value: &str, target: Target) -> Result<Viewport, RequestError> {
    const MALFORMED: RequestError = RequestError::Malformed("viewport");
    let parts: Vec<&str> = value.split(',').map(str::trim).collect();
    if !matches!((parts.len(), target), (2, _) | (3..=6, Target::Rendered)) {
        return Err(MALFORMED);
    }
    let side = |at: usize| -> Result<u32, RequestError> {
        let side = parts[at]
            .parse::<u32>()
            .ok()
            .filter(|&side| side > 0)
            .ok_or(MALFORMED)?;
        (side <= 65535).then_some(side).ok_or(RequestError::TooLarge)
    };
    let optional = |at: usize| match parts.get(at) {
        None | Some(&"") => Ok(None),
        Some(text) => decimal(text).map(Some).ok_or(MALFORMED),
    };
    let viewport = Viewport {
        width: side(0)?,
        height: side(1)?,
        left: optional(2)?.unwrap_or(0.0),
        top: optional(3)?.unwrap_or(0.0),
        region_width: optional(4)?,
        region_height: optional(5)?,
    };
    if viewport.region_width == Some(0.0) || viewport.region_height == Some(0.0) {
        return Err(MALFORMED);
    }
    if u64::from(viewport.width) * u64::from(viewport.height) > MAX_OUTPUT_PIXELS {
        return Err(RequestError::TooLarge);
    }
    Ok(viewport)
}

fn window(value: &str) -> Result<Window, RequestError> {
    const MALFORMED: RequestError = RequestError::Malformed("window");
    let mut parts = value.split(',').map(str::trim);
    let center = parts.next().and_then(decimal).ok_or(MALFORMED)?;
    let width = parts.next().and_then(decimal).ok_or(MALFORMED)?;
    let shape = match parts.next() {
        // Clients exist that leave the shape out.
        None | Some("linear" | "LINEAR") => WindowShape::Linear,
        Some("linear-exact" | "LINEAR_EXACT") => WindowShape::LinearExact,
        Some("sigmoid" | "SIGMOID") => WindowShape::Sigmoid,
        Some(_) => return Err(MALFORMED),
    };
    let least_ok = width >= 1.0 || (width > 0.0 && shape != WindowShape::Linear);
    if !least_ok || parts.next().is_some() {
        return Err(MALFORMED);
    }
    Ok(Window { center, width, shape })
}

fn icc_profile(value: &str) -> Result<IccProfileChoice, RequestError> {
    Ok(match value {
        "no" => IccProfileChoice::No,
        "yes" => IccProfileChoice::Yes,
        "srgb" => IccProfileChoice::Srgb,
        "adobergb" => IccProfileChoice::AdobeRgb,
        "rommrgb" => IccProfileChoice::RommRgb,
        "displayp3" => IccProfileChoice::DisplayP3,
        _ => return Err(RequestError::Malformed("iccprofile")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<RenderRequest, RequestError> {
        RenderRequest::parse(Target::Rendered, [(name, value)])
    }

    #[test]
    fn viewports() {
        let check = |value: &str, expected: Option<[f64; 6]>| {
            let viewport = parse("viewport", value).ok().and_then(|request| request.viewport);
            let seen = viewport.map(|viewport| {
                [
                    viewport.width.into(),
                    viewport.height.into(),
                    viewport.left,
                    viewport.top,
                    viewport.region_width.unwrap_or(0.0),
                    viewport.region_height.unwrap_or(0.0),
                ]
            });
            assert_eq!(seen, expected, "{value}");
        };
        check("512,256", Some([512., 256., 0., 0., 0., 0.]));
        check("512,256,1.5,2,-30,40", Some([512., 256., 1.5, 2., -30., 40.]));
        check("512,256,,,30,40", Some([512., 256., 0., 0., 30., 40.]));
        check("512,256,10", Some([512., 256., 10., 0., 0., 0.]));
        for bad in [
            "",
            "512",
            "0,1",
            "-1,1",
            "a,1",
            "1,2,3,4,5,6,7",
            "1,1,nan",
            "1,1,inf",
            "1,1,0,0,0,1",
            "1.5,2",
        ] {
            assert_eq!(
                parse("viewport", bad),
                Err(RequestError::Malformed("viewport")),
                "{bad}"
            );
        }
        for large in ["70000,1", "65535,65535"] {
            assert_eq!(parse("viewport", large), Err(RequestError::TooLarge));
        }
    }

    #[test]
    fn windows() {
        let check = |value: &str, expected: Option<(f64, f64, WindowShape)>| {
            let window = parse("window", value).ok().and_then(|request| request.window);
            assert_eq!(
                window.map(|window| (window.center, window.width, window.shape)),
                expected,
                "{value}"
            );
        };
        check("40,400,linear", Some((40., 400., WindowShape::Linear)));
        check("-40.5,1e3,linear-exact", Some((-40.5, 1000., WindowShape::LinearExact)));
        check("0.5,0.25,sigmoid", Some((0.5, 0.25, WindowShape::Sigmoid)));
        check("40,400", Some((40., 400., WindowShape::Linear)));
        for bad in [
            "",
            "40",
            "40,0,linear",
            "40,0.5,linear",
            "40,-1,sigmoid",
            "40,1,cubic",
            "1,2,linear,3",
            "nan,1",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn the_others() {
        assert_eq!(parse("quality", "1").map(|request| request.quality), Ok(1));
        assert_eq!(parse("quality", "100").map(|request| request.quality), Ok(100));
        for bad in ["0", "101", "-1", "x", ""] {
            assert_eq!(parse("quality", bad), Err(RequestError::Malformed("quality")));
        }
        for (value, patient, technique) in [
            ("patient,technique", true, true),
            ("technique", false, true),
            ("patient", true, false),
        ] {
            let expected = Annotation { patient, technique };
            assert_eq!(
                parse("annotation", value).map(|request| request.annotation),
                Ok(expected)
            );
        }
        assert!(parse("annotation", "name").is_err());
        assert_eq!(
            parse("iccprofile", "srgb").map(|request| request.icc_profile),
            Ok(IccProfileChoice::Srgb)
        );
        assert!(parse("iccprofile", "cmyk").is_err());
        assert_eq!(parse("accept", "image/png"), Ok(RenderRequest::default()));
    }

    #[test]
    fn thumbnails_take_a_viewport_only() {
        let parse = |pairs: &[(&'static str, &'static str)]| {
            RenderRequest::parse(Target::Thumbnail, pairs.iter().copied()).map(|request| request.viewport)
        };
        assert_eq!(parse(&[]), Ok(Some(Viewport::fit(128, 128))));
        assert_eq!(
            parse(&[("window", "x"), ("viewport", "64,32")]),
            Ok(Some(Viewport::fit(64, 32)))
        );
        assert_eq!(
            parse(&[("viewport", "64,32,0,0,1,1")]),
            Err(RequestError::Malformed("viewport"))
        );
    }
}
