//! The two media types of datasets without pixels (PS3.18 section 8.7.3): DICOM JSON, the default, and the Native DICOM
//! Model in XML.
//!
//! Several datasets are one JSON array, or one XML document a part of `multipart/related`. Who asks for
//! `application/dicom+xml` without saying multipart gets parts too where there can be several.

use bytes::Bytes;
use septum_core::dicom::json::read_stored;
use septum_core::dicom::xml::to_xml;
use septum_engine::EngineError;
use serde_json::{Map, Value};

use crate::call::Call;
use crate::http::accept;
use crate::http::parts::PartWriter;
use crate::http::problem::{Answer, Problem};

/// The media type of DICOM JSON.
pub(super) const DICOM_JSON: &str = "application/dicom+json";
/// DICOM JSON, as clients call it that know no other JSON.
const JSON: &str = "application/json";
/// The media type of the Native DICOM Model.
pub(super) const DICOM_XML: &str = septum_core::dicom::xml::MEDIA_TYPE;

/// In which form datasets are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DicomType {
    /// DICOM JSON, under the name that the client takes.
    Json(&'static str),
    /// XML documents.
    Xml,
}

/// What the client takes, the most wanted first.
///
/// # Errors
/// 406 where it takes neither, 400 where its Accept is malformed.
pub(super) fn dicom_type(call: &Call) -> Answer<DicomType> {
    let choices = accept::choices(&call.request)?;
    choose(&choices).ok_or_else(|| {
        let xml = format!("multipart/related; type=\"{DICOM_XML}\"");
        Problem::not_acceptable("only JSON and XML can be had here", &[DICOM_JSON.to_owned(), xml])
    })
}

fn choose(choices: &[accept::Choice]) -> Option<DicomType> {
    choices.iter().find_map(|choice| match choice.multipart {
        false if choice.covers(DICOM_JSON) => Some(DicomType::Json(DICOM_JSON)),
        _ if choice.covers(DICOM_XML) => Some(DicomType::Xml),
        false if choice.covers(JSON) => Some(DicomType::Json(JSON)),
        _ => None,
    })
}

impl DicomType {
    /// The media type of one dataset.
    pub(super) fn of_one(self) -> &'static str {
        match self {
            Self::Json(name) => name,
            Self::Xml => DICOM_XML,
        }
    }

    /// One dataset.
    ///
    /// # Errors
    /// 500 where it is not in the DICOM JSON Model.
    pub(super) fn document(self, dataset: &Map<String, Value>) -> Answer<String> {
        match self {
            Self::Json(_) => serde_json::to_string(dataset).map_err(|_| Problem::from(NOT_DICOM_JSON)),
            Self::Xml => to_xml(dataset).map_err(|_| Problem::from(NOT_DICOM_JSON)),
        }
    }
}

const NOT_DICOM_JSON: EngineError = EngineError::Corrupt("dataset");

/// Datasets in the order in which they are sent.
pub(super) enum Writer {
    /// One array.
    Json {
        /// The media type.
        name: &'static str,
        /// What stands before the next one.
        separator: &'static str,
    },
    /// Parts.
    Xml {
        /// How they are framed.
        parts: PartWriter,
        /// The address of the study that their instances are in, where they are metadata of instances.
        study_url: Option<String>,
    },
}

impl Writer {
    pub(super) fn new(media_type: DicomType) -> Self {
        match media_type {
            DicomType::Json(name) => Self::Json { name, separator: "[" },
            DicomType::Xml => Self::Xml {
                parts: PartWriter::new(),
                study_url: None,
            },
        }
    }

    /// For metadata of instances of the study at an address: each part says whose it is.
    pub(super) fn of_instances(media_type: DicomType, url: &str) -> Self {
        match Self::new(media_type) {
            Self::Xml { parts, .. } => Self::Xml {
                parts,
                study_url: Some(url.to_owned()),
            },
            json => json,
        }
    }

    /// Content-Type of the whole.
    pub(super) fn content_type(&self) -> String {
        match self {
            Self::Json { name, .. } => (*name).to_owned(),
            Self::Xml { parts, .. } => parts.content_type(DICOM_XML),
        }
    }

    /// Adds one dataset, given as JSON text.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] where it is not in the DICOM JSON Model.
    pub(super) fn push(&mut self, text: &str, out: &mut Vec<u8>) -> septum_engine::Result<()> {
        match self {
            Self::Json { separator, .. } => {
                out.extend_from_slice(separator.as_bytes());
                *separator = ",";
                out.extend_from_slice(text.as_bytes());
            }
            Self::Xml { parts, study_url } => {
                let dataset: Map<String, Value> = read_stored(text).map_err(|_| NOT_DICOM_JSON)?;
                let document = to_xml(&dataset).map_err(|_| NOT_DICOM_JSON)?;
                let location = study_url.as_ref().and_then(|url| metadata_url(url, &dataset));
                out.extend_from_slice(&parts.open(DICOM_XML, location.as_deref()));
                out.extend_from_slice(document.as_bytes());
            }
        }
        Ok(())
    }

    /// What stands behind the last one.
    pub(super) fn close(&self) -> Bytes {
        match self {
            Self::Json { separator: "[", .. } => Bytes::from_static(b"[]"),
            Self::Json { .. } => Bytes::from_static(b"]"),
            Self::Xml { parts, .. } => parts.close(),
        }
    }
}

/// The address of an instance's metadata; none where its UIDs are not what may stand in an address.
fn metadata_url(study_url: &str, dataset: &Map<String, Value>) -> Option<String> {
    let uid = |tag: &str| {
        let uid = dataset.get(tag)?.get("Value")?.get(0)?.as_str()?;
        let is_plain = uid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        is_plain.then_some(uid)
    };
    let (series, instance) = (uid("0020000E")?, uid("00080018")?);
    Some(format!("{study_url}/series/{series}/instances/{instance}/metadata"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::accept::{Choice, choices_of};

    #[test]
    fn what_is_wanted_most_is_sent() {
        let check = |wanted: &[(bool, &str)], expected: Option<DicomType>| {
            let choices: Vec<Choice> = wanted
                .iter()
                .map(|(multipart, media)| Choice {
                    multipart: *multipart,
                    ..Choice::single(media)
                })
                .collect();
            assert_eq!(choose(&choices), expected, "{wanted:?}");
        };
        let json = Some(DicomType::Json(DICOM_JSON));
        check(&[(false, "*/*")], json);
        check(&[(false, DICOM_JSON)], json);
        check(
            &[(false, "application/json")],
            Some(DicomType::Json("application/json")),
        );
        check(&[(true, DICOM_XML), (false, DICOM_JSON)], Some(DicomType::Xml));
        check(&[(false, "text/html"), (false, "*/*"), (true, DICOM_XML)], json);
        check(&[(false, DICOM_XML)], Some(DicomType::Xml));
        check(&[(true, "application/dicom"), (false, "image/jpeg")], None);
    }

    #[test]
    fn what_is_refused_is_not_sent() {
        for (accept, expected) in [
            ("application/dicom+json;q=0, */*", Some(DicomType::Xml)),
            (
                "application/dicom+json;q=0, application/dicom+xml;q=0, */*",
                Some(DicomType::Json(JSON)),
            ),
            ("application/*;q=0, */*", None),
            ("multipart/related;q=0, */*", Some(DicomType::Json(DICOM_JSON))),
        ] {
            let choices = choices_of([accept].into_iter()).expect("well formed");
            assert_eq!(choose(&choices), expected, "{accept}");
        }
    }

    #[test]
    fn datasets_are_written() {
        let text = r#"{"00080060":{"vr":"CS","Value":["CT"]}}"#;
        let all = |media_type, num: usize| {
            let (mut writer, mut out) = (Writer::new(media_type), Vec::new());
            for _ in 0..num {
                writer.push(text, &mut out).expect("DICOM JSON");
            }
            out.extend_from_slice(&writer.close());
            String::from_utf8(out).expect("text")
        };
        assert_eq!(all(DicomType::Json(DICOM_JSON), 0), "[]");
        assert_eq!(all(DicomType::Json(DICOM_JSON), 2), format!("[{text},{text}]"));
        let parts = all(DicomType::Xml, 2);
        assert_eq!(parts.matches("<NativeDicomModel").count(), 2);
        assert_eq!(
            parts
                .matches("Content-Type: application/dicom+xml\r\n\r\n<?xml")
                .count(),
            2
        );
        assert!(Writer::new(DicomType::Xml).push("[]", &mut Vec::new()).is_err());
    }
}
