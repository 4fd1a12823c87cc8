//! Proof that index, journal, segments and keys of a closed store say the same.
//!
//! Per shard: the whole journal is read, its hash chain and batch numbers followed from segment to segment (across
//! retired ones), and replayed into a scratch index; scratch and real index must be equal, row by row; the real
//! counters must equal what the locations add up to; every object that a location names must be intact, in its place.
//! Every key must be readable, and the partition map be there. The scratch index lies beside the real one, holds the same sealed bytes, and is removed.

use crate::batch::Location;
use crate::error::{Result, SegmentKind, StorageError};
use crate::format::RecordKind;
use crate::identity::{CATALOG_SHARD, Identity, KEYS_SHARD, ROOT_SHARD, Root};
use crate::index::{Index, IndexKind, IndexMode, IndexOpener, MemoryIndex};
use crate::keys::{decode_location, internal};
use crate::keystore::KeyStore;
use crate::layout::Layout;
use crate::segment::{self, SegmentFile};
use crate::shard::core::{Applied, Core, SegmentStat, StatMap};
use crate::shard::journal::{JournalReader, has_later_batch, is_damage};
use crate::shard::recovery::load_stats;
use crate::store::{StoreConfig, verify_roots};
use crate::vfs::{OpenMode, Vfs};
use std::sync::Arc;

/// Findings kept per shard; the rest is counted.
const FINDINGS_MAX: usize = 100;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The shard; [`crate::CATALOG_SHARD`], [`crate::KEYS_SHARD`]; [`crate::ROOT_SHARD`] for the store as a whole.
    pub shard: u16,
    /// What and where; no keys, no values.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.shard {
            CATALOG_SHARD => write!(f, "catalogue: {}", self.what),
            KEYS_SHARD => write!(f, "key store: {}", self.what),
            ROOT_SHARD => write!(f, "store: {}", self.what),
            shard => write!(f, "shard {shard}: {}", self.what),
        }
    }
}

/// What [`fsck`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// What is wrong; empty for a sound store.
    pub findings: Vec<Finding>,
    /// Findings beyond the first hundred of a shard.
    pub num_more_findings: u64,
    /// What is unusual but in order, such as an index that the next start will bring up to date.
    pub notes: Vec<Finding>,
    /// Batches read.
    pub num_batches: u64,
    /// Index rows compared.
    pub num_rows: u64,
    /// Objects verified.
    pub num_objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Keys read.
    pub num_keys: u64,
}

impl FsckReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// Enters something that is wrong.
    pub fn find(&mut self, shard: u16, what: impl Into<String>) {
        if self.findings.iter().filter(|finding| finding.shard == shard).count() < FINDINGS_MAX {
            self.findings.push(Finding {
                shard,
                what: what.into(),
            });
        } else {
            self.num_more_findings += 1;
        }
    }

    /// Damage becomes a finding; anything else ends the check.
    fn note<T>(&mut self, shard: u16, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_damage(&error) || matches!(error, StorageError::Index { .. }) => {
                self.find(shard, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Checks a closed store. Changes nothing but for a scratch directory that it removes again.
///
/// # Errors
/// [`StorageError::Locked`] if the store is open, [`StorageError::Identity`] if the roots do not belong together, and
/// what keeps the check from being done; damage is not an error but a finding.
pub fn fsck(config: &StoreConfig, vfs: &Arc<dyn Vfs>) -> Result<FsckReport> {
    let _lock = vfs
        .lock(&config.phi_root.join("LOCK"))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StorageError::Locked,
            _ => StorageError::io("lock the store")(error),
        })?;
    let config = &StoreConfig {
        read_only: true,
        create: false,
        ..config.clone()
    };
    let missing = || StorageError::Identity("PHI root: the identity file is missing".into());
    let identity = Identity::read(&**vfs, &config.phi_root, Root::Phi)?.ok_or_else(missing)?;
    verify_roots(config, &**vfs, &identity)?;
    let opener = IndexOpener::new(config.index);
    let mut report = FsckReport::default();
    match Layout::read(&**vfs, &config.phi_root, &identity) {
        Ok(_) => {}
        Err(error @ StorageError::Identity(_)) => {
            report.find(ROOT_SHARD, format!("{error}; `septum fsck --rebuild` makes it anew"));
        }
        Err(error) => {
            report.note(ROOT_SHARD, Err::<(), _>(error))?;
        }
    }
    for shard in (0..identity.num_shards).chain([CATALOG_SHARD]) {
        check_shard(config, &identity, vfs, &opener, shard, &mut report)?;
    }
    check_keys(config, &identity, vfs, &mut report)?;
    Ok(report)
}

fn check_shard(
    config: &StoreConfig,
    identity: &Identity,
    vfs: &Arc<dyn Vfs>,
    opener: &IndexOpener,
    shard: u16,
    report: &mut FsckReport,
) -> Result<()> {
    let shard_config = config.shard_config(shard, identity, vfs, opener);
    let scratch_directory = shard_config.directory.join("check");
    let scratch: Arc<dyn Index> = match config.index {
        IndexKind::RocksDb => opener.recreate(&scratch_directory, shard)?,
        IndexKind::Memory => Arc::new(MemoryIndex::default()),
    };
    let expected = shard_config.core(scratch, StatMap::new());
    replay(&expected, report)?;
    // An index in memory is gone with its process: what the journal says is all there is.
    let real = match config.index {
        IndexKind::Memory => None,
        IndexKind::RocksDb => {
            let index = opener.open(&shard_config.directory.join("index"), shard, IndexMode::ReadOnly);
            let index = report.note(shard, index)?;
            let stats = index.as_ref().map(|index| load_stats(&**index, shard));
            let stats = stats.map(|stats| report.note(shard, stats)).transpose()?.flatten();
            index.zip(stats).map(|(index, stats)| shard_config.core(index, stats))
        }
    };
    if let Some(real) = &real {
        compare(&expected, real, report)?;
    }
    let subject = real.as_ref().unwrap_or(&expected);
    check_objects(subject, report)?;
    expected.index.close();
    drop(expected);
    if config.index == IndexKind::RocksDb {
        let _ = std::fs::remove_dir_all(&scratch_directory);
        opener.forget_damaged(&scratch_directory);
    }
    Ok(())
}

/// Reads the whole journal into the scratch index, following the chain.
fn replay(core: &Core, report: &mut FsckReport) -> Result<()> {
    let shard = core.shard;
    let directory = core.files.directory(SegmentKind::Journal)?;
    let numbers = segment::list(&*core.vfs, directory)?;
    // Where each segment starts and ends in the chain: (number, (batch, hash) before, (batch, hash) after).
    let mut links = Vec::new();
    for number in &numbers {
        let id = core.files.id(SegmentKind::Journal, *number);
        let file = SegmentFile::open(&*core.vfs, directory, id, OpenMode::Read);
        let Some(file) = report.note(shard, file)? else {
            continue;
        };
        let file = Arc::new(file);
        let before = (file.header.first_batch, file.header.previous_hash);
        let mut reader = JournalReader::from_head(Arc::clone(&file));
        loop {
            match reader.next() {
                Ok(Some(found)) => {
                    report.num_batches += 1;
                    let applied = Applied {
                        batch: found.number,
                        hash: found.hash,
                        segment: *number,
                        offset: found.offset,
                        end: found.end,
                    };
                    let (batch, changes) = core.plan(&found.body, &applied)?;
                    core.index.write(&batch)?;
                    core.settle(changes, applied);
                }
                Ok(None) => break,
                Err(error) if is_damage(&error) => {
                    let is_newest = numbers.last() == Some(number);
                    if is_newest && !has_later_batch(&file, reader.at(), reader.next_batch())? {
                        let what = format!("an unfinished append behind batch {}", reader.next_batch() - 1);
                        report.notes.push(Finding { shard, what });
                    } else {
                        report.find(shard, error.to_string());
                    }
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        links.push((*number, before, (reader.next_batch(), reader.hash())));
    }
    for (number, retired) in core.retired()? {
        if !numbers.contains(&number) {
            let after = (retired.last_batch + 1, retired.hash_after);
            links.push((number, (retired.first_batch, retired.hash_before), after));
        }
    }
    links.sort_unstable_by_key(|(number, ..)| *number);
    let mut previous = (0, (1, [0; 32]));
    for (number, before, after) in links {
        if number != previous.0 + 1 {
            report.find(
                shard,
                format!("journal segments {} to {} are missing", previous.0 + 1, number - 1),
            );
        } else if before != previous.1 {
            report.find(
                shard,
                format!("journal segment {number} does not continue the one before"),
            );
        }
        previous = (number, after);
    }
    Ok(())
}

/// Compares what the journal says with what the index has.
fn compare(expected: &Core, real: &Core, report: &mut FsckReport) -> Result<()> {
    let shard = expected.shard;
    let last = *crate::lock(&expected.applied);
    let value = report.note(shard, real.index.get(internal::APPLIED))?.flatten();
    let Some(applied) = value.as_deref().and_then(Applied::decode) else {
        report.find(shard, "the index has no applied mark");
        return Ok(());
    };
    if applied.batch < last.batch {
        let what = format!(
            "the index is {} batches behind; the next start replays them",
            last.batch - applied.batch
        );
        report.notes.push(Finding { shard, what });
        return Ok(());
    }
    if applied != last {
        report.find(
            shard,
            format!(
                "the index has batch {}, the journal ends with {}",
                applied.batch, last.batch
            ),
        );
    }
    let is_counter = |key: &[u8]| key == internal::APPLIED || key.starts_with(internal::STAT);
    let mut from = Vec::new();
    loop {
        const PAGE_ROWS: usize = 4096;
        let ours = real.index.scan(&from, None, PAGE_ROWS);
        let Some(ours) = report.note(shard, ours)? else {
            return Ok(());
        };
        // The same range of the other side: up to our last key, or to the end.
        let mut end = (ours.len() == PAGE_ROWS).then(|| ours[PAGE_ROWS - 1].0.clone());
        if let Some(end) = &mut end {
            end.push(0);
        }
        let theirs = expected.index.scan(&from, end.as_deref(), usize::MAX)?;
        report.num_rows += theirs.len() as u64;
        let count = |rows: &[(Vec<u8>, Vec<u8>)]| rows.iter().filter(|(key, _)| !is_counter(key)).count();
        let (num_ours, num_theirs) = (count(&ours), count(&theirs));
        let mut ours_iter = ours.iter().filter(|(key, _)| !is_counter(key));
        let mut theirs_iter = theirs.iter().filter(|(key, _)| !is_counter(key));
        let num_same = ours_iter
            .by_ref()
            .zip(theirs_iter.by_ref())
            .take_while(|(one, other)| one == other)
            .count();
        if num_ours != num_theirs || num_same != num_ours {
            let what = format!("index and journal differ: {num_ours} rows against {num_theirs} in one range");
            report.find(shard, what);
        }
        match end {
            Some(end) => from = end,
            None => break,
        }
    }
    let live = |stats: &StatMap| -> Vec<_> {
        let live = stats
            .iter()
            .filter(|(_, stat)| stat.live_objects > 0 || stat.live_bytes > 0);
        live.map(|(key, stat)| (*key, stat.live_bytes, stat.live_objects))
            .collect()
    };
    if live(&crate::lock(&expected.stats)) != live(&crate::lock(&real.stats)) {
        report.find(shard, "the counters of live bytes differ");
    }
    Ok(())
}

/// Verifies every object and adds up the counters.
fn check_objects(core: &Core, report: &mut FsckReport) -> Result<()> {
    let shard = core.shard;
    let mut places: Vec<([u8; 16], Location)> = Vec::new();
    let mut num_bad = 0;
    let scanned = core.for_each_row(internal::LOCATION, |key, value| {
        let id = key.get(internal::LOCATION.len()..).and_then(|id| id.try_into().ok());
        match id.zip(decode_location(value)) {
            Some(place) => places.push(place),
            None => num_bad += 1,
        }
        Ok(())
    });
    report.note(shard, scanned)?;
    if num_bad > 0 {
        report.find(shard, format!("{num_bad} unreadable location rows"));
    }
    places.sort_unstable_by_key(|(_, place)| (place.kind, place.segment, place.offset));
    let mut sums: std::collections::BTreeMap<(SegmentKind, u32), SegmentStat> = Default::default();
    for (id, place) in &places {
        let sum = sums.entry((place.kind, place.segment)).or_default();
        sum.live_bytes += place.total_bytes;
        sum.live_objects += 1;
        let read = core.segment_of(place).and_then(|file| {
            let (header, _) = file.read_record(place.offset, Some(place.total_bytes))?;
            if header.kind == RecordKind::Object && header.id == *id {
                return Ok(());
            }
            Err(file.id.corrupt(place.offset, "another object"))
        });
        report.note(shard, read)?;
        report.num_objects += 1;
        report.object_bytes += place.total_bytes;
    }
    let stats = crate::lock(&core.stats);
    for (key, stat) in stats.iter() {
        let sum = sums.remove(key).unwrap_or_default();
        if (sum.live_bytes, sum.live_objects) != (stat.live_bytes, stat.live_objects) {
            report.find(shard, format!("{} {}: the counters are wrong", key.0, key.1));
        }
    }
    for (kind, number) in sums.keys() {
        report.find(shard, format!("{kind} {number}: the counters are missing"));
    }
    Ok(())
}

fn check_keys(config: &StoreConfig, identity: &Identity, vfs: &Arc<dyn Vfs>, report: &mut FsckReport) -> Result<()> {
    let Some(keys) = report.note(KEYS_SHARD, KeyStore::open(config.key_config(identity, vfs)))? else {
        return Ok(());
    };
    let num_damaged = keys.stats().num_damaged;
    if num_damaged > 0 {
        report.find(
            KEYS_SHARD,
            format!("{num_damaged} damaged or missing parts of the key store"),
        );
    }
    for result in keys.verify() {
        report.note(KEYS_SHARD, result)?;
        report.num_keys += 1;
    }
    Ok(())
}
