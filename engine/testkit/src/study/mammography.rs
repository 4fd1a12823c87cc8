//! Digital Mammography X-Ray Image Storage, for presentation (PS3.3 section A.27).

use super::StudySpec;
use super::modules::{self, Common};
use crate::dataset::{Dataset, Element};
use crate::phantom::mammogram::{self, View};

/// The four views of a screening, in hanging order.
const VIEWS: [(View, [&str; 3]); 4] = [
    (
        View {
            left: false,
            oblique: false,
        },
        ["399162004", "cranio-caudal", "R CC"],
    ),
    (
        View {
            left: true,
            oblique: false,
        },
        ["399162004", "cranio-caudal", "L CC"],
    ),
    (
        View {
            left: false,
            oblique: true,
        },
        ["399368009", "medio-lateral oblique", "R MLO"],
    ),
    (
        View {
            left: true,
            oblique: true,
        },
        ["399368009", "medio-lateral oblique", "L MLO"],
    ),
];

pub(super) fn dataset(spec: &StudySpec, rows: u16, columns: u16, index: u32) -> Dataset {
    let (view, [code, meaning, label]) = VIEWS[index as usize % VIEWS.len()];
    let mut dataset = modules::common(
        spec,
        Common {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1.2",
            modality: "MG",
            study_description: "Screening mammography phantom",
            series_description: "Mammography views",
            body_part: "BREAST",
            image_type: "ORIGINAL\\PRIMARY",
            index,
        },
    );
    // A detector of 24 cm height, whatever the matrix.
    let spacing = modules::decimal(240.0 / f64::from(rows.max(1)));
    let (away, foot) = if view.left {
        ("A", if view.oblique { "FR" } else { "R" })
    } else {
        ("P", if view.oblique { "FL" } else { "L" })
    };
    dataset.set_texts(&[
        ((0x0008, 0x0068), b"CS", "FOR PRESENTATION"),
        ((0x0018, 0x0060), b"DS", "29"),
        ((0x0018, 0x1030), b"LO", label),
        ((0x0018, 0x1110), b"DS", "660"),
        ((0x0018, 0x1111), b"DS", "650"),
        ((0x0018, 0x1114), b"DS", "1.01538"),
        ((0x0018, 0x1147), b"CS", "RECTANGLE"),
        ((0x0018, 0x1164), b"DS", &format!("{spacing}\\{spacing}")),
        ((0x0018, 0x1166), b"CS", "NONE"),
        ((0x0018, 0x1191), b"CS", "TUNGSTEN"),
        ((0x0018, 0x11A0), b"DS", "52"),
        ((0x0018, 0x11A2), b"DS", "98.07"),
        ((0x0018, 0x1508), b"CS", "MAMMOGRAPHIC"),
        ((0x0018, 0x1510), b"DS", if view.oblique { "45" } else { "0" }),
        ((0x0018, 0x7004), b"CS", "DIRECT"),
        ((0x0020, 0x0020), b"CS", &format!("{away}\\{foot}")),
        ((0x0020, 0x0062), b"CS", if view.left { "L" } else { "R" }),
        ((0x0028, 0x0301), b"CS", "NO"),
        ((0x0028, 0x1040), b"CS", "LOG"),
        ((0x0028, 0x1050), b"DS", "1700"),
        ((0x0028, 0x1051), b"DS", "3200"),
        ((0x0028, 0x1052), b"DS", "0"),
        ((0x0028, 0x1053), b"DS", "1"),
        ((0x0028, 0x1054), b"LO", "US"),
        ((0x0028, 0x1056), b"CS", "LINEAR"),
        ((0x0028, 0x1300), b"CS", "NO"),
        ((0x0028, 0x1350), b"CS", "NO"),
        ((0x0028, 0x2110), b"CS", "00"),
        ((0x0040, 0x0318), b"CS", "BREAST"),
        ((0x2050, 0x0020), b"CS", "IDENTITY"),
    ]);
    dataset.set(Element {
        tag: (0x0028, 0x1041),
        vr: *b"SS",
        value: crate::dataset::Value::Words(vec![0xFFFF]),
    });
    dataset.set(Element::code((0x0008, 0x2218), "76752008", "SCT", "Breast"));
    dataset.set(Element::sequence((0x0040, 0x0555), Vec::new()));
    let mut view_code = Element::code((0x0054, 0x0220), code, "SCT", meaning);
    if let crate::dataset::Value::Items(items, _) = &mut view_code.value {
        for item in items {
            item.set(Element::sequence((0x0054, 0x0222), Vec::new()));
        }
    }
    dataset.set(view_code);
    let pixels = mammogram::image(spec.seed, rows.into(), columns.into(), view);
    modules::grey_pixels(&mut dataset, rows.into(), columns.into(), 12, false, pixels);
    dataset
}
