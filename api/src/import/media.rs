//! DICOM media: the files that a DICOMDIR lists (PS3.3 annex F, PS3.10 section 8).
//!
//! What is sent does not depend on it: everything below its folder is found by walking. It tells what should be there
//! and is not. Given itself on the command line, it stands for the files that it lists. Case and the version numbers of
//! ISO 9660 do not matter in names, and no name leads out of the DICOMDIR's folder.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use septum_core::dicom::dicomdir::{self, DirectoryFiles};

use super::inspect;

/// Longest DICOMDIR that is read, in bytes: some hundred thousand files.
const DIRECTORY_BYTES_MAX: u64 = 256 << 20;

/// The files that a DICOMDIR lists. `None` when it cannot be read.
pub(super) fn listed(directory: &mut dyn Read) -> Option<DirectoryFiles> {
    let mut bytes = Vec::new();
    directory.take(DIRECTORY_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    dicomdir::files(&bytes).ok()
}

/// How names are compared: as ISO 9660 would write them.
pub(super) fn folded(name: &str) -> String {
    let name = name.split(';').next().unwrap_or_default();
    name.trim_end_matches('.').to_ascii_uppercase()
}

/// Finds files below a folder by names as a medium has them.
#[derive(Default)]
pub(super) struct Finder {
    folders: HashMap<PathBuf, HashMap<String, OsString>>,
}

impl Finder {
    /// The file, if it is there.
    pub(super) fn find(&mut self, folder: &Path, parts: &[String]) -> Option<PathBuf> {
        let mut path = folder.to_path_buf();
        for part in parts {
            let entries = self.folders.entry(path.clone()).or_insert_with_key(|folder| {
                let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                entries
                    .map(|entry| (folded(&entry.file_name().to_string_lossy()), entry.file_name()))
                    .collect()
            });
            path.push(entries.get(&folded(part))?);
        }
        path.is_file().then_some(path)
    }
}

/// Puts the files that it lists in the place of each DICOMDIR among the paths.
pub(super) fn expand(roots: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut expanded = Vec::with_capacity(roots.len());
    for root in roots {
        let is_directory = root.is_file()
            && std::fs::File::open(&root)
                .and_then(|mut file| inspect::inspect(&mut file))
                .is_ok_and(|inspection| inspection == inspect::Inspection::Directory);
        match (is_directory, root.parent()) {
            (true, Some(folder)) => {
                let listed = std::fs::File::open(&root)
                    .ok()
                    .and_then(|mut file| listed(&mut file))
                    .unwrap_or_default();
                let mut finder = Finder::default();
                let mut seen = HashSet::new();
                expanded.extend(
                    listed
                        .files
                        .iter()
                        .filter_map(|parts| finder.find(folder, parts))
                        .filter(|p| seen.insert(p.clone())),
                );
                // The directory itself comes too: that is how what is missing is told.
                expanded.push(root);
            }
            _ => expanded.push(root),
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_media_write_them() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join("dicom")).expect("folder");
        std::fs::write(folder.path().join("dicom/im1.;1"), b"x").expect("file");
        let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let mut finder = Finder::default();
        assert_eq!(
            finder.find(folder.path(), &parts("DICOM/IM1")),
            Some(folder.path().join("dicom/im1.;1"))
        );
        assert_eq!(finder.find(folder.path(), &parts("DICOM/IM2")), None);
        assert_eq!(finder.find(folder.path(), &parts("DICOM")), None);
    }

    /// Every directory of the corpus lists files, and each of them is there.
    #[test]
    fn corpus() {
        let root = std::env::var_os("SEPTUM_CORPUS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
            Into::into,
        );
        if !root.is_dir() {
            return println!("no corpus at {}", root.display());
        }
        let mut num_listed = 0;
        for file in super::super::walk::Walk::new(&[root.join("dicomdir")], |_| {}) {
            let mut reader = std::fs::File::open(&file.path).expect("opens");
            if inspect::inspect(&mut reader).expect("reads") == inspect::Inspection::Directory {
                let mut reader = std::fs::File::open(&file.path).expect("opens");
                let files = listed(&mut reader).expect("a DICOMDIR").files;
                let mut finder = Finder::default();
                let folder = file.path.parent().expect("a folder");
                let num_there = files
                    .iter()
                    .filter(|parts| finder.find(folder, parts).is_some())
                    .count();
                println!("{}: {num_there} of {} there", file.path.display(), files.len());
                num_listed += num_there;
            }
        }
        assert!(num_listed > 100);
    }
}
