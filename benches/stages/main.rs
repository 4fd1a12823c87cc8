//! Septum's stages against their floors. `cargo bench -p septum-benches -- --help`; see the crate's README.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot prepare its input has nothing to say and ends"
)]

mod codec;
mod engine;
mod header;
mod query;
mod seal;
mod split;
mod storage;

use std::process::ExitCode;

use septum_benches::measure::Runner;
use septum_benches::options::{Options, USAGE};

/// The prefix of a group's names, and what runs it.
type Group = (&'static str, fn(&mut Runner));

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return if message.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            };
        }
    };
    let json = options.json.clone();
    let mut runner = Runner::new(options);
    let groups: [Group; 7] = [
        ("split/", split::run),
        ("codec/", codec::run),
        ("header/", header::run),
        ("seal/", seal::run),
        ("query/", query::run),
        ("storage/", storage::run),
        ("engine/", engine::run),
    ];
    for (group, run) in groups {
        if runner.options().wants_group(group) {
            run(&mut runner);
        }
    }
    let report = runner.into_report();
    match json.map(|path| report.write_json(&path)) {
        Some(Err(error)) => {
            eprintln!("the JSON result could not be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
