//! The thread that writes the key store.

use super::open::{is_torn, named_id, parse};
use super::{DestroyProof, Inner, KEY_SEGMENT_BYTES, Name, Place, Records, Request, manifest};
use crate::error::{Result, SegmentKind, StorageError};
use crate::format::{FILE_HEADER_BYTES, FileHeader, RECORD_HEADER_BYTES, RecordHeader, RecordKind};
use crate::segment::{SegmentFile, file_name, now_ms};
use crate::vfs::{OpenMode, write_all_at};
use crossbeam_channel::{Receiver, TryRecvError};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A group of puts stops growing here.
const GROUP_RECORDS_MAX: usize = 4096;

pub(super) struct Writer {
    inner: Arc<Inner>,
    active: Option<Arc<SegmentFile>>,
}

impl Writer {
    pub(super) fn new(inner: Arc<Inner>, active: Option<Arc<SegmentFile>>) -> Self {
        Self { inner, active }
    }

    pub(super) fn run(mut self, receiver: &Receiver<Request>) {
        let mut held = None;
        while let Some(request) = held.take().or_else(|| receiver.recv().ok()) {
            match request {
                Request::Close => return,
                Request::Destroy(names, stale, reply) => {
                    let result = self.destroy(&names, stale);
                    let _ = reply.send(result);
                }
                Request::Put(records, reply) => {
                    let mut all = records;
                    let mut replies: Vec<oneshot::Sender<Result<()>>> = vec![reply];
                    while all.len() < GROUP_RECORDS_MAX {
                        match receiver.try_recv() {
                            Ok(Request::Put(records, reply)) => {
                                all.extend(records);
                                replies.push(reply);
                            }
                            Ok(other) => {
                                held = Some(other);
                                break;
                            }
                            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                        }
                    }
                    let result = self.put(all);
                    for reply in replies {
                        let _ = reply.send(result.clone());
                    }
                }
            }
        }
    }

    fn segment(&mut self) -> Result<Arc<SegmentFile>> {
        if let Some(active) = &self.active
            && active.end() < KEY_SEGMENT_BYTES
        {
            return Ok(Arc::clone(active));
        }
        let number = self.inner.read_places().next_segment;
        let file = SegmentFile::create(&*self.inner.vfs, &self.inner.directory, self.header(number, 0));
        let file = Arc::new(self.inner.checked(file)?);
        let segments = {
            let mut places = self.inner.write_places();
            places.next_segment += 1;
            if let Some(closed) = self.active.take() {
                places.segments.insert(closed.id.segment, Some(closed.end()));
            }
            places.segments.insert(number, None);
            places.segments.clone()
        };
        // Listed before it holds a key, so that its loss would be noticed.
        manifest::write(&*self.inner.vfs, &self.inner.directory, &self.inner.store, &segments)?;
        self.active = Some(Arc::clone(&file));
        Ok(file)
    }

    fn header(&self, number: u32, replaces: u32) -> FileHeader {
        FileHeader {
            id: self.inner.files.id(SegmentKind::Keys, number),
            replaces,
            created_ms: now_ms(),
            first_batch: 0,
            previous_hash: [0; 32],
        }
    }

    /// Durable when it returns. On a full disk nothing of the group counts, though closed segments may keep bytes of
    /// it that nobody will ask for.
    fn put(&mut self, records: Records) -> Result<()> {
        self.inner.readable()?;
        let mut sequence = self.inner.read_places().next_sequence;
        let mut placed = Vec::with_capacity(records.len());
        let mut touched: Vec<Arc<SegmentFile>> = Vec::new();
        for (name, value) in records {
            let file = self.segment()?;
            let (kind, id, body) = match &name {
                Name::Study(id) => (RecordKind::Key, *id, value),
                Name::Named(text) => {
                    let mut body = (text.len() as u16).to_le_bytes().to_vec();
                    body.extend_from_slice(text);
                    body.extend_from_slice(&value);
                    (RecordKind::Named, named_id(text), body)
                }
            };
            let header = RecordHeader {
                kind,
                id,
                offset: file.end(),
                sequence,
                body_bytes: body.len() as u64,
                body_checksum: crc32c::crc32c(&body),
            };
            let mut bytes = header.encode(&file.id).to_vec();
            bytes.extend_from_slice(&body);
            self.inner.checked(file.append(&[&bytes]))?;
            let place = Place {
                segment: file.id.segment,
                offset: header.offset,
                total_bytes: bytes.len() as u64,
                sequence,
            };
            placed.push((name, place));
            sequence += 1;
            if !touched.iter().any(|other| Arc::ptr_eq(other, &file)) {
                touched.push(file);
            }
        }
        fail::fail_point!("storage::fsync_keys", |_| Err(self.inner.poison()));
        self.inner.checked(touched.iter().try_for_each(|file| file.sync()))?;
        let mut places = self.inner.write_places();
        places.next_sequence = sequence;
        for (name, place) in placed {
            if let Some(old) = places.current.insert(name.clone(), place) {
                places.stale.entry(name).or_default().push(old);
            }
        }
        Ok(())
    }

    fn destroy(&mut self, names: &[Name], all_stale: bool) -> Result<DestroyProof> {
        self.inner.readable()?;
        let inner = Arc::clone(&self.inner);
        let _guard = crate::lock(&inner.removal);
        let doomed: HashSet<Name> = names.iter().cloned().collect();
        let mut affected = BTreeSet::new();
        let mut num_destroyed = 0;
        {
            let places = self.inner.read_places();
            for name in &doomed {
                num_destroyed += u64::from(places.current.contains_key(name));
                affected.extend(places.current.get(name).map(|place| place.segment));
                affected.extend(places.stale.get(name).into_iter().flatten().map(|place| place.segment));
            }
            if all_stale {
                affected.extend(places.stale.values().flatten().map(|place| place.segment));
            }
        }
        if self
            .active
            .as_ref()
            .is_some_and(|active| affected.contains(&active.id.segment))
        {
            self.active = None;
        }
        let leftover = inner.read_places().leftover.clone();
        for number in &leftover {
            inner.checked(self.remove(*number))?;
        }
        let mut traces: Vec<Vec<u8>> = Vec::new();
        let mut rewritten = Vec::new();
        for number in &affected {
            let new = match self.rewrite(*number, &doomed, &mut traces) {
                Err(StorageError::NoSpace) if self.release_reserve() => self.rewrite(*number, &doomed, &mut traces),
                other => other,
            };
            rewritten.extend(inner.checked(new)?);
        }
        affected.extend(leftover);
        let searched_bytes = self.prove(&affected, &rewritten, &doomed, &traces)?;
        self.take_reserve();
        Ok(DestroyProof {
            num_destroyed,
            num_segments: affected.len() as u64,
            searched_bytes,
        })
    }

    /// Writes the segment anew without the doomed and the superseded, and removes the old one.
    fn rewrite(&self, number: u32, doomed: &HashSet<Name>, traces: &mut Vec<Vec<u8>>) -> Result<Option<u32>> {
        let inner = Arc::clone(&self.inner);
        let (vfs, directory) = (&*inner.vfs, &inner.directory);
        let old = SegmentFile::open(
            vfs,
            directory,
            inner.files.id(SegmentKind::Keys, number),
            OpenMode::Write,
        )?;
        let new_number = inner.read_places().next_segment;
        let header = self.header(new_number, number);
        let mut bytes = header.encode().to_vec();
        let mut moved = Vec::new();
        let mut at = FILE_HEADER_BYTES;
        while at < old.end() {
            // Not verified: a damaged body is carried as it is, so that it stays corrupt instead of vanishing.
            let found = match old.read_header(at) {
                Ok(found) if at + found.total_bytes() <= old.end() => Some(found),
                Ok(_) => None,
                Err(error) if error.is_corrupt() => None,
                Err(error) => return Err(error),
            };
            let Some(found) = found else {
                if !is_torn(&old, at)? {
                    // Somebody's key may be in there: dropping it would turn corrupt into not found.
                    return Err(old.id.corrupt(at, "damage in a segment that must be rewritten"));
                }
                match old.find_header(at + 1, old.end())? {
                    Some(next) => at = next.offset,
                    None => break,
                }
                continue;
            };
            let mut body = vec![0; found.body_bytes as usize];
            old.read_into(&mut body, at + RECORD_HEADER_BYTES)?;
            let name = match (parse(&found, &body), found.kind) {
                (Some((name, _)), _) => name,
                (None, RecordKind::Key) => Name::Study(found.id),
                _ => return Err(old.id.corrupt(at, "a damaged named record")),
            };
            let here = Place {
                segment: number,
                offset: at,
                total_bytes: found.total_bytes(),
                sequence: found.sequence,
            };
            let is_current = inner.read_places().current.get(&name) == Some(&here);
            if is_current && !doomed.contains(&name) {
                let moved_header = RecordHeader {
                    offset: bytes.len() as u64,
                    ..found
                };
                let place = Place {
                    segment: new_number,
                    offset: moved_header.offset,
                    ..here
                };
                bytes.extend_from_slice(&moved_header.encode(&header.id));
                bytes.extend_from_slice(&body);
                moved.push((name, place));
            } else if doomed.contains(&name) {
                traces.push(body);
            }
            at += found.total_bytes();
        }
        let keeps = !moved.is_empty();
        if keeps {
            let temporary = directory.join(format!("{new_number:08}.new"));
            if vfs
                .exists(&temporary)
                .map_err(StorageError::io("look for an old temporary file"))?
            {
                vfs.unlink(&temporary)
                    .map_err(StorageError::io("remove an old temporary file"))?;
            }
            let file = vfs
                .open(&temporary, OpenMode::CreateNew)
                .map_err(StorageError::io("create a key segment"))?;
            if let Err(error) = write_all_at(&*file, &bytes, 0) {
                let _ = vfs.unlink(&temporary);
                return Err(StorageError::io("write a key segment")(error));
            }
            let poisoned = |_| StorageError::Poisoned {
                shard: crate::KEYS_SHARD,
            };
            file.sync().map_err(poisoned)?;
            vfs.rename(&temporary, &directory.join(file_name(new_number)))
                .map_err(StorageError::io("rename a key segment"))?;
            vfs.sync_dir(directory).map_err(poisoned)?;
        }
        let segments = {
            let mut places = inner.write_places();
            places.segments.remove(&number);
            places.leftover.insert(number);
            if keeps {
                places.next_segment += 1;
                places.segments.insert(new_number, Some(bytes.len() as u64));
            }
            for (name, place) in moved {
                places.current.insert(name, place);
            }
            for name in doomed {
                if places.current.get(name).is_some_and(|place| place.segment == number) {
                    places.current.remove(name);
                }
            }
            places.stale.retain(|_, stale| {
                stale.retain(|place| place.segment != number);
                !stale.is_empty()
            });
            places.segments.clone()
        };
        manifest::write(vfs, directory, &inner.store, &segments)?;
        self.remove(number)?;
        Ok(keeps.then_some(new_number))
    }

    /// Overwrites and removes a segment that was rewritten.
    fn remove(&self, number: u32) -> Result<()> {
        let inner = &self.inner;
        inner.files.forget(SegmentKind::Keys, number);
        let path = inner.directory.join(file_name(number));
        if inner
            .vfs
            .exists(&path)
            .map_err(StorageError::io("look for a key segment"))?
        {
            let file = inner
                .vfs
                .open(&path, OpenMode::Write)
                .map_err(StorageError::io("open a key segment"))?;
            let len_bytes = file.len().map_err(StorageError::io("measure a key segment"))?;
            // On most disks this leaves nothing even to an undelete; the guarantee is that the keys are wrapped.
            let zeros = vec![0; len_bytes as usize];
            write_all_at(&*file, &zeros, 0).map_err(StorageError::io("overwrite a key segment"))?;
            file.sync().map_err(|_| StorageError::Poisoned {
                shard: crate::KEYS_SHARD,
            })?;
            inner
                .vfs
                .unlink(&path)
                .map_err(StorageError::io("remove a key segment"))?;
        }
        inner
            .vfs
            .sync_dir(&inner.directory)
            .map_err(|_| StorageError::Poisoned {
                shard: crate::KEYS_SHARD,
            })?;
        inner.write_places().leftover.remove(&number);
        Ok(())
    }

    /// Reads the directory and the new files back and searches them for the destroyed.
    fn prove(
        &self,
        removed: &BTreeSet<u32>,
        rewritten: &[u32],
        doomed: &HashSet<Name>,
        traces: &[Vec<u8>],
    ) -> Result<u64> {
        const TRACE_BYTES: usize = 16;
        let inner = &self.inner;
        let present = crate::segment::list(&*inner.vfs, &inner.directory)?;
        for number in removed {
            if present.contains(number) {
                return Err(inner
                    .files
                    .id(SegmentKind::Keys, *number)
                    .corrupt(0, "a destroyed segment is still there"));
            }
        }
        let mut windows: HashSet<[u8; TRACE_BYTES]> = HashSet::new();
        for name in doomed {
            windows.insert(match name {
                Name::Study(id) => *id,
                Name::Named(name) => named_id(name),
            });
        }
        windows.extend(
            traces.iter().filter_map(|body| {
                <[u8; TRACE_BYTES]>::try_from(body.get(body.len().checked_sub(TRACE_BYTES)?..)?).ok()
            }),
        );
        let mut searched_bytes = 0;
        for number in rewritten {
            let id = inner.files.id(SegmentKind::Keys, *number);
            let file = SegmentFile::open(&*inner.vfs, &inner.directory, id, OpenMode::Read)?;
            let mut bytes = vec![0; file.end() as usize];
            file.read_into(&mut bytes, 0)?;
            searched_bytes += bytes.len() as u64;
            let hit = bytes.windows(TRACE_BYTES).position(|window| {
                window
                    .try_into()
                    .is_ok_and(|window: [u8; TRACE_BYTES]| windows.contains(&window))
            });
            if let Some(offset) = hit {
                return Err(id.corrupt(offset as u64, "a trace of a destroyed key"));
            }
        }
        Ok(searched_bytes)
    }

    fn release_reserve(&self) -> bool {
        self.inner.vfs.unlink(&self.inner.root.join("reserve")).is_ok()
    }

    fn take_reserve(&self) {
        let path = self.inner.root.join("reserve");
        if self.inner.reserve_bytes == 0 || self.inner.vfs.exists(&path).unwrap_or(true) {
            return;
        }
        let zeros = vec![0; self.inner.reserve_bytes as usize];
        if let Ok(file) = self.inner.vfs.open(&path, OpenMode::CreateNew)
            && write_all_at(&*file, &zeros, 0).is_err()
        {
            let _ = self.inner.vfs.unlink(&path);
        }
    }
}
