//! The one route to the CPU pool.
//!
//! Work goes to rayon and its answer comes back through a oneshot channel, so no async thread ever computes. Work that
//! nobody awaits any more is skipped; a panic fails that work alone and is counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{EngineError, Result};
use crate::telemetry::Telemetry;

/// A handle to the CPU pool.
#[derive(Clone)]
pub struct Compute {
    pool: Arc<rayon::ThreadPool>,
    telemetry: Arc<Telemetry>,
}

impl Compute {
    /// Starts a pool of `num_threads` threads, 0 meaning one a core.
    pub fn new(num_threads: usize, telemetry: Arc<Telemetry>) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(num_threads)
            .thread_name(|index| format!("compute-{index}"))
            .build()
            .map_err(|error| EngineError::File {
                what: "CPU pool",
                source: std::io::Error::other(error),
            })?;
        Ok(Self {
            pool: Arc::new(pool),
            telemetry,
        })
    }

    /// Runs `work` on the pool. A panic becomes [`EngineError::Panicked`].
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.pool.spawn(move || {
            if !answer.is_closed() {
                // A receiver that went away meanwhile wants no answer.
                let _ = answer.send(catch_unwind(AssertUnwindSafe(work)));
            }
        });
        match answered.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) | Err(_) => {
                self.telemetry.compute_panics.inc();
                Err(EngineError::Panicked)
            }
        }
    }
}
