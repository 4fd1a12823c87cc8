//! The grayscale pipeline: stored values to display levels (PS3.4 section N.2.1).
//!
//! Invariant: every stored value, NaN included, has a level from 0 to 255.

use dicom_dictionary_std::tags;
use dicom_pixeldata::Lut;
use septum_core::dicom::attributes::{Dataset, Header};

use crate::attributes::{items, number, text, word};
use crate::error::RenderError;
use crate::frame::{Frame, SampleKind, StoredBits};
use crate::lookup::LookupTable;
use crate::modality::Modality;
use crate::voi::Voi;

/// Most Bits Stored for which all levels are computed beforehand.
const TABLE_BITS_MAX: u32 = 16;

/// The presentation transformation (PS3.3 sections C.11.4 and C.11.6).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Presentation {
    Identity,
    Inverse,
    Table(LookupTable),
}

impl Presentation {
    /// Presentation LUT Sequence or Presentation LUT Shape; `None` when there is neither.
    pub(crate) fn of_dataset(dataset: &Dataset) -> Result<Option<Self>, RenderError> {
        if let Some(item) = items(dataset, tags::PRESENTATION_LUT_SEQUENCE).first() {
            return LookupTable::read(item, false).map(|table| Some(Self::Table(table)));
        }
        let shape = text(dataset, tags::PRESENTATION_LUT_SHAPE);
        Ok(shape.map(|shape| {
            if shape == "INVERSE" {
                Self::Inverse
            } else {
                Self::Identity
            }
        }))
    }

    /// What Photometric Interpretation says: MONOCHROME1 shows its least value white.
    pub(crate) fn of_photometric(photometric: &str) -> Self {
        if photometric == "MONOCHROME1" {
            Self::Inverse
        } else {
            Self::Identity
        }
    }

    fn level(&self, level: f64) -> f64 {
        match self {
            Self::Identity => level,
            Self::Inverse => 1.0 - level,
            Self::Table(table) => table.level_of_level(level),
        }
    }
}

/// The three transformations of a frame.
#[derive(Debug)]
pub(crate) struct Grayscale {
    pub(crate) modality: Modality,
    pub(crate) voi: Voi,
    pub(crate) presentation: Presentation,
}

impl Grayscale {
    /// The display level of a stored value.
    fn level(&self, stored: f64) -> f64 {
        let value = self.voi.level(self.modality.apply(stored));
        (unit(self.presentation.level(unit(value))) * 255.0).round()
    }

    /// One byte a pixel.
    pub(crate) fn render(&self, frame: &Frame<'_>) -> Result<Vec<u8>, RenderError> {
        let num_pixels = frame.num_pixels()?;
        frame.require(num_pixels)?;
        let stored = frame.stored_bits();
        let mut levels = Vec::with_capacity(num_pixels);
        if frame.kind == SampleKind::Integer && stored.num_bits <= TABLE_BITS_MAX {
            // Never fails nor panics: 1 to 16 bits, and each level is a whole number that fits.
            let table: Lut<u8> = Lut::new_with_fn(stored.num_bits as u16, stored.signed, |value| self.level(value))
                .map_err(|_| RenderError::Unsupported("this pixel value transformation"))?;
            frame.for_each_word(num_pixels, |word| levels.push(table.get((word >> stored.shift) as u32)));
        } else {
            frame.for_each_value(num_pixels, |value| levels.push(self.level(value) as u8));
        }
        Ok(levels)
    }
}

/// The level held between 0 and 1; NaN becomes 0.
fn unit(level: f64) -> f64 {
    if level > 0.0 { level.min(1.0) } else { 0.0 }
}

/// The span of values that a frame without a VOI transformation shows: from its least to its greatest value, padding
/// aside, and stored values from `first_colour` on, which a palette maps. All that can be stored, where the frame has only one value, or bits only.
pub(crate) fn default_span(
    header: &Header,
    frame: &Frame<'_>,
    modality: &Modality,
    first_colour: Option<f64>,
) -> Result<Voi, RenderError> {
    let num_pixels = frame.num_pixels()?;
    frame.require(num_pixels)?;
    let stored = frame.stored_bits();
    let padding = padding(header.dataset(), frame.kind, stored);
    let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut include = |value: f64| {
        let is_gray = value.is_finite() && first_colour.is_none_or(|first| value < first);
        if is_gray && !padding.is_some_and(|(low, high)| (low..=high).contains(&value)) {
            let value = modality.apply(value);
            (least, greatest) = (least.min(value), greatest.max(value));
        }
    };
    if frame.kind == SampleKind::Integer && stored.num_bits <= TABLE_BITS_MAX {
        let mut seen = vec![false; 1 << stored.num_bits];
        let mask = (1_u64 << stored.num_bits) - 1;
        // Infallible: the mask is the length less one.
        frame.for_each_word(num_pixels, |word| seen[(word >> stored.shift & mask) as usize] = true);
        let words = seen.iter().enumerate().filter(|(_, seen)| **seen);
        words.for_each(|(word, _)| include(stored.value((word as u64) << stored.shift)));
    } else {
        frame.for_each_value(num_pixels, include);
    }
    if least < greatest && stored.num_bits > 1 {
        return Ok(Voi::Span { least, greatest });
    }
    let (least, greatest) = match frame.kind {
        SampleKind::Integer => modality.range(stored.range()),
        _ => (0.0, 1.0),
    };
    Ok(Voi::Span { least, greatest })
}

/// The stored values that fill what lies outside of the picture (PS3.3 section C.7.5.1.1.2).
fn padding(dataset: &Dataset, kind: SampleKind, stored: StoredBits) -> Option<(f64, f64)> {
    let (value, limit) = match kind {
        SampleKind::Integer => (tags::PIXEL_PADDING_VALUE, tags::PIXEL_PADDING_RANGE_LIMIT),
        SampleKind::Float => (tags::FLOAT_PIXEL_PADDING_VALUE, tags::FLOAT_PIXEL_PADDING_RANGE_LIMIT),
        SampleKind::Double => (
            tags::DOUBLE_FLOAT_PIXEL_PADDING_VALUE,
            tags::DOUBLE_FLOAT_PIXEL_PADDING_RANGE_LIMIT,
        ),
    };
    // Bits count, not the VR: some writers use US for signed pixels. A value may not fit Bits Stored; it stands for none.
    let read = |tag| match kind {
        SampleKind::Integer if stored.signed => word(dataset, tag).map(|word| f64::from(word as i16)),
        SampleKind::Integer => word(dataset, tag).map(f64::from),
        _ => number(dataset, tag),
    };
    let value = read(value)?;
    let limit = read(limit).unwrap_or(value);
    Some((value.min(limit), value.max(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{frame, header, sequence, shape, words};

    fn span(elements: &[Vec<u8>], frame: &Frame<'_>) -> (f64, f64) {
        match default_span(&header(elements), frame, &Modality::IDENTITY, None) {
            Ok(Voi::Span { least, greatest }) => (least, greatest),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn padding_is_not_shown() {
        let bytes = [9, 5, 7, 200];
        let pixels = frame(&bytes, shape(2, 2, 1, 8), "MONOCHROME2");
        assert_eq!(span(&[], &pixels), (5., 200.));
        let value = words(tags::PIXEL_PADDING_VALUE, b"US", &[200]);
        assert_eq!(span(std::slice::from_ref(&value), &pixels), (5., 9.));
        let limit = words(tags::PIXEL_PADDING_RANGE_LIMIT, b"US", &[8]);
        assert_eq!(span(&[value, limit], &pixels), (5., 7.));
        let mut signed = shape(1, 3, 1, 16);
        signed.signed = true;
        let bytes = [0, 0, 10, 0, 0x30, 0xF8];
        let value = words(tags::PIXEL_PADDING_VALUE, b"US", &[0xF830]);
        assert_eq!(span(&[value], &frame(&bytes, signed, "MONOCHROME2")), (0., 10.));
    }

    #[test]
    fn frames_of_one_value_show_it_as_it_stands() {
        let (bits, bytes) = ([0xFF], [128; 4]);
        assert_eq!(span(&[], &frame(&bits, shape(2, 2, 1, 1), "MONOCHROME2")), (0., 1.));
        assert_eq!(span(&[], &frame(&bytes, shape(2, 2, 1, 8), "MONOCHROME2")), (0., 255.));
        let floats = [f32::NAN, 2.5, -1.5, f32::INFINITY].map(f32::to_le_bytes).concat();
        let mut pixels = frame(&floats, shape(2, 2, 1, 32), "MONOCHROME2");
        pixels.kind = SampleKind::Float;
        assert_eq!(span(&[], &pixels), (-1.5, 2.5));
    }

    #[test]
    fn levels_of_many_depths() {
        let check =
            |bytes: &[u8], bits: u16, signed: bool, greatest: f64, presentation: Presentation, expected: &[u8]| {
                let mut shape = shape(1, expected.len() as u32, 1, bits);
                shape.signed = signed;
                let pipeline = Grayscale {
                    modality: Modality::IDENTITY,
                    voi: Voi::Span { least: 0., greatest },
                    presentation,
                };
                let levels = pipeline.render(&frame(bytes, shape, "MONOCHROME2"));
                assert_eq!(levels.as_deref(), Ok(expected));
            };
        check(&[0b10], 1, false, 1., Presentation::Identity, &[0, 255]);
        check(&[0, 128, 255], 8, false, 255., Presentation::Identity, &[0, 128, 255]);
        check(&[0, 128, 255], 8, false, 255., Presentation::Inverse, &[255, 127, 0]);
        check(&[0, 128, 255], 8, true, 127., Presentation::Identity, &[0, 0, 0]);
        check(&[0, 0, 0xE8, 3], 16, false, 1000., Presentation::Identity, &[0, 255]);
        check(
            &[0, 0, 0, 0, 0xE8, 3, 0, 0],
            32,
            false,
            2000.,
            Presentation::Identity,
            &[0, 128],
        );
        let item = [
            words(tags::LUT_DESCRIPTOR, b"US", &[3, 0, 8]),
            words(tags::LUT_DATA, b"OW", &[255, 10, 0]),
        ];
        let header = header(&[sequence(tags::PRESENTATION_LUT_SEQUENCE, &[item.concat()])]);
        let table = Presentation::of_dataset(header.dataset())
            .expect("readable")
            .expect("there");
        check(&[0, 128, 255], 8, false, 255., table, &[255, 10, 0]);
    }
}
