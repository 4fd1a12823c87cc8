//! Looking after a store from outside or inside a running server: proof, patrol, copies.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use septum_storage::vfs::{RealVfs, Vfs};
use septum_storage::{
    BackupReport, BackupRoots, DamagedCopy, FsckReport, KEYS_SHARD, ScrubCursor, ScrubReport, StorageError, Store,
    StoreConfig, backup as copy_out, check_backup, fsck as prove, open_keys, restore as copy_in,
};

use crate::archive::ArchiveConfig;
use crate::error::{EngineError, Result};
use crate::keyring::{root_key, try_root_key};

/// Bytes a scrub verifies between two pauses.
const SCRUB_STEP_BYTES: u64 = 4 * 1024 * 1024;

/// How often a backup beside a running server is tried.
const BACKUP_ATTEMPTS: u32 = 20;

/// Between two tries.
const BACKUP_PAUSE: Duration = Duration::from_millis(100);

fn store_config(config: &ArchiveConfig) -> StoreConfig {
    StoreConfig {
        shards: config.shards,
        ..StoreConfig::new(&config.phi_root, &config.pixel_root, &config.key_root)
    }
}

/// Beside a running server: takes no lock and changes nothing.
fn open_for_reading(config: &ArchiveConfig) -> septum_storage::Result<Arc<Store>> {
    let reading = StoreConfig {
        read_only: true,
        ..store_config(config)
    };
    Store::open(reading, vfs())
}

fn vfs() -> Arc<dyn Vfs> {
    Arc::new(RealVfs)
}

/// Proves index ↔ journal ↔ segments ↔ keys ↔ root key of a store that no server has open.
pub fn fsck(config: &ArchiveConfig) -> Result<FsckReport> {
    let mut report = prove(&store_config(config), &vfs())?;
    if let Some(what) = root_key_finding(config)? {
        report.find(KEYS_SHARD, what);
    }
    Ok(report)
}

/// What is wrong with the root key: without it a store is whole and yet nobody can read it.
fn root_key_finding(config: &ArchiveConfig) -> Result<Option<String>> {
    let path = config.root_key_file.display();
    let root = match root_key(&config.root_key_file, false) {
        Ok(root) => root,
        Err(EngineError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(Some(format!(
                "the root key is missing, without it nothing can be read: put it at {path}"
            )));
        }
        Err(EngineError::File { source, .. }) if source.kind() != ErrorKind::InvalidData => {
            return Ok(Some(format!("the root key at {path} cannot be read: {source}")));
        }
        Err(_) => {
            return Ok(Some(format!(
                "the root key at {path} is damaged: it is 64 hexadecimal digits"
            )));
        }
    };
    let keys = match open_keys(&store_config(config), &vfs()) {
        Ok(keys) => keys,
        // Found already, by the proof of the key store itself.
        Err(error) if error.is_corrupt() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let trial = try_root_key(&keys, &root);
    Ok(match (trial.num_opened, trial.num_closed) {
        (_, 0) => None,
        (0, num_closed) => Some(format!(
            "the root key at {path} opens none of the {num_closed} keys wrapped with it: it is damaged, or of another \
             archive"
        )),
        (_, num_closed) => Some(format!("{num_closed} keys do not open with the root key at {path}")),
    })
}

/// Rebuilds the indexes from the journals.
pub fn rebuild_index(config: &ArchiveConfig) -> Result<()> {
    let store = Store::open(
        StoreConfig {
            create: false,
            rebuild_index: true,
            ..store_config(config)
        },
        vfs(),
    )?;
    store.close();
    Ok(())
}

/// Verifies everything on disk at no more than `bytes_per_second`, from `cursor` on; `progress` sees each step and may
/// keep the cursor to go on later. A running server is not disturbed.
pub fn scrub(
    config: &ArchiveConfig,
    mut cursor: ScrubCursor,
    bytes_per_second: u64,
    mut progress: impl FnMut(&ScrubCursor, &ScrubReport),
) -> Result<()> {
    let store = open_for_reading(config)?;
    loop {
        let start = Instant::now();
        let report = store.scrub(&mut cursor, SCRUB_STEP_BYTES)?;
        progress(&cursor, &report);
        if report.is_finished {
            return Ok(());
        }
        let due = Duration::from_secs_f64(report.verified_bytes as f64 / bytes_per_second.max(1) as f64);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
}

/// Copies a store, also while a server has it open; a second backup to the same place copies only what is new. With
/// `verify` what an earlier one copied is read first: the damaged copies are made anew, and given.
pub fn backup(config: &ArchiveConfig, target: &Path, verify: bool) -> Result<(BackupReport, Vec<DamagedCopy>)> {
    must_lie_apart(config, target)?;
    let roots = BackupRoots::under(target);
    let damaged = match verify {
        true => check_backup(&roots, &RealVfs)?,
        false => Vec::new(),
    };
    Ok((copy_while_serving(config, &roots, &damaged)?, damaged))
}

/// A backup within a root would be taken for a part of the store, and go with its disk.
fn must_lie_apart(config: &ArchiveConfig, target: &Path) -> Result<()> {
    let target = resolved(target);
    for (name, root) in [
        ("PHI root", &config.phi_root),
        ("pixel root", &config.pixel_root),
        ("key root", &config.key_root),
    ] {
        let root = resolved(root);
        if target.starts_with(&root) || root.starts_with(&target) {
            let what = format!("the folder to copy to and the {name} must not lie inside each other");
            return Err(StorageError::Identity(what.into()).into());
        }
    }
    Ok(())
}

/// A path as the system sees it, of which the end need not exist yet.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in path.ancestors() {
        if let (Ok(resolved), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return resolved.join(rest);
        }
    }
    path
}

fn copy_while_serving(config: &ArchiveConfig, roots: &BackupRoots, damaged: &[DamagedCopy]) -> Result<BackupReport> {
    let attempt = || {
        let store = open_for_reading(config)?;
        copy_out(&store, roots, damaged)
    };
    for _ in 1..BACKUP_ATTEMPTS {
        match attempt() {
            // The server beside us went on between two of our looks; what is copied already stays copied.
            Err(StorageError::NeedsRecovery { .. } | StorageError::Io { .. }) => std::thread::sleep(BACKUP_PAUSE),
            outcome => return Ok(outcome?),
        }
    }
    Ok(attempt()?)
}

/// Restores a backup into empty roots.
pub fn restore(config: &ArchiveConfig, source: &Path) -> Result<BackupReport> {
    Ok(copy_in(&BackupRoots::under(source), &store_config(config), &vfs())?)
}

/// The shard gives space back, at most `budget_bytes` of work, off the async threads.
pub async fn compact(shard: &Arc<septum_storage::Shard>, budget_bytes: u64) -> Result<()> {
    let shard = Arc::clone(shard);
    tokio::task::spawn_blocking(move || shard.compact(budget_bytes))
        .await
        .map_err(|_| EngineError::Panicked)??;
    Ok(())
}
