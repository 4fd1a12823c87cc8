//! Settings: built-in defaults < `config/default.toml` < `--config FILE` < environment `SEPTUM__SECTION__KEY`.
//!
//! Owns names, defaults and what is allowed. An unknown name is refused; all problems are reported at once. The defaults
//! are inside the binary, so that it runs anywhere; a test keeps `config/default.toml` equal to [`Config::default`].

mod check;
mod load;
pub mod mail;
mod size;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use septum_core::seal::Suite;
use serde::{Deserialize, Serialize};

pub use load::{ConfigError, Problem, load};
pub use mail::MailConfig;
pub use size::ByteSize;

use crate::http::address::Network;

/// All settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The public listener.
    pub server: ServerConfig,
    /// The listener for operators.
    pub admin: AdminConfig,
    /// Where and how things are kept.
    pub storage: StorageConfig,
    /// What one request, one instance and all together may cost (invariant 6).
    pub limits: LimitsConfig,
    /// Ingest and background work.
    pub pipeline: PipelineConfig,
    /// The viewer.
    pub viewer: ViewerConfig,
    /// Mail that goes out.
    pub mail: MailConfig,
    /// Logs.
    pub log: LogConfig,
}

/// The public listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Further names in a self-signed certificate.
    pub names: Vec<String>,
    /// Where the certificate comes from.
    pub tls: TlsMode,
    /// Holds `cert.pem` and `key.pem`.
    pub tls_dir: PathBuf,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins that browsers may read answers from.
    pub cors_origins: Vec<String>,
    /// Threads; 0 is one for each core.
    pub workers: usize,
}

/// Where the certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Made at the first start.
    SelfSigned,
    /// Given as files, read again when they change.
    Files,
    /// Plain HTTP, on loopback only.
    Off,
}

/// The listener for operators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port.
    pub listen: SocketAddr,
}

/// Where and how things are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageConfig {
    /// Patient data.
    pub phi_root: PathBuf,
    /// Pixels.
    pub pixel_root: PathBuf,
    /// Wrapped keys.
    pub key_root: PathBuf,
    /// The root key; empty is `root.key` inside `key_root`.
    pub root_key_file: PathBuf,
    /// Shards, 1 to 64.
    pub shards: u16,
    /// How frames are compressed before they are acknowledged.
    pub codec: CodecTier,
    /// Cipher of new objects.
    pub suite: Suite,
}

impl StorageConfig {
    /// The root key's file, the default filled in.
    pub fn root_key_path(&self) -> PathBuf {
        if self.root_key_file.as_os_str().is_empty() {
            self.key_root.join("root.key")
        } else {
            self.root_key_file.clone()
        }
    }
}

/// How frames are compressed before they are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodecTier {
    /// Prediction and bit packing.
    Pressure,
    /// Prediction and zstd.
    Acknowledge,
    /// HTJ2K at once.
    Dense,
}

/// What may be asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Memory for instances under way and caches.
    pub memory: ByteSize,
    /// Longest request body.
    pub body: ByteSize,
    /// Most parts in a request.
    pub parts: usize,
    /// Longest header of a part.
    pub part_header: ByteSize,
    /// Memory for metadata and bulk data until their instances are complete.
    pub held: ByteSize,
    /// Longest instance.
    pub instance: ByteSize,
    /// Longest rest of an instance without pixels.
    pub header: ByteSize,
    /// Most nested sequences.
    pub depth: u16,
    /// Most data elements.
    pub elements: u64,
    /// Most pixel fragments.
    pub fragments: u32,
    /// Most bytes out of a deflated byte.
    pub inflate_ratio: u32,
    /// Instances under way.
    pub concurrent_instances: usize,
    /// Seconds an instance waits for its turn.
    pub admission_timeout_s: u64,
    /// Requests at once.
    pub requests: usize,
    /// Connections at once.
    pub connections: usize,
    /// Most frames in a request.
    pub frames: usize,
    /// Most results of a search.
    pub search_results: usize,
    /// Seconds for a request's header.
    pub header_timeout_s: u64,
    /// Bytes a second that a body must bring.
    pub body_rate: ByteSize,
    /// Seconds before the rate is asked for.
    pub body_grace_s: u64,
}

/// Ingest and background work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// Seconds of quiet that make a study stable.
    pub stable_after_s: u64,
    /// Make the dense tier in the background.
    pub densify: bool,
    /// Threads that compress; 0 is one for each core.
    pub compute_threads: usize,
    /// Restarts within a minute before the server is unready.
    pub restarts_per_minute: usize,
}

/// The viewer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewerConfig {
    /// Its prepared folder; empty is `viewer` beside the running program, if that is there.
    pub dist_dir: PathBuf,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Text or JSON.
    pub format: LogFormat,
    /// Which events.
    pub level: String,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(LOOPBACK, 8443),
            names: Vec::new(),
            tls: TlsMode::SelfSigned,
            tls_dir: "./data/tls".into(),
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            workers: 0,
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(LOOPBACK, 8081),
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            phi_root: "./data/phi".into(),
            pixel_root: "./data/pixel".into(),
            key_root: "./data/key".into(),
            root_key_file: PathBuf::new(),
            shards: 4,
            codec: CodecTier::Acknowledge,
            suite: Suite::default(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            memory: ByteSize(512 << 20),
            body: ByteSize(64 << 30),
            parts: 10_000,
            part_header: ByteSize(16 << 10),
            held: ByteSize(128 << 20),
            instance: ByteSize(16 << 30),
            header: ByteSize(64 << 20),
            depth: 64,
            elements: 2_000_000,
            fragments: 4 << 20,
            inflate_ratio: 200,
            concurrent_instances: 64,
            admission_timeout_s: 30,
            requests: 512,
            connections: 4096,
            frames: 10_000,
            search_results: 5000,
            header_timeout_s: 5,
            body_rate: ByteSize(1 << 10),
            body_grace_s: 10,
        }
    }
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            stable_after_s: 60,
            densify: true,
            compute_threads: 0,
            restarts_per_minute: 10,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}
