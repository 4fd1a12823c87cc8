//! The Store Instances Response (PS3.18 section 10.5.3) and its statuses.
//!
//! 200: all stored; 202: some stored, or stored with warnings; 409: none stored, and it is the sender's fault; 408: none
//! stored, and the body came too slowly; 503 and 507: none stored, and it is ours. What is wrong with an instance stands in Error Comment (0000,0902), naming tag and
//! offset, in values of at most 64 characters. Warning Reason (0008,1196) is B000H where attributes were changed to make an
//! instance of its metadata, else B007H: what is sent as a Part 10 stream is stored verbatim, whatever had to be read
//! with leniency. Parts that no instance refers to make 202 of 200, and are counted in a Warning header.

use std::borrow::Cow;

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use septum_core::dicom::from_json::FromJsonError;
use septum_core::dicom::{FailureReason, InstanceStart};
use septum_engine::error::{EngineError, ErrorKind};
use septum_engine::freeze;
use septum_engine::pipeline::messages::{StoreKind, StoreOutcome};
use serde_json::{Map, Value, json};

use super::dicom_type::DicomType;
use crate::http::problem::Answer;
use crate::stow::metadata::{MetadataError, Named};

/// Warning Reason: the dataset does not match its SOP Class (PS3.18 table I.2-1); here: stored verbatim, with leniency.
const WARNING_LENIENT: u16 = 0xB007;

/// Warning Reason: attributes were changed (PS3.18 table I.2-1).
const WARNING_COERCED: u16 = 0xB000;

/// Longest value of LO (PS3.5 section 6.2), in characters.
const COMMENT_CHARACTERS_MAX: usize = 64;

/// Why an instance was not stored.
#[derive(Debug)]
pub(super) enum Failure {
    /// The engine says why.
    Engine(EngineError),
    /// The part is not `application/dicom`.
    NotDicomPart,
    /// Its metadata cannot be read.
    Metadata(MetadataError),
    /// No instance can be made of its metadata.
    FromJson(FromJsonError),
    /// The body broke off inside it, or before it came.
    Incomplete(FailureReason, &'static str),
    /// The body came too slowly, and was given up inside it or before it came: sending it again may do.
    TooSlow,
}

/// One instance of the request.
pub(super) struct Instance {
    /// What its header says, where it could be read.
    pub(super) start: Option<Arc<InstanceStart>>,
    /// What its metadata says, where it was sent as metadata.
    pub(super) named: Named,
    /// What was changed to make it of its metadata.
    pub(super) changes: Vec<&'static str>,
    /// What became of it.
    pub(super) outcome: Result<StoreOutcome, Failure>,
}

impl Failure {
    fn reason(&self) -> u16 {
        let reason = match self {
            Self::Engine(EngineError::Rejected(rejection)) => rejection.reason,
            Self::Engine(EngineError::Conflict(freeze::FROZEN)) => FailureReason::NotAuthorized,
            Self::Engine(error) => match error.kind() {
                ErrorKind::Overloaded | ErrorKind::DiskFull => FailureReason::OutOfResources,
                ErrorKind::Conflict => FailureReason::DataSetDoesNotMatchSopClass,
                _ => FailureReason::ProcessingFailure,
            },
            Self::NotDicomPart => FailureReason::CannotUnderstand,
            Self::Metadata(error) => error.reason(),
            Self::FromJson(error) => error.reason(),
            Self::Incomplete(reason, _) => *reason,
            Self::TooSlow => FailureReason::OutOfResources,
        };
        reason.code()
    }

    fn comment(&self) -> String {
        match self {
            Self::Engine(EngineError::Rejected(rejection)) => rejection.to_string(),
            Self::Engine(error) => match error.kind() {
                ErrorKind::Overloaded | ErrorKind::Conflict => error.to_string(),
                ErrorKind::DiskFull => "there is no space left".to_owned(),
                _ => "processing failed inside the server".to_owned(),
            },
            Self::NotDicomPart => "the part is not application/dicom".to_owned(),
            Self::Metadata(error) => error.to_string(),
            Self::FromJson(error) => error.to_string(),
            Self::Incomplete(_, why) => (*why).to_owned(),
            Self::TooSlow => "the body came too slowly and was given up; send this again".to_owned(),
        }
    }

    /// The status when nothing was stored; of several, the one that [`weight`] says.
    fn status(&self) -> StatusCode {
        match self {
            Self::Engine(error) => match error.kind() {
                ErrorKind::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
                ErrorKind::Overloaded | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Corrupt => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::CONFLICT,
            },
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NotDicomPart | Self::Metadata(_) | Self::FromJson(_) | Self::Incomplete(..) => StatusCode::CONFLICT,
        }
    }
}

/// Which status counts most where nothing was stored: 409 says that sending again is of no use, so it must not hide one
/// that says otherwise.
fn weight(status: StatusCode) -> (bool, u16) {
    (status != StatusCode::CONFLICT, status.as_u16())
}

/// The response. `service_url` is the DICOMweb address of the namespace.
pub(super) fn response(
    instances: &[Instance],
    service_url: &str,
    media_type: DicomType,
    num_unreferenced: usize,
) -> Answer {
    let (mut stored, mut failed, mut warned) = (Vec::new(), Vec::new(), num_unreferenced > 0);
    let mut studies = Vec::new();
    let mut status = StatusCode::CONFLICT;
    for instance in instances {
        let mut item = references(instance);
        match &instance.outcome {
            Ok(outcome) => {
                if let Some(start) = &instance.start {
                    let identity = &start.identity;
                    studies.push(identity.study.as_str());
                    let url = format!(
                        "{}/studies/{}/series/{}/instances/{}",
                        service_of(service_url, outcome),
                        identity.study.as_str(),
                        identity.series.as_str(),
                        identity.instance.as_str()
                    );
                    put(&mut item, "00081190", "UR", json!([url]));
                }
                let comment = warning(outcome, &instance.changes);
                if let Some(comment) = comment {
                    warned = true;
                    let reason = if instance.changes.is_empty() {
                        WARNING_LENIENT
                    } else {
                        WARNING_COERCED
                    };
                    put(&mut item, "00081196", "US", json!([reason]));
                    put(&mut item, "00000902", "LO", json!(wrapped(&comment)));
                }
                stored.push(Value::Object(item));
            }
            Err(failure) => {
                if weight(failure.status()) > weight(status) {
                    status = failure.status();
                }
                put(&mut item, "00081197", "US", json!([failure.reason()]));
                put(&mut item, "00000902", "LO", json!(wrapped(&failure.comment())));
                failed.push(Value::Object(item));
            }
        }
    }
    let status = match (stored.is_empty(), failed.is_empty() && !warned) {
        (true, _) => status,
        (false, true) => StatusCode::OK,
        (false, false) => StatusCode::ACCEPTED,
    };
    let mut dataset = Map::new();
    studies.dedup();
    if let [study] = studies.as_slice() {
        put(
            &mut dataset,
            "00081190",
            "UR",
            json!([format!("{service_url}/studies/{study}")]),
        );
    }
    if !failed.is_empty() {
        put(&mut dataset, "00081198", "SQ", Value::Array(failed));
    }
    if !stored.is_empty() {
        put(&mut dataset, "00081199", "SQ", Value::Array(stored));
    }
    let mut response = HttpResponse::build(status);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header((header::RETRY_AFTER, "5"));
    }
    if num_unreferenced > 0 {
        let warning =
            format!("299 septum \"{num_unreferenced} parts are referred to by no instance and were left out\"");
        response.insert_header((header::WARNING, warning));
    }
    Ok(response
        .content_type(media_type.of_one())
        .body(media_type.document(&dataset)?))
}

/// SOP class and instance of an item, as far as they are known.
fn references(instance: &Instance) -> Map<String, Value> {
    let identity = instance.start.as_ref().map(|start| &start.identity);
    let (named, mut item) = (&instance.named, Map::new());
    let sop_class = identity.map(|identity| identity.sop_class.as_str());
    if let Some(sop_class) = sop_class.or(named.sop_class.as_deref()) {
        put(&mut item, "00081150", "UI", json!([sop_class]));
    }
    let sop_instance = identity.map(|identity| identity.instance.as_str());
    if let Some(sop_instance) = sop_instance.or(named.sop_instance.as_deref()) {
        put(&mut item, "00081155", "UI", json!([sop_instance]));
    }
    item
}

/// Where the instance can be read: a held one only inside its exception.
fn service_of<'a>(service_url: &'a str, outcome: &StoreOutcome) -> Cow<'a, str> {
    match (&outcome.exception, service_url.strip_suffix("/dicomweb")) {
        (Some(exception), Some(namespace)) => Cow::Owned(format!("{namespace}/exceptions/{exception}/dicomweb")),
        _ => Cow::Borrowed(service_url),
    }
}

fn warning(outcome: &StoreOutcome, changes: &[&str]) -> Option<String> {
    if outcome.kind == StoreKind::Held {
        return Some("stored, but held in the exception list: the study UID belongs to another patient".to_owned());
    }
    let mut said = Vec::new();
    if !changes.is_empty() {
        said.push(format!("changed on the way: {}", changes.join(", ")));
    }
    if !outcome.warnings.is_empty() {
        said.push(format!("stored as it is, although: {}", outcome.warnings.join(", ")));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

pub(super) fn put(item: &mut Map<String, Value>, tag: &str, vr: &str, value: Value) {
    item.insert(tag.to_owned(), json!({ "vr": vr, "Value": value }));
}

/// Text as values of at most 64 characters, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let mut word: String = word.chars().filter(|character| *character != '\\').collect();
        word.truncate(
            word.char_indices()
                .nth(COMMENT_CHARACTERS_MAX)
                .map_or(word.len(), |(at, _)| at),
        );
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COMMENT_CHARACTERS_MAX => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use septum_core::ids::{NamespaceId, VersionId};

    fn good(warnings: &[&str]) -> Instance {
        let outcome = StoreOutcome {
            kind: StoreKind::Stored,
            version: VersionId::random(),
            namespace: NamespaceId::random(),
            exception: None,
            warnings: warnings.iter().map(|name| (*name).to_owned()).collect(),
        };
        Instance {
            start: None,
            named: Named::default(),
            changes: Vec::new(),
            outcome: Ok(outcome),
        }
    }

    fn bad(failure: Failure) -> Instance {
        Instance {
            start: None,
            named: Named::default(),
            changes: Vec::new(),
            outcome: Err(failure),
        }
    }

    fn check(instances: Vec<Instance>, expected: u16) {
        assert_eq!(
            response(&instances, "https://h", DicomType::Json("application/dicom+json"), 0)
                .expect("an answer")
                .status()
                .as_u16(),
            expected
        );
    }

    #[test]
    fn statuses_say_what_became_of_all() {
        let overloaded = || Failure::Engine(EngineError::Overloaded { retry_after_seconds: 1 });
        check(vec![good(&[]), good(&[])], 200);
        check(vec![good(&["OddLength"])], 202);
        check(vec![good(&[]), bad(Failure::NotDicomPart)], 202);
        check(vec![bad(Failure::NotDicomPart)], 409);
        check(vec![bad(Failure::NotDicomPart), bad(overloaded())], 503);
        check(vec![good(&[]), bad(overloaded())], 202);
        check(vec![bad(Failure::TooSlow)], 408);
        check(vec![bad(Failure::NotDicomPart), bad(Failure::TooSlow)], 408);
        check(vec![bad(Failure::TooSlow), bad(overloaded())], 503);
        check(vec![good(&[]), bad(Failure::TooSlow)], 202);
        check(vec![bad(Failure::Engine(EngineError::PipelineRestarted))], 503);
    }

    #[test]
    fn comments_fit_their_value_representation() {
        let text = "element (7FE0,0010) at offset 123456789 claims 4294967295 bytes, 12 remain and more";
        let lines = wrapped(text);
        assert!(lines.iter().all(|line| line.chars().count() <= 64));
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrapped(&"x".repeat(100))[0].len(), 64);
    }
}
