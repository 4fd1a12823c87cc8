//! `septum export`: download of studies from a server by DICOMweb, to a folder or a ZIP file with a DICOMDIR.
//!
//! Owns the client side only: Septum or any other server with QIDO-RS and WADO-RS (PS3.18 sections 10.6 and 10.4) will
//! do. Invariants:
//!
//! - An instance counts as there, and is written to the ledger, only when it is whole, readable, the one that was asked
//!   for, and in a file of its own (or in the ZIP file). Whatever stops the export, running it again fetches the rest.
//! - No file under its final name is ever half a file: what arrives is renamed when complete; a ZIP file gets its name
//!   when all is in it.
//! - Memory holds no instance, only about 2 KB for each in the list of what is there and in the DICOMDIR to be.
//!
//! | file | owns |
//! |---|---|
//! | `arguments`, `selection` | the command line; what to download |
//! | `source` | requests and what their statuses mean |
//! | `plan` | which instances there are, and their names on the medium |
//! | `naming` | File IDs |
//! | `worker` | one unit to its end |
//! | `receive`, `check` | an answer taken in; whether an object is whole |
//! | `shelf`, `archive`, `ledger` | the target, a ZIP file as one, and what is in it |
//! | `zip_writer` | the form of a ZIP file |
//! | `dicomdir` | the directory |
//! | `report` | counts, progress, summary |

mod archive;
mod arguments;
mod check;
mod dicomdir;
mod ledger;
mod naming;
mod plan;
mod receive;
mod report;
mod selection;
mod shelf;
pub(crate) mod source;
#[cfg(test)]
mod tests;
mod worker;
mod zip_writer;

pub use arguments::ExportArguments;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};

use crate::remote::{EXIT_OK, EXIT_REFUSED, EXIT_STOPPED, RemoteError, Stop};
use dicomdir::DirectoryEntry;
use report::Reporter;
use shelf::Shelf;
use source::Source;

/// Runs the export: results on stdout, progress and messages on stderr.
///
/// The exit code is one of those in [`crate::remote`].
pub fn run(arguments: &ExportArguments) -> ExitCode {
    ExitCode::from(run_with(
        arguments,
        &Stop::on_signals(),
        &Reporter::for_terminal(arguments.json),
    ))
}

/// [`run`] with its surroundings given, so that tests can look.
fn run_with(arguments: &ExportArguments, stop: &Stop, reporter: &Reporter) -> u8 {
    let outcome = export(arguments, stop, reporter);
    let code = match &outcome {
        Err(error) => error.exit_code(),
        Ok(()) if stop.is_set() => EXIT_STOPPED,
        Ok(()) if reporter.has_lacks() => EXIT_REFUSED,
        Ok(()) => EXIT_OK,
    };
    reporter.finish(code, outcome.err().map(|error| error.to_string()).as_deref());
    code
}

fn export(arguments: &ExportArguments, stop: &Stop, reporter: &Reporter) -> Result<(), RemoteError> {
    let target = arguments.remote.target()?;
    let selection = arguments.selection()?;
    let syntax = arguments.accepted_syntax()?;
    let from = target.studies_url();
    let source = Source::new(&arguments.remote, target, &syntax, stop)?;
    let shelf = match (&arguments.to, &arguments.zip) {
        (Some(folder), _) => Shelf::folder(folder, &from, &syntax)?,
        (None, Some(file)) => Shelf::zip(file, &from, &syntax)?,
        (None, None) => return Err(RemoteError::Usage("say where to: --to or --zip".into())),
    };
    let directory = (!arguments.no_dicomdir).then(|| Mutex::new(Vec::new()));

    reporter.begin();
    if let Err(error) = fetch(
        arguments,
        &selection,
        &source,
        &shelf,
        directory.as_ref(),
        stop,
        reporter,
    ) {
        // A target with nothing in it is of no use to anybody; that it cannot be removed is no news.
        let _ = shelf.abandon_if_empty();
        return Err(error);
    }
    if stop.is_set() {
        return Ok(());
    }
    let is_empty = shelf.records().is_empty();
    if is_empty {
        reporter.note("nothing there to download");
    }
    if is_empty || !(reporter.has_kept() || shelf.is_unfinished()) {
        return shelf.abandon_if_empty().map_err(|error| unfinished(&error));
    }
    let directory = match directory {
        Some(entries) => Some(make_directory(&shelf, entries)?),
        None => None,
    };
    shelf.finish(directory.as_deref()).map_err(|error| unfinished(&error))
}

fn unfinished(error: &std::io::Error) -> RemoteError {
    RemoteError::Unreachable(format!("cannot complete the target: {error}"))
}

/// Plans and fetches, side by side.
fn fetch(
    arguments: &ExportArguments,
    selection: &selection::Selection,
    source: &Source,
    shelf: &Shelf,
    directory: Option<&Mutex<Vec<DirectoryEntry>>>,
    stop: &Stop,
    reporter: &Reporter,
) -> Result<(), RemoteError> {
    let failure: Mutex<Option<RemoteError>> = Mutex::new(None);
    let fail = |error| {
        failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        stop.set();
    };
    let (sender, receiver) = mpsc::sync_channel(arguments.remote.parallel);
    let receiver = Mutex::new(receiver);
    let planner = plan::Planner::new(
        source,
        selection,
        reporter,
        stop,
        sender,
        &shelf.records(),
        &shelf.lost(),
    );
    let worker = worker::Worker {
        source,
        shelf,
        reporter,
        stop,
        directory,
    };
    std::thread::scope(|scope| {
        scope.spawn(|| planner.run().unwrap_or_else(fail));
        for _ in 0..arguments.remote.parallel {
            scope.spawn(|| {
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(unit) = next else { break };
                    // After a stop the channel is still emptied: the planner must not hang on a full one.
                    if !stop.is_set() {
                        worker.fetch(&unit).unwrap_or_else(fail);
                    }
                }
            });
        }
    });
    failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

/// The DICOMDIR of all that is there, in the order of the names.
fn make_directory(shelf: &Shelf, entries: Mutex<Vec<DirectoryEntry>>) -> Result<Vec<u8>, RemoteError> {
    let mut entries = entries.into_inner().unwrap_or_else(PoisonError::into_inner);
    let new: HashSet<String> = entries.iter().map(|entry| entry.file_id.join("/")).collect();
    for record in shelf.records() {
        if !new.contains(&record.name) {
            let beginning = shelf
                .beginning(&record, dicomdir::BEGINNING_BYTES)
                .map_err(|error| unfinished(&error))?;
            entries.push(DirectoryEntry {
                file_id: record.name.split('/').map(str::to_owned).collect(),
                listed: dicomdir::listed_from_beginning(&beginning),
            });
        }
    }
    entries.sort_by(|a, b| a.file_id.cmp(&b.file_id));
    dicomdir::build(&entries).map_err(|error| RemoteError::Unreachable(format!("cannot make the DICOMDIR: {error}")))
}
