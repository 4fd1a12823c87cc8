//! Which files go in one request.
//!
//! A batch ends at its most instances or bytes. An instance whose UID is in the batch already begins a new one, and
//! one whose UID could not be seen goes alone: so that the server's answer, which names UIDs only, fits one file.

use std::collections::HashSet;

use super::walk::FoundFile;

/// One file to send.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) file: FoundFile,
    pub(super) sop_instance_uid: Option<String>,
}

/// The files of one request.
#[derive(Clone, Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
}

impl Batch {
    /// Bytes of the files.
    pub(super) fn num_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.file.length).sum()
    }

    /// Two halves, the first no smaller.
    pub(super) fn split(mut self) -> (Batch, Batch) {
        let second = self.items.split_off(self.items.len().div_ceil(2));
        (self, Batch { items: second })
    }
}

/// Collects files into batches.
pub(super) struct Planner {
    instances_max: usize,
    bytes_max: u64,
    batch: Batch,
    bytes: u64,
    uids: HashSet<String>,
}

impl Planner {
    pub(super) fn new(instances_max: usize, bytes_max: u64) -> Self {
        Self {
            instances_max,
            bytes_max,
            batch: Batch::default(),
            bytes: 0,
            uids: HashSet::new(),
        }
    }

    /// Takes a file and gives the batches that are full by it: none, one or two.
    pub(super) fn add(&mut self, item: Item) -> Vec<Batch> {
        let mut full = Vec::new();
        let alone = match &item.sop_instance_uid {
            None => true,
            Some(uid) => self.uids.contains(uid),
        };
        if alone || self.bytes.saturating_add(item.file.length) > self.bytes_max {
            full.extend(self.finish());
        }
        let unnamed = item.sop_instance_uid.is_none();
        self.uids.extend(item.sop_instance_uid.clone());
        self.bytes += item.file.length;
        self.batch.items.push(item);
        if unnamed || self.batch.items.len() >= self.instances_max || self.bytes >= self.bytes_max {
            full.extend(self.finish());
        }
        full
    }

    /// What is left, if anything.
    pub(super) fn finish(&mut self) -> Option<Batch> {
        self.bytes = 0;
        self.uids.clear();
        Some(std::mem::take(&mut self.batch)).filter(|batch| !batch.items.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as `uid:bytes`, `?` for an unseen UID; batches by the UIDs in them.
    fn check(files: &str, expected: &str) {
        let mut planner = Planner::new(3, 100);
        let mut batches = Vec::new();
        for text in files.split(' ') {
            let (uid, length) = text.split_once(':').expect("uid:bytes");
            let file = FoundFile {
                path: text.into(),
                length: length.parse().expect("number"),
                modified_ns: 0,
                member: None,
            };
            batches.extend(planner.add(Item {
                file,
                sop_instance_uid: (uid != "?").then(|| uid.into()),
            }));
        }
        batches.extend(planner.finish());
        let name = |item: &Item| item.sop_instance_uid.clone().unwrap_or("?".into());
        let lists: Vec<String> = batches
            .iter()
            .map(|b| b.items.iter().map(name).collect::<Vec<_>>().join(","))
            .collect();
        assert_eq!(lists.join(" "), expected, "{files}");
    }

    #[test]
    fn batches() {
        check("1:1 2:1 3:1 4:1", "1,2,3 4");
        check("1:60 2:30 3:20", "1,2 3");
        check("1:500 2:1", "1 2");
        check("1:1 2:500 3:1", "1 2 3");
        check("1:1 1:1 2:1", "1 1,2");
        check("1:1 ?:1 2:1", "1 ? 2");
        check("?:0", "?");
    }
}
