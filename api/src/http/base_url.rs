//! The scheme and host that the client used, for URLs in answers.
//!
//! `Host` is taken as the client sent it; `X-Forwarded-Proto` and `X-Forwarded-Host` only from trusted proxies.

use actix_web::HttpRequest;
use actix_web::http::header;

use super::address::{Network, is_trusted, peer};

/// `https://host:port`, without a slash at the end. `None` where the host is missing or malformed.
pub fn of(request: &HttpRequest, is_tls: bool, trusted: &[Network]) -> Option<String> {
    let header = |name: &str| -> Option<Option<String>> {
        let mut values = request.headers().get_all(name);
        let first = values.next();
        match (first, values.next()) {
            (None, _) => Some(None),
            (Some(value), None) => Some(Some(value.to_str().ok()?.trim().to_owned())),
            (Some(_), Some(_)) => None,
        }
    };
    let (mut scheme, mut host) = (if is_tls { "https" } else { "http" }.to_owned(), None);
    if is_trusted(peer(request), trusted) {
        if let Some(forwarded) = header("x-forwarded-proto")? {
            scheme = forwarded;
        }
        host = header("x-forwarded-host")?;
    }
    let host = match host {
        Some(host) => host,
        None => header(header::HOST.as_str())?.or_else(|| request.uri().authority().map(ToString::to_string))?,
    };
    (matches!(scheme.as_str(), "http" | "https") && is_host(&host)).then(|| format!("{scheme}://{host}"))
}

fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 261
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn check(headers: &[(&str, &str)], peer: &str, expected: Option<&str>) {
        let mut request = TestRequest::default().peer_addr(peer.parse().expect("an address"));
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        assert_eq!(
            of(&request.to_http_request(), true, &trusted).as_deref(),
            expected,
            "{headers:?}"
        );
    }

    #[test]
    fn urls_are_the_clients() {
        let outside = "203.0.113.9:1";
        check(
            &[("host", "archive.example:8443")],
            outside,
            Some("https://archive.example:8443"),
        );
        check(&[("host", "[::1]:8443")], outside, Some("https://[::1]:8443"));
        check(
            &[("host", "a"), ("x-forwarded-host", "evil")],
            outside,
            Some("https://a"),
        );
        let proxy = "10.0.0.1:1";
        check(
            &[("host", "a"), ("x-forwarded-host", "b"), ("x-forwarded-proto", "http")],
            proxy,
            Some("http://b"),
        );
        check(
            &[("host", "a"), ("x-forwarded-host", "b"), ("x-forwarded-host", "c")],
            proxy,
            None,
        );
        check(&[("host", "a/<script>")], outside, None);
    }
}
