//! The exception list: studies held because their UID belongs to another patient (invariant 10).

use actix_web::HttpResponse;
use septum_core::access::{Object, Permission, authorize};
use septum_core::ids::NamespaceId;
use septum_engine::exceptions;
use septum_engine::retrieve::metadata::with_study_address;
use serde::Deserialize;
use serde_json::json;

use super::accounts::read;
use crate::call::Call;
use crate::http::problem::{Answer, Problem};

/// `GET /namespaces/{namespace}/exceptions`. Each names the address of a DICOMweb service that shows it and nothing else.
pub(super) async fn list(call: Call) -> Answer {
    let namespace = call.namespace()?;
    call.audit_namespaces().await?;
    let held = exceptions::list(call.services(), namespace)?;
    let base = format!("{}/namespaces/{}/exceptions", call.base_url, namespace.id);
    let shown: Vec<_> = held
        .into_iter()
        .map(|held| {
            let url = format!("{base}/{}/dicomweb/studies/{}", held.id, held.study_uid);
            let shown = json!({
                "id": held.id,
                "reason": "the study UID belongs to another patient",
                "studyInstanceUID": held.study_uid,
                "attributes": held.attributes,
                "url": url,
            });
            with_study_address(&shown.to_string(), &url)
        })
        .collect();
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .body(format!("{{\"exceptions\":[{}]}}", shown.join(","))))
}

/// `POST /namespaces/{namespace}/exceptions/{exception}/accept`: both patients are one, and the held instances go into
/// the study whose UID they have.
pub(super) async fn accept(call: Call) -> Answer {
    let namespace = call.namespace()?;
    let num_instances =
        exceptions::accept(&call.app.archive, namespace, call.path("exception"), &call.source()).await?;
    Ok(HttpResponse::Ok().json(json!({ "instances": num_instances })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    namespace: String,
}

/// `POST /namespaces/{namespace}/exceptions/{exception}/move` with `{"namespace": …}`: the held instances go into another
/// namespace, in which the caller may store.
pub(super) async fn move_to(mut call: Call) -> Answer {
    let Target { namespace } = read(&mut call).await?;
    let target = NamespaceId::parse(&namespace).ok_or_else(|| Problem::bad_request("`namespace` is not an id"))?;
    let granted = authorize(
        Some(&call.principal),
        Permission::StudyUpload,
        Object::Namespace(target),
    );
    // What may not be stored into looks like what is not there.
    let _granted = granted.map_err(|_| Problem::not_found())?;
    let into = call.services().accounts.namespace(target)?;
    let namespace = call.namespace()?;
    let exception = call.path("exception");
    let num_instances = exceptions::move_to(&call.app.archive, namespace, exception, &into, &call.source()).await?;
    Ok(HttpResponse::Ok().json(json!({ "instances": num_instances })))
}

/// `DELETE /namespaces/{namespace}/exceptions/{exception}`: the held study is erased.
pub(super) async fn reject(call: Call) -> Answer {
    let namespace = call.namespace()?;
    call.may_change()?;
    exceptions::reject(call.services(), namespace, call.path("exception"), &call.source()).await?;
    Ok(HttpResponse::NoContent().finish())
}
