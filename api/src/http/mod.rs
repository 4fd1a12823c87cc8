//! HTTP without archive: what requests say and answers need, whatever they are about.
//!
//! | file | owns |
//! |---|---|
//! | [`accept`] | media ranges and what a client takes |
//! | [`address`] | who is at the other end, through trusted proxies only |
//! | [`base_url`] | the address a client used, for URLs in answers |
//! | [`body`] | reading a body with a watchdog and a limit |
//! | [`coding`] | content codings of request bodies |
//! | [`cors`] | which web pages may read answers |
//! | [`media_type`] | media types with parameters |
//! | [`multipart`] | `multipart/related`, read bit by bit |
//! | [`parts`] | `multipart/related`, written part by part |
//! | [`precondition`] | what a client knows of a representation already |
//! | [`problem`] | error bodies |

pub mod accept;
pub mod address;
pub mod base_url;
pub mod body;
pub mod coding;
pub mod cors;
pub mod escape;
pub mod media_type;
pub mod multipart;
pub mod parts;
pub mod precondition;
pub mod problem;
pub mod range;
pub mod zip;

use actix_web::HttpRequest;

/// Most parameters in a request's query.
const QUERY_PAIRS_MAX: usize = 2_001;

/// The query's parameters in order, percent-decoded.
pub fn query_pairs(request: &HttpRequest) -> Vec<(String, String)> {
    form_pairs(request.query_string())
}

/// `name=value&…` with `+` and percent-encoding (application/x-www-form-urlencoded).
pub fn form_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .take(QUERY_PAIRS_MAX)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(name), percent_decoded(value))
        })
        .collect()
}

/// Text out of percent-encoding; a plus is a space.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match (byte, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if byte == b'+' { b' ' } else { byte });
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::form_pairs;

    #[test]
    fn queries_are_decoded() {
        for (text, expected) in [
            ("", vec![]),
            ("a=b&c", vec![("a", "b"), ("c", "")]),
            (
                "PatientName=M%C3%BCller+H*&x=%zz%",
                vec![("PatientName", "Müller H*"), ("x", "%zz%")],
            ),
            ("a=b=c", vec![("a", "b=c")]),
        ] {
            let pairs = form_pairs(text);
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(pairs, expected, "{text}");
        }
    }
}
