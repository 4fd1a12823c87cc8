//! Errors as API V3 says them: 412 with a token, and what it is about.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use septum_core::access::Denied;
use septum_engine::EngineError;
use septum_engine::accounts::conflict;
use serde_json::{Map, Value, json};

use crate::http::problem::Problem;

/// Why a call was not done.
#[derive(Debug)]
pub enum Fault {
    /// The caller's, with a token of the interface.
    Error {
        /// The token.
        token: &'static str,
        /// What it is about: a field's name, a list of them, a reason.
        subtype: Option<Value>,
        /// What the client needs to go on.
        data: Option<Value>,
    },
    /// Nobody is signed in, or no longer.
    Unauthenticated,
    /// This address does not take this method.
    Method,
    /// Anything that is no matter of this interface.
    Problem(Problem),
}

/// What handlers return.
pub type Outcome<T = super::reply::Reply> = Result<T, Fault>;

impl Fault {
    /// A token alone.
    pub fn new(token: &'static str) -> Self {
        Self::Error {
            token,
            subtype: None,
            data: None,
        }
    }

    /// A token about something.
    pub fn about(token: &'static str, subtype: impl Into<Value>) -> Self {
        Self::Error {
            token,
            subtype: Some(subtype.into()),
            data: None,
        }
    }

    /// With what the client needs to go on.
    #[must_use]
    pub fn with_data(mut self, added: Value) -> Self {
        if let Self::Error { data, .. } = &mut self {
            *data = Some(added);
        }
        self
    }

    /// Not there, or not the caller's to know of.
    pub fn not_found() -> Self {
        Self::new("NOT_FOUND")
    }

    /// There, and not permitted.
    pub fn not_permitted() -> Self {
        Self::new("NOT_PERMITTED")
    }

    /// Status and body, as an answer or as a part of a bundle's.
    pub fn parts(self) -> Result<(StatusCode, Map<String, Value>), Problem> {
        let mut body = Map::new();
        body.insert("status".into(), "ERROR".into());
        match self {
            Self::Error { token, subtype, data } => {
                // A JSON parameter that is none is named in the type itself.
                let name = subtype.as_ref().filter(|_| token == "INVALID_JSON");
                let kind = name.map_or_else(|| json!(token), |name| json!([token, name]));
                body.insert("error_type".into(), kind);
                if let Some(subtype) = subtype {
                    body.insert("error_subtype".into(), subtype);
                }
                if let Some(data) = data {
                    body.insert("error_data".into(), data);
                }
                Ok((StatusCode::PRECONDITION_FAILED, body))
            }
            Self::Unauthenticated => {
                body.insert("error_type".into(), "INVALID_SID".into());
                Ok((StatusCode::UNAUTHORIZED, body))
            }
            Self::Method => {
                body.insert("error_type".into(), "INVALID_METHOD".into());
                Ok((StatusCode::METHOD_NOT_ALLOWED, body))
            }
            Self::Problem(problem) => Err(problem),
        }
    }

    /// The answer.
    pub fn into_response(self) -> HttpResponse {
        match self.parts() {
            Ok((status, body)) => {
                let mut response = HttpResponse::build(status);
                if status == StatusCode::METHOD_NOT_ALLOWED {
                    response.insert_header((header::ALLOW, "POST"));
                }
                response.json(Value::Object(body))
            }
            Err(problem) => problem.into_response(),
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        match problem.status() {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::NOT_FOUND => Self::not_found(),
            _ => Self::Problem(problem),
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NotFound => Self::not_found(),
            EngineError::Conflict(why) => Self::new(match why {
                conflict::NAME_TAKEN => "DUPLICATE_NAME",
                conflict::LOGIN_TAKEN => "DUPLICATE_EMAIL",
                conflict::SHARE_CODE_TAKEN => "DUP_SHARE_CODE",
                conflict::VANITY_TAKEN => "DUPLICATE_VANITY",
                conflict::IN_USE => "IN_USE",
                conflict::MEMBER => "ALREADY_EXISTS",
                _ => "INVALID_PARAMETERS",
            }),
            error => Self::Problem(Problem::from(error)),
        }
    }
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => Self::Unauthenticated,
            Denied::Suspended => Self::new("DISABLED"),
            Denied::Forbidden(_) => Self::not_permitted(),
        }
    }
}
