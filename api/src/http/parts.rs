//! `multipart/related` written part by part.

use bytes::Bytes;

use super::media_type::MediaType;

/// The framing of one answer.
#[derive(Debug, Clone)]
pub struct PartWriter {
    boundary: String,
    num_parts: usize,
}

impl PartWriter {
    /// A fresh boundary of 128 random bits: no content holds it.
    pub fn new() -> Self {
        // A random id is 32 hexadecimal digits, as good a boundary as any.
        let boundary = septum_core::ids::ObjectId::random().to_string();
        Self { boundary, num_parts: 0 }
    }

    /// Content-Type of the whole; `media_type` is that of the parts, without parameters.
    pub fn content_type(&self, media_type: &str) -> String {
        format!("multipart/related; type=\"{media_type}\"; boundary={}", self.boundary)
    }

    /// What stands before a part's content.
    pub fn open(&mut self, content_type: &str, location: Option<&str>) -> Bytes {
        let line_break = if self.num_parts == 0 { "" } else { "\r\n" };
        self.num_parts += 1;
        let location = location.map_or(String::new(), |location| format!("Content-Location: {location}\r\n"));
        format!(
            "{line_break}--{}\r\nContent-Type: {content_type}\r\n{location}\r\n",
            self.boundary
        )
        .into()
    }

    /// What stands behind the last part.
    pub fn close(&self) -> Bytes {
        let line_break = if self.num_parts == 0 { "" } else { "\r\n" };
        format!("{line_break}--{}--\r\n", self.boundary).into()
    }
}

impl Default for PartWriter {
    fn default() -> Self {
        Self::new()
    }
}

/// `media; transfer-syntax=uid`.
pub fn with_syntax(media_type: &str, transfer_syntax_uid: &str) -> String {
    let content_type = format!("{media_type}; transfer-syntax={transfer_syntax_uid}");
    // A UID out of a file meta is digits and dots, but it came from outside: nothing else may reach a header.
    if MediaType::parse(&content_type).is_some() && transfer_syntax_uid.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    {
        content_type
    } else {
        media_type.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::multipart::{Event, Multipart, MultipartLimits};

    #[test]
    fn what_is_written_is_read() {
        let mut writer = PartWriter::new();
        let mut body = Vec::new();
        for content in ["one", "two\r\n"] {
            body.extend_from_slice(&writer.open("a/b", Some("/x")));
            body.extend_from_slice(content.as_bytes());
        }
        body.extend_from_slice(&writer.close());
        let whole = MediaType::parse(&writer.content_type("a/b")).expect("well formed");
        let limits = MultipartLimits {
            parts: 3,
            part_header: 1000,
        };
        let mut parser = Multipart::new(whole.parameter("boundary").expect("there"), limits).expect("a boundary");
        parser.push(&body);
        parser.finish();
        let mut contents = Vec::new();
        while let Some(event) = parser.next_event().expect("well formed") {
            if let Event::Data(bytes) = event {
                contents.push(bytes);
            }
        }
        assert_eq!(contents, [Bytes::from_static(b"one"), Bytes::from_static(b"two\r\n")]);
    }

    #[test]
    fn nothing_but_uids_reaches_a_header() {
        assert_eq!(with_syntax("a/b", "1.2.3"), "a/b; transfer-syntax=1.2.3");
        assert_eq!(with_syntax("a/b", "1.2\r\nX: y"), "a/b");
    }
}
