//! Keys in use: the root key, account keys, study keys.
//!
//! Hierarchy: root key (a file outside the data roots, or inside the key root by default) → account keys by epoch, one
//! for each half → one pair of data keys a study → per-object keys inside [`septum_core::seal`]. Wrapped keys live in
//! the key store alone; erasing a study destroys its wrapped keys there.
//!
//! Invariants: a study's wrapped keys are durable before anything sealed with them is committed; unwrapped keys live in
//! a bounded cache and are wiped when they leave it; a destroyed key is out of the cache before `destroy` returns.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, RwLock};

use quick_cache::sync::Cache;
use septum_core::ids::{AccountId, StudyKeyId};
use septum_core::seal::{
    AccountKeys, DataKey, StudyKeys, Suite, SystemKey, WrapBinding, WrappedAccountKeys, WrappedStudyKeys, partition,
    unwrap, wrap,
};
use septum_storage::{KeyStore, Store};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::records::{decode, encode};

/// Unwrapped study keys held at most.
const STUDY_KEYS_CACHED: usize = 16_384;

/// What the names of account keys begin with; the account's id follows.
const ACCOUNT_PREFIX: &str = "account/";

/// The epoch of keys that were never rotated.
const FIRST_EPOCH: u32 = 0;

#[derive(Serialize, Deserialize)]
struct StoredAccountKeys {
    epoch: u32,
    phi: Vec<u8>,
    pixel: Vec<u8>,
    index: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct StoredStudyKeys {
    account: AccountId,
    epoch: u32,
    phi: Vec<u8>,
    pixel: Vec<u8>,
}

/// All keys in use.
pub struct Keyring {
    store: Arc<Store>,
    root: DataKey,
    placement: DataKey,
    record: DataKey,
    audit_signing: DataKey,
    suite: Suite,
    accounts: RwLock<HashMap<AccountId, Arc<AccountKeys>>>,
    studies: Cache<StudyKeyId, Arc<StudyKeys>>,
}

/// Reads the root key, or makes one when `create` says so: 64 hexadecimal digits, mode 0600.
pub fn root_key(path: &Path, create: bool) -> Result<DataKey> {
    let failed = |what| move |source| EngineError::File { what, source };
    if create && !path.exists() {
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key).map_err(|error| EngineError::File {
            what: "randomness for the root key",
            source: std::io::Error::other(error.to_string()),
        })?;
        let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed("root key file"))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed("root key file"))?;
        if let Some(folder) = path.parent() {
            std::fs::File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed("root key folder"))?;
        }
    }
    let text = std::fs::read_to_string(path).map_err(failed("root key file"))?;
    let text = text.trim();
    let mut key = [0_u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(EngineError::Corrupt("root key file"));
    }
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16)
            .map_err(|_| EngineError::Corrupt("root key file"))?;
    }
    Ok(DataKey::from_bytes(key))
}

impl Keyring {
    /// Opens the keyring over a store's key store; makes the installation's own keys at the first start.
    pub async fn open(store: Arc<Store>, root: DataKey, suite: Suite) -> Result<Arc<Self>> {
        let placement = system_key(&store, &root, suite, SystemKey::Placement).await?;
        let record = system_key(&store, &root, suite, SystemKey::Record).await?;
        let audit_signing = system_key(&store, &root, suite, SystemKey::AuditSigning).await?;
        Ok(Arc::new(Self {
            store,
            root,
            placement,
            record,
            audit_signing,
            suite,
            accounts: RwLock::default(),
            studies: Cache::new(STUDY_KEYS_CACHED),
        }))
    }

    /// The suite new objects are sealed with.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The partition of a study, 0 to 4,095: fixed for all time.
    pub fn partition(&self, study_uid: &str) -> u16 {
        partition(&self.placement, study_uid.as_bytes())
    }

    /// Seals the system's own records.
    pub fn record_key(&self) -> &DataKey {
        &self.record
    }

    /// Signs audit checkpoints.
    pub fn audit_signing_key(&self) -> &DataKey {
        &self.audit_signing
    }

    /// Makes the first keys of a new account; they are durable when this returns.
    pub async fn create_account(&self, account: AccountId) -> Result<()> {
        let keys = AccountKeys::generate(account);
        let WrappedAccountKeys { phi, pixel, index } = keys.wrap(self.suite, &self.root)?;
        let stored = StoredAccountKeys {
            epoch: keys.epoch,
            phi,
            pixel,
            index,
        };
        self.store
            .keys()
            .put_named(account_name(account).as_bytes(), encode(&stored))
            .await?;
        self.accounts
            .write()
            .map_err(|_| EngineError::Panicked)?
            .insert(account, Arc::new(keys));
        Ok(())
    }

    /// An account's current keys.
    pub fn account(&self, account: AccountId) -> Result<Arc<AccountKeys>> {
        if let Some(keys) = self.accounts.read().map_err(|_| EngineError::Panicked)?.get(&account) {
            return Ok(Arc::clone(keys));
        }
        let stored = self
            .store
            .keys()
            .get_named(account_name(account).as_bytes())?
            .ok_or(EngineError::Corrupt("account keys"))?;
        let keys = Arc::new(open_account(&self.root, account, &stored)?);
        self.accounts
            .write()
            .map_err(|_| EngineError::Panicked)?
            .insert(account, Arc::clone(&keys));
        Ok(keys)
    }

    /// Makes a new study's keys; they are durable when this returns.
    pub async fn create_study(&self, account: &AccountKeys) -> Result<Arc<StudyKeys>> {
        self.keep_study(account, StudyKeys::generate()).await
    }

    /// Makes the keys of a study on the pixels of another; they are durable when this returns.
    pub async fn create_share(&self, account: &AccountKeys, of: &StudyKeys) -> Result<Arc<StudyKeys>> {
        self.keep_study(account, of.on_same_pixels()).await
    }

    async fn keep_study(&self, account: &AccountKeys, keys: StudyKeys) -> Result<Arc<StudyKeys>> {
        let WrappedStudyKeys { phi, pixel } = keys.wrap(self.suite, account)?;
        let stored = StoredStudyKeys {
            account: account.account,
            epoch: account.epoch,
            phi,
            pixel,
        };
        self.store.keys().put(vec![(keys.id, encode(&stored))]).await?;
        let keys = Arc::new(keys);
        self.studies.insert(keys.id, Arc::clone(&keys));
        Ok(keys)
    }

    /// Whether a study's keys are there still: what holds them in memory may outlive them.
    ///
    /// # Errors
    /// Where the key store cannot be read.
    pub fn has_study(&self, id: StudyKeyId) -> Result<bool> {
        Ok(self.store.keys().get(&id)?.is_some())
    }

    /// A study's keys. [`EngineError::NotFound`] once they were destroyed.
    pub fn study(&self, id: StudyKeyId) -> Result<Arc<StudyKeys>> {
        if let Some(keys) = self.studies.get(&id) {
            return Ok(keys);
        }
        let stored = self.store.keys().get(&id)?.ok_or(EngineError::NotFound)?;
        let StoredStudyKeys {
            account, phi, pixel, ..
        } = decode(&stored, "study keys")?;
        let account = self.account(account)?;
        let keys = Arc::new(StudyKeys::unwrap(&account, id, &WrappedStudyKeys { phi, pixel })?);
        self.studies.insert(id, Arc::clone(&keys));
        if self.store.keys().get(&id)?.is_none() {
            // Destroyed between the look and the insert.
            self.studies.remove(&id);
            return Err(EngineError::NotFound);
        }
        Ok(keys)
    }

    /// Destroys studies' keys: what they sealed is noise from now on (invariant 9).
    pub async fn destroy_studies(&self, ids: &[StudyKeyId]) -> Result<()> {
        let _proof = self.store.keys().destroy(ids).await?;
        for id in ids {
            self.studies.remove(id);
        }
        Ok(())
    }
}

fn account_name(account: AccountId) -> String {
    format!("{ACCOUNT_PREFIX}{account}")
}

/// What a root key does with the keys that are wrapped with it.
#[derive(Debug, Default)]
pub(crate) struct RootKeyTrial {
    /// Keys that it opens.
    pub(crate) num_opened: u64,
    /// Keys that it does not open.
    pub(crate) num_closed: u64,
}

/// Tries a root key on every key that is wrapped with it: the installation's own and each account's. Study keys are
/// wrapped with account keys, so they open where those do.
pub(crate) fn try_root_key(keys: &KeyStore, root: &DataKey) -> RootKeyTrial {
    let mut trial = RootKeyTrial::default();
    let mut count = |is_open: bool| match is_open {
        true => trial.num_opened += 1,
        false => trial.num_closed += 1,
    };
    // A record that cannot be read is damage of the key store, which its own check tells.
    for kind in [SystemKey::Placement, SystemKey::Record, SystemKey::AuditSigning] {
        if let Ok(Some(wrapped)) = keys.get_named(system_name(kind).as_bytes()) {
            count(unwrap(root, &wrapped, &system_binding(kind)).is_ok());
        }
    }
    for name in keys.list_named(ACCOUNT_PREFIX.as_bytes()) {
        let account = str::from_utf8(&name)
            .ok()
            .and_then(|name| AccountId::parse(name.strip_prefix(ACCOUNT_PREFIX)?));
        if let (Some(account), Ok(Some(stored))) = (account, keys.get_named(&name)) {
            count(open_account(root, account, &stored).is_ok());
        }
    }
    trial
}

fn open_account(root: &DataKey, account: AccountId, stored: &[u8]) -> Result<AccountKeys> {
    let StoredAccountKeys {
        epoch,
        phi,
        pixel,
        index,
    } = decode(stored, "account keys")?;
    let wrapped = WrappedAccountKeys { phi, pixel, index };
    Ok(AccountKeys::unwrap(root, account, epoch, &wrapped)?)
}

fn system_name(kind: SystemKey) -> String {
    format!("system/{}", kind as u8)
}

fn system_binding(kind: SystemKey) -> WrapBinding {
    WrapBinding::System {
        kind,
        epoch: FIRST_EPOCH,
    }
}

async fn system_key(store: &Store, root: &DataKey, suite: Suite, kind: SystemKey) -> Result<DataKey> {
    let (binding, name) = (system_binding(kind), system_name(kind));
    if let Some(wrapped) = store.keys().get_named(name.as_bytes())? {
        return Ok(unwrap(root, &wrapped, &binding)?);
    }
    let key = DataKey::random();
    store
        .keys()
        .put_named(name.as_bytes(), wrap(suite, root, &key, &binding)?)
        .await?;
    Ok(key)
}
