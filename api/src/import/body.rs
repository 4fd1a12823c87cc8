//! The request body: `multipart/related` with one `application/dicom` part a file (PS3.18 section 8.6.1.2,
//! RFC 2387), read from disk while it is sent. Its length is known beforehand, so that the server can refuse early.

use std::io::{self, Cursor, Read};

use super::batch::Item;
use super::container;
use crate::remote::Stop;

/// What a part begins with, after the boundary.
const PART_HEADER: &str = "Content-Type: application/dicom\r\n\r\n";

/// What goes wrong with a file while it is being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileProblem {
    /// Cannot be opened or read.
    Unreadable,
    /// Length or time of change differ from what the walk saw.
    Changed,
}

/// The body as a reader.
pub(super) struct Body<'a> {
    boundary: &'a str,
    items: &'a [Item],
    stop: &'a Stop,
    on_bytes: &'a dyn Fn(u64),
    /// Item whose bytes are being read or come next.
    index: usize,
    /// Framing to send before anything else.
    framing: Cursor<Vec<u8>>,
    file: Option<(Box<dyn Read + Send>, u64)>,
    is_closed: bool,
    /// File bytes given out so far.
    pub(super) num_file_bytes: u64,
    /// The file that ended the request, by its index.
    pub(super) problem: Option<(usize, FileProblem)>,
}

impl<'a> Body<'a> {
    /// A body for the items. `on_bytes` is told of every file byte that goes out.
    pub(super) fn new(boundary: &'a str, items: &'a [Item], stop: &'a Stop, on_bytes: &'a dyn Fn(u64)) -> Self {
        Self {
            boundary,
            items,
            stop,
            on_bytes,
            index: 0,
            framing: Cursor::default(),
            file: None,
            is_closed: false,
            num_file_bytes: 0,
            problem: None,
        }
    }

    /// Content-Length, in bytes.
    pub(super) fn length(boundary: &str, items: &[Item]) -> u64 {
        let part = "--\r\n".len() + boundary.len() + PART_HEADER.len() + "\r\n".len();
        let parts: u64 = items.iter().map(|item| item.file.length + part as u64).sum();
        parts + ("----\r\n".len() + boundary.len()) as u64
    }

    fn fail(&mut self, problem: FileProblem) -> io::Error {
        self.problem = Some((self.index, problem));
        io::Error::other("a file cannot be sent")
    }

    /// Opens the next file and prepares its part header, or closes the body.
    fn advance(&mut self) -> io::Result<()> {
        let Some(item) = self.items.get(self.index) else {
            self.is_closed = true;
            self.framing = Cursor::new(format!("--{}--\r\n", self.boundary).into_bytes());
            return Ok(());
        };
        let file = container::open(&item.file).map_err(|problem| self.fail(problem))?;
        self.framing = Cursor::new(format!("--{}\r\n{PART_HEADER}", self.boundary).into_bytes());
        self.file = Some((file, item.file.length));
        Ok(())
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other("stopped"));
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let framing = self.framing.read(buffer)?;
            if framing > 0 {
                return Ok(framing);
            }
            match &mut self.file {
                Some((_, 0)) => {
                    self.file = None;
                    self.index += 1;
                    self.framing = Cursor::new(b"\r\n".to_vec());
                }
                Some((file, left)) => {
                    let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    return match file.read(&mut buffer[..most]) {
                        Ok(0) => Err(self.fail(FileProblem::Changed)),
                        Ok(count) => {
                            *left -= count as u64;
                            self.num_file_bytes += count as u64;
                            (self.on_bytes)(count as u64);
                            Ok(count)
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(_) => Err(self.fail(FileProblem::Unreadable)),
                    };
                }
                None if self.is_closed => return Ok(0),
                None => self.advance()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk::Walk;
    use super::*;

    fn items(contents: &[&[u8]]) -> (tempfile::TempDir, Vec<Item>) {
        let folder = tempfile::tempdir().expect("folder");
        for (index, bytes) in contents.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{index:03}")), bytes).expect("file");
        }
        let items = Walk::new(&[folder.path().to_path_buf()], |_| {})
            .map(|file| Item {
                file,
                sop_instance_uid: None,
            })
            .collect();
        (folder, items)
    }

    #[test]
    fn golden_body_and_length() {
        let (_folder, items) = items(&[b"one", b"", b"three"]);
        let stop = Stop::never();
        let mut body = Body::new("B", &items, &stop, &|_| {});
        let mut text = String::new();
        body.read_to_string(&mut text).expect("reads");
        let part = "--B\r\nContent-Type: application/dicom\r\n\r\n";
        assert_eq!(text, format!("{part}one\r\n{part}\r\n{part}three\r\n--B--\r\n"));
        assert_eq!(body.num_file_bytes, 8);
        assert_eq!(Body::length("B", &items), text.len() as u64);
        assert_eq!(Body::length("B", &[]), 7);
    }

    #[test]
    fn a_changed_file_ends_the_body() {
        let stop = Stop::never();
        let (folder, items) = items(&[b"one", b"two"]);
        std::fs::write(folder.path().join("001"), b"longer").expect("file");
        let mut body = Body::new("B", &items, &stop, &|_| {});
        assert!(body.read_to_end(&mut Vec::new()).is_err());
        assert_eq!(body.problem, Some((1, FileProblem::Changed)));
        std::fs::remove_file(folder.path().join("000")).expect("removed");
        let mut body = Body::new("B", &items, &stop, &|_| {});
        assert!(body.read_to_end(&mut Vec::new()).is_err());
        assert_eq!(body.problem, Some((0, FileProblem::Unreadable)));
    }
}
