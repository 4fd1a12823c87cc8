//! One segment file: create, append, read, walk.
//!
//! Names on disk are numbers only (`00000001.seg`). A new file's header and name are durable before the first record
//! goes in. Records are appended by one writer at a time; a failed append is cut away again, so that the bytes below
//! [`SegmentFile::end`] are always whole records.

use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{
    BODY_BYTES_MAX, FILE_HEADER_BYTES, FileHeader, RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader, SegmentId,
};
use crate::vfs::{HeldFile, OpenMode, Vfs, VfsFile, read_exact_at, write_all_at};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the segment with this number.
pub(crate) fn file_name(segment: u32) -> String {
    format!("{segment:08}.seg")
}

/// Numbers of the segments in a directory, ascending. Other names are ignored.
pub(crate) fn list(vfs: &dyn Vfs, directory: &Path) -> Result<Vec<u32>> {
    let names = vfs.list(directory).map_err(StorageError::io("list segments"))?;
    let mut numbers: Vec<u32> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".seg").filter(|stem| stem.len() >= 8)?.parse().ok())
        .filter(|segment| *segment > 0)
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// An open segment.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) id: SegmentId,
    pub(crate) header: FileHeader,
    file: Arc<dyn VfsFile>,
    /// Where the next record goes.
    end: AtomicU64,
    /// Bytes below this are durable.
    synced: AtomicU64,
    /// Appended objects whose commit has not been decided yet; such a segment is not compacted.
    pub(crate) num_undecided: AtomicU64,
}

impl SegmentFile {
    /// Creates the file; it is empty, durable and named when this returns.
    pub(crate) fn create(vfs: &dyn Vfs, directory: &Path, header: FileHeader) -> Result<Self> {
        let path = directory.join(file_name(header.id.segment));
        let file = vfs
            .open(&path, OpenMode::CreateNew)
            .map_err(StorageError::io("create a segment"))?;
        let created = write_all_at(&*file, &header.encode(), 0).map_err(StorageError::io("write a segment header"));
        if let Err(error) = created {
            // Best effort: an unfinished file is also removed at the next start.
            let _ = vfs.unlink(&path);
            return Err(error);
        }
        let poisoned = |_| StorageError::Poisoned { shard: header.id.shard };
        file.sync().map_err(poisoned)?;
        vfs.sync_dir(directory).map_err(poisoned)?;
        Ok(Self {
            id: header.id,
            header,
            file,
            end: AtomicU64::new(FILE_HEADER_BYTES),
            synced: AtomicU64::new(FILE_HEADER_BYTES),
            num_undecided: AtomicU64::new(0),
        })
    }

    /// Opens an existing file and checks its header; `end` is the file's length.
    pub(crate) fn open(vfs: &dyn Vfs, directory: &Path, id: SegmentId, mode: OpenMode) -> Result<Self> {
        let path = directory.join(file_name(id.segment));
        let file = vfs.open(&path, mode).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => id.corrupt(0, "the file is missing"),
            _ => StorageError::io("open a segment")(error),
        })?;
        let len_bytes = file.len().map_err(StorageError::io("measure a segment"))?;
        if len_bytes < FILE_HEADER_BYTES {
            return Err(id.corrupt(0, "the file is shorter than its header"));
        }
        let mut bytes = [0; FILE_HEADER_BYTES as usize];
        read_exact_at(&*file, &mut bytes, 0).map_err(StorageError::io("read a segment header"))?;
        let header = FileHeader::decode(&bytes, &id)?;
        Ok(Self {
            id,
            header,
            file,
            end: AtomicU64::new(len_bytes),
            synced: AtomicU64::new(FILE_HEADER_BYTES),
            num_undecided: AtomicU64::new(0),
        })
    }

    /// The same file with all its bytes read at once, for going through its records; not to be written to.
    pub(crate) fn held(&self) -> Result<Self> {
        let end = self.end();
        let length = usize::try_from(end).map_err(|_| self.id.corrupt(0, "the file is too long"))?;
        let mut bytes = vec![0; length];
        self.read_into(&mut bytes, 0)?;
        Ok(Self {
            id: self.id,
            header: self.header,
            file: Arc::new(HeldFile(bytes)),
            end: AtomicU64::new(end),
            synced: AtomicU64::new(end),
            num_undecided: AtomicU64::new(0),
        })
    }

    /// Where the next record goes; equally the length of the valid part, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Whether all bytes below `end` are durable.
    pub(crate) fn is_synced(&self, end: u64) -> bool {
        self.synced.load(Ordering::Acquire) >= end
    }

    /// Appends whole records, already laid out for [`SegmentFile::end`]. The caller is the only writer. On error the
    /// partial append is cut away; if that fails as well, the shard is poisoned.
    pub(crate) fn append(&self, pieces: &[&[u8]]) -> Result<()> {
        let start = self.end();
        let mut at = start;
        for piece in pieces {
            if let Err(error) = write_all_at(&*self.file, piece, at) {
                return match self.file.set_len(start) {
                    Ok(()) => Err(StorageError::io("append to a segment")(error)),
                    Err(_) => Err(StorageError::Poisoned { shard: self.id.shard }),
                };
            }
            at += piece.len() as u64;
        }
        self.end.store(at, Ordering::Release);
        Ok(())
    }

    /// Makes everything appended so far durable. After an error the shard must be poisoned; never call again.
    pub(crate) fn sync(&self) -> Result<()> {
        let end = self.end();
        if self.is_synced(end) {
            return Ok(());
        }
        self.file
            .sync()
            .map_err(|_| StorageError::Poisoned { shard: self.id.shard })?;
        self.synced.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Cuts everything from `end` on, durably.
    pub(crate) fn truncate(&self, end: u64) -> Result<()> {
        self.file
            .set_len(end)
            .map_err(StorageError::io("cut a segment's tail"))?;
        self.file
            .sync()
            .map_err(|_| StorageError::Poisoned { shard: self.id.shard })?;
        self.end.store(end, Ordering::Release);
        Ok(())
    }

    /// Writes `bytes` over the same bytes, so that a sync covers them again: a page that a failed sync left clean in
    /// the cache would otherwise be believed durable (reliability rule R3).
    pub(crate) fn rewrite(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        write_all_at(&*self.file, bytes, offset).map_err(StorageError::io("rewrite a segment's tail"))?;
        self.synced.store(FILE_HEADER_BYTES, Ordering::Release);
        Ok(())
    }

    /// Fills `buffer` from `offset`; a file that ends before is corrupt.
    pub(crate) fn read_into(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        read_exact_at(&*self.file, buffer, offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.id.corrupt(offset, "the file ends too early"),
            _ => StorageError::io("read a segment")(error),
        })
    }

    /// Reads and checks the record header at `offset`.
    pub(crate) fn read_header(&self, offset: u64) -> Result<RecordHeader> {
        let mut bytes = [0; RECORD_HEADER_BYTES as usize];
        self.read_into(&mut bytes, offset)?;
        RecordHeader::decode(&bytes, &self.id, offset)
    }

    /// Reads header and body at `offset`, both checked. `total_bytes`, when known, saves a read.
    pub(crate) fn read_record(&self, offset: u64, total_bytes: Option<u64>) -> Result<(RecordHeader, Bytes)> {
        let total_bytes = match total_bytes {
            Some(total_bytes) => total_bytes,
            None => self.read_header(offset)?.total_bytes(),
        };
        if !(RECORD_HEADER_BYTES..=RECORD_HEADER_BYTES + BODY_BYTES_MAX).contains(&total_bytes) {
            return Err(self.id.corrupt(offset, "record length"));
        }
        let mut buffer = vec![0; total_bytes as usize];
        self.read_into(&mut buffer, offset)?;
        let header_bytes = crate::format::array_at(&buffer, 0);
        let header = RecordHeader::decode(&header_bytes, &self.id, offset)?;
        if header.total_bytes() != total_bytes {
            return Err(self.id.corrupt(offset, "record length differs from the index"));
        }
        let body = Bytes::from(buffer).slice(RECORD_HEADER_BYTES as usize..);
        if crc32c::crc32c(&body) != header.body_checksum {
            return Err(self.id.corrupt(offset, "body checksum"));
        }
        Ok((header, body))
    }

    /// Looks for the next intact record header in `from..end`; for telling a torn tail from damage, and for walking
    /// on behind damage.
    pub(crate) fn find_header(&self, from: u64, end: u64) -> Result<Option<RecordHeader>> {
        const WINDOW_BYTES: u64 = 1 << 20;
        let mut start = from;
        while start + RECORD_HEADER_BYTES <= end {
            let len_bytes = WINDOW_BYTES.min(end - start);
            let mut window = vec![0; len_bytes as usize];
            self.read_into(&mut window, start)?;
            let mut at = 0;
            while let Some(found) = window[at..].windows(4).position(|bytes| bytes == RECORD_MAGIC) {
                at += found;
                let Some(bytes) = window.get(at..at + RECORD_HEADER_BYTES as usize) else {
                    break;
                };
                let bytes = crate::format::array_at(bytes, 0);
                if let Ok(header) = RecordHeader::decode(&bytes, &self.id, start + at as u64) {
                    return Ok(Some(header));
                }
                at += 1;
            }
            if start + len_bytes >= end {
                break;
            }
            // Overlap, so that a header on the border is seen.
            start += len_bytes - RECORD_HEADER_BYTES + 1;
        }
        Ok(None)
    }
}

/// A use counter, and per segment the count at its last use.
type OpenFiles = (
    u64,
    std::collections::HashMap<(SegmentKind, u32), (u64, Arc<SegmentFile>)>,
);

/// Opened segments for reading, bounded; the least recently used is closed first.
#[derive(Debug)]
pub(crate) struct FileCache {
    vfs: Arc<dyn Vfs>,
    pixels: Option<PathBuf>,
    journal: PathBuf,
    store: [u8; 16],
    shard: u16,
    open: std::sync::Mutex<OpenFiles>,
}

const OPEN_FILES_MAX: usize = 128;

impl FileCache {
    pub(crate) fn new(
        vfs: Arc<dyn Vfs>,
        store: [u8; 16],
        shard: u16,
        pixels: Option<PathBuf>,
        journal: PathBuf,
    ) -> Self {
        Self {
            vfs,
            pixels,
            journal,
            store,
            shard,
            open: Default::default(),
        }
    }

    /// The id of a segment of this shard.
    pub(crate) fn id(&self, kind: SegmentKind, segment: u32) -> SegmentId {
        SegmentId {
            store: self.store,
            shard: self.shard,
            kind,
            segment,
        }
    }

    /// The directory of a kind.
    pub(crate) fn directory(&self, kind: SegmentKind) -> Result<&Path> {
        match kind {
            SegmentKind::Pixels => self.pixels.as_deref().ok_or(StorageError::NoPixels),
            _ => Ok(&self.journal),
        }
    }

    /// The open segment, opened now if need be. A missing file is corrupt: the index names it.
    pub(crate) fn get(&self, kind: SegmentKind, segment: u32) -> Result<Arc<SegmentFile>> {
        {
            let mut open = crate::lock(&self.open);
            let (clock, files) = &mut *open;
            *clock += 1;
            if let Some((used, file)) = files.get_mut(&(kind, segment)) {
                *used = *clock;
                return Ok(Arc::clone(file));
            }
        }
        let directory = self.directory(kind)?;
        let file = Arc::new(SegmentFile::open(
            &*self.vfs,
            directory,
            self.id(kind, segment),
            OpenMode::Read,
        )?);
        let mut open = crate::lock(&self.open);
        let (clock, files) = &mut *open;
        if files.len() >= OPEN_FILES_MAX
            && let Some(oldest) = files.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key)
        {
            files.remove(&oldest);
        }
        files.insert((kind, segment), (*clock, Arc::clone(&file)));
        Ok(file)
    }

    /// Closes a segment that is about to go; readers in flight keep their handle.
    pub(crate) fn forget(&self, kind: SegmentKind, segment: u32) {
        crate::lock(&self.open).1.remove(&(kind, segment));
    }
}
