//! `septum serve`.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{EXIT_FAILURE, block_on};
use crate::config::Config;
use crate::{first_start, server};

/// Serves until SIGTERM or SIGINT; a second one ends the process at once.
pub(super) fn run(config: &Config) -> ExitCode {
    block_on(async {
        let running = match server::start(config).await {
            Ok(running) => running,
            Err(error) => {
                eprintln!("septum: {error}");
                return ExitCode::from(EXIT_FAILURE);
            }
        };
        if first_start::wants_demo() {
            let archive = std::sync::Arc::clone(&running.archive);
            actix_web::rt::spawn(async move {
                if let Err(error) = first_start::demo(&archive).await {
                    tracing::error!(%error, "the demo could not be loaded");
                }
            });
        }
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            eprintln!("septum: signals cannot be watched");
            return ExitCode::from(EXIT_FAILURE);
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: finishing what is under way");
        tokio::select! {
            () = running.stop() => ExitCode::SUCCESS,
            _ = interrupt.recv() => ExitCode::from(EXIT_FAILURE),
        }
    })
}
