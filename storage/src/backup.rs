//! Copies of a running store, and a store from a copy.
//!
//! A backup is three directories, like the store: they may lie on three disks, and the key part is what makes the
//! rest readable. Per shard it holds the journal and the pixel segments up to one batch; the index is not copied,
//! the journal rebuilds it. Keys are copied last: they were durable before the batches that need them, and what was
//! destroyed meanwhile is not copied. While a shard is copied, compaction may not remove its segments.
//!
//! Committed bytes of a segment never change, so a repeated backup into the same place copies only what is new, and
//! drops segments and keys that are gone. What it would keep is read first ([`check_backup`]): a copy that rotted is made
//! anew. The manifest is replaced last: `phi/backup`, version byte, postcard, CRC32C.

mod restore;

pub use restore::restore;

use crate::error::{Result, SegmentKind, StorageError};
use crate::format::FILE_HEADER_BYTES;
use crate::identity::KEYS_SHARD;
use crate::keys::{Record, Versioned};
use crate::segment::{self, file_name, now_ms};
use crate::shard::Shard;
use crate::store::Store;
use crate::vfs::{OpenMode, Vfs, VfsFile, create_dir_synced, read_exact_at, read_small, write_all_at, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

const MANIFEST_NAME: &str = "backup";
const MANIFEST_BYTES_MAX: u64 = 256 << 20;
const COPY_BYTES: usize = 1 << 20;
/// The operation that a failed read of a file to copy names.
const READING: &str = "read a file to copy";

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

impl FileEntry {
    fn key(&self) -> (u16, u8, u32) {
        (self.shard, self.kind, self.segment)
    }
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

/// A file of a backup that is not what was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedCopy {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for DamagedCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
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

    fn path(&self, entry: &FileEntry) -> PathBuf {
        let kind = SegmentKind::from_byte(entry.kind).unwrap_or(SegmentKind::Keys);
        self.directory(kind, entry.shard).join(file_name(entry.segment))
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

/// Reads `from..to` of a file piece by piece and goes on with its checksum.
fn read_range(
    source: &dyn VfsFile,
    (from, to): (u64, u64),
    mut checksum: u32,
    mut on_piece: impl FnMut(&[u8], u64) -> Result<()>,
) -> Result<u32> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = from;
    while at < to {
        let piece = &mut buffer[..COPY_BYTES.min(usize::try_from(to - at).unwrap_or(COPY_BYTES))];
        read_exact_at(source, piece, at).map_err(StorageError::io(READING))?;
        on_piece(piece, at)?;
        checksum = crc32c::crc32c_append(checksum, piece);
        at += piece.len() as u64;
    }
    Ok(checksum)
}

/// Copies `from..to` of a file and goes on with its checksum.
fn copy_range(source: &dyn VfsFile, target: &dyn VfsFile, range: (u64, u64), checksum: u32) -> Result<u32> {
    read_range(source, range, checksum, |piece, at| {
        write_all_at(target, piece, at).map_err(StorageError::io("write a copy"))
    })
}

/// Reads a copy and, if `target` is given, writes it there. Gives what is wrong with it, if anything is.
///
/// # Errors
/// What keeps `target` from being written.
fn read_copy(
    vfs: &dyn Vfs,
    path: &Path,
    entry: &FileEntry,
    target: Option<&dyn VfsFile>,
) -> Result<Option<&'static str>> {
    let file = match vfs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some("missing")),
        Err(_) => return Ok(Some("it cannot be opened")),
    };
    match file.len() {
        Ok(len_bytes) if len_bytes >= entry.len_bytes => {}
        Ok(_) => return Ok(Some("too short")),
        Err(_) => return Ok(Some("it cannot be read")),
    }
    let range = (0, entry.len_bytes);
    let checksum = match target {
        Some(target) => copy_range(&*file, target, range, 0),
        None => read_range(&*file, range, 0, |_, _| Ok(())),
    };
    match checksum {
        Ok(checksum) if checksum == entry.checksum => Ok(None),
        Ok(_) => Ok(Some("its checksum is wrong")),
        Err(StorageError::Io { operation, .. }) if operation == READING => Ok(Some("it cannot be read")),
        Err(error) => Err(error),
    }
}

/// Reads every copy of the backup that is in this place, if there is one, and gives the damaged ones.
///
/// # Errors
/// [`StorageError::Identity`] if its manifest is damaged.
pub fn check_backup(roots: &BackupRoots, vfs: &dyn Vfs) -> Result<Vec<DamagedCopy>> {
    let files = roots.read_manifest(vfs)?.map(|manifest| manifest.files);
    let mut damaged = Vec::new();
    for entry in files.unwrap_or_default() {
        let path = roots.path(&entry);
        if let Some(what) = read_copy(vfs, &path, &entry, None)? {
            damaged.push(DamagedCopy { path, what });
        }
    }
    Ok(damaged)
}

struct Copier<'a> {
    vfs: &'a dyn Vfs,
    roots: &'a BackupRoots,
    previous: BTreeMap<(u16, u8, u32), FileEntry>,
    /// Of these the copies that are there are damaged.
    distrusted: BTreeSet<(u16, u8, u32)>,
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
        let key = (shard, kind as u8, number);
        let mut have = self
            .previous
            .get(&key)
            .filter(|_| !self.distrusted.contains(&key))
            .copied();
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
        let checksum = copy_range(&*source, &*target, (from, len_bytes), checksum)?;
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
        let kept: BTreeSet<_> = self.files.iter().map(FileEntry::key).collect();
        for entry in self.previous.values() {
            let kind = SegmentKind::from_byte(entry.kind).unwrap_or(SegmentKind::Keys);
            if !kept.contains(&entry.key()) {
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
/// Of an earlier backup everything is kept that is still wanted, but for the `damaged` copies, which are made anew.
///
/// # Errors
/// [`StorageError::Identity`] if the target holds a backup of another store; [`StorageError::NoSpace`]. The backup
/// that was there stays valid for all segments that still exist.
pub fn backup(store: &Store, target: &BackupRoots, damaged: &[DamagedCopy]) -> Result<BackupReport> {
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
    let is_damaged = |entry: &FileEntry| damaged.iter().any(|copy| copy.path == target.path(entry));
    let distrusted = previous.iter().filter(|entry| is_damaged(entry)).map(FileEntry::key);
    let distrusted = distrusted.collect();
    let previous = previous.into_iter().map(|entry| (entry.key(), entry)).collect();
    let mut copier = Copier {
        vfs,
        roots: target,
        previous,
        distrusted,
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
