//! The route table: every address, its method, the permission it needs, the handler.
//!
//! Nothing is reachable that is not a row here or in the table of API V3: [`configure()`] registers these two and nothing
//! else.

mod accounts;
mod bulk;
mod capabilities;
mod changes;
pub mod commitment;
mod configure;
mod delete;
mod dicom_type;
mod exceptions;
mod extended_tags;
mod frames;
mod home;
mod instances;
mod media;
mod media_types;
pub(crate) mod metadata;
mod ranged;
mod rendered;
mod search;
mod store;
mod store_answer;
mod store_metadata;
pub(crate) mod stream;
mod study;
mod versions;
mod viewer;
mod wado_uri;

pub(crate) use accounts::body_problem;
pub use configure::configure;
pub(crate) use media_types::{media_type_of as frame_media_type, video_type};
pub(crate) use ranged::{stored as ranged_stored, value as ranged_value};

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::http::Method;
use futures_util::future::LocalBoxFuture;
use septum_core::access::Permission;

use crate::call::Call;
use crate::dispatch::Entry;
use crate::docs;
use crate::http::problem::{Answer, Problem};

/// Where a row's permission must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere: everybody may.
    Public,
    /// In the namespace of the path.
    Namespace,
    /// In at least one namespace; the handler sees those in which it is.
    Union,
    /// Everywhere.
    System,
}

/// One row.
pub struct Route {
    /// Its name in metrics and logs.
    pub name: &'static str,
    /// Its method; GET rows answer HEAD too.
    pub method: Method,
    /// Its path, variables in braces.
    pub path: String,
    /// The permission it needs.
    pub permission: Permission,
    /// Where the permission must be given.
    pub reach: Reach,
    /// Its name in the audit log.
    pub action: &'static str,
    /// Answers.
    pub handler: fn(Entry) -> LocalBoxFuture<'static, Answer>,
}

/// A handler that takes a [`Call`].
macro_rules! call {
    ($handler:path) => {
        |entry: Entry| -> LocalBoxFuture<'static, Answer> {
            Box::pin(async move {
                match entry {
                    Entry::Call(call) => {
                        let call: Call = *call;
                        $handler(call).await
                    }
                    Entry::Public(_) => Err(Problem::not_found()),
                }
            })
        }
    };
}

type Handler = fn(Entry) -> LocalBoxFuture<'static, Answer>;

const UNION: &str = "/dicomweb";
const NAMESPACE: &str = "/namespaces/{namespace}/dicomweb";
const HELD: &str = "/namespaces/{namespace}/exceptions/{exception}/dicomweb";

const STUDY: &str = "/studies/{study}";
const SERIES: &str = "/studies/{study}/series/{series}";
const INSTANCE: &str = "/studies/{study}/series/{series}/instances/{instance}";

static TABLE: LazyLock<Vec<Route>> = LazyLock::new(table);

static BY_PATH: LazyLock<Vec<(&'static str, Vec<&'static Route>)>> = LazyLock::new(|| {
    let mut paths: BTreeMap<&'static str, Vec<&'static Route>> = BTreeMap::new();
    for route in TABLE.iter() {
        paths.entry(route.path.as_str()).or_default().push(route);
    }
    paths.into_iter().collect()
});

/// Every row.
pub fn all() -> &'static [Route] {
    &TABLE
}

fn table() -> Vec<Route> {
    use Permission as P;
    let mut rows = vec![Route {
        name: "home",
        method: Method::GET,
        path: "/".to_owned(),
        permission: P::StatusView,
        reach: Reach::Public,
        action: "home.read",
        handler: |entry| Box::pin(home::page(entry)),
    }];
    let mut add = |name, method: Method, path: String, permission, reach, action, handler: Handler| {
        rows.push(Route {
            name,
            method,
            path,
            permission,
            reach,
            action,
            handler,
        });
    };
    for (base, reach) in [
        (UNION, Reach::Union),
        (NAMESPACE, Reach::Namespace),
        (HELD, Reach::Namespace),
    ] {
        let get: [(&'static str, String, &'static str, Handler); 18] = [
            ("retrieve_study", STUDY.into(), "study.read", call!(study::retrieve)),
            ("retrieve_series", SERIES.into(), "series.read", call!(study::retrieve)),
            (
                "retrieve_instance",
                INSTANCE.into(),
                "instance.read",
                call!(instances::retrieve),
            ),
            (
                "retrieve_study_metadata",
                format!("{STUDY}/metadata"),
                "study.read-metadata",
                call!(metadata::of_study),
            ),
            (
                "retrieve_series_metadata",
                format!("{SERIES}/metadata"),
                "series.read-metadata",
                call!(metadata::of_study),
            ),
            (
                "retrieve_instance_metadata",
                format!("{INSTANCE}/metadata"),
                "instance.read-metadata",
                call!(metadata::of_instance),
            ),
            (
                "retrieve_frames",
                format!("{INSTANCE}/frames/{{frames}}"),
                "instance.read-frames",
                call!(frames::retrieve),
            ),
            (
                "retrieve_bulk_data",
                format!("{INSTANCE}/bulkdata/{{bulk:.*}}"),
                "instance.read-bulk-data",
                call!(frames::bulk_data),
            ),
            (
                "render_instance",
                format!("{INSTANCE}/rendered"),
                "instance.render",
                call!(rendered::instance),
            ),
            (
                "render_frames",
                format!("{INSTANCE}/frames/{{frames}}/rendered"),
                "instance.render",
                call!(rendered::instance),
            ),
            (
                "render_series",
                format!("{SERIES}/rendered"),
                "series.render",
                call!(rendered::study),
            ),
            (
                "render_study",
                format!("{STUDY}/rendered"),
                "study.render",
                call!(rendered::study),
            ),
            (
                "thumbnail_of_instance",
                format!("{INSTANCE}/thumbnail"),
                "instance.render",
                call!(rendered::instance_thumbnail),
            ),
            (
                "thumbnail_of_frames",
                format!("{INSTANCE}/frames/{{frames}}/thumbnail"),
                "instance.render",
                call!(rendered::instance_thumbnail),
            ),
            (
                "thumbnail_of_series",
                format!("{SERIES}/thumbnail"),
                "series.render",
                call!(rendered::study_thumbnail),
            ),
            (
                "thumbnail_of_study",
                format!("{STUDY}/thumbnail"),
                "study.render",
                call!(rendered::study_thumbnail),
            ),
            (
                "list_versions",
                format!("{INSTANCE}/versions"),
                "instance.list-versions",
                call!(versions::list),
            ),
            (
                "search_studies",
                "/studies".into(),
                "study.search",
                call!(search::studies),
            ),
        ];
        let bulk: Handler = call!(bulk::retrieve);
        let bulk = bulk::ROWS.map(|(name, path, action)| (name, path.to_owned(), action, bulk));
        let permission = if base == HELD { P::ExceptionView } else { P::StudyView };
        for (name, path, action, handler) in get.into_iter().chain(bulk) {
            let is_search = name == "search_studies";
            if is_search && base == HELD {
                continue;
            }
            let permission = if is_search { P::StudyBrowse } else { permission };
            add(
                name,
                Method::GET,
                format!("{base}{path}"),
                permission,
                reach,
                action,
                handler,
            );
        }
        if base == HELD {
            continue;
        }
        add(
            "retrieve_by_uri",
            Method::GET,
            format!("{base}/wado"),
            P::StudyView,
            reach,
            "instance.read",
            call!(wado_uri::retrieve),
        );
        for (method, path) in [
            (Method::OPTIONS, ""),
            (Method::OPTIONS, "/"),
            (Method::GET, ""),
            (Method::GET, "/"),
        ] {
            add(
                "describe_service",
                method,
                format!("{base}{path}"),
                P::StudyBrowse,
                reach,
                "service.describe",
                call!(capabilities::describe),
            );
        }
        let searches: [(&'static str, String, Handler); 5] = [
            ("search_series", "/series".into(), call!(search::series)),
            ("search_series", format!("{STUDY}/series"), call!(search::series)),
            ("search_instances", "/instances".into(), call!(search::instances)),
            (
                "search_instances",
                format!("{STUDY}/instances"),
                call!(search::instances),
            ),
            (
                "search_instances",
                format!("{SERIES}/instances"),
                call!(search::instances),
            ),
        ];
        for (name, path, handler) in searches {
            add(
                name,
                Method::GET,
                format!("{base}{path}"),
                P::StudyBrowse,
                reach,
                "study.search",
                handler,
            );
        }
        for path in ["/studies", STUDY] {
            add(
                "store",
                Method::POST,
                format!("{base}{path}"),
                P::StudyUpload,
                reach,
                "study.store",
                call!(store::store),
            );
        }
        add(
            "request_commitment",
            Method::POST,
            format!("{base}/commitment-requests/{{transaction}}"),
            P::StudyUpload,
            reach,
            "commitment.request",
            call!(commitment::request),
        );
        add(
            "read_commitment",
            Method::GET,
            format!("{base}/commitment-requests/{{transaction}}"),
            P::StudyUpload,
            reach,
            "commitment.read",
            call!(commitment::result_of),
        );
        let deletes: [(&'static str, &str, Handler); 3] = [
            ("delete_study", STUDY, call!(delete::study)),
            ("delete_series", SERIES, call!(delete::series)),
            ("delete_instance", INSTANCE, call!(delete::instance)),
        ];
        for (name, path, handler) in deletes {
            add(
                name,
                Method::DELETE,
                format!("{base}{path}"),
                P::StudyDelete,
                reach,
                "study.delete",
                handler,
            );
        }
    }
    let rest: [(&'static str, Method, &str, P, Reach, &'static str, Handler); 16] = [
        (
            "list_namespaces",
            Method::GET,
            "/namespaces",
            P::StudyBrowse,
            Reach::Union,
            "namespace.list",
            call!(accounts::namespaces),
        ),
        (
            "list_accounts",
            Method::GET,
            "/accounts",
            P::InstallationAccounts,
            Reach::System,
            "account.list",
            call!(accounts::list),
        ),
        (
            "create_account",
            Method::POST,
            "/accounts",
            P::InstallationAccounts,
            Reach::System,
            "account.create",
            call!(accounts::create),
        ),
        (
            "create_namespace",
            Method::POST,
            "/accounts/{account}/namespaces",
            P::InstallationAccounts,
            Reach::System,
            "namespace.create",
            call!(accounts::create_namespace),
        ),
        (
            "list_extended_tags",
            Method::GET,
            "/extended-tags",
            P::InstallationExtendedTags,
            Reach::System,
            "extendedtag.list",
            call!(extended_tags::list),
        ),
        (
            "add_extended_tag",
            Method::POST,
            "/extended-tags",
            P::InstallationExtendedTags,
            Reach::System,
            "extendedtag.create",
            call!(extended_tags::add),
        ),
        (
            "remove_extended_tag",
            Method::DELETE,
            "/extended-tags/{tag}",
            P::InstallationExtendedTags,
            Reach::System,
            "extendedtag.delete",
            call!(extended_tags::remove),
        ),
        (
            "list_changes",
            Method::GET,
            "/namespaces/{namespace}/changes",
            P::ChangeView,
            Reach::Namespace,
            "changes.read",
            call!(changes::list),
        ),
        (
            "list_exceptions",
            Method::GET,
            "/namespaces/{namespace}/exceptions",
            P::ExceptionView,
            Reach::Namespace,
            "exceptions.read",
            call!(exceptions::list),
        ),
        (
            "accept_exception",
            Method::POST,
            "/namespaces/{namespace}/exceptions/{exception}/accept",
            P::ExceptionResolve,
            Reach::Namespace,
            "exceptions.accept",
            call!(exceptions::accept),
        ),
        (
            "move_exception",
            Method::POST,
            "/namespaces/{namespace}/exceptions/{exception}/move",
            P::ExceptionResolve,
            Reach::Namespace,
            "exceptions.move",
            call!(exceptions::move_to),
        ),
        (
            "reject_exception",
            Method::DELETE,
            "/namespaces/{namespace}/exceptions/{exception}",
            P::ExceptionResolve,
            Reach::Namespace,
            "exceptions.reject",
            call!(exceptions::reject),
        ),
        (
            "open_viewer",
            Method::GET,
            "/viewer",
            P::StudyBrowse,
            Reach::Union,
            "viewer.open",
            call!(viewer::open),
        ),
        (
            "view_page",
            Method::GET,
            "/viewer/namespaces/{namespace}",
            P::StudyBrowse,
            Reach::Namespace,
            "viewer.open",
            call!(viewer::page),
        ),
        (
            "view_page",
            Method::GET,
            "/viewer/namespaces/{namespace}/{page:.*}",
            P::StudyBrowse,
            Reach::Namespace,
            "viewer.open",
            call!(viewer::page),
        ),
        (
            "view_file",
            Method::GET,
            "/viewer/{file:.*}",
            P::StudyBrowse,
            Reach::Union,
            "viewer.open",
            call!(viewer::file),
        ),
    ];
    for (name, method, path, permission, reach, action, handler) in rest {
        add(name, method, path.to_owned(), permission, reach, action, handler);
    }
    let documents: [(&'static str, &str, &'static str, Handler); 5] = [
        ("docs", "/api/docs", "docs.read", |entry| {
            Box::pin(docs::api_page(entry))
        }),
        ("openapi", "/api/docs/openapi.json", "docs.read-openapi", |entry| {
            Box::pin(docs::openapi_json(entry))
        }),
        (
            "conformance",
            "/api/docs/conformance",
            "docs.read-conformance",
            |entry| Box::pin(docs::conformance_page(entry)),
        ),
        ("calls_docs", "/api/docs/v3", "docs.read-calls", |entry| {
            Box::pin(docs::calls_page(entry))
        }),
        ("storage_docs", "/api/docs/storage", "docs.read-storage", |entry| {
            Box::pin(docs::storage_page(entry))
        }),
    ];
    for (name, path, action, handler) in documents {
        let method = Method::GET;
        add(
            name,
            method,
            path.to_owned(),
            P::StatusView,
            Reach::Public,
            action,
            handler,
        );
    }
    rows
}

#[cfg(test)]
mod tests;
