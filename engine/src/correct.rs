//! Corrections of patient and study data: a newer version of every instance of a study, shown alike by every door.
//!
//! The study is copied ([`crate::copy`]) upon the same pixels, each instance with one version more, whose header has the
//! new values and says in Original Attributes Sequence what was there before. One commit puts the copy in the study's place
//! ([`crate::replace`]): searches, metadata and instances change together, and not a byte of pixels is written. The
//! originals stay as older versions; seeing them needs a permission of its own. What comes into the study later is
//! corrected alike ([`crate::standing`]).

use std::sync::Arc;

use dicom_dictionary_std::tags;
use septum_core::audit::Action;
use septum_core::dicom::correct::Correction;
use septum_core::ids::StudyId;
use septum_core::seal::Token;

use crate::accounts::Namespace;
use crate::amendment::Amendment;
use crate::copy::{Pixels, Purpose, StudyCopy};
use crate::detached::detached;
use crate::erase;
use crate::error::{EngineError, Result};
use crate::ledger::{Change, ChangeKind};
use crate::patients::patient_token;
use crate::pipeline::messages::Source;
use crate::records::{StudyRow, StudySummary};
use crate::replace::Replacement;
use crate::retrieve::StudyRef;
use crate::services::{Services, now_ms};

const CORRECT: Action = Action::new("study.correct");

/// Nothing of the study is corrected.
const UNCHANGED: &str = "the study says so already";

/// Corrects a study. Nothing happens where it says already what it should.
///
/// # Errors
/// [`EngineError::NotAcceptable`] where an instance cannot be corrected: then none is.
pub async fn study(
    services: &Arc<Services>,
    namespace: &Arc<Namespace>,
    found: StudyRef,
    correction: Correction,
    reason: String,
    source: &Source,
) -> Result<()> {
    let amendment = Amendment::new(correction, source.user, now_ms(), reason);
    let (services, namespace, source) = (Arc::clone(services), Arc::clone(namespace), source.clone());
    detached(async move { correct_now(&services, &namespace, &found, &amendment, &source).await }).await
}

/// Corrects once more, by whoever did so, what was stored into a study since.
///
/// # Errors
/// As [`study`].
pub async fn again(
    services: &Arc<Services>,
    namespace: &Arc<Namespace>,
    found: StudyRef,
    amendment: Amendment,
) -> Result<()> {
    let (services, namespace) = (Arc::clone(services), Arc::clone(namespace));
    let source = Source {
        user: amendment.by,
        address: None,
    };
    detached(async move { correct_now(&services, &namespace, &found, &amendment, &source).await }).await
}

async fn correct_now(
    services: &Arc<Services>,
    namespace: &Namespace,
    found: &StudyRef,
    amendment: &Amendment,
    source: &Source,
) -> Result<()> {
    let keys = services.keyring.create_share(&found.account, &found.keys).await?;
    let to = StudyRef {
        row: StudyRow {
            study: StudyId::random(),
            keys: keys.id,
            patient: patient(services, namespace, found, &amendment.correction)?,
            ..found.row.clone()
        },
        keys,
        ..found.clone()
    };
    let purpose = Purpose {
        pixels: Pixels::InCommon,
        takes_originals: true,
        takes_attachments: true,
        amendment: Some(amendment),
    };
    let mut event = erase::event(found, source);
    event.action = CORRECT;
    let replacement = Replacement {
        services,
        from: found,
        place: found,
        to: &to,
        change: Change {
            kind: ChangeKind::StudyCorrected,
            time_ms: now_ms(),
            study_uid: services.summaries.open(&found.row)?.summary.study_uid.clone(),
            series_uid: None,
            instance_uid: None,
        },
        event,
    };
    let copy = StudyCopy::begin(services, found, &to, purpose).await?;
    let is_amended = |copy: &StudyCopy<'_>, _: &StudyRow, _: &mut StudySummary| match copy.has_amended() {
        true => Ok(()),
        false => Err(EngineError::Conflict(UNCHANGED)),
    };
    match replacement.carry_out(copy, |_, _| true, is_amended).await {
        Err(EngineError::Conflict(UNCHANGED)) => Ok(()),
        carried_out => {
            carried_out?;
            services.late_arrivals.push(found.shard, &found.row_key);
            Ok(())
        }
    }
}

/// The patient key that the study belongs to from now on.
fn patient(services: &Services, namespace: &Namespace, found: &StudyRef, correction: &Correction) -> Result<Token> {
    let Some(id) = correction.value(tags::PATIENT_ID) else {
        return Ok(found.row.patient);
    };
    let open = services.summaries.open(&found.row)?;
    let issuer = open.summary.attributes.get("00100021");
    let issuer = issuer
        .and_then(|issuer| issuer["Value"][0].as_str())
        .unwrap_or_default();
    Ok(patient_token(
        &found.account,
        namespace,
        issuer.as_bytes(),
        id.as_bytes(),
    ))
}
