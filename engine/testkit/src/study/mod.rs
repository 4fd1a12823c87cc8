//! Whole studies: what the demo shows, and what tests and benches send.
//!
//! Every instance carries the modules that its SOP class asks for (PS3.3 annex A), so that viewers place and measure
//! it. Instances are made one at a time; a study of any length needs the memory of one.

mod computed_tomography;
mod magnetic_resonance;
mod mammography;
mod modules;
mod ultrasound;

use crate::dataset::{Dataset, Element, Value};
use crate::part10::{FileOptions, RLE_LOSSLESS, TransferSyntax, write_file};
use crate::{rle, tags};

/// One DICOM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Study Instance UID.
    pub study_instance_uid: String,
    /// Series Instance UID.
    pub series_instance_uid: String,
    /// SOP Instance UID.
    pub sop_instance_uid: String,
    /// The file: preamble, file meta, dataset (PS3.10 section 7).
    pub bytes: Vec<u8>,
}

/// Who is on the images: nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patient {
    /// Patient's Name, `Family^Given^Middle`.
    pub name: String,
    /// Patient ID.
    pub id: String,
    /// Issuer of Patient ID.
    pub issuer: String,
    /// Patient's Birth Date, `YYYYMMDD`.
    pub birth_date: String,
    /// Patient's Sex: `F`, `M` or `O`.
    pub sex: String,
}

impl Patient {
    /// An invented patient: `DEMO^<given>^PHANTOM`, Patient ID `DEMO-<number>`.
    pub fn demo(given: &str, number: u64, sex: &str) -> Self {
        Self {
            name: format!("DEMO^{given}^PHANTOM"),
            id: format!("DEMO-{number:06}"),
            issuer: "SEPTUM-DEMO".into(),
            birth_date: format!("19{:02}0{}1{}", 40 + number % 50, 1 + number % 9, number % 10),
            sex: sex.into(),
        }
    }
}

/// What is examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StudyKind {
    /// CT of a head, one instance a slice: signed 16 bits, 12 stored, Hounsfield units by Rescale Intercept −1024.
    Ct {
        /// Slices.
        slices: u32,
        /// Rows, at most 65,535.
        rows: u16,
        /// Columns, at most 65,535.
        columns: u16,
    },
    /// T1-weighted MR of a head, one instance a slice: unsigned 16 bits.
    Mr {
        /// Slices.
        slices: u32,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Cardiac ultrasound cine: one instance with many RGB frames of 8 bits.
    UltrasoundCine {
        /// Frames.
        frames: u32,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Digital mammography for presentation, four views (R CC, L CC, R MLO, L MLO): unsigned 16 bits, 12 stored.
    Mammogram {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

/// A study to make. Equal specifications give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudySpec {
    /// What is examined.
    pub kind: StudyKind,
    /// Where UIDs, noise and lesions come from. Studies with different seeds share no UID.
    pub seed: u64,
    /// Who.
    pub patient: Patient,
    /// How the instances are written. [`RLE_LOSSLESS`] encodes; another encapsulated syntax is not known here and
    /// is written as explicit little endian.
    pub transfer_syntax: TransferSyntax,
}

impl StudySpec {
    /// A study of the kind, with a patient of its own.
    pub fn new(kind: StudyKind, seed: u64) -> Self {
        let (given, sex) = match kind {
            StudyKind::Ct { .. } => ("CT", "M"),
            StudyKind::Mr { .. } => ("MR", "F"),
            StudyKind::UltrasoundCine { .. } => ("US", "M"),
            StudyKind::Mammogram { .. } => ("MG", "F"),
        };
        let transfer_syntax = TransferSyntax::ExplicitLittleEndian;
        Self {
            kind,
            seed,
            patient: Patient::demo(given, seed % 1_000_000, sex),
            transfer_syntax,
        }
    }

    /// A CT of 512 × 512 slices, 0.5 MiB each.
    pub fn ct(slices: u32, seed: u64) -> Self {
        Self::new(
            StudyKind::Ct {
                slices,
                rows: 512,
                columns: 512,
            },
            seed,
        )
    }

    /// An MR of 256 × 256 slices, 128 KiB each.
    pub fn mr(slices: u32, seed: u64) -> Self {
        Self::new(
            StudyKind::Mr {
                slices,
                rows: 256,
                columns: 256,
            },
            seed,
        )
    }

    /// A cine of 480 × 640 RGB frames, 0.9 MiB each.
    pub fn ultrasound_cine(frames: u32, seed: u64) -> Self {
        Self::new(
            StudyKind::UltrasoundCine {
                frames,
                rows: 480,
                columns: 640,
            },
            seed,
        )
    }

    /// Four views of 2,000 × 1,500, 6 MB each.
    pub fn mammogram(seed: u64) -> Self {
        Self::new(
            StudyKind::Mammogram {
                rows: 2000,
                columns: 1500,
            },
            seed,
        )
    }

    /// How many instances the study has.
    pub fn num_instances(&self) -> u32 {
        match self.kind {
            StudyKind::Ct { slices, .. } | StudyKind::Mr { slices, .. } => slices,
            StudyKind::UltrasoundCine { .. } => 1,
            StudyKind::Mammogram { .. } => 4,
        }
    }

    /// The instances, each made when it is asked for.
    pub fn instances(&self) -> impl Iterator<Item = Instance> + '_ {
        (0..self.num_instances()).map(|index| self.instance(index))
    }

    /// Instance `index` (from 0), as a file.
    pub fn instance(&self, index: u32) -> Instance {
        let mut dataset = self.dataset(index);
        let transfer_syntax = match self.transfer_syntax {
            RLE_LOSSLESS => {
                encode_rle(&mut dataset);
                RLE_LOSSLESS
            }
            TransferSyntax::Encapsulated(_) => TransferSyntax::ExplicitLittleEndian,
            native => native,
        };
        finish(dataset, transfer_syntax, FileOptions::default())
    }

    /// The dataset of instance `index`, with native pixel data.
    pub fn dataset(&self, index: u32) -> Dataset {
        match self.kind {
            StudyKind::Ct { slices, rows, columns } => {
                computed_tomography::dataset(self, [slices, rows.into(), columns.into()], index)
            }
            StudyKind::Mr { slices, rows, columns } => {
                magnetic_resonance::dataset(self, [slices, rows.into(), columns.into()], index)
            }
            StudyKind::UltrasoundCine { frames, rows, columns } => ultrasound::dataset(self, frames, rows, columns),
            StudyKind::Mammogram { rows, columns } => mammography::dataset(self, rows, columns, index),
        }
    }
}

/// The studies that the demo loads: a CT volume, an MR volume, an ultrasound cine and a mammogram. About 100 MB.
pub fn demo_studies() -> Vec<StudySpec> {
    vec![
        StudySpec::ct(80, 1001),
        StudySpec::mr(48, 1002),
        StudySpec::ultrasound_cine(30, 1003),
        StudySpec::mammogram(1004),
    ]
}

/// Writes the dataset and takes its identity from it.
pub(crate) fn finish(dataset: Dataset, transfer_syntax: TransferSyntax, options: FileOptions) -> Instance {
    Instance {
        study_instance_uid: dataset.text(tags::STUDY_INSTANCE_UID).into(),
        series_instance_uid: dataset.text(tags::SERIES_INSTANCE_UID).into(),
        sop_instance_uid: dataset.text(tags::SOP_INSTANCE_UID).into(),
        bytes: write_file(&dataset, transfer_syntax, options),
    }
}

/// Replaces native pixel data by RLE Lossless, one fragment a frame, with a Basic Offset Table.
fn encode_rle(dataset: &mut Dataset) {
    let number = |tag| match dataset.get(tag).map(|e| &e.value) {
        Some(Value::Words(words)) => words.first().map_or(0, |&word| usize::from(word)),
        Some(Value::Text(text)) => text.trim().parse().unwrap_or(0),
        _ => 0,
    };
    let (rows, columns) = (number(tags::ROWS), number(tags::COLUMNS));
    let (samples, bits) = (number(tags::SAMPLES_PER_PIXEL).max(1), number(tags::BITS_ALLOCATED));
    let pixels: Vec<u8> = match dataset.get(tags::PIXEL_DATA).map(|e| &e.value) {
        Some(Value::Words(words)) => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
        Some(Value::Bytes(bytes)) => bytes.clone(),
        _ => return,
    };
    let frame_bytes = (rows * columns * samples * bits / 8).max(1);
    let mut fragments: Vec<Vec<u8>> = Vec::new();
    let mut offsets = Vec::new();
    let mut offset = 0u32;
    for frame in pixels.chunks_exact(frame_bytes) {
        let fragment = rle::encode_frame(frame, columns, samples, bits / 8);
        offsets.push(offset);
        offset += 8 + fragment.len() as u32;
        fragments.push(fragment);
    }
    dataset.set(Element {
        tag: tags::PIXEL_DATA,
        vr: *b"OB",
        value: Value::Fragments { offsets, fragments },
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn small() -> Vec<StudySpec> {
        vec![
            StudySpec::new(
                StudyKind::Ct {
                    slices: 3,
                    rows: 32,
                    columns: 40,
                },
                1,
            ),
            StudySpec::new(
                StudyKind::Mr {
                    slices: 3,
                    rows: 32,
                    columns: 40,
                },
                2,
            ),
            StudySpec::new(
                StudyKind::UltrasoundCine {
                    frames: 4,
                    rows: 24,
                    columns: 32,
                },
                3,
            ),
            StudySpec::new(StudyKind::Mammogram { rows: 40, columns: 30 }, 4),
        ]
    }

    #[test]
    fn instances_repeat_and_have_identity() {
        let mut seen = HashSet::new();
        for spec in small() {
            let instances: Vec<Instance> = spec.instances().collect();
            assert_eq!(instances.len(), spec.num_instances() as usize);
            assert_eq!(instances, spec.instances().collect::<Vec<_>>());
            for instance in instances {
                assert_eq!(&instance.bytes[128..132], b"DICM");
                assert!(instance.bytes.len() % 2 == 0);
                assert!(seen.insert(instance.sop_instance_uid));
            }
        }
    }

    #[test]
    fn every_dataset_is_in_order_and_has_what_identifies_it() {
        for spec in small() {
            let dataset = spec.dataset(0);
            assert!(dataset.elements().is_sorted_by_key(|e| e.tag));
            for tag in [
                tags::SOP_CLASS_UID,
                tags::MODALITY,
                tags::PATIENT_ID,
                tags::STUDY_INSTANCE_UID,
            ] {
                assert_ne!(dataset.text(tag), "", "{tag:?}");
            }
            assert!(dataset.text(tags::PATIENT_NAME).starts_with("DEMO^"));
        }
    }

    #[test]
    fn rle_has_one_fragment_a_frame() {
        for mut spec in small() {
            spec.transfer_syntax = RLE_LOSSLESS;
            let mut dataset = spec.dataset(0);
            encode_rle(&mut dataset);
            let num_frames = match spec.kind {
                StudyKind::UltrasoundCine { frames, .. } => frames as usize,
                _ => 1,
            };
            match &dataset.get(tags::PIXEL_DATA).expect("pixels").value {
                Value::Fragments { offsets, fragments } => {
                    assert_eq!((offsets.len(), fragments.len()), (num_frames, num_frames));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
