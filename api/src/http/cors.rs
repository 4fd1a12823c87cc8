//! Which web pages may send requests and read answers: those of listed origins (Fetch standard, CORS protocol).
//!
//! Never `*`, never an origin reflected that is not listed, never with ambient credentials: a page sends its own
//! `Authorization`.

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("authorization, accept, content-type, if-none-match");
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, warning, retry-after, content-location, x-request-id");
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The request's origin, if it is a listed one.
pub fn allowed<'a>(request: &'a HeaderMap, origins: &[String]) -> Option<&'a HeaderValue> {
    let origin = request.get(header::ORIGIN)?;
    origins
        .iter()
        .any(|listed| listed.as_bytes() == origin.as_bytes())
        .then_some(origin)
}

/// Whether the request asks for permission to send another one.
pub fn is_preflight(method: &Method, request: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && request.contains_key(header::ORIGIN)
        && request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds what a page of that origin needs to read the answer.
pub fn apply(response: &mut HeaderMap, origin: &HeaderValue, preflight: bool) {
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if preflight {
        response.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        response.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        response.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    } else {
        response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// Whether a page of another site makes this request: refused for methods that change something, because browsers add
/// remembered Basic credentials by themselves.
pub fn is_cross_site_change(method: &Method, request: &HeaderMap, origins: &[String], base_url: Option<&str>) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || allowed(request, origins).is_some() {
        return false;
    }
    let cross_site = request
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site" || site == "same-site");
    let foreign = request
        .get(header::ORIGIN)
        .is_some_and(|origin| base_url.map(str::as_bytes) != Some(origin.as_bytes()));
    cross_site || foreign
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_listed_origins_are_let_in() {
        let listed = ["https://a.example".to_owned()];
        for (origin, expected) in [
            ("https://a.example", true),
            ("https://a.example.evil", false),
            ("http://a.example", false),
            ("null", false),
        ] {
            assert_eq!(
                allowed(&headers(&[("origin", origin)]), &listed).is_some(),
                expected,
                "{origin}"
            );
        }
        assert!(allowed(&headers(&[]), &listed).is_none());
    }

    #[test]
    fn changes_from_other_sites_are_refused() {
        let listed = ["https://a.example".to_owned()];
        let base = Some("https://archive.example");
        for (method, pairs, expected) in [
            (Method::POST, vec![], false),
            (Method::POST, vec![("origin", "https://archive.example")], false),
            (
                Method::POST,
                vec![("origin", "https://a.example"), ("sec-fetch-site", "cross-site")],
                false,
            ),
            (Method::POST, vec![("origin", "https://evil.example")], true),
            (Method::DELETE, vec![("sec-fetch-site", "cross-site")], true),
            (Method::DELETE, vec![("sec-fetch-site", "same-origin")], false),
            (Method::GET, vec![("sec-fetch-site", "cross-site")], false),
        ] {
            assert_eq!(
                is_cross_site_change(&method, &headers(&pairs), &listed, base),
                expected,
                "{method} {pairs:?}"
            );
        }
    }
}
