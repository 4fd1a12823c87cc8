//! A store from a backup, or nothing.
//!
//! A restore that fails takes away what it has put into the roots, so that the next try finds them empty. For one that
//! was killed there is a mark in the PHI root, made before anything else: a PHI root with the mark and without an
//! identity is the remains of a restore, and the next one clears it. Only names that a store makes are ever removed.

use super::{BackupManifest, BackupReport, BackupRoots, DamagedCopy, FileEntry, read_copy, summary};
use crate::error::{Result, SegmentKind, StorageError};
use crate::identity::{self, CATALOG_SHARD, Identity, ROOT_SHARD, Root};
use crate::index::IndexOpener;
use crate::keystore;
use crate::segment::file_name;
use crate::shard::Health;
use crate::store::{Store, StoreConfig, initialise_as};
use crate::vfs::{OpenMode, Vfs, create_dir_synced, write_atomic};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

const MARK_NAME: &str = "restoring";
const LOCK_NAME: &str = "LOCK";

/// Makes a store out of a backup, in empty roots, verifies every byte copied, and opens it once to rebuild the index.
///
/// # Errors
/// [`StorageError::NotEmpty`] if a root has content; [`StorageError::DamagedBackup`] with every file that is damaged or
/// missing. After an error the roots are empty again.
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
    config.check()?;
    for (_, root) in roots(&config) {
        create_dir_synced(&**vfs, root).map_err(StorageError::io("create a root"))?;
    }
    if !is_unfinished(&config, &**vfs)? {
        must_be_empty(&config, &**vfs)?;
    }
    let lock = vfs
        .lock(&config.phi_root.join(LOCK_NAME))
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StorageError::Locked,
            _ => StorageError::io("lock the store")(error),
        })?;
    if is_unfinished(&config, &**vfs)? {
        tracing::warn!("the remains of a restore that was broken off are removed");
        clear(&config, &**vfs)?;
    }
    must_be_empty(&config, &**vfs)?;
    let mark = config.phi_root.join(MARK_NAME);
    write_atomic(&**vfs, &mark, &manifest.store).map_err(StorageError::io("mark an unfinished restore"))?;
    let filled = fill(source, &config, vfs, &manifest).and_then(|()| {
        // The store takes the lock itself.
        drop(lock);
        open_once(&config, vfs, &manifest)
    });
    if let Err(error) = filled {
        if let Err(left) = clear(&config, &**vfs) {
            tracing::warn!(error = %left, "what the restore had put into the roots could not be removed");
        }
        return Err(error);
    }
    vfs.unlink(&mark)
        .and_then(|()| vfs.sync_dir(&config.phi_root))
        .map_err(StorageError::io("remove the mark of a restore"))?;
    let copied_bytes = manifest.files.iter().map(|entry| entry.len_bytes).sum();
    Ok(summary(&manifest, copied_bytes))
}

fn roots(config: &StoreConfig) -> [(&'static str, &Path); 3] {
    [
        ("PHI root", &config.phi_root),
        ("pixel root", &config.pixel_root),
        ("key root", &config.key_root),
    ]
}

/// Whether the roots hold what a restore left that never came to its end.
fn is_unfinished(config: &StoreConfig, vfs: &dyn Vfs) -> Result<bool> {
    let exists = |name| {
        vfs.exists(&config.phi_root.join(name))
            .map_err(StorageError::io("look for the mark of a restore"))
    };
    Ok(exists(MARK_NAME)? && !exists(identity::FILE_NAME)?)
}

fn must_be_empty(config: &StoreConfig, vfs: &dyn Vfs) -> Result<()> {
    for (name, root) in roots(config) {
        let names = vfs.list(root).map_err(StorageError::io("list a root"))?;
        if names.iter().any(|name| name != "lost+found" && name != LOCK_NAME) {
            return Err(StorageError::NotEmpty(name.into()));
        }
    }
    Ok(())
}

/// Removes what a store has in its roots; the mark last, so that a clearing that is broken off goes on next time.
fn clear(config: &StoreConfig, vfs: &dyn Vfs) -> Result<()> {
    let is_of_a_store = |name: &str| {
        let name = name.strip_suffix(".tmp").unwrap_or(name);
        name.starts_with("shard-") || ["identity", "layout", "catalog", "keys", "reserve"].contains(&name)
    };
    let failed = StorageError::io("clear a root");
    for (_, root) in roots(config) {
        // What has an identity is a store: that goes first.
        vfs.remove_tree(&root.join(identity::FILE_NAME)).map_err(&failed)?;
        for name in vfs
            .list(root)
            .map_err(&failed)?
            .iter()
            .filter(|name| is_of_a_store(name))
        {
            vfs.remove_tree(&root.join(name)).map_err(&failed)?;
        }
        vfs.sync_dir(root).map_err(&failed)?;
    }
    for name in [MARK_NAME.to_owned(), format!("{MARK_NAME}.tmp")] {
        vfs.remove_tree(&config.phi_root.join(name)).map_err(&failed)?;
    }
    vfs.sync_dir(&config.phi_root).map_err(&failed)
}

/// Copies everything; the PHI root's identity is written last.
fn fill(source: &BackupRoots, config: &StoreConfig, vfs: &Arc<dyn Vfs>, manifest: &BackupManifest) -> Result<()> {
    let identity = Identity {
        root: Root::Phi,
        shard: ROOT_SHARD,
        num_shards: manifest.num_shards,
        store: manifest.store,
        epoch: manifest.epoch,
        created_ms: manifest.created_ms,
    };
    initialise_as(config, &**vfs, &IndexOpener::new(config.index), identity)?;
    let mut keys = BTreeMap::new();
    let mut damaged = Vec::new();
    for entry in &manifest.files {
        let path = source.path(entry);
        // Once a file is damaged the others are only looked at: all that are damaged are to be named.
        let what = match damaged.is_empty() {
            true => restore_file(&path, config, &**vfs, entry, &mut keys)?,
            false => read_copy(&**vfs, &path, entry, None)?,
        };
        damaged.extend(what.map(|what| DamagedCopy { path, what }));
    }
    if !damaged.is_empty() {
        return Err(StorageError::DamagedBackup(damaged.into()));
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
    identity.write(&**vfs, &config.phi_root)
}

/// Opens the copy, which rebuilds its indexes, and checks that every shard ends where the backup ended.
fn open_once(config: &StoreConfig, vfs: &Arc<dyn Vfs>, manifest: &BackupManifest) -> Result<()> {
    let store = Store::open(config.clone(), Arc::clone(vfs))?;
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
    Ok(())
}

/// Copies one file; gives what is wrong with the copy in the backup, if anything is.
fn restore_file(
    path: &Path,
    config: &StoreConfig,
    vfs: &dyn Vfs,
    entry: &FileEntry,
    keys: &mut BTreeMap<u32, Option<u64>>,
) -> Result<Option<&'static str>> {
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
    let target = vfs
        .open(&directory.join(file_name(entry.segment)), OpenMode::CreateNew)
        .map_err(StorageError::io("create a segment"))?;
    let what = read_copy(vfs, path, entry, Some(&*target))?;
    target.sync().map_err(StorageError::io("sync a segment"))?;
    Ok(what)
}
