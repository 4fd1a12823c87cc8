//! `/rendered` and `/thumbnail` (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.4): pictures for people.
//!
//! | resource | sent |
//! |---|---|
//! | an instance or a frame | one picture, bare or as a part; frames as parts |
//! | an instance, `image/gif` | all its frames, animated |
//! | a document (PDF) | the document |
//! | a video | the stored stream, with byte ranges |
//! | a series or study, rendered | one picture an instance, as parts; what has no picture is left out; 406 where nothing has |
//! | a series or study, thumbnail | the instance in the middle of it |
//!
//! JPEG where the client does not choose. A series or study is answered in parts also to who asks for `image/png` alone, as
//! DICOMweb clients do that then read parts (dicomweb-client for Python): a 406 (PS3.18 section 10.4.4) would help nobody.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use bytes::Bytes;
use septum_engine::EngineError;
use septum_engine::error::ErrorKind;
use septum_engine::retrieve::rendered::{Picture, Pictures, document};
use septum_engine::retrieve::stream::pixels_of;
use septum_engine::retrieve::{InstanceRef, StudyRef};
use septum_engine::services::Services;
use septum_render::{MediaType, RenderError, RenderRequest, Target};
use std::sync::Arc;

use super::frames::numbers;
use super::media_types::video_type;
use super::stream::{self, Break, Sink, send};
use super::{instances, ranged};
use crate::call::{Call, header_value};
use crate::hidden::Hidden;
use crate::http::accept::{self, Choice};
use crate::http::parts::PartWriter;
use crate::http::problem::{Answer, Problem};
use crate::http::query_pairs;

/// What the SOP Class UIDs of presentation states start with.
pub(super) const PRESENTATION_STATES: &str = "1.2.840.10008.5.1.4.1.1.11.";

const PDF: &str = "application/pdf";

/// Most instances rendered in one answer.
const INSTANCES_MAX: usize = 10_000;

/// `GET …/instances/{instance}/rendered`, also of frames.
pub(super) async fn instance(call: Call) -> Answer {
    one(call, Target::Rendered).await
}

/// `GET …/instances/{instance}/thumbnail`, also of frames.
pub(super) async fn instance_thumbnail(call: Call) -> Answer {
    one(call, Target::Thumbnail).await
}

/// What the client wants of pictures.
struct Wanted {
    multipart: bool,
    media_type: MediaType,
}

fn wanted(choices: &[Choice]) -> Option<Wanted> {
    choices.iter().find_map(|choice| {
        Some(Wanted {
            multipart: choice.multipart,
            media_type: picture_type(choice)?,
        })
    })
}

/// Media types of pictures, the one rather sent first.
const PICTURES: [MediaType; 3] = [MediaType::Jpeg, MediaType::Png, MediaType::Gif];

/// The media type of pictures that a choice means.
pub(super) fn picture_type(choice: &Choice) -> Option<MediaType> {
    PICTURES.into_iter().find(|media_type| choice.covers(media_type.name()))
}

fn not_acceptable() -> Problem {
    let offers = PICTURES.map(|media_type| media_type.name().to_owned());
    Problem::not_acceptable("pictures can be had as JPEG, PNG or GIF", &offers)
}

fn request(call: &Call, target: Target) -> Answer<RenderRequest> {
    let pairs = query_pairs(&call.request);
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    RenderRequest::parse(target, pairs).map_err(|error| Problem::bad_request(error.to_string()))
}

/// A region outside of the image is the client's mistake.
pub(super) fn problem(error: EngineError) -> Problem {
    match error {
        EngineError::Render(error @ RenderError::EmptyRegion) => Problem::bad_request(error.to_string()),
        error => error.into(),
    }
}

/// The attributes that annotations leave out.
pub(super) fn hidden(call: &Call, instance: &InstanceRef) -> Arc<[u32]> {
    Hidden::of(&call.principal, instance.study.namespace).tags()
}

/// A validator that every parameter takes part in.
pub(super) fn etag(call: &Call, instance: &InstanceRef, media_type: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(call.request.query_string().as_bytes());
    hasher.update(call.path("frames").as_bytes());
    hasher.update(media_type.as_bytes());
    // What is hidden is not in annotations.
    for tag in hidden(call, instance).iter() {
        hasher.update(&tag.to_be_bytes());
    }
    let hash = hasher.finalize().to_hex();
    instances::etag(instance, &format!("rendered-{}", &hash[..16]))
}

async fn one(call: Call, target: Target) -> Answer {
    let request = request(&call, target)?;
    let choices = accept::choices(&call.request)?;
    let list = match call.path("frames") {
        "" => None,
        list => Some(numbers(list, call.app.frames_max)?),
    };
    let instance = instances::find(&call)?;
    call.audit_study(&instance.study).await?;
    if target == Target::Rendered
        && list.is_none()
        && let Some(response) = as_it_is(&call, &instance, &choices).await?
    {
        return Ok(response);
    }
    let wanted = wanted(&choices).ok_or_else(not_acceptable)?;
    let name = wanted.media_type.name();
    let etag = etag(&call, &instance, name);
    // What a presentation state shows changes with the image that it applies to.
    let is_state = instance.record.sop_class_uid.starts_with(PRESENTATION_STATES);
    if !is_state && let Some(response) = call.not_modified(&etag) {
        return Ok(response);
    }
    let pictures = Pictures::open(call.services(), &instance)
        .await
        .map_err(problem)?
        .hiding(hidden(&call, &instance));
    let (first, num_frames) = (pictures.first_frame(), pictures.num_frames());
    let is_animation =
        wanted.media_type == MediaType::Gif && list.is_none() && num_frames > 1 && target == Target::Rendered;
    let indices: Vec<u32> = match &list {
        None => vec![first],
        Some(list) if list.iter().all(|number| *number <= num_frames) => list.iter().map(|number| number - 1).collect(),
        Some(_) => {
            let few = Problem::new(StatusCode::NOT_FOUND, "no-such-frame", "there are fewer frames");
            return Err(few.with_member("frames", num_frames.into()));
        }
    };
    let picture = if is_animation {
        pictures.animation(request).await
    } else {
        pictures.frame(indices[0], request, wanted.media_type).await
    };
    let Picture { bytes, warnings } = picture.map_err(problem)?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::VARY, "Accept"));
    if !is_state {
        response.insert_header((header::ETAG, header_value(&etag)));
    }
    for warning in &warnings {
        response.append_header((header::WARNING, format!("299 septum \"{warning}\"")));
    }
    if !wanted.multipart && indices.len() == 1 {
        return Ok(response.content_type(name).body(bytes));
    }
    let resource = match target {
        Target::Rendered => "/rendered",
        Target::Thumbnail => "/thumbnail",
    };
    let mut writer = PartWriter::new();
    response.content_type(writer.content_type(name));
    let (addresses, whole) = (call.frame_addresses(resource), list.is_none().then(|| call.address()));
    let location = move |index: u32| whole.clone().unwrap_or_else(|| addresses.of(index + 1));
    Ok(response.body(stream::body(None, move |sink: Sink| async move {
        send(&sink, writer.open(name, Some(&location(indices[0])))).await?;
        send(&sink, bytes.into()).await?;
        for index in indices.into_iter().skip(1) {
            let picture = pictures.frame(index, request, wanted.media_type).await?;
            send(&sink, writer.open(name, Some(&location(index)))).await?;
            send(&sink, picture.bytes.into()).await?;
        }
        send(&sink, writer.close()).await?;
        Ok::<(), Break>(())
    })))
}

/// Documents and videos, which are for people as they are.
pub(super) async fn as_it_is(call: &Call, instance: &InstanceRef, choices: &[Choice]) -> Answer<Option<HttpResponse>> {
    let takes = |media_type: &str| {
        let taken = choices.iter().find(|choice| choice.covers(media_type));
        taken.is_some_and(|choice| !choice.multipart)
    };
    if let Some(media_type) = video_type(&instance.record.transfer_syntax_uid) {
        if !takes(media_type) {
            let offers = [media_type.to_owned()];
            return Err(Problem::not_acceptable(
                "a video can be had as it is stored only",
                &offers,
            ));
        }
        let pixels = pixels_of(call.services(), instance)?.ok_or_else(Problem::not_found)?;
        let etag = instances::strong_etag(instance, "video");
        return Ok(Some(ranged::stored(call, pixels, media_type, &etag)));
    }
    if instance.row.pixel_set.is_some() {
        return Ok(None);
    }
    let Some(document) = document(call.services(), instance).await? else {
        return Ok(None);
    };
    // Only what a browser shows without running it is shown in place.
    let (shown, disposition) = match document.media_type.as_str() {
        PDF => (PDF, "inline; filename=\"document.pdf\""),
        _ => ("application/octet-stream", "attachment; filename=\"document\""),
    };
    if !takes(shown) {
        let offers = [shown.to_owned()];
        return Err(Problem::not_acceptable(
            "the document can be had as it is stored only",
            &offers,
        ));
    }
    let etag = instances::strong_etag(instance, "document");
    let mut response = ranged::value(call, document.value, document.length, shown, &etag);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_DISPOSITION,
        header::HeaderValue::from_static(disposition),
    );
    Ok(Some(response))
}

/// `GET …/studies/{study}/rendered` and `…/series/{series}/rendered`.
pub(super) async fn study(call: Call) -> Answer {
    let request = request(&call, Target::Rendered)?;
    let choices = accept::choices(&call.request)?;
    let wanted = wanted(&choices).ok_or_else(not_acceptable)?;
    let (_, study) = call.study()?;
    let series_uid = call.series_uid_if_any()?;
    call.audit_study(&study).await?;
    let found = with_pixels(call.services(), &study, series_uid).await?;
    let name = wanted.media_type.name();
    let services = Arc::clone(call.services());
    let hidden = Hidden::of(&call.principal, study.namespace).tags();
    // Whether there is anything at all to be shown is known before the answer begins.
    let (mut found, mut refused) = (found.into_iter(), None);
    let first = loop {
        let Some(instance) = found.next() else {
            return Err(no_picture(refused));
        };
        match picture(&services, &instance, request, wanted.media_type, &hidden).await {
            Ok(picture) => break picture,
            Err(error) if error.kind() == ErrorKind::NotAcceptable => refused = refused.or(Some(error)),
            Err(error) => return Err(error.into()),
        }
    };
    let mut writer = PartWriter::new();
    let mut response = HttpResponse::Ok();
    response
        .content_type(writer.content_type(name))
        .insert_header((header::VARY, "Accept"));
    Ok(response.body(stream::body(None, move |sink: Sink| async move {
        send(&sink, writer.open(name, None)).await?;
        send(&sink, first.bytes.into()).await?;
        for instance in found {
            match picture(&services, &instance, request, wanted.media_type, &hidden).await {
                Ok(picture) => {
                    send(&sink, writer.open(name, None)).await?;
                    send(&sink, picture.bytes.into()).await?;
                }
                // What cannot be shown is left out: the others can.
                Err(error) if error.kind() == ErrorKind::NotAcceptable => {}
                Err(error) => return Err(error.into()),
            }
        }
        send(&sink, writer.close()).await?;
        Ok::<(), Break>(())
    })))
}

/// The picture that stands for an instance.
async fn picture(
    services: &Arc<Services>,
    instance: &InstanceRef,
    request: RenderRequest,
    media_type: MediaType,
    hidden: &Arc<[u32]>,
) -> septum_engine::Result<Picture> {
    let pictures = Pictures::open(services, instance).await?.hiding(Arc::clone(hidden));
    pictures.frame(pictures.first_frame(), request, media_type).await
}

/// 406: nothing of a study or series can be shown; `refused` is why the first of it cannot.
fn no_picture(refused: Option<EngineError>) -> Problem {
    let text = "nothing here can be shown as a picture";
    match refused {
        Some(EngineError::Render(error @ RenderError::EmptyRegion)) => Problem::bad_request(error.to_string()),
        Some(error) => Problem::not_acceptable(format!("{text}: {error}"), &[]),
        None => Problem::not_acceptable(text, &[]),
    }
}

/// `GET …/studies/{study}/thumbnail` and `…/series/{series}/thumbnail`.
pub(super) async fn study_thumbnail(call: Call) -> Answer {
    let request = request(&call, Target::Thumbnail)?;
    let choices = accept::choices(&call.request)?;
    let wanted = wanted(&choices).ok_or_else(not_acceptable)?;
    let (_, study) = call.study()?;
    let series_uid = call.series_uid_if_any()?;
    call.audit_study(&study).await?;
    let found = with_pixels(call.services(), &study, series_uid).await?;
    let middle = found.len() / 2;
    // From the middle outwards, the first that can be shown.
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by_key(|place| place.abs_diff(middle));
    let (name, mut refused) = (wanted.media_type.name(), None);
    for place in order.into_iter().take(TRIES_MAX) {
        let instance = &found[place];
        let etag = etag(&call, instance, name);
        if let Some(response) = call.not_modified(&etag) {
            return Ok(response);
        }
        let picture = match Pictures::open(call.services(), instance).await {
            Ok(pictures) => {
                pictures
                    .frame(pictures.num_frames() / 2, request, wanted.media_type)
                    .await
            }
            Err(error) => Err(error),
        };
        match picture {
            Ok(Picture { bytes, .. }) => return Ok(thumbnail(bytes, name, wanted.multipart, &etag)),
            Err(error) if error.kind() == ErrorKind::NotAcceptable => refused = refused.or(Some(error)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(no_picture(refused))
}

/// Instances tried for one thumbnail.
const TRIES_MAX: usize = 8;

fn thumbnail(bytes: Vec<u8>, name: &str, multipart: bool, etag: &str) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"));
    if !multipart {
        return response.content_type(name).body(bytes);
    }
    let mut writer = PartWriter::new();
    let (open, close) = (writer.open(name, None), writer.close());
    response
        .content_type(writer.content_type(name))
        .body(Bytes::from([&open[..], &bytes[..], &close[..]].concat()))
}

/// The instances of a study, or of one series, that have pixels, in the order of their rows.
async fn with_pixels(
    services: &Arc<Services>,
    study: &StudyRef,
    series_uid: Option<String>,
) -> Answer<Vec<InstanceRef>> {
    let (services, study) = (Arc::clone(services), study.clone());
    let gathered = tokio::task::spawn_blocking(move || -> septum_engine::Result<(bool, Vec<InstanceRef>)> {
        let (mut is_there, mut found) = (false, Vec::new());
        for instance in study.instances(&services, series_uid.as_deref()) {
            let instance = instance?;
            is_there = true;
            let is_video = video_type(&instance.record.transfer_syntax_uid).is_some();
            if instance.row.pixel_set.is_some() && !is_video && found.len() < INSTANCES_MAX {
                found.push(instance);
            }
        }
        Ok((is_there, found))
    });
    let (is_there, found) = gathered.await.map_err(|_| EngineError::Panicked)??;
    if is_there { Ok(found) } else { Err(Problem::not_found()) }
}
