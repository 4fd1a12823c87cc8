//! Storage commitment over DICOMweb (PS3.18 chapter 13 and annex J): whether instances are kept.
//!
//! What the archive acknowledged is durable, so a request is answered at once: 200 with the result. Results are kept for
//! an hour, for the user who asked, so that they can be had again (PS3.18 section 13.5) and a Transaction UID is not used
//! twice; they are in memory only and bounded, and the oldest go first. An instance in the exception list is not
//! committed, since it is not where the request says.
//!
//! References are taken in both forms of annex J.1: Referenced Study Sequence (0008,1110), which names study and series
//! and is looked up, and Referenced SOP Sequence (0008,1199), which is searched for and so has a lower limit.

mod references;
mod results;

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use septum_core::ids::Uid;
use septum_core::query::{Level, Query};
use septum_engine::EngineError;
use septum_engine::error::ErrorKind;
use septum_engine::retrieve::StudyRef;
use septum_engine::search::{Scope, search};
use serde_json::{Map, Value};

use self::references::{Reference, references, result};
pub use self::results::Commitments;
use super::accounts::body_problem;
use super::dicom_type::{DicomType, dicom_type};
use crate::call::Call;
use crate::http::media_type::MediaType;
use crate::http::problem::{Answer, Problem};
use crate::stow::metadata::{Form, cost_bytes, parse};

/// Longest request body, in bytes.
const BODY_BYTES_MAX: u64 = 8 << 20;
/// References in one search: a list of so many UIDs fits its limit.
const SEARCHED_AT_ONCE: usize = 15;

/// Failure Reason (PS3.3 section C.14.1.1): no such object instance.
const NO_SUCH_INSTANCE: u16 = 0x0112;
/// Failure Reason: the instance has another SOP Class.
const CLASS_CONFLICT: u16 = 0x0119;
/// Failure Reason: processing failure.
const PROCESSING_FAILURE: u16 = 0x0110;

/// `POST …/commitment-requests/{transaction}`.
pub(super) async fn request(mut call: Call) -> Answer {
    let answer_type = dicom_type(&call)?;
    let transaction = transaction(&call)?;
    let user = call.principal.user;
    if call.app.commitments.get(user, &transaction).is_some() {
        return Err(Problem::conflict("the transaction UID is in use already"));
    }
    let dataset = read(&mut call).await?;
    let references = references(&dataset)?;
    call.audit_namespaces().await?;
    let outcomes = outcomes(&call, &references).await?;
    let result = result(&references, &outcomes);
    let text = Value::Object(result.clone()).to_string();
    call.app.commitments.put(user, transaction, &text);
    respond(answer_type, &result)
}

/// `GET …/commitment-requests/{transaction}`.
pub(super) async fn result_of(call: Call) -> Answer {
    let answer_type = dicom_type(&call)?;
    let transaction = transaction(&call)?;
    call.audit_namespaces().await?;
    let text = match call.app.commitments.get(call.principal.user, &transaction) {
        Some(Some(text)) => text,
        Some(None) => {
            return Err(Problem::new(
                StatusCode::GONE,
                "gone",
                "the result was too long to be kept; ask again under another transaction UID",
            ));
        }
        None => return Err(Problem::not_found()),
    };
    let result = serde_json::from_str(&text).map_err(|_| Problem::from(EngineError::Corrupt("commitment result")))?;
    respond(answer_type, &result)
}

fn respond(answer_type: DicomType, result: &Map<String, Value>) -> Answer {
    Ok(HttpResponse::Ok()
        .content_type(answer_type.of_one())
        .insert_header((header::VARY, "Accept"))
        .body(answer_type.document(result)?))
}

fn transaction(call: &Call) -> Answer<Uid> {
    Uid::parse(call.path("transaction")).map_err(|_| Problem::bad_request("the transaction UID is not a UID"))
}

async fn read(call: &mut Call) -> Answer<Map<String, Value>> {
    let content_type = call.request.headers().get(header::CONTENT_TYPE);
    let form = content_type
        .and_then(|value| MediaType::parse(value.to_str().ok()?))
        .and_then(|media| Form::of(&media.essence))
        .ok_or_else(|| Problem::unsupported_media_type("send application/dicom+json or application/dicom+xml"))?;
    let mut body = call.body()?;
    body.set_longest(BODY_BYTES_MAX);
    let text = body
        .read_all()
        .await
        .map_err(|error| body_problem(error, BODY_BYTES_MAX))?;
    let (cost, mut room) = (cost_bytes(form, &text), call.app.held.share());
    if cost > call.app.held.total_bytes() {
        return Err(Problem::too_large(BODY_BYTES_MAX));
    }
    if !room.grow(cost) {
        return Err(Problem::overloaded(5));
    }
    let values_max = u32::try_from(cost / 100).unwrap_or(u32::MAX);
    let parsed = tokio::task::spawn_blocking(move || {
        // One dataset; clients that send an array of one are understood.
        let parsed = match form {
            Form::Json => match serde_json::from_slice(&text) {
                Ok(Value::Array(mut items)) if items.len() == 1 => items.pop(),
                Ok(value) => Some(value),
                Err(_) => None,
            },
            // Numbers that are left out count too: as many as the room is for.
            Form::Xml => parse(form, &text, values_max).ok().map(Value::Object),
        };
        drop(room);
        parsed
    });
    match parsed.await.map_err(|_| EngineError::Panicked)? {
        Some(Value::Object(dataset)) => Ok(dataset),
        _ => Err(Problem::bad_request("the body is not one dataset")),
    }
}

/// What became of each reference: nothing, or its Failure Reason.
async fn outcomes(call: &Call, references: &[Reference]) -> Answer<Vec<Option<u16>>> {
    let (services, namespaces) = (Arc::clone(call.services()), call.namespaces.clone());
    let placed: Vec<Option<Reference>> = references
        .iter()
        .map(|reference| reference.place.is_some().then(|| reference.clone()))
        .collect();
    // Thousands of rows may be read and opened: not on a thread that serves others.
    let looked_up = tokio::task::spawn_blocking(move || {
        let mut studies: HashMap<String, Vec<StudyRef>> = HashMap::new();
        let mut outcomes = Vec::with_capacity(placed.len());
        for reference in placed {
            let Some((study, series, reference)) = reference.and_then(|mut reference| {
                let (study, series) = reference.place.take()?;
                Some((study, series, reference))
            }) else {
                outcomes.push(Some(NO_SUCH_INSTANCE));
                continue;
            };
            if !studies.contains_key(&study) {
                let mut found = Vec::new();
                for namespace in &namespaces {
                    match StudyRef::find(&services, namespace, &study) {
                        Ok(study) => found.push(study),
                        Err(EngineError::NotFound) => {}
                        Err(error) => return Err(error),
                    }
                }
                studies.insert(study.clone(), found);
            }
            let mut outcome = Some(NO_SUCH_INSTANCE);
            for study in studies.get(&study).into_iter().flatten() {
                match study.instance(&services, &series, &reference.instance, None) {
                    Ok(instance) if instance.record.sop_class_uid == reference.sop_class => outcome = None,
                    Ok(_) => outcome = outcome.map(|_| CLASS_CONFLICT),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    // What does not pass its own check is not committed.
                    Err(error) if error.kind() == ErrorKind::Corrupt => outcome = outcome.map(|_| PROCESSING_FAILURE),
                    Err(error) => return Err(error),
                }
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    });
    let mut outcomes = looked_up.await.map_err(|_| EngineError::Panicked)??;
    let searched: Vec<usize> = (0..references.len())
        .filter(|index| references[*index].place.is_none())
        .collect();
    for indices in searched.chunks(SEARCHED_AT_ONCE) {
        let uids: Vec<&str> = indices
            .iter()
            .map(|index| references[*index].instance.as_str())
            .collect();
        let pairs = [("SOPInstanceUID".to_owned(), uids.join(","))];
        let mut query = Query::parse(Level::Instance, pairs.into_iter())
            .map_err(|error| Problem::bad_request(error.to_string()))?;
        query.limit = Some(1000);
        let found = search(call.services(), &call.namespaces, Scope::default(), &query).await?;
        for index in indices {
            let reference = &references[*index];
            for item in &found.items {
                if item.instance_uid.as_deref() != Some(reference.instance.as_str()) {
                    continue;
                }
                let sop_class = item
                    .attributes
                    .get("00080016")
                    .and_then(|e| e.get("Value")?.get(0)?.as_str());
                outcomes[*index] = match outcomes[*index] {
                    Some(_) if sop_class != Some(reference.sop_class.as_str()) => Some(CLASS_CONFLICT),
                    _ => None,
                };
            }
        }
    }
    Ok(outcomes)
}
