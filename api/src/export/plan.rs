//! Which instances are wanted, found by searching level by level, and in which requests they are fetched.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::SyncSender;

use crate::remote::{RemoteError, Stop};

use super::arguments::is_uid;
use super::ledger::Record;
use super::naming::Namer;
use super::report::{Lack, Reporter};
use super::selection::Selection;
use super::source::{Found, RETRIEVE_URL, Source, number, text};

/// Most instances of a unit: what a worker does at a time.
const UNIT_INSTANCES: usize = 200;

/// An instance to fetch.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) instance: String,
    /// Its place on the medium.
    pub(super) name: String,
}

/// Instances of one series, fetched by one worker.
pub(super) struct Unit {
    pub(super) study: String,
    pub(super) series: String,
    /// The series' URL.
    pub(super) url: String,
    /// What stands for the patient, in hexadecimal digits.
    pub(super) patient: String,
    /// The series' folder on the medium.
    pub(super) folder: String,
    pub(super) wanted: Vec<Wanted>,
    /// These are all instances of the series: one request may fetch them.
    pub(super) is_series: bool,
}

/// Finds out what is wanted.
pub(super) struct Planner<'a> {
    source: &'a Source,
    selection: &'a Selection,
    reporter: &'a Reporter,
    stop: &'a Stop,
    sender: SyncSender<Unit>,
    namer: Namer,
    /// Studies that were found.
    studies: HashSet<String>,
    /// Instances that are there, by a hash of their UIDs.
    there: HashSet<[u8; 16]>,
    /// Names of instances that were there.
    lost: HashMap<[u8; 16], String>,
}

impl<'a> Planner<'a> {
    /// A planner that wants nothing of what `records` has, and gives what `lost` has the names that stand there.
    pub(super) fn new(
        source: &'a Source,
        selection: &'a Selection,
        reporter: &'a Reporter,
        stop: &'a Stop,
        sender: SyncSender<Unit>,
        records: &[Record],
        lost: &[Record],
    ) -> Self {
        let mut namer = Namer::default();
        let mut learn = |record: &Record| {
            let patient = u128::from_str_radix(&record.patient, 16)
                .unwrap_or_default()
                .to_be_bytes();
            let is_known = namer.learn(patient, &record.study, &record.series, &record.name);
            is_known.then(|| key(&record.study, &record.series, &record.instance))
        };
        let there: HashSet<_> = records.iter().filter_map(&mut learn).collect();
        let lost = lost
            .iter()
            .filter_map(|record| Some((learn(record)?, record.name.clone())))
            .collect();
        Self {
            source,
            selection,
            reporter,
            stop,
            sender,
            namer,
            studies: HashSet::new(),
            there,
            lost,
        }
    }

    /// Searches and sends units until all is planned, or a stop.
    ///
    /// # Errors
    /// The server cannot be searched.
    pub(super) fn run(mut self) -> Result<(), RemoteError> {
        let (source, selection) = (self.source, self.selection);
        let url = source.target.studies_url();
        if selection.studies.is_empty() {
            source.search(&url, &selection.study_query, "0020000D", self.stop, |study| {
                self.study(&study)
            })?;
        }
        for uid in &selection.studies {
            let query = format!("&StudyInstanceUID={uid}{}", selection.study_query);
            let mut is_there = false;
            source.search(&url, &query, "0020000D", self.stop, |study| {
                is_there = true;
                self.study(&study)
            })?;
            if !is_there && !self.stop.is_set() {
                self.reporter.lacks(&format!("studies/{uid}"), Lack::Gone);
            }
        }
        self.reporter.planned();
        Ok(())
    }

    fn study(&mut self, study: &Found) -> Result<(), RemoteError> {
        let Some(uid) = text(study, "0020000D").filter(|uid| is_uid(uid)) else {
            self.reporter.lacks("studies", Lack::NoUid);
            return Ok(());
        };
        let uid = uid.to_owned();
        if !self.studies.insert(uid.clone()) {
            self.reporter.lacks(&format!("studies/{uid}"), Lack::Ambiguous);
            return Ok(());
        }
        let url = self.url(study, &format!("{}/{uid}", self.source.target.studies_url()), &uid);
        let patient = Namer::patient_key(
            text(study, "00100020").unwrap_or_default(),
            text(study, "00100021").unwrap_or_default(),
        );
        // All series first: a search must not stay open while workers take their time.
        let mut list = Vec::new();
        let query = &self.selection.series_query;
        self.source
            .search(&format!("{url}/series"), query, "0020000E", self.stop, |series| {
                match text(&series, "0020000E").filter(|uid| is_uid(uid)) {
                    Some(uid) => list.push(uid.to_owned()),
                    None => self.reporter.lacks(&format!("studies/{uid}/series"), Lack::NoUid),
                }
                Ok(())
            })?;
        for series in list {
            self.series(&uid, &series, format!("{url}/series/{series}"), patient)?;
        }
        Ok(())
    }

    /// Where the server says a study is, when that is on the same server: an archive of several namespaces says which.
    fn url(&self, found: &Found, default: &str, uid: &str) -> String {
        let below = format!("{}/", self.source.target.server);
        text(found, RETRIEVE_URL)
            .filter(|url| {
                url.starts_with(&below) && url.ends_with(&format!("/studies/{uid}")) && !url.contains(['?', '#', ' '])
            })
            .unwrap_or(default)
            .to_owned()
    }

    fn series(&mut self, study: &str, series: &str, url: String, patient: [u8; 16]) -> Result<(), RemoteError> {
        let mut list = Vec::new();
        let query = &self.selection.instance_query;
        self.source
            .search(&format!("{url}/instances"), query, "00080018", self.stop, |found| {
                match text(&found, "00080018").filter(|uid| is_uid(uid)) {
                    Some(uid) => list.push((number(&found, "00200013").unwrap_or(i64::MAX), uid.to_owned())),
                    None => {
                        self.reporter
                            .lacks(&format!("studies/{study}/series/{series}/instances"), Lack::NoUid);
                    }
                }
                Ok(())
            })?;
        list.sort();
        let num_all = list.len();
        list.retain(|(_, uid)| !self.there.contains(&key(study, series, uid)));
        self.reporter.expect(num_all as u64);
        self.reporter.already_there((num_all - list.len()) as u64);
        if list.is_empty() || self.stop.is_set() {
            return Ok(());
        }
        let used_up = || RemoteError::Usage("there are more instances than names for them on one medium".into());
        let folder = self.namer.series(patient, study, series).ok_or_else(used_up)?;
        let is_series = list.len() == num_all && num_all <= UNIT_INSTANCES && self.selection.instance_query.is_empty();
        for chunk in list.chunks(UNIT_INSTANCES) {
            let mut wanted = Vec::with_capacity(chunk.len());
            for (_, uid) in chunk {
                let name = match self.lost.remove(&key(study, series, uid)) {
                    Some(name) => name,
                    None => self.namer.instance(&folder).ok_or_else(used_up)?,
                };
                wanted.push(Wanted {
                    instance: uid.clone(),
                    name,
                });
            }
            let unit = Unit {
                study: study.to_owned(),
                series: series.to_owned(),
                url: url.clone(),
                patient: format!("{:032x}", u128::from_be_bytes(patient)),
                folder: folder.clone(),
                wanted,
                is_series,
            };
            // The workers are gone only when there is no going on.
            if self.sender.send(unit).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn key(study: &str, series: &str, instance: &str) -> [u8; 16] {
    let hash = blake3::hash(format!("{study}/{series}/{instance}").as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hash.as_bytes()[..16]);
    key
}
