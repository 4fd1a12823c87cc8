//! `multipart/related` (RFC 2046 section 5.1, RFC 2387), read bit by bit.
//!
//! Owns the framing only: bytes go in as they arrive, [`Event`]s come out. Invariants (6): a boundary has at most
//! [`BOUNDARY_MAX`] characters, a part's header and the number of parts have limits, and no more is buffered than one
//! chunk, one part header and [`DATA_BYTES`].
//!
//! Lenient where nothing is lost: a preamble and an epilogue are skipped, lines may end in a line feed alone if the first
//! boundary's line does, the last line break and the closing boundary's own line break may be missing, a part without a
//! header is read, and a boundary may be longer than RFC 2046 allows (Orthanc's have 73 characters).

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

/// Longest boundary. RFC 2046 section 5.1.1 allows 70 characters; a longer one loses nothing, and peers send them.
pub const BOUNDARY_MAX: usize = 200;

/// Data of a part comes out in pieces of at least this, the last one excepted: few large steps through the pipeline. A CT
/// image of 512 × 512 samples comes out whole, so that its pixels are compressed where they lie.
pub const DATA_BYTES: usize = 640 << 10;

/// Longest padding behind a boundary on its line.
const PADDING_MAX: usize = 128;

/// Bounds of one body.
#[derive(Debug, Clone, Copy)]
pub struct MultipartLimits {
    /// Most parts.
    pub parts: usize,
    /// Longest header of a part, in bytes.
    pub part_header: usize,
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part(PartHeader),
    /// Its next bytes.
    Data(Bytes),
    /// It is complete.
    PartEnd,
    /// The closing boundary: the rest is ignored.
    End,
}

/// A part's header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartHeader {
    /// Content-Type, where there is one.
    pub content_type: Option<String>,
    /// Content-Location, where there is one.
    pub content_location: Option<String>,
    /// Content-ID, where there is one, without its angle brackets.
    pub content_id: Option<String>,
    /// Its bytes stand for others: they are in a Content-Transfer-Encoding or Content-Encoding, of which none is undone here.
    pub is_coded: bool,
    /// Content-Disposition, where there is one: what a form calls the part.
    pub content_disposition: Option<String>,
    /// Content-Length in bytes, where there is one that can be read. Only a boundary ends a part: this is what it claims.
    pub content_length: Option<u64>,
}

/// Why a body is broken. What was complete before stays complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// The body ends before its closing boundary.
    #[error("the multipart body ends before its closing boundary")]
    Truncated,
    /// No boundary at all.
    #[error("the multipart body does not contain its boundary")]
    NoBoundary,
    /// A part's header is longer than allowed.
    #[error("the header of a part is longer than allowed")]
    HeaderTooLong,
    /// A part's header is no header.
    #[error("the header of a part is malformed")]
    Header,
    /// More parts than allowed.
    #[error("there are more parts than allowed")]
    TooManyParts,
}

enum State {
    /// Before the first boundary.
    Preamble,
    /// Behind a boundary: its line is not read yet.
    BoundaryLine,
    /// In a part's header.
    Header,
    /// In a part's data.
    Data,
    /// Behind the closing boundary, or broken.
    Ended,
}

/// The parser of one body.
pub struct Multipart {
    /// `--boundary`.
    dashed: Vec<u8>,
    /// What parts data from the next boundary: a line break and `--boundary`.
    delimiter: Finder<'static>,
    limits: MultipartLimits,
    state: State,
    buffer: BytesMut,
    /// Bytes at the start of `buffer` in which no delimiter starts.
    searched: usize,
    num_parts: usize,
    /// Bytes of the part at hand that came out, and of the one before it.
    part_bytes: usize,
    last_part_bytes: usize,
    /// At the very start of a part's data a boundary needs no line break of its own.
    at_data_start: bool,
    /// Some of the preamble is dropped already, so `buffer` does not start where the body does.
    is_cut: bool,
    finished: bool,
}

/// Whether the text can be a boundary.
pub fn is_boundary(text: &str) -> bool {
    (1..=BOUNDARY_MAX).contains(&text.len())
        && !text.ends_with(' ')
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

impl Multipart {
    /// A parser for bodies with that boundary; `None` where it is none.
    pub fn new(boundary: &str, limits: MultipartLimits) -> Option<Self> {
        if !is_boundary(boundary) {
            return None;
        }
        let dashed = format!("--{boundary}").into_bytes();
        let delimiter = Finder::new(&[b"\r\n".as_slice(), &dashed].concat()).into_owned();
        Some(Self {
            dashed,
            delimiter,
            limits,
            state: State::Preamble,
            buffer: BytesMut::new(),
            searched: 0,
            num_parts: 0,
            part_bytes: 0,
            last_part_bytes: 0,
            at_data_start: false,
            is_cut: false,
            finished: false,
        })
    }

    /// Takes the next bytes of the body. Take all events before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Ended) {
            return;
        }
        if matches!(self.state, State::Data) && self.buffer.capacity() - self.buffer.len() < bytes.len() {
            // At once what a piece of data needs, or growing step by step would copy it several times.
            self.buffer.reserve(DATA_BYTES + bytes.len());
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The body is complete: what is left in the buffer comes out with the next events.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether [`Self::finish`] was called.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The next event; `None` when more bytes are needed, or after the end.
    ///
    /// # Errors
    /// [`MultipartError`], once; nothing comes after it.
    pub fn next_event(&mut self) -> Result<Option<Event>, MultipartError> {
        let outcome = self.step();
        if outcome.is_err() {
            self.state = State::Ended;
        }
        outcome
    }

    fn step(&mut self) -> Result<Option<Event>, MultipartError> {
        loop {
            match self.state {
                State::Ended => return Ok(None),
                State::Preamble => {
                    if !self.skip_preamble()? {
                        return Ok(None);
                    }
                }
                State::BoundaryLine => match self.boundary_line()? {
                    Some(Some(event)) => return Ok(Some(event)),
                    Some(None) => {}
                    None => return Ok(None),
                },
                State::Header => {
                    return match self.header()? {
                        Some(header) => Ok(Some(Event::Part(header))),
                        None => Ok(None),
                    };
                }
                State::Data => return self.data(),
            }
        }
    }

    /// True once the first boundary was found.
    fn skip_preamble(&mut self) -> Result<bool, MultipartError> {
        let found = memchr::memmem::find_iter(&self.buffer, &self.dashed).find(|&at| {
            if at == 0 {
                !self.is_cut
            } else {
                self.buffer.get(at - 1) == Some(&b'\n')
            }
        });
        if let Some(at) = found {
            let _ = self.buffer.split_to(at + self.dashed.len());
            self.state = State::BoundaryLine;
            return Ok(true);
        }
        if self.finished {
            return Err(MultipartError::NoBoundary);
        }
        // One byte more than the boundary, so that a line break before it is still seen.
        let keep = self.dashed.len() + 1;
        let surplus = self.buffer.len().saturating_sub(keep);
        self.is_cut |= surplus > 0;
        let _ = self.buffer.split_to(surplus);
        Ok(false)
    }

    /// Reads what follows the first boundary on its line. `Some(None)`: on to the header.
    fn boundary_line(&mut self) -> Result<Option<Option<Event>>, MultipartError> {
        match self.line_end(0) {
            LineEnd::Close => {
                self.state = State::Ended;
                self.buffer = BytesMut::new();
                Ok(Some(Some(Event::End)))
            }
            LineEnd::Line(length) => {
                if self.num_parts == 0
                    && self.buffer.get(length - 1) == Some(&b'\n')
                    && !self.buffer[..length].contains(&b'\r')
                {
                    self.delimiter = Finder::new(&[b"\n".as_slice(), &self.dashed].concat()).into_owned();
                }
                let _ = self.buffer.split_to(length);
                self.num_parts += 1;
                if self.num_parts > self.limits.parts {
                    return Err(MultipartError::TooManyParts);
                }
                self.state = State::Header;
                Ok(Some(None))
            }
            LineEnd::Unknown => Ok(None),
            LineEnd::NoBoundary if self.finished && self.buffer.is_empty() && self.num_parts > 0 => {
                // The last boundary without its closing dashes: every part is complete.
                self.state = State::Ended;
                Ok(Some(Some(Event::End)))
            }
            LineEnd::NoBoundary if self.num_parts == 0 => {
                self.state = State::Preamble;
                self.is_cut = true;
                Ok(Some(None))
            }
            LineEnd::NoBoundary => Err(MultipartError::Truncated),
        }
    }

    /// What follows a boundary that ends at `from`.
    fn line_end(&self, from: usize) -> LineEnd {
        let rest = &self.buffer[from..];
        if rest.starts_with(b"--") {
            return LineEnd::Close;
        }
        if rest == b"-" && !self.finished {
            return LineEnd::Unknown;
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if padding > PADDING_MAX {
            return LineEnd::NoBoundary;
        }
        match &rest[padding..] {
            [b'\n', ..] => LineEnd::Line(padding + 1),
            [b'\r', b'\n', ..] => LineEnd::Line(padding + 2),
            [] | [b'\r'] if !self.finished => LineEnd::Unknown,
            _ => LineEnd::NoBoundary,
        }
    }

    fn header(&mut self) -> Result<Option<PartHeader>, MultipartError> {
        let limit = self.limits.part_header;
        let window = &self.buffer[..self.buffer.len().min(limit + 4)];
        let end = if window.starts_with(b"\n") {
            Some((0, 1))
        } else if window.starts_with(b"\r\n") {
            Some((0, 2))
        } else {
            let crlf = memchr::memmem::find(window, b"\r\n\r\n").map(|at| (at, at + 4));
            let lf = memchr::memmem::find(window, b"\n\n").map(|at| (at, at + 2));
            [crlf, lf].into_iter().flatten().min()
        };
        let Some((end, data)) = end else {
            if window.len() >= limit + 4 {
                return Err(MultipartError::HeaderTooLong);
            }
            return if self.finished {
                Err(MultipartError::Truncated)
            } else {
                Ok(None)
            };
        };
        let header = parse_header(&self.buffer[..end])?;
        let _ = self.buffer.split_to(data);
        self.last_part_bytes = std::mem::take(&mut self.part_bytes);
        // Parts are often alike. Where one more does not fit behind the others, little of it is here yet to be copied.
        let expected_bytes = self.last_part_bytes.min(DATA_BYTES);
        if self.buffer.capacity() < expected_bytes {
            self.buffer.reserve(DATA_BYTES);
        }
        self.state = State::Data;
        self.searched = 0;
        self.at_data_start = true;
        Ok(Some(header))
    }

    fn data(&mut self) -> Result<Option<Event>, MultipartError> {
        if self.at_data_start {
            let enough = self.buffer.len() >= self.dashed.len();
            if !enough && !self.finished && self.dashed.starts_with(&self.buffer) {
                return Ok(None);
            }
            if self.buffer.starts_with(&self.dashed) {
                match self.line_end(self.dashed.len()) {
                    // Whether this is a boundary or content that starts like one, the next bytes tell.
                    LineEnd::Unknown => return Ok(None),
                    LineEnd::NoBoundary if !(self.finished && self.buffer.len() == self.dashed.len()) => {}
                    _ => {
                        let _ = self.buffer.split_to(self.dashed.len());
                        self.state = State::BoundaryLine;
                        return Ok(Some(Event::PartEnd));
                    }
                }
            }
            self.at_data_start = false;
        }
        let length = self.delimiter.needle().len();
        while let Some(found) = self.delimiter.find(&self.buffer[self.searched..]) {
            let at = self.searched + found;
            match self.line_end(at + length) {
                LineEnd::Unknown => {
                    self.searched = at;
                    // The data before it may go; the delimiter waits for the rest of its line.
                    return Ok((at >= DATA_BYTES).then(|| self.take(at)));
                }
                LineEnd::NoBoundary if !(self.finished && self.buffer.len() == at + length) => {
                    self.searched = at + 1;
                }
                _ => {
                    if at > 0 {
                        return Ok(Some(self.take(at)));
                    }
                    let _ = self.buffer.split_to(length);
                    self.searched = 0;
                    self.state = State::BoundaryLine;
                    return Ok(Some(Event::PartEnd));
                }
            }
        }
        if self.finished {
            // What there is of the part may still tell which instance it was to be.
            if !self.buffer.is_empty() {
                return Ok(Some(self.take(self.buffer.len())));
            }
            return Err(MultipartError::Truncated);
        }
        // A delimiter may have started in the last bytes.
        let free = (self.buffer.len() + 1).saturating_sub(length);
        self.searched = self.searched.max(free);
        Ok((self.searched >= DATA_BYTES).then(|| self.take(self.searched)))
    }

    fn take(&mut self, length: usize) -> Event {
        self.searched -= length.min(self.searched);
        self.part_bytes += length;
        Event::Data(self.buffer.split_to(length).freeze())
    }
}

enum LineEnd {
    /// `--`: the closing boundary.
    Close,
    /// The line ends after so many bytes.
    Line(usize),
    /// More bytes are needed.
    Unknown,
    /// Something else stands there, so this is no boundary.
    NoBoundary,
}

fn parse_header(bytes: &[u8]) -> Result<PartHeader, MultipartError> {
    let mut header = PartHeader::default();
    for line in bytes.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b" ") || line.starts_with(b"\t") {
            // A folded line continues one that means nothing here, or a Content-Type that needs no parameters.
            continue;
        }
        let line = std::str::from_utf8(line).map_err(|_| MultipartError::Header)?;
        let (name, value) = line.split_once(':').ok_or(MultipartError::Header)?;
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => header.content_type = Some(value.to_owned()),
            "content-location" => header.content_location = Some(value.to_owned()),
            "content-id" => header.content_id = Some(without_brackets(value).to_owned()),
            "content-disposition" => header.content_disposition = Some(value.to_owned()),
            "content-length" => header.content_length = value.parse().ok(),
            "content-transfer-encoding" => header.is_coded |= !is_one_of(value, &["7bit", "8bit", "binary"]),
            "content-encoding" => header.is_coded |= !is_one_of(value, &["identity"]),
            _ => {}
        }
    }
    Ok(header)
}

/// `<id>` or `id` (RFC 2045 section 7), as `start` and `cid:` name it.
pub fn without_brackets(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id)
}

/// Whether a coding is one of those that leave bytes as they are; none at all is one.
fn is_one_of(coding: &str, plain: &[&str]) -> bool {
    coding.is_empty() || plain.iter().any(|known| known.eq_ignore_ascii_case(coding))
}

#[cfg(test)]
mod tests;
