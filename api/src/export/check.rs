//! Whether what arrived is what was asked for: a whole DICOM object that can be read, with the right UIDs.
//!
//! The object is split while it arrives, by the same code with which a Septum takes instances in, so its size does not
//! matter; its header stays in memory until the end.

use bytes::Bytes;
use septum_core::dicom::{SplitEvent, SplitLimits, Splitter};

use super::dicomdir::{self, Listed};

/// Reads one object.
pub(super) struct Checker {
    splitter: Splitter,
    events: Vec<SplitEvent>,
    hasher: crc32fast::Hasher,
    length: u64,
    is_broken: bool,
}

/// An object that arrived whole.
pub(super) struct Checked {
    pub(super) study: String,
    pub(super) series: String,
    pub(super) instance: String,
    /// Bytes.
    pub(super) length: u64,
    pub(super) crc32: u32,
    /// What the directory says of it.
    pub(super) listed: Listed,
}

impl Checker {
    pub(super) fn new() -> Self {
        let limits = SplitLimits {
            // The server has stored it: its size is no surprise, and it goes to the disk.
            instance_bytes_max: 1 << 50,
            ..SplitLimits::default()
        };
        Self {
            splitter: Splitter::new(limits),
            events: Vec::new(),
            hasher: crc32fast::Hasher::new(),
            length: 0,
            is_broken: false,
        }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.hasher.update(&bytes);
        self.length += bytes.len() as u64;
        if !self.is_broken {
            self.is_broken = self.splitter.push(bytes, &mut self.events).is_err();
        }
        self.events.clear();
    }

    /// The end. `None`: it is not whole, or cannot be read.
    pub(super) fn finish(mut self) -> Option<Checked> {
        let instance = self
            .splitter
            .finish(&mut self.events)
            .ok()
            .filter(|_| !self.is_broken)?;
        let identity = &instance.start.identity;
        Some(Checked {
            study: identity.study.as_str().to_owned(),
            series: identity.series.as_str().to_owned(),
            instance: identity.instance.as_str().to_owned(),
            length: self.length,
            crc32: self.hasher.finalize(),
            listed: dicomdir::listed(
                instance.header.elements_before(),
                instance.start.encoding.into(),
                instance.start.transfer_syntax.uid(),
            ),
        })
    }
}
