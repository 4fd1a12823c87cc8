//! Files within files: members of ZIP files and of ISO 9660 images, sent as if they lay in a folder.
//!
//! Nothing is unpacked: a member is read where it lies while it is sent. Invariants (6):
//!
//! - One level: a container within a container is named and left behind, so that none can hold itself.
//! - A member's data lies within its container, and no more comes out of it than it claims, at most
//!   [`RATIO_MAX`] times of what it takes once it is larger than [`FREE_BYTES`]. Members do not share data.
//! - A member with a checksum is good only if it fits.
//! - Names of members are shown, never opened; they hold no control characters.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rawzip::{FileReader, ReaderAt as _};

use super::body::FileProblem;
use super::walk::{FoundFile, modified_ns};
use super::{iso, zip};

/// Most members of a container.
pub(super) const MEMBERS_MAX: u64 = 2_000_000;

/// Most bytes that come out of one that goes in.
pub(super) const RATIO_MAX: u64 = 200;

/// A member up to this size may have any ratio.
pub(super) const FREE_BYTES: u64 = 256 << 20;

/// A container with a member has at least so many bytes: a ZIP file's three headers, nameless.
pub(super) const MEMBER_BYTES_MIN: u64 = 30 + 46 + 22;

/// What kind a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A ZIP file.
    Zip,
    /// A disc image (ISO 9660, ECMA-119).
    Iso,
}

/// A container, open.
#[derive(Debug)]
pub(super) struct Container {
    path: PathBuf,
    pub(super) length: u64,
    modified_ns: u128,
    pub(super) reader: FileReader,
}

/// Where and how a member lies in its container.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) container: Arc<Container>,
    /// Start and length of its pieces, in bytes.
    pub(super) extents: Vec<(u64, u64)>,
    pub(super) is_deflated: bool,
    pub(super) crc32: Option<u32>,
}

/// What a container tells of itself.
pub(super) enum Listed {
    /// A member.
    File(FoundFile),
    /// A member, or the rest of the container, that cannot be read: its path, and why.
    Unreadable(PathBuf, &'static str),
}

impl Container {
    /// Opens the container that a walk found.
    pub(super) fn open(file: &FoundFile) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            path: file.path.clone(),
            length: file.length,
            modified_ns: file.modified_ns,
            reader: File::open(&file.path)?.into(),
        }))
    }

    /// Lists the members until there are no more or `on_listed` says false.
    pub(super) fn list(self: &Arc<Self>, kind: Kind, on_listed: &mut dyn FnMut(Listed) -> bool) {
        let outcome = match kind {
            Kind::Zip => zip::list(self, on_listed),
            Kind::Iso => iso::list(self, on_listed),
        };
        if let Err(why) = outcome {
            on_listed(Listed::Unreadable(self.path.clone(), why));
        }
    }

    /// The path that is shown for a member, `/` between its parts.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push("/");
        path.push(name.replace(char::is_control, "\u{FFFD}"));
        path.into()
    }

    /// A second handle of the same file.
    pub(super) fn reopen(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// A found file for a member.
    pub(super) fn found(self: &Arc<Self>, name: &str, length: u64, member: Member) -> FoundFile {
        FoundFile {
            path: self.path_of(name),
            length,
            modified_ns: self.modified_ns,
            member: Some(Arc::new(member)),
        }
    }

    /// Reads bytes that must be there.
    pub(super) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.reader.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Whether the file is still the one that was opened.
    fn is_unchanged(&self) -> bool {
        let now = std::fs::metadata(&self.path);
        now.is_ok_and(|now| now.len() == self.length && modified_ns(&now) == self.modified_ns)
    }
}

/// Whether a name is one of programs and documents that are ZIP files by their form. Media carry such with their viewers.
pub(super) fn is_program_file(path: &Path) -> bool {
    const NAMES: [&str; 12] = [
        "apk", "docx", "ear", "epub", "jar", "odp", "ods", "odt", "pptx", "war", "xlsx", "xpi",
    ];
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| NAMES.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Opens a file or member, if it is still as it was found.
pub(super) fn open(file: &FoundFile) -> Result<Box<dyn Read + Send>, FileProblem> {
    if let Some(member) = &file.member {
        return match member.container.is_unchanged() {
            true => Ok(open_member(member, file.length)),
            false => Err(FileProblem::Changed),
        };
    }
    open_plain(&file.path, file)
}

fn open_plain(path: &Path, file: &FoundFile) -> Result<Box<dyn Read + Send>, FileProblem> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let Ok((metadata, opened)) = opened else {
        return Err(FileProblem::Unreadable);
    };
    match metadata.len() == file.length && modified_ns(&metadata) == file.modified_ns {
        true => Ok(Box::new(opened)),
        false => Err(FileProblem::Changed),
    }
}

fn open_member(member: &Arc<Member>, length: u64) -> Box<dyn Read + Send> {
    let pieces = Pieces {
        member: member.clone(),
        extent: 0,
        at: 0,
    };
    let (left, crc32) = (length, member.crc32);
    let hasher = crc32fast::Hasher::new();
    match member.is_deflated {
        false => Box::new(Checked {
            inner: pieces,
            left,
            hasher,
            crc32,
        }),
        true => {
            let inner = flate2::bufread::DeflateDecoder::new(BufReader::with_capacity(64 << 10, pieces));
            Box::new(Checked {
                inner,
                left,
                hasher,
                crc32,
            })
        }
    }
}

/// The bytes of a member as they lie in the container.
struct Pieces {
    member: Arc<Member>,
    extent: usize,
    at: u64,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(&(start, length)) = self.member.extents.get(self.extent) {
            let left = length - self.at;
            if left > 0 && !buffer.is_empty() {
                let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let count = self
                    .member
                    .container
                    .reader
                    .read_at(&mut buffer[..most], start + self.at)?;
                self.at += count as u64;
                return Ok(count);
            }
            if buffer.is_empty() {
                return Ok(0);
            }
            (self.extent, self.at) = (self.extent + 1, 0);
        }
        Ok(0)
    }
}

/// Gives exactly the claimed bytes; the last ones only if the checksum fits.
struct Checked<R> {
    inner: R,
    left: u64,
    hasher: crc32fast::Hasher,
    crc32: Option<u32>,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hasher.update(&buffer[..count]);
        self.left -= count as u64;
        if self.left == 0 && self.crc32.is_some_and(|crc32| crc32 != self.hasher.clone().finalize()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Name below the container and content (or error) of each member.
    pub(in super::super) fn contents(path: &Path, kind: Kind) -> Vec<(String, Result<Vec<u8>, String>)> {
        let found = super::super::walk::Walk::new(&[path.to_path_buf()], |_| {})
            .next()
            .expect("a file");
        let container = Container::open(&found).expect("opens");
        let mut members = Vec::new();
        container.list(kind, &mut |listed| {
            let (path, outcome) = match listed {
                Listed::Unreadable(path, why) => (path, Err(why.to_owned())),
                Listed::File(file) => {
                    let mut bytes = Vec::new();
                    let outcome = open(&file).expect("unchanged").read_to_end(&mut bytes);
                    let outcome = outcome.map(|_| bytes).map_err(|error| error.kind().to_string());
                    (file.path, outcome)
                }
            };
            let name = path.strip_prefix(&found.path).expect("below").display().to_string();
            members.push((name, outcome));
            true
        });
        members
    }
}
