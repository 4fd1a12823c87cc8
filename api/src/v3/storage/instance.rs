//! One image whole: the DICOM file, and the document or video inside it.

use actix_web::HttpResponse;
use actix_web::http::header;
use septum_engine::retrieve::frames::EXPLICIT_LITTLE;
use septum_engine::retrieve::interchange;
use septum_engine::retrieve::rendered::document;
use septum_engine::retrieve::stream::{self as engine_stream, Form, pixels_of};
use serde_json::json;

use super::error::{Answer, Kind, StorageError};
use super::scope;
use crate::call::Call;
use crate::routes::stream::{self, send};

/// `GET …/image/{image}/version/{version}` and `…/dicom`: as stored, unless another form is asked for.
pub(super) async fn dicom(call: Call) -> Answer {
    let wants_native = scope::flag(&call, "pretranscode");
    let syntax = scope::parameter(&call, "transfer_syntax");
    let seen = scope::study(&call).await?;
    let image = scope::image(&call, &seen.study)?;
    call.audit_study(&seen.study).await?;
    let stored = image.record.transfer_syntax_uid.as_str();
    let form = match syntax.as_deref() {
        Some("*") => Form::Original,
        Some(uid) if uid == stored => Form::Original,
        Some(EXPLICIT_LITTLE) => Form::Native,
        Some(uid) => match interchange::of(uid, &image.record) {
            Some(interchange) => Form::Interchange(interchange),
            None => {
                let text = "the image cannot be had in this transfer syntax; in its own it can";
                return Err(StorageError::new(Kind::NotAcceptable, text).with("transfer_syntax", stored));
            }
        },
        None if wants_native => Form::Native,
        None => Form::Original,
    };
    let opened = match engine_stream::open(call.services(), &image, form).await {
        // Nobody asked for this very form.
        Err(_) if form == Form::Native && syntax.is_none() => {
            engine_stream::open(call.services(), &image, Form::Original).await
        }
        opened => opened,
    };
    let mut opened = opened?;
    let mut response = HttpResponse::Ok();
    response
        .content_type("application/dicom")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"image.dcm\""));
    Ok(response.body(stream::body(opened.length, |sink| async move {
        while let Some(piece) = opened.next().await {
            send(&sink, piece?).await?;
        }
        Ok(())
    })))
}

/// `GET …/image/{image}/version/{version}/pdf`.
pub(super) async fn pdf(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let image = scope::image(&call, &seen.study)?;
    call.audit_study(&seen.study).await?;
    let found = match image.row.pixel_set {
        None => document(call.services(), &image).await?,
        Some(_) => None,
    };
    match found {
        Some(document) if document.media_type == "application/pdf" => {
            let etag = format!("W/\"{}-document\"", image.version);
            let (value, length) = (document.value, document.length);
            Ok(crate::routes::ranged_value(
                &call,
                value,
                length,
                "application/pdf",
                &etag,
            ))
        }
        _ => Err(Kind::NotPdf.into()),
    }
}

/// `GET …/image/{image}/version/{version}/video`.
pub(super) async fn video(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let image = scope::image(&call, &seen.study)?;
    call.audit_study(&seen.study).await?;
    let media_type = crate::routes::video_type(&image.record.transfer_syntax_uid).ok_or(Kind::NotVideo)?;
    if scope::flag(&call, "reencode_video") && media_type != "video/mp4" {
        return Err(StorageError::new(
            Kind::NotAcceptable,
            "the video can be had as it is stored only",
        ));
    }
    let pixels = pixels_of(call.services(), &image)?.ok_or(Kind::NotVideo)?;
    let etag = format!("W/\"{}-video\"", image.version);
    Ok(crate::routes::ranged_stored(&call, pixels, media_type, &etag))
}

/// `GET …/image/{image}/version/{version}/cadsr`: no vendor's marks are known here.
pub(super) async fn cad_sr(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    scope::image(&call, &seen.study)?;
    call.audit_study(&seen.study).await?;
    Ok(HttpResponse::Ok().json(json!([])))
}
