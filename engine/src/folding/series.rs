//! Folding the metadata of a series: rows and older blocks become new blocks, sorted by Instance Number.
//!
//! Upkeep for n instances is O(n): a series is folded anew only when what changed is a fair part of it. Memory does not
//! grow with the text of a series: it is gone through once for its order and, as far as it was too much to be held, once
//! more while blocks are written.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use septum_core::ids::ObjectId;
use septum_core::seal::{Token, seal_record};
use septum_storage::StorageError;
use serde::Deserialize;

use crate::error::{EngineError, Result};
use crate::records::{FoldedRow, MetadataBlock, StudyRow, block_context, decode, encode, key};
use crate::retrieve::StudyRef;
use crate::retrieve::metadata::{Entry, SeenRow, SeriesMetadata, block, row, template_of};
use crate::services::Services;
use crate::templates::LoadedTemplate;

/// Text of a series that is held while it is folded, in bytes.
pub const HELD_BYTES_MAX: usize = 64 << 20;

/// Instances in a block of metadata.
const BLOCK_ENTRIES: usize = 512;

/// Text in a block of metadata, in bytes, unless one instance alone has more.
const BLOCK_TEXT_BYTES: usize = 4 << 20;

/// An instance with more text than this, in bytes, stays in its row.
const ENTRY_TEXT_BYTES_MAX: usize = 16 << 20;

/// A series whose sealed blocks are more than this, in bytes, stays in rows: a commit has an end.
const SEALED_BYTES_MAX: usize = 128 << 20;

/// Older blocks that are kept open while new ones are written.
const BLOCKS_OPEN: usize = 4;

/// Rows opened in one step.
const STEP_ROWS: usize = 64;

/// Fewer instances than this stay in rows: they are read as fast.
const ROWS_MIN: usize = 2;

/// Fewer changed instances than this are left in rows beside what is folded.
const CHANGED_MIN: usize = 16;

/// A series is folded anew when one in so many of its instances changed.
const CHANGED_PART: usize = 8;

/// Compression level of blocks.
const ZSTD_LEVEL: i32 = 3;

const CHANGED: EngineError = EngineError::Conflict("the series changed meanwhile");

/// Folds a series, if enough of it changed. Of its text `held_bytes_max` are held at most, a few blocks aside.
pub async fn fold(services: &Arc<Services>, study: &StudyRef, series: Token, held_bytes_max: usize) -> Result<()> {
    let stored = SeriesMetadata::load(services, study, series)?;
    let superseded: HashSet<Token> = stored.rows.iter().map(|row| row.instance).collect();
    let num_folded = stored
        .folded
        .as_ref()
        .map_or(0, |(folded, _)| folded.num_instances as usize);
    // Large metadata stays in its own object.
    let num_changed = stored.rows.iter().filter(|row| !row.is_object).count();
    let enough = if num_folded == 0 {
        ROWS_MIN
    } else {
        CHANGED_MIN.max(num_folded / CHANGED_PART)
    };
    if num_changed < enough {
        return Ok(());
    }
    let template = template_of(services, study, &series).await?;
    let mut plan = Plan {
        held_bytes_left: held_bytes_max,
        entries: Vec::with_capacity(num_folded + num_changed),
    };
    for object in stored.folded.iter().flat_map(|(folded, _)| &folded.blocks) {
        let known = block(services, study, series, *object).await?;
        let places = (0..known.len()).map(|place| Place::Block(*object, place)).collect();
        let mut known = ordered(services, known, places).await?;
        known.retain(|(_, entry, _)| !superseded.contains(&entry.instance));
        plan.add(known);
    }
    let mut folded_rows: Vec<&SeenRow> = Vec::with_capacity(num_changed);
    let small: Vec<&SeenRow> = stored.rows.iter().filter(|row| !row.is_object).collect();
    for step in small.chunks(STEP_ROWS) {
        let (mut entries, mut places) = (Vec::new(), Vec::new());
        for seen in step {
            let entry = read_row(services, study, series, seen, template.as_deref()).await?;
            if entry.text.len() <= ENTRY_TEXT_BYTES_MAX {
                entries.push(entry);
                places.push(Place::Row(folded_rows.len()));
                folded_rows.push(seen);
            }
        }
        plan.add(ordered(services, entries, places).await?);
    }
    if folded_rows.is_empty() {
        return Ok(());
    }
    let mut texts = Texts {
        services,
        study,
        series,
        template: template.as_deref(),
        rows: &folded_rows,
        open: VecDeque::new(),
    };
    let mut blocks = Blocks::new(services, study, series);
    for (instance, place) in plan.sorted() {
        let text = texts.of(place).await?;
        blocks.push(instance, &text).await?;
    }
    let objects = blocks.finish().await?;
    match objects {
        Some(objects) => commit(services, study, &stored, &folded_rows, objects).await,
        None => Ok(()),
    }
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

/// Instance Number and SOP Instance UID.
type OrderKey = (i64, String);

impl Order {
    fn of(entry: &Entry) -> OrderKey {
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

/// Where the text of an entry is.
enum Place {
    /// In memory.
    Held(String),
    /// In the row of that number among those that are folded.
    Row(usize),
    /// In an older block, by its place there.
    Block(ObjectId, usize),
}

async fn ordered(
    services: &Services,
    entries: Vec<Entry>,
    places: Vec<Place>,
) -> Result<Vec<(OrderKey, Entry, Place)>> {
    let order = move || {
        let ordered = entries.into_iter().zip(places);
        ordered
            .map(|(entry, place)| (Order::of(&entry), entry, place))
            .collect()
    };
    services.compute.run(order).await
}

/// The entries of a series and where each text is.
struct Plan {
    held_bytes_left: usize,
    entries: Vec<(OrderKey, Token, Place)>,
}

impl Plan {
    fn add(&mut self, entries: Vec<(OrderKey, Entry, Place)>) {
        for (order, entry, place) in entries {
            let place = match self.held_bytes_left.checked_sub(entry.text.len()) {
                Some(left) => {
                    self.held_bytes_left = left;
                    Place::Held(entry.text)
                }
                None => place,
            };
            self.entries.push((order, entry.instance, place));
        }
    }

    fn sorted(mut self) -> impl Iterator<Item = (Token, Place)> {
        self.entries.sort_by(|(left, ..), (right, ..)| left.cmp(right));
        self.entries.into_iter().map(|(_, instance, place)| (instance, place))
    }
}

/// The text of a row, if it is still what was seen.
async fn read_row(
    services: &Services,
    study: &StudyRef,
    series: Token,
    seen: &SeenRow,
    template: Option<&LoadedTemplate>,
) -> Result<Entry> {
    match row(services, study, series, seen.instance, template).await {
        Ok((row, entry)) if seen.is(&row) => Ok(entry),
        // A newer version came; the study is not stable any more.
        Ok(_) | Err(EngineError::Storage(StorageError::NotFound)) => Err(CHANGED),
        Err(error) => Err(error),
    }
}

/// Finds texts again.
struct Texts<'a> {
    services: &'a Services,
    study: &'a StudyRef,
    series: Token,
    template: Option<&'a LoadedTemplate>,
    rows: &'a [&'a SeenRow],
    open: VecDeque<(ObjectId, Vec<Entry>)>,
}

impl Texts<'_> {
    async fn of(&mut self, place: Place) -> Result<String> {
        let corrupt = || EngineError::Corrupt("folded metadata");
        match place {
            Place::Held(text) => Ok(text),
            Place::Row(number) => {
                let seen = self.rows.get(number).ok_or_else(corrupt)?;
                let entry = read_row(self.services, self.study, self.series, seen, self.template).await?;
                Ok(entry.text)
            }
            Place::Block(object, place) => {
                if !self.open.iter().any(|(open, _)| *open == object) {
                    let entries = block(self.services, self.study, self.series, object).await?;
                    self.open.truncate(BLOCKS_OPEN - 1);
                    self.open.push_front((object, entries));
                }
                let entries = self.open.iter_mut().find(|(open, _)| *open == object);
                // Each text is asked for once.
                let entry = entries
                    .and_then(|(_, entries)| entries.get_mut(place))
                    .ok_or_else(corrupt)?;
                Ok(std::mem::take(&mut entry.text))
            }
        }
    }
}

/// Entries on their way into blocks.
struct Blocks<'a> {
    services: &'a Services,
    study: &'a StudyRef,
    series: Token,
    entries: Vec<(Token, u32)>,
    text: String,
    num_instances: u32,
    sealed: Vec<(ObjectId, Vec<u8>)>,
}

impl<'a> Blocks<'a> {
    fn new(services: &'a Services, study: &'a StudyRef, series: Token) -> Self {
        Self {
            services,
            study,
            series,
            entries: Vec::new(),
            text: String::new(),
            num_instances: 0,
            sealed: Vec::new(),
        }
    }

    async fn push(&mut self, instance: Token, text: &str) -> Result<()> {
        let length = u32::try_from(text.len()).map_err(|_| EngineError::Corrupt("metadata"))?;
        if self.entries.len() >= BLOCK_ENTRIES || self.text.len() + text.len() > BLOCK_TEXT_BYTES {
            self.close().await?;
        }
        self.entries.push((instance, length));
        self.text.push_str(text);
        self.num_instances += 1;
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let (entries, text) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.text));
        let object = ObjectId::random();
        let context = block_context(self.study.id(), &self.series, object);
        let (suite, keys) = (self.services.keyring.suite(), Arc::clone(&self.study.keys));
        let sealed = self.services.compute.run(move || -> Result<Vec<u8>> {
            let compressed =
                zstd::bulk::compress(text.as_bytes(), ZSTD_LEVEL).map_err(|_| EngineError::Corrupt("metadata"))?;
            let block = MetadataBlock { entries, compressed };
            Ok(seal_record(suite, &keys.phi, &context, &encode(&block))?)
        });
        self.sealed.push((object, sealed.await??));
        Ok(())
    }

    /// The sealed blocks, and the number of instances in them; `None` where they are too much for a commit.
    async fn finish(mut self) -> Result<Option<(Vec<(ObjectId, Vec<u8>)>, u32)>> {
        self.close().await?;
        let sealed_bytes: usize = self.sealed.iter().map(|(_, sealed)| sealed.len()).sum();
        Ok((sealed_bytes <= SEALED_BYTES_MAX).then_some((self.sealed, self.num_instances)))
    }
}

/// Swaps what is stored for blocks, if nothing changed since it was read.
async fn commit(
    services: &Arc<Services>,
    study: &StudyRef,
    stored: &SeriesMetadata,
    folded_rows: &[&SeenRow],
    (objects, num_instances): (Vec<(ObjectId, Vec<u8>)>, u32),
) -> Result<()> {
    let series = stored.series;
    let folded_key = key::folded(study.id(), &series);
    let (before, freed) = match &stored.folded {
        Some((folded, value)) => (Some(value), folded.blocks.as_slice()),
        None => (None, [].as_slice()),
    };
    services.ledgers[study.shard]
        .commit(|staging| {
            let row = staging.get(&study.row_key)?.ok_or(EngineError::NotFound)?;
            let row: StudyRow = decode(&row, "study row")?;
            if row.study != study.id() || staging.get(&folded_key)?.as_ref() != before {
                return Err(CHANGED);
            }
            let row = FoldedRow {
                blocks: objects.iter().map(|(object, _)| *object).collect(),
                num_instances,
            };
            for (object, sealed) in objects {
                staging.object(object, sealed.into());
            }
            staging.free(freed.iter().copied());
            for seen in folded_rows {
                let row_key = key::metadata(study.id(), &series, &seen.instance);
                // A newer version may have come: its row stays, and counts before what is folded.
                if staging.get(&row_key)?.is_some_and(|now| seen.is(&now)) {
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

    fn entry(number: &str, uid: u8) -> Entry {
        Entry {
            series: Token::from_bytes([0; 16]),
            instance: Token::from_bytes([uid; 16]),
            text: format!(r#"{{"00080018":{{"vr":"UI","Value":["1.{uid}"]}},"00200013":{{"vr":"IS"{number}}}}}"#),
        }
    }

    #[test]
    fn entries_are_sorted_by_instance_number_and_held_as_far_as_allowed() {
        let entries = vec![
            entry(r#","Value":["10"]"#, 1),
            entry(r#","Value":[9]"#, 2),
            entry("", 3),
            entry(r#","Value":[9]"#, 1),
        ];
        let held_bytes_max = entries[0].text.len() + entries[1].text.len();
        let mut plan = Plan {
            held_bytes_left: held_bytes_max,
            entries: Vec::new(),
        };
        let placed = entries.into_iter().enumerate();
        plan.add(
            placed
                .map(|(number, entry)| (Order::of(&entry), entry, Place::Row(number)))
                .collect(),
        );
        let sorted: Vec<(u8, bool)> = plan
            .sorted()
            .map(|(token, place)| (token.as_bytes()[0], matches!(place, Place::Held(_))))
            .collect();
        assert_eq!(sorted, [(1, false), (2, true), (1, true), (3, false)]);
    }
}
