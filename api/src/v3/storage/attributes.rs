//! What images and studies say of themselves: all tags, PHI fields, and the metadata of DICOMweb.

use std::sync::Arc;

use actix_web::HttpResponse;
use bytes::Bytes;
use septum_core::dicom::json::read_stored;
use septum_engine::EngineError;
use septum_engine::retrieve::stream::header_of;
use septum_engine::retrieve::{InstanceRef, metadata};
use septum_engine::search::study_map;
use septum_engine::services::Services;
use serde_json::{Map, Value, json};

use super::error::{Answer, Kind, StorageError};
use super::tags::{self, Shown};
use super::{phi, scope};
use crate::call::Call;
use crate::routes::stream::{self, Break, send};

/// What a request wants to see.
fn shown(call: &Call) -> Answer<Shown> {
    let malformed = |name: &str| StorageError::new(Kind::BadRequest, format!("the parameter {name} is malformed"));
    let groups = scope::list(call, "groups").unwrap_or_default();
    let include = scope::list(call, "include_tags").unwrap_or_default();
    Ok(Shown {
        groups: tags::groups(&groups).ok_or_else(|| malformed("groups"))?,
        tags: tags::tag_list(&include).ok_or_else(|| malformed("include_tags"))?,
        is_named_only: scope::flag(call, "exclude_unnamed"),
        has_all_values: scope::flag(call, "all_dicom_values"),
    })
}

async fn tags_of(services: &Arc<Services>, instance: &InstanceRef, shown: &Shown) -> septum_engine::Result<Value> {
    let header = header_of(services, instance).await?;
    let (encoding, shown) = (instance.record.encoding.into(), shown.clone());
    let list = services
        .compute
        .run(move || tags::of_header(&header, encoding, &shown))
        .await?
        .ok_or_else(|| EngineError::NotAcceptable("the header of this instance cannot be read".to_owned()))?;
    Ok(json!({ "tags": list }))
}

/// `GET …/image/{image}/version/{version}/json` and `…/attribute`.
pub(super) async fn of_image(call: Call) -> Answer {
    let shown = shown(&call)?;
    let seen = scope::study(&call).await?;
    let image = scope::image(&call, &seen.study)?;
    call.audit_study(&seen.study).await?;
    let tags = tags_of(call.services(), &image, &shown).await?;
    Ok(HttpResponse::Ok().json(tags))
}

/// `GET /study/{namespace}/{study}/json`.
pub(super) async fn of_study(call: Call) -> Answer {
    let shown = shown(&call)?;
    let seen = scope::study(&call).await?;
    let series_uid = scope::parameter(&call, "series_uid");
    call.audit_study(&seen.study).await?;
    let places = places(&call, &seen, series_uid.as_deref()).await?;
    if places.is_empty() {
        return Err(match series_uid {
            Some(uid) => StorageError::from(Kind::SeriesNotFound).with("series_uid", uid),
            None => Kind::NoImages.into(),
        });
    }
    let services = Arc::clone(call.services());
    let body = stream::body(None, move |sink| async move {
        let mut separator = "[";
        for place in places {
            let image = seen
                .study
                .version(&services, place.series, place.instance, place.version)?;
            let tags = tags_of(&services, &image, &shown).await?;
            send(&sink, Bytes::from(format!("{separator}{tags}"))).await?;
            separator = ",";
        }
        send(&sink, Bytes::from_static(b"]")).await?;
        Ok::<(), Break>(())
    });
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// Where an image lies: small, so that a whole study's fit into memory.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) series: septum_core::seal::Token,
    pub(super) instance: septum_core::seal::Token,
    pub(super) version: septum_core::ids::VersionId,
}

/// The current images of a study, or of one series.
pub(super) async fn places(call: &Call, seen: &scope::Seen, series_uid: Option<&str>) -> Answer<Vec<Place>> {
    let (services, study) = (Arc::clone(call.services()), seen.study.clone());
    let series_uid = series_uid.map(str::to_owned);
    let gathered = tokio::task::spawn_blocking(move || -> septum_engine::Result<Vec<Place>> {
        let place = |image: septum_engine::Result<InstanceRef>| {
            image.map(|image| Place {
                series: image.series,
                instance: image.instance,
                version: image.version,
            })
        };
        study.instances(&services, series_uid.as_deref()).map(place).collect()
    });
    Ok(gathered.await.map_err(|_| EngineError::Panicked)??)
}

/// `GET …/image/{image}/version/{version}/phi`.
pub(super) async fn phi_of_image(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let image = scope::image(&call, &seen.study)?;
    call.audit_study(&seen.study).await?;
    let attributes = attributes_of(call.services(), &image).await?;
    Ok(HttpResponse::Ok().json(phi::fields(&attributes)))
}

/// An image's attributes, DICOM JSON Model.
pub(super) async fn attributes_of(services: &Arc<Services>, image: &InstanceRef) -> Answer<Map<String, Value>> {
    let entry = metadata::of_instance(services, image).await?;
    Ok(read_stored(&entry.text).map_err(|_| EngineError::Corrupt("metadata"))?)
}

/// A study's attributes, DICOM JSON Model.
pub(super) fn attributes_of_study(services: &Services, seen: &scope::Seen) -> Answer<Map<String, Value>> {
    let open = services.summaries.open(&seen.study.row)?;
    Ok(study_map(&open.summary))
}

/// `GET /study/{namespace}/{study}/phi`.
pub(super) async fn phi_of_study(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    call.audit_study(&seen.study).await?;
    Ok(HttpResponse::Ok().json(phi::fields(&attributes_of_study(call.services(), &seen)?)))
}

/// `GET /study/{namespace}/{study}/tag`.
pub(super) async fn tag_of_study(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    call.audit_study(&seen.study).await?;
    let tags = phi::tags(&attributes_of_study(call.services(), &seen)?);
    Ok(HttpResponse::Ok().json(json!({ "tags": tags })))
}

/// `GET /dicomweb/{namespace}/studies/{study}[/series/{series}]/metadata`.
pub(super) async fn metadata_of_study(mut call: Call) -> Answer {
    narrow(&mut call).await?;
    Ok(crate::routes::metadata::of_study(call).await?)
}

/// `GET /dicomweb/{namespace}/studies/{study}/series/{series}/instances/{image}/metadata`: one object, not a list.
pub(super) async fn metadata_of_image(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let image = match seen
        .study
        .instance(call.services(), call.path("series"), call.path("image"), None)
    {
        Err(EngineError::NotFound) => {
            return Err(StorageError::from(Kind::ImageNotFound).with("image_uid", call.path("image")));
        }
        found => found?,
    };
    call.audit_study(&seen.study).await?;
    let entry = metadata::of_instance(call.services(), &image).await?;
    let base = format!("{}/studies/{}", call.service_url(&seen.namespace), seen.uid);
    let text = metadata::with_study_address(&entry.text, &base);
    Ok(HttpResponse::Ok().content_type("application/dicom+json").body(text))
}

/// Leaves the one namespace that the path means, so that what DICOMweb does can be done.
async fn narrow(call: &mut Call) -> Answer<()> {
    let seen = scope::study(call).await?;
    call.namespaces.retain(|namespace| namespace.id == seen.namespace.id);
    call.granted
        .retain(|granted| granted.covers(granted.permission(), seen.namespace.id));
    Ok(())
}
