//! Walks, looks into each file, and batches: what is sent, and in which order.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use crate::remote::Stop;

use super::arguments::ImportArguments;
use super::batch::{Item, Planner};
use super::container::{self, Container, Kind, Listed};
use super::earlier::{Check, Earlier};
use super::inspect::{Inspection, inspect};
use super::media::{self, Finder, folded};
use super::report::{Reporter, Skip};
use super::state::State;
use super::walk::{FoundFile, Walk};
use super::worker::Job;

/// The planner's thread.
pub(super) struct Plan<'a> {
    state: &'a State,
    reporter: &'a Reporter,
    stop: &'a Stop,
    sender: SyncSender<Job>,
    planner: Planner,
    earlier: Earlier,
    /// What earlier runs sent is passed over without asking for it.
    trusts_state: bool,
    finder: Finder,
    /// The workers are gone.
    is_over: bool,
}

/// What is known of a container's members while they are listed.
#[derive(Default)]
struct Inside {
    /// Their paths as media write names.
    names: HashSet<String>,
    directories: Vec<FoundFile>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        arguments: &ImportArguments,
        state: &'a State,
        reporter: &'a Reporter,
        stop: &'a Stop,
        sender: SyncSender<Job>,
    ) -> Self {
        Self {
            state,
            reporter,
            stop,
            sender,
            planner: Planner::new(arguments.batch, arguments.batch_mib << 20),
            earlier: Earlier::default(),
            trusts_state: arguments.trust_state || arguments.dry_run,
            finder: Finder::default(),
            is_over: false,
        }
    }

    /// Sends batches until all files below the roots are seen, or a stop.
    pub(super) fn run(mut self, roots: &[PathBuf]) {
        let reporter = self.reporter;
        for file in Walk::new(roots, |path| reporter.unreadable(path)) {
            if self.stop.is_set() || self.is_over {
                break;
            }
            self.file(file, None);
        }
        if let Some(batch) = self.planner.finish() {
            let _ = self.sender.send(Job::Send(batch));
        }
        let left = self.earlier.finish();
        self.check(left);
    }

    fn check(&mut self, checks: Vec<Check>) {
        for check in checks {
            self.is_over |= self.sender.send(Job::Check(check)).is_err();
        }
    }

    /// A file, or a member of the container that `inside` is about.
    fn file(&mut self, file: FoundFile, inside: Option<&mut Inside>) {
        let was_sent = self.state.holds(&file);
        if was_sent && self.trusts_state {
            self.reporter.sent_before(file.length);
            return;
        }
        let inspection = match container::open(&file) {
            Ok(mut reader) => inspect(&mut reader).ok(),
            Err(_) => None,
        };
        match (inspection, inside) {
            (
                Some(Inspection::Dicom {
                    sop_instance_uid,
                    study_instance_uid,
                }),
                _,
            ) => {
                let item = Item { file, sop_instance_uid };
                match study_instance_uid.filter(|_| was_sent && item.sop_instance_uid.is_some()) {
                    Some(study) => {
                        let full = self.earlier.add(study, item);
                        self.check(full);
                    }
                    // Sent before, but nothing to ask for it by: sending again is safe.
                    None => {
                        for batch in self.planner.add(item) {
                            self.is_over |= self.sender.send(Job::Send(batch)).is_err();
                        }
                    }
                }
            }
            (Some(Inspection::Directory), inside) => {
                self.reporter.skipped(Skip::Directory, file.length);
                match inside {
                    None => self.directory(&file),
                    // What it lists may come later.
                    Some(inside) => inside.directories.push(file),
                }
            }
            (Some(Inspection::Container(kind)), None) => self.container(&file, kind),
            (Some(Inspection::Container(_)), Some(_)) if container::is_program_file(&file.path) => {
                self.reporter.skipped(Skip::NotDicom, file.length);
            }
            // An empty ZIP file leaves nothing behind.
            (Some(Inspection::Container(_)), Some(_)) if file.length < container::MEMBER_BYTES_MIN => {
                self.reporter.skipped(Skip::Nested, file.length);
            }
            (Some(Inspection::Container(_)), Some(_)) => self.reporter.nested(&file.path, file.length),
            (Some(Inspection::Udf), _) => {
                self.reporter.advance(file.length);
                self.reporter.unreadable_because(
                    &file.path,
                    "a disc image with UDF alone: mount it, and import its folder",
                );
            }
            (Some(Inspection::NotDicom), _) => self.reporter.skipped(Skip::NotDicom, file.length),
            (None, _) => {
                self.reporter.advance(file.length);
                self.reporter.unreadable(&file.path);
            }
        }
    }

    fn container(&mut self, file: &FoundFile, kind: Kind) {
        // Its members count in its place, so it is done itself.
        self.reporter.advance(file.length);
        let Ok(container) = Container::open(file) else {
            return self.reporter.unreadable(&file.path);
        };
        let mut inside = Inside::default();
        container.list(kind, &mut |listed| {
            match listed {
                Listed::Unreadable(path, why) => self.reporter.unreadable_because(&path, why),
                Listed::File(member) => {
                    inside.names.insert(folded_path(&member.path));
                    self.reporter.expect_bytes(member.length);
                    self.file(member, Some(&mut inside));
                }
            }
            !self.stop.is_set() && !self.is_over
        });
        if self.stop.is_set() || self.is_over {
            return;
        }
        for directory in &inside.directories {
            for (path, _) in self.listed(directory) {
                if !inside.names.contains(&folded_path(&path)) {
                    self.reporter.missing(&path);
                }
            }
        }
    }

    /// Tells what a DICOMDIR lists and is not there.
    fn directory(&mut self, directory: &FoundFile) {
        let Some(folder) = directory.path.parent() else { return };
        for (path, parts) in self.listed(directory) {
            if self.finder.find(folder, &parts).is_none() {
                self.reporter.missing(&path);
            }
        }
    }

    /// What a DICOMDIR lists: each path, and the components of its File ID.
    fn listed(&self, directory: &FoundFile) -> Vec<(PathBuf, Vec<String>)> {
        let listed = container::open(directory)
            .ok()
            .and_then(|mut reader| media::listed(&mut reader));
        let (Some(listed), Some(folder)) = (listed, directory.path.parent()) else {
            self.reporter.unreadable_because(&directory.path, "a damaged DICOMDIR");
            return Vec::new();
        };
        if listed.num_refused > 0 {
            self.reporter
                .unreadable_because(&directory.path, "a DICOMDIR with names that are none on a medium");
        }
        let path = |parts: &[String]| parts.iter().fold(folder.to_path_buf(), |path, part| path.join(part));
        listed.files.into_iter().map(|parts| (path(&parts), parts)).collect()
    }
}

/// A path as media write it, whatever the system's separator.
fn folded_path(path: &Path) -> String {
    path.to_string_lossy()
        .split(['/', '\\'])
        .map(folded)
        .collect::<Vec<_>>()
        .join("/")
}
