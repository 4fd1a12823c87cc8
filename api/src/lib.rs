//! # septum-api: Septum's doors
//!
//! DICOMweb over TLS, the command line, and the one place where everything is wired together.
//!
//! ```text
//! connection ─► server (TLS, limits) ─► dispatch (who, may they, audit) ─► routes ─► septum-engine
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | settings, their defaults and checks |
//! | [`http`] | what HTTP needs whatever it is about: media types, multipart, problems, addresses |
//! | [`auth`] | passwords and who a request comes from |
//! | [`app`], [`call`], [`dispatch`] | shared state; one request; the one way to a handler |
//! | [`hidden`] | study fields that a caller's roles hide |
//! | [`docs`] | the routes described: OpenAPI, a page, the conformance statement |
//! | [`routes`] | the route table and its handlers |
//! | [`mail`] | mail that goes out |
//! | [`stow`] | instances made of metadata and bulk data |
//! | [`tls`] | certificates |
//! | [`v3`] | the vendor's public API V3 |
//! | [`viewer`] | the viewer's files and what its page may do |
//! | [`server`], [`admin`] | the two listeners and their life |
//! | [`first_start`] | the first administrator, the demo |
//! | [`commands`] | the command line |
//! | [`import`], [`export`] | bulk upload to a server, and download |
//! | [`remote`] | a server at the other end, as these two talk to it |
//!
//! Deliberately absent: what is true without HTTP (septum-engine), anything pure (septum-core).

pub mod admin;
pub mod app;
pub mod auth;
pub mod call;
pub mod commands;
pub mod config;
pub mod dispatch;
pub mod docs;
pub mod export;
pub mod first_start;
pub mod hidden;
pub mod http;
pub mod import;
pub mod logging;
pub mod mail;
pub mod remote;
pub mod routes;
pub mod server;
pub mod stow;
pub mod tls;
pub mod v3;
pub mod viewer;
