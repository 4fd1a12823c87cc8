//! The change feed: every stored, replaced and deleted instance, and studies becoming stable, in commit order.
//!
//! Numbers are dense and stable within a shard; a cursor holds one number a shard, and a change's own is its shard's and its
//! number there. One number over all shards would need a row that all of them write. A change of an erased study shows no
//! more what it was about, since its key is gone: it is left out.

use std::sync::Arc;

use septum_core::ids::NamespaceId;
use septum_core::seal::open_record;
use septum_storage::RowKind;

use crate::accounts::Namespace;
use crate::error::{EngineError, Result};
use crate::ledger::{Change, ChangeRow, change_context, change_key};
use crate::records::decode;
use crate::services::Services;

/// Most changes in one page.
pub const PAGE_CHANGES_MAX: usize = 1_000;

/// A change and its number.
pub struct Numbered {
    /// Its shard and its number there: the same whenever and however the feed is read, and of no other change.
    pub sequence: String,
    /// What happened.
    pub change: Change,
}

/// A page of changes.
pub struct Page {
    /// In commit order within each shard, by time among them.
    pub changes: Vec<Numbered>,
    /// Where the next page starts; the same as asked for when there is nothing new.
    pub next: String,
}

/// Rows, each a key and its value.
type Rows<'a> = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + 'a>;

/// What a shard has yet to give to a page.
struct Line<'a> {
    rows: Rows<'a>,
    /// Everything before this number was given, or is not of the namespace.
    position: u64,
    /// The change of that number.
    head: Option<Change>,
}

impl Line<'_> {
    fn advance(&mut self, services: &Services, namespace: NamespaceId) -> Result<()> {
        self.head = None;
        for row in &mut self.rows {
            let (row_key, value) = row?;
            let number = number_of(&row_key, RowKind::Change.key(&[]).len())?;
            let row: ChangeRow = decode(&value, "change row")?;
            if row.namespace == namespace
                && let Some(change) = open(services, &row, number)?
            {
                (self.position, self.head) = (number, Some(change));
                return Ok(());
            }
            self.position = number + 1;
        }
        Ok(())
    }
}

/// Changes of a namespace behind a cursor; from the start without one. The earliest of what the shards have next comes
/// first, so that the order is the same whatever pages are asked for.
pub fn changes(services: &Arc<Services>, namespace: &Namespace, since: Option<&str>, limit: usize) -> Result<Page> {
    let cursor = match since {
        Some(text) => parse(text, services.ledgers.len())?,
        None => vec![0; services.ledgers.len()],
    };
    let limit = limit.min(PAGE_CHANGES_MAX);
    let mut lines = Vec::with_capacity(cursor.len());
    for (ledger, position) in services.ledgers.iter().zip(cursor) {
        let (prefix, from) = (RowKind::Change.key(&[]), change_key(position));
        let mut line = Line {
            rows: Box::new(crate::scan::rows_from(ledger.shard(), prefix, Some(from))),
            position,
            head: None,
        };
        if limit > 0 {
            line.advance(services, namespace.id)?;
        }
        lines.push(line);
    }
    let mut changes = Vec::new();
    while changes.len() < limit {
        let time = |line: &Line<'_>| line.head.as_ref().map(|change| change.time_ms);
        let heads = lines.iter_mut().enumerate().filter(|(_, line)| line.head.is_some());
        let Some((shard, line)) = heads.min_by_key(|(shard, line)| (time(line), *shard)) else {
            break;
        };
        if let Some(change) = line.head.take() {
            let sequence = format!("{shard}.{}", line.position);
            line.position += 1;
            changes.push(Numbered { sequence, change });
        }
        line.advance(services, namespace.id)?;
    }
    let positions = lines.iter().map(|line| line.position.to_string());
    Ok(Page {
        changes,
        next: positions.collect::<Vec<_>>().join("."),
    })
}

fn open(services: &Services, row: &ChangeRow, number: u64) -> Result<Option<Change>> {
    let context = change_context(number);
    let plain = match row.keys {
        Some(keys) => match services.keyring.study(keys) {
            Ok(keys) => open_record(&keys.phi, &context, &row.sealed)?,
            Err(EngineError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        },
        None => open_record(services.keyring.record_key(), &context, &row.sealed)?,
    };
    serde_json::from_slice(&plain)
        .map(Some)
        .map_err(|_| EngineError::Corrupt("change"))
}

/// The end of the feed, from which on it is followed.
pub struct Tail(Vec<u64>);

impl Tail {
    /// Where the feed ends now.
    ///
    /// # Errors
    /// Where a shard cannot be read.
    pub fn now(services: &Services) -> Result<Self> {
        let ends = services.ledgers.iter().map(|ledger| ledger.next_change());
        ends.collect::<Result<_>>().map(Self)
    }

    /// What is durable since the last call, at most [`PAGE_CHANGES_MAX`] changes of each shard, of the namespaces that are
    /// wanted.
    ///
    /// # Errors
    /// Where a shard cannot be read, or a change not opened.
    pub fn news(
        &mut self,
        services: &Services,
        is_wanted: impl Fn(NamespaceId) -> bool,
    ) -> Result<Vec<(NamespaceId, Change)>> {
        let mut news = Vec::new();
        let prefix = RowKind::Change.key(&[]);
        for (ledger, position) in services.ledgers.iter().zip(&mut self.0) {
            for (row_key, value) in ledger
                .shard()
                .scan(&prefix, Some(&change_key(*position)), PAGE_CHANGES_MAX)?
            {
                let number = number_of(&row_key, prefix.len())?;
                *position = number + 1;
                let row: ChangeRow = decode(&value, "change row")?;
                if is_wanted(row.namespace)
                    && let Some(change) = open(services, &row, number)?
                {
                    news.push((row.namespace, change));
                }
            }
        }
        Ok(news)
    }
}

fn number_of(row_key: &[u8], prefix_bytes: usize) -> Result<u64> {
    let number = row_key.get(prefix_bytes..).and_then(|number| number.try_into().ok());
    number.map(u64::from_be_bytes).ok_or(EngineError::Corrupt("change row"))
}

fn parse(text: &str, num_shards: usize) -> Result<Vec<u64>> {
    let numbers: Option<Vec<u64>> = text.split('.').map(|number| number.parse().ok()).collect();
    numbers
        .filter(|numbers| numbers.len() == num_shards)
        .ok_or(EngineError::Conflict("the cursor is not of this feed"))
}
