//! Attributes of a study out of lines of text.

use septum_core::dicom::attributes::{Encoding, Header};
use septum_core::dicom::json::{JsonOptions, to_json};

/// The JSON attributes that a header made of the lines `@ggggeeeeVRvalue` has.
pub fn of_text(text: &str) -> serde_json::Map<String, serde_json::Value> {
    let mut elements = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix('@')) {
        let (Some(tag), Some(vr), Some(value)) = (line.get(..8), line.get(8..10), line.get(10..)) else {
            continue;
        };
        let (Ok(tag), Ok(length)) = (u32::from_str_radix(tag, 16), u16::try_from(value.len())) else {
            continue;
        };
        if matches!(
            vr,
            "OB" | "OW" | "SQ" | "UN" | "UT" | "UC" | "UR" | "OD" | "OF" | "OL" | "OV" | "SV" | "UV"
        ) {
            continue;
        }
        elements.extend_from_slice(&((tag >> 16) as u16).to_le_bytes());
        elements.extend_from_slice(&(tag as u16).to_le_bytes());
        elements.extend_from_slice(vr.as_bytes());
        elements.extend_from_slice(&length.to_le_bytes());
        elements.extend_from_slice(value.as_bytes());
    }
    match Header::parse(&elements, Encoding::ExplicitLittle) {
        Ok(header) => to_json(&header, &JsonOptions::default()),
        Err(_) => Default::default(),
    }
}
