//! Typed reading of attributes out of a dataset. Absent and unreadable are the same here: `None`, or no values.

use std::borrow::Cow;

use dicom_core::{Tag, VR};
use septum_core::dicom::attributes::{CharacterSets, Dataset, Value};

/// All values of a numeric attribute (US, SS, UL, SL, UV, SV, FL, FD, DS, IS; AT and others give none).
pub(crate) fn numbers(dataset: &Dataset, tag: Tag) -> Vec<f64> {
    let Some(element) = dataset.get(tag) else {
        return Vec::new();
    };
    let bytes = element.little_endian_bytes();
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
    }
    match element.vr {
        VR::US => each(&bytes, |chunk| u16::from_le_bytes(chunk).into()),
        VR::SS => each(&bytes, |chunk| i16::from_le_bytes(chunk).into()),
        VR::UL => each(&bytes, |chunk| u32::from_le_bytes(chunk).into()),
        VR::SL => each(&bytes, |chunk| i32::from_le_bytes(chunk).into()),
        VR::UV => each(&bytes, |chunk| u64::from_le_bytes(chunk) as f64),
        VR::SV => each(&bytes, |chunk| i64::from_le_bytes(chunk) as f64),
        VR::FL => each(&bytes, |chunk| f32::from_le_bytes(chunk).into()),
        VR::FD => each(&bytes, f64::from_le_bytes),
        VR::DS | VR::IS => {
            let text = element.text(&CharacterSets::default()).unwrap_or_default();
            let values: Option<Vec<f64>> = text
                .split('\\')
                .map(|value| value.trim_matches([' ', '\0']).parse().ok())
                .collect();
            values.unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// The first value of a numeric attribute, if it is finite.
pub(crate) fn number(dataset: &Dataset, tag: Tag) -> Option<f64> {
    numbers(dataset, tag).first().copied().filter(|value| value.is_finite())
}

/// The first two values of a numeric attribute, if they are finite.
pub(crate) fn pair(dataset: &Dataset, tag: Tag) -> Option<[f64; 2]> {
    let values = numbers(dataset, tag);
    let &[first, second, ..] = values.as_slice() else {
        return None;
    };
    (first.is_finite() && second.is_finite()).then_some([first, second])
}

/// The first value of a US or SS attribute as its sixteen bits, whatever the VR says of the sign.
pub(crate) fn word(dataset: &Dataset, tag: Tag) -> Option<u16> {
    let element = dataset.get(tag)?;
    let bytes = element.little_endian_bytes();
    Some(u16::from_le_bytes(*bytes.first_chunk()?))
}

/// The trimmed values of a code string or UID attribute.
pub(crate) fn texts(dataset: &Dataset, tag: Tag) -> Vec<String> {
    let text = dataset
        .get(tag)
        .and_then(|element| element.text(&CharacterSets::default()));
    let text = text.unwrap_or_default();
    text.split('\\')
        .map(|value| value.trim_matches([' ', '\0']).to_owned())
        .filter(|value| !value.is_empty())
        .collect()
}

/// The first value of a code string or UID attribute.
pub(crate) fn text(dataset: &Dataset, tag: Tag) -> Option<String> {
    texts(dataset, tag).into_iter().next()
}

/// The items of a sequence; none when it is absent.
pub(crate) fn items(dataset: &Dataset, tag: Tag) -> &[Dataset] {
    match dataset.get(tag).map(|element| &element.value) {
        Some(Value::Items(items)) => items,
        _ => &[],
    }
}

/// The bytes of an attribute, little endian; `None` when it is absent or empty.
pub(crate) fn bytes(dataset: &Dataset, tag: Tag) -> Option<Cow<'_, [u8]>> {
    let bytes = dataset.get(tag)?.little_endian_bytes();
    (!bytes.is_empty()).then_some(bytes)
}
