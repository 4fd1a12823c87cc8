//! Copies of a running store, and a store from a copy.
//!
//! A backup is three directories, like the store: they may lie on three disks, and the key part is what makes the
//! rest readable. Per shard it holds the journal and the pixel segments up to one batch; the index is not copied,
//! the journal rebuilds it. Keys are copied last: they were durable before the batches that need them, and what was
//! destroyed meanwhile is not copied. While a shard is copied, compaction may not remove its segments.
//!
//! Committed bytes of a segment never change, so a repeated backup into the same place copies only what is new, and
//! drops segments and keys that are gone. The manifest is replaced last: `phi/backup`, version byte, postcard, CRC32C.

use crate::error::{Result, SegmentKind, StorageError};
use crate::format::FILE_HEADER_BYTES;
use crate::identity::{CATALOG_SHARD, Identity, KEYS_SHARD, ROOT_SHARD, Root};
use crate::index::IndexOpener;
use crate::keys::{Record, Versioned};
use crate::keystore;
use crate::segment::{self, file_name, now_ms};
use crate::shard::{Health, Shard};
use crate::store::{Store, StoreConfig, initialise_as};
use crate::vfs::{OpenMode, Vfs, VfsFile, create_dir_synced, read_exact_at, read_small, write_all_at, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MANIFEST_NAME: &str = "backup";
const MANIFEST_BYTES_MAX: u64 = 256 << 20;
const COPY_BYTES: usize = 1 << 20;

/// Where a backup lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRoots {
    /// Journals and the manifest.
    pub phi: PathBuf,
    /// Pixel segments.
    pub pixel: PathBuf,
    /// Wrapped keys.
    pub key: PathBuf,
}

impl BackupRoots {
    /// `phi`, `pixel` and `key` under one directory.
    pub fn under(directory: &Path) -> Self {
        Self {
            phi: directory.join("phi"),
            pixel: directory.join("pixel"),
            key: directory.join("key"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct FileEntry {
    shard: u16,
    /// As [`SegmentKind`] on disk.
    kind: u8,
    segment: u32,
    len_bytes: u64,
    checksum: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BackupManifest {
    store: [u8; 16],
    num_shards: u16,
    epoch: u64,
    created_ms: u64,
    taken_ms: u64,
    /// Shard, last batch, running hash.
    shards: Vec<(u16, u64, [u8; 32])>,
    files: Vec<FileEntry>,
}

impl Record for BackupManifest {
    const NAME: &'static str = "backup manifest";
    const VERSION: u8 = 1;
}

/// What a backup or a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Shard and the last batch contained; the catalogue last.
    pub batches: Vec<(u16, u64)>,
    /// Files of the backup.
    pub num_files: u64,
    /// Their bytes.
    pub total_bytes: u64,
    /// Bytes copied this time.
    pub copied_bytes: u64,
}

impl BackupRoots {
    fn directory(&self, kind: SegmentKind, shard: u16) -> PathBuf {
        match kind {
            SegmentKind::Journal => self.phi.join(format!("shard-{shard:05}")),
            SegmentKind::Pixels => self.pixel.join(format!("shard-{shard:05}")),
            SegmentKind::Keys => self.key.join("keys"),
        }
    }

    fn read_manifest(&self, vfs: &dyn Vfs) -> Result<Option<BackupManifest>> {
        let path = self.phi.join(MANIFEST_NAME);
        if !vfs.exists(&path).map_err(StorageError::io("look for a backup"))? {
            return Ok(None);
        }
        let damaged = || StorageError::Identity("the backup's manifest is damaged".into());
        let bytes = read_small(vfs, &path, MANIFEST_BYTES_MAX).map_err(StorageError::io("read a backup's manifest"))?;
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err(damaged());
        }
        Versioned::decode(body).map(Some)
    }
}

/// Copies `from..to` of a file and goes on with its checksum.
fn copy_range(source: &dyn VfsFile, target: &dyn VfsFile, from: u64, to: u64, mut checksum: u32) -> Result<u32> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = from;
    while at < to {
        let chunk = &mut buffer[..COPY_BYTES.min(usize::try_from(to - at).unwrap_or(COPY_BYTES))];
        read_exact_at(source, chunk, at).map_err(StorageError::io("read a file to copy"))?;
        write_all_at(target, chunk, at).map_err(StorageError::io("write a copy"))?;
        checksum = crc32c::crc32c_append(checksum, chunk);
        at += chunk.len() as u64;
    }
    Ok(checksum)
}

struct Copier<'a> {
    vfs: &'a dyn Vfs,
    roots: &'a BackupRoots,
    previous: BTreeMap<(u16, u8, u32), FileEntry>,
    files: Vec<FileEntry>,
    copied_bytes: u64,
}

impl Copier<'_> {
    /// Copies the first `len_bytes` of a segment, or of what is new in it.
    fn segment(&mut self, directory: &Path, shard: u16, kind: SegmentKind, number: u32, len_bytes: u64) -> Result<()> {
        let name = file_name(number);
        let source = self
            .vfs
            .open(&directory.join(&name), OpenMode::Read)
            .map_err(StorageError::io("open a file to copy"))?;
        let target_path = self.roots.directory(kind, shard).join(&name);
        let mut have = self.previous.get(&(shard, kind as u8, number)).copied();
        let existing = match have {
            Some(_) => self.vfs.open(&target_path, OpenMode::Write).ok(),
            None => None,
        };
        // Only what is provably the head of this very file is kept.
        let is_head = |entry: &FileEntry, target: &dyn VfsFile| {
            let head = |file: &dyn VfsFile| {
                let mut bytes = [0; FILE_HEADER_BYTES as usize];
                read_exact_at(file, &mut bytes, 0).ok().map(|()| bytes)
            };
            entry.len_bytes <= len_bytes
                && target.len().is_ok_and(|found| found >= entry.len_bytes)
                && head(&*source).is_some_and(|ours| head(target) == Some(ours))
        };
        let target = match (existing, have) {
            (Some(target), Some(entry)) if is_head(&entry, &*target) => target,
            _ => {
                have = None;
                if self
                    .vfs
                    .exists(&target_path)
                    .map_err(StorageError::io("look for a copy"))?
                {
                    self.vfs
                        .unlink(&target_path)
                        .map_err(StorageError::io("remove an old copy"))?;
                }
                self.vfs
                    .open(&target_path, OpenMode::CreateNew)
                    .map_err(StorageError::io("create a copy"))?
            }
        };
        let (from, checksum) = have.map_or((0, 0), |entry| (entry.len_bytes, entry.checksum));
        let checksum = copy_range(&*source, &*target, from, len_bytes, checksum)?;
        if from < len_bytes {
            target.set_len(len_bytes).map_err(StorageError::io("cut a copy"))?;
            target.sync().map_err(StorageError::io("sync a copy"))?;
        }
        self.copied_bytes += len_bytes - from;
        self.files.push(FileEntry {
            shard,
            kind: kind as u8,
            segment: number,
            len_bytes,
            checksum,
        });
        Ok(())
    }

    fn shard(&mut self, shard: &Shard) -> Result<(u16, u64, [u8; 32])> {
        let core = shard.core();
        core.readable()?;
        let _segments_stay = crate::lock(&core.removal);
        let (stats, applied) = {
            let stats = crate::lock(&core.stats);
            (stats.clone(), *crate::lock(&core.applied))
        };
        for kind in [SegmentKind::Pixels, SegmentKind::Journal] {
            let Ok(directory) = core.files.directory(kind) else {
                continue;
            };
            let target = self.roots.directory(kind, core.shard);
            create_dir_synced(self.vfs, &target).map_err(StorageError::io("create a backup directory"))?;
            for number in segment::list(self.vfs, directory)? {
                let stat = stats.get(&(kind, number)).copied().unwrap_or_default();
                let len_bytes = match kind {
                    SegmentKind::Journal if number > applied.segment => continue,
                    SegmentKind::Journal => stat.end.max(FILE_HEADER_BYTES),
                    _ if stat.live_objects == 0 => continue,
                    _ => stat.end,
                };
                self.segment(directory, core.shard, kind, number, len_bytes)?;
            }
            self.vfs
                .sync_dir(&target)
                .map_err(StorageError::io("sync a backup directory"))?;
        }
        Ok((core.shard, applied.batch, applied.hash))
    }

    fn keys(&mut self, store: &Store) -> Result<()> {
        let inner = &store.keys().inner;
        let _segments_stay = crate::lock(&inner.removal);
        let target = self.roots.directory(SegmentKind::Keys, KEYS_SHARD);
        create_dir_synced(self.vfs, &target).map_err(StorageError::io("create a backup directory"))?;
        let numbers: Vec<u32> = inner.read_places().segments.keys().copied().collect();
        for number in numbers {
            let path = inner.directory.join(file_name(number));
            let file = self
                .vfs
                .open(&path, OpenMode::Read)
                .map_err(StorageError::io("open a file to copy"))?;
            let len_bytes = file.len().map_err(StorageError::io("measure a file to copy"))?;
            // A put may be under way: its torn end is skipped when the copy is opened.
            self.segment(&inner.directory, KEYS_SHARD, SegmentKind::Keys, number, len_bytes)?;
        }
        self.vfs
            .sync_dir(&target)
            .map_err(StorageError::io("sync a backup directory"))
    }

    /// Removes copies that are no longer part of the backup, destroyed keys above all.
    fn drop_stale(&self) -> Result<()> {
        let kept: std::collections::BTreeSet<_> = self
            .files
            .iter()
            .map(|entry| (entry.shard, entry.kind, entry.segment))
            .collect();
        for entry in self.previous.values() {
            let kind = SegmentKind::from_byte(entry.kind).unwrap_or(SegmentKind::Keys);
            if !kept.contains(&(entry.shard, entry.kind, entry.segment)) {
                let directory = self.roots.directory(kind, entry.shard);
                let path = directory.join(file_name(entry.segment));
                if self.vfs.exists(&path).map_err(StorageError::io("look for a copy"))? {
                    self.vfs.unlink(&path).map_err(StorageError::io("remove an old copy"))?;
                    self.vfs
                        .sync_dir(&directory)
                        .map_err(StorageError::io("sync a backup directory"))?;
                }
            }
        }
        Ok(())
    }
}

/// Copies the store as it is now, each shard up to one batch; commits go on meanwhile. Blocks; not for asynchronous
/// threads. The catalogue is taken first: a row without its catalogue grant is invisible, never the other way round.
///
/// # Errors
/// [`StorageError::Identity`] if the target holds a backup of another store; [`StorageError::NoSpace`]. The backup
/// that was there stays valid for all segments that still exist.
pub fn backup(store: &Store, target: &BackupRoots) -> Result<BackupReport> {
    let vfs = &**store.vfs();
    for root in [&target.phi, &target.pixel, &target.key] {
        create_dir_synced(vfs, root).map_err(StorageError::io("create a backup directory"))?;
    }
    let previous = target.read_manifest(vfs)?;
    if previous
        .as_ref()
        .is_some_and(|previous| previous.store != *store.uuid())
    {
        return Err(StorageError::Identity(
            "the target holds a backup of another store".into(),
        ));
    }
    let previous = previous.map(|manifest| manifest.files).unwrap_or_default();
    let previous = previous
        .into_iter()
        .map(|entry| ((entry.shard, entry.kind, entry.segment), entry))
        .collect();
    let mut copier = Copier {
        vfs,
        roots: target,
        previous,
        files: Vec::new(),
        copied_bytes: 0,
    };
    let mut shards = vec![copier.shard(store.catalog())?];
    for shard in store.shards() {
        shards.push(copier.shard(shard)?);
    }
    copier.keys(store)?;
    let identity = store.identity();
    let manifest = BackupManifest {
        store: identity.store,
        num_shards: identity.num_shards,
        epoch: identity.epoch,
        created_ms: identity.created_ms,
        taken_ms: now_ms(),
        shards,
        files: copier.files.clone(),
    };
    let mut bytes = Versioned::encode(&manifest)?;
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    write_atomic(vfs, &target.phi.join(MANIFEST_NAME), &bytes)
        .map_err(StorageError::io("write a backup's manifest"))?;
    copier.drop_stale()?;
    Ok(summary(&manifest, copier.copied_bytes))
}

fn summary(manifest: &BackupManifest, copied_bytes: u64) -> BackupReport {
    BackupReport {
        batches: manifest
            .shards
            .iter()
            .map(|(shard, batch, _)| (*shard, *batch))
            .collect(),
        num_files: manifest.files.len() as u64,
        total_bytes: manifest.files.iter().map(|entry| entry.len_bytes).sum(),
        copied_bytes,
    }
}

/// Makes a store out of a backup, in empty roots, verifies every byte copied, and opens it once to rebuild the index.
///
/// # Errors
/// [`StorageError::NotEmpty`] if a root has content; [`StorageError::Corrupt`] if a copy is damaged or missing; what
/// remains after an error is no store, because the PHI root's identity is written last.
pub fn restore(source: &BackupRoots, config: &StoreConfig, vfs: &Arc<dyn Vfs>) -> Result<BackupReport> {
    let manifest = source
        .read_manifest(&**vfs)?
        .ok_or_else(|| StorageError::Identity("there is no backup in this place".into()))?;
    let config = StoreConfig {
        shards: manifest.num_shards,
        create: false,
        read_only: false,
        ..config.clone()
    };
    for (name, root) in [
        ("PHI root", &config.phi_root),
        ("pixel root", &config.pixel_root),
        ("key root", &config.key_root),
    ] {
        create_dir_synced(&**vfs, root).map_err(StorageError::io("create a root"))?;
        let names = vfs.list(root).map_err(StorageError::io("list a root"))?;
        if names.iter().any(|name| name != "lost+found") {
            return Err(StorageError::NotEmpty(name.into()));
        }
    }
    let identity = Identity {
        root: Root::Phi,
        shard: ROOT_SHARD,
        num_shards: manifest.num_shards,
        store: manifest.store,
        epoch: manifest.epoch,
        created_ms: manifest.created_ms,
    };
    initialise_as(&config, &**vfs, &IndexOpener::new(config.index), identity)?;
    let mut keys = BTreeMap::new();
    for entry in &manifest.files {
        restore_file(source, &config, &**vfs, entry, &mut keys)?;
    }
    for shard in (0..manifest.num_shards).chain([CATALOG_SHARD]) {
        let journal = config.shard_directory(shard).join("journal");
        vfs.sync_dir(&journal).map_err(StorageError::io("sync a directory"))?;
        if shard != CATALOG_SHARD {
            let pixels = config.pixel_directory(shard).join("pixels");
            vfs.sync_dir(&pixels).map_err(StorageError::io("sync a directory"))?;
        }
    }
    let directory = config.key_root.join("keys");
    vfs.sync_dir(&directory).map_err(StorageError::io("sync a directory"))?;
    keystore::write_manifest(&**vfs, &directory, &manifest.store, &keys)?;
    identity.write(&**vfs, &config.phi_root)?;
    let store = Store::open(config, Arc::clone(vfs))?;
    for shard in store.shards().iter().chain([store.catalog()]) {
        let expected = manifest
            .shards
            .iter()
            .find(|(number, ..)| *number == shard.id())
            .map(|(_, batch, _)| *batch);
        match shard.health() {
            Health::Healthy if expected == Some(shard.recovery().last_batch) => {}
            Health::Healthy => {
                let id = shard.core().files.id(SegmentKind::Journal, 0);
                return Err(id.corrupt(0, "the restored shard ends at another batch"));
            }
            Health::ReadOnly(reason) => return Err(StorageError::ReadOnly(reason)),
            Health::Failed(error) => return Err(error),
        }
    }
    store.close();
    Ok(summary(
        &manifest,
        manifest.files.iter().map(|entry| entry.len_bytes).sum(),
    ))
}

fn restore_file(
    source: &BackupRoots,
    config: &StoreConfig,
    vfs: &dyn Vfs,
    entry: &FileEntry,
    keys: &mut BTreeMap<u32, Option<u64>>,
) -> Result<()> {
    let kind = SegmentKind::from_byte(entry.kind).ok_or(StorageError::UnknownVersion {
        what: "segment kind in a backup",
        version: entry.kind.into(),
    })?;
    let directory = match kind {
        SegmentKind::Journal => config.shard_directory(entry.shard).join("journal"),
        SegmentKind::Pixels => config.pixel_directory(entry.shard).join("pixels"),
        SegmentKind::Keys => {
            keys.insert(entry.segment, Some(entry.len_bytes));
            config.key_root.join("keys")
        }
    };
    let name = file_name(entry.segment);
    let damaged = |what| {
        StorageError::Corrupt(Box::new(crate::error::Damage {
            shard: entry.shard,
            kind,
            segment: entry.segment,
            offset: 0,
            what,
        }))
    };
    let from = source.directory(kind, entry.shard).join(&name);
    let from = vfs
        .open(&from, OpenMode::Read)
        .map_err(|_| damaged("the copy is missing"))?;
    if from.len().map_err(StorageError::io("measure a copy"))? < entry.len_bytes {
        return Err(damaged("the copy is too short"));
    }
    let to = vfs
        .open(&directory.join(&name), OpenMode::CreateNew)
        .map_err(StorageError::io("create a segment"))?;
    if copy_range(&*from, &*to, 0, entry.len_bytes, 0)? != entry.checksum {
        return Err(damaged("the copy's checksum"));
    }
    to.sync().map_err(StorageError::io("sync a segment"))
}
