//! What every image has: Patient, General Study, General Series, General Equipment, SOP Common, Image Pixel
//! (PS3.3 annex C).

use super::StudySpec;
use crate::dataset::{Dataset, Element, Value};
use crate::{tags, uid};

/// What differs between the kinds in the common modules.
pub(super) struct Common<'a> {
    pub(super) sop_class_uid: &'a str,
    pub(super) modality: &'a str,
    pub(super) study_description: &'a str,
    pub(super) series_description: &'a str,
    pub(super) body_part: &'a str,
    pub(super) image_type: &'a str,
    pub(super) index: u32,
}

pub(super) fn common(spec: &StudySpec, common: Common<'_>) -> Dataset {
    let (seed, patient) = (spec.seed, &spec.patient);
    let date = format!("2025{:02}{:02}", 1 + seed % 12, 1 + seed / 12 % 28);
    let time = format!("{:02}{:02}00", 8 + seed / 7 % 10, seed / 3 % 60);
    let age = 2025u64.saturating_sub(patient.birth_date.get(..4).and_then(|y| y.parse().ok()).unwrap_or(1970));
    let mut dataset = Dataset::new();
    dataset.set_texts(&[
        (tags::SPECIFIC_CHARACTER_SET, b"CS", "ISO_IR 192"),
        ((0x0008, 0x0008), b"CS", common.image_type),
        ((0x0008, 0x0012), b"DA", &date),
        ((0x0008, 0x0013), b"TM", &time),
        (tags::SOP_CLASS_UID, b"UI", common.sop_class_uid),
        (
            tags::SOP_INSTANCE_UID,
            b"UI",
            &uid::from_seed(seed, "instance", common.index.into()),
        ),
        (tags::STUDY_DATE, b"DA", &date),
        ((0x0008, 0x0021), b"DA", &date),
        ((0x0008, 0x0022), b"DA", &date),
        ((0x0008, 0x0023), b"DA", &date),
        ((0x0008, 0x0030), b"TM", &time),
        ((0x0008, 0x0031), b"TM", &time),
        ((0x0008, 0x0032), b"TM", &time),
        ((0x0008, 0x0033), b"TM", &time),
        (tags::ACCESSION_NUMBER, b"SH", &format!("DEMO{:08}", seed % 100_000_000)),
        (tags::MODALITY, b"CS", common.modality),
        ((0x0008, 0x0070), b"LO", "Septum"),
        ((0x0008, 0x0080), b"LO", "Septum Demonstration Hospital"),
        ((0x0008, 0x0090), b"PN", "DEMO^REFERRER"),
        ((0x0008, 0x1010), b"SH", "PHANTOM"),
        (tags::STUDY_DESCRIPTION, b"LO", common.study_description),
        (tags::SERIES_DESCRIPTION, b"LO", common.series_description),
        ((0x0008, 0x1050), b"PN", "DEMO^PERFORMER"),
        ((0x0008, 0x1090), b"LO", "Synthetic phantom"),
        (tags::PATIENT_NAME, b"PN", &patient.name),
        (tags::PATIENT_ID, b"LO", &patient.id),
        (tags::ISSUER_OF_PATIENT_ID, b"LO", &patient.issuer),
        (tags::PATIENT_BIRTH_DATE, b"DA", &patient.birth_date),
        (tags::PATIENT_SEX, b"CS", &patient.sex),
        ((0x0010, 0x1010), b"AS", &format!("{age:03}Y")),
        (tags::PATIENT_COMMENTS, b"LT", "Synthetic data. No such person exists."),
        ((0x0018, 0x0015), b"CS", common.body_part),
        ((0x0018, 0x1000), b"LO", "0000"),
        ((0x0018, 0x1020), b"LO", env!("CARGO_PKG_VERSION")),
        (tags::STUDY_INSTANCE_UID, b"UI", &uid::from_seed(seed, "study", 0)),
        (tags::SERIES_INSTANCE_UID, b"UI", &uid::from_seed(seed, "series", 0)),
        ((0x0020, 0x0010), b"SH", &format!("{}", seed % 1_000_000)),
        ((0x0020, 0x0011), b"IS", "1"),
        ((0x0020, 0x0012), b"IS", "1"),
        (tags::INSTANCE_NUMBER, b"IS", &(common.index + 1).to_string()),
    ]);
    dataset
}

/// Image Pixel of a grey image (PS3.3 section C.7.6.3). 16 bits allocated.
pub(super) fn grey_pixels(dataset: &mut Dataset, rows: u32, columns: u32, bits: u16, signed: bool, pixels: Vec<u16>) {
    image_pixel(dataset, rows, columns, [16, bits], signed, "MONOCHROME2", 1);
    dataset.set(Element {
        tag: tags::PIXEL_DATA,
        vr: *b"OW",
        value: Value::Words(pixels),
    });
}

/// The Image Pixel module without the pixels.
pub(super) fn image_pixel(
    dataset: &mut Dataset,
    rows: u32,
    columns: u32,
    [bits_allocated, bits_stored]: [u16; 2],
    signed: bool,
    photometric: &str,
    samples: u16,
) {
    dataset.set(Element::words(tags::SAMPLES_PER_PIXEL, &[samples]));
    dataset.set(Element::text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", photometric));
    if samples > 1 {
        dataset.set(Element::words(tags::PLANAR_CONFIGURATION, &[0]));
    }
    dataset.set(Element::words(tags::ROWS, &[rows as u16]));
    dataset.set(Element::words(tags::COLUMNS, &[columns as u16]));
    dataset.set(Element::words(tags::BITS_ALLOCATED, &[bits_allocated]));
    dataset.set(Element::words(tags::BITS_STORED, &[bits_stored]));
    dataset.set(Element::words(tags::HIGH_BIT, &[bits_stored - 1]));
    dataset.set(Element::words(tags::PIXEL_REPRESENTATION, &[u16::from(signed)]));
}

/// Frame of Reference and Image Plane (PS3.3 sections C.7.4.1, C.7.6.2): axial slices of a field of view in
/// millimetres, from the feet up, centred on the origin.
pub(super) fn axial_plane(
    dataset: &mut Dataset,
    spec: &StudySpec,
    [slices, rows, columns]: [u32; 3],
    index: u32,
    field_of_view_mm: f64,
    spacing_mm: f64,
) {
    let pixel_mm = field_of_view_mm / f64::from(rows.min(columns).max(1));
    let corner = |count: u32| -(f64::from(count) - 1.0) / 2.0 * pixel_mm;
    let z = (f64::from(index) - (f64::from(slices) - 1.0) / 2.0) * spacing_mm;
    dataset.set_texts(&[
        ((0x0018, 0x0050), b"DS", &decimal(spacing_mm)),
        ((0x0018, 0x5100), b"CS", "HFS"),
        (
            (0x0020, 0x0032),
            b"DS",
            &format!(
                "{}\\{}\\{}",
                decimal(corner(columns)),
                decimal(corner(rows)),
                decimal(z)
            ),
        ),
        ((0x0020, 0x0037), b"DS", "1\\0\\0\\0\\1\\0"),
        (
            (0x0020, 0x0052),
            b"UI",
            &uid::from_seed(spec.seed, "frame of reference", 0),
        ),
        ((0x0020, 0x1040), b"LO", ""),
        ((0x0020, 0x1041), b"DS", &decimal(z)),
        ((0x0028, 0x0030), b"DS", &format!("{0}\\{0}", decimal(pixel_mm))),
    ]);
}

/// A decimal string of at most 16 characters (PS3.5 section 6.2).
pub(super) fn decimal(value: f64) -> String {
    let text = format!("{value:.5}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.chars().take(16).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_fit() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.5, "1.5"),
            (-120.25, "-120.25"),
            (1.0 / 3.0, "0.33333"),
        ] {
            assert_eq!(decimal(value), expected);
        }
    }
}
