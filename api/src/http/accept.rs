//! What a client takes (PS3.18 section 8.7): `Accept` and its stand-in, the `accept` query parameter.

use actix_web::HttpRequest;
use actix_web::http::header;

use super::media_type::{MediaType, split_outside_quotes};
use super::problem::{Answer, Problem};

/// Most media ranges looked at.
const RANGES_MAX: usize = 64;

/// One media range with its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// `type/subtype` and parameters.
    pub media: MediaType,
    /// 0 to 1,000; 0 is "not this".
    pub weight: u16,
}

/// The transfer syntax that a range asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Syntax {
    /// None named: the media type's default.
    Default,
    /// `*`: as stored.
    Stored,
    /// This UID.
    Uid(String),
}

/// One thing that the client takes: a media type, alone or as the parts of `multipart/related`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// In parts of `multipart/related`.
    pub multipart: bool,
    /// Media type of the content; may be `*/*` or `image/*`.
    pub media: String,
    /// Transfer syntax of the content.
    pub syntax: Syntax,
}

/// What a request takes, the most wanted first. Without `Accept`, anything.
///
/// # Errors
/// 400 where the header is malformed.
pub fn ranges(request: &HttpRequest) -> Answer<Vec<Range>> {
    let mut texts: Vec<String> = Vec::new();
    for (name, value) in super::query_pairs(request) {
        if name == "accept" {
            texts.push(value);
        }
    }
    // The parameter is for clients that cannot set headers, and wins (PS3.18 section 8.3.3.1).
    if texts.is_empty() {
        for value in request.headers().get_all(header::ACCEPT) {
            texts.push(value.to_str().map_err(|_| malformed())?.to_owned());
        }
    }
    parse(texts.iter().map(String::as_str))
}

fn malformed() -> Problem {
    Problem::bad_request("the Accept header is malformed")
}

fn parse<'a>(texts: impl Iterator<Item = &'a str>) -> Answer<Vec<Range>> {
    let mut found: Vec<Range> = Vec::new();
    for text in texts {
        for range in split_outside_quotes(text, ',') {
            if range.trim().is_empty() {
                continue;
            }
            if found.len() == RANGES_MAX {
                return Err(malformed());
            }
            let mut media = MediaType::parse(range).ok_or_else(malformed)?;
            let mut weight = 1000;
            if let Some(at) = media.parameters.iter().position(|(name, _)| name == "q") {
                weight = parse_weight(&media.parameters[at].1).ok_or_else(malformed)?;
                media.parameters.remove(at);
            }
            found.push(Range { media, weight });
        }
    }
    if found.is_empty() {
        let media = MediaType {
            essence: "*/*".to_owned(),
            parameters: Vec::new(),
        };
        found.push(Range { media, weight: 1000 });
    }
    // Stable: of equal weights, the earlier one is wanted more.
    found.sort_by_key(|range| std::cmp::Reverse(range.weight));
    found.retain(|range| range.weight > 0);
    Ok(found)
}

fn parse_weight(text: &str) -> Option<u16> {
    let weight: f32 = text.parse().ok()?;
    (0.0..=1.0).contains(&weight).then_some((weight * 1000.0) as u16)
}

/// The ranges as media types, single or in parts.
///
/// # Errors
/// 400 where the media type inside `multipart/related` is malformed.
pub fn choices(ranges: &[Range]) -> Answer<Vec<Choice>> {
    ranges
        .iter()
        .map(|range| {
            let outer = &range.media;
            let multipart = matches!(outer.essence.as_str(), "multipart/related" | "multipart/*");
            let inner = match outer.parameter("type") {
                Some(inner) if multipart => Some(MediaType::parse(inner).ok_or_else(malformed)?),
                _ => None,
            };
            let media = match (&inner, multipart) {
                (Some(inner), _) => inner.essence.clone(),
                (None, true) => "*/*".to_owned(),
                (None, false) => outer.essence.clone(),
            };
            let syntax = outer
                .parameter("transfer-syntax")
                .or_else(|| inner.as_ref().and_then(|inner| inner.parameter("transfer-syntax")));
            let syntax = match syntax {
                None => Syntax::Default,
                Some("*") => Syntax::Stored,
                Some(uid) => Syntax::Uid(uid.to_owned()),
            };
            Ok(Choice {
                multipart,
                media: present_name(&media).to_owned(),
                syntax,
            })
        })
        .collect()
}

/// The name of today of a media type that earlier editions of PS3.18, or dicomweb-client, call otherwise.
fn present_name(media: &str) -> &str {
    match media {
        "image/x-dicom-rle" | "image/dicom+rle" => "image/dicom-rle",
        "image/x-jls" | "image/dicom+jpeg-ls" => "image/jls",
        "image/dicom+jp2" => "image/jp2",
        "image/dicom+jpx" => "image/jpx",
        "image/jhc" => "image/jphc",
        other => other,
    }
}

/// Whether one of the ranges takes the media type.
pub fn takes(ranges: &[Range], media_type: &str) -> bool {
    let (kind, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    ranges.iter().any(|range| {
        let essence = range.media.essence.as_str();
        essence == media_type || essence == "*/*" || essence.strip_suffix("/*") == Some(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &[&str], expected: &[(bool, &str, Syntax)]) {
        let found = choices(&parse(accept.iter().copied()).expect("well formed")).expect("well formed");
        let expected: Vec<Choice> = expected
            .iter()
            .map(|(multipart, media, syntax)| Choice {
                multipart: *multipart,
                media: (*media).to_owned(),
                syntax: syntax.clone(),
            })
            .collect();
        assert_eq!(found, expected, "{accept:?}");
    }

    #[test]
    fn what_a_client_takes_is_understood() {
        use Syntax::{Default, Stored};
        let uid = |uid: &str| Syntax::Uid(uid.to_owned());
        check(&[], &[(false, "*/*", Default)]);
        check(
            &["multipart/related; type=\"application/dicom\""],
            &[(true, "application/dicom", Default)],
        );
        check(
            &["multipart/related; type=\"application/dicom\"; transfer-syntax=*"],
            &[(true, "application/dicom", Stored)],
        );
        check(
            &["multipart/related; type=application/dicom; transfer-syntax=\"1.2.3\""],
            &[(true, "application/dicom", uid("1.2.3"))],
        );
        check(
            &["multipart/related; type=\"application/octet-stream; transfer-syntax=*\""],
            &[(true, "application/octet-stream", Stored)],
        );
        check(
            &["a/b;q=0.1, c/d", "e/f;q=0.5"],
            &[
                (false, "c/d", Default),
                (false, "e/f", Default),
                (false, "a/b", Default),
            ],
        );
        check(&["a/b;q=0, c/d"], &[(false, "c/d", Default)]);
        check(&["multipart/*"], &[(true, "*/*", Default)]);
        for (old, present) in [
            ("image/x-dicom-rle", "image/dicom-rle"),
            ("image/x-jls", "image/jls"),
            ("image/jhc", "image/jphc"),
        ] {
            check(
                &[
                    &format!("multipart/related; type=\"{old}\"; transfer-syntax=1.2.3"),
                    old,
                ],
                &[(true, present, uid("1.2.3")), (false, present, Default)],
            );
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in ["application", "a/b; q=2", "a/b; c=\"", "a/b; q=x"] {
            assert!(parse([text].into_iter()).is_err(), "{text}");
        }
        let many = ["a/b"; 65].join(",");
        assert!(parse([many.as_str()].into_iter()).is_err());
    }

    #[test]
    fn media_ranges_cover_media_types() {
        for (accept, media_type, expected) in [
            ("*/*", "application/dicom+json", true),
            ("application/*", "application/dicom+json", true),
            ("application/json", "application/dicom+json", false),
            ("text/html, application/dicom+json", "application/dicom+json", true),
        ] {
            let ranges = parse([accept].into_iter()).expect("well formed");
            assert_eq!(takes(&ranges, media_type), expected, "{accept}");
        }
    }
}
