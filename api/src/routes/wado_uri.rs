//! WADO-URI (PS3.18 section 9): one instance by query parameters, as older viewers ask for it.
//!
//! | `contentType` | sent |
//! |---|---|
//! | `application/dicom` | the instance; `transferSyntax` as for WADO-RS |
//! | `image/jpeg`, `image/png`, `image/gif` | a picture: `frameNumber`, `rows`, `columns`, `region`, window, quality |
//! | `application/pdf`, `video/…` | the document or video as it is |
//!
//! Without `contentType`: a picture where there are pixels, else the document, else the instance.
//!
//! `anonymize=yes` is refused: nothing is sent with identity that was to go without (PS3.18 section 9.1).

use actix_web::HttpResponse;
use actix_web::http::header;
use septum_core::ids::{SeriesInstanceUid, SopInstanceUid, StudyInstanceUid};
use septum_engine::retrieve::InstanceRef;
use septum_engine::retrieve::rendered::{Picture, Pictures};
use septum_render::{MediaType, RenderRequest, Viewport, Window, WindowShape};

use super::instances::{self, DICOM};
use super::rendered::{as_it_is, problem};
use crate::call::{Call, header_value};
use crate::http::accept::{Choice, Syntax};
use crate::http::problem::{Answer, Problem};

/// Sides of a picture where only one is asked for.
const SIDE_MAX: u32 = 65_535;

/// `GET …/wado?requestType=WADO&…`.
pub(super) async fn retrieve(call: Call) -> Answer {
    if !required(&call, "requestType")?.eq_ignore_ascii_case("WADO") {
        return Err(Problem::bad_request("the parameter `requestType` must be WADO"));
    }
    refuse_anonymizing(call.query("anonymize").as_deref())?;
    let instance = find(&call)?;
    call.audit_study(&instance.study).await?;
    let types = call.query("contentType").unwrap_or_default();
    let choices: Vec<Choice> = types
        .split(',')
        .map(|name| name.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .map(single)
        .collect();
    if choices.is_empty() {
        let anything = [single("*/*".to_owned())];
        return match picture_or_as_it_is(&call, &instance, &anything).await {
            Err(problem) if problem.status() == actix_web::http::StatusCode::NOT_ACCEPTABLE => {
                dicom(&call, instance).await
            }
            answer => answer,
        };
    }
    for choice in &choices {
        if choice.media == DICOM {
            return dicom(&call, instance).await;
        }
        match picture_or_as_it_is(&call, &instance, std::slice::from_ref(choice)).await {
            Err(problem) if problem.status() == actix_web::http::StatusCode::NOT_ACCEPTABLE => {}
            answer => return answer,
        }
    }
    let offers = [DICOM, "image/jpeg", "image/png", "image/gif"].map(str::to_owned);
    Err(Problem::not_acceptable(
        "the instance cannot be had as one of `contentType`",
        &offers,
    ))
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

fn single(media: String) -> Choice {
    Choice {
        multipart: false,
        media,
        syntax: Syntax::Default,
    }
}

fn required(call: &Call, name: &str) -> Answer<String> {
    call.query(name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Problem::bad_request(format!("the parameter `{name}` is missing")))
}

/// The instance that the parameters name, or the presentation state to show it with.
fn find(call: &Call) -> Answer<InstanceRef> {
    let bad = |name: &'static str| move |_| Problem::bad_request(format!("the parameter `{name}` is not a UID"));
    let study = StudyInstanceUid::parse(&required(call, "studyUID")?).map_err(bad("studyUID"))?;
    let (series, object) = match call.query("presentationUID") {
        Some(uid) => (required(call, "presentationSeriesUID")?, uid),
        None => (required(call, "seriesUID")?, required(call, "objectUID")?),
    };
    let series = SeriesInstanceUid::parse(&series).map_err(bad("seriesUID"))?;
    let object = SopInstanceUid::parse(&object).map_err(bad("objectUID"))?;
    let (_, study) = call.study_of(study.as_str())?;
    Ok(study.instance(call.services(), series.as_str(), object.as_str(), None)?)
}

async fn dicom(call: &Call, instance: InstanceRef) -> Answer {
    let syntax = match call.query("transferSyntax").as_deref() {
        None | Some("") => Syntax::Default,
        Some("*") => Syntax::Stored,
        Some(uid) => Syntax::Uid(uid.to_owned()),
    };
    let wanted = Choice {
        multipart: false,
        media: DICOM.to_owned(),
        syntax: syntax.clone(),
    };
    match instances::send_as(call, &instance, std::slice::from_ref(&wanted)).await {
        // Whoever names no syntax gets the instance all the same.
        Err(_) if syntax == Syntax::Default => {
            let stored = Choice {
                syntax: Syntax::Stored,
                ..wanted
            };
            instances::send_as(call, &instance, &[stored]).await
        }
        answer => answer,
    }
}

async fn picture_or_as_it_is(call: &Call, instance: &InstanceRef, choices: &[Choice]) -> Answer {
    if let Some(response) = as_it_is(call, instance, choices).await? {
        return Ok(response);
    }
    let media_type = choices.iter().find_map(|choice| match choice.media.as_str() {
        "*/*" | "image/*" => Some(MediaType::Jpeg),
        name => MediaType::of_name(name),
    });
    let no_picture = || Problem::not_acceptable("there is no picture of this kind", &[]);
    let media_type = media_type.ok_or_else(no_picture)?;
    let pictures = Pictures::open(call.services(), instance).await.map_err(problem)?;
    let index = match number::<u32>(call, "frameNumber")? {
        None => pictures.first_frame(),
        Some(0) => return Err(Problem::bad_request("frames are counted from 1")),
        Some(number) if number <= pictures.num_frames() => number - 1,
        Some(_) => return Err(Problem::not_found()),
    };
    let request = request(call, pictures.columns(), pictures.rows())?;
    let Picture { bytes, warnings } = pictures.frame(index, request, media_type).await.map_err(problem)?;
    let mut response = HttpResponse::Ok();
    for warning in &warnings {
        response.append_header((header::WARNING, format!("299 septum \"{warning}\"")));
    }
    Ok(response
        .content_type(media_type.name())
        .insert_header((header::ETAG, header_value(&instances::etag(instance, "wado-uri"))))
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
