//! `/link/redirect`: a link as people open it. It signs the browser in as the link's guest and goes to the viewer.
//!
//! Where the link has a password, a page asks for it. A browser that is signed in already is asked first: an address in a
//! mail must not sign anybody out of their own session. Whatever is wrong, the page tells no more than that the link does
//! not open anything.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use septum_core::ids::DocumentId;
use septum_engine::accounts::documents::Kind;
use serde_json::{Map, Value};

use super::ask::uuid;
use super::dispatch::{Caller, find};
use super::fault::{Fault, Outcome};
use super::links;
use super::pages::{self, Visit, page};
use super::parameters::Parameters;
use super::study_id::StudyName;
use super::values;
use crate::app::App;
use crate::auth::{Presented, SID};
use crate::http::escape::escaped;

/// The path behind the base.
pub const PATH: &str = "/link/redirect";

/// Answers one request.
pub async fn answer(app: Arc<App>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let start = Instant::now();
    let opened = open(&app, &request, payload).await;
    let nothing = "It is over, was taken back, or is not complete. Ask whoever sent it for another.";
    pages::answer(&app, &request, ("v3_link_redirect", start), opened, nothing)
}

async fn open(app: &Arc<App>, request: &HttpRequest, payload: web::Payload) -> Outcome<HttpResponse> {
    let visit = Visit::of(app, request, payload).await?;
    let link = match (visit.given("uuid"), visit.given("pin")) {
        (Some(link), _) => link.to_owned(),
        (None, Some(pin)) => links::of_pin(app, pin, app.client_address(request))?.to_string(),
        (None, None) => return Err(Fault::not_found()),
    };
    let password = visit.given("password").map(str::to_owned);
    let wanted = [("uuid".to_owned(), link.clone())]
        .into_iter()
        .chain(password.clone().map(|password| ("password".to_owned(), password)));
    let caller = visit.caller();
    if !visit.is_post && is_signed_in(app, request).await {
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
