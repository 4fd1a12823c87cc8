//! A folder of files, read once and held in memory.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::read::GzDecoder;

/// Most files in a folder.
const FILES_MAX: usize = 5000;
/// Most bytes of all files, as they lie there.
const BYTES_MAX: u64 = 256 << 20;
/// Most folders inside each other.
const DEPTH_MAX: usize = 8;
/// Uncompressed content is made in pieces of this, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Why a folder is not served.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It cannot be read.
    #[error("viewer.dist_dir: {0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// It holds a link, a device or a name that is not plain text.
    #[error("viewer.dist_dir: {0} is neither a plain file nor a folder")]
    NotPlain(PathBuf),
    /// It holds more than a viewer does.
    #[error("viewer.dist_dir: {0} holds too many or too large files")]
    TooLarge(PathBuf),
    /// It holds no page.
    #[error("viewer.dist_dir: {0} holds no prepared viewer")]
    NoViewer(PathBuf),
}

/// One file.
#[derive(Debug, Clone)]
pub struct File {
    /// Its bytes, compressed where `is_compressed`.
    pub bytes: Bytes,
    /// Whether `bytes` are in gzip's format (RFC 1952).
    pub is_compressed: bool,
    /// Its media type.
    pub media_type: &'static str,
    /// Its strong entity tag, quoted, of the bytes as held.
    pub etag: String,
    /// Whether its name changes with its content.
    pub is_named_by_content: bool,
}

impl File {
    fn new(name: &str, bytes: Bytes, is_compressed: bool) -> Self {
        let hash = blake3::hash(&bytes).to_hex();
        Self {
            bytes,
            is_compressed,
            media_type: media_type_of(name),
            etag: format!("\"{}\"", &hash[..32]),
            is_named_by_content: is_named_by_content(name),
        }
    }

    /// The content, uncompressed, in pieces.
    pub fn plain_pieces(&self) -> impl Iterator<Item = std::io::Result<Bytes>> + use<> {
        let bytes = self.bytes.clone();
        let mut source: Box<dyn Read> = if self.is_compressed {
            Box::new(GzDecoder::new(std::io::Cursor::new(bytes)))
        } else {
            Box::new(std::io::Cursor::new(bytes))
        };
        std::iter::from_fn(move || {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            match source.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece) {
                Ok(0) => None,
                Ok(_) => Some(Ok(piece.into())),
                Err(error) => Some(Err(error)),
            }
        })
    }
}

/// A folder's files by their path inside it, parted by `/`.
#[derive(Debug, Default)]
pub struct Files(HashMap<String, File>);

impl Files {
    /// Reads a folder with all below it.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn load(folder: &Path) -> Result<Self, FilesError> {
        let mut files = Self::default();
        let mut left = BYTES_MAX;
        let mut folders = vec![(folder.to_owned(), String::new(), 0)];
        while let Some((path, prefix, depth)) = folders.pop() {
            let failed = |error| FilesError::Io(path.clone(), error);
            for entry in std::fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // Of the entry itself, never of what a link leads to.
                let kind = entry.file_type().map_err(failed)?;
                let not_plain = || FilesError::NotPlain(entry.path());
                let name = entry.file_name().into_string().map_err(|_| not_plain())?;
                let name = format!("{prefix}{name}");
                if kind.is_dir() && depth < DEPTH_MAX {
                    folders.push((entry.path(), format!("{name}/"), depth + 1));
                } else if kind.is_file() {
                    let bytes = read(&entry.path(), &mut left)?;
                    if files.0.len() == FILES_MAX {
                        return Err(FilesError::TooLarge(folder.to_owned()));
                    }
                    files.take(name, bytes);
                } else {
                    return Err(not_plain());
                }
            }
        }
        Ok(files)
    }

    fn take(&mut self, name: String, bytes: Bytes) {
        match name.strip_suffix(".gz") {
            Some(plain) => {
                self.0.insert(plain.to_owned(), File::new(plain, bytes, true));
            }
            // The compressed one is as good, and smaller.
            None => {
                let file = File::new(&name, bytes, false);
                self.0.entry(name).or_insert(file);
            }
        }
    }

    /// Adds a file, or puts it in the place of another.
    pub fn insert(&mut self, name: &str, bytes: Bytes) {
        self.0.insert(name.to_owned(), File::new(name, bytes, false));
    }

    /// The file of exactly this name.
    pub fn get(&self, name: &str) -> Option<&File> {
        self.0.get(name)
    }
}

fn read(path: &Path, left: &mut u64) -> Result<Bytes, FilesError> {
    let failed = |error| FilesError::Io(path.to_owned(), error);
    let mut bytes = Vec::new();
    let source = std::fs::File::open(path).map_err(failed)?;
    source.take(*left + 1).read_to_end(&mut bytes).map_err(failed)?;
    *left = left
        .checked_sub(bytes.len() as u64)
        .ok_or_else(|| FilesError::TooLarge(path.to_owned()))?;
    Ok(bytes.into())
}

/// By the name's ending; what is not listed is octets, which browsers do not run.
fn media_type_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "jsonc" | "webmanifest" | "webapp" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "xml" => "application/xml",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Bundlers put a hash of 16 hexadecimal digits into names.
fn is_named_by_content(name: &str) -> bool {
    name.split(['.', '/', '-'])
        .any(|part| part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn compressed(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).expect("writes");
        encoder.finish().expect("finishes")
    }

    #[test]
    fn a_folder_is_read_with_compressed_twins() {
        let folder = tempfile::tempdir().expect("a folder");
        let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::create_dir(folder.path().join("a")).expect("makes");
        std::fs::write(folder.path().join("a/b.wasm.gz"), compressed(&content)).expect("writes");
        std::fs::write(folder.path().join("a/b.wasm"), "stale").expect("writes");
        std::fs::write(folder.path().join("c.css"), "plain").expect("writes");
        let files = Files::load(folder.path()).expect("loads");
        let file = files.get("a/b.wasm").expect("is there");
        assert!(file.is_compressed);
        assert_eq!(file.media_type, "application/wasm");
        let plain: Vec<u8> = file.plain_pieces().flat_map(|piece| piece.expect("inflates")).collect();
        assert!(plain == content);
        assert_eq!(files.get("c.css").expect("is there").bytes, "plain");
        for name in ["a/b.wasm.gz", "/c.css", "a/../c.css", "../c.css", "C.css", "", "a"] {
            assert!(files.get(name).is_none(), "{name}");
        }
    }

    #[test]
    fn links_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a.txt")).expect("links");
        assert!(matches!(Files::load(folder.path()), Err(FilesError::NotPlain(_))));
    }

    #[test]
    fn names_say_media_type_and_whether_they_change() {
        for (name, media_type, named) in [
            ("app.bundle.0f6159c501addfe9.js", "text/javascript; charset=utf-8", true),
            ("0ddf166f7a343eda.wasm", "application/wasm", true),
            ("781.css", "text/css; charset=utf-8", false),
            ("index.html", "text/html; charset=utf-8", false),
            ("noending", "application/octet-stream", false),
        ] {
            assert_eq!(media_type_of(name), media_type, "{name}");
            assert_eq!(is_named_by_content(name), named, "{name}");
        }
    }
}
