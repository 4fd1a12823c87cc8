//! WADO-URI (PS3.18 section 9): one instance by query parameters, as older viewers ask for it.
//!
//! | `contentType` | sent |
//! |---|---|
//! | `application/dicom` | the instance; `transferSyntax` as for WADO-RS |
//! | `image/jpeg`, `image/png`, `image/gif` | a picture: `frameNumber`, `rows`, `columns`, `region`, window, quality |
//! | `application/pdf`, `video/…` | the document or video as it is |
//!
//! `Accept` counts where there is no `contentType`. What stands for anything (`*/*`, or no `Accept` either): a picture where
//! there are pixels, else the document, else the instance. A GIF without `frameNumber` has all frames. Where
//! `presentationUID` and `objectUID` both stand, that image is shown with that presentation state.
//!
//! `anonymize=yes` is refused: nothing is sent with identity that was to go without (PS3.18 section 9.1).

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use septum_core::ids::{SeriesInstanceUid, SopInstanceUid, StudyInstanceUid};
use septum_engine::retrieve::InstanceRef;
use septum_engine::retrieve::rendered::{Picture, Pictures};
use septum_render::{MediaType, RenderRequest, Target, Viewport, Window, WindowShape};

use super::instances::{self, DICOM};
use super::rendered::{PRESENTATION_STATES, as_it_is, etag, hidden, picture_type, problem};
use crate::call::{Call, header_value};
use crate::http::accept::{self, Choice, Syntax};
use crate::http::problem::{Answer, Problem};

/// Sides of a picture where only one is asked for.
const SIDE_MAX: u32 = 65_535;

/// `GET …/wado?requestType=WADO&…`.
pub(super) async fn retrieve(call: Call) -> Answer {
    if !required(&call, "requestType")?.eq_ignore_ascii_case("WADO") {
        return Err(Problem::bad_request("the parameter `requestType` must be WADO"));
    }
    refuse_anonymizing(call.query("anonymize").as_deref())?;
    let Shown { image, state } = find(&call)?;
    call.audit_study(&image.study).await?;
    let choices = choices(&call)?;
    let mut refused = None;
    // What is sent here is never in parts.
    for choice in choices.iter().filter(|choice| !choice.multipart) {
        let one = std::slice::from_ref(choice);
        if choice.media != DICOM {
            match picture_or_as_it_is(&call, &image, state.as_ref(), one).await {
                Err(problem) if problem.status() == StatusCode::NOT_ACCEPTABLE => refused = refused.or(Some(problem)),
                answer => return answer,
            }
        }
        if choice.covers(DICOM) {
            match dicom(&call, &image, choice).await {
                Err(problem) if problem.status() == StatusCode::NOT_ACCEPTABLE => refused = refused.or(Some(problem)),
                answer => return answer,
            }
        }
    }
    Err(refused.unwrap_or_else(|| {
        let offers = [DICOM, "image/jpeg", "image/png", "image/gif"].map(str::to_owned);
        Problem::not_acceptable("the instance cannot be had as what you accept", &offers)
    }))
}

/// What the client takes: `contentType`, else `Accept`.
fn choices(call: &Call) -> Answer<Vec<Choice>> {
    match call.query("contentType").filter(|types| !types.trim().is_empty()) {
        None => accept::choices(&call.request),
        Some(types) => accept::choices_of([types.as_str()].into_iter())
            .map_err(|_| Problem::bad_request("the parameter `contentType` is malformed")),
    }
}

/// Only an instance as it is can be had here, which is what `no` asks for; any other value may mean the opposite.
fn refuse_anonymizing(value: Option<&str>) -> Answer<()> {
    match value.map(str::trim) {
        None | Some("") => Ok(()),
        Some(value) if value.eq_ignore_ascii_case("no") => Ok(()),
        Some(_) => Err(Problem::bad_request(
            "instances cannot be anonymized here: ask without the parameter `anonymize`",
        )),
    }
}

fn required(call: &Call, name: &str) -> Answer<String> {
    call.query(name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Problem::bad_request(format!("the parameter `{name}` is missing")))
}

/// What the parameters name.
struct Shown {
    image: InstanceRef,
    /// The presentation state to show it with, and the image's SOP Instance UID.
    state: Option<(InstanceRef, String)>,
}

/// A presentation state without `objectUID` is shown with the first image that it names, as `/rendered` does.
fn find(call: &Call) -> Answer<Shown> {
    let bad = |name: &'static str| move |_| Problem::bad_request(format!("the parameter `{name}` is not a UID"));
    let study = StudyInstanceUid::parse(&required(call, "studyUID")?).map_err(bad("studyUID"))?;
    let (_, study) = call.study_of(study.as_str())?;
    let instance = |[series_name, name]: [&'static str; 2]| -> Answer<(InstanceRef, String)> {
        let series = SeriesInstanceUid::parse(&required(call, series_name)?).map_err(bad(series_name))?;
        let object = SopInstanceUid::parse(&required(call, name)?).map_err(bad(name))?;
        let found = study.instance(call.services(), series.as_str(), object.as_str(), None)?;
        Ok((found, object.as_str().to_owned()))
    };
    let (object, presentation) = (["seriesUID", "objectUID"], ["presentationSeriesUID", "presentationUID"]);
    let is_there = |name: &str| call.query(name).is_some_and(|value| !value.is_empty());
    let (image, state) = match (is_there("presentationUID"), is_there("objectUID")) {
        (false, _) => (instance(object)?.0, None),
        (true, false) => (instance(presentation)?.0, None),
        (true, true) => {
            let (image, uid) = instance(object)?;
            (image, Some((instance(presentation)?.0, uid)))
        }
    };
    Ok(Shown { image, state })
}

async fn dicom(call: &Call, instance: &InstanceRef, choice: &Choice) -> Answer {
    let syntax = match call.query("transferSyntax").as_deref() {
        None | Some("") => choice.syntax.clone(),
        Some("*") => Syntax::Stored,
        Some(uid) => Syntax::Uid(uid.to_owned()),
    };
    let wanted = Choice {
        syntax: syntax.clone(),
        ..Choice::single(DICOM)
    };
    match instances::send_as(call, instance, std::slice::from_ref(&wanted)).await {
        // Whoever names no syntax gets the instance all the same.
        Err(_) if syntax == Syntax::Default => {
            let stored = Choice {
                syntax: Syntax::Stored,
                ..wanted
            };
            instances::send_as(call, instance, &[stored]).await
        }
        answer => answer,
    }
}

async fn picture_or_as_it_is(
    call: &Call,
    image: &InstanceRef,
    state: Option<&(InstanceRef, String)>,
    choices: &[Choice],
) -> Answer {
    if let Some(response) = as_it_is(call, image, choices).await? {
        return Ok(response);
    }
    let media_type = choices.iter().find_map(picture_type);
    let no_picture = || Problem::not_acceptable("there is no picture of this kind", &[]);
    let media_type = media_type.ok_or_else(no_picture)?;
    // What a presentation state shows changes with the image that it applies to.
    let etag = (state.is_none() && !image.record.sop_class_uid.starts_with(PRESENTATION_STATES))
        .then(|| etag(call, image, media_type.name()));
    if let Some(response) = etag.as_ref().and_then(|etag| call.not_modified(etag)) {
        return Ok(response);
    }
    let pictures = match state {
        None => Pictures::open(call.services(), image).await.map_err(problem)?,
        Some((state, uid)) => Pictures::open_shown(call.services(), image, uid, state)
            .await
            .map_err(problem)?
            .ok_or_else(|| Problem::bad_request("`presentationUID` is no presentation state of this image"))?,
    };
    let pictures = pictures.hiding(hidden(call, image));
    let number = number::<u32>(call, "frameNumber")?;
    let request = request(call, pictures.columns(), pictures.rows())?;
    let index = match number {
        None => pictures.first_frame(),
        Some(0) => return Err(Problem::bad_request("frames are counted from 1")),
        Some(number) if number <= pictures.num_frames() => number - 1,
        Some(_) => return Err(Problem::not_found()),
    };
    let is_animation = media_type == MediaType::Gif && number.is_none() && pictures.num_frames() > 1;
    let picture = if is_animation {
        pictures.animation(request).await
    } else {
        pictures.frame(index, request, media_type).await
    };
    let Picture { bytes, warnings } = picture.map_err(problem)?;
    let mut response = HttpResponse::Ok();
    for warning in &warnings {
        response.append_header((header::WARNING, format!("299 septum \"{warning}\"")));
    }
    if let Some(etag) = &etag {
        response.insert_header((header::ETAG, header_value(etag)));
    }
    Ok(response
        .content_type(media_type.name())
        .insert_header((header::VARY, "Accept"))
        .body(bytes))
}

fn number<T: std::str::FromStr>(call: &Call, name: &'static str) -> Answer<Option<T>> {
    match call.query(name) {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Problem::bad_request(format!("the parameter `{name}` is not a number"))),
        },
    }
}

/// The rendering parameters (PS3.18 section 9.1.2).
fn request(call: &Call, columns: u32, rows: u32) -> Answer<RenderRequest> {
    let mut request = RenderRequest::default();
    if let Some(quality) = number::<u8>(call, "imageQuality")? {
        if !(1..=100).contains(&quality) {
            return Err(Problem::bad_request("the parameter `imageQuality` is 1 to 100"));
        }
        request.quality = quality;
    }
    if let Some(annotation) = call.query("annotation") {
        let asked = RenderRequest::parse(Target::Rendered, [("annotation", annotation.as_str())]);
        request.annotation = asked
            .map_err(|error| Problem::bad_request(error.to_string()))?
            .annotation;
    }
    match (
        number::<f64>(call, "windowCenter")?,
        number::<f64>(call, "windowWidth")?,
    ) {
        (None, None) => {}
        (Some(center), Some(width)) if center.is_finite() && width.is_finite() && width >= 1.0 => {
            request.window = Some(Window {
                center,
                width,
                shape: WindowShape::Linear,
            });
        }
        _ => {
            return Err(Problem::bad_request(
                "windowCenter and windowWidth go together, the width at least 1",
            ));
        }
    }
    let (width, height) = (number::<u32>(call, "columns")?, number::<u32>(call, "rows")?);
    if width == Some(0) || height == Some(0) {
        return Err(Problem::bad_request(
            "the parameters `rows` and `columns` are at least 1",
        ));
    }
    let region = match call.query("region") {
        None => None,
        Some(text) => Some(region(&text)?),
    };
    if width.is_none() && height.is_none() && region.is_none() {
        return Ok(request);
    }
    let side = |side: Option<u32>, other: Option<u32>, own: u32| match (side, other) {
        (Some(side), _) => side.clamp(1, SIDE_MAX),
        (None, Some(_)) => SIDE_MAX,
        (None, None) => own.clamp(1, SIDE_MAX),
    };
    let [left, top, right, bottom] = region.unwrap_or([0.0, 0.0, 1.0, 1.0]);
    let (full_width, full_height) = (f64::from(columns), f64::from(rows));
    request.viewport = Some(Viewport {
        width: side(width, height, columns),
        height: side(height, width, rows),
        left: left * full_width,
        top: top * full_height,
        region_width: Some((right - left) * full_width),
        region_height: Some((bottom - top) * full_height),
    });
    Ok(request)
}

/// `xmin,ymin,xmax,ymax`, each from 0 to 1 of the image.
fn region(text: &str) -> Answer<[f64; 4]> {
    let numbers: Vec<f64> = text
        .split(',')
        .filter_map(|number| number.trim().parse().ok())
        .collect();
    match <[f64; 4]>::try_from(numbers) {
        Ok(region @ [left, top, right, bottom])
            if text.split(',').count() == 4
                && region.iter().all(|edge| (0.0..=1.0).contains(edge))
                && left < right
                && top < bottom =>
        {
            Ok(region)
        }
        _ => Err(Problem::bad_request(
            "the parameter `region` is xmin,ymin,xmax,ymax, each from 0 to 1",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_with_identity_that_was_to_go_without() {
        for (value, expected) in [
            (None, true),
            (Some(""), true),
            (Some("no"), true),
            (Some("yes"), false),
            (Some(" YES "), false),
            (Some("true"), false),
        ] {
            assert_eq!(refuse_anonymizing(value).is_ok(), expected, "{value:?}");
        }
    }

    #[test]
    fn regions() {
        for (text, expected) in [
            ("0,0,1,1", Some([0.0, 0.0, 1.0, 1.0])),
            ("0.25, 0.5, 0.75, 1", Some([0.25, 0.5, 0.75, 1.0])),
            ("0,0,1", None),
            ("0,0,1,1,1", None),
            ("0,0,x,1", None),
            ("1,0,0,1", None),
            ("0,0,2,1", None),
            ("nan,0,1,1", None),
            ("", None),
        ] {
            assert_eq!(region(text).ok(), expected, "{text}");
        }
    }
}
