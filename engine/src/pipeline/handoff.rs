//! Credits between stages.
//!
//! A [`Handoff`] outlives pipeline generations: the credits are counted here, outside the actors, so whatever happens to
//! an actor its credits come back when the messages drop. Waiting for a credit is the pipeline's back-pressure and is
//! measured as blocked time.

use std::sync::Arc;
use std::time::Instant;

use actix::{Message, Recipient};
use arc_swap::ArcSwapOption;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{EngineError, Result};
use crate::telemetry::{Telemetry, add_seconds};

/// One place in a stage; comes back when dropped.
pub struct Credit {
    _permit: OwnedSemaphorePermit,
}

/// A message and the credit that paid for its place.
pub struct Envelope<M> {
    /// The work.
    pub work: M,
    /// Given back when the work has been handed on.
    pub credit: Credit,
}

impl<M: Send + 'static> Message for Envelope<M> {
    type Result = ();
}

/// The way into a stage.
pub struct Handoff<M: Send + 'static> {
    stage: &'static str,
    num_credits: usize,
    credits: Arc<Semaphore>,
    recipient: ArcSwapOption<Recipient<Envelope<M>>>,
    telemetry: Arc<Telemetry>,
}

impl<M: Send + 'static> Handoff<M> {
    /// A way into `stage` with that many places, closed until an actor is [published](Handoff::publish).
    pub fn new(stage: &'static str, num_credits: usize, telemetry: &Arc<Telemetry>) -> Self {
        Self {
            stage,
            num_credits,
            credits: Arc::new(Semaphore::new(num_credits)),
            recipient: ArcSwapOption::empty(),
            telemetry: Arc::clone(telemetry),
        }
    }

    /// Waits for a place and puts `work` into the stage's queue. When the stage is gone the work is dropped, and so are
    /// the tickets inside it.
    pub async fn hand_over(&self, work: M) -> Result<()> {
        let start = Instant::now();
        let permit = Arc::clone(&self.credits)
            .acquire_owned()
            .await
            .map_err(|_| EngineError::PipelineRestarted)?;
        add_seconds(
            &self.telemetry.stage_blocked_seconds.with_label_values(&[self.stage]),
            start,
        );
        let free = i64::try_from(self.credits.available_permits()).unwrap_or(i64::MAX);
        self.telemetry.stage_credits.with_label_values(&[self.stage]).set(free);
        let recipient = self.recipient.load_full().ok_or(EngineError::PipelineRestarted)?;
        recipient
            .try_send(Envelope {
                work,
                credit: Credit { _permit: permit },
            })
            .map_err(|_| EngineError::PipelineRestarted)
    }

    /// Opens the way to a new generation's actor. Its mailbox must hold [`Handoff::num_credits`]
    /// messages beside what else is sent to it.
    pub fn publish(&self, recipient: Recipient<Envelope<M>>) {
        self.recipient.store(Some(Arc::new(recipient)));
    }

    /// Closes the way until the next generation.
    pub fn close(&self) {
        self.recipient.store(None);
    }

    /// Places in the stage.
    pub fn num_credits(&self) -> usize {
        self.num_credits
    }

    /// Places taken now.
    pub fn num_out(&self) -> usize {
        self.num_credits - self.credits.available_permits()
    }
}
