//! A header as the storage API's list of tags: `{group, element, name, vr, vl, value}`, numbers decimal.
//!
//! `name` is the keyword of PS3.6, `?` where it lists none. `vl` is the stored value's length in bytes, padding included.
//! `value` is text: of several values the first, or all parted by backslashes; null for binary values; for a sequence,
//! a list with one list of tags an item.

use dicom_core::VR;
use septum_core::dicom::attributes::{CharacterSets, Dataset, Element, Encoding, Header, Value};
use septum_core::dicom::{HeaderBytes, keyword_of};
use serde_json::{Value as Json, json};

/// What is shown of a header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Only tags of these groups; all where there are none.
    pub(super) groups: Vec<u16>,
    /// Only these tags, group × 65536 + element; all where there are none.
    pub(super) tags: Vec<u32>,
    /// Without tags that PS3.6 does not list.
    pub(super) is_named_only: bool,
    /// All values of a tag, not the first alone.
    pub(super) has_all_values: bool,
}

/// The groups of a list: decimal, or hexadecimal behind `0x`.
pub(super) fn groups(list: &[String]) -> Option<Vec<u16>> {
    let group = |text: &String| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    list.iter().map(group).collect()
}

/// The tags of a list: eight hexadecimal digits; of nested ones, parted by colons, the outermost.
pub(super) fn tag_list(list: &[String]) -> Option<Vec<u32>> {
    let tag = |text: &String| {
        let digits = text.split(':').next()?;
        (digits.len() == 8).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    list.iter().map(tag).collect()
}

/// The keyword of a tag; none of a private one, its creator included.
fn keyword(tag: u32) -> Option<&'static str> {
    let is_private = (tag >> 16) % 2 == 1;
    keyword_of(tag).filter(|_| !is_private).map(|(keyword, _)| keyword)
}

impl Shown {
    fn holds(&self, tag: u32) -> bool {
        let is_in_groups = self.groups.is_empty() || self.groups.contains(&((tag >> 16) as u16));
        let is_in_tags = self.tags.is_empty() || self.tags.contains(&tag);
        is_in_groups && is_in_tags && !(self.is_named_only && keyword(tag).is_none())
    }
}

/// The tags of an instance, its file meta included. `encoding` is that of the dataset; `None` where it cannot be read.
pub(super) fn of_header(header: &HeaderBytes, encoding: Encoding, shown: &Shown) -> Option<Vec<Json>> {
    let mut list = Vec::new();
    let meta = &header.preamble_and_meta;
    if meta.get(128..132) == Some(b"DICM") {
        // What follows the file meta is no element of it.
        let meta = Header::from_bytes(meta.slice(132..), Encoding::ExplicitLittle).ok()?;
        of_dataset(meta.dataset(), &CharacterSets::default(), shown, true, &mut list);
        list.retain(|tag| tag["group"] == 2);
    }
    let dataset = Header::from_bytes(header.elements(), encoding).ok()?;
    of_dataset(dataset.dataset(), &CharacterSets::default(), shown, true, &mut list);
    // Values that are kept apart are empty in the header.
    for value in header.long_values() {
        let is_its = |tag: &&mut Json| tag["group"] == value.tag.0 && tag["element"] == value.tag.1;
        if let Some(tag) = list.iter_mut().rfind(is_its) {
            (tag["vl"], tag["value"]) = (value.length.into(), Json::Null);
        }
    }
    Some(list)
}

/// Recurses as deep as the header's items nest, which [`Header`] bounds.
fn of_dataset(dataset: &Dataset, inherited: &CharacterSets, shown: &Shown, is_top: bool, list: &mut Vec<Json>) {
    let sets = dataset.character_sets().unwrap_or(inherited);
    for element in dataset.elements() {
        let tag = u32::from(element.tag.0) << 16 | u32::from(element.tag.1);
        if (is_top && !shown.holds(tag)) || (shown.is_named_only && keyword(tag).is_none()) {
            continue;
        }
        list.push(of_element(element, tag, sets, shown));
    }
}

fn of_element(element: &Element, tag: u32, sets: &CharacterSets, shown: &Shown) -> Json {
    let (value, length) = match &element.value {
        Value::Bytes(bytes) => (plain(element, sets, shown.has_all_values), bytes.len()),
        Value::Fragments(bytes) => (Json::Null, bytes.len()),
        Value::Items(items) => {
            let of_item = |item: &Dataset| {
                let mut nested = Vec::new();
                of_dataset(item, sets, shown, false, &mut nested);
                Json::from(nested)
            };
            (items.iter().map(of_item).collect(), 0)
        }
    };
    json!({
        "group": element.tag.0,
        "element": element.tag.1,
        "name": keyword(tag).unwrap_or("?"),
        "vr": element.vr.to_string(),
        "vl": length,
        "value": value,
    })
}

fn plain(element: &Element, sets: &CharacterSets, has_all_values: bool) -> Json {
    let text = match element.text(sets) {
        Some(text) => text,
        None => match numbers(element) {
            Some(numbers) => numbers.join("\\"),
            None => return Json::Null,
        },
    };
    let text = text.trim_end_matches(['\0', ' ']);
    // Text of one value may hold backslashes (PS3.5 section 6.2).
    let is_single = has_all_values || matches!(element.vr, VR::LT | VR::ST | VR::UT | VR::UR);
    let text = if is_single {
        text
    } else {
        text.split('\\').next().unwrap_or_default().trim_end_matches(' ')
    };
    Json::from(text)
}

/// The values of a binary number.
fn numbers(element: &Element) -> Option<Vec<String>> {
    let bytes = element.little_endian_bytes();
    macro_rules! read {
        ($kind:ty) => {
            bytes
                .as_chunks::<{ size_of::<$kind>() }>()
                .0
                .iter()
                .map(|word| <$kind>::from_le_bytes(*word).to_string())
                .collect()
        };
    }
    Some(match element.vr {
        VR::US => read!(u16),
        VR::SS => read!(i16),
        VR::UL => read!(u32),
        VR::SL => read!(i32),
        VR::UV => read!(u64),
        VR::SV => read!(i64),
        VR::FL => read!(f32),
        VR::FD => read!(f64),
        VR::AT => {
            let (words, _) = bytes.as_chunks::<4>();
            let tag = |word: &[u8; 4]| {
                format!(
                    "{:04X}{:04X}",
                    u16::from_le_bytes([word[0], word[1]]),
                    u16::from_le_bytes([word[2], word[3]])
                )
            };
            words.iter().map(tag).collect()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::Tag;
    use dicom_dictionary_std::tags;
    use septum_core::dicom::edit::{Edits, edited};

    fn list(shown: &Shown) -> Vec<Json> {
        let mut edits = Edits::default();
        edits.text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY");
        edits.text(tags::MANUFACTURER, VR::LO, "GE MEDICAL SYSTEMS");
        edits.short(tags::ROWS, 300);
        edits.text(Tag(0x0009, 0x1001), VR::LO, "x");
        edits.set(tags::PIXEL_DATA_PROVIDER_URL, VR::UR, "a\\b");
        edits.set(Tag(0x6000, 0x3000), VR::OW, [1, 2]);
        let made = edited(&[], &[], Encoding::ExplicitLittle, &[], &edits, None).expect("writes");
        let header = Header::from_bytes(made.before.into(), Encoding::ExplicitLittle).expect("reads");
        let mut list = Vec::new();
        of_dataset(header.dataset(), &CharacterSets::default(), shown, true, &mut list);
        list
    }

    fn names(shown: &Shown) -> Vec<String> {
        let name = |tag: &Json| tag["name"].as_str().unwrap_or_default().to_owned();
        list(shown).iter().map(name).collect()
    }

    #[test]
    fn tags_are_listed_as_documented() {
        let all = list(&Shown::default());
        assert_eq!(
            all[1],
            json!({"group": 8, "element": 112, "name": "Manufacturer", "vr": "LO", "vl": 18, "value": "GE MEDICAL SYSTEMS"})
        );
        assert_eq!(all[0]["value"], "ORIGINAL");
        let with_all = list(&Shown {
            has_all_values: true,
            ..Shown::default()
        });
        assert_eq!(with_all[0]["value"], "ORIGINAL\\PRIMARY");
        assert_eq!(
            all.iter().find(|tag| tag["name"] == "Rows").expect("rows")["value"],
            "300"
        );
    }

    #[test]
    fn what_is_shown_can_be_chosen() {
        assert!(names(&Shown::default()).contains(&"?".to_owned()));
        let named = Shown {
            is_named_only: true,
            ..Shown::default()
        };
        assert!(!names(&named).contains(&"?".to_owned()));
        let of_group = Shown {
            groups: groups(&["0x28".to_owned(), "9".to_owned()]).expect("groups"),
            ..Shown::default()
        };
        assert_eq!(names(&of_group), ["?", "Rows", "PixelDataProviderURL"]);
        let of_tags = Shown {
            tags: tag_list(&["00080070:00080018".to_owned()]).expect("tags"),
            ..Shown::default()
        };
        assert_eq!(names(&of_tags), ["Manufacturer"]);
        assert!(groups(&["x".to_owned()]).is_none() && tag_list(&["12".to_owned()]).is_none());
    }
}
