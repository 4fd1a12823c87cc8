//! A JPEG file as an image: its own stream, told apart by its markers (ITU-T T.81 annex B).

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use super::super::error::{Answer, Kind, StorageError};
use super::{Large, Made, picture};

/// What a frame header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    is_baseline: bool,
    precision: u8,
    rows: u16,
    columns: u16,
    components: u8,
    /// The components are red, green and blue.
    is_rgb: bool,
}

fn frame(file: &[u8]) -> Option<Frame> {
    let mut at = 2;
    let mut adobe_transform = None;
    loop {
        let [0xFF, marker] = *file.get(at..at + 2)?.first_chunk::<2>()? else {
            return None;
        };
        if marker == 0xFF {
            at += 1;
            continue;
        }
        let length = usize::from(u16::from_be_bytes(*file.get(at + 2..at + 4)?.first_chunk()?));
        let segment = file.get(at + 4..at + 2 + length.max(2))?;
        match marker {
            0xEE if segment.starts_with(b"Adobe") => adobe_transform = segment.get(11).copied(),
            // Start of scan before a frame header, or the end.
            0xDA | 0xD9 => return None,
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let components = *segment.get(5)?;
                let table = segment.get(6..6 + 3 * usize::from(components))?;
                let ids: Vec<u8> = table.chunks_exact(3).map(|entry| entry[0]).collect();
                return Some(Frame {
                    is_baseline: marker == 0xC0,
                    precision: *segment.first()?,
                    rows: u16::from_be_bytes(*segment.get(1..3)?.first_chunk()?),
                    columns: u16::from_be_bytes(*segment.get(3..5)?.first_chunk()?),
                    components,
                    is_rgb: adobe_transform == Some(0) || ids == *b"RGB",
                });
            }
            _ => {}
        }
        at += 2 + length.max(2);
    }
}

pub(super) fn made_of(file: &Bytes) -> Answer<Made> {
    let refused = |text: &str| StorageError::new(Kind::NotAcceptable, text);
    let frame = frame(file).ok_or_else(|| refused("the JPEG file cannot be read"))?;
    if !frame.is_baseline || frame.precision != 8 {
        return Err(refused("only baseline JPEG with 8 bits can be wrapped"));
    }
    let photometric = match frame.components {
        1 => "MONOCHROME2",
        3 if frame.is_rgb => "RGB",
        // Whatever the chroma sampling is (PS3.5 table 8.2.1-1).
        3 => "YBR_FULL_422",
        _ => return Err(refused("only grey and three colours can be wrapped")),
    };
    if frame.rows == 0 || frame.columns == 0 {
        return Err(refused("the JPEG file does not say how large it is"));
    }
    let mut edits = picture(frame.rows, frame.columns, frame.components.into(), photometric);
    edits.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01");
    edits.text(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, "ISO_10918_1");
    let native = f64::from(frame.rows) * f64::from(frame.columns) * f64::from(frame.components);
    let ratio = format!("{:.2}", (native / file.len() as f64).max(0.01));
    edits.text(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, &ratio);
    Ok(Made {
        edits,
        sop_class: uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        transfer_syntax: uids::JPEG_BASELINE8_BIT,
        element: Large::Fragment(file.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame header of two rows and three columns.
    fn file(marker: u8, precision: u8, components: &[[u8; 3]]) -> Bytes {
        let mut bytes = vec![
            0xFF,
            0xD8,
            0xFF,
            0xE0,
            0,
            4,
            1,
            2,
            0xFF,
            marker,
            0,
            8 + 3 * components.len() as u8,
        ];
        bytes.extend_from_slice(&[precision, 0, 2, 0, 3, components.len() as u8]);
        components
            .iter()
            .for_each(|component| bytes.extend_from_slice(component));
        bytes.extend_from_slice(&[0xFF, 0xDA]);
        bytes.into()
    }

    #[test]
    fn colours_are_told_by_components() {
        for (components, expected) in [
            (vec![[1, 0x11, 0]], Some("MONOCHROME2")),
            (vec![[1, 0x22, 0], [2, 0x11, 0], [3, 0x11, 0]], Some("YBR_FULL_422")),
            (vec![[1, 0x11, 0], [2, 0x11, 0], [3, 0x11, 0]], Some("YBR_FULL_422")),
            (vec![[b'R', 0x11, 0], [b'G', 0x11, 0], [b'B', 0x11, 0]], Some("RGB")),
            (vec![[1, 0x11, 0]; 4], None),
        ] {
            let made = made_of(&file(0xC0, 8, &components)).ok();
            let photometric = made
                .as_ref()
                .and_then(|made| made.edits.value(tags::PHOTOMETRIC_INTERPRETATION));
            assert_eq!(photometric, expected.map(str::as_bytes));
        }
    }

    #[test]
    fn other_streams_are_refused() {
        assert!(made_of(&file(0xC2, 8, &[[1, 0x11, 0]])).is_err(), "progressive");
        assert!(made_of(&file(0xC0, 12, &[[1, 0x11, 0]])).is_err(), "12 bits");
        let whole = file(0xC0, 8, &[[1, 0x11, 0]]);
        for length in 0..whole.len() - 2 {
            assert!(made_of(&whole.slice(..length)).is_err(), "{length} bytes");
        }
    }
}
