//! New headers made of old ones: attributes set or left out, UIDs exchanged on every level.
//!
//! Owns the writing of datasets that Septum itself makes: copies of stored instances under other UIDs, and instances made
//! of documents and pictures. What was stored stays as it is (invariant 4). The result is Explicit VR Little Endian by the
//! rules of [`super::transcode`].

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use dicom_core::{Tag, VR};

use super::LongValue;
use super::attributes::{Dataset, Element, Encoding, Header, HeaderError, Value};
use super::transcode::write;
use super::transcode::{PixelHeader, PlacedValue, TranscodedHeader, is_pixel_related};

/// What a new header differs in.
#[derive(Clone, Default)]
pub struct Edits {
    set: BTreeMap<Tag, (VR, Vec<u8>)>,
    removed: Vec<Tag>,
    removes_overlays: bool,
    uids: HashMap<String, String>,
}

impl std::fmt::Debug for Edits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Edits({} set, {} removed, {} UIDs)",
            self.set.len(),
            self.removed.len(),
            self.uids.len()
        )
    }
}

impl Edits {
    /// Sets a top-level attribute to a value in little endian bytes, which is padded to an even length.
    pub fn set(&mut self, tag: Tag, vr: VR, value: impl Into<Vec<u8>>) {
        self.set.insert(tag, (vr, value.into()));
    }

    /// Sets a top-level attribute unless it is set already.
    pub fn set_default(&mut self, tag: Tag, vr: VR, value: impl Into<Vec<u8>>) {
        self.set.entry(tag).or_insert_with(|| (vr, value.into()));
    }

    /// Sets a top-level text attribute.
    pub fn text(&mut self, tag: Tag, vr: VR, value: &str) {
        self.set(tag, vr, value.as_bytes());
    }

    /// Sets a top-level attribute of VR US.
    pub fn short(&mut self, tag: Tag, value: u16) {
        self.set(tag, VR::US, value.to_le_bytes());
    }

    /// Leaves a top-level attribute out.
    pub fn remove(&mut self, tag: Tag) {
        self.set.remove(&tag);
        self.removed.push(tag);
    }

    /// Leaves out overlays, groups 6000 to 60FF (PS3.3 section C.9.2).
    pub fn remove_overlays(&mut self) {
        self.removes_overlays = true;
    }

    /// Writes the UID `to` wherever an attribute of VR UI has the value `from`, on every level.
    pub fn exchange_uid(&mut self, from: &str, to: &str) {
        self.uids.insert(from.to_owned(), to.to_owned());
    }

    /// The value a top-level attribute is set to.
    pub fn value(&self, tag: Tag) -> Option<&[u8]> {
        self.set.get(&tag).map(|(_, value)| value.as_slice())
    }

    /// Another value for UIDs, several of them parted by backslashes; `None` where none of them is exchanged.
    fn exchanged(&self, value: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(value).ok()?;
        let uids: Vec<&str> = text.split('\\').map(|uid| uid.trim_end_matches(['\0', ' '])).collect();
        if !uids.iter().any(|uid| self.uids.contains_key(*uid)) {
            return None;
        }
        let exchanged = uids
            .into_iter()
            .map(|uid| self.uids.get(uid).map_or(uid, String::as_str));
        Some(exchanged.collect::<Vec<_>>().join("\\").into_bytes())
    }

    fn is_left_out(&self, tag: Tag) -> bool {
        self.set.contains_key(&tag)
            || self.removed.contains(&tag)
            || (self.removes_overlays && (0x6000..=0x60FF).contains(&tag.0))
    }
}

/// Writes a new header: `elements_before` and `elements_after` are what stood before and behind the pixel element of the
/// old one (without its tag, VR and length), `pixel` is the large element that the caller puts between the halves. Long
/// values were cut out of the old header: the new one has their lengths, and the caller writes the values.
///
/// # Errors
/// Where [`Header::parse`] fails.
pub fn edited(
    elements_before: &[u8],
    elements_after: &[u8],
    from: Encoding,
    long_values: &[LongValue],
    edits: &Edits,
    pixel: Option<PixelHeader>,
) -> Result<TranscodedHeader, HeaderError> {
    let elements = Bytes::from([elements_before, elements_after].concat());
    let header = Header::from_bytes(elements, from)?;
    let pixel_tag = pixel.map_or(Tag(0xFFFF, 0xFFFF), |pixel| pixel.tag);
    let (mut before, mut after) = (Vec::with_capacity(elements_before.len() + 256), Vec::new());
    let (mut long_before, mut long_after) = (Vec::new(), Vec::new());
    let mut set = edits.set.iter().peekable();
    let mut put_set = |before: &mut Vec<u8>, after: &mut Vec<u8>, until: Option<Tag>| {
        while let Some((tag, (vr, value))) = set.next_if(|(tag, _)| until.is_none_or(|until| **tag < until)) {
            write::element_bytes(if *tag < pixel_tag { before } else { after }, *tag, *vr, value);
        }
    };
    for element in write::sorted(header.dataset()) {
        if is_pixel_related(element.tag) || element.tag == pixel_tag || edits.is_left_out(element.tag) {
            continue;
        }
        put_set(&mut before, &mut after, Some(element.tag));
        let (out, places) = if element.tag < pixel_tag {
            (&mut before, &mut long_before)
        } else {
            (&mut after, &mut long_after)
        };
        let tag = (element.tag.0, element.tag.1);
        // Of a tag that stands twice the last one stays, here as there.
        match long_values.iter().rposition(|value| value.tag == tag) {
            Some(index) if matches!(&element.value, Value::Bytes(bytes) if bytes.is_empty()) => {
                let (at, vr) = write::long_value(out, element.tag, element.vr, long_values[index].length);
                places.push(PlacedValue { index, at, vr });
            }
            _ => put(out, element, edits),
        }
    }
    put_set(&mut before, &mut after, None);
    if let Some(pixel) = pixel {
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

/// Writes an element with its UIDs exchanged. Recurses as deep as items nest, which the attribute tree bounds.
fn put(out: &mut Vec<u8>, element: &Element, edits: &Edits) {
    match &element.value {
        Value::Bytes(value) if element.vr == VR::UI => match edits.exchanged(value) {
            Some(value) => write::element_bytes(out, element.tag, VR::UI, &value),
            None => write::element(out, element),
        },
        Value::Items(items) if !edits.uids.is_empty() => {
            write::items(out, element.tag, items, |out, item: &Dataset| {
                for nested in write::sorted(item) {
                    put(out, nested, edits);
                }
            })
        }
        _ => write::element(out, element),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_dictionary_std::tags;

    fn read(made: &TranscodedHeader) -> Header {
        let elements = [made.before.as_slice(), made.after.as_slice()].concat();
        let header = Header::from_bytes(elements.into(), Encoding::ExplicitLittle).expect("readable");
        assert_eq!(header.unread_bytes(), 0);
        header
    }

    fn made_of_nothing() -> TranscodedHeader {
        let mut edits = Edits::default();
        edits.text(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3");
        edits.text(tags::PATIENT_NAME, VR::PN, "Odd");
        edits.short(tags::ROWS, 7);
        edits.set(tags::REFERENCED_STUDY_SEQUENCE, VR::SQ, nested("1.2.3"));
        edited(&[], &[], Encoding::ExplicitLittle, &[], &edits, None).expect("writes")
    }

    /// One item with one UID.
    fn nested(uid: &str) -> Vec<u8> {
        let mut inner = Vec::new();
        write::element_bytes(&mut inner, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, uid.as_bytes());
        let mut item = vec![0xFE, 0xFF, 0x00, 0xE0];
        item.extend_from_slice(&(inner.len() as u32).to_le_bytes());
        item.extend(inner);
        item
    }

    #[test]
    fn attributes_are_set_in_order() {
        let made = made_of_nothing();
        let header = read(&made);
        let order: Vec<Tag> = header.dataset().elements().iter().map(|element| element.tag).collect();
        assert_eq!(
            order,
            [
                tags::REFERENCED_STUDY_SEQUENCE,
                tags::PATIENT_NAME,
                tags::STUDY_INSTANCE_UID,
                tags::ROWS
            ]
        );
        assert_eq!(header.text(tags::PATIENT_NAME).as_deref(), Some("Odd"));
        assert_eq!(header.integer(tags::ROWS), Some(7));
    }

    #[test]
    fn uids_are_exchanged_on_every_level() {
        let old = made_of_nothing();
        let mut edits = Edits::default();
        edits.exchange_uid("1.2.3", "2.25.99");
        edits.remove(tags::ROWS);
        let header =
            read(&edited(&old.before, &old.after, Encoding::ExplicitLittle, &[], &edits, None).expect("writes"));
        assert_eq!(header.text(tags::STUDY_INSTANCE_UID).as_deref(), Some("2.25.99"));
        assert!(header.get(tags::ROWS).is_none());
        let Some(Value::Items(items)) = header
            .get(tags::REFERENCED_STUDY_SEQUENCE)
            .map(|element| &element.value)
        else {
            panic!("no sequence");
        };
        let uid = items[0].get(tags::REFERENCED_SOP_INSTANCE_UID).expect("there");
        assert_eq!(&uid.little_endian_bytes()[..7], b"2.25.99");
    }

    #[test]
    fn what_is_large_stands_between_the_halves() {
        let mut edits = Edits::default();
        edits.short(tags::ROWS, 1);
        edits.text(Tag(0xFFFC, 0xFFFC), VR::OB, "padding");
        let pixel = PixelHeader {
            tag: tags::PIXEL_DATA,
            vr: VR::OW,
            length: Some(2),
        };
        let made = edited(&[], &[], Encoding::ExplicitLittle, &[], &edits, Some(pixel)).expect("writes");
        assert_eq!(made.before[made.before.len() - 12..][..4], [0xE0, 0x7F, 0x10, 0x00]);
        assert_eq!(made.after[..4], [0xFC, 0xFF, 0xFC, 0xFF]);
    }
}
