//! Writes elements in Explicit VR Little Endian (PS3.5 section 7.1.2).

use dicom_core::{Tag, VR};

use crate::dicom::attributes::{Dataset, Element, Value, is_long_form};

/// The longest value, in bytes, that a 16-bit length can hold while being even.
const SHORT_VALUE_BYTES_MAX: usize = 0xFFFE;

/// The elements that are written: sorted by tag, the last of duplicates, no group length, nothing of group 0002.
pub(in crate::dicom) fn sorted(dataset: &Dataset) -> Vec<&Element> {
    let is_written = |tag: Tag| tag.1 != 0 && tag.0 > 0x0002 && tag.0 != 0xFFFE;
    let mut elements: Vec<_> = dataset
        .elements()
        .iter()
        .rev()
        .filter(|element| is_written(element.tag))
        .collect();
    // A stable sort of the reversed list puts the last of duplicates first, where `dedup` keeps it.
    elements.sort_by_key(|element| element.tag);
    elements.dedup_by_key(|element| element.tag);
    elements
}

/// Writes one element. Recurses as deep as items nest, which the attribute tree bounds.
pub(in crate::dicom) fn element(out: &mut Vec<u8>, element: &Element) {
    match &element.value {
        Value::Bytes(_) => element_bytes(out, element.tag, element.vr, &element.little_endian_bytes()),
        Value::Fragments(items) => {
            long_header(out, element.tag, element.vr, u32::MAX);
            out.extend_from_slice(items);
            item_header(out, 0xE0DD, 0);
        }
        Value::Items(items) => self::items(out, element.tag, items, |out, item| {
            for nested in sorted(item) {
                self::element(out, nested);
            }
        }),
    }
}

/// Writes a sequence with defined lengths; `content` writes an item's elements.
pub(in crate::dicom) fn items(
    out: &mut Vec<u8>,
    tag: Tag,
    items: &[Dataset],
    content: impl Fn(&mut Vec<u8>, &Dataset),
) {
    long_header(out, tag, VR::SQ, 0);
    let sequence_start = out.len();
    for item in items {
        item_header(out, 0xE000, 0);
        let item_start = out.len();
        content(out, item);
        set_length(out, item_start);
    }
    set_length(out, sequence_start);
}

/// Writes one element from its little endian value, padded to an even length.
pub(in crate::dicom) fn element_bytes(out: &mut Vec<u8>, tag: Tag, vr: VR, value: &[u8]) {
    let padded = value.len() + value.len() % 2;
    if is_long_form(vr) || padded > SHORT_VALUE_BYTES_MAX {
        let vr = if is_long_form(vr) { vr } else { VR::UN };
        // Values are slices of a header that is far below 4 GiB.
        long_header(out, tag, vr, u32::try_from(padded).unwrap_or(u32::MAX - 1));
    } else {
        tag_and_vr(out, tag, vr);
        out.extend_from_slice(&(padded as u16).to_le_bytes());
    }
    out.extend_from_slice(value);
    if padded > value.len() {
        out.push(padding(vr));
    }
}

/// Writes the header of an element whose value comes later, and what pads it. Returns the value's place and VR.
pub(in crate::dicom) fn long_value(out: &mut Vec<u8>, tag: Tag, vr: VR, length: u32) -> (usize, VR) {
    let vr = if is_long_form(vr) { vr } else { VR::UN };
    long_header(out, tag, vr, length.saturating_add(length % 2));
    let at = out.len();
    if length % 2 == 1 {
        out.push(padding(vr));
    }
    (at, vr)
}

/// Writes tag, VR, two reserved bytes and a 32-bit length.
pub(in crate::dicom) fn long_header(out: &mut Vec<u8>, tag: Tag, vr: VR, length: u32) {
    tag_and_vr(out, tag, vr);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length.to_le_bytes());
}

fn tag_and_vr(out: &mut Vec<u8>, tag: Tag, vr: VR) {
    out.extend_from_slice(&tag.0.to_le_bytes());
    out.extend_from_slice(&tag.1.to_le_bytes());
    out.extend_from_slice(&vr.to_bytes());
}

fn item_header(out: &mut Vec<u8>, element: u16, length: u32) {
    out.extend_from_slice(&0xFFFE_u16.to_le_bytes());
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

/// Sets the length that stands right before `start` to what has been written since.
fn set_length(out: &mut [u8], start: usize) {
    // Even in the widest re-encoding a header stays far below 4 GiB.
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX - 1);
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

/// PS3.5 section 6.2: text is padded with a space, UIDs and bytes with NUL.
fn padding(vr: VR) -> u8 {
    match vr {
        VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::IS | VR::LO | VR::LT => b' ',
        VR::PN | VR::SH | VR::ST | VR::TM | VR::UC | VR::UR | VR::UT => b' ',
        _ => 0,
    }
}
