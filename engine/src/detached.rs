//! Work that goes on to its end even if whoever asked for it goes away: a change and what it means for memory must not be
//! parted.

use crate::error::{EngineError, Result};

/// Runs `work` as a task of its own and waits for it. A panic becomes [`EngineError::Panicked`].
pub async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.map_err(|_| EngineError::Panicked)?
}
