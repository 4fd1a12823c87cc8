//! Errors in the storage API's form: HTTP status and JSON with `kind.code` and `kind.readable_status`.
//!
//! Invariant: no value or name out of a dataset stands in an error. Ids that the caller sent come back in
//! `exception_data`, for it alone.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use septum_engine::EngineError;
use septum_engine::error::ErrorKind;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::http::problem::Problem;

/// Asks for `extended` to be filled.
const VERBOSE: &str = "x-ambrahealth-verbose-errors";

/// An error with its documented number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unknown,
    Forbidden,
    NotFound,
    BadRequest,
    NotAcceptable,
    AccessDenied,
    JsonDeserialize,
    StorageException,
    Conflict,
    DownstreamNotAvailable,
    ImageNotFound,
    ImagesNotFound,
    AttachmentNotFound,
    SeriesNotFound,
    StudyNotFound,
    PayloadTooLarge,
    StoreFailed,
    NoImages,
    NotVideo,
    NotPdf,
    Range,
    AnonymizeTags,
    Validation,
}

impl Kind {
    #[cfg(test)]
    pub(super) const ALL: [Self; 23] = [
        Self::Unknown,
        Self::Forbidden,
        Self::NotFound,
        Self::BadRequest,
        Self::NotAcceptable,
        Self::AccessDenied,
        Self::JsonDeserialize,
        Self::StorageException,
        Self::Conflict,
        Self::DownstreamNotAvailable,
        Self::ImageNotFound,
        Self::ImagesNotFound,
        Self::AttachmentNotFound,
        Self::SeriesNotFound,
        Self::StudyNotFound,
        Self::PayloadTooLarge,
        Self::StoreFailed,
        Self::NoImages,
        Self::NotVideo,
        Self::NotPdf,
        Self::Range,
        Self::AnonymizeTags,
        Self::Validation,
    ];

    /// Number, HTTP status, readable status, and what is said where nothing closer is.
    pub(super) const fn facts(self) -> (u16, u16, &'static str, &'static str) {
        match self {
            Self::Unknown => (1, 500, "UNKNOWN", "Internal server error"),
            Self::Forbidden => (2, 403, "FORBIDDEN", "Not permitted"),
            Self::NotFound => (3, 404, "NOT_FOUND", "Entity not found"),
            Self::BadRequest => (5, 400, "BAD_REQUEST", "Bad request"),
            Self::NotAcceptable => (6, 406, "NOT_ACCEPTABLE", "Not acceptable format"),
            Self::AccessDenied => (7, 403, "ACCESS_DENIED", "Access denied for this resource"),
            Self::JsonDeserialize => (8, 400, "JSON_DESERIALIZE_EXCEPTION", "The JSON cannot be read"),
            Self::StorageException => (
                10,
                500,
                "STORAGE_EXCEPTION_OCCURRED",
                "What is stored does not pass its own check",
            ),
            Self::Conflict => (11, 409, "CONFLICT", "The resource is in use, try again later"),
            Self::DownstreamNotAvailable => (
                12,
                404,
                "DOWNSTREAM_NOT_AVAILABLE",
                "Another service that is needed is not available",
            ),
            Self::ImageNotFound => (14, 404, "IMAGE_NOT_FOUND", "Image not found by ids"),
            Self::ImagesNotFound => (15, 404, "IMAGES_NOT_FOUND", "Images not found by ids"),
            Self::AttachmentNotFound => (16, 404, "ATTACHMENT_NOT_FOUND_EXCEPTION", "Attachment not found"),
            Self::SeriesNotFound => (17, 404, "SERIES_NOT_FOUND", "Series not found by ids"),
            Self::StudyNotFound => (18, 404, "STUDY_NOT_FOUND", "Study wasn't found by provided ids"),
            Self::PayloadTooLarge => (19, 413, "PAYLOAD_TOO_LARGE", "Payload too large"),
            Self::StoreFailed => (20, 500, "STORE_OPERATION_FAILED", "The image could not be stored"),
            Self::NoImages => (36, 406, "NO_IMAGES_IN_STUDY", "No images in the study"),
            Self::NotVideo => (38, 415, "NOT_VIDEO_IN_IMAGE", "There is no video in the image"),
            Self::NotPdf => (39, 415, "NOT_PDF_FILE", "There is no PDF in the image"),
            Self::Range => (
                40,
                416,
                "REQUESTED_RANGE_NOT_SATISFIABLE",
                "The range cannot be satisfied",
            ),
            Self::AnonymizeTags => (41, 412, "ANONYMIZE_TAGS_FORMAT_ERROR", "The list of tags is malformed"),
            Self::Validation => (99, 412, "VALIDATION_ERROR", "The request is not valid"),
        }
    }
}

/// An answer that is not what was asked for.
#[derive(Debug, Clone)]
pub(super) struct StorageError {
    kind: Kind,
    message: Option<String>,
    data: Map<String, Value>,
    status: Option<StatusCode>,
    retry_after_seconds: Option<u32>,
}

/// What handlers return.
pub(super) type Answer<T = HttpResponse> = Result<T, StorageError>;

impl From<Kind> for StorageError {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            message: None,
            data: Map::new(),
            status: None,
            retry_after_seconds: None,
        }
    }
}

impl StorageError {
    /// An error that says more than its kind.
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            ..kind.into()
        }
    }

    /// Adds what the caller sent to `exception_data`.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// 503, which clients try again.
    pub(super) fn later(message: impl Into<String>, seconds: u32) -> Self {
        Self {
            status: Some(StatusCode::SERVICE_UNAVAILABLE),
            retry_after_seconds: Some(seconds),
            ..Self::new(Kind::Unknown, message)
        }
    }

    /// Its kind.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// What it says.
    pub(super) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or(self.kind.facts().3)
    }

    /// The answer to a request with these headers.
    pub(super) fn into_response(self, headers: &HeaderMap) -> HttpResponse {
        let (code, status, readable, _) = self.kind.facts();
        let status = self
            .status
            .or_else(|| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = self.message().to_owned();
        let is_verbose = headers.get(VERBOSE).is_some_and(|value| value == "1");
        let created = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let body = json!({
            "kind": {"code": code, "readable_status": readable},
            "message": message,
            "exception_data": self.data,
            "created": created,
            "extended": is_verbose.then(|| json!({"status": status.as_u16(), "message": message})),
        });
        let mut response = HttpResponse::build(status);
        if let Some(seconds) = self.retry_after_seconds {
            response.insert_header((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        response.json(body)
    }
}

impl From<EngineError> for StorageError {
    fn from(error: EngineError) -> Self {
        let kind = error.kind();
        if matches!(kind, ErrorKind::Corrupt | ErrorKind::Unavailable | ErrorKind::DiskFull) {
            tracing::error!(%error, ?kind, "a request failed");
        }
        match (kind, error) {
            (ErrorKind::NotFound, _) => Kind::NotFound.into(),
            (ErrorKind::Conflict, error) => Self::new(Kind::Conflict, error.to_string()),
            (ErrorKind::NotAcceptable, error) => Self::new(Kind::NotAcceptable, error.to_string()),
            (ErrorKind::Rejected, error) => Self::new(Kind::BadRequest, error.to_string()),
            (ErrorKind::Overloaded, EngineError::Overloaded { retry_after_seconds }) => {
                Self::later("there is too much work at the moment; try again", retry_after_seconds)
            }
            (ErrorKind::Overloaded, _) => Self::later("there is too much work at the moment; try again", 5),
            (ErrorKind::DiskFull, _) => Kind::StoreFailed.into(),
            (ErrorKind::Unavailable, _) => Self::later("a part of the server is not working at the moment", 5),
            (ErrorKind::Corrupt, _) => Kind::StorageException.into(),
        }
    }
}

impl From<Problem> for StorageError {
    fn from(problem: Problem) -> Self {
        of_status(problem.status())
    }
}

/// What a status of the layers below means here. What the caller may not see is denied, whether it is there or not.
fn of_status(status: StatusCode) -> StorageError {
    match status.as_u16() {
        401 | 403 => Kind::AccessDenied.into(),
        404 => Kind::NotFound.into(),
        406 => Kind::NotAcceptable.into(),
        409 => Kind::Conflict.into(),
        413 => Kind::PayloadTooLarge.into(),
        416 => Kind::Range.into(),
        405 => StorageError {
            status: Some(status),
            ..StorageError::new(Kind::BadRequest, "this address does not take this method")
        },
        429 | 503 => StorageError::later("there is too much work at the moment; try again", 5),
        507 => Kind::StoreFailed.into(),
        500..=599 => Kind::Unknown.into(),
        _ => Kind::BadRequest.into(),
    }
}

/// An answer of the layers below in this API's form: problems become its errors, all else stays.
pub(super) fn in_storage_form(headers: &HeaderMap, response: HttpResponse) -> HttpResponse {
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"));
    if !is_problem {
        return response;
    }
    let mut error = of_status(response.status()).into_response(headers);
    for (name, value) in response.headers() {
        let is_of_body = *name == header::CONTENT_TYPE || *name == header::CONTENT_LENGTH;
        // Asking a browser for a name and password would not help whoever signs in by session.
        if !is_of_body && *name != header::WWW_AUTHENTICATE && !error.headers().contains_key(name) {
            error.headers_mut().insert(name.clone(), value.clone());
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;
    use actix_web::http::header::HeaderName;

    #[test]
    fn numbers_are_distinct() {
        let mut codes: Vec<u16> = Kind::ALL.iter().map(|kind| kind.facts().0).collect();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
        assert!(codes.is_sorted());
    }

    #[actix_web::test]
    async fn the_form_is_as_documented() {
        let mut headers = HeaderMap::new();
        for is_verbose in [false, true] {
            if is_verbose {
                headers.insert(HeaderName::from_static(VERBOSE), HeaderValue::from_static("1"));
            }
            let error = StorageError::from(Kind::StudyNotFound).with("study_uid", "bad");
            let response = error.into_response(&headers);
            assert_eq!(response.status(), 404);
            let body = to_bytes(response.into_body()).await.expect("body");
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["kind"], json!({"code": 18, "readable_status": "STUDY_NOT_FOUND"}));
            assert_eq!(body["message"], "Study wasn't found by provided ids");
            assert_eq!(body["exception_data"]["study_uid"], "bad");
            assert!(body["created"].is_string());
            assert_eq!(body["extended"].is_null(), !is_verbose);
        }
    }

    #[test]
    fn problems_become_errors() {
        let headers = HeaderMap::new();
        for (problem, status) in [
            (Problem::unauthenticated(), 403),
            (Problem::forbidden("no"), 403),
            (Problem::not_found(), 404),
            (Problem::overloaded(1), 503),
            (Problem::too_large(1), 413),
        ] {
            let response = in_storage_form(&headers, problem.into_response());
            assert_eq!(response.status().as_u16(), status);
            assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
        }
        let fine = HttpResponse::Ok().content_type("image/jpeg").finish();
        assert_eq!(in_storage_form(&headers, fine).status(), 200);
    }
}
