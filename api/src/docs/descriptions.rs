//! The descriptions, one row for each route name.

mod other;
mod retrieve;
mod studies;

use super::describe::{Content, Description, Reply};

const DICOM_JSON: &str = "application/dicom+json";
const DICOM_XML: &str = "application/dicom+xml";
const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";
const DICOM: &str = "application/dicom";
const MULTIPART: &str = "multipart/related";
const HTML: &str = "text/html";

const VALIDATOR: &[&str] = &["ETag"];

const NOT_MODIFIED: Reply = Reply {
    status: 304,
    about: "The client has exactly this already (`If-None-Match`).",
    content: &[],
    headers: VALIDATOR,
};

const DELETED: Reply = Reply {
    status: 204,
    about: "Gone, for ever.",
    content: &[],
    headers: &[],
};

const fn json(status: u16, about: &'static str, content: &'static [Content]) -> Reply {
    Reply {
        status,
        about,
        content,
        headers: &[],
    }
}

const ACCEPT_DICOM_JSON: &str = "-H 'Accept: application/dicom+json'";

/// All descriptions.
pub fn all() -> impl Iterator<Item = &'static Description> {
    [studies::TABLE, retrieve::TABLE, other::TABLE].into_iter().flatten()
}

/// The description of a route.
pub fn of(name: &str) -> Option<&'static Description> {
    all().find(|description| description.name == name)
}
