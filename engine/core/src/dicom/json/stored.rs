//! Reading back the JSON that this crate made of headers.

use serde::Deserialize;

/// Reads stored metadata, however deep its sequences nest: [`to_json`](super::to_json) writes three levels of JSON for
/// each, so that an instance within [`DEPTH_MAX`](crate::dicom::attributes::DEPTH_MAX) is deeper than what the reader of
/// foreign JSON takes. Only for what was made of a header, whose depth is bounded.
///
/// # Errors
/// Where it is no JSON, or not that of a `T`.
pub fn read_stored<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let read = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::read_stored;
    use crate::dicom::attributes::{DEPTH_MAX, Encoding, Header};
    use crate::dicom::json::{JsonOptions, to_json};

    /// Content Sequence in Content Sequence, of undefined lengths.
    fn nested(depth: usize) -> Vec<u8> {
        let sequence = [
            &b"\x40\x00\x30\xA7SQ\0\0"[..],
            &[0xFF; 4],
            b"\xFE\xFF\x00\xE0",
            &[0xFF; 4],
        ]
        .concat();
        let ends = b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0";
        [sequence.repeat(depth), ends.repeat(depth)].concat()
    }

    #[test]
    fn the_deepest_header_is_read_back() {
        let bytes = nested(usize::from(DEPTH_MAX));
        let header = Header::parse(&bytes, Encoding::ExplicitLittle).expect("readable");
        let made = to_json(&header, &JsonOptions::default());
        let text = Value::Object(made.clone()).to_string();
        assert!(
            serde_json::from_str::<Value>(&text).is_err(),
            "deeper than foreign JSON may be"
        );
        assert_eq!(read_stored::<Map<String, Value>>(&text).expect("stored JSON"), made);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "{", "{}{}", "[]"] {
            assert!(read_stored::<Map<String, Value>>(text).is_err(), "{text}");
        }
    }
}
