//! The attributes that searches are extended by: listing them with how far the work is, adding, removing.

use actix_web::HttpResponse;
use septum_core::audit::ObjectRef;
use septum_core::ids::DocumentId;
use septum_engine::extended::{AddError, ExtendedTag, Progress};
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::read;
use crate::call::Call;
use crate::http::problem::{Answer, Problem};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewExtendedTag {
    path: String,
    #[serde(default)]
    private_creator: Option<String>,
}

/// `GET /extended-tags`.
pub(super) async fn list(call: Call) -> Answer {
    call.audit(ObjectRef::System, None).await?;
    let extended = &call.services().extended;
    let (tags, progress) = (extended.tags(), extended.progress());
    let shown: Vec<Value> = tags.iter().map(|tag| shown(tag, progress)).collect();
    Ok(HttpResponse::Ok().json(json!({
        "extendedTags": shown,
        "progress": {
            "studies": progress.num_studies,
            "done": progress.num_done,
            "failed": progress.num_failed,
            "complete": progress.is_complete,
        },
    })))
}

/// `POST /extended-tags` with `{"path": …, "privateCreator": …}`.
pub(super) async fn add(mut call: Call) -> Answer {
    let NewExtendedTag { path, private_creator } = read(&mut call).await?;
    let (services, source) = (call.services(), call.source());
    let added = services
        .extended
        .add(services, &path, private_creator.as_deref(), &source);
    let tag = added.await.map_err(|error| match error {
        AddError::Attribute(error) => Problem::bad_request(error.to_string()),
        AddError::Engine(error) => error.into(),
    })?;
    Ok(HttpResponse::Created().json(shown(&tag, services.extended.progress())))
}

/// `DELETE /extended-tags/{tag}`.
pub(super) async fn remove(call: Call) -> Answer {
    let id = DocumentId::parse(call.path("tag")).ok_or_else(Problem::not_found)?;
    let services = call.services();
    services.extended.remove(services, id, &call.source()).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn shown(tag: &ExtendedTag, progress: Progress) -> Value {
    json!({
        "id": tag.id.to_string(),
        "path": tag.attribute.path(),
        "vr": tag.attribute.vr(),
        "privateCreator": tag.private_creator,
        "status": if progress.is_complete { "ready" } else { "building" },
    })
}
