//! Ultrasound Multi-frame Image Storage (PS3.3 section A.7).

use super::StudySpec;
use super::modules::{self, Common};
use crate::dataset::{Dataset, Element};
use crate::phantom::ultrasound;
use crate::tags;

/// One frame's time, in milliseconds.
const FRAME_TIME_MS: &str = "33.33";

pub(super) fn dataset(spec: &StudySpec, frames: u32, rows: u16, columns: u16) -> Dataset {
    let mut dataset = modules::common(
        spec,
        Common {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.3.1",
            modality: "US",
            study_description: "Echocardiography phantom",
            series_description: "Colour flow cine",
            body_part: "HEART",
            image_type: "ORIGINAL\\PRIMARY",
            index: 0,
        },
    );
    dataset.set_texts(&[
        ((0x0008, 0x2144), b"IS", "30"),
        ((0x0018, 0x0040), b"IS", "30"),
        ((0x0018, 0x1063), b"DS", FRAME_TIME_MS),
        ((0x0020, 0x0020), b"CS", ""),
        (tags::NUMBER_OF_FRAMES, b"IS", &frames.to_string()),
        ((0x0028, 0x0301), b"CS", "NO"),
        ((0x0028, 0x2110), b"CS", "00"),
    ]);
    dataset.set(Element::sequence((0x0018, 0x6011), vec![region(rows, columns)]));
    dataset.set(Element::tag((0x0028, 0x0009), (0x0018, 0x1063)));
    dataset.set(Element::words((0x0028, 0x0014), &[1]));
    modules::image_pixel(&mut dataset, rows.into(), columns.into(), [8, 8], false, "RGB", 3);
    let pixels: Vec<u8> = (0..frames)
        .flat_map(|frame| {
            let phase = frame as f32 / frames.max(1) as f32;
            ultrasound::frame(spec.seed, rows.into(), columns.into(), phase)
        })
        .collect();
    dataset.set(Element::bytes(tags::PIXEL_DATA, b"OB", pixels));
    dataset
}

/// US Region Calibration (PS3.3 section C.8.5.5): the whole image, 16 cm deep, so that lengths can be measured.
fn region(rows: u16, columns: u16) -> Dataset {
    let centimetres = 16.0 / f64::from(rows.max(1));
    let mut region = Dataset::new();
    region.set(Element::words((0x0018, 0x6012), &[1]));
    region.set(Element::words((0x0018, 0x6014), &[2]));
    region.set(Element::longs((0x0018, 0x6016), &[0]));
    region.set(Element::longs((0x0018, 0x6018), &[0]));
    region.set(Element::longs((0x0018, 0x601A), &[0]));
    region.set(Element::longs((0x0018, 0x601C), &[u32::from(columns.max(1)) - 1]));
    region.set(Element::longs((0x0018, 0x601E), &[u32::from(rows.max(1)) - 1]));
    region.set(Element::words((0x0018, 0x6024), &[3]));
    region.set(Element::words((0x0018, 0x6026), &[3]));
    region.set(Element::doubles((0x0018, 0x602C), &[centimetres]));
    region.set(Element::doubles((0x0018, 0x602E), &[centimetres]));
    region
}
