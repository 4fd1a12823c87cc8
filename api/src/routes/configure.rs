//! Registers what the tables hold with the server.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;

use super::BY_PATH;
use crate::app::App;
use crate::dispatch::dispatch;
use crate::v3::{self, storage};

/// Answers every request at one path.
type Page = fn(Arc<App>, HttpRequest, web::Payload) -> LocalBoxFuture<'static, HttpResponse>;

/// Pages of API V3 that are no calls, and last the calls, which are rows of a table of their own.
const PAGES: [(&str, Page); 5] = [
    (v3::channels::PATH, |app, request, payload| {
        Box::pin(v3::dispatch::socket(app, request, payload))
    }),
    (v3::link_page::PATH, |app, request, payload| {
        Box::pin(v3::link_page::answer(app, request, payload))
    }),
    (v3::reports::PATH, |app, request, payload| {
        Box::pin(v3::reports::zip(app, request, payload))
    }),
    (v3::welcome_page::PATH, |app, request, payload| {
        Box::pin(v3::welcome_page::answer(app, request, payload))
    }),
    ("/{path:.*}", |app, request, payload| {
        Box::pin(v3::dispatch::dispatch(app, request, payload))
    }),
];

/// Registers the tables.
pub fn configure(app: Arc<App>) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        for (path, rows) in storage::resources() {
            let app = Arc::clone(&app);
            let handler = move |request: HttpRequest, payload: web::Payload| -> LocalBoxFuture<'static, HttpResponse> {
                let app = Arc::clone(&app);
                Box::pin(async move {
                    let headers = request.headers().clone();
                    storage::answered(&headers, dispatch(app, rows, request, payload).await)
                })
            };
            config.service(web::resource(path).to(handler));
        }
        for (path, rows) in BY_PATH.iter() {
            let app = Arc::clone(&app);
            let handler = move |request: HttpRequest, payload: web::Payload| -> LocalBoxFuture<'static, HttpResponse> {
                Box::pin(dispatch(Arc::clone(&app), rows, request, payload))
            };
            config.service(web::resource(*path).to(handler));
        }
        for (path, page) in PAGES {
            let app = Arc::clone(&app);
            let handler = move |request: HttpRequest, payload: web::Payload| page(Arc::clone(&app), request, payload);
            config.service(web::resource([v3::dispatch::BASE, path].concat()).to(handler));
        }
        let handler = move |request: HttpRequest, payload: web::Payload| -> LocalBoxFuture<'static, HttpResponse> {
            Box::pin(dispatch(Arc::clone(&app), &[], request, payload))
        };
        config.default_service(web::to(handler));
    }
}
