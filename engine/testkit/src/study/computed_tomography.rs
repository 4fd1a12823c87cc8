//! CT Image Storage (PS3.3 section A.3).

use super::StudySpec;
use super::modules::{self, Common};
use crate::dataset::Dataset;
use crate::phantom::head::{Grid, Head};

/// Between slices, in millimetres.
const SPACING_MM: f64 = 2.5;

pub(super) fn dataset(spec: &StudySpec, size: [u32; 3], index: u32) -> Dataset {
    let [slices, rows, columns] = size;
    let mut dataset = modules::common(
        spec,
        Common {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.2",
            modality: "CT",
            study_description: "CT head phantom",
            series_description: "Head 2.5 mm",
            body_part: "HEAD",
            image_type: "ORIGINAL\\PRIMARY\\AXIAL",
            index,
        },
    );
    modules::axial_plane(&mut dataset, spec, size, index, 240.0, SPACING_MM);
    dataset.set_texts(&[
        ((0x0018, 0x0022), b"CS", "HELICAL MODE"),
        ((0x0018, 0x0060), b"DS", "120"),
        ((0x0018, 0x0090), b"DS", "500"),
        ((0x0018, 0x1030), b"LO", "Phantom head"),
        ((0x0018, 0x1100), b"DS", "240"),
        ((0x0018, 0x1120), b"DS", "0"),
        ((0x0018, 0x1140), b"CS", "CW"),
        ((0x0018, 0x1150), b"IS", "800"),
        ((0x0018, 0x1151), b"IS", "250"),
        ((0x0018, 0x1152), b"IS", "200"),
        ((0x0018, 0x1160), b"SH", "HEAD FILTER"),
        ((0x0018, 0x1210), b"SH", "STANDARD"),
        ((0x0028, 0x1050), b"DS", "40\\600"),
        ((0x0028, 0x1051), b"DS", "80\\2800"),
        ((0x0028, 0x1052), b"DS", "-1024"),
        ((0x0028, 0x1053), b"DS", "1"),
        ((0x0028, 0x1054), b"LO", "HU"),
        ((0x0028, 0x1055), b"LO", "BRAIN\\BONE"),
    ]);
    let hounsfield = Head::new(spec.seed).hounsfield(Grid { slices, rows, columns }, index);
    let stored = hounsfield.iter().map(|&value| (value + 1024) as u16).collect();
    modules::grey_pixels(&mut dataset, rows, columns, 12, true, stored);
    dataset
}
