//! The server's side of one child process: starts it, sends one request at a time, reads the answer, all against a
//! deadline, and kills it when dropped.

use crate::child::check_request;
use crate::decode::{DecodeRequest, Decoded};
use crate::error::{Damage, DecodeError};
use crate::wire::{AnswerHeader, Limits, MAX_HEADER_BYTES, MAX_TEXT_BYTES, Outcome, RequestHeader, framed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Answers are read in steps of this, so that memory follows the bytes that really came.
const STEP_BYTES: usize = 1 << 20;

pub(crate) struct Worker {
    process: Child,
    input: ChildStdin,
    output: ChildStdout,
    num_requests: u64,
    busy: Duration,
}

impl Worker {
    /// Starts a child with an empty environment: it has no use for one, and secrets may lie in it.
    pub(crate) fn start(command: &[OsString], limits: Limits) -> Result<Self, DecodeError> {
        let not_started = |error: std::io::Error| DecodeError::NotStarted(error.kind());
        let (program, arguments) = command
            .split_first()
            .ok_or(DecodeError::NotStarted(std::io::ErrorKind::InvalidInput))?;
        let mut process = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(not_started)?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            // Both were asked for; without them the child ends by itself.
            return Err(DecodeError::NotStarted(std::io::ErrorKind::Other));
        };
        let mut worker = Self {
            process,
            input,
            output,
            num_requests: 0,
            busy: Duration::ZERO,
        };
        ioctl_fionbio(&worker.input, true).map_err(|error| not_started(error.into()))?;
        ioctl_fionbio(&worker.output, true).map_err(|error| not_started(error.into()))?;
        // Fits into the pipe's buffer, so it waits for nobody.
        worker.send(&limits.to_bytes(), Instant::now() + Duration::from_secs(1))?;
        Ok(worker)
    }

    /// Requests served so far, and the time they took.
    pub(crate) fn spent(&self) -> (u64, Duration) {
        (self.num_requests, self.busy)
    }

    /// The process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Sends one request and waits for its answer. After an error other than [`DecodeError::Damaged`] and
    /// [`DecodeError::Unsupported`] the worker is useless.
    pub(crate) fn exchange(&mut self, request: &DecodeRequest, timeout: Duration) -> Result<Decoded, DecodeError> {
        let unsupported = || DecodeError::Unsupported {
            transfer_syntax: request.transfer_syntax.clone(),
        };
        let expected_bytes = check_request(request)?;
        if request.transfer_syntax.len() > MAX_TEXT_BYTES || request.photometric.len() > MAX_TEXT_BYTES {
            return Err(Damage::Shape.into());
        }
        let started = Instant::now();
        let deadline = started + timeout;
        self.num_requests += 1;
        let serial = self.num_requests;
        let header = RequestHeader {
            serial,
            transfer_syntax: request.transfer_syntax.clone(),
            layout: request.layout,
            photometric: request.photometric.clone(),
            frame_bytes: request.frame.len() as u64,
        };
        self.send(&framed(&header).ok_or(Damage::Shape)?, deadline)?;
        self.send(&request.frame, deadline)?;

        let mut length = [0; 4];
        self.receive(&mut length, deadline)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER_BYTES {
            return Err(DecodeError::InvalidAnswer);
        }
        let mut header = vec![0; length];
        self.receive(&mut header, deadline)?;
        let answer: AnswerHeader = postcard::from_bytes(&header).map_err(|_| DecodeError::InvalidAnswer)?;
        if answer.serial != serial {
            return Err(DecodeError::InvalidAnswer);
        }
        let outcome = match answer.outcome {
            Outcome::Unsupported => Err(unsupported()),
            Outcome::Damaged(damage) => Err(damage.into()),
            Outcome::Decoded {
                became_rgb,
                planar,
                samples_per_pixel,
                bits_allocated,
                num_bytes,
            } => {
                let layout = &request.layout;
                let same_shape =
                    samples_per_pixel == layout.samples_per_pixel && bits_allocated == layout.bits_allocated;
                if !same_shape || num_bytes != expected_bytes as u64 || (became_rgb && samples_per_pixel != 3) {
                    return Err(DecodeError::InvalidAnswer);
                }
                let samples = self.receive_samples(expected_bytes, deadline)?;
                let photometric = if became_rgb {
                    "RGB".to_owned()
                } else {
                    request.photometric.clone()
                };
                Ok(Decoded {
                    samples,
                    photometric,
                    planar,
                    samples_per_pixel,
                    bits_allocated,
                })
            }
        };
        self.busy += started.elapsed();
        outcome
    }

    fn receive_samples(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, DecodeError> {
        let mut samples = Vec::new();
        while samples.len() < length {
            let start = samples.len();
            samples.resize(length.min(start + STEP_BYTES), 0);
            self.receive(&mut samples[start..], deadline)?;
        }
        Ok(samples)
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), DecodeError> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.input, bytes) {
                Ok(num_written) => bytes = &bytes[num_written..],
                Err(Errno::AGAIN) => wait(self.input.as_fd(), PollFlags::OUT, deadline)?,
                Err(Errno::INTR) => {}
                Err(_) => return Err(DecodeError::Crashed),
            }
        }
        Ok(())
    }

    fn receive(&mut self, mut buffer: &mut [u8], deadline: Instant) -> Result<(), DecodeError> {
        while !buffer.is_empty() {
            match rustix::io::read(&self.output, &mut *buffer) {
                Ok(0) => return Err(DecodeError::Crashed),
                Ok(num_read) => buffer = &mut buffer[num_read..],
                Err(Errno::AGAIN) => wait(self.output.as_fd(), PollFlags::IN, deadline)?,
                Err(Errno::INTR) => {}
                Err(_) => return Err(DecodeError::Crashed),
            }
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Fails only when it has ended already; waiting leaves no zombie.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until the pipe is ready, or ended, or the deadline has come.
fn wait(pipe: BorrowedFd<'_>, flags: PollFlags, deadline: Instant) -> Result<(), DecodeError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(DecodeError::TimedOut);
    }
    let timeout = Timespec::try_from(left).map_err(|_| DecodeError::TimedOut)?;
    match poll(&mut [PollFd::from_borrowed_fd(pipe, flags)], Some(&timeout)) {
        Ok(0) => Err(DecodeError::TimedOut),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(_) => Err(DecodeError::Crashed),
    }
}
