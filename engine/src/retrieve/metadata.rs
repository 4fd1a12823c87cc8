//! The pre-built metadata of instances: codec-independent JSON, with `{BULK}` where the study's address goes.
//!
//! A new instance's metadata is a row of its own; [`crate::folding`] later puts those of a series together in a few
//! objects, sorted by Instance Number. A row counts before what is folded. Reading goes block by block, so that what is
//! in memory does not grow with the study: of each instance, its token and digest at most.
//!
//! Nothing is locked, so a series may be folded while it is read: a row that is gone, or an object, tells, and the series
//! is looked at anew without giving an instance twice.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use septum_core::codec::{compress_with_template, decompress_with_template};
use septum_core::dicom::json::BULK_PREFIX;
use septum_core::ids::ObjectId;
use septum_core::seal::{Token, open_record};
use septum_storage::StorageError;

use super::locate::tokens_of;
use super::{InstanceRef, StudyRef};
use crate::error::{EngineError, Result};
use crate::headers::metadata_of;
use crate::records::{FoldedRow, MetadataBlock, MetadataRow, SeriesRow, block_context, decode, key, metadata_context};
use crate::services::Services;
use crate::templates::LoadedTemplate;

/// Longest metadata of one instance.
const METADATA_BYTES_MAX: u64 = 1 << 30;

/// Longest text of one block.
const BLOCK_TEXT_BYTES_MAX: usize = 64 << 20;

/// Rows opened in one step.
const STEP_ROWS: usize = 64;

/// How often a series is looked at again that was folded meanwhile; folding takes its time, so once is the rule.
const LOOKS_MAX: usize = 8;

/// The metadata of one instance, as JSON text.
pub struct Entry {
    /// Series token.
    pub series: Token,
    /// Instance token.
    pub instance: Token,
    /// A JSON object.
    pub text: String,
}

/// What is stored of a series' metadata.
pub struct SeriesMetadata {
    /// The series.
    pub series: Token,
    /// What is folded, and its row as stored.
    pub folded: Option<(FoldedRow, Vec<u8>)>,
    /// Instances that are not folded, or changed since.
    pub rows: Vec<SeenRow>,
}

/// The row of an instance as it was seen.
pub struct SeenRow {
    /// The instance.
    pub instance: Token,
    /// Large metadata lies in an object of its own.
    pub is_object: bool,
    digest: [u8; 32],
}

impl SeenRow {
    /// Whether the row is still what was seen.
    pub fn is(&self, row: &[u8]) -> bool {
        blake3::hash(row) == self.digest
    }
}

impl SeriesMetadata {
    /// Finds what is stored.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] where the study was erased, or re-sealed under another id, since `study` was found.
    pub fn load(services: &Services, study: &StudyRef, series: Token) -> Result<Self> {
        let folded_key = key::folded(study.id(), &series);
        for _ in 0..LOOKS_MAX {
            let found = Self::look(services, study, series, &folded_key)?;
            let now = study.stored_in(services).get(&folded_key)?;
            // Rows are read a page at a time: if it was folded in between, rows are gone that what was seen does not hold.
            if now.as_deref() == found.folded.as_ref().map(|(_, value)| value.as_slice()) {
                // Keys go before rows do, so as long as they are there no row was missing for that.
                services.keyring.study(study.keys.id)?;
                return Ok(found);
            }
        }
        Err(EngineError::Overloaded { retry_after_seconds: 1 })
    }

    fn look(services: &Services, study: &StudyRef, series: Token, folded_key: &[u8]) -> Result<Self> {
        let mut found = Self {
            series,
            folded: None,
            rows: Vec::new(),
        };
        for row in crate::scan::rows(study.stored_in(services), folded_key.to_vec()) {
            let (row_key, value) = row?;
            if row_key == folded_key {
                found.folded = Some((decode(&value, "folded metadata")?, value));
            } else {
                found.rows.push(SeenRow {
                    instance: tokens_of(&row_key)?.1,
                    is_object: matches!(decode(&value, "metadata row")?, MetadataRow::Object(_)),
                    digest: blake3::hash(&value).into(),
                });
            }
        }
        Ok(found)
    }
}

/// A part of what is yet to be read.
enum Step {
    Series(Token),
    Rows(Token, Vec<Token>),
    Block(Token, ObjectId, Arc<HashSet<Token>>),
}

impl Step {
    /// Whether it came of looking at that series.
    fn is_part_of(&self, of: Token) -> bool {
        match self {
            Self::Series(_) => false,
            Self::Rows(series, _) | Self::Block(series, ..) => *series == of,
        }
    }
}

/// Reads the metadata of every current instance of a study, or of one series, a step at a time.
pub struct Reader {
    services: Arc<Services>,
    study: StudyRef,
    steps: VecDeque<Step>,
    /// Of the series being read, what was given.
    given: HashSet<Token>,
    num_looks: usize,
}

impl Reader {
    /// Reads a study in the order of its series, or the series of that UID.
    pub fn new(services: &Arc<Services>, study: &StudyRef, series_uid: Option<&str>) -> Result<Self> {
        let steps = match series_uid {
            Some(uid) => VecDeque::from([Step::Series(study.series_token(uid))]),
            None => {
                let open = services.summaries.open(&study.row)?;
                let tokens = open
                    .summary
                    .series
                    .iter()
                    .map(|series| Step::Series(study.series_token(&series.series_uid)));
                tokens.collect()
            }
        };
        Ok(Self {
            services: Arc::clone(services),
            study: study.clone(),
            steps,
            given: HashSet::new(),
            num_looks: 0,
        })
    }

    /// The next entries, never an empty list; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        while let Some(step) = self.steps.pop_front() {
            let (series, read) = match step {
                Step::Series(series) => {
                    self.given.clear();
                    self.num_looks = 0;
                    self.plan(series)?;
                    continue;
                }
                Step::Rows(series, instances) => (series, self.rows(series, &instances).await),
                Step::Block(series, object, superseded) => {
                    let read = block(&self.services, &self.study, series, object).await;
                    let without = |mut entries: Vec<Entry>| {
                        entries.retain(|entry| !superseded.contains(&entry.instance));
                        entries
                    };
                    (series, read.map(without))
                }
            };
            let mut entries = match read {
                // Folded or sent again since the series was looked at.
                Err(EngineError::Storage(StorageError::NotFound)) if self.num_looks < LOOKS_MAX => {
                    self.steps.retain(|step| !step.is_part_of(series));
                    self.plan(series)?;
                    continue;
                }
                read => read?,
            };
            entries.retain(|entry| self.given.insert(entry.instance));
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
        Ok(None)
    }

    /// Looks at a series and puts what is there before everything else.
    fn plan(&mut self, series: Token) -> Result<()> {
        self.num_looks += 1;
        let SeriesMetadata { folded, rows, .. } = SeriesMetadata::load(&self.services, &self.study, series)?;
        let instances: Vec<Token> = rows.iter().map(|row| row.instance).collect();
        for step in instances.chunks(STEP_ROWS) {
            self.steps.push_front(Step::Rows(series, step.to_vec()));
        }
        let superseded = Arc::new(instances.into_iter().collect());
        let blocks = folded.map(|(folded, _)| folded.blocks).unwrap_or_default();
        for object in blocks.into_iter().rev() {
            let superseded = Arc::clone(&superseded);
            self.steps.push_front(Step::Block(series, object, superseded));
        }
        Ok(())
    }

    async fn rows(&self, series: Token, instances: &[Token]) -> Result<Vec<Entry>> {
        let template = template_of(&self.services, &self.study, &series).await?;
        let mut entries = Vec::with_capacity(instances.len());
        for instance in instances {
            let (_, entry) = row(&self.services, &self.study, series, *instance, template.as_deref()).await?;
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// The metadata of an instance that is not folded, and its row as stored. [`StorageError::NotFound`] where it is folded
/// by now.
pub async fn row(
    services: &Services,
    study: &StudyRef,
    series: Token,
    instance: Token,
    template: Option<&LoadedTemplate>,
) -> Result<(Vec<u8>, Entry)> {
    let row = study
        .stored_in(services)
        .get(&key::metadata(study.id(), &series, &instance))?
        .ok_or(StorageError::NotFound)?;
    let entry = open(services, study, series, instance, &row, template).await?;
    Ok((row, entry))
}

/// The entries of a block of folded metadata.
pub async fn block(services: &Services, study: &StudyRef, series: Token, object: ObjectId) -> Result<Vec<Entry>> {
    let corrupt = || EngineError::Corrupt("folded metadata");
    let sealed = study.stored_in(services).read_object(object, None).await?;
    let (keys, study_id) = (Arc::clone(&study.keys), study.id());
    let opened = services
        .compute
        .run(move || -> Result<Vec<Entry>> {
            let plain = open_record(&keys.phi, &block_context(study_id, &series, object), &sealed)?;
            let MetadataBlock { entries, compressed } = decode(&plain, "folded metadata")?;
            let length = entries
                .iter()
                .try_fold(0_usize, |sum, (_, length)| sum.checked_add(*length as usize))
                .filter(|length| *length <= BLOCK_TEXT_BYTES_MAX)
                .ok_or_else(corrupt)?;
            let text = zstd::bulk::decompress(&compressed, length).map_err(|_| corrupt())?;
            let text = String::from_utf8(text).map_err(|_| corrupt())?;
            let mut rest = text.as_str();
            let mut opened = Vec::with_capacity(entries.len());
            for (instance, length) in entries {
                let (text, after) = rest.split_at_checked(length as usize).ok_or_else(corrupt)?;
                rest = after;
                opened.push(Entry {
                    series,
                    instance,
                    text: text.to_owned(),
                });
            }
            Ok(opened)
        })
        .await??;
    Ok(opened)
}

/// The metadata of one version: the pre-built one where it is current, else made from its header.
pub async fn of_instance(services: &Arc<Services>, instance: &InstanceRef) -> Result<Entry> {
    let study = &instance.study;
    let versions = study.versions(services, &instance.series, &instance.instance)?;
    if versions.last() == Some(&instance.version)
        && let Some(entry) = current(services, study, instance.series, instance.instance).await?
    {
        return Ok(entry);
    }
    let header = super::stream::header_of(services, instance).await?;
    let start = start_of(instance)?;
    let text = serde_json::to_string(&metadata_of(&start, &header).attributes)
        .map_err(|_| EngineError::Corrupt("metadata"))?;
    Ok(Entry {
        series: instance.series,
        instance: instance.instance,
        text,
    })
}

/// What is stored of an instance that is not folded; of a folded one the header is the shorter way.
async fn current(services: &Arc<Services>, study: &StudyRef, series: Token, instance: Token) -> Result<Option<Entry>> {
    let template = template_of(services, study, &series).await?;
    match row(services, study, series, instance, template.as_deref()).await {
        Ok((_, entry)) => Ok(Some(entry)),
        Err(EngineError::Storage(StorageError::NotFound)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the splitter once said of an instance, from its record.
pub(crate) fn start_of(instance: &InstanceRef) -> Result<septum_core::dicom::InstanceStart> {
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

/// The template that the rows of a series are compressed against.
pub async fn template_of(
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

/// Opens the row of an instance.
async fn open(
    services: &Services,
    study: &StudyRef,
    series: Token,
    instance: Token,
    row: &[u8],
    template: Option<&LoadedTemplate>,
) -> Result<Entry> {
    let corrupt = || EngineError::Corrupt("metadata");
    let sealed = match decode(row, "metadata row")? {
        MetadataRow::Inline(sealed) => sealed.into(),
        MetadataRow::Object(object) => study.stored_in(services).read_object(object, None).await?,
    };
    let context = metadata_context(study.id(), &series, &instance);
    let plain = open_record(&study.keys.phi, &context, &sealed)?;
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

/// Puts the study's address where metadata, or a search's result, has its placeholder: in the addresses of bulk data, not
/// in a value that happens to read alike. Inside a string a quote is escaped, so no value reads like a member's begin.
pub fn with_study_address(text: &str, address: &str) -> String {
    let member = |start: &str| format!("\"BulkDataURI\":\"{start}");
    text.replace(&member(BULK_PREFIX), &member(address))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::with_study_address;

    #[test]
    fn only_addresses_get_the_study_s() {
        let description = "a{BULK}b \"BulkDataURI\":\"{BULK}/c";
        let dataset = |address: &str| {
            json!({
                "00081030": {"vr": "LO", "Value": [description, "{BULK}"]},
                "00091010": {"vr": "SQ", "Value": [{"7FE00010": {"vr": "OW", "BulkDataURI": format!("{address}/1/7FE00010")}}]},
                "7FE00010": {"vr": "OW", "BulkDataURI": format!("{address}/7FE00010")},
            })
        };
        let (stored, address) = (dataset("{BULK}").to_string(), "https://example.org/studies/1.2");
        let shown: Value = serde_json::from_str(&with_study_address(&stored, address)).expect("JSON");
        assert_eq!(shown, dataset(address));
    }
}
