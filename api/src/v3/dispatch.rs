//! The one way to an entrypoint: find it, who asks, are the parameters there, what is it about, may they.
//!
//! A handler never sees a call that its declaration does not let in. Refusals of people who are signed in are audited.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use septum_core::access::{Object, Permission, Traits, authorize};
use septum_core::audit::{Action, Actor, ObjectRef, Outcome as AuditOutcome};
use septum_engine::ledger::Event;
use serde_json::{Map, Value};

use super::ask::{Ask, Target};
use super::entry::{Entry, Rule};
use super::fault::{Fault, Outcome};
use super::parameters::{BODY_BYTES_MAX, Parameters};
use super::study_id::StudyName;
use super::{bundle, channels, reply, resolve, study_record, table, values};
use crate::app::App;
use crate::auth::{Presented, SignedIn};
use crate::http::body::BodyReader;
use crate::http::coding::Coding;
use crate::http::problem::Problem;
use crate::http::{base_url, cors, form_pairs, query_pairs};

/// The address all entrypoints are under.
pub const BASE: &str = "/api/v3";

static BY_PATH: LazyLock<HashMap<&'static str, &'static Entry>> =
    LazyLock::new(|| table::all().iter().map(|entry| (entry.path, entry)).collect());

/// The entrypoint at a path behind the base.
pub fn find(path: &str) -> Option<&'static Entry> {
    BY_PATH.get(path.trim_matches('/')).copied()
}

/// Answers one request.
pub async fn dispatch(app: Arc<App>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let start = Instant::now();
    let path = request
        .match_info()
        .get("path")
        .unwrap_or_default()
        .trim_matches('/')
        .to_owned();
    let entry = find(&path);
    let name = entry.map_or("v3_unknown", |entry| entry.name.as_str());
    let mut response = match answer(&app, &path, entry, &request, payload).await {
        Ok(response) => response,
        Err(fault) => fault.into_response(),
    };
    crate::dispatch::complete(&app, &request, &mut response);
    crate::dispatch::note(&app, name, response.status(), start);
    response
}

/// Answers a request for a web socket; any other one as [`dispatch`] does.
pub async fn socket(app: Arc<App>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    if !request.headers().contains_key(header::UPGRADE) {
        return dispatch(app, request, payload).await;
    }
    let start = Instant::now();
    let mut response = channels::accept(&app, &request, payload);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        crate::dispatch::complete(&app, &request, &mut response);
    }
    crate::dispatch::note(&app, "v3_channel", response.status(), start);
    response
}

async fn answer(
    app: &Arc<App>,
    path: &str,
    entry: Option<&'static Entry>,
    request: &HttpRequest,
    payload: web::Payload,
) -> Outcome<HttpResponse> {
    let is_bundle = path == "bundle";
    if cors::is_preflight(request.method(), request.headers()) {
        return Ok(HttpResponse::NoContent().finish());
    }
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_known = is_get || *request.method() == Method::POST;
    if !is_known || (is_get && (is_bundle || entry.is_some_and(|entry| entry.post_only))) {
        return Err(Fault::Method);
    }
    let base_url = base_url::of(request, app.is_tls, &app.trusted_proxies)
        .ok_or_else(|| Problem::bad_request("the Host header is missing or malformed"))?;
    // Any method may change something here, so a page of another site may use none.
    if cors::is_cross_site_change(&Method::POST, request.headers(), &app.cors_origins, Some(&base_url)) {
        return Err(Problem::forbidden("a page of another site may not do anything here").into());
    }
    let _permit = Arc::clone(&app.requests)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded(1))?;
    let address = app.client_address(request);
    let body = body(app, request, payload).await?;
    let takes_gzip = takes_gzip(request);
    if is_bundle {
        let caller = Caller {
            app,
            request: Some(request),
            address,
            base_url: &base_url,
        };
        return bundle::answer(&caller, &body)
            .await
            .map(|answers| reply::response(&answers, takes_gzip));
    }
    let text = String::from_utf8(body).map_err(|_| Problem::bad_request("the form is not UTF-8"))?;
    let pairs = query_pairs(request).into_iter().chain(form_pairs(&text));
    let parameters = Parameters::new(pairs)?;
    let entry = entry.ok_or_else(|| Fault::new("NOT_SUPPORTED"))?;
    let caller = Caller {
        app,
        request: Some(request),
        address,
        base_url: &base_url,
    };
    let body = caller.call(entry, parameters).await?;
    Ok(reply::response(&Value::Object(body), takes_gzip))
}

/// Who calls, from where.
pub struct Caller<'a> {
    /// Shared state.
    pub app: &'a Arc<App>,
    /// The request, for its credentials.
    pub request: Option<&'a HttpRequest>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// `https://host:port` as the client used it.
    pub base_url: &'a str,
}

impl Caller<'_> {
    /// Runs one entrypoint.
    ///
    /// # Errors
    /// What the entrypoint says, or that the caller may not.
    pub async fn call(&self, entry: &'static Entry, parameters: Parameters) -> Outcome<Map<String, Value>> {
        let signed_in = match (entry.rule, self.signed_in(&parameters).await) {
            (_, Ok(signed_in)) => signed_in,
            // Whoever signs in anew may still carry a session that is over.
            (Rule::Public, Err(Fault::Unauthenticated)) => None,
            (_, Err(fault)) => return Err(fault),
        };
        if signed_in.is_none() && entry.rule != Rule::Public {
            return Err(Fault::Unauthenticated);
        }
        let missing = entry.missing(|name| parameters.text(name).is_some());
        let mut ask = Ask {
            app: Arc::clone(self.app),
            entry,
            parameters,
            signed_in,
            target: Target::None,
            address: self.address,
            base_url: self.base_url.to_owned(),
        };
        if ask
            .signed_in
            .as_ref()
            .is_some_and(|signed_in| signed_in.principal.suspended)
        {
            return Err(Fault::Unauthenticated);
        }
        if !missing.is_empty() {
            return Err(Fault::about("MISSING_FIELDS", missing));
        }
        if let Err(fault) = fit_for_guests(&ask).and_then(|()| admit(&mut ask)) {
            self.note_denial(&ask).await;
            return Err(fault);
        }
        let reply = (entry.run)(&ask).await?;
        reply.body(entry.object(), &ask.parameters)
    }

    async fn signed_in(&self, parameters: &Parameters) -> Outcome<Option<SignedIn>> {
        let presented = Presented {
            sid: parameters.text("sid"),
            request: self.request,
        };
        Ok(self.app.authenticator.signed_in(&presented, self.address).await?)
    }

    async fn note_denial(&self, ask: &Ask) {
        let event = Event {
            actor: ask
                .signed_in
                .as_ref()
                .map_or(Actor::Anonymous, |signed_in| Actor::User(signed_in.principal.user)),
            action: Action::parse(&ask.entry.action).unwrap_or(Action::new("api.call")),
            object: ObjectRef::System,
            outcome: AuditOutcome::Denied,
            source: self.address,
            account: None,
        };
        if self.app.archive.audit.note(event).await.is_err() {
            tracing::warn!("a refusal could not be audited");
        }
    }
}

/// Whoever came by a link is no person with things of their own.
fn fit_for_guests(ask: &Ask) -> Outcome<()> {
    if ask.entry.for_guests || ask.user()?.guest.is_none() {
        Ok(())
    } else {
        Err(Fault::not_permitted())
    }
}

/// Finds what the call is about and asks for the permission there.
fn admit(ask: &mut Ask) -> Outcome<()> {
    match ask.entry.rule {
        Rule::Public => Ok(()),
        Rule::SignedIn => {
            ask.target = resolve::target(ask)?;
            match resolve::namespaces(&ask.target).first() {
                Some(namespace) if !ask.principal()?.reaches(*namespace) => Err(resolve::absent(ask)),
                _ => Ok(()),
            }
        }
        Rule::Installation(permission) => {
            let _granted = authorize(Some(ask.principal()?), permission, Object::System)?;
            Ok(())
        }
        Rule::AnyOf(permissions) => {
            ask.target = resolve::target(ask)?;
            let places = resolve::namespaces(&ask.target);
            let reached = places
                .iter()
                .any(|&place| ask.principal().is_ok_and(|who| who.reaches(place)));
            if !reached {
                return Err(resolve::absent(ask));
            }
            let traits = traits(ask)?;
            let is_given = |permission: Permission| {
                places
                    .iter()
                    .any(|&place| ask.authorize_one(permission, place, traits).is_ok())
            };
            if permissions.iter().any(|&permission| is_given(permission)) {
                Ok(())
            } else if resolve::may_know(ask)? {
                Err(Fault::not_permitted())
            } else {
                Err(resolve::absent(ask))
            }
        }
    }
}

fn traits(ask: &Ask) -> Outcome<Traits> {
    let user = ask.principal()?.user;
    let own = match &ask.target {
        Target::Document(document, _) => document.created_by == user,
        // Adding and listing: what is made is one's own, what is listed the handler narrows.
        _ => true,
    };
    Ok(Traits {
        own,
        approved: None,
        frozen: is_frozen(ask)?,
    })
}

/// Whether a call is about a frozen study, or what belongs to one, and may change it.
fn is_frozen(ask: &Ask) -> Outcome<bool> {
    let Rule::AnyOf(permissions) = ask.entry.rule else {
        return Ok(false);
    };
    if !permissions.iter().any(|permission| permission.changes_study()) {
        return Ok(false);
    }
    match &ask.target {
        Target::Study(name, namespace) => study_record::is_frozen(ask, name, namespace),
        Target::Document(document, namespace) => match StudyName::parse(values::text(&document.body, "study_id")) {
            Some(name) => study_record::is_frozen(ask, &name, namespace),
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

/// The pairs of a form in the body, none where there is no body.
///
/// # Errors
/// Where it cannot be read, or is no text.
pub async fn form_of(app: &App, request: &HttpRequest, payload: web::Payload) -> Outcome<Vec<(String, String)>> {
    let body = body(app, request, payload).await?;
    let text = String::from_utf8(body).map_err(|_| Problem::bad_request("the form is not UTF-8"))?;
    Ok(form_pairs(&text).into_iter().collect())
}

async fn body(app: &App, request: &HttpRequest, payload: web::Payload) -> Outcome<Vec<u8>> {
    // A channel that is asked for never sends a body, and never ends one.
    if matches!(*request.method(), Method::GET | Method::HEAD) || request.headers().contains_key(header::UPGRADE) {
        return Ok(Vec::new());
    }
    let coding = match request.headers().get(header::CONTENT_ENCODING) {
        None => Some(Coding::Identity),
        Some(value) => value.to_str().ok().and_then(Coding::parse),
    };
    let coding = coding.ok_or_else(Problem::unsupported_coding)?;
    let mut reader = BodyReader::new(payload, coding, app.body);
    reader.set_longest(BODY_BYTES_MAX);
    let body = reader.read_all().await;
    Ok(body.map_err(|error| crate::routes::body_problem(error, BODY_BYTES_MAX))?)
}

fn takes_gzip(request: &HttpRequest) -> bool {
    let accepted = request.headers().get(header::ACCEPT_ENCODING);
    let text = accepted.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0"))
    })
}
