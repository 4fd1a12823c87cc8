//! The order of things: pixel transformations, shutters, overlays, graphics, displayed area, rotation, viewport,
//! annotation, colour space (PS3.4 section N.2, PS3.18 section 8.3.5.1).

use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::{Dataset, Header};

use crate::annotation::{self, Subject};
use crate::attributes::{number, text};
use crate::canvas::Canvas;
use crate::error::{RenderError, RenderWarning};
use crate::frame::{Frame, SampleKind};
use crate::grayscale::{Grayscale, Presentation, default_span};
use crate::image::Image;
use crate::modality::Modality;
use crate::overlay::{Overlay, activation_layer, overlay_groups};
use crate::palette::Palette;
use crate::request::RenderRequest;
use crate::shutter::Shutter;
use crate::state::{PresentationState, Shown, StateKind};
use crate::viewport::{pixel_aspect, show};
use crate::voi::Voi;
use crate::{colour, graphics, icc, spatial, supplement};

/// The level of overlays and graphics.
const OVERLAY_LEVEL: u8 = 255;

/// Delay between frames when the instance names none, in milliseconds.
const DEFAULT_DELAY_MS: f64 = 100.0;

/// Renders frames of one instance.
#[derive(Debug, Clone, Copy)]
pub struct Renderer<'a> {
    header: &'a Header,
    state: Option<PresentationState<'a>>,
    /// Attributes that annotations leave out.
    hidden: &'a [u32],
}

impl<'a> Renderer<'a> {
    /// A renderer for the instance with these attributes.
    pub fn new(header: &'a Header) -> Self {
        Self {
            header,
            state: None,
            hidden: &[],
        }
    }

    /// Leaves attributes out of annotations: their tags, group × 65536 + element.
    pub fn hiding(self, hidden: &'a [u32]) -> Self {
        Self { hidden, ..self }
    }

    /// Renders with a presentation state in place of the instance's own display attributes.
    pub fn with_presentation_state(self, state: PresentationState<'a>) -> Self {
        Self {
            state: Some(state),
            ..self
        }
    }

    /// Time between frames in milliseconds: of Frame Time, Cine Rate or Recommended Display Frame Rate (PS3.3 section
    /// C.7.6.5); 100 when there is none.
    pub fn frame_delay_ms(&self) -> u32 {
        let dataset = self.header.dataset();
        let of_rate = |tag| {
            number(dataset, tag)
                .filter(|&rate| rate > 0.0)
                .map(|rate| 1000.0 / rate)
        };
        let delay = number(dataset, tags::FRAME_TIME)
            .filter(|&delay| delay > 0.0)
            .or_else(|| of_rate(tags::CINE_RATE))
            .or_else(|| of_rate(tags::RECOMMENDED_DISPLAY_FRAME_RATE));
        delay.unwrap_or(DEFAULT_DELAY_MS).clamp(10.0, 60_000.0) as u32
    }

    /// Renders the frame that stands at `frame_index`, counted from 0, in the instance.
    ///
    /// # Errors
    /// [`RenderError`] for frames that are too short or too large, pixels that no pipeline takes, damaged lookup tables,
    /// and regions outside of the image.
    pub fn render(&self, frame_index: u32, frame: &Frame<'_>, request: &RenderRequest) -> Result<Image, RenderError> {
        let mut warnings = Vec::new();
        let uid = text(self.header.dataset(), tags::SOP_INSTANCE_UID).unwrap_or_default();
        let shown = Shown {
            sop_instance_uid: &uid,
            frame_index,
        };
        let mut canvas = self.pixels(shown, frame, request, &mut warnings)?;
        self.cover(frame_index, frame, &mut canvas);
        if request.overlays {
            self.draw_overlays(frame_index, frame, &mut canvas);
        }
        let mut aspect = pixel_aspect(self.header, frame_index);
        if let Some(state) = self.state {
            if request.overlays && !graphics::draw(state.dataset(), shown, &mut canvas, OVERLAY_LEVEL) {
                warnings.push(RenderWarning::GraphicsLeftOut);
            }
            if let Some(area) = state.displayed_area(shown) {
                aspect = area.aspect.unwrap_or(aspect);
                canvas = spatial::cut(canvas, &area)?;
            }
            let (quarter_turns, flip) = state.spatial();
            canvas = spatial::turn(canvas, quarter_turns, flip)?;
            if quarter_turns % 2 == 1 {
                aspect = aspect.recip();
            }
        }
        if let Some(viewport) = &request.viewport {
            canvas = show(&canvas, viewport, aspect)?;
        }
        let subject = Subject {
            header: self.header,
            hidden: self.hidden,
            frame_index,
        };
        if let Err(warning) = annotation::draw(request.annotation, &subject, &mut canvas) {
            warnings.push(warning);
        }
        let state_profile = self.state.and_then(|state| icc::own_profile(state.dataset()));
        let own_profile = state_profile.or_else(|| icc::own_profile(self.header.dataset()));
        let icc_profile = icc::apply(&mut canvas, own_profile, request.icc_profile).unwrap_or_else(|warning| {
            warnings.push(warning);
            None
        });
        Ok(Image {
            canvas,
            icc_profile,
            warnings,
        })
    }

    /// The pixel transformations.
    fn pixels(
        &self,
        shown: Shown<'_>,
        frame: &Frame<'_>,
        request: &RenderRequest,
        warnings: &mut Vec<RenderWarning>,
    ) -> Result<Canvas, RenderError> {
        let canvas = |channels: usize, pixels: Vec<u8>| Canvas {
            width: frame.shape.columns as usize,
            height: frame.shape.rows as usize,
            channels,
            pixels,
        };
        let is_grayscale = matches!(frame.photometric, "MONOCHROME1" | "MONOCHROME2");
        if !is_grayscale && request.window.is_some() {
            warnings.push(RenderWarning::WindowIgnored);
        }
        if is_grayscale {
            if frame.shape.samples_per_pixel != 1 {
                return Err(RenderError::Photometric);
            }
            let supplement = self.supplement(shown, frame, warnings)?;
            let levels = self
                .grayscale(shown, frame, request, supplement.as_ref())?
                .render(frame)?;
            if let Some(palette) = supplement {
                return Ok(canvas(3, supplement::colours(&palette, frame, &levels)?));
            }
            if let Some(state) = self.state.filter(|state| state.kind == StateKind::PseudoColour) {
                let palette = Palette::read(state.dataset(), false)?;
                let colours = levels.into_iter().flat_map(|level| palette.colour_of_level(level));
                return Ok(canvas(3, colours.collect()));
            }
            return Ok(canvas(1, levels));
        }
        if frame.kind != SampleKind::Integer {
            return Err(RenderError::Photometric);
        }
        let pixels = if frame.photometric == "PALETTE COLOR" {
            if frame.shape.samples_per_pixel != 1 {
                return Err(RenderError::Photometric);
            }
            Palette::read(self.header.dataset(), frame.shape.signed)?.render(frame)?
        } else {
            colour::render(frame)?
        };
        Ok(canvas(3, pixels))
    }

    /// The palette that a grayscale frame's greatest values go through.
    fn supplement(
        &self,
        shown: Shown<'_>,
        frame: &Frame<'_>,
        warnings: &mut Vec<RenderWarning>,
    ) -> Result<Option<Palette>, RenderError> {
        let of_path = supplement::of_optical_path(self.header, shown.frame_index)?;
        let is_wanted = supplement::is_wanted(self.header, shown.frame_index) || of_path.is_some();
        let is_open = self.state.is_none_or(|state| state.kind == StateKind::Colour);
        let palette = match of_path.filter(|_| is_open && frame.kind == SampleKind::Integer) {
            Some(dataset) => Some(Palette::read(dataset, frame.shape.signed)?),
            None => (is_wanted && is_open)
                .then(|| supplement::palette(self.header, frame))
                .flatten(),
        };
        if is_wanted && palette.is_none() {
            warnings.push(RenderWarning::SupplementalPaletteLeftOut);
        }
        Ok(palette)
    }

    /// The transformations of a grayscale frame, or of the values that a palette leaves to it.
    fn grayscale(
        &self,
        shown: Shown<'_>,
        frame: &Frame<'_>,
        request: &RenderRequest,
        palette: Option<&Palette>,
    ) -> Result<Grayscale, RenderError> {
        let stored_range = frame.stored_bits().range();
        let state = self.state.filter(|state| state.kind != StateKind::Colour);
        let modality = match state {
            Some(state) => Modality::of_dataset(state.dataset(), stored_range)?,
            None => Modality::of_image(self.header, shown.frame_index, stored_range)?,
        };
        let range = modality.range(stored_range);
        let asked = request.window.map(Voi::of_request);
        let voi = match (asked, state) {
            (Some(voi), _) => voi,
            (None, Some(state)) => {
                let item = state.voi(shown);
                let voi = item.and_then(|item| Voi::of_dataset(item, range.0 < 0.0));
                voi.unwrap_or(Voi::Span {
                    least: range.0,
                    greatest: range.1,
                })
            }
            (None, None) => match Voi::of_image(self.header, shown.frame_index, range.0 < 0.0) {
                Some(voi) => voi,
                None => default_span(self.header, frame, &modality, palette.map(Palette::first))?,
            },
        };
        let of_state = state
            .map(|state| Presentation::of_dataset(state.dataset()))
            .transpose()?;
        // A presentation state says itself whether levels are inverted. An image's own Presentation LUT Shape repeats
        // what its Photometric Interpretation says.
        let presentation = of_state.flatten();
        Ok(Grayscale {
            modality,
            voi,
            presentation: presentation.unwrap_or_else(|| Presentation::of_photometric(frame.photometric)),
        })
    }

    /// Applies the shutters: those of the presentation state, if there is one.
    fn cover(&self, frame_index: u32, frame: &Frame<'_>, canvas: &mut Canvas) {
        let dataset = self.display_dataset();
        if let Some(shutter) = Shutter::read(dataset) {
            shutter.apply(dataset, frame_index, frame, canvas);
        }
    }

    /// Where shutters are described.
    fn display_dataset(&self) -> &'a Dataset {
        self.state.map_or(self.header.dataset(), |state| state.dataset())
    }

    /// Burns overlays in: the image's, or those that the presentation state activates, its own first.
    fn draw_overlays(&self, frame_index: u32, frame: &Frame<'_>, canvas: &mut Canvas) {
        let image = self.header.dataset();
        let shutter_group = Shutter::read(self.display_dataset()).and_then(|shutter| shutter.bitmap_group());
        for group in overlay_groups().filter(|&group| Some(group) != shutter_group) {
            let overlay = match self.state {
                None => Overlay::read(image, group, frame_index),
                Some(state) => activation_layer(state.dataset(), group).and_then(|_| {
                    Overlay::read(state.dataset(), group, frame_index)
                        .or_else(|| Overlay::read(image, group, frame_index))
                }),
            };
            if let Some(overlay) = overlay.filter(|overlay| overlay.is_graphics) {
                overlay.draw(frame, canvas, OVERLAY_LEVEL);
            }
        }
    }
}

#[cfg(test)]
mod tests;
