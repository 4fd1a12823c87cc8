//! `septum import PATH…`: bulk upload of files and folders to a server by STOW-RS (PS3.18 section 10.5).
//!
//! Owns the client side only: Septum or any other DICOMweb server takes what it sends. Invariants:
//!
//! - A file counts as sent, and is written to the state file, only after the server named its instance as stored.
//!   Whatever stops the import, running it again sends the rest and loses nothing. What earlier runs sent is passed over
//!   only if the server still shows it.
//! - Memory does not grow with what is imported, but for 16 bytes a file already sent: files stream from disk into
//!   the request, and the walk runs only a few batches ahead.
//! - The state file holds no name, path or UID. Messages name the user's own paths and nothing from inside the files,
//!   but for what the server itself says of a file that it refuses.
//!
//! | file | owns |
//! |---|---|
//! | `arguments` | the command line |
//! | `walk` | the tree walk |
//! | `inspect` | what a file is, and its SOP Instance UID |
//! | `container`, `zip`, `iso` | files within ZIP files and disc images |
//! | `media` | what a DICOMDIR lists |
//! | `plan` | walk, look, batch |
//! | `batch` | which files go in one request |
//! | `earlier` | what earlier runs sent, by study, to be asked for |
//! | `body` | the multipart body, streamed |
//! | `client` | one request and what came of it |
//! | `worker` | one batch to its end |
//! | `answer` | the Store Instances Response |
//! | `state` | what was sent before |
//! | `report` | counts, progress, summary |
//!
//! Connections, credentials and retries are [`crate::remote`]'s.

mod answer;
mod arguments;
mod batch;
mod body;
mod client;
mod container;
mod earlier;
mod inspect;
mod iso;
mod media;
mod plan;
mod report;
mod state;
#[cfg(test)]
mod tests;
mod walk;
mod worker;
mod zip;

pub use arguments::ImportArguments;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};

use crate::remote::{EXIT_OK, EXIT_REFUSED, EXIT_STOPPED, RemoteError, Stop};
use report::Reporter;
use state::State;

/// Runs the import: results on stdout, progress and messages on stderr.
///
/// The exit code is one of those in [`crate::remote`].
pub fn run(arguments: &ImportArguments) -> ExitCode {
    ExitCode::from(run_with(
        arguments,
        &Stop::on_signals(),
        Reporter::for_terminal(arguments),
    ))
}

/// [`run`] with its surroundings given, so that tests can look.
fn run_with(arguments: &ImportArguments, stop: &Stop, reporter: Reporter) -> u8 {
    let reporter = Arc::new(reporter);
    let outcome = import(arguments, stop, &reporter);
    let error = outcome.as_ref().err().map(ToString::to_string);
    let code = match outcome {
        Err(error) => error.exit_code(),
        Ok(()) if stop.is_set() => EXIT_STOPPED,
        Ok(()) if reporter.has_refusals() => EXIT_REFUSED,
        Ok(()) => EXIT_OK,
    };
    reporter.finish(code, error.as_deref(), arguments.dry_run);
    code
}

fn import(arguments: &ImportArguments, stop: &Stop, reporter: &Arc<Reporter>) -> Result<(), RemoteError> {
    let target = arguments.remote.target()?;
    let roots = media::expand(walk::roots(&arguments.paths).map_err(RemoteError::Usage)?);
    let state = State::open(&arguments.state_path(&target)?, &target, arguments.dry_run)
        .map_err(|error| RemoteError::Usage(format!("cannot use the state file: {error}")))?;
    let client = match arguments.dry_run {
        true => None,
        false => {
            let client = client::Client::new(arguments, &target, stop)?;
            client.probe(stop)?;
            Some(client)
        }
    };

    reporter.begin();
    let failure: Mutex<Option<RemoteError>> = Mutex::new(None);
    let (sender, receiver) = mpsc::sync_channel(arguments.remote.parallel);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        // Counting runs beside the work, so that the time left is known early and sending starts at once.
        scope.spawn(|| {
            for file in walk::Walk::new(&roots, |_| {}).take_while(|_| !stop.is_set()) {
                reporter.expect_bytes(file.length);
            }
            reporter.counted();
        });
        scope.spawn(|| plan::Plan::new(arguments, &state, reporter, stop, sender).run(&roots));
        for _ in 0..arguments.remote.parallel {
            scope.spawn(|| {
                let worker = worker::Worker {
                    client: client.as_ref(),
                    arguments,
                    state: &state,
                    reporter,
                    stop,
                };
                loop {
                    let next = receiver.lock().map(|receiver| receiver.recv());
                    let Ok(Ok(job)) = next else { break };
                    if stop.is_set() {
                        // Keep emptying the channel: the planner must not hang on a full one.
                        continue;
                    }
                    if let Err(error) = worker.run(job) {
                        stop.set();
                        if let Ok(mut failure) = failure.lock() {
                            failure.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    state.sync();
    match failure.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(()),
    }
}
