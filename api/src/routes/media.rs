//! A study, series or instance as a ZIP file of DICOM media (`application/zip`, PS3.18 section 8.7.5; PS3.10): the
//! original files and a DICOMDIR. Who names a transfer syntax gets the files in it; what cannot be had in it is in the file
//! as stored, and where nothing can, the answer is 406.
//!
//! File IDs are `DICOM/S…/I…`, numbered in the order of the metadata; with a DICOMDIR at the top. What cannot be listed
//! in a DICOMDIR is in the file all the same.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use septum_core::dicom::dicomdir::{DirectoryBuilder, DirectoryEntry};
use septum_core::dicom::json::read_stored;
use septum_core::seal::Token;
use septum_engine::EngineError;
use septum_engine::retrieve::metadata::Reader;
use septum_engine::retrieve::stream::Form;
use septum_engine::retrieve::{InstanceRef, StudyRef};
use septum_engine::services::Services;
use serde_json::{Map, Value};

use super::instances::{DICOM, etag, form_of, name_of, not_acceptable};
use super::stream::{self, Break, Sink, send};
use super::study::{members, none_of, open_or_original, token_of};
use crate::call::{Call, header_value};
use crate::http::accept::{Choice, Syntax};
use crate::http::problem::{Answer, Problem};
use crate::http::zip::ZipWriter;

/// The media type.
pub(super) const ZIP: &str = "application/zip";

/// File-set ID of the DICOMDIR.
const FILE_SET_ID: &str = "SEPTUM";

/// Whether a ZIP file is what the client wants most of what DICOM can be sent as, and the transfer syntax of the files. A
/// range such as `application/*` means one where nothing else in it can be sent: `single` says whether a bare Part 10
/// stream can.
pub(super) fn wanted(choices: &[Choice], single: bool) -> Option<Syntax> {
    let is_zip = |choice: &Choice| choice.media == ZIP || (!choice.multipart && choice.covers(ZIP));
    let first = choices
        .iter()
        .find(|choice| is_zip(choice) || is_dicom(choice, single))?;
    if first.media != ZIP && is_dicom(first, single) {
        return None;
    }
    Some(match &first.syntax {
        // Media hold what was stored.
        Syntax::Default => Syntax::Stored,
        named => named.clone(),
    })
}

/// Whether a choice can be answered with Part 10 streams.
fn is_dicom(choice: &Choice, single: bool) -> bool {
    choice.covers(DICOM) && (single || choice.covers_parts(DICOM))
}

/// All of a study, or of one series of it.
pub(super) async fn study(call: &Call, study: StudyRef, series_uid: Option<&str>, syntax: Syntax) -> Answer {
    let mut reader = Reader::new(call.services(), &study, series_uid)?;
    let first = reader.next().await?.ok_or_else(Problem::not_found)?;
    if syntax != Syntax::Stored && members(call, &study, series_uid, &syntax).await?.0.is_empty() {
        return Err(none_of(&[syntax]));
    }
    let etag = format!("W/\"{}-{}-{}-zip\"", study.id(), study.row.revision, token_of(&syntax));
    if let Some(response) = call.not_modified(&etag) {
        return Ok(response);
    }
    let services = Arc::clone(call.services());
    let name = if series_uid.is_some() {
        "series.zip"
    } else {
        "study.zip"
    };
    Ok(head(name, &etag).body(stream::body(None, |sink| async move {
        let mut media = Media::new(sink)?;
        let mut next = Some(first);
        while let Some(entries) = next {
            for entry in entries {
                let attributes = read_stored(&entry.text).map_err(|_| EngineError::Corrupt("metadata"))?;
                let versions = study.versions(&services, &entry.series, &entry.instance)?;
                let version = *versions.last().ok_or(EngineError::Corrupt("instance row"))?;
                let instance = study.version(&services, entry.series, entry.instance, version)?;
                let form = form_of(&instance.record, &syntax).unwrap_or(Form::Original);
                media.add(&services, &instance, form, &attributes).await?;
            }
            next = reader.next().await?;
        }
        media.finish().await
    })))
}

/// One instance.
pub(super) async fn instance(call: &Call, instance: InstanceRef, syntax: Syntax) -> Answer {
    let form = form_of(&instance.record, &syntax).ok_or_else(|| not_acceptable(Some(&instance.record), &[], None))?;
    let etag = etag(&instance, &format!("{}-zip", name_of(form)));
    if let Some(response) = call.not_modified(&etag) {
        return Ok(response);
    }
    let services = Arc::clone(call.services());
    let text = septum_engine::retrieve::metadata::of_instance(&services, &instance)
        .await?
        .text;
    let attributes: Map<String, Value> = read_stored(&text).map_err(|_| EngineError::Corrupt("metadata"))?;
    Ok(head("instance.zip", &etag).body(stream::body(None, |sink| async move {
        let mut media = Media::new(sink)?;
        media.add(&services, &instance, form, &attributes).await?;
        media.finish().await
    })))
}

fn head(name: &str, etag: &str) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type(ZIP)
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"));
    response
}

/// The file being sent.
struct Media {
    sink: Sink,
    zip: ZipWriter,
    directory: DirectoryBuilder,
    series: Option<Token>,
    num_series: u32,
    num_instances: u32,
    num_unlisted: u32,
}

impl Media {
    fn new(sink: Sink) -> Result<Self, EngineError> {
        Ok(Self {
            sink,
            zip: ZipWriter::default(),
            directory: DirectoryBuilder::new(FILE_SET_ID).map_err(|_| EngineError::Corrupt("DICOMDIR"))?,
            series: None,
            num_series: 0,
            num_instances: 0,
            num_unlisted: 0,
        })
    }

    async fn add(
        &mut self,
        services: &Arc<Services>,
        instance: &InstanceRef,
        form: Form,
        attributes: &Map<String, Value>,
    ) -> Result<(), Break> {
        if self.series != Some(instance.series) {
            self.series = Some(instance.series);
            self.num_series += 1;
        }
        self.num_instances += 1;
        let (series, file) = (
            format!("S{:07}", self.num_series),
            format!("I{:07}", self.num_instances),
        );
        let mut opened = open_or_original(services, instance, form).await?;
        let entry = DirectoryEntry {
            file_id: &["DICOM", &series, &file],
            transfer_syntax: &opened.transfer_syntax_uid,
            attributes,
        };
        if self.directory.add(&entry).is_err() {
            self.num_unlisted += 1;
        }
        send(&self.sink, self.zip.open(&format!("DICOM/{series}/{file}"))).await?;
        while let Some(piece) = opened.next().await {
            let piece = piece?;
            send(&self.sink, self.zip.content(&piece)).await?;
        }
        send(&self.sink, self.zip.close()).await?;
        Ok(())
    }

    async fn finish(mut self) -> Result<(), Break> {
        if self.num_unlisted > 0 {
            tracing::warn!(
                num_unlisted = self.num_unlisted,
                "instances are not in the DICOMDIR of a ZIP file"
            );
        }
        let uid = septum_core::ids::Uid::random();
        let directory = self
            .directory
            .finish(uid.as_str())
            .map_err(|_| EngineError::Corrupt("DICOMDIR"))?;
        send(&self.sink, self.zip.open("DICOMDIR")).await?;
        send(&self.sink, self.zip.content(&directory.bytes)).await?;
        send(&self.sink, self.zip.close()).await?;
        send(&self.sink, self.zip.finish()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::accept;

    #[test]
    fn ranges_mean_a_zip_file_where_nothing_else_can_be_sent() {
        for (accept, of_study, of_instance) in [
            ("application/zip", true, true),
            ("*/*", false, false),
            ("application/*", true, false),
            ("*/*;q=0.5, application/*;q=0.1", false, false),
            ("*/*;q=0.1, application/*;q=0.5", true, false),
            ("multipart/related;q=0, */*", true, false),
            (
                "multipart/related; type=\"application/dicom\";q=0, */*;q=0.3",
                true,
                false,
            ),
            ("application/dicom;q=0, application/*", true, true),
            ("application/zip;q=0, application/*", false, false),
            ("application/dicom", false, false),
            ("multipart/related; type=\"application/*\"", false, false),
            (
                "multipart/related; type=\"application/dicom\", application/*;q=0.9",
                false,
                false,
            ),
            ("image/*", false, false),
        ] {
            let choices = accept::choices_of([accept].into_iter()).expect("well formed");
            for (single, expected) in [(false, of_study), (true, of_instance)] {
                assert_eq!(wanted(&choices, single).is_some(), expected, "{accept} {single}");
            }
        }
        let choices = accept::choices_of(["application/*; transfer-syntax=1.2.3"].into_iter()).expect("well formed");
        assert_eq!(wanted(&choices, false), Some(Syntax::Uid("1.2.3".to_owned())));
    }
}
