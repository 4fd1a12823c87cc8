//! The one way to a handler: limits, who, may they, audit of refusals, and what every answer carries.
//!
//! Handlers never see a request that was not authorised: a [`Call`] is made here only, after `authorize` said yes for the
//! permission that the route table names (invariant 8). Refusals of people who signed in, or tried to, are audited;
//! requests without credentials are only counted, so that nobody can fill the audit log from outside.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode, Version};
use actix_web::{HttpRequest, HttpResponse, web};
use septum_core::access::{Denied, Granted, Object, Principal, authorize, authorize_each};
use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::NamespaceId;
use septum_engine::accounts::Accounts;
use septum_engine::ledger::Event;

use crate::app::App;
use crate::auth::Presented;
use crate::call::{Call, header_value};
use crate::hidden::{self, Hidden};
use crate::http::problem::{Answer, Problem};
use crate::http::{base_url, cors, precondition};
use crate::routes::{Reach, Route};

/// What stands for a route in metrics where there is none.
const NO_ROUTE: &str = "none";

/// Answers one request by the rows of its path.
pub async fn dispatch(
    app: Arc<App>,
    rows: &'static [&'static Route],
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let start = Instant::now();
    // HEAD is GET without the body.
    let method = if *request.method() == Method::HEAD {
        Method::GET
    } else {
        request.method().clone()
    };
    let row = rows.iter().find(|row| row.method == method).copied();
    let name = row.map_or(NO_ROUTE, |row| row.name);
    let outcome = answer(&app, rows, row, &request, payload).await;
    let mut response = outcome.unwrap_or_else(Problem::into_response);
    complete(&app, &request, &mut response);
    note(&app, name, response.status(), start);
    if *request.method() == Method::HEAD {
        return response.map_body(|_, body| BoxBody::new(Announced(body.size())));
    }
    response
}

/// Counts and logs an answer by its route's name: never by its address, which may name a session or a patient.
pub(crate) fn note(app: &App, name: &str, status: StatusCode, start: Instant) {
    let telemetry = &app.archive.services.telemetry;
    telemetry
        .http_requests
        .with_label_values(&[name, status.as_str()])
        .inc();
    telemetry
        .http_request_duration_seconds
        .with_label_values(&[name])
        .observe(start.elapsed().as_secs_f64());
    tracing::debug!(
        route = name,
        status = status.as_u16(),
        ms = start.elapsed().as_millis() as u64,
        "request"
    );
}

async fn answer(
    app: &Arc<App>,
    rows: &[&'static Route],
    row: Option<&'static Route>,
    request: &HttpRequest,
    payload: web::Payload,
) -> Answer {
    if cors::is_preflight(request.method(), request.headers()) {
        return Ok(HttpResponse::NoContent().finish());
    }
    if rows.is_empty() {
        return Err(Problem::not_found());
    }
    let Some(row) = row else {
        return not_allowed(rows, request);
    };
    let base_url = base_url::of(request, app.is_tls, &app.trusted_proxies)
        .ok_or_else(|| Problem::bad_request("the Host header is missing or malformed"))?;
    if cors::is_cross_site_change(request.method(), request.headers(), &app.cors_origins, Some(&base_url)) {
        return Err(Problem::forbidden(
            "a page of another site may not change anything here",
        ));
    }
    let permit = Arc::clone(&app.requests)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded(1))?;
    let address = app.client_address(request);
    let action = Action::new(row.action);
    if row.reach == Reach::Public {
        return (row.handler)(Entry::Public(Arc::clone(app))).await;
    }
    let presented = Presented {
        sid: None,
        request: Some(request),
    };
    let principal = match app.authenticator.signed_in(&presented, address).await {
        Ok(Some(signed_in)) => signed_in.principal,
        Ok(None) => return Err(Problem::unauthenticated()),
        Err(problem) => {
            note_denial(app, Actor::Anonymous, action, ObjectRef::System, address).await;
            return Err(problem);
        }
    };
    let (granted, namespaces) = match admit(app, row, request, &principal) {
        Ok(admitted) => admitted,
        Err(refused) => {
            note_denial(app, Actor::User(principal.user), action, refused.object, address).await;
            return Err(refused.problem);
        }
    };
    let lasting = Lasting {
        accounts: Arc::clone(&app.archive.services.accounts),
        principal: Arc::clone(&principal),
        granted: granted.clone(),
    };
    let call = Call {
        app: Arc::clone(app),
        request: request.clone(),
        principal,
        granted,
        namespaces,
        address,
        base_url,
        action,
        payload: Some(payload),
    };
    if row.method == Method::POST {
        call.may_change()?;
    }
    let response = (row.handler)(Entry::Call(Box::new(call))).await?;
    if row.method == Method::GET && !is_still(request, &response) {
        return Err(Problem::precondition_failed());
    }
    // The place among the requests is free again when the last byte is out.
    let telemetry = app.archive.services.telemetry.retrieve_bytes.clone();
    Ok(response.map_body(|_, body| {
        BoxBody::new(Counted {
            body,
            bytes: telemetry,
            lasting,
            _permit: permit,
        })
    }))
}

/// Whether what a GET found is what its `If-Match` names.
fn is_still(request: &HttpRequest, response: &HttpResponse) -> bool {
    let etag = response
        .headers()
        .get(header::ETAG)
        .and_then(|value| value.to_str().ok());
    let is_there = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
    !is_there || precondition::is_match(request.headers(), etag)
}

/// What a handler is given.
pub enum Entry {
    /// For routes without a permission.
    Public(Arc<App>),
    /// For all others.
    Call(Box<Call>),
}

struct Refused {
    problem: Problem,
    object: ObjectRef,
}

type Admitted = (
    Vec<septum_core::access::Granted>,
    Vec<Arc<septum_engine::accounts::Namespace>>,
);

/// Asks for the row's permission, where it reaches.
fn admit(app: &App, row: &Route, request: &HttpRequest, principal: &Principal) -> Result<Admitted, Refused> {
    let accounts = &app.archive.services.accounts;
    let system = |problem| Refused {
        problem,
        object: ObjectRef::System,
    };
    let is_closed = hidden::is_closed(row.name, row.action);
    match row.reach {
        Reach::Public => Err(system(Problem::not_found())),
        Reach::System => {
            let granted = authorize(Some(principal), row.permission, Object::System).map_err(|d| system(denied(d)))?;
            Ok((vec![granted], Vec::new()))
        }
        Reach::Namespace => {
            let text = request.match_info().get("namespace").unwrap_or_default();
            let id = NamespaceId::parse(text).ok_or_else(|| system(Problem::not_found()))?;
            let object = ObjectRef::One(ObjectKind::Namespace, *id.as_bytes());
            // "Not yours" must look like "not there".
            let absent = |_| Refused {
                problem: Problem::not_found(),
                object,
            };
            let granted = authorize(Some(principal), row.permission, Object::Namespace(id)).map_err(absent)?;
            if is_closed && !Hidden::of(principal, id).is_empty() {
                let problem = Problem::forbidden("some fields of these datasets are hidden from you");
                return Err(Refused { problem, object });
            }
            let namespace = accounts.namespace(id).map_err(|error| Refused {
                problem: Problem::from(error),
                object,
            })?;
            Ok((vec![granted], vec![namespace]))
        }
        Reach::Union => {
            let mut all = accounts.namespaces().map_err(|error| system(Problem::from(error)))?;
            all.retain(|namespace| !is_closed || Hidden::of(principal, namespace.id).is_empty());
            let granted = authorize_each(
                Some(principal),
                row.permission,
                all.iter().map(|namespace| namespace.id),
            )
            .map_err(|d| system(denied(d)))?;
            if granted.is_empty() {
                return Err(system(denied(Denied::Forbidden(row.permission))));
            }
            let namespaces = all
                .into_iter()
                .filter(|namespace| {
                    granted
                        .iter()
                        .any(|granted| granted.covers(row.permission, namespace.id))
                })
                .collect();
            Ok((granted, namespaces))
        }
    }
}

fn denied(denied: Denied) -> Problem {
    match denied {
        Denied::Unauthenticated => Problem::unauthenticated(),
        Denied::Suspended | Denied::Forbidden(_) => Problem::forbidden(denied.to_string()),
    }
}

async fn note_denial(app: &App, actor: Actor, action: Action, object: ObjectRef, source: Option<IpAddr>) {
    let event = Event {
        actor,
        action,
        object,
        outcome: Outcome::Denied,
        source,
        account: None,
    };
    if app.archive.audit.note(event).await.is_err() {
        tracing::warn!("a refusal could not be audited");
    }
}

fn not_allowed(rows: &[&'static Route], request: &HttpRequest) -> Answer {
    let mut methods: Vec<&str> = rows.iter().map(|row| row.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    let allow = header_value(&methods.join(", "));
    if *request.method() == Method::OPTIONS {
        return Ok(HttpResponse::NoContent().insert_header((header::ALLOW, allow)).finish());
    }
    Err(Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this address does not take this method",
    )
    .with_header(header::ALLOW, allow))
}

/// What every answer carries, errors included.
pub(crate) fn complete(app: &App, request: &HttpRequest, response: &mut HttpResponse) {
    if request.version() < Version::HTTP_11 && matches!(response.body().size(), BodySize::Stream) {
        // Such a client does not know the chunked coding (RFC 9112 section 6.1): the end of the connection ends the body.
        let head = response.head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    let preflight = cors::is_preflight(request.method(), request.headers());
    let origin = cors::allowed(request.headers(), &app.cors_origins).cloned();
    let headers = response.headers_mut();
    let set = |headers: &mut HeaderMap, name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    set(headers, header::CACHE_CONTROL, "no-store");
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(
        headers,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    );
    set(headers, header::REFERRER_POLICY, "no-referrer");
    set(
        headers,
        HeaderName::from_static("cross-origin-resource-policy"),
        if origin.is_some() {
            "cross-origin"
        } else {
            "same-origin"
        },
    );
    if app.is_tls {
        set(headers, header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        cors::apply(headers, &origin, preflight);
    }
    let id = septum_core::ids::ObjectId::random().to_string();
    headers.insert(HeaderName::from_static("x-request-id"), header_value(&id));
}

/// A body that is only announced: the answer to HEAD.
struct Announced(BodySize);

impl MessageBody for Announced {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<bytes::Bytes, Self::Error>>> {
        std::task::Poll::Ready(None)
    }
}

/// What was granted when the request came in, asked for again while its answer goes out: whoever is disabled or loses a
/// role does not get the rest.
struct Lasting {
    accounts: Arc<Accounts>,
    principal: Arc<Principal>,
    granted: Vec<Granted>,
}

impl Lasting {
    fn is_over(&mut self) -> bool {
        let Ok(now) = self.accounts.principal(self.principal.user) else {
            return true;
        };
        if Arc::ptr_eq(&now, &self.principal) {
            return false;
        }
        let mut granted = self.granted.iter();
        let is_over = granted.any(|granted| authorize(Some(&now), granted.permission(), granted.object()).is_err());
        self.principal = now;
        is_over
    }
}

/// A body that is counted, goes on as long as its request is permitted, and holds that one's place until it is out.
struct Counted {
    body: BoxBody,
    bytes: prometheus::IntCounter,
    lasting: Lasting,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl MessageBody for Counted {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<bytes::Bytes, Self::Error>>> {
        if self.lasting.is_over() {
            return std::task::Poll::Ready(Some(Err("no longer permitted".into())));
        }
        let step = std::pin::Pin::new(&mut self.body).poll_next(context);
        if let std::task::Poll::Ready(Some(Ok(bytes))) = &step {
            self.bytes.inc_by(bytes.len() as u64);
        }
        step
    }
}
