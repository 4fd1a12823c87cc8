//! A fixed number of decoder children, shared by any number of threads.
//!
//! Invariants: never more than `num_children` run; a child that crashed, hung or answered nonsense is killed and serves
//! nobody again; a failure costs the one request that it happened to.

use crate::decode::{DecodeRequest, Decoded};
use crate::error::DecodeError;
use crate::wire::Limits;
use crate::worker::Worker;
use std::ffi::OsString;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a child may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Wall-clock time of one request, from its sending to the end of the answer.
    pub timeout: Duration,
    /// Address space of one child, bytes: program, frame, codec and samples together.
    pub memory_bytes: u64,
    /// Requests after which a child is replaced: bounds what a child taken over by a frame sees of later ones. At least 1.
    pub max_requests_per_child: u64,
    /// Decoding time after which a child is replaced; its processor time is limited to this plus `timeout`.
    pub max_busy_per_child: Duration,
}

impl Default for PoolLimits {
    /// 10 s a request, 512 MiB, 1000 requests, 60 s of decoding.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            memory_bytes: 512 << 20,
            max_requests_per_child: 1000,
            max_busy_per_child: Duration::from_secs(60),
        }
    }
}

/// Decodes frames in child processes.
pub struct DecoderPool {
    command: Vec<OsString>,
    num_children: usize,
    limits: PoolLimits,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Worker>,
    num_busy: usize,
}

impl std::fmt::Debug for DecoderPool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DecoderPool")
            .field("num_children", &self.num_children)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl DecoderPool {
    /// `command` is a program with its arguments that does nothing but call [`crate::run_child`]. Children are started
    /// when first needed, so this does not fail; `num_children` of 0 counts as 1.
    pub fn new(command: Vec<OsString>, num_children: usize, limits: PoolLimits) -> Self {
        let state = Mutex::new(State::default());
        Self {
            command,
            num_children: num_children.max(1),
            limits,
            state,
            freed: Condvar::new(),
        }
    }

    /// Decodes one frame in a child. Blocks while all children are busy, then for at most [`PoolLimits::timeout`].
    ///
    /// # Errors
    /// [`DecodeError::Unsupported`] and [`DecodeError::Damaged`] tell of the frame, as [`crate::decode`] does.
    /// [`DecodeError::Crashed`], [`DecodeError::TimedOut`] and [`DecodeError::InvalidAnswer`] are most likely the frame's
    /// fault too (memory above the limit counts as a crash); the child is replaced. [`DecodeError::NotStarted`] is ours.
    pub fn decode(&self, request: &DecodeRequest) -> Result<Decoded, DecodeError> {
        if !crate::is_supported(&request.transfer_syntax) {
            return Err(DecodeError::Unsupported {
                transfer_syntax: request.transfer_syntax.clone(),
            });
        }
        let mut seat = self.take();
        let mut worker = match seat.worker.take() {
            Some(worker) => worker,
            None => Worker::start(&self.command, self.child_limits())?,
        };
        let outcome = worker.exchange(request, self.limits.timeout);
        let is_sound = matches!(
            outcome,
            Ok(_) | Err(DecodeError::Unsupported { .. } | DecodeError::Damaged(_))
        );
        let (num_requests, busy) = worker.spent();
        let is_fresh = num_requests < self.limits.max_requests_per_child && busy < self.limits.max_busy_per_child;
        if is_sound && is_fresh {
            seat.worker = Some(worker);
        }
        outcome
    }

    /// Takes a seat, with an idle child that still lives where there is one.
    fn take(&self) -> Seat<'_> {
        let mut state = self.lock();
        while state.num_busy >= self.num_children {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.num_busy += 1;
        let mut worker = state.idle.pop();
        drop(state);
        // An idle child may have been killed from outside: no fault of the next frame.
        if worker.as_mut().is_some_and(|worker| !worker.is_alive()) {
            worker = None;
        }
        Seat { pool: self, worker }
    }

    fn child_limits(&self) -> Limits {
        let cpu = self.limits.max_busy_per_child.saturating_add(self.limits.timeout);
        Limits {
            memory_bytes: self.limits.memory_bytes,
            cpu_seconds: cpu.as_secs().saturating_add(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that hold the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run one child; given back when dropped, also by a panic.
struct Seat<'a> {
    pool: &'a DecoderPool,
    worker: Option<Worker>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.num_busy -= 1;
        state.idle.extend(self.worker.take());
        drop(state);
        self.pool.freed.notify_one();
    }
}
