//! WADO-RS `/bulkdata` and `/pixeldata` of an instance, a series or a study (PS3.18 table 10.4.1-1): every bulk data that the
//! metadata names, or the pixels alone, each as a part that says its address.
//!
//! Pixels go out as native samples, little endian. Those that cannot be decoded go out as stored, frame by frame where frames
//! can be told apart, and their parts say so.

use std::collections::VecDeque;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use septum_core::dicom::json::read_stored;
use septum_engine::EngineError;
use septum_engine::retrieve::frames::{EXPLICIT_LITTLE, Frames, stored_frame};
use septum_engine::retrieve::metadata::{self, Entry, Reader, with_study_address};
use septum_engine::retrieve::stream::pixels_of;
use septum_engine::retrieve::{InstanceRef, StudyRef};
use septum_engine::services::Services;
use serde_json::{Map, Value};

use super::frames::{is_pixels, send_payload, stored_value};
use super::instances::{self, is_form_error};
use super::media_types::{OCTETS, media_type_of, video_type};
use super::ranged;
use super::stream::{self, Break, Sink, send};
use crate::call::Call;
use crate::http::accept::{self, Choice, Syntax};
use crate::http::parts::{PartWriter, with_syntax};
use crate::http::problem::{Answer, Problem};

/// Name, path and action of each route here.
pub(super) const ROWS: [(&str, &str, &str); 6] = [
    (
        "retrieve_study_bulk_data",
        "/studies/{study}/bulkdata",
        "study.read-bulk-data",
    ),
    (
        "retrieve_series_bulk_data",
        "/studies/{study}/series/{series}/bulkdata",
        "series.read-bulk-data",
    ),
    (
        "retrieve_all_bulk_data",
        "/studies/{study}/series/{series}/instances/{instance}/bulkdata",
        "instance.read-bulk-data",
    ),
    (
        "retrieve_study_pixel_data",
        "/studies/{study}/pixeldata",
        "study.read-bulk-data",
    ),
    (
        "retrieve_series_pixel_data",
        "/studies/{study}/series/{series}/pixeldata",
        "series.read-bulk-data",
    ),
    (
        "retrieve_pixel_data",
        "/studies/{study}/series/{series}/instances/{instance}/pixeldata",
        "instance.read-bulk-data",
    ),
];

/// `GET …/bulkdata` and `…/pixeldata`.
pub(super) async fn retrieve(call: Call) -> Answer {
    let which: Which = if call.request.path().ends_with("/pixeldata") {
        is_pixels
    } else {
        |_| true
    };
    answer(call, which).await
}

/// Which paths of bulk data are asked for.
type Which = fn(&str) -> bool;

async fn answer(call: Call, which: Which) -> Answer {
    let choices = accept::choices(&call.request)?;
    if !choices.iter().any(is_taken) {
        let offer = format!("multipart/related; type=\"{OCTETS}\"");
        return Err(Problem::not_acceptable("bulk data can be had in parts only", &[offer]));
    }
    let (namespace, study) = call.study()?;
    let services = Arc::clone(call.services());
    let base = format!("{}/studies/{}", call.service_url(&namespace), call.study_uid()?);
    call.audit_study(&study).await?;
    let mut values = Found {
        services: Arc::clone(&services),
        base,
        which,
        from: if call.path("instance").is_empty() {
            let series_uid = call.series_uid_if_any()?;
            Origin::Study {
                reader: Box::new(Reader::new(&services, &study, series_uid.as_deref())?),
                entries: VecDeque::new(),
                study: Box::new(study),
            }
        } else {
            Origin::Instance(Some(Box::new(instances::find(&call)?)))
        },
    };
    // Whether there is anything at all is known before the answer begins.
    let first = values.next().await?.ok_or_else(Problem::not_found)?;
    let mut writer = PartWriter::new();
    let mut response = HttpResponse::Ok();
    response
        .content_type(writer.content_type(OCTETS))
        .insert_header((header::VARY, "Accept"));
    Ok(response.body(stream::body(None, |sink: Sink| async move {
        let mut next = Some(first);
        while let Some((instance, addresses)) = next {
            for address in addresses {
                send_value(&sink, &mut writer, &services, &instance, &address).await?;
            }
            next = values.next().await?;
        }
        send(&sink, writer.close()).await?;
        Ok::<(), Break>(())
    })))
}

fn is_taken(choice: &Choice) -> bool {
    let is_native = match &choice.syntax {
        Syntax::Default => true,
        Syntax::Stored => false,
        Syntax::Uid(uid) => uid == EXPLICIT_LITTLE,
    };
    is_native && choice.covers_parts(OCTETS)
}

/// Where instances come from.
enum Origin {
    Instance(Option<Box<InstanceRef>>),
    Study {
        study: Box<StudyRef>,
        reader: Box<Reader>,
        entries: VecDeque<Entry>,
    },
}

/// Instances one after the other, with the addresses of their bulk data.
struct Found {
    services: Arc<Services>,
    base: String,
    which: Which,
    from: Origin,
}

impl Found {
    /// The next instance that has any.
    async fn next(&mut self) -> septum_engine::Result<Option<(InstanceRef, Vec<String>)>> {
        loop {
            let (instance, text) = match &mut self.from {
                Origin::Instance(one) => {
                    let Some(instance) = one.take() else { return Ok(None) };
                    let text = metadata::of_instance(&self.services, &instance).await?.text;
                    (*instance, text)
                }
                Origin::Study { study, reader, entries } => {
                    let Some(entry) = entries.pop_front() else {
                        let Some(more) = reader.next().await? else {
                            return Ok(None);
                        };
                        entries.extend(more);
                        continue;
                    };
                    let versions = study.versions(&self.services, &entry.series, &entry.instance)?;
                    let version = *versions.last().ok_or(EngineError::Corrupt("instance row"))?;
                    let instance = study.version(&self.services, entry.series, entry.instance, version)?;
                    (instance, entry.text)
                }
            };
            let addresses = addresses(&with_study_address(&text, &self.base), self.which)?;
            if !addresses.is_empty() {
                return Ok(Some((instance, addresses)));
            }
        }
    }
}

/// The path of bulk data in its address.
fn path_of(address: &str) -> Option<&str> {
    address.rsplit_once("/bulkdata/").map(|(_, path)| path)
}

/// Every BulkDataURI of metadata, those in sequences too.
fn addresses(text: &str, which: Which) -> septum_engine::Result<Vec<String>> {
    let dataset: Map<String, Value> = read_stored(text).map_err(|_| EngineError::Corrupt("metadata"))?;
    let mut found = Vec::new();
    // What is still to be looked at lies on a stack of our own: no recursion on input depth.
    let mut open = vec![&dataset];
    while let Some(dataset) = open.pop() {
        for element in dataset.values() {
            let address = element.get("BulkDataURI").and_then(Value::as_str);
            found.extend(
                address
                    .filter(|address| path_of(address).is_some_and(which))
                    .map(str::to_owned),
            );
            let values = element.get("Value").and_then(Value::as_array);
            open.extend(values.into_iter().flatten().filter_map(Value::as_object));
        }
    }
    Ok(found)
}

async fn send_value(
    sink: &Sink,
    writer: &mut PartWriter,
    services: &Arc<Services>,
    instance: &InstanceRef,
    address: &str,
) -> Result<(), Break> {
    let path = path_of(address).unwrap_or_default();
    if is_pixels(path) {
        return send_pixels(sink, writer, services, instance, address).await;
    }
    let value = match stored_value(services, instance, path).await {
        Ok(value) => value,
        // What can be had in the instance only is left out: the others can.
        Err(error) if is_form_error(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    send(sink, writer.open(OCTETS, Some(address))).await?;
    ranged::send_value(sink, &value, 0..value.length()).await
}

async fn send_pixels(
    sink: &Sink,
    writer: &mut PartWriter,
    services: &Arc<Services>,
    instance: &InstanceRef,
    address: &str,
) -> Result<(), Break> {
    let Some(pixels) = pixels_of(services, instance)? else {
        return Ok(());
    };
    // Whether the first frame can be decoded tells it, most of the time, of all.
    let native = match Frames::native(services, pixels.clone(), instance).await {
        Ok(frames) => frames.native_piece(0).await.map(|piece| (frames, piece)),
        Err(error) => Err(error),
    };
    match native {
        Ok((frames, first)) => {
            let part_type = with_syntax(OCTETS, EXPLICIT_LITTLE);
            send(sink, writer.open(&part_type, Some(address))).await?;
            let (mut next, mut step) = (first, 0);
            while let Some(piece) = next {
                send(sink, piece).await?;
                step += 1;
                next = frames.native_piece(step).await?;
            }
            return Ok(());
        }
        Err(error) if is_form_error(&error) => {}
        Err(error) => return Err(error.into()),
    }
    let uid = &instance.record.transfer_syntax_uid;
    let num_frames = pixels.record().layout.num_frames();
    if let (None, 1..) = (video_type(uid), num_frames) {
        let start = address.rsplit_once("/bulkdata/").map_or(address, |(start, _)| start);
        for index in 0..num_frames {
            let frame = stored_frame(&pixels, index).await?;
            let location = format!("{start}/frames/{}", index + 1);
            send(
                sink,
                writer.open(&with_syntax(media_type_of(uid), uid), Some(&location)),
            )
            .await?;
            send(sink, frame).await?;
        }
        return Ok(());
    }
    let media_type = video_type(uid).unwrap_or_else(|| media_type_of(uid));
    send(sink, writer.open(&with_syntax(media_type, uid), Some(address))).await?;
    send_payload(sink, &pixels).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_found() {
        let text = r#"{"7FE00010":{"vr":"OW","BulkDataURI":"https://h/i/bulkdata/7FE00010"},
            "00420011":{"vr":"OB","BulkDataURI":"https://h/i/bulkdata/00420011"},
            "00091001":{"vr":"SQ","Value":[{"00091002":{"vr":"OB","BulkDataURI":"https://h/i/bulkdata/00091001/1/00091002"}}]},
            "00080018":{"vr":"UI","Value":["1.2"]}}"#;
        assert_eq!(addresses(text, |_| true).expect("JSON").len(), 3);
        assert_eq!(
            addresses(text, is_pixels).expect("JSON"),
            ["https://h/i/bulkdata/7FE00010"]
        );
        assert!(addresses("[]", is_pixels).is_err());
    }
}
