//! What a study holds: its series, images and attachments, and how many of them there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::HttpResponse;
use septum_engine::EngineError;
use septum_engine::attachments::{self, Attachment};
use septum_engine::retrieve::InstanceRef;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::Answer;
use super::scope;
use crate::call::Call;

/// `GET /study/{namespace}/{study}/schema`.
pub(super) async fn schema(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let is_extended = scope::flag(&call, "extended");
    call.audit_study(&seen.study).await?;
    let mut body = Map::new();
    body.insert("namespace".into(), call.path("namespace").into());
    body.insert("study_uid".into(), seen.uid.as_str().into());
    if !scope::flag(&call, "attachments_only") {
        let (services, study) = (Arc::clone(call.services()), seen.study.clone());
        // Opening a large study's records takes its time.
        let listing = tokio::task::spawn_blocking(move || -> septum_engine::Result<Vec<Value>> {
            let mut by_series: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
            for image in study.instances(&services, None) {
                let image = image?;
                let record = &image.record;
                let entry = (record.instance_uid.clone(), image_entry(&image, is_extended));
                by_series.entry(record.series_uid.clone()).or_default().push(entry);
            }
            let open = services.summaries.open(&study.row)?;
            let mut list = Vec::new();
            for series in &open.summary.series {
                let Some(mut images) = by_series.remove(&series.series_uid) else {
                    continue;
                };
                images.sort_by(|one, other| one.0.cmp(&other.0));
                let images: Vec<Value> = images.into_iter().map(|(_, entry)| entry).collect();
                list.push(json!({"series_uid": series.series_uid, "images": images}));
            }
            for (series_uid, images) in by_series {
                let images: Vec<Value> = images.into_iter().map(|(_, entry)| entry).collect();
                list.push(json!({"series_uid": series_uid, "images": images}));
            }
            Ok(list)
        });
        let series = listing.await.map_err(|_| EngineError::Panicked)??;
        body.insert("series".into(), series.into());
    }
    let list = attachments::list(call.services(), &seen.study)?;
    body.insert("attachments".into(), list.iter().map(attachment_entry).collect());
    if is_extended {
        body.insert("phi_version".into(), seen.study.row.revision.to_string().into());
    }
    Ok(HttpResponse::Ok().json(body))
}

fn image_entry(image: &InstanceRef, is_extended: bool) -> Value {
    let record = &image.record;
    let pixels = record.pixels.as_ref();
    let shape = pixels.and_then(|pixels| pixels.shape);
    let mut entry = json!({
        "id": record.instance_uid,
        "version": image.version.to_string(),
        "sop_class_uid": record.sop_class_uid,
        "frames": pixels.map_or(0, |pixels| pixels.num_frames),
        "rows": shape.map(|shape| shape.rows),
        "columns": shape.map(|shape| shape.columns),
    });
    if is_extended && let Some(entry) = entry.as_object_mut() {
        let attributes = json!({
            "transfer_syntax_uid": record.transfer_syntax_uid,
            "length": record.dataset_length,
        });
        entry.insert("transfer_attributes".into(), attributes);
    }
    entry
}

/// What is said of an attachment.
pub(super) fn attachment_entry(attachment: &Attachment) -> Value {
    let record = &attachment.record;
    let stored = OffsetDateTime::from_unix_timestamp_nanos(i128::from(record.stored_ms) * 1_000_000);
    let stored = stored.ok().and_then(|time| time.format(&Rfc3339).ok());
    json!({
        "id": attachment.id.to_string(),
        "version": attachment.version(),
        "filename": record.file_name,
        "content_type": record.media_type,
        "length": record.length,
        "stored": stored,
        "phi_namespace": record.phi_namespace.to_string(),
    })
}

/// `GET /study/{namespace}/{study}/count`.
pub(super) async fn count(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    call.audit_study(&seen.study).await?;
    let mut body = Map::new();
    if !scope::flag(&call, "attachments_only") {
        let num_images = if scope::flag(&call, "count_files") {
            let places = super::attributes::places(&call, &seen, None).await?;
            places.len() as u64
        } else {
            let open = call.services().summaries.open(&seen.study.row)?;
            let counts = open.summary.series.iter().map(|series| u64::from(series.num_instances));
            counts.sum()
        };
        body.insert("image_count".into(), num_images.into());
    }
    if !scope::flag(&call, "images_only") {
        let list = attachments::list(call.services(), &seen.study)?;
        body.insert("attachment_count".into(), list.len().into());
    }
    Ok(HttpResponse::Ok().json(body))
}
