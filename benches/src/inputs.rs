//! What is measured with: frames by image class, and any number of distinct instances.

use std::path::PathBuf;

use bytes::Bytes;
use septum_core::dicom::{Rejection, SplitEvent, SplitInstance, SplitLimits, Splitter, UnitKind};
use septum_core::frame_shape::FrameShape;
use septum_testkit::{StudyKind, StudySpec};

/// Native frames of one kind of image.
#[derive(Debug, Clone)]
pub struct ImageClass {
    /// Short name, for the names of comparisons.
    pub name: String,
    /// Frames with their shapes.
    pub frames: Vec<(FrameShape, Bytes)>,
}

impl ImageClass {
    /// Bytes of all frames.
    pub fn num_bytes(&self) -> u64 {
        self.frames.iter().map(|(_, frame)| frame.len() as u64).sum()
    }

    /// Adds the native frames of a file, as long as the class stays below `bytes_max`.
    fn add(&mut self, file: Vec<u8>, bytes_max: u64) {
        let Ok((split, units)) = split_file(&Bytes::from(file)) else {
            return;
        };
        let Some(pixels) = split.start.pixels else { return };
        let Some(shape) = pixels.shape.filter(|_| pixels.unit == UnitKind::Frame) else {
            return;
        };
        for frame in units.into_iter().take(pixels.num_frames as usize) {
            if self.frames.is_empty() || self.num_bytes() + frame.len() as u64 <= bytes_max {
                self.frames.push((shape, frame));
            }
        }
    }
}

/// Splits a whole file: the instance and its units.
///
/// # Errors
/// As [`Splitter`].
pub fn split_file(file: &Bytes) -> Result<(SplitInstance, Vec<Bytes>), Rejection> {
    let mut splitter = Splitter::new(SplitLimits::default());
    let mut events = Vec::new();
    splitter.push(file.clone(), &mut events)?;
    let split = splitter.finish(&mut events)?;
    let units = events.into_iter().filter_map(|event| match event {
        SplitEvent::Unit(unit) => Some(unit.bytes),
        SplitEvent::Identified(_) | SplitEvent::Started(_) | SplitEvent::ValueUnit(_) => None,
    });
    Ok((split, units.collect()))
}

/// The phantoms of the testkit, and real images where the corpus is there: at most `bytes_max` of each class.
pub fn image_classes(bytes_max: u64) -> Vec<ImageClass> {
    let phantoms = [
        ("ct-phantom", StudySpec::ct(8, 11)),
        ("mr-phantom", StudySpec::mr(16, 12)),
        ("us-rgb-phantom", StudySpec::ultrasound_cine(4, 13)),
        ("mammogram-phantom", StudySpec::mammogram(14)),
    ];
    let mut classes = Vec::new();
    for (name, spec) in phantoms {
        let mut class = ImageClass {
            name: name.to_owned(),
            frames: Vec::new(),
        };
        // From the middle of a volume, where there is something to see.
        let first = if matches!(spec.kind, StudyKind::Mammogram { .. }) {
            0
        } else {
            spec.num_instances() / 3
        };
        for index in first..spec.num_instances() {
            if class.num_bytes() < bytes_max {
                class.add(spec.instance(index).bytes, bytes_max);
            }
        }
        classes.push(class);
    }
    classes.extend(corpus_classes(bytes_max));
    classes.retain(|class| !class.frames.is_empty());
    classes
}

/// Real images, by folder or file of the corpus.
const CORPUS: [(&str, &[&str]); 5] = [
    ("ct-real", &["series/ct-ge-hispeed-28", "rt/rt-utils"]),
    ("mr-real", &["series/mr-ge-signa-fse-20", "series/mr-siemens-t1-sag-6"]),
    ("dx-real", &["large/cat.dcm"]),
    (
        "us-rgb-real",
        &[
            "encapsulation/dicomparser/IM00001.implicit_little_endian.dcm",
            "pydicom/examples_rgb_color.dcm",
        ],
    ),
    (
        "palette-real",
        &["pydicom-data/OBXXXX1A.dcm", "pydicom/examples_palette.dcm"],
    ),
];

/// The shared corpus: `SEPTUM_CORPUS`, or beside the clone.
fn corpus() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("SEPTUM_CORPUS").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn corpus_classes(bytes_max: u64) -> Vec<ImageClass> {
    let Some(corpus) = corpus() else {
        eprintln!("no corpus here (SEPTUM_CORPUS): phantoms only");
        return Vec::new();
    };
    let class = |(name, places): (&str, &[&str])| {
        let mut class = ImageClass {
            name: name.to_owned(),
            frames: Vec::new(),
        };
        for place in places {
            let path = corpus.join(place);
            let mut files: Vec<PathBuf> = match std::fs::read_dir(&path) {
                Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
                Err(_) => vec![path],
            };
            files.sort();
            for file in files {
                if let Ok(bytes) = std::fs::read(&file)
                    && class.num_bytes() < bytes_max
                {
                    class.add(bytes, bytes_max);
                }
            }
        }
        class
    };
    CORPUS.map(class).into()
}

/// Digits at the end of each UID that tell one copy from another.
const SERIAL_DIGITS: usize = 9;

/// A CT series as a source of any number of distinct instances: the same images with other UIDs, and the pixel bytes
/// shared between all copies, so that a large upload needs little memory and no time to prepare.
pub struct InstanceSource {
    originals: Vec<Original>,
}

struct Original {
    /// Everything up to the pixels, and a little more.
    head: Vec<u8>,
    rest: Bytes,
    /// Where the last digits of the study's and the series' UIDs stand in `head`.
    of_study: Vec<usize>,
    /// The same of the instance's UID.
    of_instance: Vec<usize>,
}

impl InstanceSource {
    /// Copies of the first `num_originals` slices of a 512 × 512 CT.
    pub fn ct(num_originals: u32, seed: u64) -> Self {
        let spec = StudySpec::ct(num_originals, seed);
        let originals = spec.instances().map(|instance| {
            let mut head = instance.bytes;
            let rest = Bytes::from(head.split_off(head.len().min(4096)));
            let places = |uid: &str| {
                let found: Vec<usize> = head
                    .windows(uid.len())
                    .enumerate()
                    .filter(|(_, at)| *at == uid.as_bytes())
                    .map(|(at, _)| at)
                    .collect();
                found
                    .into_iter()
                    .map(|at| at + uid.len() - SERIAL_DIGITS)
                    .collect::<Vec<_>>()
            };
            let of_study = [
                places(&instance.study_instance_uid),
                places(&instance.series_instance_uid),
            ]
            .concat();
            let of_instance = places(&instance.sop_instance_uid);
            Original {
                head,
                rest,
                of_study,
                of_instance,
            }
        });
        Self {
            originals: originals.collect(),
        }
    }

    /// Instance `index` of study `study` as head and rest of a file. Numbers up to 10⁹ − 1 give distinct UIDs.
    pub fn instance(&self, study: u32, index: u32) -> [Bytes; 2] {
        let original = &self.originals[index as usize % self.originals.len()];
        let mut head = original.head.clone();
        for (places, number) in [(&original.of_study, study), (&original.of_instance, index)] {
            let digits = format!("{number:0SERIAL_DIGITS$}");
            for &at in places {
                if let Some(place) = head.get_mut(at..at + SERIAL_DIGITS) {
                    place.copy_from_slice(digits.as_bytes());
                }
            }
        }
        [head.into(), original.rest.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn copies_are_distinct_instances_with_the_same_pixels() {
        let source = InstanceSource::ct(2, 5);
        let mut seen = HashSet::new();
        let mut digests = HashSet::new();
        for study in 0..2 {
            let mut of_study = HashSet::new();
            for index in 0..6 {
                let (split, units) = split_file(&Bytes::from(source.instance(study, index).concat())).expect("sound");
                let identity = split.start.identity;
                of_study.insert((identity.study.clone(), identity.series));
                assert!(seen.insert((identity.study, identity.instance)));
                digests.insert(blake3::hash(&units.concat()));
            }
            assert_eq!(of_study.len(), 1);
        }
        assert_eq!(digests.len(), 2);
    }

    #[test]
    fn classes_have_frames_of_their_shape() {
        for class in image_classes(1 << 20) {
            assert!(!class.frames.is_empty(), "{}", class.name);
            for (shape, frame) in &class.frames {
                assert_eq!(shape.frame_length(), Some(frame.len() as u64), "{}", class.name);
            }
        }
    }
}
