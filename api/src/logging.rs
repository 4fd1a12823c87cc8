//! Logs on stderr. stdout is for results.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging; a second call changes nothing.
pub fn start(config: &LogConfig) {
    // The HTTP server's own start lines say nothing that ours do not.
    let level = format!("actix_server=warn,{}", config.level);
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal);
    let started = match config.format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    // Somebody else's subscriber (a test's) is as good.
    drop(started);
}
