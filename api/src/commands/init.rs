//! `septum init`.

use std::process::ExitCode;
use std::time::Duration;

use septum_engine::archive::Archive;

use super::{EXIT_FAILURE, block_on};
use crate::config::{Config, TlsMode};
use crate::server::{ServerError, archive_config, is_first_start, make_folders};
use crate::{first_start, tls};

/// Makes what `serve` would make at its first start.
pub(super) fn run(config: &Config) -> ExitCode {
    match block_on(init(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("septum: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

async fn init(config: &Config) -> Result<(), ServerError> {
    make_folders(config)?;
    if config.server.tls == TlsMode::SelfSigned {
        tls::ensure_self_signed(&config.server.tls_dir, &config.server.names)?;
    }
    let archive = Archive::open(archive_config(config, is_first_start(config))?).await?;
    let scheme = if config.server.tls == TlsMode::Off {
        "http"
    } else {
        "https"
    };
    let url = format!("{scheme}://{} (once it is started)", config.server.listen);
    first_start::administrator(&archive, &url)
        .await
        .map_err(ServerError::FirstStart)?;
    archive.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
