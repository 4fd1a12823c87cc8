//! The page behind links in mail: accepting an invitation, setting a lost password anew.
//!
//! It asks for what is missing and runs the call that the link is about, as anybody else could.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};

use super::dispatch::{BASE, find};
use super::fault::{Fault, Outcome};
use super::invitations;
use super::one_time::Token;
use super::pages::{self, Visit, page};
use super::parameters::Parameters;
use super::values;
use crate::app::App;
use crate::http::escape::escaped;

/// The path behind the base.
pub const PATH: &str = "/user/welcome/page";

/// Where an invitation is accepted; the token follows.
pub fn invitation_url(public_url: &str) -> String {
    format!("{public_url}{BASE}{PATH}?invitation=")
}

/// Where a lost password is set anew.
pub fn reset_url(public_url: &str, token: Token) -> String {
    format!("{public_url}{BASE}{PATH}?reset={token}")
}

/// Answers one request.
pub async fn answer(app: Arc<App>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let start = Instant::now();
    let opened = open(&app, &request, payload).await;
    let nothing = "It is over, was used already, or is not complete. Ask for another.";
    pages::answer(&app, &request, ("v3_welcome_page", start), opened, nothing)
}

async fn open(app: &Arc<App>, request: &HttpRequest, payload: web::Payload) -> Outcome<HttpResponse> {
    let welcome = Welcome {
        app,
        visit: Visit::of(app, request, payload).await?,
    };
    match (welcome.visit.given("invitation"), welcome.visit.given("reset")) {
        (Some(token), _) => welcome.invitation(token).await,
        (None, Some(token)) => welcome.reset(token).await,
        (None, None) => Err(Fault::not_found()),
    }
}

struct Welcome<'a> {
    app: &'a App,
    visit: Visit<'a>,
}

impl Welcome<'_> {
    async fn call(&self, path: &str, parameters: &[(&str, &str)]) -> Outcome<Map<String, Value>> {
        let entry = find(path).ok_or_else(Fault::not_found)?;
        let owned = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.visit.caller().call(entry, Parameters::new(owned)?).await
    }

    async fn invitation(&self, token: &str) -> Outcome<HttpResponse> {
        let (email, has_user) = invitations::pending(self.app, token).ok_or_else(Fault::not_found)?;
        let ask = |why: &str| invitation_form(token, &email, has_user, why);
        if !self.visit.is_post {
            return Ok(ask(""));
        }
        let mut parameters = vec![("uuid", token)];
        let session;
        if has_user {
            let password = self.visit.given("password").unwrap_or_default();
            match self
                .call("session/login", &[("login", &email), ("password", password)])
                .await
            {
                Ok(signed_in) => session = values::text(&signed_in, "sid").to_owned(),
                Err(Fault::Error { token: "LOCKOUT", .. }) => return Ok(ask("Too many attempts. Try again later.")),
                Err(_) => return Ok(ask("That was not the password. Try again.")),
            }
            parameters.push(("sid", &session));
        } else {
            for name in ["first", "last", "password"] {
                parameters.push((name, self.visit.given(name).unwrap_or_default()));
            }
        }
        let accepted = self.call("user/invite/accept", &parameters).await;
        if let Some((_, sid)) = parameters.iter().find(|(name, _)| *name == "sid") {
            // The session was for this one call.
            let _ended = self.call("session/logout", &[("sid", sid)]).await;
        }
        match accepted {
            Ok(_)
            | Err(Fault::Error {
                token: "ALREADY_EXISTS",
                ..
            }) => Ok(welcome()),
            Err(Fault::Error {
                token: "BAD_PASSWORD", ..
            }) => Ok(ask("This password is too weak. Choose another one.")),
            Err(Fault::Error {
                token: "MISSING_FIELDS",
                ..
            }) => Ok(ask("Something is missing.")),
            Err(fault) => Err(fault),
        }
    }

    async fn reset(&self, token: &str) -> Outcome<HttpResponse> {
        if !self.visit.is_post {
            return Ok(reset_form(token, "Choose a new password."));
        }
        let password = self.visit.given("password").unwrap_or_default();
        match self
            .call("user/password/reset", &[("token", token), ("password", password)])
            .await
        {
            Ok(_) => Ok(page(
                StatusCode::OK,
                "Your password is set",
                "You can sign in with it from now on.",
                VIEWER,
            )),
            Err(Fault::Error {
                token: "BAD_PASSWORD" | "MISSING_FIELDS",
                ..
            }) => Ok(reset_form(token, "This password is too weak. Choose another one.")),
            Err(fault) => Err(fault),
        }
    }
}

const VIEWER: &str = "<p><a href=\"/viewer\">To your studies</a></p>\n";

fn welcome() -> HttpResponse {
    page(
        StatusCode::OK,
        "Welcome",
        "The invitation is accepted. You can sign in from now on.",
        VIEWER,
    )
}

fn input(kind: &str, name: &str, label: &str, complete: &str) -> String {
    format!(
        "<input type=\"{kind}\" name=\"{name}\" aria-label=\"{label}\" placeholder=\"{label}\" autocomplete=\"{complete}\" required>"
    )
}

fn form(name: &str, token: &str, inputs: &str, button: &str) -> String {
    format!(
        "<form method=\"post\" action=\"{BASE}{PATH}\"><input type=\"hidden\" name=\"{name}\" value=\"{}\">{inputs}\
         <button>{button}</button></form>\n",
        escaped(token)
    )
}

fn invitation_form(token: &str, email: &str, has_user: bool, why: &str) -> HttpResponse {
    let (text, inputs) = if has_user {
        let inputs = input("password", "password", "Password", "current-password");
        ("Say the password you sign in with to accept.", inputs)
    } else {
        let inputs = [
            input("text", "first", "First name", "given-name"),
            input("text", "last", "Last name", "family-name"),
            input("password", "password", "Password", "new-password"),
        ];
        ("Say your name and choose a password to accept.", inputs.concat())
    };
    let text = format!("You are invited as {}. {text} {}", escaped(email), escaped(why));
    page(
        StatusCode::OK,
        "An invitation",
        text.trim_end(),
        &form("invitation", token, &inputs, "Accept"),
    )
}

fn reset_form(token: &str, text: &str) -> HttpResponse {
    let inputs = input("password", "password", "New password", "new-password");
    page(
        StatusCode::OK,
        "Your password",
        text,
        &form("reset", token, &inputs, "Set it"),
    )
}
