//! `septum audit`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use septum_engine::EngineError;
use septum_engine::archive::Archive;
use septum_engine::audit_log;

use super::{ConfigArguments, EXIT_FAILURE, EXIT_FINDINGS, block_on};
use crate::server::archive_config;

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check every entry against the last signed checkpoint. The server must not be running. Exit code 1 when
    /// something that was signed is missing or changed.
    Verify(ConfigArguments),
}

pub(super) fn run(command: &AuditCommand) -> ExitCode {
    let AuditCommand::Verify(arguments) = command;
    let config = match arguments.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    crate::logging::start(&config.log);
    super::close_to_others();
    let verified = block_on(async {
        let opening = archive_config(&config, false).map_err(|source| EngineError::File {
            what: "this program",
            source,
        })?;
        let archive = Archive::open(septum_engine::archive::ArchiveConfig {
            densify: false,
            ..opening
        })
        .await?;
        let verified = audit_log::verify(&archive.services);
        archive.shutdown(Duration::from_secs(5)).await;
        verified
    });
    match verified {
        Ok(verified) if verified.faults.is_empty() => {
            println!("{} entries, all as signed", verified.num_leaves);
            ExitCode::SUCCESS
        }
        Ok(verified) => {
            verified.faults.iter().for_each(|fault| println!("{fault}"));
            ExitCode::from(EXIT_FINDINGS)
        }
        Err(error) => {
            eprintln!("septum: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}
