//! The modality transformation: stored values to values with a meaning, such as Hounsfield units (PS3.3 section C.11.1).

use dicom_dictionary_std::tags;
use dicom_pixeldata::Rescale;
use septum_core::dicom::attributes::{Dataset, Header};

use crate::attributes::{items, number, text};
use crate::error::RenderError;
use crate::groups::functional_group;
use crate::lookup::LookupTable;

/// What is done to stored values first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Modality {
    Rescale(Rescale),
    Table(LookupTable),
}

impl Modality {
    pub(crate) const IDENTITY: Self = Self::Rescale(Rescale {
        slope: 1.0,
        intercept: 0.0,
    });

    /// The transformation that an image gives for one of its frames: that of its functional groups, else Modality LUT
    /// Sequence, else Rescale Slope and Intercept.
    pub(crate) fn of_image(header: &Header, frame_index: u32, stored_range: (f64, f64)) -> Result<Self, RenderError> {
        let transformation = tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE;
        if let Some(rescale) = functional_group(header, frame_index, transformation).and_then(rescale) {
            return Ok(Self::Rescale(rescale));
        }
        let dataset = header.dataset();
        // Projection X-ray: the transformation leads back to what hit the detector and is not for display
        // (PS3.3 section C.8.7.1.1.2).
        let is_projection = matches!(text(dataset, tags::MODALITY).as_deref(), Some("XA" | "XRF" | "RF"));
        let relationship = text(dataset, tags::PIXEL_INTENSITY_RELATIONSHIP);
        if is_projection && matches!(relationship.as_deref(), Some("LOG" | "DISP")) {
            return Ok(Self::IDENTITY);
        }
        Self::of_dataset(dataset, stored_range)
    }

    /// The transformation that a dataset gives at its top level; the identity when it gives none.
    pub(crate) fn of_dataset(dataset: &Dataset, stored_range: (f64, f64)) -> Result<Self, RenderError> {
        match items(dataset, tags::MODALITY_LUT_SEQUENCE).first() {
            Some(item) => LookupTable::read(item, stored_range.0 < 0.0).map(Self::Table),
            None => Ok(rescale(dataset).map_or(Self::IDENTITY, Self::Rescale)),
        }
    }

    /// The output for a stored value.
    pub(crate) fn apply(&self, stored: f64) -> f64 {
        match self {
            Self::Rescale(rescale) => rescale.apply(stored),
            Self::Table(table) => table.entry(stored),
        }
    }

    /// The least and the greatest output there can be.
    pub(crate) fn range(&self, stored_range: (f64, f64)) -> (f64, f64) {
        match self {
            Self::Rescale(rescale) => {
                let ends = (rescale.apply(stored_range.0), rescale.apply(stored_range.1));
                (ends.0.min(ends.1), ends.0.max(ends.1))
            }
            Self::Table(table) => table.range(),
        }
    }
}

/// Rescale Slope and Intercept. A slope of 0 would make one value of all and is taken as absent.
fn rescale(dataset: &Dataset) -> Option<Rescale> {
    let slope = number(dataset, tags::RESCALE_SLOPE).filter(|&slope| slope != 0.0);
    let intercept = number(dataset, tags::RESCALE_INTERCEPT);
    if slope.is_none() && intercept.is_none() {
        return None;
    }
    Some(Rescale::new(slope.unwrap_or(1.0), intercept.unwrap_or(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{element, header, sequence, words};

    #[test]
    fn the_nearest_transformation_counts() {
        let rescale = |slope: &str, intercept: &str| {
            [
                element(tags::RESCALE_INTERCEPT, b"DS", intercept.as_bytes()),
                element(tags::RESCALE_SLOPE, b"DS", slope.as_bytes()),
            ]
            .concat()
        };
        let group = |slope: &str, intercept: &str| {
            sequence(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, &[rescale(slope, intercept)])
        };
        let table = sequence(
            tags::MODALITY_LUT_SEQUENCE,
            &[[
                words(tags::LUT_DESCRIPTOR, b"US", &[2, 0, 8]),
                words(tags::LUT_DATA, b"OW", &[7, 9]),
            ]
            .concat()],
        );
        let modality = |value: &str| element(tags::MODALITY, b"CS", value.as_bytes());
        let logarithmic = element(tags::PIXEL_INTENSITY_RELATIONSHIP, b"CS", b"LOG");
        let check = |elements: &[Vec<u8>], frame: u32, expected: f64| {
            let header = header(elements);
            let found = Modality::of_image(&header, frame, (0.0, 255.0)).expect("readable");
            assert_eq!(found.apply(1.0), expected);
        };
        check(&[modality("CT")], 0, 1.0);
        check(&[modality("CT"), rescale("2", "-1024")], 0, -1022.0);
        check(&[modality("CT"), rescale("0", "-1024")], 0, -1023.0);
        check(&[modality("CT"), rescale("2", "5"), table.clone()], 0, 9.0);
        check(&[modality("XA"), logarithmic.clone(), rescale("2", "5")], 0, 1.0);
        check(&[modality("DX"), logarithmic, rescale("2", "5")], 0, 7.0);
        let shared = sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, &[group("3", "0")]);
        let frames = sequence(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            &[group("4", "0"), Vec::new()],
        );
        check(&[modality("CT"), shared.clone()], 0, 3.0);
        check(&[modality("CT"), shared.clone(), frames.clone()], 0, 4.0);
        check(&[modality("CT"), shared.clone(), frames.clone()], 1, 3.0);
        check(&[modality("CT"), rescale("2", "0"), frames], 7, 2.0);
    }
}
