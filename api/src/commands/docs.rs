//! `septum docs`.

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;

use super::EXIT_FAILURE;
use crate::docs;

/// Which document.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum DocsCommand {
    /// The DICOM Conformance Statement (HTML).
    Conformance,
    /// The description of the HTTP interface (OpenAPI 3.1, JSON).
    Openapi,
}

pub(super) fn run(command: DocsCommand) -> ExitCode {
    let text = match command {
        DocsCommand::Conformance => docs::conformance_document(),
        DocsCommand::Openapi => format!("{:#}\n", docs::openapi::document()),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("septum: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}
