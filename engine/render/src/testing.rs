//! What this crate's unit tests share.

use dicom_core::Tag;
use septum_core::dicom::attributes::{Encoding, Header};
use septum_core::frame_shape::FrameShape;

use crate::{Frame, SampleKind};

/// An unsigned, interleaved shape that uses all of its bits.
pub(crate) fn shape(rows: u32, columns: u32, samples_per_pixel: u16, bits: u16) -> FrameShape {
    FrameShape {
        rows,
        columns,
        samples_per_pixel,
        bits_allocated: bits,
        bits_stored: bits,
        high_bit: bits - 1,
        signed: false,
        planar: false,
        big_endian: false,
    }
}

/// An integer frame.
pub(crate) fn frame<'a>(samples: &'a [u8], shape: FrameShape, photometric: &'a str) -> Frame<'a> {
    Frame {
        samples,
        shape,
        photometric,
        kind: SampleKind::Integer,
    }
}

/// One element in Explicit VR Little Endian.
pub(crate) fn element(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut out = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    out.extend_from_slice(vr);
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if vr == b"OB" || vr == b"UI" { 0 } else { b' ' });
    }
    if matches!(vr, b"OB" | b"OW" | b"SQ" | b"UN") {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    } else {
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    }
    out.extend_from_slice(&value);
    out
}

/// US, SS or OW values.
pub(crate) fn words(tag: Tag, vr: &[u8; 2], values: &[u16]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    element(tag, vr, &bytes)
}

/// A sequence of items, each given as its elements.
pub(crate) fn sequence(tag: Tag, items: &[Vec<u8>]) -> Vec<u8> {
    let mut value = Vec::new();
    for item in items {
        value.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
        value.extend_from_slice(&(item.len() as u32).to_le_bytes());
        value.extend_from_slice(item);
    }
    element(tag, b"SQ", &value)
}

/// A header of these elements. The first must be of a group that a dataset can start with.
pub(crate) fn header(elements: &[Vec<u8>]) -> Header {
    Header::parse(&elements.concat(), Encoding::ExplicitLittle).expect("readable")
}
