//! A study, series or instance as a ZIP file of DICOM media (`application/zip`, PS3.18 section 8.7.5; PS3.10): the
//! original files and a DICOMDIR.
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
use septum_engine::retrieve::stream::{Form, open};
use septum_engine::retrieve::{InstanceRef, StudyRef};
use septum_engine::services::Services;
use serde_json::{Map, Value};

use super::stream::{self, Break, Sink, send};
use crate::call::{Call, header_value};
use crate::http::accept::Choice;
use crate::http::problem::{Answer, Problem};
use crate::http::zip::ZipWriter;

/// The media type.
pub(super) const ZIP: &str = "application/zip";

/// File-set ID of the DICOMDIR.
const FILE_SET_ID: &str = "SEPTUM";

/// Whether a ZIP file is what the client wants most of what DICOM can be sent as.
pub(super) fn is_wanted(choices: &[Choice]) -> bool {
    let first = choices.iter().find(|choice| {
        matches!(
            choice.media.as_str(),
            ZIP | "application/dicom" | "application/*" | "*/*"
        )
    });
    first.is_some_and(|choice| choice.media == ZIP)
}

/// All of a study, or of one series of it.
pub(super) async fn study(call: &Call, study: StudyRef, series_uid: Option<&str>) -> Answer {
    let mut reader = Reader::new(call.services(), &study, series_uid)?;
    let first = reader.next().await?.ok_or_else(Problem::not_found)?;
    let etag = format!("W/\"{}-{}-zip\"", study.id(), study.row.revision);
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
                media.add(&services, &instance, &attributes).await?;
            }
            next = reader.next().await?;
        }
        media.finish().await
    })))
}

/// One instance.
pub(super) async fn instance(call: &Call, instance: InstanceRef, etag: &str) -> Answer {
    if let Some(response) = call.not_modified(etag) {
        return Ok(response);
    }
    let services = Arc::clone(call.services());
    let text = septum_engine::retrieve::metadata::of_instance(&services, &instance)
        .await?
        .text;
    let attributes: Map<String, Value> = read_stored(&text).map_err(|_| EngineError::Corrupt("metadata"))?;
    Ok(head("instance.zip", etag).body(stream::body(None, |sink| async move {
        let mut media = Media::new(sink)?;
        media.add(&services, &instance, &attributes).await?;
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
        let entry = DirectoryEntry {
            file_id: &["DICOM", &series, &file],
            transfer_syntax: &instance.record.transfer_syntax_uid,
            attributes,
        };
        if self.directory.add(&entry).is_err() {
            self.num_unlisted += 1;
        }
        let mut opened = open(services, instance, Form::Original).await?;
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
