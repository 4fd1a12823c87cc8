//! The one route to the CPU pool.
//!
//! Work goes to worker threads and its answer comes back through a oneshot channel, so no async thread ever computes for
//! longer than a hand-over takes ([`Compute::upon`]).
//! Work that nobody awaits any more is skipped; a panic fails that work alone and is counted.
//!
//! Two ways in: [`Compute::run`] for work of one piece, on threads that sleep until there is some; [`Compute::spread`]
//! for work that splits itself with rayon. Rayon's threads look for work a while before they sleep, which costs as much
//! as compressing a small frame, so single pieces do not go there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Sender, unbounded};
use tokio::sync::oneshot;

use crate::error::{EngineError, Result};
use crate::telemetry::Telemetry;

/// So many bytes are sealed, or a header of so many is made into metadata, in less time than two threads take to wake each
/// other.
const FEW_BYTES: usize = 64 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the CPU pool.
#[derive(Clone)]
pub struct Compute {
    /// Bounded by what the stages hold credits and permits for. The threads end with the last handle.
    jobs: Sender<Job>,
    pool: Arc<rayon::ThreadPool>,
    telemetry: Arc<Telemetry>,
}

impl Compute {
    /// Starts `num_threads` threads of each kind, 0 meaning one a core.
    pub fn new(num_threads: usize, telemetry: Arc<Telemetry>) -> Result<Self> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| EngineError::File {
            what: "CPU pool",
            source: std::io::Error::other(error),
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(num_threads)
            .thread_name(|index| format!("spread-{index}"))
            .build()
            .map_err(|error| failed(error.into()))?;
        let (jobs, waiting) = unbounded::<Job>();
        for index in 0..pool.current_num_threads() {
            let waiting = waiting.clone();
            std::thread::Builder::new()
                .name(format!("compute-{index}"))
                .spawn(move || {
                    for job in waiting {
                        job();
                    }
                })
                .map_err(|error| failed(error.into()))?;
        }
        Ok(Self {
            jobs,
            pool: Arc::new(pool),
            telemetry,
        })
    }

    /// Pieces of work that run at the same time.
    pub fn num_threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on one thread. A panic becomes [`EngineError::Panicked`].
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (job, answered) = answering(work);
        if self.jobs.send(Box::new(job)).is_err() {
            return Err(EngineError::PipelineRestarted);
        }
        self.answer(answered).await
    }

    /// Runs `work`, which takes less than handing it to another thread and back costs, at once. A panic becomes
    /// [`EngineError::Panicked`].
    pub fn here<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
            self.telemetry.compute_panics.inc();
            EngineError::Panicked
        })
    }

    /// Runs `work` upon so many bytes: at once where they are few.
    pub async fn upon<T: Send + 'static>(
        &self,
        num_bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if num_bytes <= FEW_BYTES {
            self.here(work)
        } else {
            self.run(work).await
        }
    }

    /// Runs `work`, which splits itself with rayon, on all threads. A panic becomes [`EngineError::Panicked`].
    pub async fn spread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (job, answered) = answering(work);
        self.pool.spawn(job);
        self.answer(answered).await
    }

    async fn answer<T>(&self, answered: oneshot::Receiver<std::thread::Result<T>>) -> Result<T> {
        match answered.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) | Err(_) => {
                self.telemetry.compute_panics.inc();
                Err(EngineError::Panicked)
            }
        }
    }
}

/// `work` as a job that answers, and where its answer comes.
fn answering<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> (
    impl FnOnce() + Send + 'static,
    oneshot::Receiver<std::thread::Result<T>>,
) {
    let (answer, answered) = oneshot::channel();
    let job = move || {
        if !answer.is_closed() {
            // A receiver that went away meanwhile wants no answer.
            let _ = answer.send(catch_unwind(AssertUnwindSafe(work)));
        }
    };
    (job, answered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[tokio::test]
    async fn a_panic_fails_its_work_alone() {
        let telemetry = Telemetry::new().expect("metrics register");
        let compute = Compute::new(2, Arc::clone(&telemetry)).expect("threads start");
        for _ in 0..5 {
            let failed = compute.run(|| panic!("planted")).await;
            assert!(matches!(failed, Err::<(), _>(EngineError::Panicked)));
            let failed = compute.spread(|| panic!("planted")).await;
            assert!(matches!(failed, Err::<(), _>(EngineError::Panicked)));
        }
        assert_eq!(telemetry.compute_panics.get(), 10);
        assert_eq!(compute.run(|| 7).await.ok(), Some(7));
        let sum = compute.spread(|| (0..100).into_par_iter().sum::<i32>()).await;
        assert_eq!(sum.ok(), Some(4950));
        assert_eq!(compute.num_threads(), 2);
    }
}
