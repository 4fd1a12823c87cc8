//! One DICOM file into a namespace: the body is the file.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use bytes::Bytes;
use septum_core::access::Permission;
use septum_core::dicom::InstanceStart;
use septum_core::ids::{NamespaceId, StudyInstanceUid};
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::error::ErrorKind;
use septum_engine::pipeline::intake::Intake;
use septum_engine::pipeline::messages::{Source, StoreKind, StoreOutcome};
use serde_json::{Value, json};
use std::sync::Arc;

use super::error::{Answer, Kind, StorageError};
use super::form::body_error;
use super::{jobs, scope};
use crate::app::App;
use crate::call::Call;

/// The id that a client gives to what it starts.
const JOB_ID: &str = "x-ambrahealth-job-id";

/// Longest id of a job, in bytes.
const JOB_ID_BYTES_MAX: usize = 200;

/// What a request calls the job it starts in a namespace.
pub(super) fn job_name(call: &Call, namespace: NamespaceId) -> Option<jobs::Name> {
    let id = call.request.headers().get(JOB_ID)?.to_str().ok()?;
    (1..=JOB_ID_BYTES_MAX).contains(&id.len()).then(|| jobs::Name {
        user: call.principal.user,
        namespace,
        id: id.to_owned(),
    })
}

/// The namespace of the path, where the caller may upload.
pub(super) async fn target(call: &Call, text: &str) -> Answer<Arc<Namespace>> {
    scope::namespace_with(call, text, Permission::StudyUpload).await
}

/// The study that a request wants an image to belong to.
///
/// # Errors
/// 412 where it is no UID.
pub(super) fn required_study(call: &Call) -> Answer<Option<String>> {
    match scope::parameter(call, "study_uid") {
        None => Ok(None),
        Some(text) => match StudyInstanceUid::parse(&text) {
            Ok(uid) => Ok(Some(uid.as_str().to_owned())),
            Err(_) => Err(StorageError::new(Kind::Validation, "study_uid is not a UID")),
        },
    }
}

/// `POST /namespace/{namespace}/image`.
pub(super) async fn image(mut call: Call) -> Answer {
    let namespace = target(&call, call.path("namespace")).await?;
    let study_uid = required_study(&call)?;
    let name = job_name(&call, namespace.id);
    let mut body = call.body()?;
    let mut intake = admit(&call.app, &namespace, call.source(), study_uid.as_deref()).await?;
    let mut is_empty = true;
    while let Some(bytes) = body.next_piece().await.map_err(body_error)? {
        is_empty = false;
        push(&mut intake, bytes).await?;
    }
    if is_empty {
        return Err(StorageError::new(Kind::BadRequest, "the body is empty"));
    }
    let stored = finish(intake).await?;
    if let Some(name) = name {
        let key = jobs::key(name.user, &[b"image", name.id.as_bytes()]);
        let done = async { Ok(()) };
        let jobs = Arc::clone(&call.app.storage.jobs);
        jobs.start(key, Some(name), String::new(), done).await?;
    }
    Ok(answer(StatusCode::OK, &stored))
}

/// Opens the way in.
pub(super) async fn admit(
    app: &App,
    namespace: &Arc<Namespace>,
    source: Source,
    study_uid: Option<&str>,
) -> Answer<Intake> {
    let mut intake = app.archive.pipeline.admit(Arc::clone(namespace), source).await?;
    if let Some(study_uid) = study_uid {
        intake.require_study(study_uid);
    }
    Ok(intake)
}

/// Feeds the next bytes.
pub(super) async fn push(intake: &mut Intake, bytes: Bytes) -> Answer<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    intake.push(bytes).await.map_err(refused)
}

/// An image that is durable.
#[derive(Debug)]
pub(super) struct Stored {
    /// What its header says.
    pub(super) start: Arc<InstanceStart>,
    /// What became of it.
    pub(super) outcome: StoreOutcome,
}

/// Waits until the image is durable.
pub(super) async fn finish(intake: Intake) -> Answer<Stored> {
    let (start, outcome) = intake.finish().await;
    let outcome = outcome.map_err(refused)?;
    let start = start.ok_or(EngineError::Corrupt("start of an instance"))?;
    Ok(Stored { start, outcome })
}

/// A whole image that is in memory.
pub(super) async fn store(
    app: &App,
    namespace: &Arc<Namespace>,
    source: Source,
    study_uid: Option<&str>,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Answer<Stored> {
    let mut intake = admit(app, namespace, source, study_uid).await?;
    for piece in pieces {
        push(&mut intake, piece).await?;
    }
    finish(intake).await
}

/// What the sender is told of an image that is not stored.
fn refused(error: EngineError) -> StorageError {
    match error.kind() {
        ErrorKind::Rejected | ErrorKind::Conflict => StorageError::new(Kind::BadRequest, error.to_string()),
        _ => error.into(),
    }
}

/// What is said of an image that is stored.
pub(super) fn described(stored: &Stored) -> Value {
    let identity = &stored.start.identity;
    let kind = match stored.outcome.kind {
        StoreKind::Stored => "stored",
        StoreKind::Duplicate => "duplicate",
        StoreKind::Version => "version",
        StoreKind::Held => "held",
    };
    json!({
        "study_uid": identity.study.as_str(),
        "series_uid": identity.series.as_str(),
        "image_uid": identity.instance.as_str(),
        "image_version": stored.outcome.version.to_string(),
        "namespace": stored.outcome.namespace.to_string(),
        "attr": {
            "sop_class_uid": identity.sop_class.as_str(),
            "transfer_syntax_uid": stored.start.transfer_syntax.uid(),
            "frames": stored.start.pixels.as_ref().map_or(0, |pixels| pixels.num_frames),
            "outcome": kind,
            "warnings": stored.outcome.warnings,
        },
    })
}

/// The answer to an upload.
pub(super) fn answer(status: StatusCode, stored: &Stored) -> HttpResponse {
    HttpResponse::build(status).json(described(stored))
}
