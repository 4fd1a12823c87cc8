//! WADO-RS `/metadata`: the pre-built DICOM JSON of instances (PS3.18 sections 10.4.1.1.2 and F.2), streamed.

use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use septum_core::dicom::json::BULK_PREFIX;
use septum_engine::retrieve::metadata::{self, Entry};
use septum_engine::{EngineError, Result};
use serde::Deserialize;

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
    let entries = metadata::of_study(call.services(), &study, series_uid.as_deref()).await?;
    if entries.is_empty() {
        return Err(Problem::not_found());
    }
    let base = format!("{}/studies/{}", call.service_url(&namespace), call.study_uid()?);
    Ok(respond(entries, base, media_type, &etag))
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
    Ok(respond(vec![entry], base, media_type, &etag))
}

fn respond(entries: Vec<Entry>, base: String, media_type: &str, etag: &str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"))
        .body(stream::body(None, |sink| async move {
            let mut text = String::with_capacity(PIECE_BYTES + 4096);
            let mut separator = '[';
            for entry in entries {
                text.push(separator);
                separator = ',';
                text.push_str(&addressed(&entry.text, &base)?);
                if text.len() >= PIECE_BYTES {
                    send(&sink, Bytes::from(std::mem::take(&mut text))).await?;
                }
            }
            text.push(']');
            send(&sink, text.into()).await?;
            Ok::<(), Break>(())
        }))
}

/// What the address of an instance's bulk data needs of its metadata.
#[derive(Deserialize)]
struct Ids {
    #[serde(rename = "0020000E")]
    series: Uid,
    #[serde(rename = "00080018")]
    instance: Uid,
}

#[derive(Deserialize)]
struct Uid {
    #[serde(rename = "Value")]
    value: [String; 1],
}

/// Metadata with addresses of bulk data, where it has any.
fn addressed(text: &str, base: &str) -> Result<String> {
    if !text.contains(BULK_PREFIX) {
        return Ok(text.to_owned());
    }
    let ids: Ids = serde_json::from_str(text).map_err(|_| EngineError::Corrupt("metadata"))?;
    let ([series], [instance]) = (&ids.series.value, &ids.instance.value);
    let address = format!("{base}/series/{series}/instances/{instance}/bulkdata");
    Ok(metadata::with_bulk_address(text, &address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_data_gets_its_instances_address() {
        let text = r#"{"00080018":{"vr":"UI","Value":["1.2.3"]},"0020000E":{"vr":"UI","Value":["1.2"]},"7FE00010":{"vr":"OW","BulkDataURI":"{BULK}/7FE00010"}}"#;
        let shown = addressed(text, "https://h/dicomweb/studies/1").expect("is metadata");
        assert!(
            shown.contains("\"https://h/dicomweb/studies/1/series/1.2/instances/1.2.3/bulkdata/7FE00010\""),
            "{shown}"
        );
        assert_eq!(addressed("{}", "x").expect("no bulk data"), "{}");
        assert!(addressed("{BULK}", "x").is_err());
    }
}
