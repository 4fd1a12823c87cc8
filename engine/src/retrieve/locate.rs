//! From UIDs to rows and keys.
//!
//! Nothing here tells "not there" from "not yours": the caller asked for a namespace it may see.

use std::sync::Arc;

use septum_core::ids::{NamespaceId, StudyId, VersionId};
use septum_core::seal::{AccountKeys, StudyKeys, Token, TokenDomain, open_record, token};
use septum_storage::Shard;

use crate::accounts::Namespace;
use crate::error::{EngineError, Result};
use crate::records::{InstanceRow, StudyRow, VersionRecord, VersionRow, decode, key, version_context};
use crate::services::Services;

/// A stored study.
#[derive(Clone)]
pub struct StudyRef {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The account's keys.
    pub account: Arc<AccountKeys>,
    /// Index of the shard.
    pub shard: usize,
    /// Key of its row.
    pub row_key: Vec<u8>,
    /// Its row.
    pub row: StudyRow,
    /// Its keys.
    pub keys: Arc<StudyKeys>,
}

/// One version of a stored instance.
#[derive(Clone)]
pub struct InstanceRef {
    /// Its study.
    pub study: StudyRef,
    /// Its series.
    pub series: Token,
    /// Its place in the series.
    pub instance: Token,
    /// The version.
    pub version: VersionId,
    /// Its row.
    pub row: VersionRow,
    /// What is known of it.
    pub record: Arc<VersionRecord>,
}

impl StudyRef {
    /// A study of a namespace, by its UID.
    pub fn find(services: &Services, namespace: &Namespace, study_uid: &str) -> Result<Self> {
        let account = services.keyring.account(namespace.account)?;
        let token = services.studies.study_token(&account, namespace.id, study_uid);
        let (shard, stored_in) = services.studies.shard(study_uid);
        let own = key::study(namespace.id, &token, namespace.id);
        match Self::load(services, namespace.id, Arc::clone(&account), shard, own) {
            Err(EngineError::NotFound) => {}
            found => return found,
        }
        // Not stored here: perhaps shared from elsewhere.
        let (row_key, _) = crate::scan::rows(stored_in, key::studies_of(namespace.id, &token))
            .next()
            .ok_or(EngineError::NotFound)??;
        Self::load(services, namespace.id, account, shard, row_key)
    }

    /// The studies of that UID that are held in the namespace's exception list.
    pub fn find_held(services: &Services, namespace: &Namespace, study_uid: &str) -> Result<Vec<Self>> {
        let account = services.keyring.account(namespace.account)?;
        let token = services.studies.study_token(&account, namespace.id, study_uid);
        let (shard, stored_in) = services.studies.shard(study_uid);
        let mut prefix = key::exceptions(namespace.id);
        prefix.extend_from_slice(token.as_bytes());
        crate::scan::rows(stored_in, prefix)
            .map(|row| Self::load(services, namespace.id, Arc::clone(&account), shard, row?.0))
            .collect()
    }

    /// The study whose row has that key.
    pub fn load(
        services: &Services,
        namespace: NamespaceId,
        account: Arc<AccountKeys>,
        shard: usize,
        row_key: Vec<u8>,
    ) -> Result<Self> {
        let row = services.store.shards()[shard]
            .get(&row_key)?
            .ok_or(EngineError::NotFound)?;
        let row: StudyRow = decode(&row, "study row")?;
        let keys = match services.keyring.study(row.keys) {
            Ok(keys) => keys,
            Err(EngineError::NotFound) => return Err(without_keys(services, shard, &row_key, &row)?),
            Err(error) => return Err(error),
        };
        Ok(Self {
            namespace,
            account,
            shard,
            row_key,
            row,
            keys,
        })
    }

    /// The same study as it is now.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] once it is gone.
    pub fn again(&self, services: &Services) -> Result<Self> {
        let (account, row_key) = (Arc::clone(&self.account), self.row_key.clone());
        Self::load(services, self.namespace, account, self.shard, row_key)
    }

    /// Its row as it is now.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] once it is gone; [`EngineError::Overloaded`] where a copy is in its place.
    pub fn row_now(&self, services: &Services) -> Result<StudyRow> {
        let row = self
            .stored_in(services)
            .get(&self.row_key)?
            .ok_or(EngineError::NotFound)?;
        let row: StudyRow = decode(&row, "study row")?;
        if row.study == self.id() {
            Ok(row)
        } else {
            Err(EngineError::Overloaded { retry_after_seconds: 1 })
        }
    }

    /// Its random id.
    pub fn id(&self) -> StudyId {
        self.row.study
    }

    /// Its shard.
    pub fn stored_in<'a>(&self, services: &'a Services) -> &'a Arc<Shard> {
        &services.store.shards()[self.shard]
    }

    /// The token of one of its series.
    pub fn series_token(&self, series_uid: &str) -> Token {
        token(
            self.account.index_key(),
            TokenDomain::Series,
            self.namespace,
            series_uid.as_bytes(),
        )
    }

    /// The token of one of its instances.
    pub fn instance_token(&self, instance_uid: &str) -> Token {
        token(
            self.account.index_key(),
            TokenDomain::Instance,
            self.namespace,
            instance_uid.as_bytes(),
        )
    }

    /// One instance: its current version, or the one asked for.
    pub fn instance(
        &self,
        services: &Services,
        series_uid: &str,
        instance_uid: &str,
        version: Option<VersionId>,
    ) -> Result<InstanceRef> {
        let (series, instance) = (self.series_token(series_uid), self.instance_token(instance_uid));
        let versions = self.versions(services, &series, &instance)?;
        let version = match version {
            Some(version) if versions.contains(&version) => version,
            Some(_) => return Err(EngineError::NotFound),
            None => *versions.last().ok_or(EngineError::NotFound)?,
        };
        self.version(services, series, instance, version)
    }

    /// Whether a version is the original of a correction: seeing it needs a permission of its own.
    pub fn is_original(&self, services: &Services, instance: &InstanceRef) -> Result<bool> {
        let row = self
            .stored_in(services)
            .get(&key::instance(self.id(), &instance.series, &instance.instance))?
            .ok_or(EngineError::NotFound)?;
        let row: InstanceRow = decode(&row, "instance row")?;
        Ok(!row.without_originals().contains(&instance.version))
    }

    /// All versions of an instance, oldest first.
    pub fn versions(&self, services: &Services, series: &Token, instance: &Token) -> Result<Vec<VersionId>> {
        let row = self
            .stored_in(services)
            .get(&key::instance(self.id(), series, instance))?
            .ok_or(EngineError::NotFound)?;
        Ok(decode::<InstanceRow>(&row, "instance row")?.versions)
    }

    /// One version of an instance.
    pub fn version(
        &self,
        services: &Services,
        series: Token,
        instance: Token,
        version: VersionId,
    ) -> Result<InstanceRef> {
        let row = self
            .stored_in(services)
            .get(&key::version(self.id(), version))?
            .ok_or(EngineError::Corrupt("version row"))?;
        let row: VersionRow = decode(&row, "version row")?;
        let record = open_record(&self.keys.phi, &version_context(version), &row.sealed)?;
        let record = Arc::new(decode(&record, "version record")?);
        Ok(InstanceRef {
            study: self.clone(),
            series,
            instance,
            version,
            row,
            record,
        })
    }

    /// The current version of each instance of the study, or of one series, in the order of their rows.
    pub fn instances<'a>(
        &'a self,
        services: &'a Services,
        series_uid: Option<&str>,
    ) -> impl Iterator<Item = Result<InstanceRef>> + 'a {
        let prefix = match series_uid {
            Some(uid) => key::instances(self.id(), &self.series_token(uid)),
            None => key::all_instances(self.id()),
        };
        crate::scan::rows(self.stored_in(services), prefix).map(move |row| {
            let (row_key, value) = row?;
            let (series, instance) = tokens_of(&row_key)?;
            let versions = decode::<InstanceRow>(&value, "instance row")?.versions;
            let version = versions.last().ok_or(EngineError::Corrupt("instance row"))?;
            self.version(services, series, instance, *version)
        })
    }
}

/// A study whose keys are gone: erased since its row was read, or damage, which never looks like "not found".
fn without_keys(services: &Services, shard: usize, row_key: &[u8], seen: &StudyRow) -> Result<EngineError> {
    let now = services.store.shards()[shard]
        .get(row_key)?
        .map(|row| decode::<StudyRow>(&row, "study row"))
        .transpose()?;
    Ok(match now {
        Some(now) if now.keys == seen.keys => EngineError::Corrupt("study keys"),
        _ => EngineError::NotFound,
    })
}

/// Series and instance token at the end of an instance or metadata row's key.
pub fn tokens_of(row_key: &[u8]) -> Result<(Token, Token)> {
    let corrupt = || EngineError::Corrupt("row key");
    let start = row_key.len().checked_sub(32).ok_or_else(corrupt)?;
    let token = |at: usize| -> Result<Token> {
        Ok(Token::from_bytes(
            row_key[at..at + 16].try_into().map_err(|_| corrupt())?,
        ))
    };
    Ok((token(start)?, token(start + 16)?))
}
