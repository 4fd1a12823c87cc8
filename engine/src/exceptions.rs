//! The exception list (invariant 10): studies whose UID is taken by another patient, held apart until somebody decides.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::accounts::Namespace;
use crate::erase;
use crate::error::{EngineError, Result};
use crate::pipeline::messages::Source;
use crate::records::key;
use crate::retrieve::StudyRef;
use crate::search::study_map;
use crate::services::Services;

/// One study that is held.
pub struct Exception {
    /// Names it in URLs: 64 hexadecimal digits.
    pub id: String,
    /// Study Instance UID.
    pub study_uid: String,
    /// Its patient and study attributes.
    pub attributes: Map<String, Value>,
}

/// The id of the exception whose row has that key.
pub fn id_of(row_key: &[u8]) -> String {
    row_key[17..].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every study that is held in a namespace.
pub fn list(services: &Arc<Services>, namespace: &Namespace) -> Result<Vec<Exception>> {
    let mut exceptions = Vec::new();
    for shard in 0..services.ledgers.len() {
        let account = services.keyring.account(namespace.account)?;
        for row in crate::scan::rows(&services.store.shards()[shard], key::exceptions(namespace.id)) {
            let (row_key, _) = row?;
            let study = StudyRef::load(services, namespace.id, Arc::clone(&account), shard, row_key)?;
            let open = services.summaries.open(&study.row)?;
            exceptions.push(Exception {
                id: id_of(&study.row_key),
                study_uid: open.summary.study_uid.clone(),
                attributes: study_map(&open.summary),
            });
        }
    }
    Ok(exceptions)
}

/// One study that is held, by the id in its URL.
pub fn find(services: &Arc<Services>, namespace: &Namespace, id: &str) -> Result<StudyRef> {
    if id.len() != 64 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(EngineError::NotFound);
    }
    let mut row_key = key::exceptions(namespace.id);
    for at in (0..64).step_by(2) {
        row_key.push(u8::from_str_radix(&id[at..at + 2], 16).map_err(|_| EngineError::NotFound)?);
    }
    let account = services.keyring.account(namespace.account)?;
    for shard in 0..services.ledgers.len() {
        match StudyRef::load(services, namespace.id, Arc::clone(&account), shard, row_key.clone()) {
            Err(EngineError::NotFound) => {}
            found => return found,
        }
    }
    Err(EngineError::NotFound)
}

/// Rejects a held study: it is erased.
pub async fn reject(services: &Arc<Services>, namespace: &Namespace, id: &str, source: &Source) -> Result<()> {
    let found = find(services, namespace, id)?;
    let (services, source) = (Arc::clone(services), source.clone());
    erase::detached(async move { erase::erase(&services, &found, &source, None).await }).await
}
