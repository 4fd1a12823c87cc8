//! Instances to send: images of a folder, or phantoms, perturbed so that each copy is different and compresses like the
//! original. Everything follows from a seed, so that what came back can be compared without having kept what was sent.
//!
//! | module | owns |
//! |---|---|
//! | [`element`] | the top level of an Explicit VR Little Endian dataset |
//! | [`source`] | an image with placeholders for identity |
//! | [`perturb`] | a frame made different |
//! | [`identity`] | UIDs, patients and dates |
//! | [`set`] | numbered instances: which study, which source |

pub(crate) mod element;
pub(crate) mod identity;
mod perturb;
pub(crate) mod set;
pub(crate) mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use septum_testkit::{StudyKind, StudySpec};
use serde::Serialize;
use thiserror::Error;

use source::{Source, SourceError};

/// Instances of the phantoms' CT volume that serve as sources.
const NUM_PHANTOM_SLICES: u32 = 8;

/// Why there is nothing to send.
#[derive(Debug, Error)]
pub(crate) enum CorpusError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read the folder of images: {0}")]
    Read(#[from] std::io::Error),
    /// No file of the folder is a source.
    #[error("none of the {0} files in the folder is an image with native pixels in Explicit VR Little Endian")]
    NoImage(usize),
    /// A set needs an image that the folder does not have.
    #[error("the folder has no {0}")]
    Missing(&'static str),
    /// An image that was to be used cannot be.
    #[error("an image cannot be used: {0}")]
    Source(#[from] SourceError),
}

/// Sources by what they are good for.
#[derive(Debug)]
pub(crate) struct Corpus {
    /// 512 × 512 images with one 16-bit sample.
    pub(crate) ct: Arc<Vec<Source>>,
    /// Everything, one group for each modality and shape.
    pub(crate) mixed: Arc<Vec<Source>>,
    /// One object with 100 frames.
    pub(crate) multi_frame: Arc<Vec<Source>>,
    /// A small image, for studies that are only searched for.
    pub(crate) small: Arc<Vec<Source>>,
    /// Where they are from.
    pub(crate) origin: String,
}

/// What is told of one group of sources.
#[derive(Debug, Serialize)]
pub(crate) struct Described {
    /// Modality, rows, columns, frames.
    pub(crate) images: String,
    /// Sources in the group.
    pub(crate) num_sources: usize,
    /// Bytes of the first instance.
    pub(crate) instance_bytes: usize,
    /// Native over compressed bytes of the originals.
    pub(crate) ratio_original: f64,
    /// The same of copies.
    pub(crate) ratio_copies: f64,
}

/// What a run takes from a corpus; what it does not take is not made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// [`Corpus::ct`].
    pub(crate) ct: bool,
    /// [`Corpus::mixed`].
    pub(crate) mixed: bool,
    /// [`Corpus::multi_frame`].
    pub(crate) multi_frame: bool,
    /// [`Corpus::small`].
    pub(crate) small: bool,
}

impl Corpus {
    /// Images of a folder and the folders in it; without a folder, phantoms of the product's own generator.
    pub(crate) fn new(folder: Option<&Path>, needs: Needs) -> Result<Self, CorpusError> {
        let needs_ct = needs.ct || needs.multi_frame;
        let (ct, mixed, origin) = match folder {
            Some(folder) => {
                let all = images(folder)?;
                let ct: Vec<usize> = (0..all.len())
                    .filter(|index| needs_ct && is_ct_like(&all[*index].1))
                    .collect();
                let ct = ct
                    .into_iter()
                    .map(|index| Source::open(&all[index].0))
                    .collect::<Result<_, _>>()?;
                let name = folder
                    .file_name()
                    .map_or_else(|| "folder".into(), |name| name.to_string_lossy().into_owned());
                (
                    ct,
                    all.into_iter()
                        .filter(|_| needs.mixed)
                        .map(|(_, source)| source)
                        .collect(),
                    name,
                )
            }
            None => {
                let ct = if needs_ct {
                    phantoms(StudySpec::ct(NUM_PHANTOM_SLICES, 51))?
                } else {
                    Vec::new()
                };
                let mixed = if needs.mixed { mixed_phantoms()? } else { Vec::new() };
                (ct, mixed, "phantoms".into())
            }
        };
        let multi_frame = if needs.multi_frame {
            let first = ct
                .first()
                .ok_or(CorpusError::Missing("512 × 512 image with one 16-bit sample"))?;
            vec![first.multi_frame(100)?]
        } else {
            Vec::new()
        };
        if needs.ct && ct.is_empty() {
            return Err(CorpusError::Missing("512 × 512 image with one 16-bit sample"));
        }
        let (rows, columns) = (64, 64);
        let small = StudySpec::new(
            StudyKind::Mr {
                slices: 3,
                rows,
                columns,
            },
            56,
        );
        let small = if needs.small {
            vec![Source::parse(&small.instance(1).bytes)?]
        } else {
            Vec::new()
        };
        Ok(Self {
            ct: Arc::new(ct),
            mixed: Arc::new(mixed),
            multi_frame: Arc::new(multi_frame),
            small: Arc::new(small),
            origin,
        })
    }

    /// The groups and how their copies compress.
    pub(crate) fn describe(&self) -> Vec<Described> {
        let all = [&self.ct, &self.mixed, &self.multi_frame, &self.small];
        let sources = all.into_iter().flat_map(|sources| sources.iter());
        let mut groups: BTreeMap<String, Vec<&Source>> = BTreeMap::new();
        for source in sources {
            groups.entry(group(source)).or_default().push(source);
        }
        let mean = |sources: &[&Source], ratio: fn(&Source) -> f64| {
            sources.iter().map(|source| ratio(source)).sum::<f64>() / sources.len() as f64
        };
        groups
            .into_iter()
            .map(|(images, sources)| Described {
                images,
                num_sources: sources.len(),
                instance_bytes: sources[0].len(),
                ratio_original: mean(&sources, |source| source.ratios().original),
                ratio_copies: mean(&sources, |source| source.ratios().copies),
            })
            .collect()
    }
}

fn phantoms(spec: StudySpec) -> Result<Vec<Source>, SourceError> {
    spec.instances()
        .map(|instance| Source::parse(&instance.bytes))
        .collect()
}

/// CT, MR, a short cine in colour, two mammograms.
fn mixed_phantoms() -> Result<Vec<Source>, SourceError> {
    let mut found = phantoms(StudySpec::ct(4, 52))?;
    found.extend(phantoms(StudySpec::mr(4, 53))?);
    found.extend(phantoms(StudySpec::ultrasound_cine(8, 54))?);
    let mammogram = StudySpec::mammogram(55);
    for view in [0, 2] {
        found.push(Source::parse(&mammogram.instance(view).bytes)?);
    }
    Ok(found)
}

/// The usable files of a folder, in the order of their paths.
fn images(folder: &Path) -> Result<Vec<(PathBuf, Source)>, CorpusError> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let num_files = files.len();
    let found: Vec<_> = files
        .into_iter()
        .filter_map(|file| Source::open(&file).ok().map(|source| (file, source)))
        .collect();
    if found.is_empty() {
        return Err(CorpusError::NoImage(num_files));
    }
    Ok(found)
}

fn is_ct_like(source: &Source) -> bool {
    let shape = source.shape();
    (shape.rows, shape.columns, shape.samples_per_pixel, shape.bits_allocated) == (512, 512, 1, 16)
        && source.num_frames() == 1
}

/// Modality and shape in words: images of one group can be in one series.
pub(crate) fn group(source: &Source) -> String {
    let shape = source.shape();
    let (modality, samples, bits) = (source.modality(), shape.samples_per_pixel, shape.bits_allocated);
    let frames = source.num_frames();
    format!(
        "{modality} {}×{}×{samples}×{bits} bit, {frames} frames",
        shape.rows, shape.columns
    )
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), std::io::Error> {
    // A stack of our own: depth is bounded by what the file system holds, not by ours.
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    Ok(())
}
