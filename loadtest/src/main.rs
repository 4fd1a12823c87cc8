//! # septum-loadtest: what a DICOMweb server does under load
//!
//! Loads one or several DICOMweb servers over the wire and measures throughput, latency, processor time, bytes written and
//! memory; several targets alternate in one run, so that what counts is a ratio and not what the machine was like. At the
//! end it reads back what was acknowledged and compares it with what was sent. Works on any DICOMweb base address.
//!
//! - **Open loop** (`--rate`, the day, reads under ingest): arrivals follow a schedule whatever the server does, and latency
//!   counts from the intended begin; nothing is omitted when the server stalls. **Closed loop** otherwise: each client sends
//!   when it has its answer, which is how throughput is measured.
//! - **Images** are perturbed copies of real ones or of phantoms: no two are alike and all compress like the original.
//! - **The client** is measured as well: its share of the processor time stands in the table, store requests are made before
//!   the clock starts, and bodies of answers are drained rather than kept.
//!
//! A table goes to stderr and JSON to stdout. Exit code: 0 when every request was answered as it should be and everything
//! came back; 1 when not; 2 when nothing could be measured. Names, identifiers and contents of answers are never printed.
//!
//! | module | owns |
//! |---|---|
//! | [`arguments`] | the command line |
//! | [`corpus`] | the instances that are sent |
//! | [`schedule`] | when requests are to begin |
//! | [`request`] | what is asked, and when an answer counts |
//! | [`scenario`] | what each scenario asks in a round |
//! | [`drive`] | the clients and the clock |
//! | [`suite`] | scenarios, rounds and targets |
//! | [`loads`] | what must be there before a round, and what it sends |
//! | [`target`] | a server and what it acknowledged |
//! | [`verify`] | reading back and comparing |
//! | [`histogram`], [`report`], [`medians`], [`print`] | latencies, figures, the table |
//! | [`http`], [`tls`], [`multipart`] | a blocking HTTP/1.1 client |
//! | [`process`], [`folder`] | what the system says of a server on this machine |
//! | [`generate`] | a corpus as files |

mod arguments;
mod corpus;
mod drive;
mod folder;
mod generate;
mod histogram;
mod http;
mod loads;
mod medians;
mod multipart;
mod print;
mod process;
mod report;
mod request;
mod scenario;
mod schedule;
mod suite;
mod target;
mod tls;
mod verify;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

use arguments::{Arguments, Command};
use suite::SuiteError;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(options) => suite::run(&options).and_then(|report| {
            eprint!("\n{}", print::table(&report));
            emit(&report, options.json.as_deref())?;
            let failed = report.runs.iter().any(|run| run.num_failed() > 0);
            Ok(!failed && report.verification.values().all(verify::Verification::kept))
        }),
        Command::Generate(options) => generate::generate(&options)
            .and_then(|described| emit(&described, None))
            .map(|()| true),
    };
    match outcome {
        Ok(good) => ExitCode::from(u8::from(!good)),
        Err(problem) => {
            eprintln!("septum-loadtest: {problem}");
            ExitCode::from(2)
        }
    }
}

/// Writes JSON to a file, or to stdout.
fn emit(value: &impl Serialize, file: Option<&Path>) -> Result<(), SuiteError> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    match file {
        Some(file) => std::fs::write(file, text)?,
        None => writeln!(std::io::stdout(), "{text}")?,
    }
    Ok(())
}
