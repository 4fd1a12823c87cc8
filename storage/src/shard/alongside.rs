//! A thread beside the committer's own, so that two syncs run at the same time.
//!
//! It sleeps between two of them: starting a thread for each would cost more than many a sync.

use crate::error::Result;
use crossbeam_channel::{Sender, bounded};

type Work = Box<dyn FnOnce() -> Result<()> + Send>;

/// The thread; it ends with this handle.
#[derive(Debug)]
pub(super) struct Alongside {
    /// Work, and where its result goes. None where the system gave no thread.
    work: Option<Sender<(Work, Sender<Result<()>>)>>,
}

impl Alongside {
    /// Starts the thread. Without one, all work is done one after the other.
    pub(super) fn start(shard: u16) -> Self {
        let (sender, receiver) = bounded::<(Work, Sender<Result<()>>)>(1);
        let started = std::thread::Builder::new()
            .name(format!("sync-{shard}"))
            .spawn(move || {
                for (work, reply) in receiver {
                    // Whoever asked waits for it.
                    let _ = reply.send(work());
                }
            });
        Self {
            work: started.is_ok().then_some(sender),
        }
    }

    /// Does `own` here and `other` there at the same time. `lost` is the result of an `other` that panicked.
    pub(super) fn both(
        &self,
        own: impl FnOnce() -> Result<()>,
        other: impl FnOnce() -> Result<()> + Send + 'static,
        lost: impl FnOnce() -> Result<()>,
    ) -> (Result<()>, Result<()>) {
        let (reply, replied) = bounded(1);
        let work: Work = Box::new(other);
        let refused = match &self.work {
            Some(sender) => sender.send((work, reply)).err().map(|refused| refused.into_inner().0),
            None => Some(work),
        };
        let own = own();
        let other = match refused {
            Some(work) => work(),
            None => replied.recv().unwrap_or_else(|_| lost()),
        };
        (own, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StorageError;

    #[test]
    fn both_results_come_back() {
        let closed = || Err(StorageError::Closed);
        let check = |alongside: &Alongside| {
            let (own, other) = alongside.both(|| Ok(()), || Err(StorageError::NoSpace), closed);
            assert!(own.is_ok() && matches!(other, Err(StorageError::NoSpace)));
            let (own, other) = alongside.both(|| Err(StorageError::NoSpace), || Ok(()), closed);
            assert!(matches!(own, Err(StorageError::NoSpace)) && other.is_ok());
        };
        let alongside = Alongside::start(0);
        check(&alongside);
        check(&alongside);
        check(&Alongside { work: None });
        let (own, other) = alongside.both(|| Ok(()), || panic!("planted"), closed);
        assert!(own.is_ok() && matches!(other, Err(StorageError::Closed)));
        // The thread is gone: the work is done here.
        check(&alongside);
    }
}
