//! A stored study through the pipeline once more, into the namespace where it belongs.
//!
//! What is sent is what came in, every version of every instance, oldest first. Doing it twice is harmless: what is
//! there already is a duplicate.

use std::sync::Arc;

use crate::accounts::Namespace;
use crate::archive::Archive;
use crate::error::{EngineError, Result};
use crate::pipeline::messages::{Source, StoreKind};
use crate::records::{InstanceRow, decode, key};
use crate::retrieve::StudyRef;
use crate::retrieve::locate::tokens_of;
use crate::retrieve::stream::{self, Form};

/// Stores all of `study` into `namespace`. Returns the number of instances.
///
/// # Errors
/// [`EngineError::Conflict`] where the study UID belongs to another patient there: what was stored until then is in that
/// namespace's exception list.
pub async fn study(archive: &Archive, study: &StudyRef, namespace: &Arc<Namespace>, source: &Source) -> Result<u64> {
    let mut num_instances = 0;
    let rows: Vec<_> =
        crate::scan::rows(study.stored_in(&archive.services), key::all_instances(study.id())).collect::<Result<_>>()?;
    for (row_key, value) in rows {
        let (series, instance) = tokens_of(&row_key)?;
        for version in decode::<InstanceRow>(&value, "instance row")?.versions {
            let found = study.version(&archive.services, series, instance, version)?;
            let mut original = stream::open(&archive.services, &found, Form::Original).await?;
            let mut intake = archive.pipeline.admit(Arc::clone(namespace), source.clone()).await?;
            while let Some(piece) = original.next().await {
                intake.push(piece?).await?;
            }
            if intake.finish().await.1?.kind == StoreKind::Held {
                return Err(EngineError::Conflict("the study UID belongs to another patient there"));
            }
        }
        num_instances += 1;
    }
    Ok(num_instances)
}
