//! A ZIP file that grows entry by entry and can be gone on with after a crash (APPNOTE.TXT 6.3.10).
//!
//! Entries are stored as they are: pixels of medical images are mostly compressed already. Length and CRC-32 of an
//! entry are known before it is written, so its local header is final, no data descriptor follows, and what stands
//! before any entry's end is a good beginning of a ZIP file; the list of entries is the caller's to keep. ZIP64 records
//! are written where, and only where, 32 or 16 bits do not hold a number (sections 4.3.14, 4.3.15, 4.5.3). Times are
//! 1980-01-01, so that the same content gives the same bytes. Names are ASCII.

use std::io::{self, Write};

/// Signatures (sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16).
const LOCAL: u32 = 0x0403_4B50;
const CENTRAL: u32 = 0x0201_4B50;
const END64: u32 = 0x0606_4B50;
const LOCATOR64: u32 = 0x0706_4B50;
const END: u32 = 0x0605_4B50;

/// 1980-01-01 00:00 as MS-DOS time and date.
const TIME: u32 = 0x0021_0000;

/// "Made by" Unix, so that the mode counts.
const MADE_BY_UNIX: u16 = 3 << 8;

/// A regular file that all may read.
const MODE: u32 = 0o100_644 << 16;

/// An entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Its path, with `/`.
    pub(super) name: &'a str,
    /// Bytes.
    pub(super) length: u64,
    /// CRC-32 of the bytes.
    pub(super) crc32: u32,
    /// Where its local header starts.
    pub(super) offset: u64,
}

#[derive(Default)]
struct Record(Vec<u8>);

impl Record {
    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// The lower bits, or all ones where a ZIP64 field has the number.
fn capped(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn is_large(value: u64) -> bool {
    value >= u64::from(u32::MAX)
}

/// The version that a reader needs: 4.5 for ZIP64, 2.0 for folders in names.
fn version(has_zip64: bool) -> u16 {
    if has_zip64 { 45 } else { 20 }
}

/// The local header that goes before an entry's bytes.
pub(super) fn local_header(entry: &Entry<'_>) -> Vec<u8> {
    let has_zip64 = is_large(entry.length);
    let extra = match has_zip64 {
        true => Record::default().u16(1).u16(16).u64(entry.length).u64(entry.length),
        false => Record::default(),
    };
    let shown = if has_zip64 { u32::MAX } else { capped(entry.length) };
    Record::default()
        .u32(LOCAL)
        .u16(version(has_zip64))
        .u16(0)
        .u16(0)
        .u32(TIME)
        .u32(entry.crc32)
        .u32(shown)
        .u32(shown)
        .u16(name_length(entry.name))
        .u16(extra.0.len() as u16)
        .bytes(entry.name.as_bytes())
        .bytes(&extra.0)
        .0
}

/// Names are File IDs: a few dozen bytes.
fn name_length(name: &str) -> u16 {
    u16::try_from(name.len()).unwrap_or(u16::MAX)
}

/// Writes what ends a ZIP file whose entries end at `offset`; returns its bytes.
pub(super) fn write_end<'a>(
    output: &mut impl Write,
    offset: u64,
    entries: impl Iterator<Item = Entry<'a>>,
) -> io::Result<u64> {
    let (mut num_entries, mut directory_bytes) = (0u64, 0u64);
    for entry in entries {
        let record = central_header(&entry);
        output.write_all(&record)?;
        num_entries += 1;
        directory_bytes += record.len() as u64;
    }
    let mut end = Record::default();
    if num_entries >= u64::from(u16::MAX) || is_large(directory_bytes) || is_large(offset) {
        end = end
            .u32(END64)
            .u64(44)
            .u16(MADE_BY_UNIX | 45)
            .u16(45)
            .u32(0)
            .u32(0)
            .u64(num_entries)
            .u64(num_entries)
            .u64(directory_bytes)
            .u64(offset)
            .u32(LOCATOR64)
            .u32(0)
            .u64(offset + directory_bytes)
            .u32(1);
    }
    let shown = u16::try_from(num_entries).unwrap_or(u16::MAX);
    let end = end
        .u32(END)
        .u16(0)
        .u16(0)
        .u16(shown)
        .u16(shown)
        .u32(capped(directory_bytes))
        .u32(capped(offset))
        .u16(0);
    output.write_all(&end.0)?;
    Ok(directory_bytes + end.0.len() as u64)
}

fn central_header(entry: &Entry<'_>) -> Vec<u8> {
    let mut fields = Record::default();
    if is_large(entry.length) {
        fields = fields.u64(entry.length).u64(entry.length);
    }
    if is_large(entry.offset) {
        fields = fields.u64(entry.offset);
    }
    let has_zip64 = !fields.0.is_empty();
    let extra = match has_zip64 {
        true => Record::default().u16(1).u16(fields.0.len() as u16).bytes(&fields.0),
        false => Record::default(),
    };
    Record::default()
        .u32(CENTRAL)
        .u16(MADE_BY_UNIX | version(has_zip64))
        .u16(version(has_zip64))
        .u16(0)
        .u16(0)
        .u32(TIME)
        .u32(entry.crc32)
        .u32(capped(entry.length))
        .u32(capped(entry.length))
        .u16(name_length(entry.name))
        .u16(extra.0.len() as u16)
        .u16(0)
        .u16(0)
        .u16(0)
        .u32(MODE)
        .u32(capped(entry.offset))
        .bytes(entry.name.as_bytes())
        .bytes(&extra.0)
        .0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the central directory back with another implementation.
    fn check(entries: &[Entry<'_>], body: Vec<u8>) {
        let offset = body.len() as u64;
        let mut file = body;
        let length = write_end(&mut file, offset, entries.iter().cloned()).expect("written");
        assert_eq!(file.len() as u64, offset + length);
        let archive = rawzip::ZipArchive::from_slice(&file).expect("a ZIP file");
        assert_eq!(archive.entries_hint(), entries.len() as u64);
        let mut read = archive.entries();
        for entry in entries {
            let header = read.next_entry().expect("reads").expect("an entry");
            assert_eq!(header.file_path().as_bytes(), entry.name.as_bytes());
            assert_eq!(
                (
                    header.uncompressed_size_hint(),
                    header.compressed_size_hint(),
                    header.crc32()
                ),
                (entry.length, entry.length, entry.crc32)
            );
            assert_eq!(header.local_header_offset(), entry.offset);
        }
        assert!(read.next_entry().expect("reads").is_none());
    }

    #[test]
    fn small_archives() {
        check(&[], Vec::new());
        let mut body = Vec::new();
        let mut entries = Vec::new();
        for (name, content) in [("A/B", b"hello".as_slice()), ("C", b"")] {
            let entry = Entry {
                name,
                length: content.len() as u64,
                crc32: crc32fast::hash(content),
                offset: body.len() as u64,
            };
            body.extend(local_header(&entry));
            body.extend_from_slice(content);
            entries.push(entry);
        }
        check(&entries, body.clone());
        let end = body.len() as u64;
        write_end(&mut body, end, entries.iter().cloned()).expect("written");
        let archive = rawzip::ZipArchive::from_slice(&body).expect("a ZIP file");
        let first = archive
            .entries()
            .next_entry()
            .expect("reads")
            .expect("an entry")
            .wayfinder();
        let entry = archive.get_entry(first).expect("an entry");
        assert_eq!(entry.data(), b"hello");
    }

    /// An entry that starts and one that ends beyond 4 GiB, in a file that is mostly a hole.
    #[test]
    fn a_file_beyond_4_gib() {
        use std::io::{Read as _, Seek as _, SeekFrom};

        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("large.zip");
        let mut file = std::fs::File::create_new(&path).expect("file");
        // The checksum of the hole is not looked at.
        let hole = Entry {
            name: "HOLE",
            length: 5 << 30,
            crc32: 0,
            offset: 0,
        };
        let header = local_header(&hole);
        let late = Entry {
            name: "LATE",
            length: 5,
            crc32: crc32fast::hash(b"hello"),
            offset: header.len() as u64 + hole.length,
        };
        file.write_all(&header).expect("writes");
        file.seek(SeekFrom::Start(late.offset)).expect("seeks");
        file.write_all(&local_header(&late)).expect("writes");
        file.write_all(b"hello").expect("writes");
        let end = file.stream_position().expect("position");
        write_end(&mut file, end, [hole.clone(), late].into_iter()).expect("writes");
        drop(file);
        let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
        let file = std::fs::File::open(&path).expect("opens");
        let archive = rawzip::ZipArchive::from_file(file, &mut buffer).expect("a ZIP file");
        let mut entries = archive.entries(&mut buffer);
        let first = entries.next_entry().expect("reads").expect("an entry").wayfinder();
        let second = entries.next_entry().expect("reads").expect("an entry").wayfinder();
        let range = archive.get_entry(first).expect("an entry").compressed_data_range();
        assert_eq!(range, (header.len() as u64, header.len() as u64 + hole.length));
        let second = archive.get_entry(second).expect("an entry");
        let mut content = String::new();
        second
            .verifying_reader(second.reader())
            .read_to_string(&mut content)
            .expect("sound");
        assert_eq!(content, "hello");
    }

    #[test]
    fn numbers_beyond_32_and_16_bits() {
        let entry = |offset, length| Entry {
            name: "X",
            length,
            crc32: 7,
            offset,
        };
        let edges = [
            u64::from(u32::MAX) - 1,
            u64::from(u32::MAX),
            u64::from(u32::MAX) + 1,
            1 << 40,
        ];
        let entries: Vec<_> = edges.iter().flat_map(|&a| edges.iter().map(move |&b| (a, b))).collect();
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(offset, length)| entry(offset, length))
            .collect();
        check(&entries, Vec::new());
        let many: Vec<_> = (0..70_000).map(|n| entry(n, 1)).collect();
        check(&many, Vec::new());
        check(&many[..65_535], Vec::new());
        check(&many[..65_534], Vec::new());
        assert_eq!(local_header(&entry(0, 1 << 40)).len(), 30 + 1 + 20);
        assert_eq!(local_header(&entry(1 << 40, 5)).len(), 30 + 1);
    }
}
