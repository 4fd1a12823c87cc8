//! Corrections that stand: what was corrected in a study is corrected in images that come later, and what changed in a
//! study is shown in its shares.
//!
//! What a study was corrected to lies in its summary ([`Standing`]). An instance that is stored into such a study makes
//! it wait here; a moment later the study is corrected once more, which leaves alone what says so already, and then its
//! shares are brought up to date ([`crate::follow`]). A restart forgets none: a study that becomes stable is looked at,
//! too.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dicom_core::Tag;
use septum_core::dicom::correct::{Correction, CorrectionError};
use septum_core::ids::UserId;
use serde::{Deserialize, Serialize};

use crate::amendment::Amendment;
use crate::columns::namespace_of;
use crate::correct;
use crate::error::{EngineError, Result};
use crate::follow;
use crate::freeze;
use crate::retrieve::StudyRef;
use crate::services::Services;

/// How long instances are collected before the study is corrected once more.
const COLLECT: Duration = Duration::from_millis(500);

/// What could not be corrected is tried again after so long.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What was corrected in a study, all corrections together, for images that come later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The new values by attribute, group before element.
    pub values: BTreeMap<u32, String>,
    /// Who corrected last.
    pub by: UserId,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Why, in their own words.
    pub reason: String,
}

impl Standing {
    /// What stands once an amendment was made of a study in which `before` stood.
    pub fn after(before: Option<&Self>, amendment: &Amendment) -> Self {
        let mut values = before.map(|before| before.values.clone()).unwrap_or_default();
        for (tag, value) in amendment.correction.values() {
            values.insert(u32::from(tag.0) << 16 | u32::from(tag.1), value.to_owned());
        }
        Self {
            values,
            by: amendment.by,
            at_ms: amendment.at_ms,
            reason: amendment.reason.clone(),
        }
    }

    /// All that was corrected, as one amendment.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] where the values are none that can be corrected.
    pub fn amendment(&self) -> Result<Amendment> {
        let mut correction = Correction::default();
        for (number, value) in &self.values {
            let tag = Tag((number >> 16) as u16, (number & 0xFFFF) as u16);
            let set = correction.set(tag, value);
            set.map_err(|_: CorrectionError| EngineError::Corrupt("standing correction"))?;
        }
        Ok(Amendment::new(correction, self.by, self.at_ms, self.reason.clone()))
    }
}

/// Corrected or shared studies that changed: a shard and the key of a row, each until its time has come.
#[derive(Default)]
pub struct LateArrivals(Mutex<HashMap<(usize, Vec<u8>), Instant>>);

impl LateArrivals {
    fn waiting(&self) -> MutexGuard<'_, HashMap<(usize, Vec<u8>), Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, shard: usize, study_row_key: &[u8], time: Duration) {
        let place = (shard, study_row_key.to_vec());
        self.waiting().entry(place).or_insert_with(|| Instant::now() + time);
    }

    /// A study changed that was corrected, or is shared.
    pub fn push(&self, shard: usize, study_row_key: &[u8]) {
        self.wait(shard, study_row_key, COLLECT);
    }

    /// Corrects every study whose time has come. What fails is tried again.
    pub async fn sweep(&self, services: &Arc<Services>) {
        let now = Instant::now();
        let due: Vec<(usize, Vec<u8>)> = self
            .waiting()
            .extract_if(|_, due| *due <= now)
            .map(|(place, _)| place)
            .collect();
        for (shard, row_key) in due {
            match carry_over(services, shard, &row_key).await {
                // A study that was frozen meanwhile stays as it is.
                Ok(()) | Err(EngineError::NotFound | EngineError::Conflict(freeze::FROZEN)) => {}
                // Something changes it right now.
                Err(EngineError::Overloaded { .. }) => self.wait(shard, &row_key, COLLECT),
                Err(error) => {
                    tracing::warn!(%error, shard, "late images could not be corrected or shown; it is tried again");
                    self.wait(shard, &row_key, RETRY_AFTER);
                }
            }
        }
    }
}

/// Corrects what of a study is not corrected yet, and brings its shares up to date.
async fn carry_over(services: &Arc<Services>, shard: usize, row_key: &[u8]) -> Result<()> {
    let namespace = services.accounts.namespace(namespace_of(row_key)?)?;
    let account = services.keyring.account(namespace.account)?;
    let found = StudyRef::load(services, namespace.id, account, shard, row_key.to_vec())?;
    let open = services.summaries.open(&found.row)?;
    let Some(standing) = &open.summary.standing else {
        return follow::shares_of(services, &found).await;
    };
    let mut is_late = false;
    for instance in found.instances(services, None) {
        is_late |= instance?.record.correction.is_none();
    }
    if is_late {
        correct::again(services, &namespace, found.clone(), standing.amendment()?).await?;
    }
    follow::shares_of(services, &found.again(services)?).await
}
