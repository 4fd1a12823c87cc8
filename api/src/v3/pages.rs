//! Pages of API V3 that people open: what each of them asks of a request before it does anything, and how it answers.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::OwnedSemaphorePermit;

use super::dispatch::{Caller, form_of};
use super::fault::{Fault, Outcome};
use crate::app::App;
use crate::http::problem::Problem;
use crate::http::{base_url, cors, query_pairs};
use crate::viewer::policy;

/// A request of somebody's browser. What it says of its own session is not the page's business.
pub(super) struct Visit<'a> {
    app: &'a Arc<App>,
    request: &'a HttpRequest,
    base_url: String,
    given: Vec<(String, String)>,
    /// A form came; else the page is only opened.
    pub(super) is_post: bool,
    _permit: OwnedSemaphorePermit,
}

impl<'a> Visit<'a> {
    /// Reads the request.
    ///
    /// # Errors
    /// Another method than GET and POST, a form of another site, too many requests at once, a malformed body.
    pub(super) async fn of(app: &'a Arc<App>, request: &'a HttpRequest, payload: web::Payload) -> Outcome<Self> {
        let is_post = *request.method() == Method::POST;
        if !is_post && *request.method() != Method::GET {
            return Err(Fault::Method);
        }
        let base_url = base_url::of(request, app.is_tls, &app.trusted_proxies)
            .ok_or_else(|| Problem::bad_request("the Host header is missing or malformed"))?;
        if is_post && cors::is_cross_site_change(&Method::POST, request.headers(), &app.cors_origins, Some(&base_url)) {
            return Err(Problem::forbidden("a page of another site may not do anything here").into());
        }
        let permit = Arc::clone(&app.requests)
            .try_acquire_owned()
            .map_err(|_| Problem::overloaded(1))?;
        let form = form_of(app, request, payload).await?;
        Ok(Self {
            app,
            request,
            base_url,
            given: query_pairs(request).into_iter().chain(form).collect(),
            is_post,
            _permit: permit,
        })
    }

    /// What the address or the form says under this name.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Calls as anybody could.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller {
            app: self.app,
            request: None,
            address: self.app.client_address(self.request),
            base_url: &self.base_url,
        }
    }
}

/// The answer to a request that came at `start`; `nothing` says what to do where the link opens nothing.
pub(super) fn answer(
    app: &App,
    request: &HttpRequest,
    (name, start): (&'static str, Instant),
    opened: Outcome<HttpResponse>,
    nothing: &str,
) -> HttpResponse {
    let mut response = match opened {
        Ok(response) => response,
        Err(Fault::Problem(problem)) => problem.into_response(),
        Err(Fault::Method) => Fault::Method.into_response(),
        Err(_) => page(StatusCode::NOT_FOUND, "This link opens nothing", nothing, ""),
    };
    crate::dispatch::complete(app, request, &mut response);
    crate::dispatch::note(app, name, response.status(), start);
    response
}

/// A page that says one thing, and may ask for another.
pub(super) fn page(status: StatusCode, title: &str, text: &str, form: &str) -> HttpResponse {
    let body = include_str!("page.html")
        .replace("{title}", title)
        .replace("{text}", text)
        .replace("{form}", form);
    HttpResponse::build(status)
        .insert_header((header::CONTENT_SECURITY_POLICY, policy::OTHER))
        .content_type("text/html; charset=utf-8")
        .body(body)
}
