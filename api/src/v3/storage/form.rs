//! `multipart/form-data` (RFC 7578): fields and one file, on top of the multipart reader.

use actix_web::http::header;
use bytes::Bytes;

use super::error::{Answer, Kind, StorageError};
use crate::call::Call;
use crate::http::body::{BodyError, BodyReader};
use crate::http::media_type::MediaType;
use crate::http::multipart::{Event, Multipart, PartHeader};

/// Longest field that is not a file, in bytes.
const FIELD_BYTES_MAX: usize = 1 << 20;

/// A part's name, and what is said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Its field's name.
    pub(super) name: String,
    /// The file's name, without folders; empty where there is none.
    pub(super) file_name: String,
    /// Its media type; empty where there is none.
    pub(super) media_type: String,
}

impl Part {
    fn of(header: PartHeader) -> Self {
        let disposition = header.content_disposition.unwrap_or_default();
        // Parameters are written as those of a media type.
        let media = MediaType::parse(&format!("x/{disposition}"));
        let parameter = |name: &str| {
            let media = media.as_ref()?;
            media.parameter(name).map(str::to_owned)
        };
        let file_name = parameter("filename").unwrap_or_default();
        let file_name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        Self {
            name: parameter("name").unwrap_or_default(),
            file_name: file_name.to_owned(),
            media_type: header.content_type.unwrap_or_default(),
        }
    }
}

/// What a form gives, step by step.
#[derive(Debug)]
pub(super) enum Step {
    /// A part begins.
    Begin(Part),
    /// Its next bytes.
    Data(Bytes),
    /// It is complete.
    End,
}

/// A form that is being read.
pub(super) struct Form {
    parser: Multipart,
    body: BodyReader,
}

impl Form {
    /// The form of a request's body.
    ///
    /// # Errors
    /// 400 where the body is no form.
    pub(super) fn new(call: &mut Call) -> Answer<Self> {
        let text = call
            .request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let malformed = || StorageError::new(Kind::BadRequest, "the body is not multipart/form-data");
        let media = MediaType::parse(text).ok_or_else(malformed)?;
        if media.essence != "multipart/form-data" {
            return Err(malformed());
        }
        let boundary = media.parameter("boundary").unwrap_or_default();
        let parser = Multipart::new(boundary, call.app.multipart).ok_or_else(malformed)?;
        Ok(Self {
            parser,
            body: call.body()?,
        })
    }

    /// The next step; `None` at the end.
    ///
    /// # Errors
    /// 400 where the body is broken, 413 where it is too long.
    pub(super) async fn next(&mut self) -> Answer<Option<Step>> {
        loop {
            let event = self.parser.next_event();
            match event.map_err(|error| StorageError::new(Kind::BadRequest, error.to_string()))? {
                Some(Event::Part(header)) => return Ok(Some(Step::Begin(Part::of(header)))),
                Some(Event::Data(bytes)) => return Ok(Some(Step::Data(bytes))),
                Some(Event::PartEnd) => return Ok(Some(Step::End)),
                Some(Event::End) => {}
                None if self.parser.is_finished() => return Ok(None),
                None => match self.body.next().await.map_err(body_error)? {
                    Some(bytes) => self.parser.push(&bytes),
                    None => self.parser.finish(),
                },
            }
        }
    }

    /// The text of a field whose beginning was just seen.
    ///
    /// # Errors
    /// As [`Self::next`]; 413 for long ones.
    pub(super) async fn text(&mut self) -> Answer<String> {
        let mut bytes = Vec::new();
        while let Some(Step::Data(data)) = self.next().await? {
            bytes.extend_from_slice(&data);
            if bytes.len() > FIELD_BYTES_MAX {
                return Err(Kind::PayloadTooLarge.into());
            }
        }
        String::from_utf8(bytes).map_err(|_| StorageError::new(Kind::BadRequest, "a field is not UTF-8"))
    }
}

/// What a broken body is told.
pub(super) fn body_error(error: BodyError) -> StorageError {
    match error {
        BodyError::TooLong => Kind::PayloadTooLarge.into(),
        error => StorageError::new(Kind::BadRequest, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named() {
        let part = |disposition: &str| {
            Part::of(PartHeader {
                content_disposition: Some(disposition.to_owned()),
                ..PartHeader::default()
            })
        };
        let named = part("form-data; name=\"data\"; filename=\"C:\\\\x\\\\report 1.pdf\"");
        assert_eq!(
            (named.name.as_str(), named.file_name.as_str()),
            ("data", "report 1.pdf")
        );
        assert_eq!(part("form-data; name=tags").name, "tags");
        assert_eq!(part("garbage"), Part::default());
    }
}
