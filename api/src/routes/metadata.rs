//! WADO-RS `/metadata`: the pre-built DICOM JSON of instances (PS3.18 sections 10.4.1.1.2 and F.2), streamed.

use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use septum_engine::retrieve::metadata::{self, Entry, Reader};

use super::instances;
use super::stream::{self, Break, send};
use crate::call::{Call, header_value};
use crate::http::accept;
use crate::http::problem::{Answer, Problem};

/// The media type of DICOM JSON.
pub(super) const DICOM_JSON: &str = "application/dicom+json";

/// Text is sent in pieces of about this, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// DICOM JSON under the name that the client takes.
///
/// # Errors
/// 406 where it takes neither.
pub(super) fn json_type(call: &Call) -> Answer<&'static str> {
    let ranges = accept::ranges(&call.request)?;
    [DICOM_JSON, "application/json"]
        .into_iter()
        .find(|media_type| accept::takes(&ranges, media_type))
        .ok_or_else(|| Problem::not_acceptable("only JSON can be had here", &[DICOM_JSON.to_owned()]))
}

/// `GET …/studies/{study}/metadata` and `…/series/{series}/metadata`.
pub(super) async fn of_study(call: Call) -> Answer {
    let media_type = json_type(&call)?;
    let (namespace, study) = call.study()?;
    let series_uid = call.series_uid_if_any()?;
    call.audit_study(&study).await?;
    let etag = format!("W/\"{}-{}-metadata\"", study.id(), study.row.revision);
    if let Some(response) = call.not_modified(&etag) {
        return Ok(response);
    }
    let mut reader = metadata::Reader::new(call.services(), &study, series_uid.as_deref())?;
    let Some(first) = reader.next().await? else {
        return Err(Problem::not_found());
    };
    let base = format!("{}/studies/{}", call.service_url(&namespace), call.study_uid()?);
    Ok(respond(first, Some(reader), base, media_type, &etag))
}

/// `GET …/instances/{instance}/metadata`.
pub(super) async fn of_instance(call: Call) -> Answer {
    let media_type = json_type(&call)?;
    let (namespace, _) = call.study()?;
    let instance = instances::find(&call)?;
    call.audit_study(&instance.study).await?;
    let etag = instances::etag(&instance, "metadata");
    if let Some(response) = call.not_modified(&etag) {
        return Ok(response);
    }
    let entry = metadata::of_instance(call.services(), &instance).await?;
    let base = format!("{}/studies/{}", call.service_url(&namespace), call.study_uid()?);
    Ok(respond(vec![entry], None, base, media_type, &etag))
}

fn respond(first: Vec<Entry>, mut rest: Option<Reader>, base: String, media_type: &str, etag: &str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"))
        .body(stream::body(None, |sink| async move {
            let mut text = String::with_capacity(PIECE_BYTES + 4096);
            let mut separator = '[';
            let mut next = Some(first);
            while let Some(entries) = next {
                for entry in entries {
                    text.push(separator);
                    separator = ',';
                    text.push_str(&metadata::with_study_address(&entry.text, &base));
                    if text.len() >= PIECE_BYTES {
                        send(&sink, Bytes::from(std::mem::take(&mut text))).await?;
                    }
                }
                next = match &mut rest {
                    Some(rest) => rest.next().await?,
                    None => None,
                };
            }
            text.push(']');
            send(&sink, text.into()).await?;
            Ok::<(), Break>(())
        }))
}
