//! Deleting: for ever, and done when the answer comes.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::HttpResponse;
use septum_engine::erase;
use septum_engine::reseal::Removal;

use super::error::{Answer, Kind, StorageError};
use super::form::body_error;
use super::scope::{self, Seen};
use crate::call::Call;
use crate::v3;

/// Longest list of images, in bytes.
const LIST_BYTES_MAX: u64 = 8 << 20;

/// `DELETE /study/{namespace}/{study}`.
pub(super) async fn study(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    if scope::flag(&call, "keep_attachments")
        && !septum_engine::attachments::list(call.services(), &seen.study)?.is_empty()
    {
        let text = "a study cannot be kept for its attachments alone";
        return Err(StorageError::new(Kind::NotAcceptable, text));
    }
    scope::not_frozen(&call, &seen)?;
    erase_study(&call, &seen).await?;
    Ok(HttpResponse::Accepted().finish())
}

async fn erase_study(call: &Call, seen: &Seen) -> Answer<()> {
    let study = seen.study.clone();
    Ok(v3::erase_study(call.services(), &seen.namespace, study, &call.source()).await?)
}

/// Erases a series, or an image of it.
async fn erase_part(call: &Call, seen: &Seen, series_uid: &str, image_uid: Option<&str>) -> Answer<()> {
    // As it is now: what was erased before has sealed the rest of it anew.
    let study = scope::study_of(call, &seen.uid).await?.study;
    let removal = Removal {
        series_uid: series_uid.to_owned(),
        instance_uid: image_uid.map(str::to_owned),
        only: None,
    };
    Ok(erase::part(call.services(), study, removal, &call.source()).await?)
}

/// `DELETE /study/{namespace}/{study}/image/{image}`.
pub(super) async fn image(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let image = scope::image(&call, &seen.study)?;
    scope::not_frozen(&call, &seen)?;
    let (series, instance) = (&image.record.series_uid, &image.record.instance_uid);
    erase_part(&call, &seen, series, Some(instance)).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// `DELETE /study/{namespace}/{study}/images`: the body is a list of image UIDs.
pub(super) async fn images(mut call: Call) -> Answer {
    let mut body = call.body()?;
    body.set_longest(LIST_BYTES_MAX);
    let body = body.read_all().await.map_err(body_error)?;
    let text = String::from_utf8(body).map_err(|_| StorageError::new(Kind::BadRequest, "the list is not text"))?;
    let wanted: BTreeSet<String> = scope::parts(&text).into_iter().collect();
    // A study that is not there is told first.
    let seen = scope::study(&call).await?;
    if wanted.is_empty() {
        return Err(StorageError::new(Kind::BadRequest, "the list of images is empty"));
    }
    scope::not_frozen(&call, &seen)?;
    delete(&call, &seen, wanted).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// Deletes images of a study; none where one of them is missing.
async fn delete(call: &Call, seen: &Seen, wanted: BTreeSet<String>) -> Answer<()> {
    let services = call.services();
    let mut by_series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for uid in wanted {
        let Some(image) = scope::find_image(services, &seen.study, &uid, None)? else {
            return Err(StorageError::from(Kind::ImagesNotFound).with("image_uid", uid));
        };
        by_series
            .entry(image.record.series_uid.clone())
            .or_default()
            .insert(uid);
    }
    let open = services.summaries.open(&seen.study.row)?;
    let is_whole = |series_uid: &String, images: &BTreeSet<String>| {
        let known = open
            .summary
            .series
            .iter()
            .find(|series| series.series_uid == *series_uid);
        known.is_some_and(|series| series.num_instances as usize == images.len())
    };
    let is_whole_study = by_series.len() == open.summary.series.len()
        && by_series
            .iter()
            .all(|(series_uid, images)| is_whole(series_uid, images));
    if is_whole_study {
        return erase_study(call, seen).await;
    }
    for (series_uid, images) in &by_series {
        // A series at once: what remains of the study is sealed anew only once.
        if is_whole(series_uid, images) {
            erase_part(call, seen, series_uid, None).await?;
            continue;
        }
        for uid in images {
            erase_part(call, seen, series_uid, Some(uid)).await?;
        }
    }
    Ok(())
}

/// `DELETE /study/{namespace}/{study}/cache`.
pub(super) async fn cache(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    call.audit_study(&seen.study).await?;
    call.services()
        .summaries
        .forget(seen.study.id(), seen.study.row.revision);
    Ok(HttpResponse::Accepted().finish())
}
