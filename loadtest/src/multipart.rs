//! Bodies of several parts (RFC 2046 5.1), written and read.

use crate::corpus::set::Set;

const BOUNDARY: &str = "septum-loadtest-boundary-7f1c";
/// Content-Type of [`store_body`].
pub(crate) const STORE_CONTENT_TYPE: &str =
    "multipart/related; type=\"application/dicom\"; boundary=septum-loadtest-boundary-7f1c";

/// The body of a store request (PS3.18 10.5) with these instances of a set.
pub(crate) fn store_body(set: &Set, numbers: std::ops::Range<usize>) -> Vec<u8> {
    let length = usize::try_from(set.bytes(numbers.clone())).unwrap_or(0);
    let mut out = Vec::with_capacity(length + numbers.len() * 128 + 64);
    for number in numbers {
        out.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n").as_bytes());
        set.append(&mut out, number);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    out
}

/// Contents of the parts of an answer; the whole body where it is not multipart; empty when it is broken.
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Vec<&'a [u8]> {
    if !content_type.to_ascii_lowercase().starts_with("multipart/") {
        return vec![body];
    }
    let Some(boundary) = parameter(content_type, "boundary") else {
        return Vec::new();
    };
    let delimiter = format!("--{boundary}").into_bytes();
    let mut found = Vec::new();
    let Some(mut rest) = find(body, &delimiter).map(|at| &body[at + delimiter.len()..]) else {
        return found;
    };
    let inner = [b"\r\n".as_slice(), &delimiter].concat();
    while !rest.starts_with(b"--") {
        let Some(head) = find(rest, b"\r\n\r\n") else {
            return Vec::new();
        };
        let content = &rest[head + 4..];
        let Some(end) = find(content, &inner) else {
            return Vec::new();
        };
        found.push(&content[..end]);
        rest = &content[end + inner.len()..];
    }
    found
}

fn parameter(content_type: &str, name: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Offset of the first `needle`; looks for its first byte before it compares, which is quick enough for megabytes.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = 0;
    while let Some(step) = haystack[at..].iter().position(|byte| *byte == first) {
        at += step;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let check = |content_type: &str, body: &str, expected: &[&str]| {
            let got = parts(content_type, body.as_bytes());
            assert_eq!(
                got,
                expected.iter().map(|part| part.as_bytes()).collect::<Vec<_>>(),
                "{body:?}"
            );
        };
        let related = "multipart/related; type=\"application/dicom\"; boundary=\"xy\"";
        check("application/dicom", "all", &["all"]);
        check(
            related,
            "--xy\r\nA: b\r\n\r\none\r\n--xy\r\n\r\ntwo\r\n--xy--",
            &["one", "two"],
        );
        check(related, "preamble\r\n--xy\r\nA: b\r\n\r\none\r\n--xy--\r\n", &["one"]);
        check(related, "--xy--", &[]);
        check(related, "--xy\r\nA: b\r\n\r\none", &[]);
        check("multipart/related", "--xy--", &[]);
    }
}
