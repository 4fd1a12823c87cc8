//! What an export has brought home: so that it goes on where it was.
//!
//! Format: JSON lines. The first names where the instances come from; then one line an instance, and now and then how
//! far a ZIP file is known to be on the disk:
//!
//! ```text
//! {"septum_export":1,"source":"https://host/dicomweb/studies","syntax":"*"}
//! {"name":"DICOM/P0000001/…","study":"1.2","series":"1.3","instance":"1.4","patient":"<32 hex>","bytes":9,"crc32":7,"offset":0}
//! {"synced_bytes":12345}
//! {"cut_bytes":12000}
//! ```
//!
//! The last says that a ZIP file was cut back to that length: what was noted of later bytes counts no more.
//!
//! The ledger lies beside the images and is as confidential as they are. Lines that cannot be read, such as one cut off
//! by a crash, are passed over: the instance is then fetched again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Version of the format.
const VERSION: u32 = 1;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// An instance that is there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its place on the medium.
    pub(super) name: String,
    /// Study Instance UID.
    pub(super) study: String,
    /// Series Instance UID.
    pub(super) series: String,
    /// SOP Instance UID.
    pub(super) instance: String,
    /// What stands for the patient, in hexadecimal digits.
    pub(super) patient: String,
    /// Length of the file.
    pub(super) bytes: u64,
    /// CRC-32 of the file.
    pub(super) crc32: u32,
    /// Where its local header starts, in a ZIP file; else 0.
    #[serde(default)]
    pub(super) offset: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Start {
        septum_export: u32,
        source: String,
        syntax: String,
    },
    Synced {
        synced_bytes: u64,
    },
    Cut {
        cut_bytes: u64,
    },
    Kept(Record),
}

/// The ledger, open and locked.
pub(super) struct Ledger {
    file: File,
}

/// What stood in it.
#[derive(Default)]
pub(super) struct Contents {
    /// Instances in the order of their lines.
    pub(super) records: Vec<Record>,
    /// How many bytes of the ZIP file were on the disk for certain.
    pub(super) synced_bytes: u64,
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerError {
    /// Another process has it.
    #[error("another export is at work there")]
    Locked,
    /// It belongs to an export of something else.
    #[error("there is an export from another server, or in another transfer syntax")]
    Other,
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Ledger {
    /// Opens the ledger of an export of `source` in `syntax`, or begins it.
    pub(super) fn open(path: &Path, source: &str, syntax: &str) -> Result<(Self, Contents), LedgerError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LedgerError::Locked),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut ledger = Self { file };
        let mut contents = Contents::default();
        let (mut is_begun, mut ends_clean) = (false, true);
        let mut reader = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        while io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
            ends_clean = line.ends_with(b"\n");
            match serde_json::from_slice(&line) {
                Ok(Line::Start {
                    septum_export,
                    source: from,
                    syntax: form,
                }) => {
                    if septum_export != VERSION || from != source || form != syntax {
                        return Err(LedgerError::Other);
                    }
                    is_begun = true;
                }
                Ok(Line::Synced { synced_bytes }) => contents.synced_bytes = synced_bytes,
                Ok(Line::Cut { cut_bytes }) => {
                    contents.records.retain(|record| record.offset < cut_bytes);
                    contents.synced_bytes = contents.synced_bytes.min(cut_bytes);
                }
                Ok(Line::Kept(record)) if is_begun => contents.records.push(record),
                _ => {}
            }
            line.clear();
        }
        if !ends_clean {
            ledger.file.write_all(b"\n")?;
        }
        if !is_begun {
            let (source, syntax) = (source.to_owned(), syntax.to_owned());
            ledger.write(&Line::Start {
                septum_export: VERSION,
                source,
                syntax,
            })?;
            ledger.file.sync_all()?;
        }
        Ok((ledger, contents))
    }

    /// Notes an instance.
    pub(super) fn add(&mut self, record: &Record) -> io::Result<()> {
        self.write(&Line::Kept(record.clone()))
    }

    /// Notes that the ZIP file is on the disk up to there.
    pub(super) fn synced(&mut self, synced_bytes: u64) -> io::Result<()> {
        self.write(&Line::Synced { synced_bytes })
    }

    /// Notes that the ZIP file was cut back.
    pub(super) fn cut(&mut self, cut_bytes: u64) -> io::Result<()> {
        self.write(&Line::Cut { cut_bytes })?;
        self.sync()
    }

    /// The file, to be brought to disk while others write to it.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Brings the ledger to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Record {
        Record {
            name: name.into(),
            study: "1.2".into(),
            series: "1.3".into(),
            instance: "1.4".into(),
            patient: "00".into(),
            bytes: 5,
            crc32: 6,
            offset: 7,
        }
    }

    #[test]
    fn remembers_and_survives_a_torn_line() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("ledger");
        let (mut ledger, contents) = Ledger::open(&path, "a", "*").expect("opens");
        assert!(contents.records.is_empty());
        assert!(matches!(Ledger::open(&path, "a", "*"), Err(LedgerError::Locked)));
        ledger.add(&record("x")).expect("writes");
        ledger.synced(99).expect("writes");
        ledger.add(&record("y")).expect("writes");
        drop(ledger);
        let text = std::fs::read(&path).expect("text");
        assert!(text.starts_with(b"{\"septum_export\":1,\"source\":\"a\",\"syntax\":\"*\"}\n{\"name\":\"x\","));
        std::fs::write(&path, &text[..text.len() - 9]).expect("torn");
        let (mut ledger, contents) = Ledger::open(&path, "a", "*").expect("opens");
        assert!(contents.records == [record("x")] && contents.synced_bytes == 99);
        ledger.add(&record("z")).expect("writes");
        drop(ledger);
        let (_, contents) = Ledger::open(&path, "a", "*").expect("opens");
        assert!(contents.records == [record("x"), record("z")]);
    }

    #[test]
    fn an_export_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("ledger");
        Ledger::open(&path, "a", "*").expect("opens");
        for (source, syntax) in [("b", "*"), ("a", "1.2.840.10008.1.2")] {
            assert!(matches!(Ledger::open(&path, source, syntax), Err(LedgerError::Other)));
        }
    }
}
