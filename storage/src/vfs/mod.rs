//! The file system, as a trait, so that every call can be made to fail in tests.
//!
//! Segments, journal, key store, identity and layout files go through [`Vfs`]; the index (RocksDB) alone opens files
//! by itself, because it is a cache that the journal can rebuild.
//!
//! Invariants:
//! - a name proves nothing until its directory was synced ([`Vfs::sync_dir`]), content proves nothing until
//!   [`VfsFile::sync`] returned success;
//! - nobody retries a failed sync on the same file: the kernel drops the dirty pages and the retry "succeeds".

mod faulty;
mod held;
mod real;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use faulty::{Fault, FaultyVfs, Operation};
pub(crate) use held::HeldFile;
pub use real::RealVfs;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; an existing name is an error.
    CreateNew,
}

/// One open file. All positions are absolute; there is no cursor.
#[expect(clippy::len_without_is_empty, reason = "a length in bytes, not a container")]
pub trait VfsFile: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes at `offset`; fewer at the end of the file or when the system likes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes up to `bytes.len()` bytes at `offset`, growing the file; may be short.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes content and length durable (fdatasync). Never called again on this file after an error.
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or grows (with zeros) to `len_bytes`.
    fn set_len(&self, len_bytes: u64) -> io::Result<()>;
}

/// The calls on names.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Opens or creates a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>>;
    /// Creates one directory; one that exists is no error.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes names created, renamed and removed in the directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Removes a file, or a directory with everything in it; one that is not there is no error.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or directory has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Takes an exclusive lock that ends when the guard drops or the process dies. Another holder is
    /// [`io::ErrorKind::WouldBlock`].
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// Fills `buffer` from `offset`; too few bytes is [`io::ErrorKind::UnexpectedEof`].
pub fn read_exact_at(file: &dyn VfsFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(num_read) => filled += num_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`.
pub fn write_all_at(file: &dyn VfsFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write_at(&bytes[written..], offset + written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(num_written) => written += num_written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a whole small file; one longer than `max_bytes` is [`io::ErrorKind::InvalidData`].
pub fn read_small(vfs: &dyn Vfs, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = vfs.open(path, OpenMode::Read)?;
    let len_bytes = file.len()?;
    if len_bytes > max_bytes {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; len_bytes as usize];
    read_exact_at(&*file, &mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces a small file durably: temporary file, sync, rename, sync of the directory.
pub fn write_atomic(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    if vfs.exists(&temporary)? {
        vfs.unlink(&temporary)?;
    }
    let file = vfs.open(&temporary, OpenMode::CreateNew)?;
    write_all_at(&*file, bytes, 0)?;
    file.sync()?;
    vfs.rename(&temporary, path)?;
    match path.parent() {
        Some(directory) => vfs.sync_dir(directory),
        None => Ok(()),
    }
}

/// Creates a directory and its missing ancestors, and syncs every directory that got a new name.
pub fn create_dir_synced(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || vfs.exists(path)? {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dir_synced(vfs, parent)?;
    }
    vfs.create_dir(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => vfs.sync_dir(parent),
        Some(_) => vfs.sync_dir(Path::new(".")),
        None => Ok(()),
    }
}
