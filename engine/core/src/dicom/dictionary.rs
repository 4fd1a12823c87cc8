//! What the splitter asks the data dictionary (PS3.6): almost nothing.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

/// Keyword and VR of a tag, group × 65536 + element; `None` where PS3.6 does not list it.
pub fn keyword_of(tag: u32) -> Option<(&'static str, &'static str)> {
    let entry = StandardDataDictionary.by_tag(Tag((tag >> 16) as u16, tag as u16))?;
    Some((entry.alias(), entry.vr().relaxed().to_string()))
}

/// Whether the standard knows the tag as a sequence.
pub(super) fn is_sequence((group, element): (u16, u16)) -> bool {
    group % 2 == 0
        && StandardDataDictionary
            .by_tag(Tag(group, element))
            .is_some_and(|entry| entry.vr().relaxed() == VR::SQ)
}

/// Whether the standard knows the tag.
pub(super) fn is_known((group, element): (u16, u16)) -> bool {
    StandardDataDictionary.by_tag(Tag(group, element)).is_some()
}

/// Tag, group × 65536 + element, and VR of a keyword; `None` where PS3.6 does not list it.
pub fn tag_of(keyword: &str) -> Option<(u32, &'static str)> {
    let entry = StandardDataDictionary.by_name(keyword)?;
    let tag = entry.tag();
    Some((
        u32::from(tag.0) << 16 | u32::from(tag.1),
        entry.vr().relaxed().to_string(),
    ))
}
