//! Names of attributes in parameters: keywords, tags, and paths of them.

use dicom_core::VR;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;

use super::PATH_TAGS_MAX;
use super::private;

/// The tags of a path with dots, and the VR of the last one. All but the last must be sequences; a private attribute
/// may be one.
pub(super) fn path(name: &str) -> Option<(Vec<u32>, VR)> {
    let mut path = Vec::new();
    let mut last: Option<(u32, VR)> = None;
    for step in name.split('.') {
        let is_sequence =
            |(tag, vr): (u32, VR)| vr == VR::SQ || (private::is_private(tag) && !private::is_creator(tag));
        if path.len() == PATH_TAGS_MAX || !last.is_none_or(is_sequence) {
            return None;
        }
        let found = one(step)?;
        path.push(found.0);
        last = Some(found);
    }
    Some((path, last?.1))
}

/// A keyword or eight hexadecimal digits. Private attributes are text until an instance says more; other attributes
/// that the dictionary does not know are refused, and so are file meta, group lengths and illegal groups.
fn one(step: &str) -> Option<(u32, VR)> {
    let (number, vr) = if step.len() == 8 && step.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let number = u32::from_str_radix(step, 16).ok()?;
        if private::is_private(number) {
            let is_legal = number >> 16 > 0x0008 && number >> 16 != 0xFFFF;
            let is_element =
                private::is_creator(number) || private::creator_of(number).is_some_and(private::is_creator);
            return (is_legal && is_element).then_some((number, VR::LO));
        }
        let tag = dicom_core::Tag((number >> 16) as u16, number as u16);
        (number, StandardDataDictionary.by_tag(tag)?.vr().relaxed())
    } else {
        let entry = StandardDataDictionary.by_name(step)?;
        let tag = entry.tag();
        (u32::from(tag.0) << 16 | u32::from(tag.1), entry.vr().relaxed())
    };
    let is_dataset = number >> 16 > 0x0002 && number >> 16 < 0xFFFE && number & 0xFFFF != 0;
    (is_dataset && !private::is_private(number)).then_some((number, vr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("StudyDescription", Some((vec![0x0008_1030], VR::LO))),
            ("00081030", Some((vec![0x0008_1030], VR::LO))),
            ("0020000d", Some((vec![0x0020_000D], VR::UI))),
            ("studydescription", None),
            (
                "RequestAttributesSequence.ScheduledProcedureStepID",
                Some((vec![0x0040_0275, 0x0040_0009], VR::SH)),
            ),
            ("00400275.00400009", Some((vec![0x0040_0275, 0x0040_0009], VR::SH))),
            (
                "00400275.ScheduledProcedureStepID",
                Some((vec![0x0040_0275, 0x0040_0009], VR::SH)),
            ),
            ("00400275", Some((vec![0x0040_0275], VR::SQ))),
            ("00090010", Some((vec![0x0009_0010], VR::LO))),
            ("00091001", Some((vec![0x0009_1001], VR::LO))),
            ("00091001.00100020", Some((vec![0x0009_1001, 0x0010_0020], VR::LO))),
            ("00090010.00100020", None),
            ("00090001", None),
            ("00090F01", None),
            ("00071001", None),
            ("00100020.00100010", None),
            ("00080000", None),
            ("00020010", None),
            ("FFFEE000", None),
            ("00081030.", None),
            (".00081030", None),
            ("", None),
            ("Nonsense", None),
        ] {
            assert_eq!(path(name), expected, "{name}");
        }
        let deep = ["00400275"; PATH_TAGS_MAX].join(".");
        assert!(path(&deep).is_some() && path(&format!("{deep}.00400275")).is_none());
    }
}
