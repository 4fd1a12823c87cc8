//! The files of a disc image: ISO 9660 (ECMA-119), Level 1 to 3, with Rock Ridge (SUSP 1.12, RRIP 1.12) or Joliet names
//! where there are any. Read-only, without recursion; what is not within the image is not read.
//!
//! Of two trees the primary one is walked if it has Rock Ridge names or is alone, else Joliet's: both list the same files.

use std::collections::HashSet;
use std::sync::Arc;

use super::container::{Container, Listed, MEMBERS_MAX, Member};

/// A sector, in bytes (ECMA-119 section 6.1.2).
const SECTOR: u64 = 2048;

/// Volume descriptors start here (section 6.2.1).
const FIRST_DESCRIPTOR: u64 = 16;

/// Most volume descriptors that are looked at.
const DESCRIPTORS_MAX: u64 = 64;

/// Longest path of a folder in an image, in bytes: folders that go deeper go nowhere.
const PATH_BYTES_MAX: usize = 4096;

/// Longest folder, in bytes.
const FOLDER_BYTES_MAX: u64 = 256 << 20;

/// Whether the beginning of a file, of 34 KiB at least, is that of an image.
pub(super) fn is_iso(window: &[u8]) -> bool {
    window.get(32_769..32_774) == Some(b"CD001")
}

/// Whether it is an image with UDF alone (ECMA-167 section 2/8.3), which cannot be read here.
pub(super) fn is_udf(window: &[u8]) -> bool {
    window.get(32_769..32_774) == Some(b"BEA01")
}

/// How names are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Plain,
    /// With the bytes to skip in each system use area (SUSP section 5.3).
    RockRidge(usize),
    Joliet,
}

/// A folder to read.
struct Folder {
    /// Path in the image, with `/` at its end; empty for the root.
    path: String,
    start: u64,
    length: u64,
}

struct Record<'a> {
    start: u64,
    length: u64,
    flags: u8,
    name: &'a [u8],
    system_use: &'a [u8],
}

const IS_FOLDER: u8 = 2;
const IS_ASSOCIATED: u8 = 4;
const HAS_MORE: u8 = 0x80;

/// Lists the files. The error says why there are none, or no more.
pub(super) fn list(container: &Arc<Container>, on_listed: &mut dyn FnMut(Listed) -> bool) -> Result<(), &'static str> {
    const DAMAGED: &str = "a damaged disc image";
    let (block, root, names) = volume(container).ok_or(DAMAGED)?;
    let mut stack = vec![root];
    let mut visited = HashSet::new();
    let mut num_members = 0u64;
    while let Some(folder) = stack.pop() {
        if folder.length > FOLDER_BYTES_MAX || folder.start.saturating_add(folder.length) > container.length {
            return Err(DAMAGED);
        }
        // A folder that leads to one above it must not trap the walk.
        if !visited.insert(folder.start) {
            continue;
        }
        let bytes = container
            .read(folder.start, folder.length as usize)
            .map_err(|_| "cannot be read")?;
        let mut extents: Vec<(u64, u64)> = Vec::new();
        let mut below = Vec::new();
        for record in records(&bytes, block) {
            num_members += 1;
            if num_members > MEMBERS_MAX {
                return Err("too many files in one disc image");
            }
            if matches!(record.name, [0] | [1]) || record.flags & IS_ASSOCIATED != 0 {
                continue;
            }
            let name = format!("{}{}", folder.path, name(&record, names));
            if name.len() > PATH_BYTES_MAX {
                return Err(DAMAGED);
            }
            if record.flags & IS_FOLDER != 0 {
                below.push(Folder {
                    path: name + "/",
                    start: record.start,
                    length: record.length,
                });
                continue;
            }
            // A file of several extents has a record for each (section 6.5.1); of no file there are more than this.
            if extents.len() < 4096 {
                extents.push((record.start, record.length));
            }
            if record.flags & HAS_MORE != 0 {
                continue;
            }
            let extents = std::mem::take(&mut extents);
            let is_inside = |&(start, length): &(u64, u64)| start.saturating_add(length) <= container.length;
            let length = extents
                .iter()
                .fold(0u64, |sum, (_, length)| sum.saturating_add(*length));
            let listed = match extents.iter().all(is_inside) {
                false => Listed::Unreadable(container.path_of(&name), "beyond the end of the image"),
                true => {
                    let member = Member {
                        container: container.clone(),
                        extents,
                        is_deflated: false,
                        crc32: None,
                    };
                    Listed::File(container.found(&name, length, member))
                }
            };
            if !on_listed(listed) {
                return Ok(());
            }
        }
        stack.extend(below.into_iter().rev());
    }
    Ok(())
}

/// Block size, root folder and names of the tree to walk.
fn volume(container: &Container) -> Option<(u64, Folder, Names)> {
    let (mut primary, mut joliet) = (None, None);
    for sector in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + DESCRIPTORS_MAX {
        let descriptor = container.read(sector * SECTOR, SECTOR as usize).ok()?;
        if descriptor.get(1..6)? != b"CD001" {
            break;
        }
        let tree = || -> Option<(u64, Folder)> {
            let block = u64::from(u16::from_le_bytes(*descriptor.get(128..)?.first_chunk()?));
            if !block.is_power_of_two() || !(512..=SECTOR).contains(&block) {
                return None;
            }
            let record = record(descriptor.get(156..190)?, block)?;
            Some((
                block,
                Folder {
                    path: String::new(),
                    start: record.start,
                    length: record.length,
                },
            ))
        };
        match descriptor.first()? {
            1 if primary.is_none() => primary = tree(),
            // UCS-2 Level 1, 2 or 3 in the escape sequences (Joliet specification, section "SVD Escape Sequences").
            2 if matches!(descriptor.get(88..91)?, b"%/@" | b"%/C" | b"%/E") => joliet = tree(),
            255 => break,
            _ => {}
        }
    }
    if let Some((block, root)) = primary {
        let skip = rock_ridge(container, &root, block);
        return match (skip, joliet) {
            (None, Some((block, root))) => Some((block, root, Names::Joliet)),
            (Some(skip), _) => Some((block, root, Names::RockRidge(skip))),
            (None, None) => Some((block, root, Names::Plain)),
        };
    }
    joliet.map(|(block, root)| (block, root, Names::Joliet))
}

/// The SP field of the root's own record says that names follow SUSP (section 5.3).
fn rock_ridge(container: &Container, root: &Folder, block: u64) -> Option<usize> {
    let bytes = container.read(root.start, root.length.min(SECTOR) as usize).ok()?;
    let own = records(&bytes, block).next()?;
    match own.system_use {
        [b'S', b'P', 7, 1, 0xBE, 0xEF, skip, ..] => Some(usize::from(*skip)),
        _ => None,
    }
}

/// The directory records of a folder (section 9.1). None crosses a sector; zeros fill up the last bytes of each.
fn records(bytes: &[u8], block: u64) -> impl Iterator<Item = Record<'_>> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let to_next_sector = SECTOR as usize - at % SECTOR as usize;
            match usize::from(rest[0]) {
                0 => at += to_next_sector,
                length => {
                    at += length.min(to_next_sector);
                    if let Some(found) = rest.get(..length).and_then(|bytes| record(bytes, block)) {
                        return Some(found);
                    }
                }
            }
        }
    })
}

fn record(bytes: &[u8], block: u64) -> Option<Record<'_>> {
    let number = |at: usize| Some(u64::from(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)));
    let attribute_blocks = u64::from(*bytes.get(1)?);
    let name_length = usize::from(*bytes.get(32)?);
    let name = bytes.get(33..33 + name_length)?;
    // A byte of padding after a name of even length (section 9.1.12).
    let system_use = bytes
        .get(33 + name_length + (1 - name_length % 2)..)
        .unwrap_or_default();
    Some(Record {
        start: (number(2)? + attribute_blocks) * block,
        length: number(10)?,
        flags: *bytes.get(25)?,
        name,
        system_use,
    })
}

fn name(record: &Record<'_>, names: Names) -> String {
    let plain = || {
        let text = String::from_utf8_lossy(record.name);
        text.split(';')
            .next()
            .unwrap_or_default()
            .trim_end_matches('.')
            .to_owned()
    };
    let text = match names {
        Names::Plain => plain(),
        Names::Joliet => {
            let units: Vec<u16> = record
                .name
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            let text = String::from_utf16_lossy(&units);
            text.split(';').next().unwrap_or_default().to_owned()
        }
        Names::RockRidge(skip) => {
            alternate_name(record.system_use.get(skip..).unwrap_or_default()).unwrap_or_else(plain)
        }
    };
    text.replace('/', "\u{FFFD}")
}

/// The NM fields (RRIP section 4.1.4), as far as they lie in the record itself.
fn alternate_name(mut fields: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    while let [a, b, length, _, ..] = *fields {
        let field = fields.get(..usize::from(length)).filter(|field| field.len() >= 4)?;
        if [a, b] == *b"NM" {
            // Flags 2 and 4 stand for . and .., 1 says that more follows.
            name.extend_from_slice(field.get(5..)?);
        }
        fields = &fields[field.len()..];
    }
    (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned())
}

#[cfg(test)]
mod tests;
