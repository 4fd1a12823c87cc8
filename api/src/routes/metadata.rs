//! WADO-RS `/metadata`: the pre-built DICOM JSON of instances (PS3.18 sections 10.4.1.1.2 and F.2), streamed; as XML for
//! who asks for it (PS3.18 section 8.7.3.2).

use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use septum_engine::EngineError;
use septum_engine::retrieve::metadata::{self, Entry, Reader};

use super::dicom_type::{DicomType, Writer, dicom_type};
use super::instances;
use super::stream::{self, Break, send};
use crate::call::{Call, header_value};
use crate::hidden::Hidden;
use crate::http::problem::{Answer, Problem};

/// Text is sent in pieces of about this, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// `GET …/studies/{study}/metadata` and `…/series/{series}/metadata`.
pub(crate) async fn of_study(call: Call) -> Answer {
    let media_type = dicom_type(&call)?;
    let (namespace, study) = call.study()?;
    let series_uid = call.series_uid_if_any()?;
    call.audit_study(&study).await?;
    let etag = format!("W/\"{}-{}-{}\"", study.id(), study.row.revision, etag_word(media_type));
    if let Some(response) = call.not_modified(&etag) {
        return Ok(response);
    }
    let mut reader = metadata::Reader::new(call.services(), &study, series_uid.as_deref())?;
    let Some(first) = reader.next().await? else {
        return Err(Problem::not_found());
    };
    let base = format!("{}/studies/{}", call.service_url(&namespace), call.study_uid()?);
    let hidden = Hidden::of(&call.principal, namespace.id);
    Ok(respond(first, Some(reader), base, media_type, &etag, hidden))
}

/// `GET …/instances/{instance}/metadata`.
pub(super) async fn of_instance(call: Call) -> Answer {
    let media_type = dicom_type(&call)?;
    let (namespace, _) = call.study()?;
    let instance = instances::find(&call)?;
    call.audit_study(&instance.study).await?;
    let etag = instances::etag(&instance, etag_word(media_type));
    if let Some(response) = call.not_modified(&etag) {
        return Ok(response);
    }
    let entry = metadata::of_instance(call.services(), &instance).await?;
    let base = format!("{}/studies/{}", call.service_url(&namespace), call.study_uid()?);
    let hidden = Hidden::of(&call.principal, namespace.id);
    Ok(respond(vec![entry], None, base, media_type, &etag, hidden))
}

fn etag_word(media_type: DicomType) -> &'static str {
    match media_type {
        DicomType::Json(_) => "metadata",
        DicomType::Xml => "metadata-xml",
    }
}

fn respond(
    first: Vec<Entry>,
    mut rest: Option<Reader>,
    base: String,
    media_type: DicomType,
    etag: &str,
    hidden: Hidden,
) -> HttpResponse {
    let mut writer = Writer::of_instances(media_type, &base);
    HttpResponse::Ok()
        .content_type(writer.content_type())
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"))
        .body(stream::body(None, move |sink| async move {
            let mut text = Vec::with_capacity(PIECE_BYTES + 4096);
            let mut next = Some(first);
            while let Some(entries) = next {
                for entry in entries {
                    let entry = hidden.stripped(metadata::with_study_address(&entry.text, &base));
                    if media_type == DicomType::Xml {
                        // Another encoding takes its time: not on a thread that serves others.
                        let written = tokio::task::spawn_blocking(move || {
                            let outcome = writer.push(&entry, &mut text);
                            (writer, text, outcome)
                        });
                        let outcome;
                        (writer, text, outcome) = written.await.map_err(|_| EngineError::Panicked)?;
                        outcome?;
                    } else {
                        writer.push(&entry, &mut text)?;
                    }
                    if text.len() >= PIECE_BYTES {
                        send(&sink, Bytes::from(std::mem::take(&mut text))).await?;
                    }
                }
                next = match &mut rest {
                    Some(rest) => rest.next().await?,
                    None => None,
                };
            }
            text.extend_from_slice(&writer.close());
            send(&sink, text.into()).await?;
            Ok::<(), Break>(())
        }))
}
