//! From the path in a `BulkDataURI` back to the value (PS3.18 section 10.4.1.1.5).

use bytes::Bytes;
use dicom_core::{Tag, VR};

use crate::dicom::attributes::{Header, Value};

/// A value that is served as bulk data.
#[derive(Clone)]
pub struct BulkValue {
    /// Its value representation.
    pub vr: VR,
    /// Its bytes, little endian; for a nested encapsulated value its items as they stand in the stream.
    pub bytes: Bytes,
    /// Whether `bytes` are the items of an encapsulated value.
    pub encapsulated: bool,
}

impl std::fmt::Debug for BulkValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BulkValue({}, {} bytes)", self.vr.to_string(), self.bytes.len())
    }
}

/// Finds the value at `path`, as in `54000100/0/54001010`: what follows `{BULK}/` in the JSON. `None` when there is
/// no such element, or it is a sequence.
pub fn bulk_value(header: &Header, path: &str) -> Option<BulkValue> {
    let mut steps = path.split('/');
    let mut dataset = header.dataset();
    loop {
        let element = dataset.get(parse_tag(steps.next()?)?)?;
        match (&element.value, steps.next()) {
            (Value::Items(items), Some(number)) => dataset = items.get(number.parse::<usize>().ok()?)?,
            (Value::Bytes(bytes), None) => {
                let bytes = if element.big_endian {
                    Bytes::from(element.little_endian_bytes().into_owned())
                } else {
                    bytes.clone()
                };
                return Some(BulkValue {
                    vr: element.vr,
                    bytes,
                    encapsulated: false,
                });
            }
            (Value::Fragments(bytes), None) => {
                return Some(BulkValue {
                    vr: element.vr,
                    bytes: bytes.clone(),
                    encapsulated: true,
                });
            }
            _ => return None,
        }
    }
}

/// The attribute of eight hexadecimal digits.
pub fn parse_tag(text: &str) -> Option<Tag> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(text, 16).ok()?;
    Some(Tag((number >> 16) as u16, number as u16))
}
