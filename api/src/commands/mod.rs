//! The command line. Results go to stdout, logs to stderr.
//!
//! Exit codes: 0 fine; 1 findings (a check found something); 2 failure; 64 wrong usage (`EX_USAGE`).

mod audit;
mod config;
mod docs;
mod init;
mod maintenance;
mod serve;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::export::ExportArguments;
use crate::import::ImportArguments;

/// Exit code: a check found something.
pub(crate) const EXIT_FINDINGS: u8 = 1;
/// Exit code: failure.
pub(crate) const EXIT_FAILURE: u8 = 2;
/// Exit code: wrong usage (`EX_USAGE` of sysexits.h).
pub(crate) const EXIT_USAGE: u8 = 64;

/// The name under which the program is its own decoder child.
const DECODE_CHILD: &str = "decode-child";

/// Septum: a self-hosted archive for medical images.
///
/// Exit codes: 0 fine; 1 a check found something; 2 failure; 64 wrong usage. Settings come from built-in defaults, the
/// file that --config names, and the environment (SEPTUM__SECTION__KEY), in this order.
#[derive(Debug, Parser)]
#[command(name = "septum", version, propagate_version = true, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(ConfigArguments),
    /// Make the roots, keys, certificate and first administrator, and stop. `serve` does the same when it must.
    Init(ConfigArguments),
    Import(Box<ImportArguments>),
    Export(Box<ExportArguments>),
    /// Prove that index, journal, pixels and keys agree, and that the root key opens them. The server must not be running.
    ///
    /// Exit code 1 when something is wrong; what, is one line each on stdout.
    Fsck(maintenance::FsckArguments),
    /// Read all that is in use once and verify its checksums, also beside a running server. Exit code 1 when something is
    /// damaged.
    ///
    /// That is every batch of the journals, every object that the index names, and every wrapped key. Records that were
    /// deleted or superseded, and lie in a segment until it is rewritten, are passed over: nothing reads them any more.
    Scrub(maintenance::ScrubArguments),
    /// Copy the archive to a folder, also beside a running server.
    Backup(maintenance::BackupArguments),
    /// Make the archive anew from a backup, into roots that are empty.
    Restore(maintenance::RestoreArguments),
    /// Look at the settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the documents that the server has at /api/docs.
    #[command(subcommand)]
    Docs(docs::DocsCommand),
    /// Look at the audit log.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Decode frames for the server, confined.
    #[command(name = DECODE_CHILD, hide = true)]
    DecodeChild,
}

/// Where settings come from.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArguments {
    /// Settings to use on top of the defaults (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl ConfigArguments {
    /// The settings; problems go to stderr, all of them.
    pub(crate) fn load(&self) -> Result<Config, ExitCode> {
        load(self.config.as_deref())
    }
}

fn load(file: Option<&Path>) -> Result<Config, ExitCode> {
    crate::config::load(file).map_err(|error| {
        eprintln!("septum: the settings cannot be used:\n{error}");
        ExitCode::from(EXIT_USAGE)
    })
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Before anything else: a decoder child confines itself while it has one thread and no secrets.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == DECODE_CHILD)
    {
        septum_decoder::run_child();
    }
    let command = match CommandLine::try_parse() {
        Ok(CommandLine { command }) => command,
        Err(error) => {
            let is_help = !error.use_stderr();
            let _ = error.print();
            return if is_help {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_USAGE)
            };
        }
    };
    match command {
        Command::Import(arguments) => crate::import::run(&arguments),
        Command::Export(arguments) => crate::export::run(&arguments),
        Command::DecodeChild => septum_decoder::run_child(),
        Command::Config(command) => config::run(&command),
        Command::Serve(arguments) => with_config(&arguments, serve::run),
        Command::Init(arguments) => with_config(&arguments, init::run),
        Command::Fsck(arguments) => maintenance::fsck(&arguments),
        Command::Scrub(arguments) => maintenance::scrub(&arguments),
        Command::Backup(arguments) => maintenance::backup(&arguments),
        Command::Restore(arguments) => maintenance::restore(&arguments),
        Command::Audit(command) => audit::run(&command),
        Command::Docs(command) => docs::run(command),
    }
}

fn with_config(arguments: &ConfigArguments, run: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    match arguments.load() {
        Ok(config) => {
            crate::logging::start(&config.log);
            close_to_others();
            run(&config)
        }
        Err(code) => code,
    }
}

/// Keys and patients are in this process's memory: it leaves no core dump, and other processes of the user cannot look.
/// What it makes on disk is for its own user alone.
pub(crate) fn close_to_others() {
    use rustix::fs::Mode;
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be forbidden");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process could not be made undumpable");
    }
}

/// Runs an async command to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    actix_web::rt::System::new().block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
        for line in [
            vec!["septum", "serve", "--config", "x"],
            vec!["septum", "fsck", "--rebuild"],
            vec!["septum", "backup", "/x", "--no-verify"],
            vec!["septum", "restore", "/x"],
            vec!["septum", "config", "check"],
            vec!["septum", "audit", "verify"],
            vec!["septum", "docs", "conformance"],
            vec!["septum", "import", "x"],
            vec!["septum", "export", "--all", "--to", "x"],
        ] {
            assert!(CommandLine::try_parse_from(&line).is_ok(), "{line:?}");
        }
        assert!(CommandLine::try_parse_from(["septum", "backup"]).is_err());
    }

    #[test]
    fn every_command_has_a_help() {
        for command in CommandLine::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
