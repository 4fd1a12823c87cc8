//! A server that is measured, and what it has acknowledged.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::arguments::{Named, RunOptions};
use crate::corpus::set::Set;
use crate::http::{Endpoint, HttpError};
use crate::request::Kind;

/// Why a target cannot be used.
#[derive(Debug, Error)]
pub(crate) enum TargetError {
    /// Its address, certificate or connection.
    #[error("target {0}: {1}")]
    Http(String, HttpError),
    /// It is elsewhere and nobody said that this is meant.
    #[error("target {0} is not on this machine: say --remote if it is yours to load")]
    Remote(String),
    /// An option names a target that there is none of, or a target comes twice.
    #[error("--{0} {1}=…: there must be exactly one target of that name")]
    Name(&'static str, String),
}

/// Accept headers by which a target gives frames and studies in the codec it stores them in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accepts {
    frame: Option<String>,
    study: Option<String>,
}

impl Accepts {
    /// The header for a kind of request.
    pub(crate) fn of(&self, kind: Kind) -> &str {
        let own = match kind {
            Kind::Frame => self.frame.as_deref(),
            Kind::Study => self.study.as_deref(),
            _ => None,
        };
        own.unwrap_or(kind.accept())
    }
}

/// A server.
pub(crate) struct Target {
    /// Its name in the result.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// How it is asked for what it stores.
    pub(crate) accepts: Accepts,
    /// Its process, when it is on this machine and known.
    pub(crate) pid: Option<u32>,
    /// Its folders, when known.
    pub(crate) folders: Vec<PathBuf>,
    /// Bytes in its folders before the first request.
    pub(crate) disk_bytes_before: u64,
    /// What it has acknowledged.
    pub(crate) ledger: Ledger,
}

/// What was acknowledged, and what was deleted since.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    stored: Vec<(Arc<Set>, Vec<usize>)>,
    deleted: Vec<(Arc<Set>, Range<usize>)>,
}

impl Ledger {
    /// These instances of a set were acknowledged.
    pub(crate) fn add(&mut self, set: &Arc<Set>, numbers: Vec<usize>) {
        self.stored.push((Arc::clone(set), numbers));
    }

    /// The deletion of these instances of a set was acknowledged.
    pub(crate) fn remove(&mut self, set: &Arc<Set>, numbers: Range<usize>) {
        self.deleted.push((Arc::clone(set), numbers));
    }

    /// Everything that must be there, as (set, number).
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Arc<Set>, usize)> {
        let each = |(set, numbers): &'_ (Arc<Set>, Vec<usize>)| {
            let gone: Vec<Range<usize>> = self
                .deleted
                .iter()
                .filter(|(other, _)| Arc::ptr_eq(set, other))
                .map(|(_, gone)| gone.clone())
                .collect();
            let live = numbers
                .iter()
                .copied()
                .filter(|number| gone.iter().all(|range| !range.contains(number)));
            live.collect::<Vec<_>>()
        };
        self.stored
            .iter()
            .flat_map(move |stored| each(stored).into_iter().map(move |number| (&stored.0, number)))
    }

    /// Everything that must be gone, as (set, number).
    pub(crate) fn deleted(&self) -> impl Iterator<Item = (&Arc<Set>, usize)> {
        self.deleted
            .iter()
            .flat_map(|(set, numbers)| numbers.clone().map(move |number| (set, number)))
    }

    /// Bytes of everything that must be there, as it was sent.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live().map(|(set, number)| set.source(number).len() as u64).sum()
    }
}

/// The value for the target `name`, if any.
fn of<'a, T>(named: &'a [Named<T>], name: &'a str) -> impl Iterator<Item = &'a T> {
    named
        .iter()
        .filter(move |named| named.name == name)
        .map(|named| &named.value)
}

/// All targets of the command line, in its order.
pub(crate) fn targets(options: &RunOptions) -> Result<Vec<Target>, TargetError> {
    let known = |name: &str| options.targets.iter().filter(|target| target.name == name).count() == 1;
    let users = options.users.iter().map(|named| ("user", &named.name));
    let certificates = options.certificates.iter().map(|named| ("certificate", &named.name));
    let pids = options.pids.iter().map(|named| ("pid", &named.name));
    let folders = options.folders.iter().map(|named| ("folder", &named.name));
    let caches = options.cache_bytes.iter().map(|named| ("cache-bytes", &named.name));
    let accepts = options.frame_accepts.iter().map(|named| ("frame-accept", &named.name));
    let accepts = accepts.chain(options.study_accepts.iter().map(|named| ("study-accept", &named.name)));
    let targets = options.targets.iter().map(|named| ("target", &named.name));
    if let Some((option, name)) = users
        .chain(certificates)
        .chain(pids)
        .chain(folders)
        .chain(caches)
        .chain(accepts)
        .chain(targets)
        .find(|(_, name)| !known(name))
    {
        return Err(TargetError::Name(option, name.clone()));
    }
    options
        .targets
        .iter()
        .map(|Named { name, value: address }| {
            if !options.remote && !address.is_loopback() {
                return Err(TargetError::Remote(name.clone()));
            }
            let password = password(name);
            let user = of(&options.users, name)
                .next()
                .map(|user| (user.as_str(), password.as_str()));
            let certificate = of(&options.certificates, name).next().map(PathBuf::as_path);
            let endpoint = Endpoint::new(address.clone(), user, certificate)
                .map_err(|problem| TargetError::Http(name.clone(), problem))?;
            let folders: Vec<PathBuf> = of(&options.folders, name).cloned().collect();
            Ok(Target {
                name: name.clone(),
                endpoint,
                accepts: Accepts {
                    frame: of(&options.frame_accepts, name).next().cloned(),
                    study: of(&options.study_accepts, name).next().cloned(),
                },
                pid: of(&options.pids, name).next().copied(),
                disk_bytes_before: crate::folder::disk_bytes(&folders),
                folders,
                ledger: Ledger::default(),
            })
        })
        .collect()
}

fn password(name: &str) -> String {
    let variable = format!("LOADTEST_PASSWORD_{}", name.to_ascii_uppercase().replace('-', "_"));
    let found = std::env::var(variable).or_else(|_| std::env::var("LOADTEST_PASSWORD"));
    found.unwrap_or_default()
}
