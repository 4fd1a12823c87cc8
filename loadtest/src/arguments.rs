//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::http::Address;
use crate::schedule::{Arrivals, Pacing};

/// Loads DICOMweb servers and measures what they do: throughput, latency, processor time, bytes written, memory.
#[derive(Parser, Debug)]
#[command(name = "septum-loadtest", version, about)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run scenarios on one or more servers in turn, verify what was acknowledged, print a table (stderr) and JSON (stdout).
    Run(Box<RunOptions>),
    /// Write a corpus into a folder and tell how it compresses beside the images it was made from.
    Generate(GenerateOptions),
}

/// Something that belongs to a target, given as `name=value`.
#[derive(Debug, Clone)]
pub(crate) struct Named<T> {
    /// Name of the target.
    pub(crate) name: String,
    /// What it is given.
    pub(crate) value: T,
}

impl<T: FromStr> FromStr for Named<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(fits) {
            return Err("the name must be of letters, digits and hyphens".into());
        }
        Ok(Self {
            name: name.into(),
            value: value.parse().map_err(|problem: T::Err| problem.to_string())?,
        })
    }
}

/// What is measured. Scenarios run in the order given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// STOW-RS of 512×512 16-bit CT, a new series in each round
    StoreCt,
    /// STOW-RS of everything in the corpus, one modality a study
    StoreMixed,
    /// Bytes on disk once no server does background work any more
    Dense,
    /// `/frames/1` in the stored codec: distinct frames, page cache dropped at the start
    Frames,
    /// `/frames/1` decoded to Explicit VR Little Endian
    FramesNative,
    /// One frame of an object with 100 frames, in the stored codec
    #[value(name = "frame-of-100")]
    #[serde(rename = "frame-of-100")]
    FrameOf100,
    /// Instances by WADO-RS in their original transfer syntax
    Instances,
    /// `/metadata` of a series
    Metadata,
    /// Whole studies by WADO-RS in their original transfer syntax
    Study,
    /// QIDO-RS by the beginning of a name (`GARM*`)
    SearchPrefix,
    /// QIDO-RS by something inside a name (`*ARM*`)
    SearchInfix,
    /// QIDO-RS by Patient ID
    SearchId,
    /// QIDO-RS by a range of study dates
    SearchDates,
    /// QIDO-RS of everything, a page far behind
    SearchOffset,
    /// Frames at a fixed rate while CT is stored as fast as it goes
    ReadsUnderIngest,
    /// A hospital's day: stores, frames, metadata, instances, searches and deletes, mixed, at a fixed rate
    Day,
    /// DELETE of studies
    Delete,
}

/// Options of `run`.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct RunOptions {
    /// A server: NAME=URL of its DICOMweb base; repeat to alternate between several. The first is what others are compared to.
    #[arg(long = "target", required = true, value_name = "NAME=URL")]
    pub(crate) targets: Vec<Named<Address>>,
    /// NAME=USER for HTTP Basic; the password is in LOADTEST_PASSWORD_NAME, else in LOADTEST_PASSWORD.
    #[arg(long = "user", value_name = "NAME=USER")]
    pub(crate) users: Vec<Named<String>>,
    /// NAME=FILE: certificate (PEM) that an https target must show.
    #[arg(long = "certificate", value_name = "NAME=FILE")]
    pub(crate) certificates: Vec<Named<PathBuf>>,
    /// NAME=PID: process of the target on this machine, for its processor time, memory and disk writes.
    #[arg(long = "pid", value_name = "NAME=PID")]
    pub(crate) pids: Vec<Named<u32>>,
    /// NAME=FOLDER: a folder of the target on this machine, for its bytes on disk and to drop it from the page cache.
    #[arg(long = "folder", value_name = "NAME=FOLDER")]
    pub(crate) folders: Vec<Named<PathBuf>>,
    /// NAME=ACCEPT: Accept header by which the target gives frames in the codec it stores them in. Without it: octets with
    /// transfer-syntax=*, which some servers take to mean "as received".
    #[arg(long = "frame-accept", value_name = "NAME=ACCEPT")]
    pub(crate) frame_accepts: Vec<Named<String>>,
    /// NAME=ACCEPT: the same for whole studies. Without it: application/dicom with transfer-syntax=*.
    #[arg(long = "study-accept", value_name = "NAME=ACCEPT")]
    pub(crate) study_accepts: Vec<Named<String>>,
    /// Load a server on another machine. It must be yours: this program is made to bring it to its limits.
    #[arg(long)]
    pub(crate) remote: bool,
    /// What to measure, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = DEFAULT_SCENARIOS)]
    pub(crate) scenarios: Vec<Scenario>,
    /// Rounds of each scenario; targets alternate within a round, figures are medians over rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Clients that send at the same time, each over a connection of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) clients: u32,
    /// Requests in a second (open loop: latency counts from when a request should have begun). Without it each client sends
    /// when it has its answer, as fast as possible.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// How the arrivals of an open loop are spread.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub(crate) arrivals: Arrivals,
    /// Instances stored in each round.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) count: u32,
    /// Instances in one store request.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) batch: u32,
    /// Instances in one series.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) series: u32,
    /// CT instances that reading scenarios read from, stored before the clock starts.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) library: u32,
    /// Objects with 100 frames that frame-of-100 reads from, stored before the clock starts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) objects: u32,
    /// Reads in each round (frames and instances; metadata and frames of a hundred a tenth, whole studies a hundredth).
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) reads: u32,
    /// Studies that searches look through, stored before the clock starts.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) patients: u32,
    /// Searches in each round.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) searches: u32,
    /// Where the page of search-offset begins; capped so that it still holds results.
    #[arg(long, default_value_t = 1000)]
    pub(crate) offset: u32,
    /// Studies deleted in each round.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) deletes: u32,
    /// Frames asked for in a second by reads-under-ingest.
    #[arg(long, default_value_t = 40.0, value_parser = rate)]
    pub(crate) read_rate: f64,
    /// Requests in a second of the day.
    #[arg(long, default_value_t = 30.0, value_parser = rate)]
    pub(crate) day_rate: f64,
    /// Seconds that a round of the day lasts.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) day_seconds: u32,
    /// NAME=BYTES of pixels that the target may cache, to tell how many times that the distinct frames read are.
    #[arg(long = "cache-bytes", value_name = "NAME=BYTES")]
    pub(crate) cache_bytes: Vec<Named<u64>>,
    /// Folder with images to perturb; without it phantoms are made.
    #[arg(long)]
    pub(crate) corpus: Option<PathBuf>,
    /// Bytes of store requests that are made before the clock starts; what is more is made between requests.
    #[arg(long, default_value_t = 2 << 30)]
    pub(crate) prepared_bytes: u64,
    /// Acknowledged instances that are read back and compared at the end, chosen at random.
    #[arg(long, default_value_t = 100)]
    pub(crate) verify: u32,
    /// Longest wait, in seconds, for background work to end before each measurement; 0 does not wait.
    #[arg(long, default_value_t = 300)]
    pub(crate) settle: u64,
    /// Seed of identities, noise and choices. Without it every run has its own, so that a server is never sent duplicates.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// File that the JSON goes to, instead of stdout.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// All of them.
const DEFAULT_SCENARIOS: [Scenario; 17] = [
    Scenario::StoreCt,
    Scenario::StoreMixed,
    Scenario::Dense,
    Scenario::Frames,
    Scenario::FramesNative,
    Scenario::FrameOf100,
    Scenario::Instances,
    Scenario::Metadata,
    Scenario::Study,
    Scenario::SearchPrefix,
    Scenario::SearchInfix,
    Scenario::SearchId,
    Scenario::SearchDates,
    Scenario::SearchOffset,
    Scenario::ReadsUnderIngest,
    Scenario::Day,
    Scenario::Delete,
];

impl Scenario {
    /// As it is written on the command line and in the result.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl RunOptions {
    /// How scenarios are paced that have no rate of their own.
    pub(crate) fn pacing(&self, seed: u64) -> Pacing {
        self.rate.map_or(Pacing::Closed, |rate| self.open(rate, seed))
    }

    /// An open loop of this rate.
    pub(crate) fn open(&self, rate: f64, seed: u64) -> Pacing {
        Pacing::Open {
            rate,
            arrivals: self.arrivals,
            seed,
        }
    }
}

/// Which set is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// 512×512 16-bit CT.
    Ct,
    /// Everything in the corpus.
    Mixed,
    /// Objects with 100 frames.
    MultiFrame,
    /// Small instances, one a study.
    Patients,
}

/// Options of `generate`.
#[derive(Args, Debug)]
pub(crate) struct GenerateOptions {
    /// Folder to write to; it is made.
    pub(crate) out: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Kind::Ct)]
    pub(crate) kind: Kind,
    /// Instances.
    #[arg(long, default_value_t = 100)]
    pub(crate) count: u32,
    /// Instances in one series.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) series: u32,
    /// Folder with images to perturb; without it phantoms are made.
    #[arg(long)]
    pub(crate) corpus: Option<PathBuf>,
    /// Seed of identities and noise.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=1e6).contains(&rate) {
        Ok(rate)
    } else {
        Err("must be between 0.001 and 1000000".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn targets_add_up_and_later_counts_win() {
        let line = "x run --target a=http://127.0.0.1:1 --target b=http://127.0.0.1:2 --count 5 --count 6 --scenarios frames,day";
        match Arguments::parse_from(line.split(' ')).command {
            Command::Run(options) => {
                assert_eq!((options.targets.len(), options.count), (2, 6));
                assert_eq!(options.scenarios, [Scenario::Frames, Scenario::Day]);
            }
            Command::Generate(_) => unreachable!(),
        }
    }

    #[test]
    fn named_values_are_taken_apart() {
        let check = |text: &str, expected: Option<(&str, u32)>| {
            let got = text.parse::<Named<u32>>().ok();
            assert_eq!(
                got.as_ref().map(|named| (named.name.as_str(), named.value)),
                expected,
                "{text}"
            );
        };
        check("peer=7", Some(("peer", 7)));
        check("peer-2=7", Some(("peer-2", 7)));
        check("7", None);
        check("=7", None);
        check("a b=7", None);
        check("peer=x", None);
    }
}
