//! `septum import PATH…`: bulk upload of files and folders to a server by STOW-RS (PS3.18 section 10.5).
//!
//! Owns the client side only: Septum or any other DICOMweb server takes what it sends. Invariants:
//!
//! - A file counts as sent, and is written to the state file, only after the server named its instance as stored.
//!   Whatever stops the import, running it again sends the rest and loses nothing.
//! - Memory does not grow with what is imported, but for 16 bytes a file already sent: files stream from disk into
//!   the request, and the walk runs only a few batches ahead.
//! - Passwords come from the environment or the terminal, never from the command line; patient data does not cross a
//!   network unencrypted unless asked for by name.
//! - The state file holds no name, path or UID. Messages name the user's own paths and nothing from inside the files.
//!
//! | file | owns |
//! |---|---|
//! | `arguments` | the command line |
//! | `walk` | the tree walk |
//! | `inspect` | what a file is, and its SOP Instance UID |
//! | `batch` | which files go in one request |
//! | `body` | the multipart body, streamed |
//! | `client` | connections, credentials, certificates, one request |
//! | `retry` | what to do after a request that failed |
//! | `worker` | one batch to its end |
//! | `answer` | the Store Instances Response |
//! | `state` | what was sent before |
//! | `report` | counts, progress, summary |
//! | `password`, `stop` | the terminal and Ctrl-C |

mod answer;
mod arguments;
mod batch;
mod body;
mod client;
mod inspect;
mod password;
mod report;
mod retry;
mod state;
mod stop;
#[cfg(test)]
mod tests;
mod walk;
mod worker;

pub use arguments::ImportArguments;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};

use report::{Reporter, Skip};
use state::State;
use stop::Stop;

/// Exit code: everything was sent or there already.
pub const EXIT_OK: u8 = 0;
/// Exit code: the server refused some instances, or some files could not be read.
pub const EXIT_REFUSED: u8 = 1;
/// Exit code: the server could not be reached, or does not accept the credentials; run it again to go on.
pub const EXIT_UNREACHABLE: u8 = 2;
/// Exit code: the command line makes no sense (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// Exit code: stopped by Ctrl-C or SIGTERM; run it again to go on.
pub const EXIT_STOPPED: u8 = 130;

/// Why an import ended before all files were tried.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The server cannot be talked to.
    #[error("{0}")]
    Unreachable(String),
}

/// Runs the import: results on stdout, progress and messages on stderr.
///
/// The exit code is one of [`EXIT_OK`], [`EXIT_REFUSED`], [`EXIT_UNREACHABLE`], [`EXIT_USAGE`], [`EXIT_STOPPED`].
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
        Err(ImportError::Usage(_)) => EXIT_USAGE,
        Err(ImportError::Unreachable(_)) => EXIT_UNREACHABLE,
        Ok(()) if stop.is_set() => EXIT_STOPPED,
        Ok(()) if reporter.has_refusals() => EXIT_REFUSED,
        Ok(()) => EXIT_OK,
    };
    reporter.finish(code, error.as_deref(), arguments.dry_run);
    code
}

fn import(arguments: &ImportArguments, stop: &Stop, reporter: &Arc<Reporter>) -> Result<(), ImportError> {
    let target = arguments.target()?;
    let roots = walk::roots(&arguments.paths).map_err(ImportError::Usage)?;
    let state = State::open(&arguments.state_path(&target)?, &target, arguments.dry_run)
        .map_err(|error| ImportError::Usage(format!("cannot use the state file: {error}")))?;
    let client = match arguments.dry_run {
        true => None,
        false => {
            let client = client::Client::new(arguments, &target, stop)?;
            client.probe(stop)?;
            Some(client)
        }
    };

    reporter.begin();
    let failure: Mutex<Option<ImportError>> = Mutex::new(None);
    let (sender, receiver) = mpsc::sync_channel(arguments.parallel);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        // Counting runs beside the work, so that the time left is known early and sending starts at once.
        scope.spawn(|| {
            for file in walk::Walk::new(&roots, |_| {}).take_while(|_| !stop.is_set()) {
                reporter.expect_bytes(file.length);
            }
            reporter.counted();
        });
        scope.spawn(|| plan(arguments, &roots, &state, reporter, stop, sender));
        for _ in 0..arguments.parallel {
            scope.spawn(|| {
                let worker = worker::Worker {
                    client: client.as_ref(),
                    state: &state,
                    reporter,
                    stop,
                };
                loop {
                    let next = receiver.lock().map(|receiver| receiver.recv());
                    let Ok(Ok(batch)) = next else { break };
                    if stop.is_set() {
                        // Keep emptying the channel: the planner must not hang on a full one.
                        continue;
                    }
                    if let Err(error) = worker.send(batch) {
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

/// Walks, inspects and batches.
fn plan(
    arguments: &ImportArguments,
    roots: &[std::path::PathBuf],
    state: &State,
    reporter: &Reporter,
    stop: &Stop,
    sender: mpsc::SyncSender<batch::Batch>,
) {
    let mut planner = batch::Planner::new(arguments.batch, arguments.batch_mib << 20);
    let walk = walk::Walk::new(roots, |path| reporter.unreadable(path));
    for file in walk.take_while(|_| !stop.is_set()) {
        if state.holds(&file) {
            reporter.already_there(file.length, 1);
            continue;
        }
        let full = match inspect::inspect(&file.path) {
            Ok(inspect::Inspection::Dicom { sop_instance_uid }) => planner.add(batch::Item { file, sop_instance_uid }),
            Ok(inspect::Inspection::Directory) => {
                reporter.skipped(Skip::Directory, file.length);
                continue;
            }
            Ok(inspect::Inspection::NotDicom) => {
                reporter.skipped(Skip::NotDicom, file.length);
                continue;
            }
            Err(_) => {
                reporter.advance(file.length);
                reporter.unreadable(&file.path);
                continue;
            }
        };
        for batch in full {
            if sender.send(batch).is_err() {
                return;
            }
        }
    }
    if let Some(batch) = planner.finish() {
        let _ = sender.send(batch);
    }
}
