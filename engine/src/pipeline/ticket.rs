//! Tickets: proof of delivery that fails when dropped.
//!
//! A [`Receipt`] travels with an instance and is answered by its commit; a [`Ticket`] travels with each run of its
//! pixels and each unit of its long values and is answered when that is in its place. Both report failure on drop, so no
//! path can forget to.

use std::sync::{Arc, Mutex};

use septum_storage::{CommitProof, Placed};
use tokio::sync::{Notify, oneshot};

use super::messages::StoreOutcome;
use crate::error::{EngineError, Result};
use crate::records::Run;

/// Answers the sender of an instance. Dropped unanswered, the sender hears failure.
pub struct Receipt(oneshot::Sender<Result<StoreOutcome>>);

/// Waits for a [`Receipt`]'s answer.
pub struct Pending(oneshot::Receiver<Result<StoreOutcome>>);

/// A receipt and the wait for it.
pub fn receipt() -> (Receipt, Pending) {
    let (sender, receiver) = oneshot::channel();
    (Receipt(sender), Pending(receiver))
}

impl Receipt {
    /// Success. Only a durable commit can produce the proof (invariant 1).
    pub fn committed(self, _proof: &CommitProof, outcome: StoreOutcome) {
        // A sender that hung up learns of it when it tries again.
        let _ = self.0.send(Ok(outcome));
    }

    /// Failure with a reason.
    pub fn failed(self, error: EngineError) {
        let _ = self.0.send(Err(error));
    }
}

impl Pending {
    /// The outcome.
    pub async fn outcome(self) -> Result<StoreOutcome> {
        self.0.await.unwrap_or(Err(EngineError::PipelineRestarted))
    }
}

/// The parts of one instance that are under way and those that are in their place.
pub struct Flow<P> {
    state: Mutex<FlowState<P>>,
    changed: Notify,
}

struct FlowState<P> {
    num_outstanding: usize,
    placed: Vec<(u32, P)>,
    failure: Option<EngineError>,
}

/// The runs of an instance's pixels.
pub type RunFlow = Flow<(Run, Placed)>;

/// One run's ticket.
pub type RunTicket = Ticket<(Run, Placed)>;

impl<P> Default for Flow<P> {
    fn default() -> Self {
        let state = FlowState {
            num_outstanding: 0,
            placed: Vec::new(),
            failure: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }
}

impl<P> Flow<P> {
    fn with<T>(&self, change: impl FnOnce(&mut FlowState<P>) -> T) -> T {
        // A poisoned lock means a panic between two plain assignments: the state is still whole.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state)
    }

    /// A ticket for one more part.
    pub fn ticket(self: &Arc<Self>) -> Ticket<P> {
        self.with(|state| state.num_outstanding += 1);
        Ticket {
            flow: Some(Arc::clone(self)),
        }
    }

    /// Waits until every part is in its place and returns them by number, or the first failure.
    pub async fn all_placed(&self) -> Result<Vec<P>> {
        loop {
            let changed = self.changed.notified();
            let done = self.with(|state| match state.failure.take() {
                Some(error) => Some(Err(error)),
                None if state.num_outstanding == 0 => Some(Ok(std::mem::take(&mut state.placed))),
                None => None,
            });
            match done {
                Some(Ok(mut placed)) => {
                    placed.sort_by_key(|(number, _)| *number);
                    return Ok(placed.into_iter().map(|(_, part)| part).collect());
                }
                Some(Err(error)) => return Err(error),
                None => changed.await,
            }
        }
    }

    /// The failure of a part, if one has failed already.
    pub fn failure(&self) -> Option<EngineError> {
        self.with(|state| state.failure.take())
    }
}

/// One part's ticket.
pub struct Ticket<P> {
    flow: Option<Arc<Flow<P>>>,
}

impl<P> Ticket<P> {
    fn settle(&mut self, outcome: Result<(u32, P)>) {
        if let Some(flow) = self.flow.take() {
            flow.with(|state| {
                state.num_outstanding -= 1;
                match outcome {
                    Ok(placed) => state.placed.push(placed),
                    Err(error) => {
                        state.failure.get_or_insert(error);
                    }
                }
            });
            flow.changed.notify_one();
        }
    }

    /// The part with that number is in its place.
    pub fn placed(mut self, number: u32, part: P) {
        self.settle(Ok((number, part)));
    }

    /// The part failed with a reason.
    pub fn failed(mut self, error: EngineError) {
        self.settle(Err(error));
    }
}

impl<P> Drop for Ticket<P> {
    fn drop(&mut self) {
        self.settle(Err(EngineError::PipelineRestarted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_receipt_is_a_failure() {
        let (receipt, pending) = receipt();
        drop(receipt);
        assert!(matches!(pending.outcome().await, Err(EngineError::PipelineRestarted)));
    }

    #[tokio::test]
    async fn a_dropped_run_fails_the_whole_flow() {
        let flow = Arc::new(RunFlow::default());
        let ticket = flow.ticket();
        drop(ticket);
        assert!(matches!(flow.all_placed().await, Err(EngineError::PipelineRestarted)));
    }

    #[tokio::test]
    async fn no_runs_means_placed() {
        assert!(
            Arc::new(RunFlow::default())
                .all_placed()
                .await
                .is_ok_and(|placed| placed.is_empty())
        );
    }
}
