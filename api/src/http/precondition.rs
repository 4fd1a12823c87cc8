//! Preconditions (RFC 9110 section 13): what a client knows of a representation, by its validator.

use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::media_type::split_outside_quotes;

/// Whether `If-Match` lets the request go on. `etag` is the validator of what is there, `None` where it has none. A weak
/// validator matches nothing here (section 13.1.1).
pub fn is_match(headers: &HeaderMap, etag: Option<&str>) -> bool {
    let mut known = tags(headers, header::IF_MATCH).peekable();
    known.peek().is_none() || known.any(|tag| tag == "*" || (!tag.starts_with("W/") && Some(tag) == etag))
}

/// Whether `If-None-Match` says that the client has this already; weak validators do (section 13.1.2).
pub fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    tags(headers, header::IF_NONE_MATCH).any(|tag| tag == "*" || opaque(tag) == opaque(etag))
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| split_outside_quotes(list, ','))
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn what_is_known_is_compared() {
        for (text, etag, matches, known) in [
            ("*", Some("\"a\""), true, true),
            ("\"a\"", Some("\"a\""), true, true),
            ("\"b\", \"a\"", Some("\"a\""), true, true),
            ("\"b\"", Some("\"a\""), false, false),
            ("W/\"a\"", Some("\"a\""), false, true),
            ("\"a\"", Some("W/\"a\""), false, true),
            ("W/\"a\"", Some("W/\"a\""), false, true),
            ("\"a,b\"", Some("\"a,b\""), true, true),
            ("\"a\"", None, false, false),
            ("*", None, true, true),
        ] {
            let request = TestRequest::default()
                .insert_header((header::IF_MATCH, text))
                .insert_header((header::IF_NONE_MATCH, text))
                .to_http_request();
            assert_eq!(is_match(request.headers(), etag), matches, "{text} {etag:?}");
            let is_known = is_known(request.headers(), etag.unwrap_or("W/\"\""));
            assert_eq!(is_known, known, "{text} {etag:?}");
        }
        let none = TestRequest::default().to_http_request();
        assert!(is_match(none.headers(), None) && !is_known(none.headers(), "\"a\""));
    }
}
