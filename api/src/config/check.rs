//! What single settings cannot say: ranges, and settings that must fit each other.

use std::path::{Path, PathBuf};

use septum_core::dicom::SplitLimits;

use super::{Config, Problem, TlsMode};

/// Most shards that a store can have.
const SHARDS_MAX: u16 = 64;
/// What the server needs to take one instance with a header of the default limit.
const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// What store requests of metadata and bulk data need to take anything.
const HELD_BYTES_MIN: u64 = 1 << 20;
/// More than any machine has; what is counted fits its counter.
const HELD_BYTES_MAX: u64 = 1 << 40;

/// Everything that is wrong with settings that are each well formed.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut refuse = |setting: &str, message: &str| {
        found.push(Problem {
            setting: setting.to_owned(),
            message: message.to_owned(),
            origin: None,
        });
    };
    let Config {
        server,
        admin,
        storage,
        limits,
        log,
        ..
    } = config;
    if server.tls == TlsMode::Off && !server.listen.ip().is_loopback() {
        refuse(
            "server.tls",
            "can be off on a loopback address only: passwords and images would cross the network",
        );
    }
    if server.listen == admin.listen && server.listen.port() != 0 {
        refuse("admin.listen", "must differ from server.listen");
    }
    for origin in &server.cors_origins {
        if !is_origin(origin) {
            refuse(
                "server.cors_origins",
                "each must be scheme://host or scheme://host:port, without a path or wildcard",
            );
        }
    }
    if storage.shards == 0 || storage.shards > SHARDS_MAX {
        refuse("storage.shards", "must be 1 to 64");
    }
    if !storage.suite.is_available() {
        refuse("storage.suite", "is not in this build");
    }
    let roots = [
        ("storage.phi_root", &storage.phi_root),
        ("storage.pixel_root", &storage.pixel_root),
        ("storage.key_root", &storage.key_root),
    ];
    for (index, (setting, root)) in roots.iter().enumerate() {
        if root.as_os_str().is_empty() {
            refuse(setting, "must not be empty");
        }
        for (other_setting, other) in &roots[..index] {
            let (one, other) = (plain(root), plain(other));
            if one.starts_with(&other) || other.starts_with(&one) {
                refuse(
                    setting,
                    &format!("must neither be, hold nor lie inside {other_setting}"),
                );
            }
        }
    }
    for (setting, value) in [
        ("limits.parts", limits.parts),
        ("limits.concurrent_instances", limits.concurrent_instances),
        ("limits.requests", limits.requests),
        ("limits.connections", limits.connections),
        ("limits.frames", limits.frames),
        ("limits.search_results", limits.search_results),
        ("limits.depth", usize::from(limits.depth)),
        (
            "limits.header_timeout_s",
            usize::try_from(limits.header_timeout_s).unwrap_or(1),
        ),
        ("limits.body_grace_s", usize::try_from(limits.body_grace_s).unwrap_or(1)),
    ] {
        if value == 0 {
            refuse(setting, "must be at least 1");
        }
    }
    if limits.memory.0 < MEMORY_BYTES_MIN {
        refuse("limits.memory", "must be at least 64MiB");
    }
    if limits.held.0 < HELD_BYTES_MIN || limits.held.0 > HELD_BYTES_MAX {
        refuse("limits.held", "must be 1MiB to 1TiB");
    }
    if limits.header.0 > limits.memory.0 / 4 {
        refuse("limits.header", "must be at most a quarter of limits.memory");
    }
    if limits.depth > SplitLimits::default().depth_max * 4 {
        refuse("limits.depth", "must be at most 256");
    }
    for (setting, message) in config.mail.problems() {
        refuse(setting, message);
    }
    if tracing_subscriber::EnvFilter::try_new(&log.level).is_err() {
        refuse("log.level", "is no level and no list of target=level");
    }
    found
}

/// An absolute path without `.` and `..`, so that two spellings of a folder compare equal.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in std::path::absolute(path)
        .unwrap_or_else(|_| path.to_owned())
        .components()
    {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// An origin as browsers send it (RFC 6454 section 6.2).
pub(super) fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, host)| {
        matches!(scheme, "http" | "https")
            && !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config), expected: &[&str]) {
        let mut config = Config::default();
        change(&mut config);
        let settings: Vec<_> = problems(&config).into_iter().map(|problem| problem.setting).collect();
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check(|_| {}, &[]);
        check(|config| config.server.tls = TlsMode::Off, &[]);
        check(
            |config| {
                config.server.tls = TlsMode::Off;
                config.server.listen = ([0, 0, 0, 0], 8443).into();
            },
            &["server.tls"],
        );
        check(
            |config| config.storage.pixel_root = "data/../data/phi".into(),
            &["storage.pixel_root"],
        );
        check(
            |config| config.storage.key_root = "./data/pixel/keys".into(),
            &["storage.key_root"],
        );
        check(
            |config| config.server.cors_origins = vec!["*".into()],
            &["server.cors_origins"],
        );
        check(
            |config| config.server.cors_origins = vec!["https://a.example/path".into()],
            &["server.cors_origins"],
        );
        check(|config| config.storage.shards = 65, &["storage.shards"]);
        check(|config| config.log.level = "loud=very=much".into(), &["log.level"]);
        check(|config| config.limits.memory.0 = 1, &["limits.memory", "limits.header"]);
    }
}
