//! The storage API of V3: images, attachments and what is made of them, under `/api/v3/storage`.
//!
//! Nothing is reachable that is not a row of [`table`]: path, permission, parameters and answer stand there, and routing
//! and the page `/api/docs/storage` come from it. A row's permission must be given in the namespace where the study is
//! seen ([`scope`]); every read is audited before its first byte. Errors have their documented numbers ([`error`]).
//!
//! | module | owns |
//! |---|---|
//! | [`table`], [`docs`], [`permissions`] | the rows; the page made of them; what their flags mean |
//! | [`error`], [`scope`], [`jobs`] | error form; addresses; work that outlives its request |
//! | [`upload`], [`multipart`], [`form`] | images on their way in |
//! | [`schema`], [`tags`], [`attributes`], [`phi`] | what a study and its images say of themselves |
//! | [`frames`], [`instance`] | pictures; files, documents and videos |
//! | [`copies`], [`regions`], [`delete`] | split, merge, clone, obscured and cropped copies; deleting |
//! | [`attachments`], [`wrap`] | documents of a study; instances made of documents, pictures and videos |
//! | [`download`], [`iso`] | ZIP files and disc images |

mod attachments;
mod attributes;
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
mod permissions;
mod phi;
mod regions;
mod schema;
mod scope;
mod table;
mod tags;
mod upload;
mod wrap;

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;

use crate::app::App;
use crate::dispatch::dispatch;

pub use jobs::{Jobs, State as JobState};
pub use multipart::Uploads;

/// Where the storage API lies.
pub const BASE: &str = "/api/v3/storage";

/// What the storage API keeps between requests.
#[derive(Default)]
pub struct Storage {
    /// Work under way.
    pub jobs: Arc<Jobs>,
    /// Uploads in parts.
    pub uploads: Arc<Uploads>,
}

/// Registers the table. To be called before anything that matches every path under `/api/v3`.
pub fn configure(app: &Arc<App>) -> impl FnOnce(&mut web::ServiceConfig) {
    let app = Arc::clone(app);
    move |config| {
        let none: &'static [&'static crate::routes::Route] = &[];
        let unknown = (format!("{BASE}/{{unknown:.*}}"), none);
        let rows = table::by_path()
            .iter()
            .map(|(path, rows)| ((*path).to_owned(), rows.as_slice()));
        for (path, rows) in rows.chain([unknown]) {
            let app = Arc::clone(&app);
            let handler = move |request: HttpRequest, payload: web::Payload| -> LocalBoxFuture<'static, HttpResponse> {
                let app = Arc::clone(&app);
                Box::pin(async move {
                    let headers = request.headers().clone();
                    let response = dispatch(app, rows, request, payload).await;
                    error::in_storage_form(&headers, response)
                })
            };
            config.service(web::resource(path).to(handler));
        }
    }
}
