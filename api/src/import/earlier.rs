//! What earlier runs sent: asked for, study by study, before it is passed over.
//!
//! The state file remembers what a server took. Since then the server may have lost or deleted it, or another one may
//! answer at the same address: only what it shows today need not be sent.

use std::collections::HashMap;

use super::batch::Item;

/// Files that wait for others of their study at most.
const WAITING_MAX: usize = 5_000;

/// Files of one study to ask the server for. Each has its SOP Instance UID.
pub(super) struct Check {
    pub(super) study: String,
    pub(super) items: Vec<Item>,
}

/// Collects files by study, so that a study is asked for once.
#[derive(Default)]
pub(super) struct Earlier {
    studies: HashMap<String, Vec<Item>>,
    num_waiting: usize,
}

impl Earlier {
    /// Takes a file, and gives all that wait once they are many.
    pub(super) fn add(&mut self, study: String, item: Item) -> Vec<Check> {
        self.studies.entry(study).or_default().push(item);
        self.num_waiting += 1;
        match self.num_waiting < WAITING_MAX {
            true => Vec::new(),
            false => self.finish(),
        }
    }

    /// All that wait.
    pub(super) fn finish(&mut self) -> Vec<Check> {
        self.num_waiting = 0;
        let studies = std::mem::take(&mut self.studies);
        studies
            .into_iter()
            .map(|(study, items)| Check { study, items })
            .collect()
    }
}
