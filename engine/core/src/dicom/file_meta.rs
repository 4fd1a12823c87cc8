//! The start of a stream: preamble, prefix and file meta information (PS3.10 section 7.1), or their absence.

use bytes::{Buf, Bytes};

use super::limits::SplitLimits;
use super::rejection::{Rejection, RejectionKind};
use super::slots::trim;
use super::transfer_syntax::{Encoding, TransferSyntax};
use super::vr::{self, ElementHeader, u32_of};
use super::warning::{Warning, Warnings};

/// Length of preamble and prefix.
const PREFIX_BYTES: usize = 132;
/// Longest file meta: it holds a dozen short values.
const META_BYTES_MAX: usize = 1 << 20;
/// How many bytes are looked at together.
const WINDOW: usize = 4096;

/// What the file meta says.
#[derive(Default)]
pub(super) struct FileMeta {
    /// Preamble, prefix and file meta, verbatim.
    pub(super) bytes: Bytes,
    pub(super) transfer_syntax: Option<TransferSyntax>,
    /// Media Storage SOP Class UID (0002,0002), if it is text.
    pub(super) sop_class: Option<String>,
    /// Media Storage SOP Instance UID (0002,0003), if it is text.
    pub(super) sop_instance: Option<String>,
}

/// Reads the start of a stream.
#[derive(Default)]
pub(super) struct MetaReader {
    bytes: Vec<u8>,
    /// Where the next element starts, once it is known how the stream starts.
    position: Option<usize>,
    encoding: Option<Encoding>,
    first: usize,
    group_end: Option<usize>,
    meta: FileMeta,
}

impl MetaReader {
    /// Reads on. Returns the file meta once the dataset starts, and its first bytes, which come before `input`.
    pub(super) fn push(
        &mut self,
        input: &mut Bytes,
        limits: &SplitLimits,
        warnings: &mut Warnings,
    ) -> Result<Option<(FileMeta, Bytes)>, Rejection> {
        while !input.is_empty() {
            let taken = WINDOW.min(input.len());
            self.bytes.extend_from_slice(&input[..taken]);
            let Some(end) = self.advance(false, limits, warnings)? else {
                input.advance(taken);
                continue;
            };
            // What came with this input goes back to it, so that nothing behind the file meta is copied.
            let behind = self.bytes.len() - end;
            let given_back = behind.min(taken);
            input.advance(taken - given_back);
            let dataset = Bytes::copy_from_slice(&self.bytes[end..][..behind - given_back]);
            return Ok(Some((self.take(end), dataset)));
        }
        Ok(None)
    }

    /// The stream is at its end before the dataset was seen to start. Returns the file meta and the dataset.
    pub(super) fn finish(
        mut self,
        limits: &SplitLimits,
        warnings: &mut Warnings,
    ) -> Result<(FileMeta, Bytes), Rejection> {
        let end = self.advance(true, limits, warnings)?.unwrap_or(self.bytes.len());
        let dataset = Bytes::copy_from_slice(&self.bytes[end..]);
        Ok((self.take(end), dataset))
    }

    fn take(&mut self, end: usize) -> FileMeta {
        self.bytes.truncate(end);
        let mut meta = std::mem::take(&mut self.meta);
        meta.bytes = std::mem::take(&mut self.bytes).into();
        meta
    }

    /// Where file meta may start; `None` if more bytes are needed.
    fn start(&self, at_end: bool, warnings: &mut Warnings) -> Option<usize> {
        let bytes = &self.bytes;
        if bytes.len() < PREFIX_BYTES + 8 && !at_end {
            return None;
        }
        let dataset_at_0 = guess_encoding(bytes).is_some();
        let start = if bytes.get(128..PREFIX_BYTES) == Some(b"DICM") {
            // A dataset without preamble may hold these four letters by chance.
            let meta_follows = bytes.get(PREFIX_BYTES..PREFIX_BYTES + 2) == Some(&[2, 0]);
            if meta_follows || !dataset_at_0 { PREFIX_BYTES } else { 0 }
        } else if bytes.starts_with(b"DICM") {
            4
        } else {
            0
        };
        if start != PREFIX_BYTES {
            warnings.add(Warning::NoPreamble);
        }
        Some(start)
    }

    /// Walks over elements of group 0002. Returns where the dataset starts.
    fn advance(
        &mut self,
        at_end: bool,
        limits: &SplitLimits,
        warnings: &mut Warnings,
    ) -> Result<Option<usize>, Rejection> {
        let mut position = match self.position {
            Some(position) => position,
            None => {
                let Some(start) = self.start(at_end, warnings) else {
                    return Ok(None);
                };
                self.first = start;
                *self.position.insert(start)
            }
        };
        loop {
            self.position = Some(position);
            if position > META_BYTES_MAX.min(limits.header_bytes_max) {
                return Err(Rejection::new(RejectionKind::HeaderTooLarge, None, position as u64));
            }
            let rest = self.bytes.get(position..).unwrap_or_default();
            let deflated = self
                .meta
                .transfer_syntax
                .as_ref()
                .is_some_and(TransferSyntax::is_deflated);
            // A deflated dataset may start with any bytes, so here the group length has the last word.
            let ends = deflated && self.group_end == Some(position);
            if ends
                || (rest.len() >= 2 && rest[..2] != [2, 0])
                || (at_end && rest.len() < 2 && position <= self.bytes.len())
            {
                self.at_end_of_meta(position, warnings);
                return Ok(Some(position));
            }
            let explicit = match rest.get(4..6) {
                Some(pair) => vr::is_known([pair[0], pair[1]]),
                None => true,
            };
            let encoding = self.encoding.unwrap_or(if explicit {
                Encoding::ExplicitLittle
            } else {
                Encoding::ImplicitLittle
            });
            let header = ElementHeader::read(rest, encoding);
            let value = header.and_then(|header| {
                let start = usize::from(header.header_bytes);
                Some((header, start, start.checked_add(header.length? as usize)?))
            });
            let Some((header, start, end)) = value else {
                if header.is_some() {
                    return Err(Rejection::new(
                        RejectionKind::BadSequence,
                        header.map(|h| h.tag),
                        position as u64,
                    ));
                }
                return Self::truncated(at_end, 1, None, position);
            };
            if self.encoding.is_none() && encoding == Encoding::ImplicitLittle {
                warnings.add(Warning::FileMetaImplicit);
            }
            self.encoding = Some(encoding);
            if end > META_BYTES_MAX {
                return Err(Rejection::new(
                    RejectionKind::HeaderTooLarge,
                    Some(header.tag),
                    position as u64,
                ));
            }
            let Some(value) = rest.get(start..end) else {
                return Self::truncated(at_end, (end - rest.len()) as u64, Some(header.tag), position);
            };
            let text = || {
                std::str::from_utf8(trim(value))
                    .ok()
                    .filter(|text| !text.is_empty())
                    .map(str::to_owned)
            };
            match header.tag.1 {
                0x0000 => {
                    let length = u32_of(value, encoding).map(|length| length as usize);
                    self.group_end = length.and_then(|length| (position + end).checked_add(length));
                }
                0x0002 => self.meta.sop_class = text(),
                0x0003 => self.meta.sop_instance = text(),
                0x0010 => self.meta.transfer_syntax = text().map(|uid| TransferSyntax::of(&uid)),
                _ => {}
            }
            position += end;
        }
    }

    fn truncated(
        at_end: bool,
        missing_bytes: u64,
        tag: Option<(u16, u16)>,
        position: usize,
    ) -> Result<Option<usize>, Rejection> {
        if at_end {
            return Err(Rejection::new(
                RejectionKind::Truncated { missing_bytes },
                tag,
                position as u64,
            ));
        }
        Ok(None)
    }

    fn at_end_of_meta(&self, position: usize, warnings: &mut Warnings) {
        if position == self.first {
            warnings.add(Warning::NoFileMeta);
        } else if self.group_end != Some(position) {
            warnings.add(Warning::FileMetaGroupLength);
        }
        if self
            .meta
            .transfer_syntax
            .as_ref()
            .is_some_and(|syntax| !syntax.is_known())
        {
            warnings.add(Warning::UnknownTransferSyntax);
        }
    }
}

/// The encoding that the first element of a dataset speaks for; `None` if it looks like no dataset.
///
/// Datasets start with a low group: 0008, or 0002 to 0040 when something is missing.
pub(super) fn guess_encoding(bytes: &[u8]) -> Option<Encoding> {
    let start: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let known = vr::is_known([start[4], start[5]]);
    let length = u32::from_le_bytes([start[4], start[5], start[6], start[7]]);
    match (start[0], start[1]) {
        (1..=0x60, 0) if known => Some(Encoding::ExplicitLittle),
        (1..=0x60, 0) if length < 1 << 24 || length == u32::MAX => Some(Encoding::ImplicitLittle),
        (0, 1..=0x60) if known => Some(Encoding::ExplicitBig),
        _ => None,
    }
}
