//! What was sent before: so that an import goes on where it was.
//!
//! Format: one JSON object a line, `{"sent":"<32 hexadecimal digits>"}`: the first 16 bytes of BLAKE3 over target,
//! path, size and time of change. Nothing else: no path, no name, no UID. Lines that cannot be read, such as one cut
//! off by a crash, are passed over: the file is then sent again, which does no harm. A file that has changed since is
//! a new file.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::Mutex;

use super::walk::FoundFile;
use crate::remote::Target;

/// The state file, open.
pub(super) struct State {
    target: String,
    known: HashSet<[u8; 16]>,
    file: Option<Mutex<File>>,
}

impl State {
    /// Reads the state and opens it for more; `read_only` creates and changes nothing.
    pub(super) fn open(path: &Path, target: &Target, read_only: bool) -> io::Result<Self> {
        let mut known = HashSet::new();
        let mut ends_clean = true;
        match File::open(path) {
            Ok(file) => {
                let mut reader = BufReader::new(file);
                let mut line = Vec::new();
                while reader.read_until(b'\n', &mut line)? > 0 {
                    ends_clean = line.ends_with(b"\n");
                    known.extend(parse_line(&line));
                    line.clear();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = match read_only {
            true => None,
            false => {
                let mut file = open_for_append(path)?;
                if !ends_clean {
                    file.write_all(b"\n")?;
                }
                Some(Mutex::new(file))
            }
        };
        Ok(Self {
            target: target.studies_url(),
            known,
            file,
        })
    }

    /// Whether the file was sent in an earlier run.
    pub(super) fn holds(&self, file: &FoundFile) -> bool {
        self.known.contains(&self.key(file))
    }

    /// Notes files as sent. One write, so that lines of two imports do not mix.
    pub(super) fn add<'a>(&self, files: impl Iterator<Item = &'a FoundFile>) -> io::Result<()> {
        let Some(state) = &self.file else { return Ok(()) };
        let mut lines = String::new();
        for file in files {
            let key = u128::from_be_bytes(self.key(file));
            lines.push_str(&format!("{{\"sent\":\"{key:032x}\"}}\n"));
        }
        let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.write_all(lines.as_bytes())
    }

    /// Brings the state to disk. A failure is no loss: what is missing is sent again.
    pub(super) fn sync(&self) {
        if let Some(Ok(file)) = self.file.as_ref().map(Mutex::lock) {
            let _ = file.sync_data();
        }
    }

    fn key(&self, file: &FoundFile) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        let path = file.path.as_os_str().as_encoded_bytes();
        for part in [self.target.as_bytes(), path] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(&file.length.to_le_bytes());
        hasher.update(&file.modified_ns.to_le_bytes());
        // Two members may have one name.
        if let Some((start, _)) = file.member.as_ref().and_then(|member| member.extents.first()) {
            hasher.update(&start.to_le_bytes());
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        key
    }
}

fn parse_line(line: &[u8]) -> Option<[u8; 16]> {
    let digits = line.strip_prefix(b"{\"sent\":\"")?.get(..32)?;
    let digits = str::from_utf8(digits).ok()?;
    u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
}

/// Only the user may read it: hashed paths can be guessed.
fn open_for_append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            server: "https://h".into(),
            service_url: "https://h/dicomweb".into(),
            is_loopback: false,
        }
    }

    fn file(path: &str, length: u64) -> FoundFile {
        FoundFile {
            path: path.into(),
            length,
            modified_ns: 5,
            member: None,
        }
    }

    #[test]
    fn remembers_and_forgets_what_changed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("deep/state.jsonl");
        let state = State::open(&path, &target(), false).expect("opens");
        state.add([file("/SECRET^NAME/1", 1)].iter()).expect("writes");
        drop(state);
        let text = std::fs::read_to_string(&path).expect("text");
        assert_eq!((text.len(), text.contains("SECRET")), (44, false));
        let state = State::open(&path, &target(), true).expect("opens");
        assert!(state.holds(&file("/SECRET^NAME/1", 1)));
        assert!(!state.holds(&file("/SECRET^NAME/1", 2)));
        assert!(!state.holds(&file("/SECRET^NAME/2", 1)));
        let other = Target {
            server: "https://other".into(),
            service_url: "https://other".into(),
            is_loopback: false,
        };
        assert!(
            !State::open(&path, &other, true)
                .expect("opens")
                .holds(&file("/SECRET^NAME/1", 1))
        );
    }

    #[test]
    fn a_torn_line_costs_one_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state");
        State::open(&path, &target(), false)
            .expect("opens")
            .add([file("1", 1), file("2", 1)].iter())
            .expect("writes");
        let text = std::fs::read(&path).expect("text");
        std::fs::write(&path, &text[..60]).expect("torn");
        let state = State::open(&path, &target(), false).expect("opens");
        state.add([file("3", 1)].iter()).expect("writes");
        let state = State::open(&path, &target(), false).expect("opens");
        let held = ["1", "2", "3"].map(|name| state.holds(&file(name, 1)));
        assert_eq!(held, [true, false, true]);
    }

    #[test]
    fn looking_creates_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state");
        State::open(&path, &target(), true).expect("opens");
        assert!(!path.exists());
    }
}
