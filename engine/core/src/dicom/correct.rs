//! Corrected headers: attributes of the outermost level exchanged where they stand, everything else verbatim.
//!
//! Owns what a correction does to header bytes. The result keeps the encoding of the original, so that it goes with the
//! same pixels; every element that is not corrected keeps its bytes. What was exchanged is told by an item of Original
//! Attributes Sequence (PS3.3 section C.12.1.1.9), behind those of earlier corrections. Values of undefined length that
//! were not as the standard has them come out in their readable form.

use std::collections::BTreeMap;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::attributes::{CharacterSets, Header, Value};
use super::header_bytes::HeaderBytes;
use super::long_value::LongValue;
use super::transfer_syntax::Encoding;
use super::vr::{ElementHeader, has_short_length};

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: (u16, u16) = (0xFFFE, 0xE00D);
const SEQUENCE_END: (u16, u16) = (0xFFFE, 0xE0DD);

/// Unicode in UTF-8 (PS3.3 section C.12.1.1.2).
const UNICODE: &str = "ISO_IR 192";

/// What is exchanged, and what is said of it.
#[derive(Clone, Default)]
pub struct Correction {
    values: BTreeMap<Tag, (VR, String)>,
    /// When, as a value of VR DT.
    pub at: String,
    /// Modifying System (0400,0563), at most 64 characters.
    pub system: String,
}

impl std::fmt::Debug for Correction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Correction({} values)", self.values.len())
    }
}

/// Why something cannot be corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CorrectionError {
    /// A header that cannot be taken apart.
    #[error("the header cannot be read all through")]
    Unreadable,
    /// The attribute is not one of text that can be corrected.
    #[error("attribute {0} cannot be corrected")]
    NotText(Tag),
    /// The value is not one of the attribute's.
    #[error("the value for {0} is not one of VR {1:?}")]
    Value(Tag, VR),
    /// The value has characters that the instance's Specific Character Set lacks.
    #[error("the value for {0} cannot be written in the instance's character set")]
    Character(Tag),
}

impl Correction {
    /// Exchanges the value of an attribute; several values are parted by backslashes, an empty one clears it.
    ///
    /// # Errors
    /// [`CorrectionError::NotText`], [`CorrectionError::Value`].
    pub fn set(&mut self, tag: Tag, value: &str) -> Result<(), CorrectionError> {
        let entry = StandardDataDictionary.by_tag(tag);
        let vr = entry.and_then(|entry| entry.vr().exact());
        let vr = vr.filter(|vr| is_text(*vr)).ok_or(CorrectionError::NotText(tag))?;
        let value = value.trim_matches([' ', '\0']);
        let is_one = matches!(vr, VR::LT | VR::ST | VR::UT);
        let mut parts = value.split('\\');
        if !(is_one && is_of(vr, value) || !is_one && parts.all(|part| is_of(vr, part))) {
            return Err(CorrectionError::Value(tag, vr));
        }
        self.values.insert(tag, (vr, value.to_owned()));
        Ok(())
    }

    /// The new value of an attribute.
    pub fn value(&self, tag: Tag) -> Option<&str> {
        self.values.get(&tag).map(|(_, value)| value.as_str())
    }

    /// All new values.
    pub fn values(&self) -> impl Iterator<Item = (Tag, &str)> {
        self.values.iter().map(|(tag, (_, value))| (*tag, value.as_str()))
    }

    /// Whether it exchanges nothing.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

fn is_text(vr: VR) -> bool {
    matches!(
        vr,
        VR::AE
            | VR::AS
            | VR::CS
            | VR::DA
            | VR::DS
            | VR::DT
            | VR::IS
            | VR::LO
            | VR::LT
            | VR::PN
            | VR::SH
            | VR::ST
            | VR::TM
    )
}

/// Whether the VR is written in the dataset's character set.
fn has_character_set(vr: VR) -> bool {
    matches!(vr, VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT)
}

/// Whether a value is one of a VR (PS3.5 table 6.2-1). Empty ones are of every VR.
fn is_of(vr: VR, value: &str) -> bool {
    let length = value.chars().count();
    let all = |is: fn(char) -> bool, most: usize| length <= most && value.chars().all(is);
    let is_plain = !value.chars().any(char::is_control);
    value.is_empty()
        || match vr {
            VR::AE => all(|c| (' '..='~').contains(&c) && c != '\\', 16),
            VR::AS => {
                value.len() == 4
                    && value.ends_with(['D', 'W', 'M', 'Y'])
                    && value[..3].bytes().all(|b| b.is_ascii_digit())
            }
            VR::CS => all(
                |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ' || c == '_',
                16,
            ),
            VR::DA => value.len() == 8 && all(|c| c.is_ascii_digit(), 8) && is_date(value),
            VR::DS => length <= 16 && value.trim().parse::<f64>().is_ok_and(f64::is_finite),
            VR::IS => length <= 12 && value.trim().parse::<i32>().is_ok(),
            VR::TM => all(|c| c.is_ascii_digit() || c == '.', 14) && is_time(value),
            VR::DT => all(|c| c.is_ascii_digit() || matches!(c, '.' | '+' | '-'), 26),
            VR::LO => is_plain && length <= 64,
            VR::SH => is_plain && length <= 16,
            // Three groups of 64 characters.
            VR::PN => {
                is_plain && value.split('=').count() <= 3 && value.split('=').all(|group| group.chars().count() <= 64)
            }
            VR::LT => length <= 10_240,
            VR::ST => length <= 1_024,
            _ => false,
        }
}

fn is_date(value: &str) -> bool {
    let number = |range: std::ops::Range<usize>| value.get(range).and_then(|digits| digits.parse::<u8>().ok());
    let is_month = number(4..6).is_some_and(|month| (1..=12).contains(&month));
    is_month && number(6..8).is_some_and(|day| (1..=31).contains(&day))
}

fn is_time(value: &str) -> bool {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let most = [23, 59, 60];
    let pairs = whole.as_bytes().chunks(2).zip(most);
    matches!(whole.len(), 2 | 4 | 6)
        && (1..=6).contains(&fraction.len())
        && (whole.len() == 6 || !value.contains('.'))
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && pairs.into_iter().all(|(pair, most)| {
            let digits = std::str::from_utf8(pair)
                .ok()
                .and_then(|digits| digits.parse::<u8>().ok());
            digits.is_some_and(|number| number <= most)
        })
}

/// One element of the outermost level, by its places in the readable form.
#[derive(Debug, Clone, Copy)]
struct Place {
    tag: Tag,
    vr: Option<[u8; 2]>,
    start: usize,
    value: usize,
    end: usize,
    is_undefined: bool,
    /// Its value was cut out: which of the long ones.
    long: Option<usize>,
}

/// The header of an instance as it is once corrected; `None` where it says so already.
///
/// # Errors
/// [`CorrectionError`].
pub fn corrected(
    header: &HeaderBytes,
    encoding: Encoding,
    correction: &Correction,
) -> Result<Option<HeaderBytes>, CorrectionError> {
    let elements = header.elements_before();
    let long: Vec<LongValue> = header.long_in_elements_before();
    let read = Header::from_bytes(elements.clone(), encoding.into()).map_err(|_| CorrectionError::Unreadable)?;
    let places = places(&elements, encoding, &long).ok_or(CorrectionError::Unreadable)?;
    let mut changes = changes(&read, correction)?;
    if changes.is_empty() {
        return Ok(None);
    }
    if changes
        .keys()
        .any(|tag| places.iter().any(|place| place.tag == *tag && place.long.is_some()))
    {
        return Err(CorrectionError::Unreadable);
    }
    let history = history(&elements, encoding, &places, &changes, correction)?;
    changes.insert(tags::ORIGINAL_ATTRIBUTES_SEQUENCE, (VR::SQ, history));

    let mut out = Vec::with_capacity(header.before.len() + 512);
    let mut long_before = Vec::with_capacity(long.len());
    let mut pending = changes.iter().peekable();
    for place in &places {
        // The retired lengths of groups (PS3.5 section 7.2) would be wrong now.
        let is_group_length = place.tag.1 == 0 && changes.keys().any(|tag| tag.0 == place.tag.0);
        if is_group_length || changes.contains_key(&place.tag) {
            continue;
        }
        while let Some((tag, (vr, value))) = pending.next_if(|(tag, _)| **tag < place.tag) {
            put(&mut out, encoding, *tag, *vr, value);
        }
        out.extend_from_slice(&elements[place.start..place.end]);
        if let Some(index) = place.long {
            long_before.push(LongValue {
                at: u32::try_from(out.len()).map_err(|_| CorrectionError::Unreadable)?,
                ..long[index]
            });
        }
    }
    for (tag, (vr, value)) in pending {
        put(&mut out, encoding, *tag, *vr, value);
    }
    let pixel_header = header.before.len() - usize::from(header.pixel_header_length);
    out.extend_from_slice(&header.before[pixel_header..]);
    Ok(Some(header.with_before(out.into(), long_before)))
}

/// The attributes that really differ, in the bytes they are written in.
fn changes(read: &Header, correction: &Correction) -> Result<BTreeMap<Tag, (VR, Vec<u8>)>, CorrectionError> {
    let wanted: Vec<_> = correction
        .values
        .iter()
        .filter(|(tag, (_, value))| {
            let now = read.text(**tag).unwrap_or_default();
            now.trim_matches([' ', '\0']) != value
        })
        .collect();
    let character_set = read.text(tags::SPECIFIC_CHARACTER_SET).unwrap_or_default();
    let sets = CharacterSets::parse(character_set.as_bytes());
    let is_default = character_set.trim_matches([' ', '\0', '\\']).is_empty();
    let mut changes = BTreeMap::new();
    for (&tag, (vr, value)) in wanted {
        let bytes = if value.is_ascii() || !has_character_set(*vr) {
            value.clone().into_bytes()
        } else if is_default && is_utf8(read) {
            changes.insert(tags::SPECIFIC_CHARACTER_SET, (VR::CS, UNICODE.as_bytes().to_vec()));
            value.clone().into_bytes()
        } else {
            sets.encode(value).ok_or(CorrectionError::Character(tag))?
        };
        changes.insert(tag, (*vr, bytes));
    }
    Ok(changes)
}

/// Whether the texts of a header without a character set can be called UTF-8.
fn is_utf8(read: &Header) -> bool {
    read.dataset().elements().iter().all(|element| match &element.value {
        Value::Bytes(bytes) if has_character_set(element.vr) => std::str::from_utf8(bytes).is_ok(),
        _ => true,
    })
}

/// The items of Original Attributes Sequence: those that were there, and one for these changes.
fn history(
    elements: &[u8],
    encoding: Encoding,
    places: &[Place],
    changes: &BTreeMap<Tag, (VR, Vec<u8>)>,
    correction: &Correction,
) -> Result<Vec<u8>, CorrectionError> {
    let mut items = Vec::new();
    let known = places
        .iter()
        .rfind(|place| place.tag == tags::ORIGINAL_ATTRIBUTES_SEQUENCE);
    if let Some(known) = known {
        if known.long.is_some() || known.vr.is_some_and(|vr| vr != *b"SQ") {
            return Err(CorrectionError::Unreadable);
        }
        let end = known.end - if known.is_undefined { 8 } else { 0 };
        items.extend_from_slice(&elements[known.value..end]);
    }
    let mut before = Vec::new();
    for tag in changes.keys() {
        if let Some(place) = places.iter().rfind(|place| place.tag == *tag) {
            before.extend_from_slice(&elements[place.start..place.end]);
        }
    }
    let mut item = Vec::new();
    let mut modified = Vec::new();
    put_item(&mut modified, encoding, &before);
    put(
        &mut item,
        encoding,
        tags::MODIFIED_ATTRIBUTES_SEQUENCE,
        VR::SQ,
        &modified,
    );
    for (tag, vr, value) in [
        (tags::ATTRIBUTE_MODIFICATION_DATE_TIME, VR::DT, correction.at.as_str()),
        (tags::MODIFYING_SYSTEM, VR::LO, &correction.system),
        (tags::SOURCE_OF_PREVIOUS_VALUES, VR::LO, ""),
        (tags::REASON_FOR_THE_ATTRIBUTE_MODIFICATION, VR::CS, "CORRECT"),
    ] {
        put(&mut item, encoding, tag, vr, value.as_bytes());
    }
    put_item(&mut items, encoding, &item);
    Ok(items)
}

/// Writes an element in an encoding, its value padded to an even length.
fn put(out: &mut Vec<u8>, encoding: Encoding, tag: Tag, vr: VR, value: &[u8]) {
    put_tag(out, encoding, tag);
    let padding = value.len() % 2;
    let length = value.len() + padding;
    let name = vr.to_bytes();
    if !encoding.is_explicit() {
        put_length(out, encoding, length);
    } else if has_short_length(name) {
        out.extend_from_slice(&name);
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        out.extend_from_slice(&if encoding.is_big_endian() {
            length.to_be_bytes()
        } else {
            length.to_le_bytes()
        });
    } else {
        out.extend_from_slice(&name);
        out.extend_from_slice(&[0; 2]);
        put_length(out, encoding, length);
    }
    out.extend_from_slice(value);
    out.extend(std::iter::repeat_n(b' ', padding));
}

fn put_item(out: &mut Vec<u8>, encoding: Encoding, content: &[u8]) {
    put_tag(out, encoding, ITEM);
    put_length(out, encoding, content.len());
    out.extend_from_slice(content);
}

fn put_tag(out: &mut Vec<u8>, encoding: Encoding, tag: Tag) {
    for half in [tag.0, tag.1] {
        out.extend_from_slice(&if encoding.is_big_endian() {
            half.to_be_bytes()
        } else {
            half.to_le_bytes()
        });
    }
}

fn put_length(out: &mut Vec<u8>, encoding: Encoding, length: usize) {
    // Headers are bounded far below this.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&if encoding.is_big_endian() {
        length.to_be_bytes()
    } else {
        length.to_le_bytes()
    });
}

/// The elements of the outermost level; `None` where they cannot be told apart.
fn places(elements: &[u8], encoding: Encoding, long: &[LongValue]) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    let mut start = 0;
    while start < elements.len() {
        let header = ElementHeader::read(&elements[start..], encoding)?;
        let value = start + usize::from(header.header_bytes);
        let cut = long
            .iter()
            .position(|long| long.at as usize == value && Tag::from(long.tag) == Tag::from(header.tag));
        let end = match (cut, header.length) {
            (Some(_), _) => value,
            (None, Some(length)) => value.checked_add(usize::try_from(length).ok()?)?,
            (None, None) => behind(elements, value, encoding)?,
        };
        if end > elements.len() || header.tag.0 == ITEM.0 {
            return None;
        }
        places.push(Place {
            tag: Tag::from(header.tag),
            vr: header.vr,
            start,
            value,
            end,
            is_undefined: cut.is_none() && header.length.is_none(),
            long: cut,
        });
        start = end;
    }
    Some(places)
}

/// Where a sequence of undefined length ends, behind its delimiter. Without recursion: what is open is only counted.
fn behind(elements: &[u8], from: usize, encoding: Encoding) -> Option<usize> {
    let mut at = from;
    let mut open = 1_u32;
    while open > 0 {
        let header = ElementHeader::read(elements.get(at..)?, encoding)?;
        at += usize::from(header.header_bytes);
        match (header.tag, header.length) {
            (SEQUENCE_END, _) => open -= 1,
            (ITEM_END, _) => {}
            (tag, None) if Tag::from(tag) == ITEM => {}
            (_, None) => open += 1,
            (_, Some(length)) => at = at.checked_add(usize::try_from(length).ok()?)?,
        }
    }
    (at <= elements.len()).then_some(at)
}

#[cfg(test)]
mod tests;
