//! Folding: when a study is stable, what its instances left behind one by one is put together.
//!
//! Metadata rows of a series become a few sorted, compressed objects ([`FoldedRow`]), so that a viewer's first request
//! is one read; the study's searchable fields move into a page at rest ([`crate::columns`]). An `unfolded` row marks
//! every study that is behind; it goes with the commit that folds the columns, so a crash only means folding again.
//!
//! Upkeep for n instances is O(n): a series is folded anew only when what changed is a fair part of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use septum_core::ids::{NamespaceId, ObjectId};
use septum_core::seal::{Token, seal_record};
use septum_storage::RowKind;
use serde::Deserialize;

use crate::columns::{self, namespace_of};
use crate::error::{EngineError, Result};
use crate::records::{FoldedRow, MetadataBlock, MetadataRow, block_context, decode, encode, key};
use crate::retrieve::StudyRef;
use crate::retrieve::metadata::{Entry, SeriesMetadata, block, open, template_of};
use crate::services::Services;

/// Studies whose columns are folded in one commit.
const STUDIES_PER_COMMIT: usize = 64;

/// Instances in a block of metadata.
const BLOCK_ENTRIES: usize = 512;

/// Text in a block of metadata, in bytes, unless one instance alone has more.
const BLOCK_TEXT_BYTES: usize = 4 << 20;

/// Text of a series that is folded, in bytes; a longer one stays in rows.
const SERIES_TEXT_BYTES_MAX: usize = 64 << 20;

/// Fewer changed instances than this are left in rows beside what is folded.
const CHANGED_MIN: usize = 16;

/// A series is folded anew when one in so many of its instances changed.
const CHANGED_PART: usize = 8;

/// Compression level of blocks.
const ZSTD_LEVEL: i32 = 3;

/// A study: its shard and the key of its row.
type Place = (usize, Vec<u8>);

/// Stable studies that wait for folding.
#[derive(Default)]
pub struct Folding(Mutex<HashSet<Place>>);

impl Folding {
    fn waiting(&self) -> MutexGuard<'_, HashSet<Place>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A study became stable.
    pub fn push(&self, shard: usize, study_row_key: &[u8]) {
        self.waiting().insert((shard, study_row_key.to_vec()));
    }

    /// Finds the stable studies that were not folded when the server stopped. A damaged shard's are left out.
    pub fn reload(&self, services: &Services) {
        for (shard, ledger) in services.ledgers.iter().enumerate() {
            for row in crate::scan::rows(ledger.shard(), RowKind::Unfolded.key(&[])) {
                let row_key = row.map(|(row_key, _)| key::beside(RowKind::Study, &row_key));
                let unstable = |row_key: &Vec<u8>| ledger.shard().get(&key::beside(RowKind::Unstable, row_key));
                match row_key.and_then(|row_key| Ok((unstable(&row_key)?.is_none(), row_key))) {
                    Ok((true, row_key)) => self.push(shard, &row_key),
                    Ok((false, _)) => {}
                    Err(error) => tracing::error!(%error, shard, "studies to fold could not be found"),
                }
            }
        }
    }

    /// Folds everything that waits. What cannot be folded now stays as it is, which costs speed alone.
    pub async fn sweep(&self, services: &Arc<Services>) {
        let due = std::mem::take(&mut *self.waiting());
        let mut groups: HashMap<(usize, NamespaceId), Vec<Vec<u8>>> = HashMap::new();
        for (shard, row_key) in due {
            if let Err(error) = metadata(services, shard, &row_key).await {
                tracing::warn!(%error, shard, "metadata could not be folded");
            }
            if let Ok(namespace) = namespace_of(&row_key) {
                groups.entry((shard, namespace)).or_default().push(row_key);
            }
        }
        for ((shard, namespace), row_keys) in groups {
            for row_keys in row_keys.chunks(STUDIES_PER_COMMIT) {
                let folded = match account(services, namespace) {
                    Ok(account) => columns::fold(services, shard, namespace, &account, row_keys).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = folded {
                    tracing::warn!(%error, shard, "columns could not be folded");
                }
            }
        }
    }
}

fn account(services: &Services, namespace: NamespaceId) -> Result<Arc<septum_core::seal::AccountKeys>> {
    services
        .keyring
        .account(services.accounts.namespace(namespace)?.account)
}

/// Folds the metadata of each series of a study.
async fn metadata(services: &Arc<Services>, shard: usize, row_key: &[u8]) -> Result<()> {
    let namespace = namespace_of(row_key)?;
    let account = account(services, namespace)?;
    let study = match StudyRef::load(services, namespace, account, shard, row_key.to_vec()) {
        Ok(study) => study,
        Err(EngineError::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    let summary = services.summaries.open(&study.row)?;
    for series in &summary.summary.series {
        fold_series(services, &study, study.series_token(&series.series_uid)).await?;
    }
    Ok(())
}

async fn fold_series(services: &Arc<Services>, study: &StudyRef, series: Token) -> Result<()> {
    let mut stored = SeriesMetadata::load(services, study, series)?;
    // Large metadata stays in its own object.
    let mut large = HashSet::new();
    for (instance, row) in &stored.rows {
        if matches!(decode(row, "metadata row")?, MetadataRow::Object(_)) {
            large.insert(*instance);
        }
    }
    let superseded: HashSet<Token> = stored.rows.iter().map(|(instance, _)| *instance).collect();
    stored.rows.retain(|(instance, _)| !large.contains(instance));
    let num_folded = stored
        .folded
        .as_ref()
        .map_or(0, |(folded, _)| folded.num_instances as usize);
    let num_changed = stored.rows.len();
    if num_changed == 0 || (num_folded > 0 && num_changed < CHANGED_MIN.max(num_folded / CHANGED_PART)) {
        return Ok(());
    }
    let template = template_of(services, study, &series).await?;
    let mut entries = Vec::with_capacity(num_folded + num_changed);
    let mut text_bytes = 0;
    for object in stored.folded.iter().flat_map(|(folded, _)| &folded.blocks) {
        let mut known = block(services, study, series, *object).await?;
        known.retain(|entry| !superseded.contains(&entry.instance));
        text_bytes += known.iter().map(|entry| entry.text.len()).sum::<usize>();
        entries.append(&mut known);
    }
    for (instance, row) in &stored.rows {
        let entry = open(services, study, series, *instance, row, template.as_deref()).await?;
        text_bytes += entry.text.len();
        entries.push(entry);
        if text_bytes > SERIES_TEXT_BYTES_MAX {
            return Ok(());
        }
    }
    let blocks = services.compute.run(move || pack(entries)).await??;
    commit(services, study, stored, blocks).await
}

/// What entries are sorted by.
#[derive(Deserialize)]
struct Order {
    #[serde(rename = "00200013", default)]
    number: Option<Attribute>,
    #[serde(rename = "00080018", default)]
    uid: Option<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "Value", default)]
    values: Vec<serde_json::Value>,
}

impl Order {
    fn of(entry: &Entry) -> (i64, String) {
        let order: Self = serde_json::from_str(&entry.text).unwrap_or(Self {
            number: None,
            uid: None,
        });
        let first = |attribute: Option<Attribute>| attribute.and_then(|attribute| attribute.values.into_iter().next());
        let number = first(order.number).and_then(|value| match value {
            serde_json::Value::String(text) => text.trim().parse().ok(),
            value => value.as_i64(),
        });
        let uid = first(order.uid).and_then(|value| value.as_str().map(str::to_owned));
        (number.unwrap_or(i64::MAX), uid.unwrap_or_default())
    }
}

/// Sorts entries and packs them into blocks.
fn pack(mut entries: Vec<Entry>) -> Result<Vec<MetadataBlock>> {
    entries.sort_by_cached_key(Order::of);
    let mut blocks = Vec::new();
    let mut open: (Vec<(Token, u32)>, String) = Default::default();
    let close = |(entries, text): (Vec<_>, String)| -> Result<MetadataBlock> {
        let compressed =
            zstd::bulk::compress(text.as_bytes(), ZSTD_LEVEL).map_err(|_| EngineError::Corrupt("metadata"))?;
        Ok(MetadataBlock { entries, compressed })
    };
    for entry in entries {
        let length = u32::try_from(entry.text.len()).map_err(|_| EngineError::Corrupt("metadata"))?;
        let is_full = open.0.len() >= BLOCK_ENTRIES || open.1.len() + entry.text.len() > BLOCK_TEXT_BYTES;
        if is_full && !open.0.is_empty() {
            blocks.push(close(std::mem::take(&mut open))?);
        }
        open.0.push((entry.instance, length));
        open.1.push_str(&entry.text);
    }
    if !open.0.is_empty() {
        blocks.push(close(open)?);
    }
    Ok(blocks)
}

/// Swaps what is stored for `blocks`, if nothing changed since it was read.
async fn commit(
    services: &Arc<Services>,
    study: &StudyRef,
    stored: SeriesMetadata,
    blocks: Vec<MetadataBlock>,
) -> Result<()> {
    let series = stored.series;
    let num_instances = blocks.iter().map(|block| block.entries.len()).sum::<usize>() as u32;
    let mut objects = Vec::with_capacity(blocks.len());
    for block in blocks {
        let object = ObjectId::random();
        let context = block_context(study.id(), &series, object);
        let sealed = seal_record(services.keyring.suite(), &study.keys.phi, &context, &encode(&block))?;
        objects.push((object, sealed));
    }
    let folded_key = key::folded(study.id(), &series);
    let (before, freed) = match stored.folded {
        Some((folded, value)) => (Some(value), folded.blocks),
        None => (None, Vec::new()),
    };
    services.ledgers[study.shard]
        .commit(|staging| {
            let row = staging.get(&study.row_key)?.ok_or(EngineError::NotFound)?;
            let row: crate::records::StudyRow = decode(&row, "study row")?;
            if row.study != study.id() || staging.get(&folded_key)? != before {
                return Err(EngineError::Conflict("the study changed meanwhile"));
            }
            let row = FoldedRow {
                blocks: objects.iter().map(|(object, _)| *object).collect(),
                num_instances,
            };
            for (object, sealed) in objects {
                staging.object(object, sealed.into());
            }
            staging.free(freed);
            for (instance, value) in stored.rows {
                let row_key = key::metadata(study.id(), &series, &instance);
                // A newer version may have come: its row stays, and counts before what is folded.
                if staging.get(&row_key)?.is_some_and(|now| now == value) {
                    staging.delete(row_key);
                }
            }
            staging.put(folded_key, encode(&row));
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_sorted_by_instance_number() {
        let entry = |number: &str, uid: u8| Entry {
            series: Token::from_bytes([0; 16]),
            instance: Token::from_bytes([uid; 16]),
            text: format!(r#"{{"00080018":{{"vr":"UI","Value":["1.{uid}"]}},"00200013":{{"vr":"IS"{number}}}}}"#),
        };
        let entries = vec![
            entry(r#","Value":["10"]"#, 1),
            entry(r#","Value":[9]"#, 2),
            entry("", 3),
            entry(r#","Value":[9]"#, 1),
        ];
        let blocks = pack(entries).expect("packs");
        let order: Vec<u8> = blocks[0].entries.iter().map(|(token, _)| token.as_bytes()[0]).collect();
        assert_eq!((blocks.len(), order), (1, vec![1, 2, 1, 3]));
    }

    #[test]
    fn blocks_are_bounded() {
        let entries = (0..BLOCK_ENTRIES as u32 * 2 + 1).map(|number| Entry {
            series: Token::from_bytes([0; 16]),
            instance: Token::from_bytes([1; 16]),
            text: format!(r#"{{"00200013":{{"vr":"IS","Value":[{number}]}}}}"#),
        });
        let blocks = pack(entries.collect()).expect("packs");
        let lengths: Vec<usize> = blocks.iter().map(|block| block.entries.len()).collect();
        assert_eq!(lengths, [BLOCK_ENTRIES, BLOCK_ENTRIES, 1]);
    }
}
