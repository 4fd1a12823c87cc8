//! The store: three roots, opened together.
//!
//! ```text
//! phi_root/    identity  layout  LOCK  catalog/{identity,journal/,index/,reserve}  shard-0000/{…}
//! pixel_root/  identity  shard-0000/{identity,pixels/}
//! key_root/    identity  keys/{manifest,00000001.seg}  reserve
//! ```
//!
//! A new store is made step by step; the identity of the PHI root is written last, and nothing is created once it is
//! there: a missing part is an error or, for the index, rebuilt from the journal.

use crate::error::{Result, StorageError};
use crate::identity::{CATALOG_SHARD, FIRST_EPOCH, Identity, ROOT_SHARD, Root};
use crate::index::{IndexKind, IndexMode, IndexOpener};
use crate::keystore::{self, KeyStore, KeyStoreConfig};
use crate::layout::{Layout, NUM_SHARDS_MAX};
use crate::metrics::{Observer, StorageMetrics};
use crate::segment;
use crate::shard::core::Applied;
use crate::shard::{PoisonHook, Shard, ShardConfig};
use crate::vfs::{Vfs, create_dir_synced};
use septum_core::ids::ObjectId;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Sealed headers, records and index.
    pub phi_root: PathBuf,
    /// Sealed frames.
    pub pixel_root: PathBuf,
    /// Wrapped keys.
    pub key_root: PathBuf,
    /// Number of shards, 1 to 256; fixed when the store is made.
    pub shards: u16,
    /// A pixel segment is closed at this size. Default 256 MiB.
    pub pixel_segment_bytes: u64,
    /// A journal segment is closed at this size. Default 64 MiB.
    pub journal_segment_bytes: u64,
    /// Space held per shard, so that deletions work on a full disk. Default 4 MiB; 0 for none.
    pub reserve_bytes: u64,
    /// Make the store if the roots are empty.
    pub create: bool,
    /// Change nothing; commits fail.
    pub read_only: bool,
    /// Rebuild all indexes from the journals, and a lost partition map from the number of shards.
    pub rebuild_index: bool,
    /// Which index.
    pub index: IndexKind,
    /// Called when a failed sync poisons a shard.
    pub on_poison: Option<PoisonHook>,
    /// Receives measurements.
    pub metrics: Option<Arc<dyn StorageMetrics>>,
}

impl StoreConfig {
    /// The defaults: 4 shards, created if missing.
    pub fn new(phi_root: impl Into<PathBuf>, pixel_root: impl Into<PathBuf>, key_root: impl Into<PathBuf>) -> Self {
        Self {
            phi_root: phi_root.into(),
            pixel_root: pixel_root.into(),
            key_root: key_root.into(),
            shards: 4,
            pixel_segment_bytes: 256 << 20,
            journal_segment_bytes: 64 << 20,
            reserve_bytes: 4 << 20,
            create: true,
            read_only: false,
            rebuild_index: false,
            index: IndexKind::RocksDb,
            on_poison: None,
            metrics: None,
        }
    }

    pub(crate) fn shard_directory(&self, shard: u16) -> PathBuf {
        if shard == CATALOG_SHARD {
            return self.phi_root.join("catalog");
        }
        self.phi_root.join(shard_name(shard))
    }

    pub(crate) fn pixel_directory(&self, shard: u16) -> PathBuf {
        self.pixel_root.join(shard_name(shard))
    }

    pub(crate) fn shard_config(
        &self,
        shard: u16,
        identity: &Identity,
        vfs: &Arc<dyn Vfs>,
        opener: &IndexOpener,
    ) -> ShardConfig {
        ShardConfig {
            shard,
            store: identity.store,
            vfs: Arc::clone(vfs),
            directory: self.shard_directory(shard),
            pixels: (shard != CATALOG_SHARD).then(|| self.pixel_directory(shard).join("pixels")),
            opener: opener.clone(),
            observer: Observer(self.metrics.clone()),
            on_poison: self.on_poison.clone(),
            pixel_segment_bytes: self.pixel_segment_bytes,
            journal_segment_bytes: self.journal_segment_bytes,
            reserve_bytes: self.reserve_bytes,
            read_only: self.read_only,
            rebuild: self.rebuild_index,
        }
    }

    pub(crate) fn key_config(&self, identity: &Identity, vfs: &Arc<dyn Vfs>) -> KeyStoreConfig {
        KeyStoreConfig {
            vfs: Arc::clone(vfs),
            store: identity.store,
            root: self.key_root.clone(),
            observer: Observer(self.metrics.clone()),
            on_poison: self.on_poison.clone(),
            read_only: self.read_only,
            reserve_bytes: self.reserve_bytes.min(2 << 20),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |text: &str| Err(StorageError::Identity(text.into()));
        if !(1..=NUM_SHARDS_MAX).contains(&self.shards) {
            return refuse("the number of shards must be 1 to 256");
        }
        if self.pixel_segment_bytes < 4096 || self.journal_segment_bytes < 4096 {
            return refuse("segments must be at least 4096 bytes");
        }
        let roots = [&self.phi_root, &self.pixel_root, &self.key_root];
        for (index, one) in roots.iter().enumerate() {
            for other in &roots[index + 1..] {
                if one.starts_with(other) || other.starts_with(one) {
                    return refuse("the three roots must not lie inside each other");
                }
            }
        }
        Ok(())
    }
}

fn shard_name(shard: u16) -> String {
    format!("shard-{shard:04}")
}

/// An open store.
pub struct Store {
    config: StoreConfig,
    vfs: Arc<dyn Vfs>,
    identity: Identity,
    layout: Layout,
    shards: Vec<Arc<Shard>>,
    catalog: Arc<Shard>,
    keys: KeyStore,
    _lock: Option<Box<dyn Send + Sync>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({} shards)", self.shards.len())
    }
}

impl Store {
    /// Opens the store, and recovers what a crash left behind. Shards with damage open read-only or failed, see
    /// [`Shard::health`]; the others work.
    ///
    /// # Errors
    /// [`StorageError::Identity`] if roots do not belong together or are missing, [`StorageError::Locked`],
    /// [`StorageError::UnknownVersion`] for a store of a later program.
    pub fn open(config: StoreConfig, vfs: Arc<dyn Vfs>) -> Result<Arc<Self>> {
        config.check()?;
        let opener = IndexOpener::new(config.index);
        if config.create && !config.read_only {
            for root in [&config.phi_root, &config.pixel_root, &config.key_root] {
                create_dir_synced(&*vfs, root).map_err(StorageError::io("create a root"))?;
            }
        }
        if !vfs
            .exists(&config.phi_root)
            .map_err(StorageError::io("look for the PHI root"))?
        {
            return Err(StorageError::Identity("PHI root: the directory is missing".into()));
        }
        let lock = match config.read_only {
            true => None,
            false => Some(
                vfs.lock(&config.phi_root.join("LOCK"))
                    .map_err(|error| match error.kind() {
                        io::ErrorKind::WouldBlock => StorageError::Locked,
                        _ => StorageError::io("lock the store")(error),
                    })?,
            ),
        };
        let identity = match Identity::read(&*vfs, &config.phi_root, Root::Phi)? {
            Some(identity) => identity,
            None if config.create && !config.read_only => initialise(&config, &*vfs, &opener)?,
            None => return Err(StorageError::Identity("PHI root: the identity file is missing".into())),
        };
        verify_roots(&config, &*vfs, &identity)?;
        let layout = match config.rebuild_index && !config.read_only {
            true => Layout::read_or_derive(&*vfs, [&config.phi_root, &config.pixel_root], &identity)?,
            false => Layout::read(&*vfs, &config.phi_root, &identity)?,
        };
        let open = |shard: u16| Shard::open(config.shard_config(shard, &identity, &vfs, &opener));
        let keys = KeyStore::open(config.key_config(&identity, &vfs))?;
        let shards = (0..identity.num_shards).map(open).collect::<Result<Vec<_>>>()?;
        let catalog = open(CATALOG_SHARD)?;
        Ok(Arc::new(Self {
            config,
            vfs,
            identity,
            layout,
            shards,
            catalog,
            keys,
            _lock: lock,
        }))
    }

    /// The shard of a partition (0 to 4,095).
    pub fn shard(&self, partition: u16) -> &Arc<Shard> {
        &self.shards[usize::from(self.layout.assignment(partition).shard)]
    }

    /// All shards, by number.
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// The catalogue: accounts, namespaces, users, grants. The same code, without pixels.
    pub fn catalog(&self) -> &Arc<Shard> {
        &self.catalog
    }

    /// The key store.
    pub fn keys(&self) -> &KeyStore {
        &self.keys
    }

    /// The partition map.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The store's random UUID, made with it.
    pub fn uuid(&self) -> &[u8; 16] {
        &self.identity.store
    }

    /// How it was opened.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Finishes queued commits and closes everything. Also done when the store is dropped.
    pub fn close(&self) {
        self.shards
            .iter()
            .chain([&self.catalog])
            .for_each(|shard| shard.close());
        self.keys.close();
    }

    pub(crate) fn vfs(&self) -> &Arc<dyn Vfs> {
        &self.vfs
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Opens the key store of a closed store alone, for reading: to try a root key on it.
///
/// # Errors
/// [`StorageError::Identity`] if the roots do not belong together, and what keeps it from being read.
pub fn open_keys(config: &StoreConfig, vfs: &Arc<dyn Vfs>) -> Result<KeyStore> {
    let config = StoreConfig {
        read_only: true,
        ..config.clone()
    };
    let missing = || StorageError::Identity("PHI root: the identity file is missing".into());
    let identity = Identity::read(&**vfs, &config.phi_root, Root::Phi)?.ok_or_else(missing)?;
    identity.expect(&**vfs, &config.key_root, Root::Key, ROOT_SHARD)?;
    KeyStore::open(config.key_config(&identity, vfs))
}

/// Whether a directory or anything below it holds a segment.
fn has_segments(vfs: &dyn Vfs, directory: &Path) -> Result<bool> {
    if !vfs.exists(directory).map_err(StorageError::io("look for segments"))? {
        return Ok(false);
    }
    Ok(!segment::list(vfs, directory)?.is_empty())
}

pub(crate) fn initialise(config: &StoreConfig, vfs: &dyn Vfs, opener: &IndexOpener) -> Result<Identity> {
    let identity = Identity {
        root: Root::Phi,
        shard: ROOT_SHARD,
        num_shards: config.shards,
        store: *ObjectId::random().as_bytes(),
        epoch: FIRST_EPOCH,
        created_ms: segment::now_ms(),
    };
    initialise_as(config, vfs, opener, identity)?;
    identity.write(vfs, &config.phi_root)?;
    Ok(identity)
}

/// Makes an empty store with this identity, but for the PHI root's identity file, which finishes it.
pub(crate) fn initialise_as(
    config: &StoreConfig,
    vfs: &dyn Vfs,
    opener: &IndexOpener,
    identity: Identity,
) -> Result<()> {
    // Segments without the PHI root's identity are the remains of a store that lost it, not a new store.
    let refuse = |what: &str| StorageError::NotEmpty(what.into());
    for shard in (0..NUM_SHARDS_MAX).chain([CATALOG_SHARD]) {
        if has_segments(vfs, &config.shard_directory(shard).join("journal"))? {
            return Err(refuse("the PHI root"));
        }
        if shard != CATALOG_SHARD && has_segments(vfs, &config.pixel_directory(shard).join("pixels"))? {
            return Err(refuse("the pixel root"));
        }
    }
    if has_segments(vfs, &config.key_root.join("keys"))? {
        return Err(refuse("the key root"));
    }
    let make = |directory: &Path| create_dir_synced(vfs, directory).map_err(StorageError::io("create a directory"));
    let of = |root, shard| Identity {
        root,
        shard,
        ..identity
    };
    for shard in (0..config.shards).chain([CATALOG_SHARD]) {
        let directory = config.shard_directory(shard);
        make(&directory.join("journal"))?;
        let index = if config.index == IndexKind::RocksDb {
            // An unfinished start may have left one.
            opener.recreate(&directory.join("index"), shard)?
        } else {
            opener.open(&directory.join("index"), shard, IndexMode::Create)?
        };
        index.write(&vec![(
            crate::keys::internal::APPLIED.to_vec(),
            Some(Applied::default().encode()),
        )])?;
        index.flush()?;
        index.close();
        drop(index);
        opener.forget_damaged(&directory.join("index"));
        of(Root::Phi, shard).write(vfs, &directory)?;
        if shard != CATALOG_SHARD {
            let pixels = config.pixel_directory(shard);
            make(&pixels.join("pixels"))?;
            of(Root::Pixel, shard).write(vfs, &pixels)?;
        }
    }
    of(Root::Pixel, ROOT_SHARD).write(vfs, &config.pixel_root)?;
    let keys = config.key_root.join("keys");
    make(&keys)?;
    keystore::write_empty_manifest(vfs, &keys, &identity.store)?;
    of(Root::Key, ROOT_SHARD).write(vfs, &config.key_root)?;
    Layout::new(config.shards).write(vfs, &config.phi_root, &identity.store)
}

/// Checks that all roots and shards belong together.
pub(crate) fn verify_roots(config: &StoreConfig, vfs: &dyn Vfs, identity: &Identity) -> Result<()> {
    if config.shards != identity.num_shards {
        return Err(StorageError::Identity(
            format!(
                "the store has {} shards, {} are configured",
                identity.num_shards, config.shards
            )
            .into(),
        ));
    }
    identity.expect(vfs, &config.phi_root, Root::Phi, ROOT_SHARD)?;
    identity.expect(vfs, &config.pixel_root, Root::Pixel, ROOT_SHARD)?;
    identity.expect(vfs, &config.key_root, Root::Key, ROOT_SHARD)?;
    for shard in (0..identity.num_shards).chain([CATALOG_SHARD]) {
        identity.expect(vfs, &config.shard_directory(shard), Root::Phi, shard)?;
        if shard != CATALOG_SHARD {
            identity.expect(vfs, &config.pixel_directory(shard), Root::Pixel, shard)?;
        }
    }
    Ok(())
}
