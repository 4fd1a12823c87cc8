//! Stopping: the first Ctrl-C or SIGTERM lets answers that are awaited come in and ends the import in good order; the
//! second ends the process at once. The state file is right either way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A flag that all threads look at.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    is_set: Arc<AtomicBool>,
    at_prompt: Arc<AtomicBool>,
}

impl Stop {
    /// A stop that only [`Stop::set`] sets.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self::default()
    }

    /// A stop that Ctrl-C and SIGTERM set, watched by a thread of its own.
    pub(crate) fn on_signals() -> Self {
        let stop = Self::default();
        let watcher = stop.clone();
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                if !signal().await {
                    return;
                }
                if watcher.at_prompt.load(Ordering::SeqCst) {
                    super::password::restore_terminal();
                    std::process::exit(super::EXIT_STOPPED.into());
                }
                watcher.set();
                eprintln!("septum: stopping; once more to quit at once");
                if signal().await {
                    std::process::exit(super::EXIT_STOPPED.into());
                }
            });
        });
        stop
    }

    pub(crate) fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    /// While the password is asked for, Ctrl-C ends the process: there is nothing to finish.
    pub(crate) fn prompting(&self, yes: bool) {
        self.at_prompt.store(yes, Ordering::SeqCst);
    }

    /// Sleeps, but not past a stop.
    pub(crate) fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.is_set() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }
}

/// Waits for a signal that asks to end; false when signals cannot be watched.
async fn signal() -> bool {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return false;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        true
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await.is_ok()
    }
}
