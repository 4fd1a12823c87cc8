//! The change feed.

use actix_web::HttpResponse;
use septum_engine::EngineError;
use septum_engine::feed::{Numbered, PAGE_CHANGES_MAX, changes};
use serde_json::{Value, json};

use super::versions::rfc3339;
use crate::call::Call;
use crate::http::problem::{Answer, Problem};

/// `GET /namespaces/{namespace}/changes?since=CURSOR&limit=N`: what happened behind the cursor, at most `limit` changes.
/// `next` is the cursor of the next page; it equals `since` when there is nothing new.
pub(super) async fn list(call: Call) -> Answer {
    let namespace = call.namespace()?;
    let limit = match call.query("limit") {
        None => PAGE_CHANGES_MAX,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_request("the parameter `limit` is not a whole number"))?,
    };
    let since = call.query("since");
    call.audit_namespaces().await?;
    let page = changes(call.services(), namespace, since.as_deref(), limit).map_err(|error| match error {
        EngineError::Conflict(_) => Problem::bad_request("the parameter `since` is not a cursor of this feed"),
        error => error.into(),
    })?;
    let changes = page.changes.iter().map(|Numbered { sequence, change }| {
        let mut shown = json!({
            "sequence": sequence,
            "kind": change.kind,
            "time": rfc3339(change.time_ms),
            "studyInstanceUID": change.study_uid,
        });
        if let Value::Object(members) = &mut shown {
            for (name, uid) in [
                ("seriesInstanceUID", &change.series_uid),
                ("sopInstanceUID", &change.instance_uid),
            ] {
                if let Some(uid) = uid {
                    members.insert(name.to_owned(), uid.as_str().into());
                }
            }
        }
        shown
    });
    Ok(HttpResponse::Ok().json(json!({ "changes": changes.collect::<Vec<_>>(), "next": page.next })))
}
