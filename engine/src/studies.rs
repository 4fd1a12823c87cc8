//! From the identity in a header to the study it belongs to: row key, keys, shard.
//!
//! A new study's keys are made once however many of its instances arrive at the same time, and are durable before
//! anything is sealed with them. An instance whose study UID is already taken by another patient is directed to a row of
//! its own in the exception list, never mixed (invariant 10).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use septum_core::dicom::Identity;
use septum_core::ids::{NamespaceId, StudyId};
use septum_core::seal::{AccountKeys, StudyKeys, Token, TokenDomain, token};
use septum_storage::{Shard, Store};

use crate::accounts::Namespace;
use crate::error::Result;
use crate::keyring::Keyring;
use crate::patients::{Patients, patient_token};
use crate::records::{StudyRow, decode, key};

/// A study that instances are on their way into.
pub struct StudyHandle {
    /// Where its row lies.
    pub row_key: Vec<u8>,
    /// Its token within the account.
    pub token: Token,
    /// Its random id.
    pub study: StudyId,
    /// Its data keys.
    pub keys: Arc<StudyKeys>,
    /// Its account's keys.
    pub account: Arc<AccountKeys>,
    /// The namespace it is stored in.
    pub namespace: NamespaceId,
    /// Token of the patient key.
    pub patient: Token,
    /// Which shard owns it.
    pub shard: usize,
    /// Held apart in the exception list.
    pub held: bool,
    /// The row was staged once: if it is missing later, the study was deleted meanwhile.
    committed: AtomicBool,
}

impl StudyHandle {
    /// Whether the row was ever staged.
    pub fn was_committed(&self) -> bool {
        self.committed.load(Ordering::Acquire)
    }

    /// Notes that the row is staged and can be seen. If that commit fails, what is on its way into the study fails with it.
    pub fn note_committed(&self) {
        self.committed.store(true, Ordering::Release);
    }
}

/// Finds and creates [`StudyHandle`]s.
pub struct Studies {
    store: Arc<Store>,
    keyring: Arc<Keyring>,
    patients: Arc<Patients>,
    /// Studies that are new and not yet committed, alive as long as an instance is on its way into them.
    arriving: tokio::sync::Mutex<HashMap<Vec<u8>, Weak<StudyHandle>>>,
}

impl Studies {
    /// Over a store and its keys.
    pub fn new(store: Arc<Store>, keyring: Arc<Keyring>, patients: Arc<Patients>) -> Self {
        Self {
            store,
            keyring,
            patients,
            arriving: tokio::sync::Mutex::default(),
        }
    }

    /// The shard that owns a study.
    pub fn shard(&self, study_uid: &str) -> (usize, &Arc<Shard>) {
        let partition = self.keyring.partition(study_uid);
        let shard = self.store.shard(partition);
        (usize::from(shard.id()), shard)
    }

    /// The token of a study in a namespace.
    pub fn study_token(&self, account: &AccountKeys, namespace: NamespaceId, study_uid: &str) -> Token {
        token(account.index_key(), TokenDomain::Study, namespace, study_uid.as_bytes())
    }

    /// The study an instance belongs to, made when it is new.
    pub async fn resolve(&self, namespace: &Namespace, identity: &Identity) -> Result<Arc<StudyHandle>> {
        let account = self.keyring.account(namespace.account)?;
        let study_uid = identity.study.as_str();
        let study_token = self.study_token(&account, namespace.id, study_uid);
        let patient = patient_token(
            &account,
            namespace,
            &identity.issuer_of_patient_id,
            &identity.patient_id,
        );
        let (shard, _) = self.shard(study_uid);
        let normal = key::study(namespace.id, &study_token, namespace.id);
        if let Some(handle) = self.stored(&normal, &account, namespace.id, study_token, shard, false)? {
            if self.patients.is_one(namespace.id, handle.patient, patient) {
                return Ok(handle);
            }
            return self.exception(account, namespace.id, study_token, patient, shard).await;
        }
        let mut arriving = self.arriving.lock().await;
        if let Some(handle) = arriving
            .get(&normal)
            .and_then(Weak::upgrade)
            .filter(|handle| !handle.was_committed())
        {
            if self.patients.is_one(namespace.id, handle.patient, patient) {
                return Ok(handle);
            }
            drop(arriving);
            return self.exception(account, namespace.id, study_token, patient, shard).await;
        }
        // Between the first look and the lock the study may have been committed.
        if let Some(handle) = self.stored(&normal, &account, namespace.id, study_token, shard, false)? {
            if self.patients.is_one(namespace.id, handle.patient, patient) {
                return Ok(handle);
            }
            drop(arriving);
            return self.exception(account, namespace.id, study_token, patient, shard).await;
        }
        let handle = self
            .create(
                normal.clone(),
                account,
                namespace.id,
                study_token,
                patient,
                shard,
                false,
            )
            .await?;
        arriving.retain(|_, handle| handle.strong_count() > 0);
        arriving.insert(normal, Arc::downgrade(&handle));
        Ok(handle)
    }

    async fn exception(
        &self,
        account: Arc<AccountKeys>,
        namespace: NamespaceId,
        study: Token,
        patient: Token,
        shard: usize,
    ) -> Result<Arc<StudyHandle>> {
        let row_key = key::exception(namespace, &study, &patient);
        let mut arriving = self.arriving.lock().await;
        // In this order: what is no longer arriving is stored by now.
        if let Some(handle) = arriving
            .get(&row_key)
            .and_then(Weak::upgrade)
            .filter(|handle| !handle.was_committed())
        {
            return Ok(handle);
        }
        if let Some(handle) = self.stored(&row_key, &account, namespace, study, shard, true)? {
            return Ok(handle);
        }
        let handle = self
            .create(row_key.clone(), account, namespace, study, patient, shard, true)
            .await?;
        arriving.insert(row_key, Arc::downgrade(&handle));
        Ok(handle)
    }

    fn stored(
        &self,
        row_key: &[u8],
        account: &Arc<AccountKeys>,
        namespace: NamespaceId,
        token: Token,
        shard: usize,
        held: bool,
    ) -> Result<Option<Arc<StudyHandle>>> {
        let Some(row) = self.store.shards()[shard].get_staged(row_key)? else {
            return Ok(None);
        };
        let row: StudyRow = decode(&row, "study row")?;
        Ok(Some(Arc::new(StudyHandle {
            row_key: row_key.to_vec(),
            token,
            study: row.study,
            keys: self.keyring.study(row.keys)?,
            account: Arc::clone(account),
            namespace,
            patient: row.patient,
            shard,
            held,
            committed: AtomicBool::new(true),
        })))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one handle, all of different types"
    )]
    async fn create(
        &self,
        row_key: Vec<u8>,
        account: Arc<AccountKeys>,
        namespace: NamespaceId,
        token: Token,
        patient: Token,
        shard: usize,
        held: bool,
    ) -> Result<Arc<StudyHandle>> {
        let keys = self.keyring.create_study(&account).await?;
        Ok(Arc::new(StudyHandle {
            row_key,
            token,
            study: StudyId::random(),
            keys,
            account,
            namespace,
            patient,
            shard,
            held,
            committed: AtomicBool::new(false),
        }))
    }
}
