//! Softcopy presentation states: grayscale, colour and pseudo-colour (PS3.3 sections A.33.1 to A.33.3).
//!
//! A presentation state takes the place of what the image says about its display; a transformation that it does not
//! hold is the identity (PS3.4 section N.2.1).

use dicom_dictionary_std::{tags, uids};
use septum_core::dicom::attributes::{Dataset, Header};

use crate::attributes::{items, number, numbers, pair, text};
use crate::error::RenderError;

/// Which pipeline a presentation state drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateKind {
    Grayscale,
    Colour,
    PseudoColour,
}

/// A presentation state to render images with.
#[derive(Clone, Copy)]
pub struct PresentationState<'a> {
    header: &'a Header,
    pub(crate) kind: StateKind,
}

impl std::fmt::Debug for PresentationState<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PresentationState({:?})", self.kind)
    }
}

/// An image that a presentation state applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferencedImage {
    /// Series Instance UID (0020,000E).
    pub series_instance_uid: String,
    /// Referenced SOP Instance UID (0008,1155).
    pub sop_instance_uid: String,
    /// Referenced Frame Number (0008,1160), from 1; empty for all frames.
    pub frames: Vec<u32>,
}

/// What part of the image is shown (PS3.3 section C.10.4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DisplayedArea {
    /// First and last column and row, from 1; may lie outside of the image.
    pub(crate) left: i64,
    pub(crate) top: i64,
    pub(crate) right: i64,
    pub(crate) bottom: i64,
    /// Height of a pixel divided by its width.
    pub(crate) aspect: Option<f64>,
}

impl<'a> PresentationState<'a> {
    /// Reads a presentation state.
    ///
    /// # Errors
    /// [`RenderError::Unsupported`] for blending, multi-frame and volumetric presentation states and whatever is none.
    pub fn new(header: &'a Header) -> Result<Self, RenderError> {
        let class = header.text(tags::SOP_CLASS_UID).unwrap_or_default();
        let kind = match class.as_str() {
            uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE => StateKind::Grayscale,
            uids::COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE => StateKind::Colour,
            uids::PSEUDO_COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE => StateKind::PseudoColour,
            _ => return Err(RenderError::Unsupported("this kind of presentation state")),
        };
        Ok(Self { header, kind })
    }

    /// The images that it applies to, in order (PS3.3 section C.11.11).
    pub fn referenced_images(&self) -> Vec<ReferencedImage> {
        let series = items(self.dataset(), tags::REFERENCED_SERIES_SEQUENCE).iter();
        series
            .flat_map(|series| {
                let series_instance_uid = text(series, tags::SERIES_INSTANCE_UID).unwrap_or_default();
                let images = items(series, tags::REFERENCED_IMAGE_SEQUENCE).iter();
                images.filter_map(move |image| {
                    Some(ReferencedImage {
                        series_instance_uid: series_instance_uid.clone(),
                        sop_instance_uid: text(image, tags::REFERENCED_SOP_INSTANCE_UID)?,
                        frames: numbers(image, tags::REFERENCED_FRAME_NUMBER)
                            .into_iter()
                            .map(|number| number as u32)
                            .collect(),
                    })
                })
            })
            .collect()
    }

    pub(crate) fn dataset(&self) -> &'a Dataset {
        self.header.dataset()
    }

    /// The item of Softcopy VOI LUT Sequence for a frame of an image.
    pub(crate) fn voi(&self, image: Shown<'_>) -> Option<&'a Dataset> {
        let choices = items(self.dataset(), tags::SOFTCOPY_VOILUT_SEQUENCE).iter();
        choices.into_iter().find(|item| image.is_meant_by(item))
    }

    /// The displayed area for a frame of an image; `None` shows all of it.
    pub(crate) fn displayed_area(&self, image: Shown<'_>) -> Option<DisplayedArea> {
        let choices = items(self.dataset(), tags::DISPLAYED_AREA_SELECTION_SEQUENCE).iter();
        let item = choices.into_iter().find(|item| image.is_meant_by(item))?;
        let [first_column, first_row] = pair(item, tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER)?;
        let [last_column, last_row] = pair(item, tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER)?;
        let ratio = |tag| pair(item, tag).filter(|[height, width]| *height > 0.0 && *width > 0.0);
        let aspect = ratio(tags::PRESENTATION_PIXEL_SPACING).or(ratio(tags::PRESENTATION_PIXEL_ASPECT_RATIO));
        // The corners are named as they appear after rotation and flip, in columns and rows of before.
        Some(DisplayedArea {
            left: first_column.min(last_column) as i64,
            top: first_row.min(last_row) as i64,
            right: first_column.max(last_column) as i64,
            bottom: first_row.max(last_row) as i64,
            aspect: aspect.map(|[height, width]| height / width),
        })
    }

    /// Quarter turns clockwise, and whether a horizontal flip follows (PS3.3 section C.10.6).
    pub(crate) fn spatial(&self) -> (u8, bool) {
        let turns = match number(self.dataset(), tags::IMAGE_ROTATION).unwrap_or(0.0) as i64 {
            90 => 1,
            180 => 2,
            270 => 3,
            _ => 0,
        };
        let flip = text(self.dataset(), tags::IMAGE_HORIZONTAL_FLIP).as_deref() == Some("Y");
        (turns, flip)
    }
}

/// The frame that is shown, as presentation states name it.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) sop_instance_uid: &'a str,
    pub(crate) frame_index: u32,
}

impl Shown<'_> {
    /// Whether an item's Referenced Image Sequence, if it has one, names this frame.
    pub(crate) fn is_meant_by(self, item: &Dataset) -> bool {
        let references = items(item, tags::REFERENCED_IMAGE_SEQUENCE);
        references.is_empty()
            || references.iter().any(|reference| {
                let frames = numbers(reference, tags::REFERENCED_FRAME_NUMBER);
                let uid = text(reference, tags::REFERENCED_SOP_INSTANCE_UID);
                uid.as_deref() == Some(self.sop_instance_uid)
                    && (frames.is_empty() || frames.contains(&(f64::from(self.frame_index) + 1.0)))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{element, header, sequence};

    fn state(extra: &[Vec<u8>]) -> Header {
        let class = uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE;
        let mut elements = vec![element(tags::SOP_CLASS_UID, b"UI", class.as_bytes())];
        elements.extend_from_slice(extra);
        header(&elements)
    }

    fn reference(uid: &str, frames: &str) -> Vec<u8> {
        let item = [
            element(tags::REFERENCED_SOP_INSTANCE_UID, b"UI", uid.as_bytes()),
            element(tags::REFERENCED_FRAME_NUMBER, b"IS", frames.as_bytes()),
        ];
        sequence(tags::REFERENCED_IMAGE_SEQUENCE, &[item.concat()])
    }

    #[test]
    fn items_are_chosen_by_image_and_frame() {
        let corner = |first: [i32; 2], last: [i32; 2]| {
            let bytes = |corner: [i32; 2]| corner.map(i32::to_le_bytes).concat();
            [
                element(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER, b"SL", &bytes(first)),
                element(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER, b"SL", &bytes(last)),
            ]
            .concat()
        };
        let state = state(&[sequence(
            tags::DISPLAYED_AREA_SELECTION_SEQUENCE,
            &[
                [reference("1.2.3", "2\\3"), corner([1, 1], [2, 2])].concat(),
                [reference("1.2.3", ""), corner([9, 8], [3, 4])].concat(),
            ],
        )]);
        let state = PresentationState::new(&state).expect("grayscale");
        let area = |uid: &str, frame_index: u32| {
            let shown = Shown {
                sop_instance_uid: uid,
                frame_index,
            };
            let area = state.displayed_area(shown);
            area.map(|area| [area.left, area.top, area.right, area.bottom])
        };
        assert_eq!(area("1.2.3", 1), Some([1, 1, 2, 2]));
        assert_eq!(area("1.2.3", 0), Some([3, 4, 9, 8]));
        assert_eq!(area("1.2.4", 0), None);
    }

    #[test]
    fn references_are_listed() {
        let uid = element(tags::SERIES_INSTANCE_UID, b"UI", b"1.2");
        let series = [reference("1.2.3", "2\\3"), uid].concat();
        let state = state(&[sequence(tags::REFERENCED_SERIES_SEQUENCE, &[series])]);
        let images = PresentationState::new(&state).expect("grayscale").referenced_images();
        let expected = ReferencedImage {
            series_instance_uid: "1.2".into(),
            sop_instance_uid: "1.2.3".into(),
            frames: vec![2, 3],
        };
        assert_eq!(images, [expected]);
    }

    #[test]
    fn other_classes_are_refused() {
        let class = element(tags::SOP_CLASS_UID, b"UI", uids::CT_IMAGE_STORAGE.as_bytes());
        assert!(PresentationState::new(&header(&[class])).is_err());
    }
}
