//! A retrieve's answer: `multipart/related` with one `application/dicom` part an instance (PS3.18 section 8.6.1.2), or
//! one instance alone. Each goes to a file while it is checked; memory holds no more than a header and some blocks.

use std::io::{self, Read, Write as _};

use bytes::Bytes;

use crate::http::media_type::MediaType;
use crate::http::multipart::{Event, Multipart, MultipartLimits};
use crate::remote::Stop;

use super::check::{Checked, Checker};
use super::shelf::{Arriving, Shelf};
use super::source::{body, header};

/// How much is read at a time, in bytes.
const BLOCK_BYTES: usize = 256 << 10;

/// Bounds of an answer. Units are small, so that this many parts are never expected.
const LIMITS: MultipartLimits = MultipartLimits {
    parts: 1 << 24,
    part_header: 64 << 10,
};

/// An object that came.
pub(super) struct Received {
    pub(super) arriving: Arriving,
    /// `None`: it is not whole, or cannot be read.
    pub(super) checked: Option<Checked>,
}

/// Why the rest did not come.
#[derive(Debug)]
pub(super) enum Interruption {
    /// The connection broke, or the answer is malformed.
    Broken(String),
    /// It cannot be written.
    Disk(io::Error),
    /// Ctrl-C.
    Stopped,
}

/// An object on its way.
struct Part {
    arriving: Arriving,
    checker: Checker,
}

impl Part {
    fn begin(shelf: &Shelf) -> Result<Self, Interruption> {
        let arriving = shelf.arriving().map_err(Interruption::Disk)?;
        Ok(Self {
            arriving,
            checker: Checker::new(),
        })
    }

    fn push(&mut self, bytes: Bytes) -> Result<(), Interruption> {
        self.arriving.write_all(&bytes).map_err(Interruption::Disk)?;
        self.checker.push(bytes);
        Ok(())
    }

    fn end(self) -> Received {
        Received {
            arriving: self.arriving,
            checked: self.checker.finish(),
        }
    }
}

/// Takes the answer in. `on_part` gets each object when it is complete; `on_bytes` is told of all bytes.
pub(super) fn receive(
    response: ureq::http::Response<ureq::Body>,
    shelf: &Shelf,
    stop: &Stop,
    on_bytes: &dyn Fn(u64),
    on_part: &mut dyn FnMut(Received) -> io::Result<()>,
) -> Result<(), Interruption> {
    let malformed = || Interruption::Broken("the server's answer is not one of a DICOMweb retrieve".into());
    let media_type = header(&response, "content-type")
        .and_then(MediaType::parse)
        .ok_or_else(malformed)?;
    let mut multipart = match media_type.essence.as_str() {
        "multipart/related" => {
            let boundary = media_type.parameter("boundary").ok_or_else(malformed)?;
            Some(Multipart::new(boundary, LIMITS).ok_or_else(malformed)?)
        }
        "application/dicom" => None,
        _ => return Err(malformed()),
    };
    let mut part = match multipart {
        Some(_) => None,
        None => Some(Part::begin(shelf)?),
    };
    let mut reader = body(response);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        if stop.is_set() {
            return Err(Interruption::Stopped);
        }
        let count = match reader.read(&mut block) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Interruption::Broken(format!("the answer broke off: {error}"))),
        };
        on_bytes(count as u64);
        match (&mut multipart, &mut part) {
            (Some(multipart), part) => {
                match count {
                    0 => multipart.finish(),
                    _ => multipart.push(&block[..count]),
                }
                events(multipart, part, shelf, on_part)?;
            }
            (None, Some(part)) if count > 0 => part.push(Bytes::copy_from_slice(&block[..count]))?,
            _ => {}
        }
        if count == 0 {
            break;
        }
    }
    match part {
        Some(part) if multipart.is_none() => on_part(part.end()).map_err(Interruption::Disk),
        _ => Ok(()),
    }
}

fn events(
    multipart: &mut Multipart,
    part: &mut Option<Part>,
    shelf: &Shelf,
    on_part: &mut dyn FnMut(Received) -> io::Result<()>,
) -> Result<(), Interruption> {
    loop {
        let event = multipart
            .next_event()
            .map_err(|error| Interruption::Broken(error.to_string()))?;
        match event {
            None => return Ok(()),
            Some(Event::Part(header)) => {
                // A part of another kind is passed over.
                let essence = header
                    .content_type
                    .as_deref()
                    .and_then(MediaType::parse)
                    .map(|t| t.essence);
                let is_dicom = essence.is_none_or(|essence| essence == "application/dicom");
                *part = if is_dicom { Some(Part::begin(shelf)?) } else { None };
            }
            Some(Event::Data(bytes)) => {
                if let Some(part) = part {
                    part.push(bytes)?;
                }
            }
            Some(Event::PartEnd) => {
                if let Some(part) = part.take() {
                    on_part(part.end()).map_err(Interruption::Disk)?;
                }
            }
            Some(Event::End) => {}
        }
    }
}
