//! A header for the default transfer syntax: Explicit VR Little Endian (PS3.5 annex A.2) around decoded pixels.
//!
//! Owns re-encoding of headers, the File Meta Information of what goes out, and byte order of samples. What was
//! stored stays as it is (invariant 4): this makes a copy for readers who cannot take the original transfer syntax.
//!
//! Rules of the copy:
//! - values keep their bytes, but for byte order and for padding to an even length; text keeps its character set;
//! - elements stand sorted by tag on every level; of a tag that stands twice, the last one stays;
//! - group lengths go (retired, and wrong after re-encoding), as do offset tables (7FE0,0001), (7FE0,0002) and
//!   (7FE0,0003), which describe encapsulated pixels;
//! - sequences and items have defined lengths;
//! - a value too long for its VR's 16-bit length becomes UN (PS3.5 section 6.2.2, note 6).

mod meta;
pub(super) mod write;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::LongValue;
use super::attributes::{Encoding, Header, HeaderError, Value};

pub use meta::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, file_meta};

/// What changes around the pixels, and what the header does not hold. `None` leaves an attribute as it is, present or absent.
#[derive(Debug, Clone, Default)]
pub struct PixelPatch {
    /// The pixel element that is put between the two halves; `None` when the copy has no pixels.
    pub pixel: Option<PixelHeader>,
    /// Samples per Pixel (0028,0002).
    pub samples_per_pixel: Option<u16>,
    /// Photometric Interpretation (0028,0004).
    pub photometric_interpretation: Option<String>,
    /// Planar Configuration (0028,0006).
    pub planar_configuration: Option<u16>,
    /// Number of Frames (0028,0008).
    pub num_frames: Option<u32>,
    /// Bits Allocated (0028,0100).
    pub bits_allocated: Option<u16>,
    /// Bits Stored (0028,0101).
    pub bits_stored: Option<u16>,
    /// High Bit (0028,0102).
    pub high_bit: Option<u16>,
    /// Pixel Representation (0028,0103).
    pub pixel_representation: Option<u16>,
    /// Further top-level attributes to leave out.
    pub remove: Vec<Tag>,
    /// The values that were cut out of the header.
    pub long_values: Vec<LongValue>,
}

/// The header of the pixel element in the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelHeader {
    /// Pixel Data (7FE0,0010), Float Pixel Data (7FE0,0008) or Double Float Pixel Data (7FE0,0009).
    pub tag: Tag,
    /// OB or OW, OF, OD.
    pub vr: VR,
    /// Length of the value in bytes, even (the caller pads); `None` for an undefined length: items follow.
    pub length: Option<u32>,
}

/// A header in Explicit VR Little Endian.
#[derive(Clone)]
pub struct TranscodedHeader {
    /// The elements before the pixels, the pixel element's tag, VR and length included; without pixels all elements.
    pub before: Vec<u8>,
    /// The elements behind the pixels. When the pixel length is undefined, the caller has put the items and the
    /// sequence delimiter between.
    pub after: Vec<u8>,
    /// Where long values belong in `before`, ascending.
    pub long_before: Vec<PlacedValue>,
    /// Where long values belong in `after`, ascending.
    pub long_after: Vec<PlacedValue>,
    /// Bytes at the end of the input that could not be read as elements, and are left out.
    pub unread_bytes: usize,
}

/// A long value in the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedValue {
    /// Which of the long values given.
    pub index: usize,
    /// Where its bytes belong.
    pub at: usize,
    /// The VR that the copy gives it.
    pub vr: VR,
}

impl std::fmt::Debug for TranscodedHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "TranscodedHeader({} and {} bytes)",
            self.before.len(),
            self.after.len()
        )
    }
}

/// Re-encodes a dataset without its pixel element: `elements_before` and `elements_after` are what stood before and
/// behind it (without its tag, VR and length). Long values are empty in them; the copy's headers have their lengths,
/// and the caller writes the values.
///
/// Fails only where [`Header::parse`] does.
pub fn to_explicit_little(
    elements_before: &[u8],
    elements_after: &[u8],
    from: Encoding,
    patch: &PixelPatch,
) -> Result<TranscodedHeader, HeaderError> {
    let elements = bytes::Bytes::from([elements_before, elements_after].concat());
    let header = Header::from_bytes(elements, from)?;
    let pixel_tag = patch.pixel.map_or(Tag(0xFFFF, 0xFFFF), |pixel| pixel.tag);

    let patched = patched_elements(patch);
    let is_kept = |tag: Tag| {
        !(is_pixel_related(tag) || patch.remove.contains(&tag) || patched.iter().any(|(patched, ..)| *patched == tag))
    };
    let mut rest = write::sorted(header.dataset());
    rest.retain(|element| is_kept(element.tag));

    let mut before = Vec::with_capacity(elements_before.len() + 64);
    let mut after = Vec::with_capacity(elements_after.len());
    let (mut long_before, mut long_after) = (Vec::new(), Vec::new());
    let mut patched = patched.into_iter().peekable();
    for element in rest {
        while let Some((tag, vr, value)) = patched.next_if(|(tag, ..)| *tag < element.tag) {
            write::element_bytes(&mut before, tag, vr, &value);
        }
        let (out, places) = if element.tag < pixel_tag {
            (&mut before, &mut long_before)
        } else {
            (&mut after, &mut long_after)
        };
        let Tag(group, number) = element.tag;
        // Of a tag that stands twice the last one stays, here as there.
        match patch.long_values.iter().rposition(|value| value.tag == (group, number)) {
            Some(index) if matches!(&element.value, Value::Bytes(bytes) if bytes.is_empty()) => {
                let (at, vr) = write::long_value(out, element.tag, element.vr, patch.long_values[index].length);
                places.push(PlacedValue { index, at, vr });
            }
            _ => write::element(out, element),
        }
    }
    for (tag, vr, value) in patched {
        write::element_bytes(&mut before, tag, vr, &value);
    }
    if let Some(pixel) = patch.pixel {
        write::long_header(&mut before, pixel.tag, pixel.vr, pixel.length.unwrap_or(u32::MAX));
    }
    Ok(TranscodedHeader {
        before,
        after,
        long_before,
        long_after,
        unread_bytes: header.unread_bytes(),
    })
}

/// Turns big endian samples into little endian ones (and back) in place. `bytes_per_sample` other than 2, 4 and 8
/// changes nothing; an incomplete sample at the end stays.
pub fn swap_samples(bytes: &mut [u8], bytes_per_sample: usize) {
    super::attributes::swap_bytes(bytes, bytes_per_sample);
}

/// The pixel element itself never comes from the header, offset tables do not fit the copy's pixels.
pub(super) fn is_pixel_related(tag: Tag) -> bool {
    tag.0 == 0x7FE0 && matches!(tag.1, 0x0001..=0x0003 | 0x0008..=0x0010)
}

/// The attributes that the patch sets, sorted; all of them stand before the pixels.
fn patched_elements(patch: &PixelPatch) -> Vec<(Tag, VR, Vec<u8>)> {
    let number = |tag: Tag, value: Option<u16>| value.map(|value| (tag, VR::US, value.to_le_bytes().to_vec()));
    let photometric = &patch.photometric_interpretation;
    [
        number(tags::SAMPLES_PER_PIXEL, patch.samples_per_pixel),
        photometric
            .as_ref()
            .map(|text| (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, text.clone().into_bytes())),
        number(tags::PLANAR_CONFIGURATION, patch.planar_configuration),
        patch
            .num_frames
            .map(|number| (tags::NUMBER_OF_FRAMES, VR::IS, number.to_string().into_bytes())),
        number(tags::BITS_ALLOCATED, patch.bits_allocated),
        number(tags::BITS_STORED, patch.bits_stored),
        number(tags::HIGH_BIT, patch.high_bit),
        number(tags::PIXEL_REPRESENTATION, patch.pixel_representation),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests;
