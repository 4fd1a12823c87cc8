//! A worker: fetches the instances of a unit, checks and keeps them, and tries again what did not come whole.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::remote::{RemoteError, Stop, retry};

use super::dicomdir::DirectoryEntry;
use super::ledger::Record;
use super::plan::Unit;
use super::receive::{Interruption, Received, receive};
use super::report::{Lack, Reporter};
use super::shelf::Shelf;
use super::source::{Refused, Source};

/// Attempts after which an instance that comes, but not whole, or that the server fails on, is given up.
const ATTEMPTS: u32 = 3;

/// Attempts after which an instance on which the connection always breaks is suspected.
const SUSPICION_ATTEMPTS: u32 = 5;

/// What a worker needs.
pub(super) struct Worker<'a> {
    pub(super) source: &'a Source,
    pub(super) shelf: &'a Shelf,
    pub(super) reporter: &'a Reporter,
    pub(super) stop: &'a Stop,
    /// What the directory will list, if there is to be one.
    pub(super) directory: Option<&'a Mutex<Vec<DirectoryEntry>>>,
}

/// How a request ended.
enum Ending {
    /// The answer was complete.
    Complete,
    /// There was none.
    Refused(Refused),
    /// It broke off.
    Broken(String),
    /// Ctrl-C.
    Stopped,
}

impl Worker<'_> {
    /// Fetches a unit to its end, or a stop.
    ///
    /// # Errors
    /// Nothing more can be had from the server, or written to the target.
    pub(super) fn fetch(&self, unit: &Unit) -> Result<(), RemoteError> {
        let mut missing: HashMap<&str, &str> = unit
            .wanted
            .iter()
            .map(|wanted| (wanted.instance.as_str(), wanted.name.as_str()))
            .collect();
        if unit.is_series {
            self.series(unit, &mut missing)?;
        }
        for wanted in &unit.wanted {
            if missing.contains_key(wanted.instance.as_str()) && !self.stop.is_set() {
                self.instance(unit, &wanted.instance, &mut missing)?;
            }
        }
        self.shelf.sync(&unit.folder).map_err(|error| unwritable(&error))
    }

    /// All at once. What does not come is then asked for one by one.
    fn series(&self, unit: &Unit, missing: &mut HashMap<&str, &str>) -> Result<(), RemoteError> {
        let (retries, _) = self.source.patience();
        for attempt in 0.. {
            match self.request(&unit.url, unit, missing)? {
                Ending::Refused(Refused::Fatal(text)) => return Err(RemoteError::Unreachable(text)),
                Ending::Refused(Refused::Busy(text, after)) => {
                    if attempt >= retries {
                        return Err(tried(&text, attempt));
                    }
                    self.wait(attempt, after, &text);
                }
                _ => break,
            }
            if self.stop.is_set() {
                break;
            }
        }
        Ok(())
    }

    fn instance(&self, unit: &Unit, uid: &str, missing: &mut HashMap<&str, &str>) -> Result<(), RemoteError> {
        let (retries, _) = self.source.patience();
        let url = format!("{}/instances/{uid}", unit.url);
        let lacks = |lack| {
            let path = format!("studies/{}/series/{}/instances/{uid}", unit.study, unit.series);
            self.reporter.lacks(&path, lack);
            Ok(())
        };
        for attempt in 0.. {
            let ending = self.request(&url, unit, missing)?;
            if !missing.contains_key(uid) || self.stop.is_set() {
                break;
            }
            match ending {
                Ending::Stopped => break,
                Ending::Refused(Refused::Fatal(text)) => return Err(RemoteError::Unreachable(text)),
                Ending::Refused(Refused::Gone) => return lacks(Lack::Gone),
                Ending::Refused(Refused::Syntax) => return lacks(Lack::Syntax),
                Ending::Complete if attempt + 1 >= ATTEMPTS => return lacks(Lack::NotWhole),
                Ending::Complete => self.wait(attempt, None, "an instance did not come whole"),
                Ending::Refused(Refused::Status(status)) => {
                    if status < 500 || attempt + 1 >= ATTEMPTS {
                        return lacks(Lack::Status(status));
                    }
                    self.wait(attempt, None, &format!("the server failed (HTTP {status})"));
                }
                Ending::Refused(Refused::Busy(text, after)) => {
                    if attempt >= retries {
                        return Err(tried(&text, attempt));
                    }
                    self.wait(attempt, after, &text);
                }
                Ending::Broken(text) => {
                    // A server that breaks off on what it cannot give looks like one that went away: a search tells.
                    if (attempt + 1 >= SUSPICION_ATTEMPTS || attempt >= retries) && self.is_alive() {
                        return lacks(Lack::Breaks);
                    }
                    if attempt >= retries {
                        return Err(tried(&text, attempt));
                    }
                    self.wait(attempt, None, &text);
                }
            }
        }
        Ok(())
    }

    fn is_alive(&self) -> bool {
        let url = self.source.target.studies_url();
        let query = "&StudyInstanceUID=1.2.826.0.1.3680043.8.498.0";
        self.source
            .search(&url, query, "0020000D", self.stop, |_| Ok(()))
            .is_ok()
    }

    /// One request. What comes and is wanted is kept.
    fn request(&self, url: &str, unit: &Unit, missing: &mut HashMap<&str, &str>) -> Result<Ending, RemoteError> {
        if self.stop.is_set() {
            return Ok(Ending::Stopped);
        }
        let response = match self.source.retrieve(url) {
            Ok(response) => response,
            Err(refused) => return Ok(Ending::Refused(refused)),
        };
        let on_bytes = |count| self.reporter.received(count);
        let mut on_part = |received| self.part(unit, received, missing);
        match receive(response, self.shelf, self.stop, &on_bytes, &mut on_part) {
            Ok(()) => Ok(Ending::Complete),
            Err(Interruption::Broken(text)) => Ok(Ending::Broken(text)),
            Err(Interruption::Stopped) => Ok(Ending::Stopped),
            Err(Interruption::Disk(error)) => Err(unwritable(&error)),
        }
    }

    fn part(&self, unit: &Unit, received: Received, missing: &mut HashMap<&str, &str>) -> std::io::Result<()> {
        let Some(checked) = received.checked else { return Ok(()) };
        if checked.study != unit.study || checked.series != unit.series {
            return Ok(());
        }
        // What is not wanted came up since the search, or came before.
        let Some(name) = missing.remove(checked.instance.as_str()) else {
            return Ok(());
        };
        let length = checked.length;
        let record = Record {
            name: name.to_owned(),
            study: checked.study,
            series: checked.series,
            instance: checked.instance,
            patient: unit.patient.clone(),
            bytes: length,
            crc32: checked.crc32,
            offset: 0,
        };
        self.shelf.keep(received.arriving, record)?;
        if let Some(directory) = self.directory {
            let file_id = name.split('/').map(str::to_owned).collect();
            let entry = DirectoryEntry {
                file_id,
                listed: checked.listed,
            };
            directory.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        }
        self.reporter.kept(length);
        Ok(())
    }

    fn wait(&self, attempt: u32, asked: Option<Duration>, why: &str) {
        let (_, first_wait) = self.source.patience();
        let wait = retry::wait(attempt, first_wait, asked);
        // The first tries are nothing to speak of.
        if attempt >= 2 || wait > Duration::from_secs(5) {
            self.reporter
                .note(&format!("{why}; trying again in {:.0} s", wait.as_secs_f32()));
        }
        self.stop.sleep(wait);
    }
}

fn tried(text: &str, attempt: u32) -> RemoteError {
    RemoteError::Unreachable(format!("{text}, tried {} times", attempt + 1))
}

fn unwritable(error: &std::io::Error) -> RemoteError {
    RemoteError::Unreachable(format!("cannot write to the target: {error}"))
}
