//! `septum config`.

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigArguments, EXIT_FAILURE};

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say everything that is wrong with the settings, or that nothing is. Exit code 64 when something is.
    Check(ConfigArguments),
    /// Print the settings as they hold, defaults included (TOML).
    Show(ConfigArguments),
}

pub(super) fn run(command: &ConfigCommand) -> ExitCode {
    let (ConfigCommand::Check(arguments) | ConfigCommand::Show(arguments)) = command;
    let config = match arguments.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    if matches!(command, ConfigCommand::Check(_)) {
        println!("The settings are fine.");
        return ExitCode::SUCCESS;
    }
    match toml::to_string(&config) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("septum: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}
