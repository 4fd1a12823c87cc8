//! Loading the key store: finishing interrupted rewrites, finding records, telling torn writes from damage.

use super::manifest;
use super::{Inner, Name, Place, Places};
use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{FILE_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordKind, u16_at};
use crate::segment::{self, SegmentFile};
use crate::shard::journal::is_damage;
use crate::vfs::OpenMode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Name and value of a record.
pub(crate) fn parse<'a>(header: &RecordHeader, body: &'a [u8]) -> Option<(Name, &'a [u8])> {
    match header.kind {
        RecordKind::Key => Some((Name::Study(header.id), body)),
        RecordKind::Named => {
            let name_bytes = usize::from(u16_at(body.get(..2)?, 0));
            let (name, value) = body[2..].split_at_checked(name_bytes)?;
            (named_id(name) == header.id).then(|| (Name::Named(name.to_vec()), value))
        }
        _ => None,
    }
}

/// The id in the header of a named record.
pub(crate) fn named_id(name: &[u8]) -> [u8; 16] {
    crate::format::array_at(blake3::hash(name).as_bytes(), 0)
}

/// A disk that lost power keeps whole sectors: what was not written reads as zeros.
pub(super) fn is_torn(file: &SegmentFile, offset: u64) -> Result<bool> {
    const SECTOR_BYTES: u64 = 512;
    let Some(rest) = file
        .end()
        .checked_sub(offset)
        .filter(|rest| *rest >= RECORD_HEADER_BYTES)
    else {
        return Ok(true);
    };
    let mut bytes = vec![0; RECORD_HEADER_BYTES.min(rest) as usize];
    file.read_into(&mut bytes, offset)?;
    let border = ((SECTOR_BYTES - offset % SECTOR_BYTES) as usize).min(bytes.len());
    let is_zero = |part: &[u8]| !part.is_empty() && part.iter().all(|byte| *byte == 0);
    Ok(is_zero(&bytes[..border]) || is_zero(&bytes[border..]))
}

/// Enters a record; the higher sequence counts.
fn add(places: &mut Places, name: Name, place: Place) {
    places.next_sequence = places.next_sequence.max(place.sequence + 1);
    match places.current.get_mut(&name) {
        Some(current) => {
            let old = if current.sequence < place.sequence {
                std::mem::replace(current, place)
            } else {
                place
            };
            places.stale.entry(name).or_default().push(old);
        }
        None => {
            places.current.insert(name, place);
        }
    }
}

/// Reads one segment. True if it is whole, so that it may be appended to.
fn load_segment(inner: &Inner, places: &mut Places, file: &SegmentFile) -> Result<bool> {
    let end = file.end();
    let mut at = FILE_HEADER_BYTES;
    let mut is_whole = true;
    while at < end {
        match file.read_header(at).and_then(|header| {
            if at + header.total_bytes() <= end {
                return Ok(header);
            }
            Err(file.id.corrupt(at, "the file ends inside a record"))
        }) {
            Ok(header) => {
                let place = Place {
                    segment: file.id.segment,
                    offset: at,
                    total_bytes: header.total_bytes(),
                    sequence: header.sequence,
                };
                let name = match file.read_record(at, Some(header.total_bytes())) {
                    Ok((header, body)) => parse(&header, &body).map(|(name, _)| name),
                    // A study key's name is in the intact header: reading it will say corrupt.
                    Err(error) if is_damage(&error) && header.kind == RecordKind::Key => Some(Name::Study(header.id)),
                    Err(error) if is_damage(&error) => None,
                    Err(error) => return Err(error),
                };
                match name {
                    Some(name) => add(places, name, place),
                    None => {
                        tracing::error!(
                            segment = file.id.segment,
                            offset = at,
                            "a damaged record in the key store"
                        );
                        inner.num_damaged.fetch_add(1, Ordering::AcqRel);
                        is_whole = false;
                    }
                }
                at += header.total_bytes();
            }
            Err(error) if error.is_corrupt() => {
                is_whole = false;
                if !is_torn(file, at)? {
                    tracing::error!(segment = file.id.segment, offset = at, "damage in the key store");
                    inner.num_damaged.fetch_add(1, Ordering::AcqRel);
                }
                match file.find_header(at + 1, end)? {
                    Some(header) => at = header.offset,
                    None => break,
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(is_whole)
}

/// Loads everything; returns the segment to append to, if one can be.
pub(crate) fn load(inner: &Inner) -> Result<Option<Arc<SegmentFile>>> {
    let vfs = &*inner.vfs;
    let listed = manifest::read(vfs, &inner.directory, &inner.store)?;
    let mut numbers = segment::list(vfs, &inner.directory)?;
    let path = |number: u32| inner.directory.join(segment::file_name(number));
    let mut removed = false;
    let mut unlink = |path: &std::path::Path| -> Result<()> {
        if !inner.read_only {
            vfs.unlink(path)
                .map_err(StorageError::io("remove an old key segment"))?;
            removed = true;
        }
        Ok(())
    };
    for name in vfs
        .list(&inner.directory)
        .map_err(StorageError::io("list key segments"))?
    {
        if name.ends_with(".new") {
            unlink(&inner.directory.join(name))?;
        }
    }
    let mut files = Vec::new();
    let mut replaced = Vec::new();
    let mut unreadable = Vec::new();
    for number in numbers.iter().copied() {
        let id = inner.files.id(SegmentKind::Keys, number);
        let mode = if inner.read_only {
            OpenMode::Read
        } else {
            OpenMode::Write
        };
        match SegmentFile::open(vfs, &inner.directory, id, mode) {
            Ok(file) => {
                if file.header.replaces > 0 {
                    replaced.push(file.header.replaces);
                }
                files.push(Arc::new(file));
            }
            Err(error) if is_damage(&error) => {
                if matches!(error, StorageError::UnknownVersion { .. }) {
                    return Err(error);
                }
                unreadable.push(number);
            }
            Err(error) => return Err(error),
        }
    }
    // One that was replaced may have been overwritten with zeros already. One that is not listed was never finished:
    // a segment holds no key before it is listed.
    for number in unreadable.into_iter().filter(|number| !replaced.contains(number)) {
        if listed.contains_key(&number) {
            tracing::error!(segment = number, "a key segment cannot be read");
            inner.num_damaged.fetch_add(1, Ordering::AcqRel);
        } else {
            unlink(&path(number))?;
        }
    }
    for number in &replaced {
        if numbers.contains(number) {
            unlink(&path(*number))?;
        }
    }
    numbers.retain(|number| !replaced.contains(number));
    files.retain(|file| !replaced.contains(&file.id.segment));
    if removed {
        vfs.sync_dir(&inner.directory)
            .map_err(StorageError::io("sync a directory"))?;
    }
    let mut places = Places {
        next_sequence: 1,
        ..Places::default()
    };
    for (number, len_bytes) in &listed {
        if replaced.contains(number) {
            continue;
        }
        let found = files.iter().find(|file| file.id.segment == *number);
        let is_short = |file: &Arc<SegmentFile>| len_bytes.is_some_and(|len_bytes| file.end() < len_bytes);
        if found.is_none() && !numbers.contains(number) || found.is_some_and(is_short) {
            tracing::error!(segment = number, "a key segment is missing or too short");
            inner.num_damaged.fetch_add(1, Ordering::AcqRel);
        }
        places.segments.insert(*number, *len_bytes);
    }
    let mut active = None;
    for file in &files {
        // Key segments are short and their records many. What cannot be read as a whole may be read in part.
        let held = file.held();
        let is_whole = load_segment(inner, &mut places, held.as_ref().unwrap_or(file))?;
        let number = file.id.segment;
        places.segments.entry(number).or_insert(None);
        active = (is_whole && places.segments[&number].is_none() && file.end() < super::KEY_SEGMENT_BYTES)
            .then(|| Arc::clone(file));
    }
    let newest = numbers.last().copied().max(listed.keys().last().copied()).unwrap_or(0);
    places.next_segment = newest + 1;
    let segments = places.segments.clone();
    *inner.write_places() = places;
    if !inner.read_only && segments != listed {
        manifest::write(vfs, &inner.directory, &inner.store, &segments)?;
    }
    Ok(active.filter(|_| !inner.read_only))
}
