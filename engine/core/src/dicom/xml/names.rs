//! What attributes are called (PS3.6), and the parts of a person's name (PS3.5 section 6.2.1.1).

use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;

pub(super) use crate::dicom::from_json::parse_tag;

/// Component groups, as JSON and XML both call them.
pub(super) const GROUPS: [&str; 3] = ["Alphabetic", "Ideographic", "Phonetic"];

/// Components of a group.
pub(super) const COMPONENTS: [&str; 5] = ["FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix"];

/// The member name of a tag.
pub(super) fn key_of(tag: Tag) -> String {
    format!("{:04X}{:04X}", tag.0, tag.1)
}

/// The keyword of a standard attribute.
pub(super) fn keyword(tag: Tag) -> Option<&'static str> {
    // The dictionary's ranges of groups hold for even groups only.
    if tag.0 % 2 == 1 {
        return None;
    }
    let keyword = StandardDataDictionary.by_tag(tag)?.alias();
    let is_name = !keyword.is_empty() && keyword.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then_some(keyword)
}

/// Whether the tag belongs to a private block (PS3.5 section 7.8.1).
pub(super) fn is_in_block(tag: Tag) -> bool {
    tag.0 % 2 == 1 && tag.1 >= 0x1000
}

/// Whether the tag reserves a private block.
pub(super) fn is_creator(tag: Tag) -> bool {
    tag.0 % 2 == 1 && (0x0010..=0x00FF).contains(&tag.1)
}
