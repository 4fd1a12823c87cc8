//! Rows of the catalogue: sealed JSON behind a format version byte.
//!
//! Version 2 is JSON, so that fields can be added. Version 1 was postcard with the first few fields of accounts,
//! namespaces and users; it is still read.

use septum_core::ids::{AccountId, NamespaceId, ObjectId, UserId};
use septum_core::seal::{ObjectContext, Part, open_record, seal_record};
use septum_storage::{RowKind, Shard};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::model::{Account, Membership, Namespace, NamespaceKind, Role, User};
use super::sessions::Session;
use crate::error::{EngineError, Result};
use crate::keyring::Keyring;
use crate::records::decode;

const FORMAT_VERSION: u8 = 2;

/// A record with a row of its own.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// Its rows.
    const ROWS: RowKind;
    /// The key of its row, behind the kind.
    fn key(&self) -> Vec<u8>;
    /// Reads the bytes of version 1, where there were such.
    fn first_version(_: &[u8]) -> Result<Self> {
        Err(EngineError::Corrupt("catalogue record"))
    }
}

/// What a record is bound to: its kind and a digest of its key, so that no row can stand in for another.
fn context(kind: RowKind, key: &[u8]) -> ObjectContext {
    let id: [u8; 16] = match key.try_into() {
        Ok(id) => id,
        Err(_) => {
            let mut id = [0; 16];
            id.copy_from_slice(&blake3::hash(key).as_bytes()[..16]);
            id
        }
    };
    let owner = match kind {
        RowKind::Account | RowKind::Namespace | RowKind::User => id,
        kind => {
            let mut owner = *b"septum record\0\0\0";
            owner[15] = kind as u8;
            owner
        }
    };
    ObjectContext::without_pixels(Part::Record, owner, ObjectId::from_bytes(id))
}

/// A record as its row's value.
pub(super) fn seal<T: Record>(keyring: &Keyring, record: &T) -> Result<Vec<u8>> {
    let mut plain = vec![FORMAT_VERSION];
    serde_json::to_writer(&mut plain, record).map_err(|_| EngineError::Corrupt("catalogue record"))?;
    let context = context(T::ROWS, &record.key());
    Ok(seal_record(keyring.suite(), keyring.record_key(), &context, &plain)?)
}

/// The record of a row's value.
pub(super) fn open<T: Record>(keyring: &Keyring, key: &[u8], sealed: &[u8]) -> Result<T> {
    let plain = open_record(keyring.record_key(), &context(T::ROWS, key), sealed)?;
    match plain.split_first() {
        Some((&FORMAT_VERSION, json)) => {
            serde_json::from_slice(json).map_err(|_| EngineError::Corrupt("catalogue record"))
        }
        Some((1, _)) => T::first_version(&plain),
        Some((version, _)) => {
            tracing::error!(version, "unknown catalogue record format version");
            Err(EngineError::Corrupt("catalogue record"))
        }
        None => Err(EngineError::Corrupt("catalogue record")),
    }
}

/// Every record of a kind.
pub(super) fn load<T: Record>(shard: &Shard, keyring: &Keyring) -> Result<Vec<T>> {
    let prefix = T::ROWS.key(&[]);
    crate::scan::rows(shard, prefix.clone())
        .map(|row| {
            let (key, sealed) = row?;
            open(keyring, &key[prefix.len()..], &sealed)
        })
        .collect()
}

impl Record for Account {
    const ROWS: RowKind = RowKind::Account;

    fn key(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }

    fn first_version(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct First {
            id: AccountId,
            name: String,
        }
        let First { id, name } = decode(bytes, "account")?;
        Ok(Self {
            id,
            name,
            personal: false,
            created_ms: 0,
            properties: Map::new(),
            settings: Map::new(),
        })
    }
}

impl Record for Namespace {
    const ROWS: RowKind = RowKind::Namespace;

    fn key(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }

    fn first_version(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct First {
            id: NamespaceId,
            account: AccountId,
            name: String,
            default_issuer: String,
        }
        let First {
            id,
            account,
            name,
            default_issuer,
        } = decode(bytes, "namespace")?;
        Ok(Self {
            id,
            account,
            name,
            default_issuer,
            kind: NamespaceKind::Plain,
            default_role: None,
            created_ms: 0,
            properties: Map::new(),
            settings: Map::new(),
        })
    }
}

impl Record for User {
    const ROWS: RowKind = RowKind::User;

    fn key(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }

    fn first_version(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct First {
            id: UserId,
            name: String,
            password_hash: String,
            administrator: bool,
        }
        let first: First = decode(bytes, "user")?;
        Ok(Self {
            id: first.id,
            name: first.name,
            password_hash: first.password_hash,
            administrator: first.administrator,
            disabled: false,
            first: String::new(),
            last: String::new(),
            personal: None,
            created_ms: 0,
            properties: Map::new(),
            settings: Map::new(),
            guest: None,
        })
    }
}

impl Record for Role {
    const ROWS: RowKind = RowKind::Role;

    fn key(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}

impl Record for Membership {
    const ROWS: RowKind = RowKind::Membership;

    fn key(&self) -> Vec<u8> {
        [*self.user.as_bytes(), *self.namespace.as_bytes()].concat()
    }
}

impl Record for Session {
    const ROWS: RowKind = RowKind::Session;

    fn key(&self) -> Vec<u8> {
        self.key.to_vec()
    }
}

/// A value that is a text, empty where it is none.
pub(super) fn text<'a>(properties: &'a Map<String, Value>, name: &str) -> &'a str {
    properties.get(name).and_then(Value::as_str).unwrap_or_default()
}
