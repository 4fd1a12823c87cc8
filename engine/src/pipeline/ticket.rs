//! Tickets: proof of delivery that fails when dropped.
//!
//! A [`Receipt`] travels with an instance and is answered by its commit; a [`RunTicket`] travels with each run of its
//! pixels and is answered when the run is appended. Both report failure on drop, so no path can forget to.

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

/// The runs of one instance that are under way and those that are placed.
#[derive(Default)]
pub struct Flow {
    state: Mutex<FlowState>,
    changed: Notify,
}

#[derive(Default)]
struct FlowState {
    num_outstanding: usize,
    placed: Vec<(Run, Placed)>,
    failure: Option<EngineError>,
}

impl Flow {
    fn with<T>(&self, change: impl FnOnce(&mut FlowState) -> T) -> T {
        // A poisoned lock means a panic between two plain assignments: the state is still whole.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state)
    }

    /// A ticket for one more run.
    pub fn ticket(self: &Arc<Self>) -> RunTicket {
        self.with(|state| state.num_outstanding += 1);
        RunTicket {
            flow: Some(Arc::clone(self)),
        }
    }

    /// Waits until every run is placed and returns them by first unit, or the first failure.
    pub async fn all_placed(&self) -> Result<Vec<(Run, Placed)>> {
        loop {
            let changed = self.changed.notified();
            let done = self.with(|state| match state.failure.take() {
                Some(error) => Some(Err(error)),
                None if state.num_outstanding == 0 => Some(Ok(std::mem::take(&mut state.placed))),
                None => None,
            });
            match done {
                Some(Ok(mut placed)) => {
                    placed.sort_by_key(|(run, _)| run.first_unit);
                    return Ok(placed);
                }
                Some(Err(error)) => return Err(error),
                None => changed.await,
            }
        }
    }

    /// The failure of a run, if one has failed already.
    pub fn failure(&self) -> Option<EngineError> {
        self.with(|state| state.failure.take())
    }
}

/// One run's ticket.
pub struct RunTicket {
    flow: Option<Arc<Flow>>,
}

impl RunTicket {
    fn settle(&mut self, outcome: Result<(Run, Placed)>) {
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

    /// The run is appended.
    pub fn placed(mut self, run: Run, placed: Placed) {
        self.settle(Ok((run, placed)));
    }

    /// The run failed with a reason.
    pub fn failed(mut self, error: EngineError) {
        self.settle(Err(error));
    }
}

impl Drop for RunTicket {
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
        let flow = Arc::new(Flow::default());
        let ticket = flow.ticket();
        drop(ticket);
        assert!(matches!(flow.all_placed().await, Err(EngineError::PipelineRestarted)));
    }

    #[tokio::test]
    async fn no_runs_means_placed() {
        assert!(
            Arc::new(Flow::default())
                .all_placed()
                .await
                .is_ok_and(|placed| placed.is_empty())
        );
    }
}
