//! A file system in memory that fails when told, fills up, and loses power.
//!
//! Model: an inode has *current* bytes and *durable* bytes; a directory has current and durable entries. Sync copies
//! current to durable. [`FaultyVfs::power_cut`] keeps the durable state and, of the rest, whatever a seeded draw
//! decides, sector by sector, which is what a disk without a flush may do. Handles opened before the cut are dead.

use super::{OpenMode, Vfs, VfsFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR_BYTES: usize = 512;

/// The kind of a call, for counting and failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Opening or creating a file.
    Open,
    /// A read.
    Read,
    /// A write.
    Write,
    /// A sync of a file.
    Sync,
    /// A sync of a directory.
    SyncDir,
    /// A change of a file's length.
    SetLen,
    /// A rename.
    Rename,
    /// Removing a name.
    Unlink,
    /// Listing a directory or asking whether a name exists.
    List,
}

/// What a chosen call does instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Fails with this operating-system error number, without effect.
    Error(i32),
    /// A write writes half of its bytes and says so.
    Short,
    /// The process dies here: this call and every later one fails until [`FaultyVfs::power_cut`] or
    /// [`FaultyVfs::restart`].
    Die,
}

/// The file system; cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct FaultyVfs(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    current: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    directories: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    counts: BTreeMap<Operation, u64>,
    num_calls: u64,
    faults: Vec<(Option<Operation>, u64, bool, Fault)>,
    capacity_bytes: Option<u64>,
    dead: bool,
    /// Handles carry the era in which they were opened; an older one is dead.
    era: u64,
}

#[derive(Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug)]
struct FaultyFile {
    world: Arc<Mutex<World>>,
    inode: u64,
    era: u64,
    writable: bool,
}

struct LockGuard(Arc<Mutex<World>>, PathBuf, u64);

impl Drop for LockGuard {
    fn drop(&mut self) {
        let mut world = lock(&self.0);
        if world.era == self.2 {
            world.locks.remove(&self.1);
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

fn os(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl World {
    /// Counts the call and tells what shall happen: `Ok(true)` means a short write.
    fn enter(&mut self, operation: Operation, era: u64) -> io::Result<bool> {
        if self.dead || era != self.era {
            return Err(os(libc::EIO));
        }
        self.num_calls += 1;
        let count = self.counts.entry(operation).or_insert(0);
        *count += 1;
        let (count, total) = (*count, self.num_calls);
        let hit = self.faults.iter().position(|(kind, nth, _, _)| match kind {
            Some(kind) => *kind == operation && *nth == count,
            None => *nth == total,
        });
        let sticky = self.faults.iter().find(|(kind, nth, forever, _)| {
            *forever
                && match kind {
                    Some(kind) => *kind == operation && *nth <= count,
                    None => *nth <= total,
                }
        });
        let fault = match (hit, sticky) {
            (_, Some((.., fault))) => *fault,
            (Some(position), None) => self.faults.remove(position).3,
            (None, None) => return Ok(false),
        };
        match fault {
            Fault::Error(errno) => Err(os(errno)),
            Fault::Short => Ok(true),
            Fault::Die => {
                self.dead = true;
                Err(os(libc::EIO))
            }
        }
    }

    fn used_bytes(&self) -> u64 {
        let live: BTreeSet<_> = self.current.values().collect();
        self.inodes
            .iter()
            .filter(|(id, _)| live.contains(id))
            .map(|(_, inode)| inode.current.len() as u64)
            .sum()
    }
}

impl FaultyVfs {
    /// An empty file system without faults. The directory `/` exists.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the `nth` call (from 1, counted from the last [`FaultyVfs::reset_counts`]) of one kind, or of any kind,
    /// misbehave once; with `forever`, that one and all later ones.
    pub fn fail(&self, operation: Option<Operation>, nth: u64, forever: bool, fault: Fault) {
        lock(&self.0).faults.push((operation, nth, forever, fault));
    }

    /// Forgets all faults and counts.
    pub fn reset_counts(&self) {
        let mut world = lock(&self.0);
        world.faults.clear();
        world.counts.clear();
        world.num_calls = 0;
    }

    /// Calls since the last reset: of one kind, or of all.
    pub fn num_calls(&self, operation: Option<Operation>) -> u64 {
        let world = lock(&self.0);
        operation.map_or(world.num_calls, |kind| world.counts.get(&kind).copied().unwrap_or(0))
    }

    /// Limits the sum of all file lengths; writes beyond fail with ENOSPC.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        lock(&self.0).capacity_bytes = capacity_bytes;
    }

    /// Bytes in all files that have a name.
    pub fn used_bytes(&self) -> u64 {
        lock(&self.0).used_bytes()
    }

    /// The process is killed and started again: handles and locks die, all written bytes stay.
    pub fn restart(&self) {
        let mut world = lock(&self.0);
        world.dead = false;
        world.era += 1;
        world.locks.clear();
        world.faults.clear();
    }

    /// The power fails and returns. `seed` decides which unsynced sectors and names survive; `None` loses all.
    pub fn power_cut(&self, seed: Option<u64>) {
        self.restart();
        let mut world = lock(&self.0);
        let mut state = seed.unwrap_or(0) | 1;
        let mut keep = move || {
            // xorshift64*: a test needs repeatability, not quality.
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            seed.is_some() && state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 63 == 1
        };
        let mut names = world.durable.clone();
        let changed: BTreeSet<PathBuf> = world
            .current
            .keys()
            .chain(world.durable.keys())
            .filter(|path| world.current.get(*path) != world.durable.get(*path))
            .cloned()
            .collect();
        for path in changed {
            if keep() {
                match world.current.get(&path) {
                    Some(inode) => names.insert(path, *inode),
                    None => names.remove(&path),
                };
            }
        }
        for inode in world.inodes.values_mut() {
            let mut bytes = inode.durable.clone();
            if inode.current != inode.durable {
                if keep() {
                    bytes.resize(inode.current.len(), 0);
                }
                for (index, sector) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
                    let start = index * SECTOR_BYTES;
                    if let Some(new) = inode.current.get(start..start + sector.len())
                        && keep()
                    {
                        sector.copy_from_slice(new);
                    }
                }
            }
            inode.current.clone_from(&bytes);
            inode.durable = bytes;
        }
        world.current.clone_from(&names);
        world.durable = names;
    }

    /// Changes a file's bytes behind everybody's back, durably; for planting damage.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut world = lock(&self.0);
        let inode = *world.current.get(path).ok_or_else(|| os(libc::ENOENT))?;
        let inode = world.inodes.entry(inode).or_default();
        change(&mut inode.current);
        inode.durable.clone_from(&inode.current);
        Ok(())
    }

    /// All file names, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        lock(&self.0).current.keys().cloned().collect()
    }

    fn enter(&self, operation: Operation) -> io::Result<MutexGuard<'_, World>> {
        let mut world = lock(&self.0);
        let era = world.era;
        world.enter(operation, era)?;
        Ok(world)
    }
}

impl VfsFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = lock(&self.world);
        world.enter(Operation::Read, self.era)?;
        let bytes = world
            .inodes
            .get(&self.inode)
            .map(|inode| inode.current.as_slice())
            .unwrap_or_default();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let num_read = rest.len().min(buffer.len());
        buffer[..num_read].copy_from_slice(&rest[..num_read]);
        Ok(num_read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut world = lock(&self.world);
        if !self.writable {
            return Err(os(libc::EBADF));
        }
        let short = world.enter(Operation::Write, self.era)?;
        let mut bytes = if short {
            &bytes[..bytes.len().div_ceil(2)]
        } else {
            bytes
        };
        let used_bytes = world.used_bytes();
        let capacity_bytes = world.capacity_bytes;
        let inode = world.inodes.entry(self.inode).or_default();
        if let Some(capacity_bytes) = capacity_bytes {
            let growth = (offset + bytes.len() as u64).saturating_sub(inode.current.len() as u64);
            let free = capacity_bytes.saturating_sub(used_bytes);
            if growth > free {
                // Like a real disk: what fits is written, the rest fails.
                let fits = bytes.len() - (growth - free).min(bytes.len() as u64) as usize;
                if fits == 0 {
                    return Err(os(libc::ENOSPC));
                }
                bytes = &bytes[..fits];
            }
        }
        let end = offset as usize + bytes.len();
        if inode.current.len() < end {
            inode.current.resize(end, 0);
        }
        inode.current[offset as usize..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.enter(Operation::Sync, self.era)?;
        let inode = world.inodes.entry(self.inode).or_default();
        inode.durable.clone_from(&inode.current);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let world = lock(&self.world);
        Ok(world
            .inodes
            .get(&self.inode)
            .map_or(0, |inode| inode.current.len() as u64))
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.enter(Operation::SetLen, self.era)?;
        world
            .inodes
            .entry(self.inode)
            .or_default()
            .current
            .resize(len_bytes as usize, 0);
        Ok(())
    }
}

impl Vfs for FaultyVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let mut world = self.enter(Operation::Open)?;
        let inode = match (world.current.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(os(libc::EEXIST)),
            (Some(inode), _) => *inode,
            (None, OpenMode::CreateNew) => {
                world.next_inode += 1;
                let inode = world.next_inode;
                world.inodes.insert(inode, Inode::default());
                world.current.insert(path.to_owned(), inode);
                inode
            }
            (None, _) => return Err(os(libc::ENOENT)),
        };
        let era = world.era;
        Ok(Arc::new(FaultyFile {
            world: Arc::clone(&self.0),
            inode,
            era,
            writable: mode != OpenMode::Read,
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        // Directories are durable at once: what files a cut may lose is tested by their entries.
        let mut world = self.enter(Operation::Open)?;
        world.directories.insert(path.to_owned());
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.enter(Operation::SyncDir)?;
        let inside = |name: &PathBuf| name.parent() == Some(path);
        world.durable.retain(|name, _| !inside(name));
        let fresh: Vec<_> = world
            .current
            .iter()
            .filter(|(name, _)| inside(name))
            .map(|(name, inode)| (name.clone(), *inode))
            .collect();
        world.durable.extend(fresh);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.enter(Operation::Rename)?;
        let inode = world.current.remove(from).ok_or_else(|| os(libc::ENOENT))?;
        world.current.insert(to.to_owned(), inode);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut world = self.enter(Operation::Unlink)?;
        world.current.remove(path).map(|_| ()).ok_or_else(|| os(libc::ENOENT))
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let mut world = self.enter(Operation::Unlink)?;
        world.current.retain(|name, _| !name.starts_with(path));
        world.directories.retain(|name| !name.starts_with(path));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let world = self.enter(Operation::List)?;
        let names: BTreeSet<String> = world
            .current
            .keys()
            .chain(&world.directories)
            .filter(|name| name.parent() == Some(path))
            .filter_map(|name| Some(name.file_name()?.to_string_lossy().into_owned()))
            .collect();
        if names.is_empty() && !world.directories.contains(path) && path != Path::new("/") {
            return Err(os(libc::ENOENT));
        }
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let world = self.enter(Operation::List)?;
        Ok(path == Path::new("/") || world.current.contains_key(path) || world.directories.contains(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut world = self.enter(Operation::Open)?;
        if !world.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let era = world.era;
        Ok(Box::new(LockGuard(Arc::clone(&self.0), path.to_owned(), era)))
    }
}
