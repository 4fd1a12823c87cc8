//! Which part a `BulkDataURI` means: its `Content-Location`, both resolved against the address of the request (RFC 3986
//! section 5.2), then compared as text.

use crate::http::percent_decoded;

/// Where relative addresses start from.
#[derive(Debug, Clone)]
pub struct Base {
    /// `https://host:port`.
    origin: String,
    /// The request's path up to its last `/`, which is included.
    folder: String,
}

impl Base {
    /// Of a request to `origin` and `path`.
    pub fn new(origin: &str, path: &str) -> Self {
        let end = path.rfind('/').map_or(0, |at| at + 1);
        Self {
            origin: origin.trim_end_matches('/').to_owned(),
            folder: path[..end].to_owned(),
        }
    }

    /// The absolute form of an address; what has a scheme has it already.
    pub fn resolve(&self, text: &str) -> String {
        let text = text.trim();
        if let Some(key) = uuid_key(text) {
            return key;
        }
        if text.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("cid:")) {
            // A plus is a plus here.
            return content_key(&percent_decoded(&text[4..].replace('+', "%2B")));
        }
        if has_scheme(text) {
            return text.to_owned();
        }
        if let Some(rest) = text.strip_prefix("//") {
            let scheme = self.origin.split("//").next().unwrap_or_default();
            return format!("{scheme}//{rest}");
        }
        let end = text.find(['?', '#']).unwrap_or(text.len());
        let (path, rest) = text.split_at(end);
        let path = if path.starts_with('/') {
            without_dots(path)
        } else {
            without_dots(&format!("{}{path}", self.folder))
        };
        format!("{}{path}{rest}", self.origin)
    }
}

/// What a part is known by that has a Content-ID, given without angle brackets: the address `cid:` (RFC 2392), or where it
/// is a UUID, what [`Base::resolve`] makes of that.
pub fn content_key(id: &str) -> String {
    uuid_key(id).unwrap_or_else(|| format!("cid:{id}"))
}

/// A UUID, bare as in the attribute `uuid` of `BulkData` (PS3.19 section A.1.5) or as an URN (RFC 4122 section 3), in one
/// form.
fn uuid_key(text: &str) -> Option<String> {
    let is_urn = text
        .get(..9)
        .is_some_and(|start| start.eq_ignore_ascii_case("urn:uuid:"));
    let uuid = if is_urn { &text[9..] } else { text };
    let is_uuid = uuid.len() == 36
        && uuid.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    (is_uuid || is_urn).then(|| format!("urn:uuid:{}", uuid.to_ascii_lowercase()))
}

fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// RFC 3986 section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." if is_last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// The address of the whole and the number of the frame, of `…/frames/{number}`: a part that is one frame of an instance
/// may be named like that (PS3.18 section 10.4.3).
pub fn frame_of(location: &str) -> Option<(&str, u32)> {
    let (whole, number) = location.rsplit_once("/frames/")?;
    let number = number.parse().ok().filter(|number| *number > 0)?;
    Some((whole, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_resolved() {
        const UUID: &str = "urn:uuid:6f9619ff-8b86-d011-b42d-00c04fc964ff";
        let base = Base::new("https://h:1", "/dicomweb/studies");
        assert_eq!(content_key("6F9619FF-8B86-D011-B42D-00C04FC964FF"), UUID);
        assert_eq!(content_key("a@b"), "cid:a@b");
        for (text, expected) in [
            ("http://x/y/../z", "http://x/y/../z"),
            ("urn:uuid:1", "urn:uuid:1"),
            ("cid:a@b", "cid:a@b"),
            ("CID:a+b%40c", "cid:a+b@c"),
            ("URN:UUID:6F9619FF-8B86-D011-B42D-00C04FC964FF", UUID),
            ("6F9619FF-8B86-d011-B42D-00C04FC964FF", UUID),
            ("cid:6f9619ff-8b86-d011-b42d-00c04fc964ff", UUID),
            (
                "6f9619ff-8b86-d011-b42d-00c04fc964f",
                "https://h:1/dicomweb/6f9619ff-8b86-d011-b42d-00c04fc964f",
            ),
            ("/a/b?c=/../d", "https://h:1/a/b?c=/../d"),
            ("/a/./b/../c", "https://h:1/a/c"),
            ("bulk/1", "https://h:1/dicomweb/bulk/1"),
            (" bulk/1 ", "https://h:1/dicomweb/bulk/1"),
            ("../bulk/1", "https://h:1/bulk/1"),
            ("../../../bulk/..", "https://h:1/"),
            ("1.2.3", "https://h:1/dicomweb/1.2.3"),
            ("//other/a", "https://other/a"),
            ("", "https://h:1/dicomweb/"),
            ("?a", "https://h:1/dicomweb/?a"),
        ] {
            assert_eq!(base.resolve(text), expected, "{text}");
        }
    }

    #[test]
    fn frames_are_seen() {
        for (text, expected) in [
            ("https://h/x/frames/2", Some(("https://h/x", 2))),
            ("https://h/x/frames/0", None),
            ("https://h/x/frames/1,2", None),
            ("https://h/x", None),
        ] {
            assert_eq!(frame_of(text), expected, "{text}");
        }
    }
}
