//! STOW-RS (PS3.18 section 10.5): a request's instances, streamed part by part into the pipeline.
//!
//! Part 10 instances here; metadata with bulk data in [`super::store_metadata`].
//!
//! A part's bytes go on as they arrive; while one instance waits to be durable, the next is read. What is wrong with one
//! instance never touches the others: where a body breaks off, what was complete before is stored and reported.

use std::collections::VecDeque;
use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use bytes::Bytes;
use septum_core::audit::{ObjectKind, ObjectRef, Outcome};
use septum_core::dicom::{FailureReason, InstanceStart};
use septum_engine::accounts::Namespace;
use septum_engine::error::ErrorKind;
use septum_engine::pipeline::Pipeline;
use septum_engine::pipeline::intake::Intake;
use septum_engine::pipeline::messages::{More, Source};
use tokio::task::JoinHandle;

use super::accounts::body_problem;
use super::dicom_type::dicom_type;
use super::search::service_urls;
use super::store_answer::{Failure, Instance, response};
use super::store_metadata::{FromMetadata, Limits};
use crate::call::Call;
use crate::http::body::{BodyError, BodyReader};
use crate::http::coding::CodingError;
use crate::http::media_type::MediaType;
use crate::http::multipart::{Event, Multipart, MultipartError, PartHeader, without_brackets};
use crate::http::problem::{Answer, Problem};
use crate::stow::location::Base;
use crate::stow::metadata::{Form, MetadataError, Named};
use crate::stow::parts::CODED;

/// Instances of one request that may wait for their commit while the next ones are read.
const COMMITS_AHEAD: usize = 64;

/// The name of the namespace that every installation starts with.
const DEFAULT_NAMESPACE: &str = "Default";

/// `POST …/studies` and `…/studies/{study}`.
pub(super) async fn store(mut call: Call) -> Answer {
    let answer_type = dicom_type(&call)?;
    let namespace = target(&call)?;
    let study_uid = if call.path("study").is_empty() {
        None
    } else {
        Some(call.study_uid()?)
    };
    let content = Content::of(&call)?;
    let bytes_max = call.app.body.bytes_max;
    if content_length(&call).is_some_and(|length| length > bytes_max) {
        return Err(Problem::too_large(bytes_max));
    }
    let body = call.body()?;
    let mut ingest = Ingest {
        pipeline: Arc::clone(&call.app.archive.pipeline),
        namespace: Arc::clone(&namespace),
        source: call.source(),
        study_uid,
        open: None,
        waiting: VecDeque::new(),
        done: Vec::new(),
        is_overloaded: false,
        more: More::begin(),
    };
    let mut num_unreferenced = 0;
    let read = match content {
        Content::Single => ingest.single(body).await,
        Content::Multipart(parser) => ingest.parts(*parser, body).await,
        Content::Metadata(parser, form, start) => {
            let limits = Limits {
                held: call.app.held.clone(),
                instances: call.app.multipart.parts,
                text_bytes: call.app.metadata_bytes_max,
            };
            let base = Base::new(&call.base_url, call.request.path());
            let mut source = FromMetadata::new(form, start, base, limits);
            let read = source.read(&mut ingest, *parser, body).await;
            num_unreferenced = source.num_unreferenced;
            read
        }
    };
    ingest.more.end();
    let broken = read.err().map(|broken| {
        let failure = broken.failure();
        (broken.problem(bytes_max), failure)
    });
    let (problem, failure) = broken.unzip();
    let instances = ingest.finish(failure).await;
    match problem {
        Some(problem) if instances.is_empty() => return Err(problem),
        None if instances.is_empty() => return Err(Problem::bad_request("the body holds no instance")),
        _ => {}
    }
    if instances.iter().any(|instance| instance.outcome.is_err()) {
        let object = ObjectRef::One(ObjectKind::Namespace, *namespace.id.as_bytes());
        call.audit_outcome(object, Some(namespace.account), Outcome::Rejected)
            .await;
    }
    response(&instances, &call.service_url(&namespace), answer_type, num_unreferenced)
}

/// The namespace that is stored into: the path's, the only one, or the one every installation starts with.
fn target(call: &Call) -> Answer<Arc<Namespace>> {
    if let [one] = call.namespaces.as_slice() {
        return Ok(Arc::clone(one));
    }
    let mut defaults = call
        .namespaces
        .iter()
        .filter(|namespace| namespace.name == DEFAULT_NAMESPACE);
    match (defaults.next(), defaults.next()) {
        (Some(default), None) => Ok(Arc::clone(default)),
        _ => Err(
            Problem::conflict("you may store into several namespaces; choose one of `choices`")
                .with_member("choices", service_urls(call, &call.namespaces).into()),
        ),
    }
}

enum Content {
    Single,
    Multipart(Box<Multipart>),
    /// With the Content-ID of the root part, where `start` names it.
    Metadata(Box<Multipart>, Form, Option<String>),
}

impl Content {
    fn of(call: &Call) -> Answer<Self> {
        let headers = call.request.headers();
        let text = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let Some(media) = MediaType::parse(text) else {
            return Err(Problem::unsupported_media_type(
                "the Content-Type is missing or malformed",
            ));
        };
        match media.essence.as_str() {
            "application/dicom" => Ok(Self::Single),
            "multipart/related" => {
                let inner = media.parameter("type").map_or("application/dicom", |inner| inner);
                let inner = MediaType::parse(inner).map(|inner| inner.essence);
                let form = inner.as_deref().and_then(Form::of);
                if form.is_none() && inner.as_deref() != Some("application/dicom") {
                    return Err(unsupported());
                }
                let boundary = media.parameter("boundary").unwrap_or_default();
                let parser = Multipart::new(boundary, call.app.multipart)
                    .map(Box::new)
                    .ok_or_else(|| Problem::bad_request("the boundary is missing or malformed"))?;
                Ok(match form {
                    Some(form) => {
                        let start = media.parameter("start").map(|id| without_brackets(id).to_owned());
                        Self::Metadata(parser, form, start)
                    }
                    None => Self::Multipart(parser),
                })
            }
            _ => Err(unsupported()),
        }
    }
}

fn unsupported() -> Problem {
    Problem::unsupported_media_type(
        "send application/dicom, or multipart/related with the type application/dicom, application/dicom+json or \
         application/dicom+xml",
    )
}

fn is_dicom(content_type: &str) -> bool {
    MediaType::parse(content_type).is_some_and(|media| media.essence == "application/dicom")
}

fn content_length(call: &Call) -> Option<u64> {
    call.request
        .headers()
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Why a body is not read to its end.
pub(super) enum Broken {
    Body(BodyError),
    Multipart(MultipartError),
    /// No instance can be told from the metadata.
    Metadata(MetadataError),
    /// The metadata has more instances than allowed.
    TooManyInstances,
}

impl Broken {
    /// The answer, if nothing of the request came through.
    fn problem(&self, bytes_max: u64) -> Problem {
        match self {
            Self::Body(error) => body_problem(*error, bytes_max),
            Self::Multipart(error) => Problem::bad_request(error.to_string()),
            Self::Metadata(MetadataError::TooLarge) => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "the metadata is larger than can be held",
            ),
            Self::Metadata(error) => Problem::bad_request(error.to_string()),
            Self::TooManyInstances => Problem::bad_request("there are more instances than allowed in one request"),
        }
    }

    /// What is said of the instance that it broke off in, or of those that never came.
    pub(super) fn failure(&self) -> Failure {
        let (reason, why) = match self {
            Self::Metadata(error) => return Failure::Metadata(error.clone()),
            Self::TooManyInstances => (
                FailureReason::OutOfResources,
                "there are more instances than allowed in one request",
            ),
            Self::Body(BodyError::Coding(CodingError::Bomb)) => {
                (FailureReason::OutOfResources, "the body expands more than allowed")
            }
            Self::Body(BodyError::TooLong) => (FailureReason::OutOfResources, "the body is longer than allowed"),
            // The network's fault, perhaps ours: nothing is wrong with the instance.
            Self::Body(BodyError::TooSlow) => return Failure::TooSlow,
            Self::Body(_) => (FailureReason::CannotUnderstand, "the body ended before its end"),
            Self::Multipart(MultipartError::TooManyParts) => (
                FailureReason::OutOfResources,
                "there are more parts than allowed in one request",
            ),
            Self::Multipart(_) => (FailureReason::CannotUnderstand, "the multipart body is broken"),
        };
        Failure::Incomplete(reason, why)
    }
}

/// The instance whose bytes are being read.
struct Open {
    intake: Option<Intake>,
    /// Read, and kept back: the last bytes go in together with the news that they are.
    last: Option<Bytes>,
    start: Option<Arc<InstanceStart>>,
    failure: Option<Failure>,
    named: Named,
    changes: Vec<&'static str>,
}

impl Open {
    async fn push(&mut self, bytes: Bytes) {
        let Some(intake) = &mut self.intake else { return };
        let pushed = intake.push(bytes).await;
        self.start = intake.start().cloned();
        if let Err(error) = pushed {
            self.failure = Some(Failure::Engine(error));
        }
        if self.failure.is_some() {
            self.intake = None;
        }
    }
}

/// The instances of one request on their way in.
pub(super) struct Ingest {
    pipeline: Arc<Pipeline>,
    namespace: Arc<Namespace>,
    source: Source,
    study_uid: Option<String>,
    open: Option<Open>,
    waiting: VecDeque<JoinHandle<Instance>>,
    done: Vec<Instance>,
    is_overloaded: bool,
    /// False once the body is read.
    more: More,
}

impl Ingest {
    async fn single(&mut self, mut body: BodyReader) -> Result<(), Broken> {
        while let Some(bytes) = body.next_piece().await.map_err(Broken::Body)? {
            if self.open.is_none() {
                self.begin(None).await;
            }
            self.data(bytes).await;
        }
        self.end().await;
        Ok(())
    }

    async fn parts(&mut self, mut parser: Multipart, mut body: BodyReader) -> Result<(), Broken> {
        loop {
            match body.next().await.map_err(Broken::Body)? {
                Some(bytes) => parser.push(&bytes),
                None => parser.finish(),
            }
            let is_last = parser.is_finished();
            while let Some(event) = parser.next_event().map_err(Broken::Multipart)? {
                match event {
                    Event::Part(header) => self.begin(Some(header)).await,
                    Event::Data(bytes) => self.data(bytes).await,
                    Event::PartEnd => self.end().await,
                    Event::End => {}
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// An instance begins.
    pub(super) async fn begin(&mut self, header: Option<PartHeader>) {
        let mut open = Open {
            intake: None,
            last: None,
            start: None,
            failure: None,
            named: Named::default(),
            changes: Vec::new(),
        };
        let header = header.unwrap_or_default();
        if header.content_type.is_some_and(|content_type| !is_dicom(&content_type)) {
            open.failure = Some(Failure::NotDicomPart);
        } else if header.is_coded {
            open.failure = Some(Failure::Incomplete(FailureReason::CannotUnderstand, CODED));
        } else if self.is_overloaded {
            // The others of this request would each wait just as long.
            let error = septum_engine::EngineError::Overloaded { retry_after_seconds: 5 };
            open.failure = Some(Failure::Engine(error));
        } else {
            match self
                .pipeline
                .admit(Arc::clone(&self.namespace), self.source.clone())
                .await
            {
                Ok(mut intake) => {
                    intake.in_request(self.more.clone());
                    if let Some(study_uid) = &self.study_uid {
                        intake.require_study(study_uid);
                    }
                    open.intake = Some(intake);
                }
                Err(error) => {
                    self.is_overloaded = error.kind() == ErrorKind::Overloaded;
                    open.failure = Some(Failure::Engine(error));
                }
            }
        }
        self.open = Some(open);
    }

    /// Its next bytes.
    pub(super) async fn data(&mut self, bytes: Bytes) {
        let Some(open) = &mut self.open else { return };
        if let Some(before) = open.last.replace(bytes) {
            open.push(before).await;
        }
    }

    /// What is known of it beside its bytes: its names, and what was changed to make it.
    pub(super) fn describe(&mut self, named: Named, changes: Vec<&'static str>) {
        if let Some(open) = &mut self.open {
            (open.named, open.changes) = (named, changes);
        }
    }

    /// It is wrong in a way that its bytes do not show.
    pub(super) fn fail(&mut self, failure: Failure) {
        if let Some(open) = &mut self.open {
            open.failure.get_or_insert(failure);
            open.intake = None;
        }
    }

    /// An instance of which no bytes can be made.
    pub(super) fn refuse(&mut self, named: Named, failure: Failure) {
        self.waiting.push_back(actix_web::rt::spawn(async move {
            Instance {
                start: None,
                named,
                changes: Vec::new(),
                outcome: Err(failure),
            }
        }));
    }

    /// It is complete.
    pub(super) async fn end(&mut self) {
        let Some(Open {
            intake,
            last,
            start,
            failure,
            named,
            changes,
        }) = self.open.take()
        else {
            return;
        };
        let Some(intake) = intake else {
            let failure = failure.unwrap_or_else(incomplete);
            // In the order of the request.
            self.waiting.push_back(actix_web::rt::spawn(async move {
                Instance {
                    start,
                    named,
                    changes,
                    outcome: Err(failure),
                }
            }));
            return;
        };
        self.waiting.push_back(actix_web::rt::spawn(async move {
            let (start, outcome) = intake.finish_with(last.unwrap_or_default()).await;
            Instance {
                start,
                named,
                changes,
                outcome: outcome.map_err(Failure::Engine),
            }
        }));
        while self.waiting.len() > COMMITS_AHEAD {
            self.settle().await;
        }
    }

    async fn settle(&mut self) {
        if let Some(first) = self.waiting.pop_front() {
            let lost = || Instance {
                start: None,
                named: Named::default(),
                changes: Vec::new(),
                outcome: Err(Failure::Engine(septum_engine::EngineError::PipelineRestarted)),
            };
            self.done.push(first.await.unwrap_or_else(|_| lost()));
        }
    }

    /// Waits for everything. `failure` is why the body broke off: said of the instance that is still open, else of those
    /// that never came, if any did.
    async fn finish(mut self, failure: Option<Failure>) -> Vec<Instance> {
        if let Some(open) = &mut self.open
            && let Some(last) = open.last.take()
        {
            // What there is may tell which instance it was to be.
            open.push(last).await;
        }
        let (open, broke_off) = (self.open.take(), failure.is_some());
        let failure = failure.unwrap_or_else(incomplete);
        let last = match open {
            Some(open) => Some(Instance {
                start: open.start,
                named: open.named,
                changes: Vec::new(),
                outcome: Err(open.failure.unwrap_or(failure)),
            }),
            None if broke_off && !(self.waiting.is_empty() && self.done.is_empty()) => Some(Instance {
                start: None,
                named: Named::default(),
                changes: Vec::new(),
                outcome: Err(failure),
            }),
            None => None,
        };
        while !self.waiting.is_empty() {
            self.settle().await;
        }
        self.done.extend(last);
        self.done
    }
}

fn incomplete() -> Failure {
    Failure::Incomplete(FailureReason::CannotUnderstand, "the instance is incomplete")
}
