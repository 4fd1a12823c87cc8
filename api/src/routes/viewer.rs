//! `/viewer`: the viewer's page, rooted at one namespace, and its files.
//!
//! | address | answer |
//! |---|---|
//! | `/viewer?StudyInstanceUIDs=…` | redirects into the one namespace that holds all of these studies |
//! | `/viewer?namespace=ID&…` | redirects into that namespace |
//! | `/viewer` | redirects into the only namespace the caller may see |
//! | `/viewer/namespaces/{namespace}/…` | the page, whatever follows: the viewer reads the rest of the address itself |
//! | `/viewer/{file}` | a file of the viewer |
//!
//! Where several namespaces come into question, they are listed to choose from, never guessed. The page's address names
//! the namespace, so the viewer asks nothing but that namespace for studies and for priors.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName};
use actix_web::http::{StatusCode, header::HeaderValue};
use septum_core::ids::{NamespaceId, StudyInstanceUid};
use septum_engine::EngineError;
use septum_engine::accounts::{Namespace, NamespaceKind};
use septum_engine::retrieve::StudyRef;

use super::stream::{self, Break, Sink, send};
use crate::call::{Call, header_value};
use crate::http::escape::escaped;
use crate::http::problem::{Answer, Problem};
use crate::http::query_pairs;
use crate::viewer::{File, PAGE, policy};

/// Most studies opened together.
const STUDIES_MAX: usize = 64;
/// How long a browser keeps a file whose name changes with its content, and asks no more.
const KEPT: &str = "private, max-age=86400, immutable";
/// For all other files: kept, and asked for each time whether they changed.
const REVALIDATED: &str = "private, no-cache";

/// `GET /viewer`: into a namespace.
pub(super) async fn open(call: Call) -> Answer {
    if call.app.viewer.is_none() {
        return Err(not_installed());
    }
    let wanted = Wanted::of(&call)?;
    call.audit_namespaces().await?;
    let namespaces = candidates(&call, &wanted)?;
    match namespaces.as_slice() {
        [] => Err(Problem::not_found()),
        [one] => Ok(HttpResponse::Found()
            .insert_header((header::LOCATION, header_value(&wanted.page_of(one.id))))
            .finish()),
        several => Ok(choice(&wanted, several)),
    }
}

/// `GET /viewer/namespaces/{namespace}/…`: the page.
pub(super) async fn page(call: Call) -> Answer {
    call.audit_namespaces().await?;
    let page = call.app.viewer.as_ref().and_then(|files| files.get(PAGE)).cloned();
    send_file(&call, page.ok_or_else(not_installed)?)
}

/// `GET /viewer/{file}`.
pub(super) async fn file(call: Call) -> Answer {
    let name = call.path("file");
    if name.is_empty() {
        return open(call).await;
    }
    let files = call.app.viewer.as_ref().ok_or_else(not_installed)?;
    let file = files.get(name).filter(|_| name != PAGE).cloned();
    send_file(&call, file.ok_or_else(Problem::not_found)?)
}

fn not_installed() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-viewer",
        "no viewer is installed here; see viewer.dist_dir",
    )
}

/// What an address of the viewer asks for.
struct Wanted {
    namespace: Option<NamespaceId>,
    studies: Vec<StudyInstanceUid>,
    /// The query without the namespace, as it came.
    rest: String,
}

impl Wanted {
    fn of(call: &Call) -> Answer<Self> {
        let mut wanted = Self {
            namespace: None,
            studies: Vec::new(),
            rest: without_namespace(call.request.query_string()),
        };
        for (name, value) in query_pairs(&call.request) {
            match name.as_str() {
                "namespace" => wanted.namespace = Some(NamespaceId::parse(&value).ok_or_else(Problem::not_found)?),
                "StudyInstanceUIDs" | "studyInstanceUIDs" => {
                    for uid in value.split(',').filter(|uid| !uid.is_empty()) {
                        let uid = StudyInstanceUid::parse(uid).map_err(|_| {
                            Problem::bad_request("`StudyInstanceUIDs` holds something that is not a UID")
                        })?;
                        wanted.studies.push(uid);
                    }
                }
                _ => {}
            }
        }
        if wanted.studies.len() > STUDIES_MAX {
            return Err(Problem::bad_request("too many studies to open together"));
        }
        Ok(wanted)
    }

    /// The page's address in a namespace: its list of studies, or the studies asked for.
    fn page_of(&self, namespace: NamespaceId) -> String {
        let page = if self.studies.is_empty() { "" } else { "viewer" };
        let mark = if self.rest.is_empty() { "" } else { "?" };
        format!("/viewer/namespaces/{namespace}/{page}{mark}{}", self.rest)
    }
}

fn without_namespace(query: &str) -> String {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("namespace=") && *pair != "namespace")
        .collect();
    kept.join("&")
}

/// The namespaces that come into question, out of those the caller may see.
fn candidates(call: &Call, wanted: &Wanted) -> Answer<Vec<Arc<Namespace>>> {
    let mut found = Vec::new();
    for namespace in &call.namespaces {
        let holds = match wanted.namespace {
            Some(id) => namespace.id == id,
            None => holds_all(call, namespace, &wanted.studies)?,
        };
        if holds {
            found.push(Arc::clone(namespace));
        }
    }
    // Where nothing is named, people's own namespaces come into question only where there is nothing else.
    let is_shared = |namespace: &Arc<Namespace>| !matches!(namespace.kind, NamespaceKind::Personal(_));
    if wanted.namespace.is_none() && wanted.studies.is_empty() && found.iter().any(is_shared) {
        found.retain(is_shared);
    }
    Ok(found)
}

fn holds_all(call: &Call, namespace: &Namespace, studies: &[StudyInstanceUid]) -> Answer<bool> {
    for uid in studies {
        match StudyRef::find(call.services(), namespace, uid.as_str()) {
            Ok(_) => {}
            Err(EngineError::NotFound) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// A page to choose a namespace from, without scripts.
fn choice(wanted: &Wanted, namespaces: &[Arc<Namespace>]) -> HttpResponse {
    let mut items = String::new();
    for namespace in namespaces {
        let name = match namespace.kind {
            NamespaceKind::Personal(_) => "Somebody's own",
            _ => &namespace.name,
        };
        let (address, name) = (escaped(&wanted.page_of(namespace.id)), escaped(name));
        items.push_str(&format!("<li><a href=\"{address}\">{name}</a></li>\n"));
    }
    let body = include_str!("viewer_choice.html").replace("{items}", &items);
    HttpResponse::build(StatusCode::MULTIPLE_CHOICES)
        .insert_header((header::CONTENT_SECURITY_POLICY, policy::OTHER))
        .content_type("text/html; charset=utf-8")
        .body(body)
}

fn send_file(call: &Call, file: File) -> Answer {
    let mut response = HttpResponse::Ok();
    let kept = if file.is_named_by_content { KEPT } else { REVALIDATED };
    // Compressed or not, it is the same file: one tag, so a weak one.
    let etag = format!("W/{}", file.etag);
    if let Some(mut unchanged) = call.not_modified(&etag) {
        unchanged
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
        return Ok(unchanged);
    }
    response
        .insert_header((header::ETAG, header_value(&etag)))
        .insert_header((header::CACHE_CONTROL, kept))
        .insert_header((header::VARY, "Accept-Encoding"))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy::of(file.media_type)))
        // No page of another site holds a window of this one.
        .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .content_type(file.media_type);
    if !file.is_compressed {
        return Ok(response.body(file.bytes));
    }
    if takes_gzip(call) {
        return Ok(response
            .insert_header((header::CONTENT_ENCODING, "gzip"))
            .body(file.bytes));
    }
    Ok(response.body(stream::body(None, |sink: Sink| async move {
        for piece in file.plain_pieces() {
            let piece = piece.map_err(|_| EngineError::Corrupt("viewer file"))?;
            send(&sink, piece).await?;
        }
        Ok::<(), Break>(())
    })))
}

/// Whether the client takes gzip (RFC 9110 section 12.5.3); a weight of 0 is a no.
fn takes_gzip(call: &Call) -> bool {
    call.request
        .headers()
        .get_all(header::ACCEPT_ENCODING)
        .filter_map(|value| value.to_str().ok())
        .any(lists_gzip)
}

fn lists_gzip(list: &str) -> bool {
    list.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().trim_start_matches("q=").parse::<f32>().unwrap_or(0.0);
        (name.trim().eq_ignore_ascii_case("gzip") || name.trim() == "*") && weight > 0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_understood() {
        for (list, expected) in [
            ("gzip, deflate, br", true),
            ("br;q=1, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("", false),
            ("*", true),
        ] {
            assert_eq!(lists_gzip(list), expected, "{list}");
        }
    }

    #[test]
    fn the_page_keeps_the_query_but_for_the_namespace() {
        let namespace = NamespaceId::parse(&"0a".repeat(16)).expect("is an id");
        for (query, studies, expected) in [
            ("", &[][..], ""),
            ("namespace=x", &[], ""),
            ("namespace=x&a=%2F", &[], "?a=%2F"),
            (
                "StudyInstanceUIDs=1.2&namespace=x",
                &["1.2"],
                "viewer?StudyInstanceUIDs=1.2",
            ),
        ] {
            let wanted = Wanted {
                namespace: None,
                studies: studies
                    .iter()
                    .map(|uid| StudyInstanceUid::parse(uid).expect("is a UID"))
                    .collect(),
                rest: without_namespace(query),
            };
            let page = wanted.page_of(namespace);
            assert_eq!(page, format!("/viewer/namespaces/{namespace}/{expected}"), "{query}");
        }
    }

    #[test]
    fn names_cannot_leave_their_place() {
        assert_eq!(escaped("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}
