//! `/link/redirect`: a link as people open it. It signs the browser in as the link's guest and goes to the viewer.
//!
//! Where the link has a password, a page asks for it. A browser that is signed in already is asked first: an address in a
//! mail must not sign anybody out of their own session. Whatever is wrong, the page tells no more than that the link does
//! not open anything.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use septum_core::ids::DocumentId;
use septum_engine::accounts::documents::Kind;
use serde_json::{Map, Value};

use super::ask::uuid;
use super::dispatch::{Caller, find, form_of};
use super::fault::{Fault, Outcome};
use super::links;
use super::parameters::Parameters;
use super::study_id::StudyName;
use super::values;
use crate::app::App;
use crate::auth::{Presented, SID};
use crate::http::escape::escaped;
use crate::http::problem::Problem;
use crate::http::{base_url, cors, query_pairs};
use crate::viewer::policy;

/// The path behind the base.
pub const PATH: &str = "/link/redirect";

/// Answers one request.
pub async fn answer(app: Arc<App>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let start = Instant::now();
    let opened = open(&app, &request, payload).await;
    let mut response = match opened {
        Ok(response) => response,
        Err(Fault::Problem(problem)) => problem.into_response(),
        Err(Fault::Method) => Fault::Method.into_response(),
        Err(_) => page(
            StatusCode::NOT_FOUND,
            "This link opens nothing",
            "It is over, was taken back, or is not complete. Ask whoever sent it for another.",
            "",
        ),
    };
    crate::dispatch::complete(&app, &request, &mut response);
    crate::dispatch::note(&app, "v3_link_redirect", response.status(), start);
    response
}

async fn open(app: &Arc<App>, request: &HttpRequest, payload: web::Payload) -> Outcome<HttpResponse> {
    let is_post = *request.method() == Method::POST;
    if !is_post && *request.method() != Method::GET {
        return Err(Fault::Method);
    }
    let base_url = base_url::of(request, app.is_tls, &app.trusted_proxies)
        .ok_or_else(|| Problem::bad_request("the Host header is missing or malformed"))?;
    if is_post && cors::is_cross_site_change(&Method::POST, request.headers(), &app.cors_origins, Some(&base_url)) {
        return Err(Problem::forbidden("a page of another site may not do anything here").into());
    }
    let _permit = Arc::clone(&app.requests)
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded(1))?;
    let form = form_of(app, request, payload).await?;
    // Its own session, where a browser sends one, is not the link's business.
    let given: Vec<(String, String)> = query_pairs(request).into_iter().chain(form).collect();
    let of = |name: &str| {
        given
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let link = match (of("uuid"), of("pin")) {
        (Some(link), _) => link,
        (None, Some(pin)) => links::of_pin(app, &pin, app.client_address(request))?.to_string(),
        (None, None) => return Err(Fault::not_found()),
    };
    let password = of("password");
    let wanted = [("uuid".to_owned(), link.clone())]
        .into_iter()
        .chain(password.clone().map(|password| ("password".to_owned(), password)));
    let caller = Caller {
        app,
        request: None,
        address: app.client_address(request),
        base_url: &base_url,
    };
    if !is_post && is_signed_in(app, request).await {
        must_open(&caller, &link).await?;
        return Ok(ask(
            &link,
            "You are signed in; this link opens a study as a guest.",
            false,
        ));
    }
    let entry = find("link/session").ok_or_else(Fault::not_found)?;
    let session = match caller.call(entry, Parameters::new(wanted)?).await {
        Err(Fault::Error {
            token: "INVALID_CREDENTIALS",
            ..
        }) => {
            let text = if password.is_some() {
                "That was not the password. Try again."
            } else {
                "It is protected by a password."
            };
            return Ok(ask(&link, text, true));
        }
        session => session?,
    };
    let sid = values::text(&session, "sid").to_owned();
    let place = address(app, &link, &session)?;
    let secure = if app.is_tls { "; Secure" } else { "" };
    // RFC 6265 section 4.1; the session's secret is hexadecimal.
    let cookie = format!("{SID}={sid}; Path=/; HttpOnly; SameSite=Lax{secure}");
    // See Other would be right behind a form, but clients of this call know Found.
    Ok(HttpResponse::Found()
        .insert_header((header::LOCATION, place))
        .insert_header((header::SET_COOKIE, cookie))
        .finish())
}

/// Refuses a link that opens nothing, before anything is asked.
async fn must_open(caller: &Caller<'_>, link: &str) -> Outcome<()> {
    let entry = find("link/status").ok_or_else(Fault::not_found)?;
    let asked = [("uuid".to_owned(), link.to_owned())];
    caller.call(entry, Parameters::new(asked)?).await.map(|_| ())
}

async fn is_signed_in(app: &App, request: &HttpRequest) -> bool {
    let presented = Presented {
        sid: None,
        request: Some(request),
    };
    let address = app.client_address(request);
    matches!(app.authenticator.signed_in(&presented, address).await, Ok(Some(_)))
}

/// Where the link's study is shown. Uploads have no page.
fn address(app: &App, link: &str, session: &Map<String, Value>) -> Outcome<String> {
    if values::text(session, "action") != "STUDY_VIEW" {
        return Err(Fault::not_permitted());
    }
    let id = uuid(link).map(DocumentId::from_bytes).ok_or_else(Fault::not_found)?;
    let services = &app.archive.services;
    let link = services.accounts.documents.get(Kind::Link, id)?;
    let name = StudyName::parse(values::text(&link.body, "study_id")).ok_or_else(Fault::not_found)?;
    let namespace = services.accounts.namespace(name.phi)?;
    let study = name.find(services, &namespace)?;
    let study_uid = services.summaries.open(&study.row)?.summary.study_uid.clone();
    Ok(format!("/viewer?StudyInstanceUIDs={study_uid}"))
}

/// The page that asks for what is missing.
fn ask(link: &str, text: &str, needs_password: bool) -> HttpResponse {
    let password = if needs_password {
        "<input type=\"password\" name=\"password\" aria-label=\"Password\" required autofocus>"
    } else {
        ""
    };
    let form = format!(
        "<form method=\"post\" action=\"{}{PATH}\"><input type=\"hidden\" name=\"uuid\" value=\"{}\">{password}\
         <button>Open the study</button></form>\n",
        super::dispatch::BASE,
        escaped(link)
    );
    page(StatusCode::OK, "Somebody shared a study with you", text, &form)
}

/// A page that says one thing, and may ask for another.
pub(super) fn page(status: StatusCode, title: &str, text: &str, form: &str) -> HttpResponse {
    let body = include_str!("link_page.html")
        .replace("{title}", title)
        .replace("{text}", text)
        .replace("{form}", form);
    HttpResponse::build(status)
        .insert_header((header::CONTENT_SECURITY_POLICY, policy::OTHER))
        .content_type("text/html; charset=utf-8")
        .body(body)
}
