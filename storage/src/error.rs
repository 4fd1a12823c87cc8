//! Everything that can go wrong below the engine. All of it is a *failure* (ours), never the sender's fault.
//!
//! Messages carry shard, segment and offset, never a key, a value or a name.

use crate::backup::DamagedCopy;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What kind of file a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SegmentKind {
    /// Sealed frames, pixel root.
    Pixels = 1,
    /// The PHI journal: batches and the sealed objects they carry.
    Journal = 2,
    /// Wrapped keys, key root.
    Keys = 3,
}

impl SegmentKind {
    /// The kind with this number on disk.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Pixels),
            2 => Some(Self::Journal),
            3 => Some(Self::Keys),
            _ => None,
        }
    }
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pixels => "pixel segment",
            Self::Journal => "journal segment",
            Self::Keys => "key segment",
        })
    }
}

/// Where damage was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The shard ([`crate::CATALOG_SHARD`] for the catalogue, [`crate::KEYS_SHARD`] for the key store).
    pub shard: u16,
    /// The kind of file.
    pub kind: SegmentKind,
    /// The segment's number.
    pub segment: u32,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} of shard {}, offset {}: {}",
            self.kind, self.segment, self.shard, self.offset, self.what
        )
    }
}

/// Failures of storage. Cheap to clone, because one failed group commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system failed a call other than a sync.
    #[error("{operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk is full. Nothing of the commit was kept; the shard goes on and recovers when space returns.
    #[error("no space left on the device")]
    NoSpace,
    /// A sync failed earlier (or now): what is on disk is unknown until the process has started again.
    #[error("shard {shard} is poisoned: a sync failed")]
    Poisoned {
        /// The shard.
        shard: u16,
    },
    /// The shard (or the store) takes no writes.
    #[error("read-only: {0}")]
    ReadOnly(Arc<str>),
    /// Bytes on disk are not what was written. Never to be answered as "not found" (invariant 7).
    #[error("corrupt: {0}")]
    Corrupt(Box<Damage>),
    /// The index (RocksDB) reports damage or failed.
    #[error("index of shard {shard}: {message}")]
    Index {
        /// The shard.
        shard: u16,
        /// RocksDB's words.
        message: Arc<str>,
    },
    /// A format of a version this program does not know; nothing was changed.
    #[error("{what} has format version {version}, which this program does not know")]
    UnknownVersion {
        /// Which format.
        what: &'static str,
        /// The version found.
        version: u16,
    },
    /// No object has this id.
    #[error("no such object")]
    NotFound,
    /// The requested byte range lies outside the object.
    #[error("the range ends at {end}, the object has {length} bytes")]
    Range {
        /// End of the requested range.
        end: u64,
        /// The object's length in bytes.
        length: u64,
    },
    /// A commit that was in flight before this one failed, and this one may have been built upon its rows. Read
    /// again and retry.
    #[error("an earlier commit in flight failed; read again and retry")]
    EarlierCommitFailed,
    /// The commit queue is full.
    #[error("too many commits in flight")]
    Overloaded,
    /// Something crosses a limit.
    #[error("{what} has {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Keys must start with a byte of [`crate::RowKind`].
    #[error("the key is empty or its first byte is reserved")]
    ReservedKey,
    /// The shard has no pixel segments (the catalogue).
    #[error("this shard keeps no pixels")]
    NoPixels,
    /// A root or a shard's directory belongs to another store, or is missing its identity.
    #[error("{0}")]
    Identity(Arc<str>),
    /// Another process has the store open.
    #[error("another process has the store open")]
    Locked,
    /// A backup that cannot be restored: these files are not what was copied.
    #[error("the backup is damaged, {} of its files:{}", .0.len(), lines(.0))]
    DamagedBackup(Arc<[DamagedCopy]>),
    /// The target of a restore or of a first start has content.
    #[error("{0} is not empty")]
    NotEmpty(Arc<str>),
    /// The index lags behind the journal, and a read-only opening may not repair it.
    #[error("the index of shard {shard} needs recovery; open the store for writing once")]
    NeedsRecovery {
        /// The shard.
        shard: u16,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl StorageError {
    /// Wraps a failed call; a full disk becomes [`StorageError::NoSpace`].
    pub(crate) fn io(operation: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::NoSpace,
            _ => Self::Io {
                operation,
                source: Arc::new(source),
            },
        }
    }

    /// Whether bytes on disk are damaged.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::DamagedBackup(_))
    }

    /// Whether a repeat may succeed without anybody's help (full disk, overload, a failed predecessor).
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NoSpace | Self::Overloaded | Self::EarlierCommitFailed)
    }
}

fn lines(copies: &[DamagedCopy]) -> String {
    copies.iter().map(|copy| format!("\n  {copy}")).collect()
}

/// Shorthand used all over the crate.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;
