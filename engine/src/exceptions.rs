//! The exception list (invariant 10): studies whose UID is taken by another patient, held apart until somebody decides.
//!
//! Accepting says that both patients are one: an alias joins their keys, then the held instances go into the study.
//! Moving puts them into another namespace. Both send the instances through the pipeline again and erase the held study
//! when all are durable; if that is interrupted, asking again goes on.

use std::sync::Arc;

use septum_core::seal::Token;
use serde_json::{Map, Value};

use crate::accounts::Namespace;
use crate::archive::Archive;
use crate::detached::detached;
use crate::erase::{self, IfFrozen};
use crate::error::{EngineError, Result};
use crate::patients::PatientKey;
use crate::pipeline::messages::Source;
use crate::records::key;
use crate::resubmit;
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

/// Accepts a held study: its patient is the one of the study whose UID it has, and its instances go there. Returns the
/// number of instances.
///
/// # Errors
/// [`EngineError::NotFound`] where nothing is held under that id.
pub async fn accept(archive: &Arc<Archive>, namespace: &Arc<Namespace>, id: &str, source: &Source) -> Result<u64> {
    let services = &archive.services;
    let held = find(services, namespace, id)?;
    let study_uid = services.summaries.open(&held.row)?.summary.study_uid.clone();
    let (archive, namespace, source) = (Arc::clone(archive), Arc::clone(namespace), source.clone());
    detached(async move {
        match StudyRef::find(&archive.services, &namespace, &study_uid) {
            Ok(study) => {
                let (from, into) = (
                    patient_of(&archive.services, &held)?,
                    patient_of(&archive.services, &study)?,
                );
                let patients = &archive.services.patients;
                patients.join(&namespace, from, into, &source).await?;
            }
            // It was deleted meanwhile: the UID is free.
            Err(EngineError::NotFound) => {}
            Err(error) => return Err(error),
        }
        take(&archive, &held, &namespace, &source).await
    })
    .await
}

/// Moves a held study into another namespace. Returns the number of instances.
///
/// # Errors
/// [`EngineError::Conflict`] where the study UID belongs to another patient there too.
pub async fn move_to(
    archive: &Arc<Archive>,
    namespace: &Namespace,
    id: &str,
    into: &Arc<Namespace>,
    source: &Source,
) -> Result<u64> {
    if into.id == namespace.id {
        return Err(EngineError::Conflict("the study is held in that namespace"));
    }
    let held = find(&archive.services, namespace, id)?;
    let (archive, into, source) = (Arc::clone(archive), Arc::clone(into), source.clone());
    detached(async move { take(&archive, &held, &into, &source).await }).await
}

/// Stores a held study into a namespace and erases it.
async fn take(archive: &Arc<Archive>, held: &StudyRef, into: &Arc<Namespace>, source: &Source) -> Result<u64> {
    let num_instances = resubmit::study(archive, held, into, source).await?;
    erase::erase(&archive.services, held, source, None, IfFrozen::Erase).await?;
    Ok(num_instances)
}

/// The patient key of a study: its token, and what its attributes say.
fn patient_of(services: &Services, study: &StudyRef) -> Result<(Token, PatientKey)> {
    let open = services.summaries.open(&study.row)?;
    let text = |tag: &str| {
        let value = open
            .summary
            .attributes
            .get(tag)
            .and_then(|value| value["Value"][0].as_str());
        value.unwrap_or_default().to_owned()
    };
    let key = PatientKey {
        issuer: text("00100021"),
        id: text("00100020"),
    };
    Ok((study.row.patient, key))
}

/// Rejects a held study: it is erased.
pub async fn reject(services: &Arc<Services>, namespace: &Namespace, id: &str, source: &Source) -> Result<()> {
    let found = find(services, namespace, id)?;
    let (services, source) = (Arc::clone(services), source.clone());
    detached(async move { erase::erase(&services, &found, &source, None, IfFrozen::Erase).await }).await
}
