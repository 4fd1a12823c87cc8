//! A DICOMweb server at the other end, as the command line talks to it.
//!
//! Owns what `septum import` and `septum export` have in common: how a server is named, trusted and asked, what to do
//! when it does not answer, and Ctrl-C. Invariants:
//!
//! - Passwords come from the environment or the terminal, never from the command line; patient data does not cross a
//!   network unencrypted unless asked for by name.
//! - Credentials go to the server that was named, nowhere else: redirections are not followed.
//!
//! | file | owns |
//! |---|---|
//! | `arguments` | the part of the command line that names the server |
//! | `connection` | certificates, credentials, why a request got no answer |
//! | `retry` | what a status means and how long to wait |
//! | `password`, `stop` | the terminal and Ctrl-C |

mod arguments;
mod connection;
mod password;
pub(crate) mod retry;
mod stop;

pub use arguments::RemoteArguments;
pub(crate) use arguments::{Target, in_range};
pub(crate) use connection::{Broken, Connection, classify};
pub(crate) use stop::Stop;

/// Exit code: everything was done or was done already.
pub const EXIT_OK: u8 = 0;
/// Exit code: some instances were refused, could not be read or did not arrive whole.
pub const EXIT_REFUSED: u8 = 1;
/// Exit code: the server could not be reached, or does not accept the credentials; run it again to go on.
pub const EXIT_UNREACHABLE: u8 = 2;
/// Exit code: the command line makes no sense (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// Exit code: stopped by Ctrl-C or SIGTERM; run it again to go on.
pub const EXIT_STOPPED: u8 = 130;

/// Why an import or export ended before all was tried.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The server cannot be talked to, or there is no writing on this side.
    #[error("{0}")]
    Unreachable(String),
}

impl RemoteError {
    /// The exit code that says so.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Unreachable(_) => EXIT_UNREACHABLE,
        }
    }
}
