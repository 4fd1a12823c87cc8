//! What a client takes (PS3.18 section 8.7): `Accept` and its stand-in, the `accept` query parameter.
//!
//! What a client refuses (`q=0`, RFC 9110 section 12.4.2) narrows the wildcards beside it: [`Choice::covers`] is the one
//! place that knows.

use actix_web::HttpRequest;
use actix_web::http::header;

use super::media_type::{MediaType, split_outside_quotes};
use super::problem::{Answer, Problem};

/// Most media ranges looked at.
const RANGES_MAX: usize = 64;

/// One media range with its weight.
#[derive(Debug, Clone, PartialEq)]
struct Range {
    /// `type/subtype` and parameters.
    media: MediaType,
    /// 0 to 1,000; 0 is "not this".
    weight: u16,
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
    /// Of a wildcard: what it does not mean, in parts or alone.
    pub refused: Vec<(bool, String)>,
}

impl Choice {
    /// A media type that stands alone, in its default transfer syntax.
    pub fn single(media: &str) -> Self {
        Self {
            multipart: false,
            media: media.to_owned(),
            syntax: Syntax::Default,
            refused: Vec::new(),
        }
    }

    /// Whether content of that media type is taken.
    pub fn covers(&self, media_type: &str) -> bool {
        let is_refused =
            |(multipart, refused): &(bool, String)| *multipart <= self.multipart && is_range_of(refused, media_type);
        is_range_of(&self.media, media_type) && !self.refused.iter().any(is_refused)
    }

    /// Whether content of that media type is taken in parts of `multipart/related`: `*/*` stands for that as well.
    pub fn covers_parts(&self, media_type: &str) -> bool {
        let is_refused = |(_, refused): &(bool, String)| is_range_of(refused, media_type);
        let may_be_parts = self.multipart || self.media == "*/*";
        may_be_parts && is_range_of(&self.media, media_type) && !self.refused.iter().any(is_refused)
    }
}

/// Whether the media range means the media type.
fn is_range_of(range: &str, media_type: &str) -> bool {
    let kind = media_type.split_once('/').map(|(kind, _)| kind);
    range == media_type || range == "*/*" || kind.is_some_and(|kind| range.strip_suffix("/*") == Some(kind))
}

/// How exactly a media range says what it means.
fn precision(media: &str) -> u8 {
    match media.strip_suffix("/*") {
        Some("*") => 0,
        Some(_) => 1,
        None => 2,
    }
}

/// What a request takes, the most wanted first. Without `Accept`, anything.
///
/// # Errors
/// 400 where the header is malformed.
pub fn choices(request: &HttpRequest) -> Answer<Vec<Choice>> {
    let mut texts: Vec<String> = Vec::new();
    for (name, value) in super::query_pairs(request) {
        if name == "accept" {
            texts.push(with_plus(&value));
        }
    }
    // The parameter is for clients that cannot set headers, and wins (PS3.18 section 8.3.3.1).
    if texts.is_empty() {
        for value in request.headers().get_all(header::ACCEPT) {
            texts.push(value.to_str().map_err(|_| malformed())?.to_owned());
        }
    }
    choices_of(texts.iter().map(String::as_str))
}

/// The same of the texts of `Accept` headers.
///
/// # Errors
/// As [`choices`].
pub fn choices_of<'a>(texts: impl Iterator<Item = &'a str>) -> Answer<Vec<Choice>> {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for range in parse(texts)? {
        let choice = choice(&range.media)?;
        if range.weight > 0 {
            taken.push(choice);
        } else if choice.syntax == Syntax::Default {
            // Who refuses one transfer syntax does not refuse the media type.
            refused.push((choice.multipart, choice.media));
        }
    }
    for choice in &mut taken {
        // The more exact range counts (RFC 9110 section 12.5.1).
        let own = (precision(&choice.media), choice.multipart);
        let narrows = |refused: &&(bool, String)| own.0 < 2 && (precision(&refused.1), refused.0) > own;
        choice.refused = refused.iter().filter(narrows).cloned().collect();
    }
    Ok(taken)
}

/// In a query a plus means a space, yet whoever writes an address by hand writes `application/dicom+json`: a space between
/// two letters or digits stands in no media type, so it was a plus.
fn with_plus(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let is_word = |at: Option<usize>| {
        at.and_then(|at| characters.get(at))
            .is_some_and(char::is_ascii_alphanumeric)
    };
    let mended = characters.iter().enumerate().map(|(at, &character)| {
        let is_plus = character == ' ' && is_word(at.checked_sub(1)) && is_word(Some(at + 1));
        if is_plus { '+' } else { character }
    });
    mended.collect()
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
    Ok(found)
}

fn parse_weight(text: &str) -> Option<u16> {
    let weight: f32 = text.parse().ok()?;
    (0.0..=1.0).contains(&weight).then_some((weight * 1000.0) as u16)
}

/// One range as a media type, single or in parts.
fn choice(outer: &MediaType) -> Answer<Choice> {
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
        refused: Vec::new(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &[&str], expected: &[(bool, &str, Syntax)]) {
        let found = choices_of(accept.iter().copied()).expect("well formed");
        let expected: Vec<Choice> = expected
            .iter()
            .map(|(multipart, media, syntax)| Choice {
                multipart: *multipart,
                media: (*media).to_owned(),
                syntax: syntax.clone(),
                refused: Vec::new(),
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
        let json = "application/dicom+json";
        for (accept, media_type, content, parts) in [
            ("*/*", json, true, true),
            ("application/*", json, true, false),
            ("application/json", json, false, false),
            ("text/html, application/dicom+json", json, true, false),
            (
                "multipart/related; type=\"application/dicom\"",
                "application/dicom",
                true,
                true,
            ),
            // What is refused is not meant by a wildcard, wherever it stands.
            ("application/dicom+json;q=0, */*", json, false, false),
            ("*/*, application/dicom+json;q=0.0", json, false, false),
            ("application/dicom+json;q=0, */*", "image/jpeg", true, true),
            ("application/*;q=0, */*;q=0.1", json, false, false),
            ("image/png;q=0, image/*", "image/png", false, false),
            ("image/png;q=0, image/*", "image/jpeg", true, false),
            ("multipart/related;q=0, */*", json, true, false),
            (
                "multipart/related; type=\"application/dicom\";q=0, */*",
                json,
                true,
                true,
            ),
            (
                "multipart/related; type=\"application/dicom\";q=0, */*",
                "application/dicom",
                true,
                false,
            ),
            (
                "application/octet-stream;q=0, multipart/related",
                "application/octet-stream",
                false,
                false,
            ),
            // The more exact range counts.
            ("*/*;q=0, application/dicom+json", json, true, false),
            ("application/*;q=0, application/dicom+json;q=0.5", json, true, false),
            ("*/*;q=0", json, false, false),
            ("application/dicom+json; transfer-syntax=1.2;q=0, */*", json, true, true),
        ] {
            let found = choices_of([accept].into_iter()).expect("well formed");
            let is_covered = found.iter().any(|choice| choice.covers(media_type));
            assert_eq!(is_covered, content, "{accept} {media_type}");
            let is_parts = found.iter().any(|choice| choice.covers_parts(media_type));
            assert_eq!(is_parts, parts, "{accept} {media_type} in parts");
        }
    }

    #[test]
    fn a_plus_in_a_query_is_a_plus() {
        for (text, expected) in [
            ("application/dicom json", "application/dicom+json"),
            (
                "multipart/related; type=\"application/dicom xml\"",
                "multipart/related; type=\"application/dicom+xml\"",
            ),
            ("a/b; q=0.1, c/d", "a/b; q=0.1, c/d"),
            (" a/b ", " a/b "),
        ] {
            assert_eq!(with_plus(text), expected);
        }
    }
}
