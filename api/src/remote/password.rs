//! The password: from the environment, else from the terminal without echo. Never from the command line, which other
//! users of the machine can read.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::RemoteError;
use super::stop::Stop;

/// The environment variable.
const VARIABLE: &str = "SEPTUM_PASSWORD";

/// The password of `user`.
pub(crate) fn get(user: &str, url: &str, stop: &Stop) -> Result<String, RemoteError> {
    if let Some(password) = std::env::var_os(VARIABLE) {
        return password
            .into_string()
            .map_err(|_| RemoteError::Usage(format!("{VARIABLE} is not valid UTF-8")));
    }
    let missing = || RemoteError::Usage(format!("no terminal to ask for a password: set {VARIABLE}"));
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|_| missing())?;
    write!(terminal, "Password of {user} at {url}: ").map_err(|_| missing())?;
    stop.prompting(true);
    let was_hidden = set_echo(false);
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    if was_hidden {
        set_echo(true);
    }
    stop.prompting(false);
    let _ = writeln!(terminal);
    match read {
        Ok(count) if count > 0 => Ok(line.trim_end_matches(['\r', '\n']).to_string()),
        _ => Err(missing()),
    }
}

/// Gives the terminal its echo back, before the process ends amid the prompt.
pub(crate) fn restore_terminal() {
    set_echo(true);
}

/// By `stty`, which every system with a terminal has: the alternative is unsafe code.
fn set_echo(on: bool) -> bool {
    let Ok(terminal) = File::open("/dev/tty") else {
        return false;
    };
    let status = Command::new("stty")
        .arg(if on { "echo" } else { "-echo" })
        .stdin(terminal)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
