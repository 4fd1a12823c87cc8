//! `GET /`: what this is.

use actix_web::HttpResponse;
use actix_web::http::header;

use crate::dispatch::Entry;
use crate::http::problem::Answer;

/// A page without scripts, images or anything from elsewhere.
pub(super) async fn page(_: Entry) -> Answer {
    let nonce = septum_core::ids::ObjectId::random();
    let policy = format!("default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'");
    let html = include_str!("home.html")
        .replace("{nonce}", &nonce.to_string())
        .replace("{version}", env!("CARGO_PKG_VERSION"));
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .content_type("text/html; charset=utf-8")
        .body(html))
}
