//! What lies in a server's folders: how many bytes, and whether the page cache holds them.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

fn files(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = folders.to_vec();
    while let Some(folder) = waiting.pop() {
        // What a server removes while we look is simply not counted.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

fn held_bytes(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.blocks() * 512)
}

/// Bytes on disk (allocated blocks) of all files in the folders.
pub(crate) fn disk_bytes(folders: &[PathBuf]) -> u64 {
    files(folders).iter().map(|file| held_bytes(file)).sum()
}

/// Asks the kernel to forget what it caches of the files in these folders and no others (`POSIX_FADV_DONTNEED`), having
/// written out what is not yet on the disk. Needs no privilege, unlike `/proc/sys/vm/drop_caches`, and leaves the machine's
/// other work alone. Returns the number of files that were dropped.
pub(crate) fn drop_from_page_cache(folders: &[PathBuf]) -> usize {
    let dropped = files(folders).into_iter().filter(|path| {
        File::open(path).is_ok_and(|file| file.sync_data().is_ok() && fadvise(&file, 0, None, Advice::DontNeed).is_ok())
    });
    dropped.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_and_dropped_at_any_depth() {
        let top = tempfile::tempdir().unwrap();
        let deep = top.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("one"), vec![1; 100_000]).unwrap();
        fs::write(top.path().join("two"), vec![1; 10]).unwrap();
        let folders = [top.path().to_owned()];
        assert_eq!(drop_from_page_cache(&folders), 2);
        assert!(disk_bytes(&folders) >= 100_000);
        assert_eq!(disk_bytes(&[deep.join("missing")]), 0);
    }
}
