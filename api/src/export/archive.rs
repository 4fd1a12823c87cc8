//! The ZIP file of an export while it grows.
//!
//! It is appended to only. What the ledger says of it counts as far as it is known to be on the disk; beyond, entries
//! are read and their CRC-32 compared before they count. What follows the last good entry is cut off.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::ledger::{Contents, Ledger, Record};
use super::shelf::{is_name, private};
use super::zip_writer::{self, Entry};

/// The file, and where its entries end.
pub(super) struct Archive {
    file: File,
    end: u64,
}

impl Archive {
    /// Opens the file, or begins it, and drops the records of what is not there whole.
    pub(super) fn open(path: &Path, ledger: &mut Ledger, contents: &mut Contents) -> io::Result<Self> {
        let mut file = private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let length = file.metadata()?.len();
        let (mut end, mut num_good) = (0, 0);
        for record in &contents.records {
            let next = content_offset(record).checked_add(record.bytes);
            let Some(next) = next.filter(|&next| is_name(&record.name) && record.offset == end && next <= length)
            else {
                break;
            };
            if next > contents.synced_bytes && !is_sound(&mut file, record)? {
                break;
            }
            (end, num_good) = (next, num_good + 1);
        }
        if num_good < contents.records.len() {
            // Before the file is cut: a line too many costs an instance fetched again, one too few would be believed.
            ledger.cut(end)?;
            contents.records.truncate(num_good);
        }
        file.set_len(end)?;
        Ok(Self { file, end })
    }

    /// The file, to be brought to disk while others append, and its length now.
    pub(super) fn handle(&self) -> io::Result<(File, u64)> {
        Ok((self.file.try_clone()?, self.end))
    }

    /// Appends an entry of name, length and CRC-32; returns where it starts. After a failure the file is cut back.
    pub(super) fn append(&mut self, entry: (&str, u64, u32), content: &mut impl Read) -> io::Result<u64> {
        let (name, length, crc32) = entry;
        let (file, offset) = (&mut self.file, self.end);
        let header = zip_writer::local_header(&Entry {
            name,
            length,
            crc32,
            offset,
        });
        let headed = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&header));
        match headed.and_then(|()| io::copy(&mut content.take(length), file)) {
            Ok(count) if count == length => {
                self.end = offset + header.len() as u64 + length;
                Ok(offset)
            }
            outcome => {
                let _ = self.file.set_len(offset);
                Err(outcome.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }

    /// Writes the end of the file, and brings all of it to disk.
    pub(super) fn finish<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>>) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        let mut writer = BufWriter::new(&mut self.file);
        let length = zip_writer::write_end(&mut writer, self.end, entries)?;
        writer.flush()?;
        drop(writer);
        self.file.set_len(self.end + length)?;
        self.file.sync_all()
    }
}

/// A record as an entry.
pub(super) fn entry(record: &Record) -> Entry<'_> {
    Entry {
        name: &record.name,
        length: record.bytes,
        crc32: record.crc32,
        offset: record.offset,
    }
}

/// Where the bytes of an entry start.
pub(super) fn content_offset(record: &Record) -> u64 {
    record
        .offset
        .saturating_add(zip_writer::local_header(&entry(record)).len() as u64)
}

/// Whether the bytes of an entry, and its header, are those that were noted.
fn is_sound(file: &mut File, record: &Record) -> io::Result<bool> {
    file.seek(SeekFrom::Start(record.offset))?;
    let header = zip_writer::local_header(&entry(record));
    let mut found = vec![0; header.len()];
    file.read_exact(&mut found)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut reader = BufReader::with_capacity(256 << 10, file).take(record.bytes);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(found == header && hasher.finalize() == record.crc32)
}
