//! The value-of-interest transformation: what of the values is shown (PS3.3 section C.11.2).

use dicom_dictionary_std::tags;
use dicom_pixeldata::{VoiLutFunction, WindowLevel, WindowLevelTransform};
use septum_core::dicom::attributes::{Dataset, Header};

use crate::attributes::{items, number, text};
use crate::groups::functional_group;
use crate::lookup::LookupTable;
use crate::request::{Window, WindowShape};

/// What is done to the values of the modality transformation; results go from 0 to 1.
#[derive(Debug, PartialEq)]
pub(crate) enum Voi {
    Window(WindowLevelTransform),
    Table(LookupTable),
    /// From `least` to `greatest` in a straight line.
    Span {
        least: f64,
        greatest: f64,
    },
}

impl Voi {
    /// The window that a request gives.
    pub(crate) fn of_request(window: Window) -> Self {
        let function = match window.shape {
            WindowShape::Linear => VoiLutFunction::Linear,
            WindowShape::LinearExact => VoiLutFunction::LinearExact,
            WindowShape::Sigmoid => VoiLutFunction::Sigmoid,
        };
        Self::window(function, window.center, window.width)
    }

    fn window(function: VoiLutFunction, center: f64, width: f64) -> Self {
        Self::Window(WindowLevelTransform::new(function, WindowLevel { width, center }))
    }

    /// The transformation that an image gives for one of its frames: that of its functional groups, else its own.
    pub(crate) fn of_image(header: &Header, frame_index: u32, negative_inputs: bool) -> Option<Self> {
        functional_group(header, frame_index, tags::FRAME_VOILUT_SEQUENCE)
            .and_then(|group| Self::of_dataset(group, negative_inputs))
            .or_else(|| Self::of_dataset(header.dataset(), negative_inputs))
    }

    /// The transformation that a dataset gives at its top level: the first VOI LUT, else the first window. Those that
    /// cannot be used count as absent.
    pub(crate) fn of_dataset(dataset: &Dataset, negative_inputs: bool) -> Option<Self> {
        let tables = items(dataset, tags::VOILUT_SEQUENCE);
        if let Some(Ok(table)) = tables.first().map(|item| LookupTable::read(item, negative_inputs)) {
            return Some(Self::Table(table));
        }
        let center = number(dataset, tags::WINDOW_CENTER)?;
        let width = number(dataset, tags::WINDOW_WIDTH).filter(|&width| width > 0.0)?;
        let function = text(dataset, tags::VOILUT_FUNCTION);
        let function = function.and_then(|name| VoiLutFunction::try_from(name.as_str()).ok());
        Some(Self::window(function.unwrap_or_default(), center, width))
    }

    /// The output for a value of the modality transformation, 0 to 1.
    pub(crate) fn level(&self, value: f64) -> f64 {
        match self {
            Self::Window(window) => window.apply(value, 1.0),
            Self::Table(table) => table.level(value),
            Self::Span { least, greatest } if greatest > least => (value - least) / (greatest - least),
            Self::Span { least, .. } => f64::from(u8::from(value > *least)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{element, header, sequence, words};

    #[test]
    fn windows_follow_the_standards_formulas() {
        let check = |shape: WindowShape, center: f64, width: f64, value: f64, expected: f64| {
            let level = Voi::of_request(Window { center, width, shape }).level(value);
            assert!(
                (level - expected).abs() < 1e-9,
                "{shape:?} {center} {width} {value}: {level}"
            );
        };
        // The examples of PS3.3 section C.11.2.1.2.1.
        check(WindowShape::Linear, 2048., 4096., 0., 0.);
        check(WindowShape::Linear, 2048., 4096., 2047.5, 0.5);
        check(WindowShape::Linear, 2048., 4096., 4096., 1.);
        check(WindowShape::Linear, 2048., 1., 2047., 0.);
        check(WindowShape::Linear, 2048., 1., 2048., 1.);
        check(WindowShape::LinearExact, 0., 1., -0.5, 0.);
        check(WindowShape::LinearExact, 0., 1., 0.25, 0.75);
        check(WindowShape::LinearExact, 0., 1., 0.6, 1.);
        check(WindowShape::Sigmoid, 10., 20., 10., 0.5);
        check(WindowShape::Sigmoid, 10., 20., 15., 1. / (1. + (-1f64).exp()));
    }

    #[test]
    fn the_nearest_transformation_counts() {
        let window = |center: &str, width: &str| {
            [
                element(tags::WINDOW_CENTER, b"DS", center.as_bytes()),
                element(tags::WINDOW_WIDTH, b"DS", width.as_bytes()),
            ]
            .concat()
        };
        let table = |data: &[u16]| {
            let item = [
                words(tags::LUT_DESCRIPTOR, b"US", &[2, 0, 8]),
                words(tags::LUT_DATA, b"OW", data),
            ];
            sequence(tags::VOILUT_SEQUENCE, &[item.concat()])
        };
        let check = |elements: &[Vec<u8>], expected: Option<f64>| {
            let voi = Voi::of_image(&header(elements), 0, false);
            assert_eq!(voi.map(|voi| voi.level(1.0)), expected);
        };
        check(&[window("1.5", "3")], Some(0.5));
        check(&[window("1.5\\9", "3\\9")], Some(0.5));
        check(&[window("1.5", "0")], None);
        check(&[window("x", "3")], None);
        check(&[window("1.5", "3"), table(&[0, 51])], Some(0.2));
        // A table without data gives way to the window.
        check(&[window("1.5", "3"), table(&[])], Some(0.5));
        let group = sequence(tags::FRAME_VOILUT_SEQUENCE, &[window("1", "1")]);
        let shared = sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, &[group]);
        check(&[window("1.5", "3"), shared], Some(1.0));
    }

    #[test]
    fn spans() {
        let span = |least: f64, greatest: f64, value: f64| Voi::Span { least, greatest }.level(value);
        assert_eq!(
            (span(-1., 1., 0.), span(0., 10., 10.), span(5., 5., 5.)),
            (0.5, 1.0, 0.0)
        );
    }
}
