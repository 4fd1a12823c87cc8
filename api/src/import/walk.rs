//! The tree walk: every regular file below the given paths, once, in the order of their names.
//!
//! No recursion: the stack holds the entries still to visit of the folders above the current one. Symbolic links to
//! files are followed, links to folders only when given on the command line, so that no circle can trap the walk.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::container::Member;

/// A file as it was when the walk passed it.
#[derive(Debug, Clone)]
pub(super) struct FoundFile {
    /// Where it is; for a member, the container's path with the member's name behind it.
    pub(super) path: PathBuf,
    /// Bytes.
    pub(super) length: u64,
    /// Nanoseconds since 1970; 0 when the file system does not say.
    pub(super) modified_ns: u128,
    /// Where its bytes are, if it lies in another file; the walk itself finds none such.
    pub(super) member: Option<Arc<Member>>,
}

impl FoundFile {
    fn new(path: PathBuf, metadata: &Metadata) -> Self {
        Self {
            path,
            length: metadata.len(),
            modified_ns: modified_ns(metadata),
            member: None,
        }
    }
}

pub(super) fn modified_ns(metadata: &Metadata) -> u128 {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// The paths of the command line, made absolute, so that the state file knows them from every folder.
/// The error names the path that does not exist.
pub(super) fn roots(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    paths
        .iter()
        .map(|path| fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display())))
        .collect()
}

/// The walk. `on_error` is told of folders and files that cannot be read.
pub(super) struct Walk<F> {
    stack: Vec<PathBuf>,
    on_error: F,
}

impl<F: FnMut(&Path)> Walk<F> {
    pub(super) fn new(roots: &[PathBuf], on_error: F) -> Self {
        Self {
            stack: roots.iter().rev().cloned().collect(),
            on_error,
        }
    }

    /// Puts a folder's entries on the stack, the first by name on top.
    fn enter(&mut self, folder: &Path) {
        let mut entries = Vec::new();
        match fs::read_dir(folder) {
            Err(_) => return (self.on_error)(folder),
            Ok(list) => {
                for entry in list {
                    match entry {
                        Ok(entry) => entries.push(entry.path()),
                        Err(_) => (self.on_error)(folder),
                    }
                }
            }
        }
        entries.sort_unstable_by(|a, b| b.cmp(a));
        self.stack.append(&mut entries);
    }
}

impl<F: FnMut(&Path)> Iterator for Walk<F> {
    type Item = FoundFile;

    fn next(&mut self) -> Option<FoundFile> {
        while let Some(path) = self.stack.pop() {
            let Ok(link) = fs::symlink_metadata(&path) else {
                (self.on_error)(&path);
                continue;
            };
            if link.is_dir() {
                self.enter(&path);
            } else if link.is_file() {
                return Some(FoundFile::new(path, &link));
            } else if link.is_symlink() {
                match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => return Some(FoundFile::new(path, &metadata)),
                    Ok(_) => {}
                    Err(_) => (self.on_error)(&path),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_in_order_and_survives_circles() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().canonicalize().expect("path");
        for name in ["b/2", "b/1", "a/x/9", "c"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, name).expect("file");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&root, root.join("b/circle")).expect("link");
            std::os::unix::fs::symlink(root.join("nowhere"), root.join("b/dead")).expect("link");
        }
        let mut errors = Vec::new();
        let found: Vec<_> = Walk::new(std::slice::from_ref(&root), |path| errors.push(path.to_path_buf()))
            .map(|file| file.path.strip_prefix(&root).expect("below").to_path_buf())
            .collect();
        assert_eq!(found, ["a/x/9", "b/1", "b/2", "c"].map(PathBuf::from));
        #[cfg(unix)]
        assert_eq!(errors, [root.join("b/dead")]);
    }

    #[test]
    fn missing_roots_are_named() {
        assert!(roots(&["/no/such/folder".into()]).is_err_and(|error| error.contains("/no/such/folder")));
    }
}
