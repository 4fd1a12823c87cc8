//! The viewer's files: the published program, unpacked and moved below `/viewer/` by the build, held in memory.
//!
//! Invariants:
//! - Only what was found in the folder at the start is ever served, by its exact name: no path of a request reaches the
//!   file system, so there is nothing to traverse and no link to follow.
//! - Files are held as they lie in the folder. A file `NAME.gz` stands for `NAME`, compressed (RFC 1952); the plain one
//!   is not needed beside it.
//! - The page runs no script but the files here: none inline, none from elsewhere, none made of text. The decoders'
//!   program makes functions out of text; it runs in workers, which have no document, under a policy of their own.

mod files;
pub mod policy;

use std::path::{Path, PathBuf};

pub use files::{File, Files, FilesError};

/// The page that every address of the viewer answers with.
pub const PAGE: &str = "index.html";

/// What the page loads first: which archive to talk to, and how.
const SETTINGS: &str = include_str!("../../web/viewer/app-config.js");
/// The settings' name.
const SETTINGS_NAME: &str = "app-config.js";

/// Opens the viewer. An empty folder name means the folder `viewer` beside the running program, if there is one.
///
/// # Errors
/// Where the folder is named and is no viewer; where one beside the program is damaged.
pub fn open(folder: &Path) -> Result<Option<Files>, FilesError> {
    let folder = if folder.as_os_str().is_empty() {
        match beside_program() {
            Some(folder) => folder,
            None => return Ok(None),
        }
    } else {
        folder.to_owned()
    };
    let mut files = Files::load(&folder)?;
    files.insert(SETTINGS_NAME, SETTINGS.as_bytes().into());
    if files.get(PAGE).is_none() {
        return Err(FilesError::NoViewer(folder));
    }
    Ok(Some(files))
}

fn beside_program() -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.join("viewer");
    folder.join(PAGE).with_extension("html.gz").is_file().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_page_is_no_viewer() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.js"), "1").expect("writes");
        assert!(matches!(open(folder.path()), Err(FilesError::NoViewer(_))));
        assert!(open(&folder.path().join("absent")).is_err());
        std::fs::write(folder.path().join(PAGE), "<!doctype html>").expect("writes");
        let files = open(folder.path()).expect("opens").expect("is there");
        assert!(
            files
                .get(SETTINGS_NAME)
                .is_some_and(|file| file.media_type.starts_with("text/javascript"))
        );
    }
}
