//! # septum-loadtest: how fast does a DICOMweb server take and give instances
//!
//! Stores synthetic or perturbed CT instances by STOW-RS (PS3.18 10.5) with several clients, then optionally reads some back
//! by WADO-RS, and prints one JSON object on stdout. Works on any DICOMweb server, so that two can be compared in one run.
//! Bodies are prepared before the clock starts; the client's own processor time is reported beside the server's.
//!
//! | module | owns |
//! |---|---|
//! | [`template`] | the instance that is sent, made different each time |
//! | [`http`] | a blocking HTTP/1.1 client over TCP or TLS with a pinned certificate |
//! | [`process`] | what `/proc` says of a process |
//! | [`run`] | the clients and the clock |
//! | [`report`] | percentiles and the result |

mod element;
mod http;
mod process;
mod report;
mod run;
mod template;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Measures how fast a DICOMweb server stores and returns instances.
#[derive(Parser, Debug, Clone)]
#[command(version, about)]
struct Arguments {
    /// Base address of the DICOMweb service, for example `http://127.0.0.1:8042/dicom-web`. Loopback only.
    url: http::Address,
    /// User name for HTTP Basic; the password comes from LOADTEST_PASSWORD.
    #[arg(long)]
    user: Option<String>,
    /// Certificate (PEM) the server must show; needed for https.
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// Clients that send at the same time, each over its own connection.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    clients: u32,
    /// Instances in all.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Instances in one request.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,
    /// Instances in one series; a new study begins with each.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    series: u32,
    /// Native Explicit VR Little Endian image with 16-bit samples to perturb; without it a noisy 512×512 phantom is made.
    #[arg(long)]
    template: Option<PathBuf>,
    /// Instances to read back, chosen at random, after all are stored.
    #[arg(long, default_value_t = 0)]
    read: u32,
    /// Process of the server, for its processor time, memory and disk writes.
    #[arg(long)]
    pid: Option<u32>,
    /// Seed of UIDs and noise; the same seed sends the same instances.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Name of the server in the result.
    #[arg(long, default_value = "server")]
    name: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run::run(&arguments) {
        Ok(report) => {
            eprintln!("{}", report.summary());
            match serde_json::to_string_pretty(&report) {
                Ok(text) => println!("{text}"),
                Err(problem) => eprintln!("septum-loadtest: {problem}"),
            }
            ExitCode::from(u8::from(report.num_failed > 0))
        }
        Err(problem) => {
            eprintln!("septum-loadtest: {problem}");
            ExitCode::from(2)
        }
    }
}
