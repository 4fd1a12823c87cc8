//! A disc image written while it is sent: ISO 9660 (ECMA-119), Level 1 names, as DICOM media want them (PS3.12 annex F).
//!
//! Everything but the files' content is known beforehand from their names and lengths, so an image streams in constant
//! memory. Times are 1980-01-01, so that the same content gives the same bytes. Files of 4 GiB and more take several
//! extents (Level 3).
//!
//! | sectors | what |
//! |---|---|
//! | 0–15 | system area, zero |
//! | 16, 17 | primary volume descriptor, terminator |
//! | 18… | path tables, little and big endian |
//! | then | directories, level by level |
//! | then | files, in the order given |

use std::collections::BTreeMap;

/// A sector, in bytes.
const SECTOR: u64 = 2048;

/// The first path table.
const TABLES_AT: u64 = 18;

/// Longest extent, in bytes: whole sectors below 4 GiB.
const EXTENT_BYTES_MAX: u64 = (u32::MAX as u64 / SECTOR) * SECTOR;

/// Deepest nesting of directories, the root included (section 6.8.2.1).
const DEPTH_MAX: usize = 8;

const IS_DIRECTORY: u8 = 2;
const HAS_MORE: u8 = 0x80;

/// 1980-01-01 00:00:00 UTC as in directory records (section 9.1.5).
const RECORD_TIME: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];

/// The same as in volume descriptors (section 8.4.26.1).
const VOLUME_TIME: &[u8; 17] = b"1980010100000000\0";

/// No time.
const NO_TIME: &[u8; 17] = b"0000000000000000\0";

/// Why an image cannot be laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum IsoError {
    /// A name is not 1 to 8 characters of A-Z, 0-9 and _, with at most 3 more behind a full stop.
    #[error("a name does not fit on a disc image")]
    BadName,
    /// Two files have one path, or a file has that of a directory.
    #[error("a path occurs twice")]
    Duplicate,
    /// Directories nest too deep, or there are more than 65535.
    #[error("there are too many directories")]
    TooManyDirectories,
    /// More than 8 TiB.
    #[error("the image is too large")]
    TooLarge,
}

/// A file of the image.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Directories and name.
    pub(super) path: Vec<String>,
    /// Its length in bytes.
    pub(super) length: u64,
}

/// A laid out image.
#[derive(Debug)]
pub(super) struct Image {
    /// Everything before the first file.
    pub(super) head: Vec<u8>,
    /// Length of the whole image in bytes.
    pub(super) length: u64,
}

/// The zeros behind a file of that length.
pub(super) fn padding(length: u64) -> usize {
    (length.next_multiple_of(SECTOR) - length) as usize
}

#[derive(Default)]
struct Directory {
    parent: usize,
    name: String,
    depth: usize,
    directories: BTreeMap<String, usize>,
    /// Index of the file.
    files: BTreeMap<String, usize>,
    at: u64,
    bytes: u64,
}

fn is_name(name: &str, is_file: bool) -> bool {
    let is_part = |part: &str, max: usize| {
        (1..=max).contains(&part.len())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    match name.split_once('.') {
        Some((stem, extension)) => is_file && is_part(stem, 8) && is_part(extension, 3),
        None => is_part(name, 8),
    }
}

/// A file's identifier: name, full stop, extension, version (section 7.5.1).
fn identifier(name: &str) -> String {
    if name.contains('.') {
        format!("{name};1")
    } else {
        format!("{name}.;1")
    }
}

fn both_16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

fn both_32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

/// A directory record (section 9.1).
fn record(name: &[u8], at: u64, length: u64, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    both_32(&mut bytes, at as u32);
    both_32(&mut bytes, length as u32);
    bytes.extend_from_slice(&RECORD_TIME);
    bytes.extend_from_slice(&[flags, 0, 0]);
    both_16(&mut bytes, 1);
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name);
    if name.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes[0] = bytes.len() as u8;
    bytes
}

/// The extents of a file: where and how long each is.
fn extents(at: u64, length: u64) -> Vec<(u64, u64)> {
    let mut extents = Vec::new();
    let (mut at, mut left) = (at, length);
    loop {
        let taken = left.min(EXTENT_BYTES_MAX);
        extents.push((at, taken));
        left -= taken;
        at += taken / SECTOR;
        if left == 0 {
            return extents;
        }
    }
}

struct Layout<'a> {
    files: &'a [File],
    directories: Vec<Directory>,
    places: Vec<u64>,
}

impl Layout<'_> {
    fn tree(files: &[File]) -> Result<Layout<'_>, IsoError> {
        let mut directories = vec![Directory::default()];
        directories[0].depth = 1;
        for (index, file) in files.iter().enumerate() {
            let (name, folders) = file.path.split_last().ok_or(IsoError::BadName)?;
            let mut at = 0;
            for folder in folders {
                if !is_name(folder, false) {
                    return Err(IsoError::BadName);
                }
                if directories[at].files.contains_key(folder) {
                    return Err(IsoError::Duplicate);
                }
                at = match directories[at].directories.get(folder) {
                    Some(known) => *known,
                    None => {
                        let new = directories.len();
                        let depth = directories[at].depth + 1;
                        if depth > DEPTH_MAX || new >= usize::from(u16::MAX) {
                            return Err(IsoError::TooManyDirectories);
                        }
                        directories[at].directories.insert(folder.clone(), new);
                        directories.push(Directory {
                            parent: at,
                            name: folder.clone(),
                            depth,
                            ..Directory::default()
                        });
                        new
                    }
                };
            }
            if !is_name(name, true) {
                return Err(IsoError::BadName);
            }
            let is_taken = directories[at].directories.contains_key(name);
            if is_taken || directories[at].files.insert(name.clone(), index).is_some() {
                return Err(IsoError::Duplicate);
            }
        }
        Ok(Layout {
            files,
            directories,
            places: Vec::new(),
        })
    }

    /// Directories level by level, each level in the order of its parents and names: the order of path tables.
    fn order(&self) -> Vec<usize> {
        let mut order = vec![0];
        let mut next = 0;
        while let Some(index) = order.get(next).copied() {
            order.extend(self.directories[index].directories.values());
            next += 1;
        }
        order
    }

    /// A directory's content. Records do not cross sectors.
    fn content(&self, index: usize) -> Vec<u8> {
        let directory = &self.directories[index];
        let parent = &self.directories[directory.parent];
        let mut records = vec![
            record(&[0], directory.at, directory.bytes, IS_DIRECTORY),
            record(&[1], parent.at, parent.bytes, IS_DIRECTORY),
        ];
        let mut named: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
        for (name, child) in &directory.directories {
            let child = &self.directories[*child];
            let entry = record(name.as_bytes(), child.at, child.bytes, IS_DIRECTORY);
            named.push((name.clone(), vec![entry]));
        }
        for (name, file) in &directory.files {
            let identifier = identifier(name);
            let place = self.places.get(*file).copied().unwrap_or_default();
            let extents = extents(place, self.files[*file].length);
            let last = extents.len() - 1;
            let entries = extents.iter().enumerate().map(|(number, (at, length))| {
                let flags = if number < last { HAS_MORE } else { 0 };
                record(identifier.as_bytes(), *at, *length, flags)
            });
            named.push((identifier.clone(), entries.collect()));
        }
        named.sort_by(|one, other| one.0.cmp(&other.0));
        records.extend(named.into_iter().flat_map(|(_, entries)| entries));
        let mut out: Vec<u8> = Vec::new();
        for entry in records {
            let room = padding(out.len() as u64);
            if room > 0 && entry.len() > room {
                out.resize(out.len() + room, 0);
            }
            out.extend(entry);
        }
        out.resize(out.len().next_multiple_of(SECTOR as usize), 0);
        out
    }

    /// A path table (section 9.4).
    fn table(&self, order: &[usize], is_big_endian: bool) -> Vec<u8> {
        let mut numbers = vec![0_u16; self.directories.len()];
        for (number, index) in order.iter().enumerate() {
            numbers[*index] = number as u16 + 1;
        }
        let mut out = Vec::new();
        for index in order {
            let directory = &self.directories[*index];
            let name: &[u8] = if *index == 0 { &[0] } else { directory.name.as_bytes() };
            out.extend_from_slice(&[name.len() as u8, 0]);
            let (at, parent) = (directory.at as u32, numbers[directory.parent]);
            if is_big_endian {
                out.extend_from_slice(&at.to_be_bytes());
                out.extend_from_slice(&parent.to_be_bytes());
            } else {
                out.extend_from_slice(&at.to_le_bytes());
                out.extend_from_slice(&parent.to_le_bytes());
            }
            out.extend_from_slice(name);
            if name.len() % 2 == 1 {
                out.push(0);
            }
        }
        out
    }
}

/// The primary volume descriptor (section 8.4).
fn descriptor(volume_id: &str, num_sectors: u32, table_bytes: u32, tables_at: [u32; 2], root: &Directory) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str, length: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(length, b' ');
        out.extend_from_slice(&bytes[..length]);
    };
    let mut out = vec![1];
    out.extend_from_slice(b"CD001\x01\0");
    text(&mut out, "", 32);
    text(&mut out, volume_id, 32);
    out.extend_from_slice(&[0; 8]);
    both_32(&mut out, num_sectors);
    out.extend_from_slice(&[0; 32]);
    both_16(&mut out, 1);
    both_16(&mut out, 1);
    both_16(&mut out, SECTOR as u16);
    both_32(&mut out, table_bytes);
    out.extend_from_slice(&tables_at[0].to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&tables_at[1].to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend(record(&[0], root.at, root.bytes, IS_DIRECTORY));
    // Set, publisher, preparer, application; then copyright, abstract and bibliographic files.
    for (content, length) in [
        ("", 128),
        ("", 128),
        ("", 128),
        ("SEPTUM", 128),
        ("", 37),
        ("", 37),
        ("", 37),
    ] {
        text(&mut out, content, length);
    }
    for time in [VOLUME_TIME, VOLUME_TIME, NO_TIME, VOLUME_TIME] {
        out.extend_from_slice(time);
    }
    out.extend_from_slice(&[1, 0]);
    out.resize(SECTOR as usize, 0);
    out
}

/// Lays an image out. Behind its head come the files in their order, each followed by [`padding`].
///
/// # Errors
/// [`IsoError`].
pub(super) fn lay_out(volume_id: &str, files: &[File]) -> Result<Image, IsoError> {
    let mut layout = Layout::tree(files)?;
    let order = layout.order();
    let table_bytes = layout.table(&order, false).len() as u64;
    let table_sectors = table_bytes.div_ceil(SECTOR);
    let mut at = TABLES_AT + 2 * table_sectors;
    for index in &order {
        let bytes = layout.content(*index).len() as u64;
        let directory = &mut layout.directories[*index];
        (directory.at, directory.bytes) = (at, bytes);
        at += bytes / SECTOR;
    }
    let head_sectors = at;
    for file in files {
        layout.places.push(at);
        at = at.checked_add(file.length.div_ceil(SECTOR)).ok_or(IsoError::TooLarge)?;
    }
    let num_sectors = u32::try_from(at).map_err(|_| IsoError::TooLarge)?;
    let mut head = vec![0; 16 * SECTOR as usize];
    let tables_at = [TABLES_AT as u32, (TABLES_AT + table_sectors) as u32];
    let root = &layout.directories[0];
    head.extend(descriptor(volume_id, num_sectors, table_bytes as u32, tables_at, root));
    let mut terminator = b"\xFFCD001\x01".to_vec();
    terminator.resize(SECTOR as usize, 0);
    head.extend(terminator);
    for is_big_endian in [false, true] {
        let mut table = layout.table(&order, is_big_endian);
        table.resize((table_sectors * SECTOR) as usize, 0);
        head.extend(table);
    }
    for index in &order {
        head.extend(layout.content(*index));
    }
    debug_assert_eq!(head.len() as u64, head_sectors * SECTOR);
    Ok(Image {
        head,
        length: u64::from(num_sectors) * SECTOR,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, u64)]) -> Vec<File> {
        let file = |(path, length): &(&str, u64)| File {
            path: path.split('/').map(str::to_owned).collect(),
            length: *length,
        };
        list.iter().map(file).collect()
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// Every file of an image's head: path, place, length.
    fn listed(head: &[u8]) -> Vec<(String, u64, u64)> {
        let mut found = Vec::new();
        let root = 16 * 2048 + 156;
        let mut folders = vec![(String::new(), u32_at(head, root + 2), u32_at(head, root + 10))];
        while let Some((path, at, length)) = folders.pop() {
            let content = &head[at as usize * 2048..][..length as usize];
            let mut place = 0;
            while place < content.len() {
                let size = usize::from(content[place]);
                if size == 0 {
                    place = (place / 2048 + 1) * 2048;
                    continue;
                }
                let entry = &content[place..place + size];
                place += size;
                let name = &entry[33..33 + usize::from(entry[32])];
                if matches!(name, [0] | [1]) {
                    continue;
                }
                let name = String::from_utf8_lossy(name);
                if entry[25] & IS_DIRECTORY != 0 {
                    folders.push((format!("{path}{name}/"), u32_at(entry, 2), u32_at(entry, 10)));
                } else {
                    found.push((
                        format!("{path}{name}"),
                        u32_at(entry, 2).into(),
                        u32_at(entry, 10).into(),
                    ));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn files_lie_where_the_directories_say() {
        let list = files(&[
            ("DICOMDIR", 3),
            ("DICOM/S1/I1", 2048),
            ("DICOM/S1/I2", 0),
            ("DICOM/S2/I1", 2049),
            ("A.PDF", 1),
        ]);
        let image = lay_out("SEPTUM", &list).expect("fits");
        let first = image.head.len() as u64 / 2048;
        let expected = [
            ("A.PDF;1", first + 4, 1),
            ("DICOM/S1/I1.;1", first + 1, 2048),
            ("DICOM/S1/I2.;1", first + 2, 0),
            ("DICOM/S2/I1.;1", first + 2, 2049),
            ("DICOMDIR.;1", first, 3),
        ];
        let expected: Vec<_> = expected.map(|(path, at, length)| (path.to_owned(), at, length)).into();
        assert_eq!(listed(&image.head), expected);
        assert_eq!(image.length, (first + 5) * 2048);
        assert_eq!(&image.head[16 * 2048..][..6], b"\x01CD001");
        assert_eq!(padding(2049), 2047);
    }

    #[test]
    fn large_directories_take_several_sectors() {
        let names: Vec<String> = (0..1000).map(|number| format!("D/I{number:07}")).collect();
        let list: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 5)).collect();
        let image = lay_out("X", &files(&list)).expect("fits");
        assert_eq!(listed(&image.head).len(), 1000);
    }

    #[test]
    fn long_files_take_several_extents() {
        let extents = extents(100, (1 << 32) + 5);
        assert_eq!(extents.len(), 2);
        assert_eq!(extents[0].1 + extents[1].1, (1 << 32) + 5);
        assert_eq!(extents[1].0, 100 + extents[0].1 / SECTOR);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (list, error) in [
            (vec![("a", 1)], IsoError::BadName),
            (vec![("TOOLONG99", 1)], IsoError::BadName),
            (vec![("A.B/C", 1)], IsoError::BadName),
            (vec![("A", 1), ("A", 1)], IsoError::Duplicate),
            (vec![("A", 1), ("A/B", 1)], IsoError::Duplicate),
            (vec![("A/B/C/D/E/F/G/H/I", 1)], IsoError::TooManyDirectories),
            (vec![("A", 1 << 50)], IsoError::TooLarge),
        ] {
            assert_eq!(lay_out("X", &files(&list)).err(), Some(error));
        }
    }
}
