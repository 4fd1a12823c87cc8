//! From files and environment to a [`Config`], with every problem named.

use std::fmt;
use std::path::Path;

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};

use super::{Config, check};

/// `config/default.toml`, as shipped.
pub(super) const DEFAULT_TOML: &str = include_str!("../../../config/default.toml");

/// Environment variables start with this; sections and keys are parted by two underscores.
const ENV_PREFIX: &str = "SEPTUM__";

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as `section.key`; empty when it is about a file as a whole.
    pub setting: String,
    /// What is wrong with it.
    pub message: String,
    /// Where it was said, where that is known.
    pub origin: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.setting.is_empty() {
            write!(f, "{}: ", self.setting)?;
        }
        f.write_str(&self.message)?;
        self.origin
            .as_ref()
            .map_or(Ok(()), |origin| write!(f, " (from {origin})"))
    }
}

/// The settings cannot be used; all reasons.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

/// Reads the settings.
///
/// # Errors
/// [`ConfigError`] with every unknown name, every unreadable value and every combination that makes no sense.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    load_from(file, &environment)
}

/// [`load`] with the environment given.
pub(super) fn load_from(file: Option<&Path>, environment: &[(String, String)]) -> Result<Config, ConfigError> {
    let problem = |message: String, origin: Option<String>| Problem {
        setting: String::new(),
        message,
        origin,
    };
    let mut layers = vec![(None, Figment::from(Toml::string(DEFAULT_TOML)))];
    if let Some(path) = file {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(vec![problem(error.to_string(), Some(origin.clone()))]))?;
        layers.push((Some(origin), Figment::from(Toml::string(&text))));
    }
    for (name, value) in environment {
        // Not `Env::prefixed`: it reads the process's environment, which tests cannot set safely.
        let Some(key) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let key = key.to_lowercase().replace("__", ".");
        let parsed: Value = value.parse().unwrap_or_else(|_| Value::from(value.as_str()));
        let parsed = literal_where_text(&key, parsed, value);
        layers.push((
            Some(format!("environment variable {name}")),
            Figment::from(Serialized::global(&key, parsed)),
        ));
    }
    let mut problems = Vec::new();
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    let mut merged = defaults.clone();
    for (origin, layer) in layers {
        let dict: Dict = match layer.extract() {
            Ok(dict) => dict,
            Err(error) => {
                problems.push(problem(error.kind.to_string(), origin));
                continue;
            }
        };
        let mut leaves = Vec::new();
        leaves_of(String::new(), Value::from(dict), 0, &mut leaves);
        for (key, value) in leaves {
            // One setting at a time, so that each wrong one is found.
            let one = Figment::from(Serialized::global(&key, value));
            match defaults.clone().merge(one.clone()).extract::<Config>() {
                Ok(_) => merged = merged.merge(one),
                Err(error) => problems.extend(error.into_iter().map(|error| Problem {
                    setting: key.clone(),
                    message: error.kind.to_string(),
                    origin: origin.clone(),
                })),
            }
        }
    }
    match merged.extract::<Config>() {
        Ok(config) => {
            problems.extend(check::problems(&config));
            if problems.is_empty() {
                Ok(config)
            } else {
                Err(ConfigError(problems))
            }
        }
        Err(error) => {
            problems.extend(error.into_iter().map(|error| problem(error.kind.to_string(), None)));
            Err(ConfigError(problems))
        }
    }
}

/// A variable whose text merely looks like a number or truth value stays text where the setting is text.
fn literal_where_text(key: &str, parsed: Value, text: &str) -> Value {
    let default = Figment::from(Serialized::defaults(Config::default())).find_value(key);
    match (default, &parsed) {
        (Ok(Value::String(..)), Value::Num(..) | Value::Bool(..) | Value::Empty(..) | Value::Char(..)) => {
            Value::from(text)
        }
        _ => parsed,
    }
}

/// The settings in a tree of sections; what nests deeper than any setting is one leaf, refused as unknown.
fn leaves_of(path: String, value: Value, depth: usize, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Dict(_, dict) if depth < 4 => {
            for (key, value) in dict {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                leaves_of(path, value, depth + 1, leaves);
            }
        }
        value => leaves.push((path, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ByteSize, TlsMode};

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_shipped_file_says_the_defaults() {
        let shipped: Config = Figment::from(Toml::string(DEFAULT_TOML))
            .extract()
            .expect("complete and known");
        assert_eq!(shipped, Config::default());
        assert_eq!(load_from(None, &[]).expect("loads"), Config::default());
    }

    #[test]
    fn files_win_over_defaults_and_the_environment_over_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("septum.toml");
        std::fs::write(
            &path,
            "[server]\nlisten = '127.0.0.1:1'\ntls = 'off'\n[limits]\nmemory = '1GiB'\n",
        )
        .expect("writes");
        let variables = environment(&[
            ("SEPTUM__SERVER__LISTEN", "127.0.0.1:2"),
            ("SEPTUM__STORAGE__PHI_ROOT", "123"),
            ("SEPTUM__SERVER__CORS_ORIGINS", "[\"https://a.example\"]"),
            ("SEPTUM_ADMIN_PASSWORD", "not a setting"),
        ]);
        let config = load_from(Some(&path), &variables).expect("loads");
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!(config.server.tls, TlsMode::Off);
        assert_eq!(config.limits.memory, ByteSize(1 << 30));
        assert_eq!(config.storage.phi_root.to_str(), Some("123"));
        assert_eq!(config.server.cors_origins, ["https://a.example"]);
    }

    #[test]
    fn every_problem_is_named() {
        let variables = environment(&[
            ("SEPTUM__SERVER__LISTEN", "nowhere"),
            ("SEPTUM__SERVER__LISTNE", "127.0.0.1:2"),
            ("SEPTUM__LIMITS__MEMORY", "lots"),
            ("SEPTUM__NOTHING", "1"),
            ("SEPTUM__STORAGE__SHARDS", "0"),
        ]);
        let ConfigError(problems) = load_from(None, &variables).expect_err("five problems");
        let mut settings: Vec<_> = problems.iter().map(|problem| problem.setting.as_str()).collect();
        settings.sort_unstable();
        assert_eq!(
            settings,
            [
                "limits.memory",
                "nothing",
                "server.listen",
                "server.listne",
                "storage.shards"
            ]
        );
        assert!(load_from(Some(Path::new("/nonexistent.toml")), &[]).is_err());
    }
}
