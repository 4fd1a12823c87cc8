//! The exception list: studies held because their UID belongs to another patient (invariant 10).

use actix_web::HttpResponse;
use septum_engine::exceptions;
use serde_json::json;

use crate::call::Call;
use crate::http::problem::Answer;

/// `GET /namespaces/{namespace}/exceptions`. Each names the address of a DICOMweb service that shows it and nothing else.
pub(super) async fn list(call: Call) -> Answer {
    let namespace = call.namespace()?;
    call.audit_namespaces().await?;
    let held = exceptions::list(call.services(), namespace)?;
    let base = format!("{}/namespaces/{}/exceptions", call.base_url, namespace.id);
    let shown: Vec<_> = held
        .into_iter()
        .map(|held| {
            json!({
                "id": held.id,
                "reason": "the study UID belongs to another patient",
                "studyInstanceUID": held.study_uid,
                "attributes": held.attributes,
                "url": format!("{base}/{}/dicomweb/studies/{}", held.id, held.study_uid),
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "exceptions": shown })))
}

/// `DELETE /namespaces/{namespace}/exceptions/{exception}`: the held study is erased.
pub(super) async fn reject(call: Call) -> Answer {
    let namespace = call.namespace()?;
    exceptions::reject(call.services(), namespace, call.path("exception"), &call.source()).await?;
    Ok(HttpResponse::NoContent().finish())
}
