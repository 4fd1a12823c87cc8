//! `septum fsck`, `scrub`, `backup`, `restore`: on the roots of the settings, beside the server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use septum_engine::archive::ArchiveConfig;
use septum_engine::maintenance;

use super::{ConfigArguments, EXIT_FAILURE, EXIT_FINDINGS};
use crate::config::Config;
use crate::server::{archive_config, look_for_roots};

/// `septum fsck`.
#[derive(Debug, Args)]
pub(super) struct FsckArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Make the index anew from the journal first, and the partition map if it is lost. Nothing is lost: the journal is
    /// the truth.
    #[arg(long)]
    rebuild: bool,
}

/// `septum scrub`.
#[derive(Debug, Args)]
pub(super) struct ScrubArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Read at most so many MiB a second.
    #[arg(long, value_name = "MIB", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate_mib: u64,
    /// Keep in this file how far the pass has come, and go on there when started again.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
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
    /// Do not read again what an earlier backup copied: damage in it then goes unnoticed. Without this, damaged copies
    /// are named and made anew, with exit code 1.
    #[arg(long)]
    no_verify: bool,
}

/// `septum restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The folder that holds the backup. The roots of the settings must be empty, and are empty again if the backup turns
    /// out to be damaged; which of its files are is told. Afterwards put the root key where storage.root_key_file says.
    #[arg(value_name = "SRC")]
    source: PathBuf,
}

pub(super) fn fsck(arguments: &FsckArguments) -> ExitCode {
    run_on_store(&arguments.config, |_, archive| {
        if arguments.rebuild {
            maintenance::rebuild_index(archive)?;
            println!("The index was made anew from the journal.");
        }
        let report = maintenance::fsck(archive)?;
        for note in &report.notes {
            println!("note: {note}");
        }
        for finding in &report.findings {
            println!("{finding}");
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
        Ok(report.is_sound())
    })
}

pub(super) fn scrub(arguments: &ScrubArguments) -> ExitCode {
    run_on_store(&arguments.config, |_, archive| {
        // A file that is missing or of another version starts at the beginning.
        let kept = arguments.resume.as_deref().and_then(|file| std::fs::read(file).ok());
        let cursor = kept
            .and_then(|kept| serde_json::from_slice(&kept).ok())
            .unwrap_or_default();
        let (mut num_verified, mut verified_bytes, mut num_damaged) = (0_u64, 0_u64, 0_u64);
        maintenance::scrub(archive, cursor, arguments.rate_mib << 20, |cursor, report| {
            num_verified += report.num_verified;
            verified_bytes += report.verified_bytes;
            for damage in &report.damage {
                println!("{damage}");
                num_damaged += 1;
            }
            if let Some(file) = &arguments.resume {
                keep(file, serde_json::to_vec(cursor));
            }
        })?;
        println!(
            "{num_verified} records and keys ({} MiB) verified, {num_damaged} damaged",
            verified_bytes >> 20
        );
        Ok(num_damaged == 0)
    })
}

/// Keeps how far a pass has come. If it cannot be kept, the next pass starts earlier: nothing is missed.
fn keep(file: &Path, cursor: serde_json::Result<Vec<u8>>) {
    let kept = cursor
        .map_err(std::io::Error::from)
        .and_then(|cursor| std::fs::write(file, cursor));
    if let Err(error) = kept {
        tracing::warn!(%error, "the place to go on at could not be kept");
    }
}

pub(super) fn backup(arguments: &BackupArguments) -> ExitCode {
    run_on_store(&arguments.config, |config, archive| {
        let (report, damaged) = maintenance::backup(archive, &arguments.destination, !arguments.no_verify)?;
        for copy in &damaged {
            println!("{copy}");
        }
        if !damaged.is_empty() {
            println!("{} earlier copies were damaged, and were made anew", damaged.len());
        }
        show_copied(report.num_files, report.total_bytes, report.copied_bytes);
        println!(
            "Without the root key it cannot be read: keep {} safe, elsewhere.",
            config.storage.root_key_path().display()
        );
        // The backup is whole now; but what it lies on forgets.
        Ok(damaged.is_empty())
    })
}

pub(super) fn restore(arguments: &RestoreArguments) -> ExitCode {
    run(&arguments.config, |config, archive| {
        let report = maintenance::restore(archive, &arguments.source)?;
        show_copied(report.num_files, report.total_bytes, report.copied_bytes);
        println!(
            "Now put the root key at {} and start the server.",
            config.storage.root_key_path().display()
        );
        Ok(true)
    })
}

fn show_copied(num_files: u64, total_bytes: u64, copied_bytes: u64) {
    println!(
        "{num_files} files, {} MiB; {} MiB copied this time",
        total_bytes >> 20,
        copied_bytes >> 20
    );
}

/// [`run`] for commands that need an archive to be there.
fn run_on_store(
    arguments: &ConfigArguments,
    command: impl FnOnce(&Config, &ArchiveConfig) -> septum_engine::Result<bool>,
) -> ExitCode {
    run(arguments, |config, archive| {
        look_for_roots(config).map_err(|source| septum_engine::EngineError::File {
            what: "a root of the archive",
            source,
        })?;
        command(config, archive)
    })
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
    super::close_to_others();
    let outcome = archive_config(&config, false)
        .map_err(|source| septum_engine::EngineError::File {
            what: "this program",
            source,
        })
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
