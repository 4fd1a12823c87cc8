//! Metadata of store requests: cut into instances, and what each of them waits for.
//!
//! The text is kept, not what it is parsed into: parsed metadata takes a hundred times the memory in the worst case. It
//! is parsed once to see what the instance waits for, and again when the instance is complete, each time within a share
//! of [`super::held::Held`] as large as [`cost_bytes`] says.

use std::collections::HashSet;

use bytes::Bytes;
use septum_core::dicom::FailureReason;
use septum_core::dicom::xml::{XmlError, XmlErrorKind, XmlLimits, from_xml};
use serde_json::{Map, Value};

use super::location::Base;

/// In which form metadata is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An array of DICOM JSON Model objects (PS3.18 annex F).
    Json,
    /// One Native DICOM Model document (PS3.19 annex A).
    Xml,
}

impl Form {
    /// The form of a media type, without parameters and in lower case.
    pub fn of(essence: &str) -> Option<Self> {
        match essence {
            "application/dicom+json" | "application/json" => Some(Self::Json),
            "application/dicom+xml" | "application/xml" | "text/xml" => Some(Self::Xml),
            _ => None,
        }
    }
}

/// Why metadata cannot be read. Names where, never what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not well-formed.
    #[error("the metadata is not well-formed JSON at line {line} column {column}")]
    Json {
        /// From 1, within the instance.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Neither an object nor an array of objects.
    #[error("the metadata is not an array of objects")]
    NotObjects,
    /// See [`XmlError`].
    #[error("the metadata cannot be read: {0}")]
    Xml(#[from] XmlError),
    /// Its part is in a coding that is not undone.
    #[error("{}", super::parts::CODED)]
    Coded,
    /// It would take more memory than there is for it.
    #[error("the metadata is larger than can be held")]
    TooLarge,
}

impl MetadataError {
    /// The failure reason for the sender.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::TooLarge => FailureReason::OutOfResources,
            Self::Xml(error) => match error.kind {
                XmlErrorKind::TooLong | XmlErrorKind::TooDeep | XmlErrorKind::TooManyValues => {
                    FailureReason::OutOfResources
                }
                _ => FailureReason::CannotUnderstand,
            },
            Self::Json { .. } | Self::NotObjects | Self::Coded => FailureReason::CannotUnderstand,
        }
    }
}

/// The objects of a JSON array, or the one object, as they stand in the text. Whether each is well-formed is for its
/// parser to say.
///
/// # Errors
/// [`MetadataError::NotObjects`], also for what ends too early.
pub fn objects(text: &Bytes) -> Result<Vec<Bytes>, MetadataError> {
    let (mut found, mut depth, mut start, mut quoted, mut escaped) = (Vec::new(), 0_u32, None, false, false);
    let body = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let offset = text.len() - body.len();
    // Objects lie at depth 1 in an array, at depth 0 without one.
    let mut outermost = 0;
    let mut closed = false;
    for (at, &byte) in body.iter().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if closed => return Err(MetadataError::NotObjects),
            b'[' if depth == 0 => (depth, outermost) = (1, 1),
            b'{' | b'[' => {
                if depth == outermost {
                    if byte == b'[' {
                        return Err(MetadataError::NotObjects);
                    }
                    start = Some(at);
                }
                depth += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1).ok_or(MetadataError::NotObjects)?;
                if depth == outermost
                    && let Some(start) = start.take()
                {
                    found.push(text.slice(offset + start..offset + at + 1));
                }
                closed = depth == 0;
            }
            b',' if depth == outermost => {}
            _ if depth == outermost => return Err(MetadataError::NotObjects),
            b'"' => quoted = true,
            _ => {}
        }
    }
    if closed {
        Ok(found)
    } else {
        Err(MetadataError::NotObjects)
    }
}

/// About what the parsed form of a text takes, in bytes; never less.
pub fn cost_bytes(form: Form, text: &[u8]) -> u64 {
    let count = |wanted: &[u8]| text.iter().filter(|byte| wanted.contains(byte)).count() as u64;
    let nodes = match form {
        // An object of one member takes a tree node for eleven; a value takes its place in an array.
        Form::Json => 700 * count(b"{") + 48 * count(b"[,"),
        Form::Xml => 400 * count(b"<"),
    };
    nodes + 2 * text.len() as u64
}

/// Parses one instance.
///
/// # Errors
/// [`MetadataError`].
pub fn parse(form: Form, text: &[u8], values_max: u32) -> Result<Map<String, Value>, MetadataError> {
    match form {
        Form::Json => match serde_json::from_slice(text) {
            Ok(Value::Object(dataset)) => Ok(dataset),
            Ok(_) => Err(MetadataError::NotObjects),
            Err(error) => Err(MetadataError::Json {
                line: error.line(),
                column: error.column(),
            }),
        },
        Form::Xml => {
            let limits = XmlLimits {
                document_bytes_max: text.len(),
                values_max,
                ..XmlLimits::default()
            };
            Ok(from_xml(text, &limits)?)
        }
    }
}

/// SOP Class and SOP Instance UID, as far as they stand in metadata and are UIDs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// SOP Class UID.
    pub sop_class: Option<String>,
    /// SOP Instance UID.
    pub sop_instance: Option<String>,
}

/// What an instance waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// What the answer calls it.
    pub named: Named,
    /// Addresses of its bulk data, resolved, each once.
    pub keys: Vec<String>,
    /// Those of `keys` that are referred to more than once.
    pub shared_keys: HashSet<String>,
    /// Of its pixels, if they are bulk data.
    pub pixels: Option<Pixels>,
}

/// What is known of pixels before they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Their address, resolved.
    pub key: String,
    /// Number of Frames (0028,0008).
    pub num_frames: u32,
    /// Length in bytes if they are native, without padding.
    pub native_bytes: Option<u64>,
}

/// Looks through parsed metadata.
pub fn needs(dataset: &Map<String, Value>, base: &Base) -> Needs {
    let mut needs = Needs {
        named: Named {
            sop_class: uid(dataset, "00080016"),
            sop_instance: uid(dataset, "00080018"),
        },
        ..Needs::default()
    };
    let mut seen = HashSet::new();
    // What is still to be looked at lies on a stack of our own: no recursion on input depth.
    let mut open = vec![dataset];
    while let Some(dataset) = open.pop() {
        for element in dataset.values() {
            if let Some(uri) = element.get("BulkDataURI").and_then(Value::as_str) {
                let key = base.resolve(uri);
                if seen.insert(key.clone()) {
                    needs.keys.push(key);
                } else {
                    needs.shared_keys.insert(key);
                }
            }
            let values = element.get("Value").and_then(Value::as_array);
            open.extend(values.into_iter().flatten().filter_map(Value::as_object));
        }
    }
    let pixels = ["7FE00010", "7FE00008", "7FE00009"]
        .into_iter()
        .find_map(|tag| dataset.get(tag)?.get("BulkDataURI")?.as_str());
    needs.pixels = pixels.map(|uri| Pixels {
        key: base.resolve(uri),
        num_frames: number(dataset, "00280008")
            .and_then(|n| n.try_into().ok())
            .unwrap_or(1)
            .max(1),
        native_bytes: native_bytes(dataset),
    });
    needs
}

fn first<'a>(dataset: &'a Map<String, Value>, tag: &str) -> Option<&'a Value> {
    dataset.get(tag)?.get("Value")?.get(0)
}

fn uid(dataset: &Map<String, Value>, tag: &str) -> Option<String> {
    let text = first(dataset, tag)?.as_str()?.trim_end_matches('\0');
    septum_core::ids::Uid::parse(text)
        .ok()
        .map(|uid| uid.as_str().to_owned())
}

fn number(dataset: &Map<String, Value>, tag: &str) -> Option<u64> {
    match first(dataset, tag)? {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_u64(),
    }
}

/// PS3.5 section 8.1.1; bits of single-bit frames run on from frame to frame.
fn native_bytes(dataset: &Map<String, Value>) -> Option<u64> {
    let [rows, columns, bits] = ["00280010", "00280011", "00280100"].map(|tag| number(dataset, tag));
    let samples = number(dataset, "00280002").unwrap_or(1);
    let frames = number(dataset, "00280008").unwrap_or(1);
    let photometric = first(dataset, "00280004").and_then(Value::as_str).unwrap_or_default();
    // Two pixels share their colour (PS3.3 section C.7.6.3.1.2).
    let samples = if photometric.trim() == "YBR_FULL_422" && samples == 3 {
        2
    } else {
        samples
    };
    let mut total = 1_u64;
    for factor in [rows?, columns?, bits?, samples, frames] {
        total = total.checked_mul(factor)?;
    }
    (total > 0).then(|| total.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arrays_are_cut() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let found = objects(&Bytes::copy_from_slice(text.as_bytes())).ok();
            let found: Option<Vec<&str>> = found
                .as_ref()
                .map(|found| found.iter().map(|o| std::str::from_utf8(o).expect("text")).collect());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("[]", Some(&[]));
        check("[{}]", Some(&["{}"]));
        check(" \u{FEFF}".trim_start(), None);
        check(
            "\u{FEFF}[ {\"a\":[{}]} ,\n{\"}\\\"]\":1}]\n",
            Some(&["{\"a\":[{}]}", "{\"}\\\"]\":1}"]),
        );
        check("{\"a\":{}}", Some(&["{\"a\":{}}"]));
        for text in [
            "", "[", "[{}", "[1]", "[[]]", "\"a\"", "1", "[]]", "[{}][{}]", "}", "[{\"a\"]",
        ] {
            // What is not balanced by kind is the parser's to refuse.
            if text != "[{\"a\"]" {
                check(text, None);
            }
        }
    }

    #[test]
    fn costs_are_not_less_than_what_is_taken() {
        // A tree node of eleven members and the map around it.
        let node = 11 * (size_of::<String>() + size_of::<Value>()) as u64 + 16;
        let text = br#"{"00080005":{"vr":"CS","Value":["ISO_IR 192"]}}"#;
        assert!(cost_bytes(Form::Json, text) >= 2 * node + 100);
        let text = br#"<NativeDicomModel><DicomAttribute tag="00080005" vr="CS"/></NativeDicomModel>"#;
        assert!(cost_bytes(Form::Xml, text) >= node + 100);
    }

    #[test]
    fn what_instances_wait_for() {
        let base = Base::new("https://h", "/dicomweb/studies");
        let dataset = json!({
            "00080016": {"vr": "UI", "Value": ["1.2"]},
            "00080018": {"vr": "UI", "Value": ["1.3"]},
            "00280010": {"vr": "US", "Value": [3]},
            "00280011": {"vr": "US", "Value": [5]},
            "00280100": {"vr": "US", "Value": [1]},
            "00280008": {"vr": "IS", "Value": ["3"]},
            "00081115": {"vr": "SQ", "Value": [{"00420011": {"vr": "OB", "BulkDataURI": "a"}}, null]},
            "00091001": {"vr": "OB", "BulkDataURI": "/dicomweb/a"},
            "7FE00010": {"vr": "OB", "BulkDataURI": "b"},
        });
        let needs = needs(dataset.as_object().expect("an object"), &base);
        assert_eq!(needs.named.sop_instance.as_deref(), Some("1.3"));
        let mut keys = needs.keys.clone();
        keys.sort();
        assert_eq!(keys, ["https://h/dicomweb/a", "https://h/dicomweb/b"]);
        assert!(needs.shared_keys.contains("https://h/dicomweb/a"));
        let pixels = needs.pixels.expect("pixels");
        assert_eq!((pixels.num_frames, pixels.native_bytes), (3, Some(6)));
    }
}
