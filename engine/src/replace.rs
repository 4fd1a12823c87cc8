//! Putting a copy of a study in the place of the study, or of a share of it: what re-sealing, correcting and following
//! have in common.
//!
//! One commit points the study's row at the copy, makes what searches and lists say of it the copy's, and notes the intent
//! to erase the old rows and keys. If instances arrived since the copy was made (the row's revision tells), they are copied
//! too and the commit is tried again.

use std::sync::Arc;

use septum_core::seal::Token;
use septum_storage::RowKind;

use crate::columns::{self, withdraw};
use crate::copy::{ROUNDS_MAX, StudyCopy};
use crate::erase::{self, Intent};
use crate::error::{EngineError, Result};
use crate::freeze;
use crate::ledger::{Change, Event};
use crate::lookup;
use crate::records::{StudyRow, StudySummary, decode, encode, key};
use crate::retrieve::StudyRef;
use crate::search::study_map;
use crate::services::Services;

/// Why a copy is to be brought up to date first.
const ARRIVED: &str = "instances arrived meanwhile";

/// A study and what takes its place.
pub struct Replacement<'a> {
    /// What all parts share.
    pub services: &'a Arc<Services>,
    /// The study.
    pub from: &'a StudyRef,
    /// What the copy takes the place of: the study itself, or a share of it.
    pub place: &'a StudyRef,
    /// Its copy: of the same row key as the place, under another id and other keys.
    pub to: &'a StudyRef,
    /// What the feed says.
    pub change: Change,
    /// What the audit log says.
    pub event: Event,
}

impl Replacement<'_> {
    /// Copies what `is_wanted` until nothing more arrives meanwhile, puts the copy in the study's place, and erases what
    /// was there. Each time before it takes the place, `check` may refuse, or change what the summary says; it is given
    /// the row of the study as it was copied.
    ///
    /// # Errors
    /// What `check` says, or where something cannot be copied: then all is as it was. [`EngineError::Overloaded`] where
    /// instances keep arriving.
    pub async fn carry_out(
        &self,
        mut copy: StudyCopy<'_>,
        is_wanted: impl Fn(&Token, &Token) -> bool,
        check: impl Fn(&StudyCopy<'_>, &StudyRow, &mut StudySummary) -> Result<()>,
    ) -> Result<()> {
        let made = self.make(&mut copy, is_wanted, check).await;
        // The copy is the study now. What fails from here on is finished later: the intents are durable.
        if let Some(page) = copy.end(made).await? {
            erase::finish(self.services, self.from.shard, page).await?;
        }
        erase::finish(self.services, self.from.shard, self.old()).await
    }

    /// What is erased once the copy is in its place.
    fn old(&self) -> Intent {
        Intent {
            study: self.place.id(),
            keys: self.place.row.keys,
        }
    }

    async fn make(
        &self,
        copy: &mut StudyCopy<'_>,
        is_wanted: impl Fn(&Token, &Token) -> bool,
        check: impl Fn(&StudyCopy<'_>, &StudyRow, &mut StudySummary) -> Result<()>,
    ) -> Result<Option<Intent>> {
        for _ in 0..ROUNDS_MAX {
            let seen = self.from.row_now(self.services)?;
            let taken = self.place.row_now(self.services)?;
            let mut summary = copy.catch_up(&seen, &is_wanted).await?;
            if self.place.row_key != self.from.row_key {
                copy.take_attached_there(self.place).await?;
            }
            check(copy, &seen, &mut summary)?;
            match self.commit(copy, (&seen, &taken), summary).await {
                Err(EngineError::Conflict(ARRIVED)) => {}
                Err(EngineError::Corrupt(columns::DAMAGED_PAGE)) => columns::mend(self.services).await,
                replaced => return replaced,
            }
        }
        Err(EngineError::Overloaded { retry_after_seconds: 5 })
    }

    /// Puts the copy in its place, if nothing arrived since the study and the place were seen. What comes back is yet to be erased: the old
    /// keys of the study's page of columns.
    async fn commit(
        &self,
        copy: &StudyCopy<'_>,
        (copied, seen): (&StudyRow, &StudyRow),
        summary: StudySummary,
    ) -> Result<Option<Intent>> {
        let (services, from, found, to) = (self.services, self.from, self.place, self.to);
        let (change, event) = (self.change.clone(), self.event.clone());
        let (attributes, came_ms) = (study_map(&summary), summary.first_commit_ms);
        let page_keys = erase::page_keys(services, &found.account, seen).await?;
        let mut noted = None;
        let switched = self.services.ledgers[found.shard]
            .commit(|staging| {
                let row = staging.get(&found.row_key)?.ok_or(EngineError::NotFound)?;
                let mut row: StudyRow = decode(&row, "study row")?;
                if row.revision != seen.revision || row.study != seen.study {
                    return Err(EngineError::Conflict(ARRIVED));
                }
                let study = staging.get(&from.row_key)?.ok_or(EngineError::NotFound)?;
                let study: StudyRow = decode(&study, "study row")?;
                if study.revision != copied.revision || study.study != copied.study {
                    return Err(EngineError::Conflict(ARRIVED));
                }
                freeze::refuse(staging, &found.row_key)?;
                for lookup in erase::lookup_rows(services, found, &row)? {
                    staging.delete(lookup);
                }
                let withdrawn = withdraw(services, staging, found.shard, &found.row_key, &row, page_keys.as_ref())?;
                for lookup in lookup::rows(&found.account, found.namespace, &found.row_key, &attributes)? {
                    staging.put(lookup, Vec::new());
                }
                staging.put(key::beside(RowKind::Unfolded, &found.row_key), Vec::new());
                row.page = None;
                row.study = to.id();
                row.keys = to.keys.id;
                row.patient = to.row.patient;
                let suite = services.keyring.suite();
                services.summaries.seal(&mut row, suite, &to.keys.phi, summary)?;
                staging.put(found.row_key.clone(), encode(&row));
                copy.stage_shown(staging);
                erase::stage_intent(staging, self.old());
                staging.audit(event);
                staging.change(
                    found.namespace,
                    None,
                    suite,
                    services.keyring.record_key().clone(),
                    &change,
                );
                noted = Some(
                    services
                        .columns
                        .note(found.shard, &found.row_key, &attributes, came_ms)?,
                );
                services.columns.move_out(found.shard, found.namespace);
                Ok(withdrawn)
            })
            .await;
        let withdrawn = match switched {
            Ok(withdrawn) => withdrawn,
            Err(error) => {
                if let Some(noted) = noted
                    && let Err(error) = services.columns.revert(services, found.shard, &found.row_key, noted)
                {
                    tracing::warn!(%error, "a study that was to be changed stays as if it had been, until it is folded");
                }
                return Err(erase::unused(services, page_keys.as_ref(), error).await);
            }
        };
        services.summaries.forget(seen.study, seen.revision);
        services.folding.push(found.shard, &found.row_key);
        Ok(withdrawn.map(|withdrawn| {
            let intent = withdrawn.intent;
            withdrawn.settle(services);
            intent
        }))
    }
}
