//! MR Image Storage (PS3.3 section A.4).

use super::StudySpec;
use super::modules::{self, Common};
use crate::dataset::Dataset;
use crate::phantom::head::{Grid, Head};

/// Between slices, in millimetres.
const SPACING_MM: f64 = 3.5;

pub(super) fn dataset(spec: &StudySpec, size: [u32; 3], index: u32) -> Dataset {
    let [slices, rows, columns] = size;
    let mut dataset = modules::common(
        spec,
        Common {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.4",
            modality: "MR",
            study_description: "MR brain phantom",
            series_description: "T1 spin echo axial",
            body_part: "BRAIN",
            image_type: "ORIGINAL\\PRIMARY\\OTHER",
            index,
        },
    );
    modules::axial_plane(&mut dataset, spec, size, index, 240.0, SPACING_MM);
    dataset.set_texts(&[
        ((0x0018, 0x0020), b"CS", "SE"),
        ((0x0018, 0x0021), b"CS", "SK"),
        ((0x0018, 0x0022), b"CS", ""),
        ((0x0018, 0x0023), b"CS", "2D"),
        ((0x0018, 0x0080), b"DS", "520"),
        ((0x0018, 0x0081), b"DS", "14"),
        ((0x0018, 0x0083), b"DS", "1"),
        ((0x0018, 0x0084), b"DS", "63.87"),
        ((0x0018, 0x0085), b"SH", "1H"),
        ((0x0018, 0x0086), b"IS", "1"),
        ((0x0018, 0x0087), b"DS", "1.5"),
        ((0x0018, 0x0088), b"DS", &modules::decimal(SPACING_MM)),
        ((0x0018, 0x0091), b"IS", "1"),
        ((0x0018, 0x1030), b"LO", "Phantom T1"),
        ((0x0018, 0x1250), b"SH", "HEAD"),
        ((0x0018, 0x1312), b"CS", "ROW"),
        ((0x0018, 0x1314), b"DS", "90"),
        ((0x0028, 0x1050), b"DS", "450"),
        ((0x0028, 0x1051), b"DS", "900"),
    ]);
    let signal = Head::new(spec.seed).t1_signal(Grid { slices, rows, columns }, index);
    let stored = signal.iter().map(|&value| value as u16).collect();
    modules::grey_pixels(&mut dataset, rows, columns, 16, false, stored);
    dataset
}
