//! `septum fsck`, `scrub`, `backup`, `restore`: on a stopped server's roots.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use septum_engine::archive::ArchiveConfig;
use septum_engine::maintenance::{self, BackupReport, FsckReport, ScrubReport};

use super::{ConfigArguments, EXIT_FAILURE, EXIT_FINDINGS};
use crate::config::Config;
use crate::server::archive_config;

/// `septum fsck`.
#[derive(Debug, Args)]
pub(super) struct FsckArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Make the index anew from the journal first. Nothing is lost: the journal is the truth.
    #[arg(long)]
    rebuild: bool,
}

/// `septum scrub`.
#[derive(Debug, Args)]
pub(super) struct ScrubArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Read at most so many MiB a second; 0 is as fast as the disks go.
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    rate_mib: u64,
}

/// `septum backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The folder to copy to. A backup that is there already is brought up to date: only what is new is copied. The
    /// root key is not copied: keep it elsewhere.
    #[arg(value_name = "DEST")]
    destination: PathBuf,
}

/// `septum restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The folder that holds the backup. The roots of the settings must be empty. Afterwards put the root key where
    /// storage.root_key_file says.
    #[arg(value_name = "SRC")]
    source: PathBuf,
}

pub(super) fn fsck(arguments: &FsckArguments) -> ExitCode {
    run(&arguments.config, |_, archive| {
        if arguments.rebuild {
            maintenance::rebuild(archive)?;
            println!("The index was made anew from the journal.");
        }
        let report = maintenance::fsck(archive)?;
        Ok(show_fsck(&report))
    })
}

fn show_fsck(report: &FsckReport) -> bool {
    for note in &report.notes {
        println!("note: shard {}: {}", note.shard, note.what);
    }
    for finding in &report.findings {
        println!("shard {}: {}", finding.shard, finding.what);
    }
    if report.num_more_findings > 0 {
        println!("and {} more", report.num_more_findings);
    }
    println!(
        "{} batches, {} rows, {} objects ({} MiB), {} keys: {}",
        report.num_batches,
        report.num_rows,
        report.num_objects,
        report.object_bytes >> 20,
        report.num_keys,
        if report.is_sound() { "sound" } else { "NOT sound" }
    );
    report.is_sound()
}

pub(super) fn scrub(arguments: &ScrubArguments) -> ExitCode {
    run(&arguments.config, |_, archive| {
        let report: ScrubReport = maintenance::scrub(archive, arguments.rate_mib << 20)?;
        for damage in &report.damage {
            println!("{damage}");
        }
        println!("{} records and keys ({} MiB) verified", report.num_verified, report.verified_bytes >> 20);
        Ok(report.damage.is_empty())
    })
}

pub(super) fn backup(arguments: &BackupArguments) -> ExitCode {
    run(&arguments.config, |config, archive| {
        let report = maintenance::backup(archive, &arguments.destination)?;
        show_copied(&report);
        println!("Without the root key it cannot be read: keep {} safe, elsewhere.", config.storage.root_key_path().display());
        Ok(true)
    })
}

pub(super) fn restore(arguments: &RestoreArguments) -> ExitCode {
    run(&arguments.config, |config, archive| {
        let report = maintenance::restore(archive, &arguments.source)?;
        show_copied(&report);
        println!("Now put the root key at {} and start the server.", config.storage.root_key_path().display());
        Ok(true)
    })
}

fn show_copied(report: &BackupReport) {
    println!(
        "{} files, {} MiB; {} MiB copied this time",
        report.num_files,
        report.total_bytes >> 20,
        report.copied_bytes >> 20
    );
}

/// Runs a command over the settings; `Ok(false)` are findings.
fn run(
    arguments: &ConfigArguments,
    command: impl FnOnce(&Config, &ArchiveConfig) -> septum_engine::Result<bool>,
) -> ExitCode {
    let config = match arguments.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    crate::logging::start(&config.log);
    super::forbid_core_dumps();
    let outcome = archive_config(&config, false)
        .map_err(|source| septum_engine::EngineError::File { what: "this program", source })
        .and_then(|archive| command(&config, &archive));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FINDINGS),
        Err(error) => {
            eprintln!("septum: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}
