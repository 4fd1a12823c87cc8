//! Where an export goes: a folder or a ZIP file, and the workbench beside it.
//!
//! The workbench is `FOLDER/.septum-export/` or `FILE.part/`. It has the ledger, files that are arriving, and a ZIP file
//! in the making. Invariants:
//!
//! - What is arriving has no name on the medium. It gets one when it is whole, checked, on the disk and in the ledger,
//!   in this order, by a rename; so a file under its name is never half a file.
//! - Nothing that this program did not write is overwritten: a target that exists is used only if it has our ledger.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::remote::RemoteError;

use super::archive::{self, Archive};
use super::ledger::{Contents, Ledger, LedgerError, Record};
use super::zip_writer::Entry;

/// The workbench in a folder.
const BENCH: &str = ".septum-export";

/// The ZIP file in the making, on the workbench.
const ARCHIVE: &str = "archive";

/// The file-set's directory (PS3.10 section 8.6).
const DICOMDIR: &str = "DICOMDIR";

/// The target of an export.
pub(super) struct Shelf {
    target: Target,
    /// The target's folder was there before.
    is_old: bool,
    bench: PathBuf,
    next: AtomicU64,
    inner: Mutex<Inner>,
}

enum Target {
    Folder(PathBuf),
    Zip(PathBuf),
}

struct Inner {
    ledger: Ledger,
    records: Vec<Record>,
    /// Records of files that are gone or damaged: they come again under their old names.
    lost: Vec<Record>,
    /// The ZIP file, if it is to be one.
    archive: Option<Archive>,
}

/// A file that is arriving; gone when dropped before it is kept.
pub(super) struct Arriving {
    file: File,
    path: PathBuf,
}

impl io::Write for Arriving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Shelf {
    /// A folder.
    ///
    /// # Errors
    /// It has something in it that is no export of this source, or cannot be written.
    pub(super) fn folder(root: &Path, source: &str, syntax: &str) -> Result<Self, RemoteError> {
        let bench = root.join(BENCH);
        let is_foreign = !bench.is_dir() && fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
        if is_foreign || (root.exists() && !root.is_dir()) {
            return Err(RemoteError::Usage(format!(
                "{}: not a new or empty folder, nor one of an earlier export",
                root.display()
            )));
        }
        let is_old = root.exists();
        let (ledger, mut contents) = open(root, &bench, source, syntax)?;
        // An instance that was fetched again stands there twice: the later line counts.
        let mut names = HashSet::new();
        contents.records.reverse();
        contents
            .records
            .retain(|record| is_name(&record.name) && names.insert(record.name.clone()));
        contents.records.reverse();
        let (records, lost) = contents.records.into_iter().partition(|record| {
            let metadata = fs::symlink_metadata(root.join(&record.name));
            metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == record.bytes)
        });
        let mut shelf = Self::new(Target::Folder(root.into()), bench, ledger, records, None);
        shelf.is_old = is_old;
        shelf.inner().lost = lost;
        Ok(shelf)
    }

    /// A ZIP file.
    ///
    /// # Errors
    /// It exists, or cannot be written.
    pub(super) fn zip(path: &Path, source: &str, syntax: &str) -> Result<Self, RemoteError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(RemoteError::Usage(format!("{}: exists already", path.display())));
        }
        let mut bench = path.as_os_str().to_owned();
        bench.push(".part");
        let bench = PathBuf::from(bench);
        let (mut ledger, mut contents) = open(&bench, &bench, source, syntax)?;
        let archive = Archive::open(&bench.join(ARCHIVE), &mut ledger, &mut contents)
            .map_err(|error| unusable(&bench, &error))?;
        Ok(Self::new(
            Target::Zip(path.into()),
            bench,
            ledger,
            contents.records,
            Some(archive),
        ))
    }

    fn new(target: Target, bench: PathBuf, ledger: Ledger, records: Vec<Record>, archive: Option<Archive>) -> Self {
        Self {
            target,
            is_old: false,
            bench,
            next: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                ledger,
                records,
                lost: Vec::new(),
                archive,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there, from earlier runs and this one.
    pub(super) fn records(&self) -> Vec<Record> {
        self.inner().records.clone()
    }

    /// What was there, and has a name that it gets back.
    pub(super) fn lost(&self) -> Vec<Record> {
        self.inner().lost.clone()
    }

    /// A place for what arrives.
    pub(super) fn arriving(&self) -> io::Result<Arriving> {
        let path = self
            .bench
            .join(format!("{}.arriving", self.next.fetch_add(1, Ordering::Relaxed)));
        let file = private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Arriving { file, path })
    }

    /// Puts a whole file in its place and notes it.
    pub(super) fn keep(&self, mut arriving: Arriving, mut record: Record) -> io::Result<()> {
        match &self.target {
            Target::Folder(root) => {
                arriving.file.sync_all()?;
                let path = root.join(&record.name);
                if let Some(folder) = path.parent() {
                    create_folder(folder)?;
                }
                let ledger = {
                    let mut inner = self.inner();
                    inner.ledger.add(&record)?;
                    inner.ledger.handle()?
                };
                // A file under its name that the ledger does not know would stay when the instance comes again.
                ledger.sync_data()?;
                fs::rename(&arriving.path, &path)?;
                self.inner().records.push(record);
            }
            Target::Zip(_) => {
                arriving.file.seek(SeekFrom::Start(0))?;
                let mut inner = self.inner();
                let entry = (record.name.as_str(), record.bytes, record.crc32);
                record.offset = inner.archive()?.append(entry, &mut arriving.file)?;
                inner.ledger.add(&record)?;
                inner.records.push(record);
            }
        }
        Ok(())
    }

    /// Brings what was kept to disk: `folder` is the one whose files were kept last.
    pub(super) fn sync(&self, folder: &str) -> io::Result<()> {
        match &self.target {
            Target::Folder(root) => {
                let mut path = root.join(folder);
                // New folders are entries of the folders above them.
                while path.starts_with(root) {
                    match File::open(&path) {
                        Ok(folder) => folder.sync_all()?,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                    if !path.pop() {
                        break;
                    }
                }
                self.inner().ledger.sync()
            }
            Target::Zip(_) => {
                let synced = match &self.inner().archive {
                    Some(archive) => Some(archive.handle()?),
                    None => None,
                };
                // Others append while this one waits for the disk.
                if let Some((file, length)) = synced {
                    file.sync_data()?;
                    let mut inner = self.inner();
                    inner.ledger.synced(length)?;
                    inner.ledger.sync()?;
                }
                Ok(())
            }
        }
    }

    /// The first bytes of an instance that is there, at most `most`.
    pub(super) fn beginning(&self, record: &Record, most: u64) -> io::Result<Vec<u8>> {
        let (mut file, most) = match &self.target {
            Target::Folder(root) => (File::open(root.join(&record.name))?, most),
            Target::Zip(_) => {
                let mut file = File::open(self.bench.join(ARCHIVE))?;
                file.seek(SeekFrom::Start(archive::content_offset(record)))?;
                (file, most.min(record.bytes))
            }
        };
        let mut bytes = Vec::new();
        Read::take(&mut file, most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the target lacks its end, because an earlier run was stopped.
    pub(super) fn is_unfinished(&self) -> bool {
        match &self.target {
            Target::Folder(root) => !root.join(DICOMDIR).exists(),
            Target::Zip(_) => true,
        }
    }

    /// Leaves nothing behind of an export that found nothing.
    pub(super) fn abandon_if_empty(&self) -> io::Result<()> {
        if !self.inner().records.is_empty() {
            return Ok(());
        }
        fs::remove_dir_all(&self.bench)?;
        if let (Target::Folder(root), false) = (&self.target, self.is_old) {
            // It stays if there is anything in it.
            let _ = fs::remove_dir(root);
        }
        Ok(())
    }

    /// Completes the target: the directory, and the end of a ZIP file.
    pub(super) fn finish(&self, dicomdir: Option<&[u8]>) -> io::Result<()> {
        match &self.target {
            Target::Folder(root) => {
                if let Some(bytes) = dicomdir {
                    let mut arriving = self.arriving()?;
                    arriving.write_all(bytes)?;
                    arriving.file.sync_all()?;
                    fs::rename(&arriving.path, root.join(DICOMDIR))?;
                }
                sync_folder(root)
            }
            Target::Zip(path) => {
                let mut inner = self.inner();
                let mut last = None;
                if let Some(bytes) = dicomdir {
                    let (length, crc32) = (bytes.len() as u64, crc32fast::hash(bytes));
                    let offset = inner.archive()?.append((DICOMDIR, length, crc32), &mut &*bytes)?;
                    last = Some(Entry {
                        name: DICOMDIR,
                        length,
                        crc32,
                        offset,
                    });
                }
                let Inner { records, archive, .. } = &mut *inner;
                if let Some(archive) = archive {
                    archive.finish(records.iter().map(archive::entry).chain(last))?;
                }
                // Not over a file that came up meanwhile.
                fs::hard_link(self.bench.join(ARCHIVE), path).or_else(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => Err(error),
                    _ => fs::rename(self.bench.join(ARCHIVE), path),
                })?;
                sync_folder(
                    path.parent()
                        .filter(|folder| !folder.as_os_str().is_empty())
                        .unwrap_or(Path::new(".")),
                )?;
                // What is left is of no more use, but no harm either.
                let _ = fs::remove_dir_all(&self.bench);
                Ok(())
            }
        }
    }
}

impl Inner {
    fn archive(&mut self) -> io::Result<&mut Archive> {
        self.archive.as_mut().ok_or_else(|| io::Error::other("no archive"))
    }
}

/// Whether a name of the ledger is one that may be opened: below the top folder, and nowhere else.
pub(super) fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        (1..=8).contains(&part.len())
            && part
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    name.split('/').count() == 5 && name.split('/').all(is_part)
}

fn open(target: &Path, bench: &Path, source: &str, syntax: &str) -> Result<(Ledger, Contents), RemoteError> {
    create_folder(bench).map_err(|error| unusable(target, &error))?;
    let opened = Ledger::open(&bench.join("ledger.jsonl"), source, syntax).map_err(|error| match error {
        LedgerError::Io(error) => unusable(target, &error),
        other => RemoteError::Usage(format!("{}: {other}", target.display())),
    })?;
    // With the ledger locked, what is arriving there arrives no more.
    for found in fs::read_dir(bench).map_err(|error| unusable(target, &error))?.flatten() {
        if found
            .path()
            .extension()
            .is_some_and(|extension| extension == "arriving")
        {
            let _ = fs::remove_file(found.path());
        }
    }
    Ok(opened)
}

fn unusable(target: &Path, error: &io::Error) -> RemoteError {
    RemoteError::Usage(format!("{}: {error}", target.display()))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Patients are in these files: whom to give them to is for the user to say.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests;
