//! Error bodies: problem details (RFC 9457) as `application/problem+json`.
//!
//! Invariant: no value, name or UID out of a dataset or a request's path stands in a problem.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use septum_engine::error::{EngineError, ErrorKind};
use serde_json::{Map, Value, json};

/// An answer that is not what was asked for.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What handlers return.
pub type Answer<T = HttpResponse> = Result<T, Problem>;

impl Problem {
    /// A problem of a kind: the last part of its type URN, lower-case with hyphens.
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
        }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// 401, asking for a name and password.
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "sign in with a name and password",
        )
        .with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"Septum\", charset=\"UTF-8\""),
        )
    }

    /// 403: signed in, and not permitted.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: not there, or not the caller's to know of.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "there is nothing here that you may see",
        )
    }

    /// 406: no form that the client takes can be made; `choices` can.
    pub fn not_acceptable(detail: impl Into<String>, choices: &[String]) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail).with_member("choices", json!(choices))
    }

    /// 409: contradicts what is stored.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 412: what is there is not what `If-Match` names.
    pub fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition-failed",
            "what is there is not what If-Match names; nothing was done",
        )
    }

    /// 413: the body is longer than allowed.
    pub fn too_large(limit_bytes: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "the body is longer than allowed",
        )
        .with_member("limit_bytes", json!(limit_bytes))
    }

    /// 415: a body of another media type is asked for.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    /// 415: a body in another content coding is asked for (RFC 9110 section 15.5.16).
    pub fn unsupported_coding() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-coding",
            "the body's content coding is not known, or there are several",
        )
        .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static(super::coding::TAKEN))
    }

    /// 429 or 503 with the time after which trying again makes sense.
    pub fn later(status: StatusCode, kind: &'static str, detail: impl Into<String>, seconds: u32) -> Self {
        Self::new(status, kind, detail).with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a member to the body.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer.
    pub fn into_response(self) -> HttpResponse {
        let mut body = self.members;
        body.insert("type".into(), format!("urn:septum:problem:{}", self.kind).into());
        body.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), self.detail.into());
        let mut response = HttpResponse::build(self.status);
        for header in self.headers {
            response.insert_header(header);
        }
        response
            .content_type("application/problem+json")
            .body(Value::Object(body).to_string())
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let kind = error.kind();
        if matches!(kind, ErrorKind::Corrupt | ErrorKind::Unavailable | ErrorKind::DiskFull) {
            tracing::error!(%error, ?kind, "a request failed");
        }
        match (kind, error) {
            (ErrorKind::NotFound, _) => Self::not_found(),
            (ErrorKind::Conflict, error) => Self::conflict(error.to_string()),
            (ErrorKind::NotAcceptable, error) => {
                Self::not_acceptable(error.to_string(), &["application/dicom; transfer-syntax=*".to_owned()])
            }
            (ErrorKind::Rejected, error) => Self::new(StatusCode::CONFLICT, "rejected", error.to_string()),
            (ErrorKind::Overloaded, EngineError::Overloaded { retry_after_seconds }) => {
                Self::overloaded(retry_after_seconds)
            }
            (ErrorKind::Overloaded, _) => Self::overloaded(5),
            (ErrorKind::DiskFull, _) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk-full",
                "there is no space left to store anything",
            ),
            (ErrorKind::Unavailable, EngineError::AuditUnavailable) => Self::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "audit-unavailable",
                "the audit log takes no entries, so nothing is read",
                30,
            ),
            (ErrorKind::Unavailable, _) => Self::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "a part of the server is not working at the moment",
                5,
            ),
            // Never "not found" (invariant 7).
            (ErrorKind::Corrupt, _) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "corrupt",
                "what is stored does not pass its own check, so it is not served",
            ),
        }
    }
}

impl Problem {
    /// 503: too much work at the moment.
    pub fn overloaded(retry_after_seconds: u32) -> Self {
        Self::later(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "there is too much work at the moment; try again",
            retry_after_seconds,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_statuses() {
        for (error, expected) in [
            (EngineError::NotFound, 404),
            (EngineError::Conflict("no"), 409),
            (EngineError::NotAcceptable("no".into()), 406),
            (EngineError::Overloaded { retry_after_seconds: 7 }, 503),
            (EngineError::PipelineRestarted, 503),
            (EngineError::AuditUnavailable, 503),
            (EngineError::Corrupt("row"), 500),
        ] {
            assert_eq!(Problem::from(error).into_response().status().as_u16(), expected);
        }
    }

    #[test]
    fn overload_says_when_to_come_back() {
        let response = Problem::from(EngineError::Overloaded { retry_after_seconds: 7 }).into_response();
        assert_eq!(response.headers().get(header::RETRY_AFTER), Some(&HeaderValue::from(7)));
        assert_eq!(
            response.headers().get(header::CONTENT_TYPE),
            Some(&HeaderValue::from_static("application/problem+json"))
        );
    }
}
