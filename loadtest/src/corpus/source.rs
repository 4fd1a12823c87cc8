//! An image to make copies of: a Part 10 file with placeholders where identity belongs.
//!
//! Only native pixels in Explicit VR Little Endian are taken, with 8 or 16 bits a sample; other files are no sources. What
//! stands in the file beside identity and pixels (private elements, sequences) stays, because it loads a server like
//! nothing else does.

use std::ops::Range;
use std::path::Path;

use septum_core::codec::{Tier, encode};
use septum_core::frame_shape::FrameShape;
use septum_testkit::random::Random;
use thiserror::Error;

use super::element::{self, ElementError, Place};
use super::identity::{ID_LENGTH, NAME_LENGTH, StudyIdentity, UID_LENGTH};
use super::perturb;

const EXPLICIT_LITTLE: &[u8] = b"1.2.840.10008.1.2.1";
const MULTI_FRAME_GRAYSCALE: &[u8] = b"1.2.840.10008.5.1.4.1.1.7.3";
const NUMBER_LENGTH: usize = 8;
/// Copies that are compressed to see whether they compress like the original.
const NUM_TRIED: u64 = 4;

/// Why a file cannot be a source.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Read(#[from] std::io::Error),
    /// The file is not a Part 10 file.
    #[error("not a DICOM file (no DICM prefix at offset 128)")]
    NotDicom,
    /// The dataset cannot be walked.
    #[error("not in Explicit VR Little Endian: {0}")]
    Walk(#[from] ElementError),
    /// No native pixels of 8 or 16 bits.
    #[error("no native pixels with 8 or 16 bits allocated")]
    NoPixels,
}

/// An image with placeholders for identity.
#[derive(Debug)]
pub(crate) struct Source {
    data: Vec<u8>,
    dataset_at: usize,
    pixels: Range<usize>,
    holes: Holes,
    shape: FrameShape,
    modality: String,
    mean_gap: u32,
    ratios: Ratios,
}

/// Offsets of placeholders.
#[derive(Debug)]
struct Holes {
    instances: [usize; 2],
    study: usize,
    series: usize,
    name: usize,
    patient_id: usize,
    accession: usize,
    date: usize,
    number: usize,
}

/// Native bytes over compressed bytes in the codec that Septum acknowledges with (MED prediction, byte planes, zstd 1).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Ratios {
    /// Of the original's first frame.
    pub(crate) original: f64,
    /// Of copies of it, the mean.
    pub(crate) copies: f64,
}

fn file_meta(sop_class: &[u8]) -> Vec<u8> {
    let mut rest = element::write((2, 1), *b"OB", &[0, 1]);
    rest.extend(element::write((2, 2), *b"UI", sop_class));
    rest.extend(element::write((2, 3), *b"UI", &[b'0'; UID_LENGTH]));
    rest.extend(element::write((2, 0x10), *b"UI", EXPLICIT_LITTLE));
    rest.extend(element::write(
        (2, 0x12),
        *b"UI",
        b"2.25.193822337120164338251726402912873653247",
    ));
    let mut meta = vec![0; 128];
    meta.extend_from_slice(b"DICM");
    let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    meta.extend(element::write((2, 0), *b"UL", &length.to_le_bytes()));
    meta.extend(rest);
    meta
}

/// Identity elements that every source gets, whatever it had.
fn placeholders() -> [(element::Tag, [u8; 2], usize); 8] {
    [
        ((0x8, 0x18), *b"UI", UID_LENGTH),
        ((0x8, 0x20), *b"DA", 8),
        ((0x8, 0x50), *b"SH", ID_LENGTH),
        ((0x10, 0x10), *b"PN", NAME_LENGTH),
        ((0x10, 0x20), *b"LO", ID_LENGTH),
        ((0x20, 0xD), *b"UI", UID_LENGTH),
        ((0x20, 0xE), *b"UI", UID_LENGTH),
        ((0x20, 0x13), *b"IS", NUMBER_LENGTH),
    ]
}

impl Source {
    /// Reads a file.
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        Self::parse(&std::fs::read(path)?)
    }

    /// Takes the bytes of a Part 10 file.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, SourceError> {
        Self::rewritten(file, |_| {})
    }

    /// One object with `num_frames` frames, each a copy of this source's first (Multi-frame Grayscale Word Secondary
    /// Capture; PS3.3 A.8.4). Only for grey images of 16 bits.
    pub(crate) fn multi_frame(&self, num_frames: u32) -> Result<Self, SourceError> {
        if self.shape.samples_per_pixel != 1 || self.shape.bits_allocated != 16 {
            return Err(SourceError::NoPixels);
        }
        let frame = self.frames().next().ok_or(SourceError::NoPixels)?;
        let mut pixels = Vec::with_capacity(frame.len() * num_frames as usize);
        for number in 0..num_frames {
            let mut random = Random::new(77, u64::from(number));
            perturb::append(&mut pixels, frame, &self.shape, self.mean_gap, &mut random);
        }
        Self::rewritten(&self.data, |elements| {
            elements.retain(|(tag, _)| !matches!(tag, (0x8, 0x16) | (0x28, 0x8) | (0x7FE0, 0x10)));
            elements.push(((0x8, 0x16), element::write((0x8, 0x16), *b"UI", MULTI_FRAME_GRAYSCALE)));
            let number = element::write((0x28, 0x8), *b"IS", num_frames.to_string().as_bytes());
            elements.push(((0x28, 0x8), number));
            elements.push(((0x7FE0, 0x10), element::write((0x7FE0, 0x10), *b"OW", &pixels)));
        })
    }

    /// Parses, lets `change` edit the top-level elements, puts the placeholders in.
    fn rewritten(file: &[u8], change: impl FnOnce(&mut Vec<(element::Tag, Vec<u8>)>)) -> Result<Self, SourceError> {
        if file.get(128..132) != Some(b"DICM") {
            return Err(SourceError::NotDicom);
        }
        let places = element::top_level(file, 132)?;
        if value(file, &places, (2, 0x10)).is_some_and(|uid| trimmed(uid) != EXPLICIT_LITTLE) {
            return Err(SourceError::NoPixels);
        }
        let ours = placeholders();
        let mut elements: Vec<(element::Tag, Vec<u8>)> = places
            .iter()
            .filter(|place| place.tag.0 > 2 && place.tag <= (0x7FE0, 0x10))
            .filter(|place| ours.iter().all(|(tag, ..)| *tag != place.tag))
            .map(|place| (place.tag, file[place.start..place.end].to_vec()))
            .collect();
        for (tag, vr, length) in ours {
            elements.push((tag, element::write(tag, vr, &vec![b'0'; length])));
        }
        change(&mut elements);
        elements.sort_by_key(|(tag, _)| *tag);
        let sop_class = elements
            .iter()
            .find(|(tag, _)| *tag == (0x8, 0x16))
            .map(|(_, bytes)| trimmed(bytes.get(8..).unwrap_or_default()).to_vec())
            .ok_or(SourceError::NoPixels)?;
        let mut data = file_meta(&sop_class);
        let dataset_at = data.len();
        elements.iter().for_each(|(_, bytes)| data.extend_from_slice(bytes));
        Self::with_holes(data, dataset_at)
    }

    fn with_holes(data: Vec<u8>, dataset_at: usize) -> Result<Self, SourceError> {
        let places = element::top_level(&data, 132)?;
        let at = |tag| {
            let found = places.iter().find(|place| place.tag == tag);
            found.map(|place| place.value).ok_or(SourceError::NoPixels)
        };
        let holes = Holes {
            instances: [at((2, 3))?, at((0x8, 0x18))?],
            study: at((0x20, 0xD))?,
            series: at((0x20, 0xE))?,
            name: at((0x10, 0x10))?,
            patient_id: at((0x10, 0x20))?,
            accession: at((0x8, 0x50))?,
            date: at((0x8, 0x20))?,
            number: at((0x20, 0x13))?,
        };
        let word = |tag| {
            let bytes = value(&data, &places, tag)?.get(..2)?;
            Some(u16::from_le_bytes([bytes[0], bytes[1]]))
        };
        let need = |tag| word(tag).ok_or(SourceError::NoPixels);
        let bits_allocated = need((0x28, 0x100))?;
        let shape = FrameShape {
            rows: need((0x28, 0x10))?.into(),
            columns: need((0x28, 0x11))?.into(),
            samples_per_pixel: word((0x28, 2)).unwrap_or(1),
            bits_allocated,
            bits_stored: word((0x28, 0x101)).unwrap_or(bits_allocated),
            high_bit: word((0x28, 0x102)).unwrap_or(bits_allocated.saturating_sub(1)),
            signed: word((0x28, 0x103)) == Some(1),
            planar: word((0x28, 6)) == Some(1),
            big_endian: false,
        };
        let found = places
            .iter()
            .find(|place| place.tag == (0x7FE0, 0x10))
            .ok_or(SourceError::NoPixels)?;
        let frame_bytes = shape
            .frame_length()
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length > 0 && perturb::can_be_perturbed(&shape))
            .ok_or(SourceError::NoPixels)?;
        // Whole frames; behind them only padding may follow.
        let num_frames = (found.end - found.value) / frame_bytes;
        let pixels = found.value..found.value + num_frames * frame_bytes;
        if num_frames == 0 || found.end - pixels.end > 1 {
            return Err(SourceError::NoPixels);
        }
        let modality = value(&data, &places, (0x8, 0x60)).map_or_else(String::new, |bytes| {
            String::from_utf8_lossy(trimmed(bytes)).into_owned()
        });
        let mut source = Self {
            dataset_at,
            pixels,
            holes,
            shape,
            modality,
            mean_gap: 0,
            ratios: Ratios::default(),
            data,
        };
        source.calibrate();
        Ok(source)
    }

    /// Chooses how often the lowest bit changes: as often as leaves the ratio within 2 % of what it is without any.
    fn calibrate(&mut self) {
        let Some(frame) = self.frames().next() else {
            return;
        };
        let compressed = |frame: &[u8]| encode(Tier::Acknowledge, Some(&self.shape), frame).bytes.len().max(1) as f64;
        let copies = |mean_gap: u32| {
            let lengths = (0..NUM_TRIED).map(|stream| {
                let mut copy = Vec::with_capacity(frame.len());
                perturb::append(&mut copy, frame, &self.shape, mean_gap, &mut Random::new(11, stream));
                compressed(&copy)
            });
            frame.len() as f64 * NUM_TRIED as f64 / lengths.sum::<f64>()
        };
        let original = frame.len() as f64 / compressed(frame);
        let gaps = [4, 16, 64, 256];
        let fits = |ratio: f64| (ratio / original - 1.0).abs() <= 0.02;
        let (mean_gap, ratio) = gaps
            .into_iter()
            .map(|gap| (gap, copies(gap)))
            .find(|(_, ratio)| fits(*ratio))
            .unwrap_or_else(|| (0, copies(0)));
        self.mean_gap = mean_gap;
        self.ratios = Ratios {
            original,
            copies: ratio,
        };
    }

    /// Bytes of one instance.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// How frames lie.
    pub(crate) fn shape(&self) -> &FrameShape {
        &self.shape
    }

    /// Modality (0008,0060), empty when the file has none.
    pub(crate) fn modality(&self) -> &str {
        &self.modality
    }

    /// How the original and copies compress.
    pub(crate) fn ratios(&self) -> Ratios {
        self.ratios
    }

    /// Number of frames, at least 1.
    pub(crate) fn num_frames(&self) -> usize {
        self.frames().len()
    }

    /// Offset of the dataset in an instance, behind the file meta.
    pub(crate) fn dataset_at(&self) -> usize {
        self.dataset_at
    }

    /// Where the pixels lie in an instance.
    pub(crate) fn pixels(&self) -> Range<usize> {
        self.pixels.clone()
    }

    fn frames(&self) -> std::slice::ChunksExact<'_, u8> {
        let frame_bytes = self.shape.frame_length().unwrap_or(u64::MAX);
        self.data[self.pixels.clone()].chunks_exact(usize::try_from(frame_bytes).unwrap_or(usize::MAX))
    }

    /// Appends a copy to `out`: identity in the placeholders, frames perturbed as `seed` says.
    pub(crate) fn append(&self, out: &mut Vec<u8>, study: &StudyIdentity, instance: &str, number: u32, seed: u64) {
        let base = out.len();
        out.extend_from_slice(&self.data[..self.pixels.start]);
        for (index, frame) in self.frames().enumerate() {
            let mut random = Random::new(seed, index as u64);
            perturb::append(out, frame, &self.shape, self.mean_gap, &mut random);
        }
        out.extend_from_slice(&self.data[self.pixels.end..]);
        let holes = &self.holes;
        let number = (number + 1).to_string();
        let values = [
            (holes.instances[0], UID_LENGTH, instance),
            (holes.instances[1], UID_LENGTH, instance),
            (holes.study, UID_LENGTH, &study.study),
            (holes.series, UID_LENGTH, &study.series),
            (holes.name, NAME_LENGTH, &study.name),
            (holes.patient_id, ID_LENGTH, &study.patient_id),
            (holes.accession, ID_LENGTH, &study.accession),
            (holes.date, 8, &study.date),
            (holes.number, NUMBER_LENGTH, &number),
        ];
        for (at, length, text) in values {
            let place = &mut out[base + at..base + at + length];
            place.fill(b' ');
            let text = &text.as_bytes()[..text.len().min(length)];
            place[..text.len()].copy_from_slice(text);
        }
    }
}

fn value<'a>(data: &'a [u8], places: &[Place], tag: element::Tag) -> Option<&'a [u8]> {
    let place = places.iter().find(|place| place.tag == tag)?;
    data.get(place.value..place.end)
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .rposition(|byte| !matches!(byte, 0 | b' '))
        .map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
