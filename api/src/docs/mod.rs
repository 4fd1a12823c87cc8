//! The interface described: OpenAPI, a page for people, the DICOM Conformance Statement.
//!
//! All three are generated from the route table ([`crate::routes::all`]) and from [`descriptions`], one row for each
//! route name, joined in [`operations`]. What they say about DICOM comes from the tables that the archive works by:
//! transfer syntaxes, decoders, character sets, refused SOP classes, search attributes, limits.
//!
//! Invariants: a route without a description, or a description without a route, fails the tests. The documents hold
//! nothing about any installation, so they are public.
//!
//! | file | owns |
//! |---|---|
//! | [`describe`] | what a description is made of |
//! | [`descriptions`] | the descriptions |
//! | [`parameters`] | parts of paths, query parameters |
//! | [`operations`] | routes and descriptions joined; the statuses that every route may answer |
//! | [`schemas`] | shapes of JSON bodies |
//! | [`openapi`] | OpenAPI 3.1 |
//! | [`html`], [`page`] | the page for people |
//! | [`conformance`] | the conformance statement (PS3.2) |

pub mod conformance;
pub mod describe;
pub mod descriptions;
pub mod html;
pub mod openapi;
pub mod operations;
pub mod page;
pub mod parameters;
pub mod schemas;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header;

use crate::dispatch::Entry;
use crate::http::problem::Answer;

const CONFORMANCE_TITLE: &str = "Septum: DICOM Conformance Statement";

static OPENAPI: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());
static PAGE: LazyLock<String> = LazyLock::new(page::body);
static STORAGE: LazyLock<String> = LazyLock::new(crate::v3::storage::docs::page);
static CALLS: LazyLock<String> = LazyLock::new(crate::v3::docs::page);
static CONFORMANCE: LazyLock<String> = LazyLock::new(conformance::body);

/// `GET /api/docs/openapi.json`.
pub(crate) async fn openapi_json(_: Entry) -> Answer {
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .body(OPENAPI.as_str()))
}

/// `GET /api/docs`.
pub(crate) async fn api_page(_: Entry) -> Answer {
    Ok(respond("Septum: API", &PAGE))
}

/// `GET /api/docs/conformance`.
pub(crate) async fn conformance_page(_: Entry) -> Answer {
    Ok(respond(CONFORMANCE_TITLE, &CONFORMANCE))
}

/// `GET /api/docs/v3`.
pub(crate) async fn calls_page(_: Entry) -> Answer {
    Ok(respond("Septum: service calls", &CALLS))
}

/// `GET /api/docs/storage`.
pub(crate) async fn storage_page(_: Entry) -> Answer {
    Ok(respond("Septum: storage API", &STORAGE))
}

/// The conformance statement as a file of its own.
pub fn conformance_document() -> String {
    html::whole(CONFORMANCE_TITLE, "", &CONFORMANCE)
}

/// A page without scripts, images or anything from elsewhere; its one style sheet has the nonce that the policy names.
fn respond(title: &str, body: &str) -> HttpResponse {
    let nonce = septum_core::ids::ObjectId::random().to_string();
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    HttpResponse::Ok()
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .content_type("text/html; charset=utf-8")
        .body(html::whole(title, &nonce, body))
}
