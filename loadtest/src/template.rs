//! The instance that is sent, made different each time.
//!
//! Every copy has its own SOP Instance UID, the study and series it belongs to, and pixels that were moved by some rows and
//! changed in the last bit here and there: copies compress like the template, but no server can store them once.

use std::path::Path;

use thiserror::Error;

use crate::element::{self, ElementError};

/// Characters of every UID that is made here: the longest the standard allows is 64 (PS3.5 9.1).
const UID_LENGTH: usize = 60;
const CT_IMAGE: &[u8] = b"1.2.840.10008.5.1.4.1.1.2";
const EXPLICIT_LITTLE: &[u8] = b"1.2.840.10008.1.2.1";

/// Why a file cannot be a template.
#[derive(Debug, Error)]
pub(crate) enum TemplateError {
    /// The file cannot be read.
    #[error("cannot read the template: {0}")]
    Read(#[from] std::io::Error),
    /// The file is not a Part 10 file.
    #[error("the template is not a DICOM file (no DICM prefix at offset 128)")]
    NotDicom,
    /// The dataset cannot be walked.
    #[error("the template is not in Explicit VR Little Endian: {0}")]
    Walk(#[from] ElementError),
    /// No native pixels with 16-bit samples.
    #[error("the template has no native pixel data with 16 bits allocated")]
    NoPixels,
}

/// A repeatable source of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A source that gives the same numbers for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Study, series and instance of one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uids {
    /// Study Instance UID.
    pub(crate) study: String,
    /// Series Instance UID.
    pub(crate) series: String,
    /// SOP Instance UID.
    pub(crate) instance: String,
}

impl Uids {
    /// UIDs of instance `number` when a series has `per_series` instances, under a prefix that `seed` decides.
    pub(crate) fn of(seed: u64, number: u32, per_series: u32) -> Self {
        let study = number / per_series.max(1);
        let uid = |kind: u8, a: u32, b: u32| {
            let text = format!(
                "1.2.826.0.1.3680043.10.1479.{kind}.1{:010}.1{a:08}.1{b:07}",
                seed % 10_000_000_000
            );
            debug_assert!(text.len() <= UID_LENGTH);
            format!("{text}{}", "1".repeat(UID_LENGTH.saturating_sub(text.len())))
        };
        Self {
            study: uid(1, study, 0),
            series: uid(2, study, 1),
            instance: uid(3, study, number % per_series.max(1)),
        }
    }
}

/// An instance with holes for UIDs.
#[derive(Debug)]
pub(crate) struct Template {
    data: Vec<u8>,
    study: usize,
    series: usize,
    instances: [usize; 2],
    pixels: std::ops::Range<usize>,
    row_bytes: usize,
}

fn file_meta(sop_class: &[u8]) -> Vec<u8> {
    let mut rest = element::write((2, 1), *b"OB", &[0, 1]);
    rest.extend(element::write((2, 2), *b"UI", sop_class));
    rest.extend(element::write((2, 3), *b"UI", &[b'0'; UID_LENGTH]));
    rest.extend(element::write((2, 0x10), *b"UI", EXPLICIT_LITTLE));
    rest.extend(element::write((2, 0x12), *b"UI", b"1.2.826.0.1.3680043.10.1479"));
    let mut meta = vec![0; 128];
    meta.extend_from_slice(b"DICM");
    let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    meta.extend(element::write((2, 0), *b"UL", &length.to_le_bytes()));
    meta.extend(rest);
    meta
}

impl Template {
    /// A file with native 16-bit pixels in Explicit VR Little Endian.
    pub(crate) fn open(path: &Path) -> Result<Self, TemplateError> {
        Self::parse(&std::fs::read(path)?)
    }

    fn parse(file: &[u8]) -> Result<Self, TemplateError> {
        if file.get(128..132) != Some(b"DICM") {
            return Err(TemplateError::NotDicom);
        }
        let places = element::top_level(file, 132)?;
        let value = |tag| {
            places
                .iter()
                .find(|place| place.tag == tag)
                .map(|place| &file[place.value..place.end])
        };
        let sop_class = value((8, 0x16)).unwrap_or(CT_IMAGE).to_vec();
        let mut dataset = Vec::with_capacity(file.len() + 256);
        for place in places
            .iter()
            .filter(|place| place.tag.0 > 2 && place.tag <= (0x7FE0, 0x10))
        {
            match place.tag {
                (8, 0x18) | (0x20, 0xD | 0xE) => {
                    dataset.extend(element::write(place.tag, *b"UI", &[b'0'; UID_LENGTH]));
                }
                _ => dataset.extend_from_slice(&file[place.start..place.end]),
            }
        }
        Self::with_holes(&sop_class, &dataset)
    }

    /// A noisy 512×512 CT phantom: air, a body ellipse with organs, noise of about 12 HU, 12 bits stored.
    pub(crate) fn phantom() -> Result<Self, TemplateError> {
        const SIDE: i64 = 512;
        let mut random = Random::new(42);
        let mut pixels = Vec::with_capacity(512 * 512 * 2);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let inside = |cx: i64, cy: i64, rx: i64, ry: i64| {
                    (x - cx).pow(2) * ry.pow(2) + (y - cy).pow(2) * rx.pow(2) <= rx.pow(2) * ry.pow(2)
                };
                let hounsfield = match () {
                    () if inside(256, 330, 28, 28) => 400,
                    () if inside(160, 250, 70, 50) => 60,
                    () if inside(330, 250, 60, 70) => -700 + (x % 16) * 3,
                    () if inside(256, 256, 210, 160) => 40,
                    () => -1000,
                };
                // A sum of uniform numbers is near enough to the normal distribution of reconstructed noise.
                let bits = random.next();
                let noise: i64 = (0..4).map(|byte| ((bits >> (8 * byte)) & 0x1F) as i64 - 16).sum();
                let stored = u16::try_from((hounsfield + noise + 1024).clamp(0, 4095)).unwrap_or(0);
                pixels.extend_from_slice(&stored.to_le_bytes());
            }
        }
        let mut dataset = Vec::new();
        let mut text = |group, number, vr: &[u8; 2], value: &str| {
            dataset.extend(element::write((group, number), *vr, value.as_bytes()));
        };
        text(8, 5, b"CS", "ISO_IR 100");
        text(8, 8, b"CS", "ORIGINAL\\PRIMARY\\AXIAL");
        text(8, 0x16, b"UI", "1.2.840.10008.5.1.4.1.1.2");
        text(8, 0x18, b"UI", &"0".repeat(UID_LENGTH));
        text(8, 0x20, b"DA", "20260102");
        text(8, 0x30, b"TM", "101500");
        text(8, 0x50, b"SH", "LOAD0001");
        text(8, 0x60, b"CS", "CT");
        text(8, 0x70, b"LO", "Synthetic");
        text(8, 0x90, b"PN", "LOAD^REFERRER");
        text(8, 0x1030, b"LO", "Load test, synthetic phantom");
        text(0x10, 0x10, b"PN", "LOAD^PHANTOM");
        text(0x10, 0x20, b"LO", "LOAD-1");
        text(0x10, 0x30, b"DA", "19700101");
        text(0x10, 0x40, b"CS", "O");
        text(0x18, 0x50, b"DS", "1.25");
        text(0x18, 0x60, b"DS", "120");
        text(0x20, 0xD, b"UI", &"0".repeat(UID_LENGTH));
        text(0x20, 0xE, b"UI", &"0".repeat(UID_LENGTH));
        text(0x20, 0x10, b"SH", "1");
        text(0x20, 0x11, b"IS", "1");
        text(0x20, 0x13, b"IS", "1");
        text(0x20, 0x32, b"DS", "-200\\-200\\0");
        text(0x20, 0x37, b"DS", "1\\0\\0\\0\\1\\0");
        let mut short = |group, number, value: u16| {
            dataset.extend(element::write((group, number), *b"US", &value.to_le_bytes()));
        };
        short(0x28, 2, 1);
        dataset.extend(element::write((0x28, 4), *b"CS", b"MONOCHROME2"));
        let mut short = |group, number, value: u16| {
            dataset.extend(element::write((group, number), *b"US", &value.to_le_bytes()));
        };
        short(0x28, 0x10, 512);
        short(0x28, 0x11, 512);
        dataset.extend(element::write((0x28, 0x30), *b"DS", b"0.78125\\0.78125"));
        let mut short = |group, number, value: u16| {
            dataset.extend(element::write((group, number), *b"US", &value.to_le_bytes()));
        };
        short(0x28, 0x100, 16);
        short(0x28, 0x101, 12);
        short(0x28, 0x102, 11);
        short(0x28, 0x103, 0);
        dataset.extend(element::write((0x28, 0x1052), *b"DS", b"-1024"));
        dataset.extend(element::write((0x28, 0x1053), *b"DS", b"1"));
        dataset.extend(element::write((0x7FE0, 0x10), *b"OW", &pixels));
        Self::with_holes(CT_IMAGE, &dataset)
    }

    fn with_holes(sop_class: &[u8], dataset: &[u8]) -> Result<Self, TemplateError> {
        let mut data = file_meta(sop_class);
        let meta_bytes = data.len();
        data.extend_from_slice(dataset);
        let places: Vec<_> = element::top_level(&data, 132)?;
        let find = |tag| {
            places
                .iter()
                .find(|place| place.tag == tag)
                .copied()
                .ok_or(TemplateError::NoPixels)
        };
        let number = |tag| -> Result<usize, TemplateError> {
            let place = find(tag)?;
            Ok(data
                .get(place.value..place.value + 2)
                .map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))))
        };
        let pixel_data = find((0x7FE0, 0x10))?;
        let row_bytes = number((0x28, 0x11))? * 2;
        let pixels = pixel_data.value..pixel_data.end;
        if number((0x28, 0x100))? != 16 || row_bytes == 0 || pixels.len() < row_bytes {
            return Err(TemplateError::NoPixels);
        }
        debug_assert!(meta_bytes <= pixels.start);
        Ok(Self {
            study: find((0x20, 0xD))?.value,
            series: find((0x20, 0xE))?.value,
            instances: [find((2, 3))?.value, find((8, 0x18))?.value],
            pixels,
            row_bytes,
            data,
        })
    }

    /// Bytes of one instance.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// Appends the copy with these UIDs to `out`; `seed` decides its pixels.
    pub(crate) fn append(&self, out: &mut Vec<u8>, uids: &Uids, seed: u64) {
        let base = out.len();
        out.extend_from_slice(&self.data[..self.pixels.start]);
        let pixels = &self.data[self.pixels.clone()];
        let mut random = Random::new(seed);
        let num_rows = pixels.len() / self.row_bytes;
        let cut = usize::try_from(random.next() % num_rows as u64).unwrap_or(0) * self.row_bytes;
        out.extend_from_slice(&pixels[cut..]);
        out.extend_from_slice(&pixels[..cut]);
        out.extend_from_slice(&self.data[self.pixels.end..]);
        let copy = &mut out[base..];
        // The last bit of one sample in eight on average: less than the noise that is there.
        let mut at = self.pixels.start;
        while at < self.pixels.end {
            let bits = random.next();
            copy[at] ^= 1;
            at += 2 + 2 * usize::try_from(bits % 15).unwrap_or(0);
        }
        let holes = [
            (self.study, &uids.study),
            (self.series, &uids.series),
            (self.instances[0], &uids.instance),
        ];
        for (place, uid) in holes.into_iter().chain([(self.instances[1], &uids.instance)]) {
            copy[place..place + UID_LENGTH].copy_from_slice(uid.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_distinct_and_valid() {
        let mut seen = std::collections::HashSet::new();
        for number in 0..2000 {
            let uids = Uids::of(7, number, 500);
            for uid in [&uids.study, &uids.series, &uids.instance] {
                assert_eq!(uid.len(), UID_LENGTH);
                assert!(
                    uid.split('.')
                        .all(|part| !part.is_empty() && (part == "0" || !part.starts_with('0'))),
                    "{uid}"
                );
            }
            assert!(seen.insert(uids.instance));
        }
        assert_eq!(Uids::of(7, 0, 500).study, Uids::of(7, 499, 500).study);
        assert_ne!(Uids::of(7, 0, 500).study, Uids::of(7, 500, 500).study);
    }

    #[test]
    fn copies_differ_in_uids_and_pixels_and_parse_again() {
        let template = Template::phantom().unwrap();
        let (mut one, mut other) = (Vec::new(), Vec::new());
        template.append(&mut one, &Uids::of(1, 0, 10), 0);
        template.append(&mut other, &Uids::of(1, 1, 10), 1);
        assert_eq!((one.len(), other.len()), (template.len(), template.len()));
        assert_ne!(one[template.pixels.clone()], other[template.pixels.clone()]);
        let again = Template::parse(&one).unwrap();
        assert_eq!(again.pixels.len(), 512 * 512 * 2);
        assert_eq!(again.row_bytes, 1024);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(matches!(Template::parse(b"hello"), Err(TemplateError::NotDicom)));
        let mut file = file_meta(CT_IMAGE);
        file.extend(element::write((0x28, 0x10), *b"US", &[0, 2]));
        assert!(matches!(Template::parse(&file), Err(TemplateError::NoPixels)));
    }
}
