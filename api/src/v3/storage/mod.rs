//! The storage API of V3: images, attachments and what is made of them, under `/api/v3/storage`.
//!
//! Nothing is reachable that is not a row of [`table`]: path, permission, parameters and answer stand there, and routing
//! and the page `/api/docs/storage` come from it. A row's permission must be given in the namespace where the study is
//! seen ([`scope`]); every read is audited before its first byte. Errors have their documented numbers ([`error`]).
//!
//! | module | owns |
//! |---|---|
//! | [`table`], [`docs`] | the rows; the page made of them |
//! | [`error`], [`scope`], [`jobs`] | error form; addresses; work that outlives its request |
//! | [`upload`], [`multipart`], [`form`] | images on their way in |
//! | [`schema`], [`tags`], [`attributes`], [`phi`] | what a study and its images say of themselves |
//! | [`frames`], [`instance`] | pictures; files, documents and videos |
//! | [`copies`], [`regions`], [`calls`], [`delete`] | split, merge, clone, obscured and cropped copies; deleting |
//! | [`attachments`], [`wrap`] | documents of a study; instances made of documents, pictures and videos |
//! | [`download`], [`iso`] | ZIP files and disc images |

mod attachments;
mod attributes;
mod calls;
mod copies;
mod delete;
pub(crate) mod docs;
mod download;
mod error;
mod form;
mod frames;
mod instance;
mod iso;
mod jobs;
mod multipart;
mod phi;
mod regions;
mod schema;
mod scope;
mod table;
mod tags;
mod upload;
mod wrap;

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::HeaderMap;

use super::channels::Hub;
use crate::routes::Route;

pub use calls::{clone, split};
pub(crate) use download::is_overrides;
pub use jobs::{Jobs, get as job};
pub use multipart::Uploads;

/// Where the storage API lies.
pub const BASE: &str = "/api/v3/storage";

/// What the storage API keeps between requests.
pub struct Storage {
    /// Work under way.
    pub jobs: Arc<Jobs>,
    /// Uploads in parts.
    pub uploads: Arc<Uploads>,
}

impl Storage {
    /// Nothing yet; the ends of jobs are told to `channels`.
    pub fn new(channels: Arc<Hub>) -> Self {
        Self {
            jobs: Arc::new(Jobs::new(channels)),
            uploads: Arc::default(),
        }
    }
}

/// The resources of the table with their rows; the last one is for every other path, and has none. To be registered before
/// anything that matches every path under `/api/v3`.
pub fn resources() -> impl Iterator<Item = (String, &'static [&'static Route])> {
    let none: &'static [&'static Route] = &[];
    let rows = table::by_path()
        .iter()
        .map(|(path, rows)| ((*path).to_owned(), rows.as_slice()));
    rows.chain([(format!("{BASE}/{{unknown:.*}}"), none)])
}

/// What the dispatcher answered to a request with these headers, in this API's form.
pub fn answered(headers: &HeaderMap, response: HttpResponse) -> HttpResponse {
    error::in_storage_form(headers, response)
}
