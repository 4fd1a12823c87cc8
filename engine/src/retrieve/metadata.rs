//! The pre-built metadata of instances: one row each, codec-independent, with `{BULK}` where an address goes.

use std::sync::Arc;

use septum_core::codec::{compress_with_template, decompress_with_template};
use septum_core::dicom::json::BULK_PREFIX;
use septum_core::seal::{StudyKeys, Token, open_record};

use super::locate::tokens_of;
use super::{InstanceRef, StudyRef};
use crate::error::{EngineError, Result};
use crate::headers::metadata_of;
use crate::records::{SeriesRow, decode, key, metadata_context};
use crate::services::Services;
use crate::templates::LoadedTemplate;

/// Longest metadata of one instance.
const METADATA_BYTES_MAX: u64 = 1 << 30;

/// The metadata of one instance, as JSON text.
pub struct Entry {
    /// Series token.
    pub series: Token,
    /// Instance token.
    pub instance: Token,
    /// A JSON object.
    pub text: String,
}

/// The metadata of every current instance of a study, or of one series, in row order.
pub async fn of_study(services: &Arc<Services>, study: &StudyRef, series_uid: Option<&str>) -> Result<Vec<Entry>> {
    let prefix = match series_uid {
        Some(uid) => key::series_metadata(study.id(), &study.series_token(uid)),
        None => key::study_metadata(study.id()),
    };
    let rows: Vec<(Vec<u8>, Vec<u8>)> = crate::scan::rows(study.stored_in(services), prefix).collect::<Result<_>>()?;
    let mut entries = Vec::with_capacity(rows.len());
    let mut template: Option<(Token, Option<Arc<LoadedTemplate>>)> = None;
    for (row_key, sealed) in rows {
        let (series, instance) = tokens_of(&row_key)?;
        let known = match &template {
            Some((of, known)) if *of == series => known.clone(),
            _ => {
                let known = template_of(services, study, &series).await?;
                template = Some((series, known.clone()));
                known
            }
        };
        entries.push(open(study, &study.keys, series, instance, &sealed, known.as_deref())?);
    }
    Ok(entries)
}

/// The metadata of one version: the pre-built one where it is current, else made from its header.
pub async fn of_instance(services: &Arc<Services>, instance: &InstanceRef) -> Result<Entry> {
    let study = &instance.study;
    let versions = study.versions(services, &instance.series, &instance.instance)?;
    if versions.last() == Some(&instance.version) {
        let row_key = key::metadata(study.id(), &instance.series, &instance.instance);
        let sealed = study
            .stored_in(services)
            .get(&row_key)?
            .ok_or(EngineError::Corrupt("metadata row"))?;
        let template = template_of(services, study, &instance.series).await?;
        return open(
            study,
            &study.keys,
            instance.series,
            instance.instance,
            &sealed,
            template.as_deref(),
        );
    }
    let header = super::stream::header_of(services, instance).await?;
    let start = start_of(instance)?;
    let (attributes, _) = metadata_of(&start, &header);
    let text = serde_json::to_string(&attributes).map_err(|_| EngineError::Corrupt("metadata"))?;
    Ok(Entry {
        series: instance.series,
        instance: instance.instance,
        text,
    })
}

/// What the splitter once said of an instance, from its record.
fn start_of(instance: &InstanceRef) -> Result<septum_core::dicom::InstanceStart> {
    use septum_core::dicom::{Identity, InstanceStart, TransferSyntax};
    use septum_core::ids::{SeriesInstanceUid, SopInstanceUid, StudyInstanceUid, Uid};
    let record = &instance.record;
    let corrupt = |_| EngineError::Corrupt("version record");
    let transfer_syntax = TransferSyntax::of(&record.transfer_syntax_uid);
    Ok(InstanceStart {
        identity: Identity {
            study: StudyInstanceUid::parse(&record.study_uid).map_err(corrupt)?,
            series: SeriesInstanceUid::parse(&record.series_uid).map_err(corrupt)?,
            instance: SopInstanceUid::parse(&record.instance_uid).map_err(corrupt)?,
            sop_class: Uid::parse(&record.sop_class_uid).map_err(corrupt)?,
            patient_id: Vec::new(),
            issuer_of_patient_id: Vec::new(),
            specific_character_set: Vec::new(),
        },
        encoding: record.encoding,
        transfer_syntax,
        pixels: record.pixels.clone(),
    })
}

async fn template_of(
    services: &Arc<Services>,
    study: &StudyRef,
    series: &Token,
) -> Result<Option<Arc<LoadedTemplate>>> {
    let shard = study.stored_in(services);
    let Some(row) = shard.get(&key::series(study.id(), series))? else {
        return Ok(None);
    };
    let row: SeriesRow = decode(&row, "series row")?;
    services
        .templates
        .load(shard, row.template, &study.keys)
        .await
        .map(Some)
}

fn open(
    study: &StudyRef,
    keys: &StudyKeys,
    series: Token,
    instance: Token,
    sealed: &[u8],
    template: Option<&LoadedTemplate>,
) -> Result<Entry> {
    let corrupt = || EngineError::Corrupt("metadata");
    let plain = open_record(&keys.phi, &metadata_context(study.id(), &series, &instance), sealed)?;
    let (length, compressed) = plain.split_first_chunk::<8>().ok_or_else(corrupt)?;
    let length = u64::from_be_bytes(*length);
    if length > METADATA_BYTES_MAX {
        return Err(corrupt());
    }
    let template = template.map(|loaded| loaded.template.metadata.as_slice());
    let text = decompress_with_template(template, compressed, length as usize).map_err(|_| corrupt())?;
    Ok(Entry {
        series,
        instance,
        text: String::from_utf8(text).map_err(|_| corrupt())?,
    })
}

/// Metadata text as it is sealed: its length, big endian, then the text compressed against `template`.
pub fn pack(template: Option<&[u8]>, text: &[u8]) -> Vec<u8> {
    let mut packed = (text.len() as u64).to_be_bytes().to_vec();
    packed.extend(compress_with_template(template, text));
    packed
}

/// Puts an instance's address where metadata has its placeholder.
pub fn with_bulk_address(text: &str, address: &str) -> String {
    text.replace(BULK_PREFIX, address)
}
