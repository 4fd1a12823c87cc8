//! What a value representation says about bytes (PS3.5 section 6.2) and which one an attribute has (PS3.6).

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::{Dataset, Value};

/// Whether the VR's explicit element header has two reserved bytes and a 32-bit length (PS3.5 table 7.1-1).
pub(crate) fn is_long_form(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    )
}

/// The size in bytes of the unit that byte order turns around; 1 when byte order does not matter. UN counts as 1:
/// its content is unknown, and by PS3.5 section 6.2.2 it is little endian in any case.
pub(crate) fn unit_bytes(vr: VR) -> usize {
    match vr {
        // An attribute tag is two 16-bit numbers.
        VR::US | VR::SS | VR::OW | VR::AT => 2,
        VR::UL | VR::SL | VR::FL | VR::OF | VR::OL => 4,
        VR::FD | VR::OD | VR::OV | VR::SV | VR::UV => 8,
        _ => 1,
    }
}

/// Turns each whole unit around in place; an incomplete unit at the end is left as it is.
pub(crate) fn swap_bytes(bytes: &mut [u8], unit: usize) {
    match unit {
        2 => bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|u| u.reverse()),
        4 => bytes.as_chunks_mut::<4>().0.iter_mut().for_each(|u| u.reverse()),
        8 => bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|u| u.reverse()),
        _ => {}
    }
}

/// The dictionary's VR for `tag` in the context of the elements read so far, UN when the tag is unknown.
///
/// `pixel_signed` is Pixel Representation (0028,0103) of the nearest enclosing dataset that has one: it decides
/// "US or SS" (PS3.3 section C.7.6.3.1.1). "US or OW" follows the number of entries in LUT Descriptor. "OB or OW" is
/// OW, as Implicit VR demands (PS3.5 section A.1).
pub(crate) fn dictionary_vr(tag: Tag, siblings: &Dataset, pixel_signed: bool) -> VR {
    if tag.0 % 2 == 1 {
        // The dictionary's ranges of groups hold for even groups only. Private creators: PS3.5 section 7.8.1.
        return if (0x0010..=0x00FF).contains(&tag.1) {
            VR::LO
        } else {
            VR::UN
        };
    }
    let Some(entry) = StandardDataDictionary.by_tag(tag) else {
        return VR::UN;
    };
    match entry.vr() {
        VirtualVr::Exact(vr) => vr,
        VirtualVr::Xs if pixel_signed => VR::SS,
        VirtualVr::Xs => VR::US,
        VirtualVr::Lt => {
            let one_entry = siblings
                .get(tags::LUT_DESCRIPTOR)
                .is_some_and(|descriptor| match &descriptor.value {
                    Value::Bytes(_) => descriptor.little_endian_bytes().starts_with(&[1, 0]),
                    _ => false,
                });
            if one_entry { VR::US } else { VR::OW }
        }
        _ => VR::OW,
    }
}
