//! The bounds-checked walk over data elements (PS3.5 section 7), one level at a time, without recursion.
//!
//! The walker owns the header bytes as they arrive and a position in them. It looks at element headers, skips values and
//! stops at the pixel element. Invariant 6: its stack is at most `depth_max` sequences deep, its buffer at most
//! `header_bytes_max` long plus one append, and a claimed length never makes it allocate.

use super::header_bytes::Edit;
use super::instance::PixelElement;
use super::limits::SplitLimits;
use super::long_value::{LongValue, VALUE_UNIT_BYTES};
use super::rejection::{Rejection, RejectionKind, Tag};
use super::slots::Slots;
use super::transfer_syntax::Encoding;
use super::vr::{self, ElementHeader};
use super::warning::{Warning, Warnings};

const ITEM: Tag = (0xFFFE, 0xE000);
const ITEM_END: Tag = (0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = (0xFFFE, 0xE0DD);

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Sequence,
    Item,
    /// Items whose values are bytes: encapsulated pixel data inside a sequence, as in an icon.
    Fragments,
}

struct Open {
    level: Level,
    /// Where it ends; `None`: at its delimiter.
    end: Option<usize>,
    /// The encoding outside.
    outer: Encoding,
    /// This value of undefined length is shown with a defined one (see [`Edit::Overwrite`]): where its content starts.
    hidden_from: Option<usize>,
    tag: Tag,
    at: usize,
}

/// Why the walk pauses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More bytes are needed.
    More,
    /// The pixel element's header ends at the walker's position.
    Pixel {
        element: PixelElement,
        header_bytes: u8,
        length: Option<u32>,
    },
    /// The header of an element with a long value ends at the walker's position.
    Long { tag: Tag, length: u32 },
    /// What follows is no element: from the walker's position on nothing is read any more.
    Trailing,
}

/// Which part of the dataset is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Up to the pixel element.
    Before,
    /// Behind it.
    After,
}

/// No `Debug`: the bytes are patient data.
pub(super) struct Walker {
    pub(super) bytes: Vec<u8>,
    /// The next byte to look at; beyond `bytes` while a value is being skipped.
    pub(super) position: usize,
    /// Where the bytes start in the stream.
    pub(super) base: u64,
    pub(super) edits: Vec<Edit>,
    /// The values that were cut out.
    pub(super) long: Vec<LongValue>,
    /// It is known whose instance this is, from what came before these bytes.
    pub(super) is_identified: bool,
    pub(super) slots: Slots,
    /// Elements so far, of the sections before too.
    pub(super) num_elements: u64,
    pub(super) last_tag: Option<Tag>,
    /// Bytes of the stream that may follow `base`, if known.
    stream_left: Option<u64>,
    section: Section,
    encoding: Encoding,
    stack: Vec<Open>,
    depth: u16,
    /// How many open values are hidden.
    num_hidden: u32,
    limits: SplitLimits,
    header_left: usize,
}

impl Walker {
    /// A walker for bytes at `base`. `header_left`: how many header bytes may still come.
    pub(super) fn new(
        section: Section,
        encoding: Encoding,
        limits: SplitLimits,
        base: u64,
        header_left: usize,
        stream_left: Option<u64>,
    ) -> Self {
        Self {
            bytes: Vec::new(),
            position: 0,
            base,
            edits: Vec::new(),
            long: Vec::new(),
            is_identified: false,
            slots: Slots::default(),
            num_elements: 0,
            last_tag: None,
            stream_left,
            section,
            encoding,
            stack: Vec::new(),
            depth: 0,
            num_hidden: 0,
            limits,
            header_left,
        }
    }

    /// Reads in this encoding from now on.
    pub(super) fn set_encoding(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    /// How many bytes of the stream may follow `base`, if that is known.
    pub(super) fn set_stream_left(&mut self, left: Option<u64>) {
        self.stream_left = left;
    }

    /// The offset in the stream of a position.
    fn offset(&self, position: usize) -> u64 {
        self.base + position as u64
    }

    fn reject(&self, kind: RejectionKind, tag: Tag, position: usize) -> Rejection {
        Rejection::new(kind, Some(tag), self.offset(position))
    }

    /// Bytes that may be appended without a look at them: the rest of a value.
    pub(super) fn num_skipped(&self) -> usize {
        self.position.saturating_sub(self.bytes.len())
    }

    /// Adds bytes; call [`Self::advance`] next.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        let offset = self.offset(self.bytes.len());
        self.bytes
            .try_reserve(bytes.len())
            .map_err(|_| Rejection::new(RejectionKind::OutOfMemory, None, offset))?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Walks as far as the bytes go.
    pub(super) fn advance(&mut self, warnings: &mut Warnings) -> Result<Progress, Rejection> {
        loop {
            while let Some(end) = self.stack.last().and_then(|open| open.end)
                && self.position >= end
            {
                self.close_at(end)?;
            }
            if self.position > self.header_left {
                return Err(Rejection::new(
                    RejectionKind::HeaderTooLarge,
                    self.last_tag,
                    self.offset(self.position),
                ));
            }
            if self.position >= self.bytes.len() {
                return Ok(Progress::More);
            }
            let progress = match self.stack.last().map(|open| open.level) {
                None | Some(Level::Item) => self.element(warnings)?,
                Some(Level::Sequence) => self.item()?,
                Some(Level::Fragments) => self.fragment()?,
            };
            if let Some(progress) = progress {
                return Ok(progress);
            }
        }
    }

    /// How many bytes what is open may still take up at `position`.
    fn room(&self, position: usize) -> Option<u64> {
        let open = self
            .stack
            .iter()
            .rev()
            .find_map(|open| open.end)
            .map(|end| end.saturating_sub(position) as u64);
        let stream = self.stream_left.map(|left| left.saturating_sub(position as u64));
        match (open, stream) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Where the element's content starts, if there is room for it.
    fn check_room(&self, header: &ElementHeader) -> Result<usize, Rejection> {
        let content = self.check_end(header)?;
        if content as u64 + u64::from(header.length.unwrap_or(0)) > self.header_left as u64 {
            return Err(self.reject(RejectionKind::HeaderTooLarge, header.tag, self.position));
        }
        Ok(content)
    }

    /// Where the element's content starts, if what is open and the stream have room for it.
    fn check_end(&self, header: &ElementHeader) -> Result<usize, Rejection> {
        let content = self.position + usize::from(header.header_bytes);
        let claimed_bytes = u64::from(header.length.unwrap_or(0));
        let header_fits = self
            .room(self.position)
            .is_none_or(|room| room >= u64::from(header.header_bytes));
        match self.room(content) {
            Some(remaining_bytes) if claimed_bytes > remaining_bytes || !header_fits => Err(self.reject(
                RejectionKind::LengthBeyondEnd {
                    claimed_bytes,
                    remaining_bytes,
                },
                header.tag,
                self.position,
            )),
            _ => Ok(content),
        }
    }

    fn count(&mut self, tag: Tag) -> Result<(), Rejection> {
        self.num_elements += 1;
        if self.num_elements > self.limits.elements_max {
            return Err(self.reject(RejectionKind::TooManyElements, tag, self.position));
        }
        Ok(())
    }

    fn element(&mut self, warnings: &mut Warnings) -> Result<Option<Progress>, Rejection> {
        let mut encoding = self.encoding;
        let Some(mut header) = ElementHeader::read(&self.bytes[self.position..], encoding) else {
            // A header that needs 12 bytes may still be garbage at its eighth.
            return Ok(Some(Progress::More));
        };
        if self.is_hidden() && !encoding.is_explicit() && header.tag.0 != 0xFFFE {
            let rest = &self.bytes[self.position..];
            if vr::is_known([rest[4], rest[5]]) {
                encoding = Encoding::ExplicitLittle;
                match ElementHeader::read(rest, encoding) {
                    Some(explicit) => header = explicit,
                    None => return Ok(Some(Progress::More)),
                }
                warnings.add(Warning::ExplicitInsideUnknown);
            }
        }
        let root = self.stack.is_empty();
        if header.tag == ITEM_END || header.tag == SEQUENCE_END {
            return self.delimiter(&header, warnings).map(|()| None);
        }
        if root {
            if self.is_garbage(&header) {
                return Ok(Some(Progress::Trailing));
            }
            match self.last_tag {
                Some(last) if last == header.tag => warnings.add(Warning::DuplicateTag),
                Some(last) if last > header.tag => warnings.add(Warning::TagsOutOfOrder),
                _ => {}
            }
            self.last_tag = Some(header.tag);
            if let Some(element) = PixelElement::of_tag(header.tag) {
                if self.section == Section::Before {
                    self.count(header.tag)?;
                    self.position += usize::from(header.header_bytes);
                    let (header_bytes, length) = (header.header_bytes, header.length);
                    return Ok(Some(Progress::Pixel {
                        element,
                        header_bytes,
                        length,
                    }));
                }
                warnings.add(Warning::SecondPixelElement);
            }
        }
        if header.tag == ITEM {
            return Err(self.reject(RejectionKind::BadSequence, header.tag, self.position));
        }
        self.count(header.tag)?;
        if header.vr.is_some_and(|vr| !vr::is_known(vr)) {
            warnings.add(Warning::UnknownValueRepresentation);
        }
        if let Some(length) = self.long_value(&header) {
            if length % 2 == 1 {
                warnings.add(Warning::OddLength);
            }
            return self.cut(&header, length).map(Some);
        }
        let content = self.check_room(&header)?;
        if let Some(length) = header.length
            && !is_sequence(&header)
        {
            if length % 2 == 1 {
                warnings.add(Warning::OddLength);
            }
            let end = content + length as usize;
            if root && self.slots.set(header.tag, content..end) {
                warnings.add(Warning::DuplicateTag);
            }
            self.position = end;
            return Ok(None);
        }
        self.open_value(&header, content, warnings)?;
        Ok(None)
    }

    /// The length of a value that is to be cut out.
    fn long_value(&self, header: &ElementHeader) -> Option<u32> {
        let is_known = self.is_identified || (self.section == Section::Before && self.slots.has_identity());
        header.length.filter(|length| {
            self.stack.is_empty()
                && *length > VALUE_UNIT_BYTES
                && is_known
                && !is_sequence(header)
                && !Slots::knows(header.tag)
        })
    }

    /// Cuts a value out: it reads as empty, and its place is kept.
    fn cut(&mut self, header: &ElementHeader, length: u32) -> Result<Progress, Rejection> {
        let content = self.check_end(header)?;
        let at = content as u32;
        // A length of this size takes four bytes in each form of an element's header.
        self.edits.push(Edit::Overwrite {
            at: at - 4,
            bytes: [0; 4],
        });
        self.long.push(LongValue {
            tag: header.tag,
            vr: header.vr,
            at,
            length,
        });
        self.position = content;
        Ok(Progress::Long {
            tag: header.tag,
            length,
        })
    }

    /// Opens a sequence, or a value of undefined length.
    fn open_value(&mut self, header: &ElementHeader, content: usize, warnings: &mut Warnings) -> Result<(), Rejection> {
        let mut level = Level::Sequence;
        let mut hidden_from = None;
        let mut inner = self.encoding;
        if !is_sequence(header) {
            // Undefined length, in explicit VR: encapsulated pixels of an icon, VR UN, or a VR that may not have it.
            let unknown = header.vr.is_none_or(|vr| vr == *b"UN" || !vr::is_known(vr));
            let pixels = PixelElement::of_tag(header.tag) == Some(PixelElement::Pixel);
            if pixels || !unknown {
                level = Level::Fragments;
            }
            if !pixels {
                hidden_from = (!self.is_hidden()).then_some(content);
            }
            match (pixels, unknown) {
                (true, _) => {}
                // PS3.5 section 6.2.2 note 2: inside, Implicit VR Little Endian.
                (false, true) => inner = Encoding::ImplicitLittle,
                (false, false) => warnings.add(Warning::UndefinedLengthValue),
            }
        }
        if self.depth >= self.limits.depth_max {
            return Err(self.reject(RejectionKind::TooDeep, header.tag, self.position));
        }
        self.depth += 1;
        self.num_hidden += u32::from(hidden_from.is_some());
        let end = header.length.map(|length| content + length as usize);
        let outer = std::mem::replace(&mut self.encoding, inner);
        self.stack.push(Open {
            level,
            end,
            outer,
            hidden_from,
            tag: header.tag,
            at: self.position,
        });
        self.position = content;
        Ok(())
    }

    fn is_hidden(&self) -> bool {
        self.num_hidden > 0
    }

    /// An item delimiter or sequence delimiter where an element may stand.
    fn delimiter(&mut self, header: &ElementHeader, warnings: &mut Warnings) -> Result<(), Rejection> {
        match self.stack.last() {
            Some(Open {
                level: Level::Item,
                end: None,
                ..
            }) if header.tag == ITEM_END && header.length == Some(0) => {
                self.position += 8;
                self.close_at(self.position)
            }
            None if header.length == Some(0) => {
                warnings.add(Warning::StrayDelimiter);
                self.count(header.tag)?;
                self.edits.push(Edit::Remove {
                    at: self.position as u32,
                });
                self.position += 8;
                Ok(())
            }
            _ => Err(self.reject(RejectionKind::BadSequence, header.tag, self.position)),
        }
    }

    /// An item, or the end of the sequence.
    fn item(&mut self) -> Result<Option<Progress>, Rejection> {
        let Some(header) = ElementHeader::read(&self.bytes[self.position..], self.encoding) else {
            return Ok(Some(Progress::More));
        };
        let open_ended = self.stack.last().is_some_and(|open| open.end.is_none());
        match header.tag {
            ITEM => {
                self.count(header.tag)?;
                let content = self.check_room(&header)?;
                let end = header.length.map(|length| content + length as usize);
                let (outer, at) = (self.encoding, self.position);
                self.stack.push(Open {
                    level: Level::Item,
                    end,
                    outer,
                    hidden_from: None,
                    tag: ITEM,
                    at,
                });
                self.position = content;
                Ok(None)
            }
            SEQUENCE_END if open_ended && header.length == Some(0) => {
                self.position += 8;
                self.close_at(self.position).map(|()| None)
            }
            tag => Err(self.reject(RejectionKind::BadSequence, tag, self.position)),
        }
    }

    /// A fragment of pixel data inside a sequence, or the end of it.
    fn fragment(&mut self) -> Result<Option<Progress>, Rejection> {
        let Some(header) = ElementHeader::read(&self.bytes[self.position..], self.encoding) else {
            return Ok(Some(Progress::More));
        };
        match (header.tag, header.length) {
            (ITEM, Some(length)) => {
                self.count(header.tag)?;
                self.position = self.check_room(&header)? + length as usize;
                Ok(None)
            }
            (SEQUENCE_END, Some(0)) => {
                self.position += 8;
                self.close_at(self.position).map(|()| None)
            }
            (tag, _) => Err(self.reject(RejectionKind::BadFragment, tag, self.position)),
        }
    }

    /// Closes what is open last. `end` lies behind its delimiter, if it has one.
    fn close_at(&mut self, end: usize) -> Result<(), Rejection> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        if end > open.end.unwrap_or(end) {
            let kind = RejectionKind::BadSequence;
            return Err(self.reject(kind, open.tag, open.at));
        }
        if open.level != Level::Item {
            self.depth -= 1;
        }
        self.encoding = open.outer;
        if let Some(from) = open.hidden_from {
            self.num_hidden -= 1;
            let length = (end - from) as u32;
            let bytes = if self.encoding.is_big_endian() {
                length.to_be_bytes()
            } else {
                length.to_le_bytes()
            };
            self.edits.push(Edit::Overwrite {
                at: (from - 4) as u32,
                bytes,
            });
        }
        Ok(())
    }

    /// Whether a header on the outermost level is none: then what follows is junk behind the dataset.
    fn is_garbage(&self, header: &ElementHeader) -> bool {
        let descends = self.last_tag.is_some_and(|last| header.tag <= last);
        let known = header.vr.map(vr::is_known);
        let letters = header.vr.is_none_or(|vr| vr.iter().all(u8::is_ascii_uppercase));
        match self.section {
            Section::Before => self.slots.has_identity() && descends && (header.tag == (0, 0) || !letters),
            Section::After => match known {
                Some(known) => {
                    !known && !matches!(header.tag.0, 0x7FE1..=0x7FFF | 0xFFFA | 0xFFFC) || header.tag == (0, 0)
                }
                None if descends => header.tag.0 < 8 || !super::dictionary::is_known(header.tag),
                None => !matches!(header.tag.0, 0x7FE0..=0x7FFF | 0xFFFA | 0xFFFC | 0xFFFE),
            },
        }
    }

    /// The stream is at its end: checks that the walk is too. Returns whether the bytes from `position` on are junk.
    pub(super) fn finish(&mut self, warnings: &mut Warnings) -> Result<bool, Rejection> {
        let missing = self.num_skipped() as u64;
        if missing > 0 {
            let tag = self.stack.last().map(|open| open.tag).or(self.last_tag);
            let kind = RejectionKind::Truncated { missing_bytes: missing };
            return Err(Rejection::new(kind, tag, self.offset(self.bytes.len())));
        }
        let rest = &self.bytes[self.position..];
        if !rest.is_empty() {
            let junk = self.stack.is_empty()
                && (self.section == Section::After
                    || (self.slots.has_identity() && rest.iter().all(|byte| *byte == 0)));
            if junk {
                return Ok(true);
            }
            let kind = RejectionKind::Truncated {
                missing_bytes: 8_u64.saturating_sub(rest.len() as u64).max(1),
            };
            return Err(Rejection::new(kind, None, self.offset(self.position)));
        }
        let end = self.position;
        while let Some(open) = self.stack.last() {
            if let Some(stop) = open.end {
                let kind = RejectionKind::Truncated {
                    missing_bytes: (stop - end) as u64,
                };
                return Err(self.reject(kind, open.tag, open.at));
            }
            warnings.add(Warning::MissingDelimiters);
            let (level, big_endian) = (open.level, self.encoding.is_big_endian());
            let hidden = self.is_hidden();
            self.close_at(end)?;
            if !hidden {
                self.edits.push(Edit::Close {
                    item: level == Level::Item,
                    big_endian,
                });
            }
        }
        Ok(false)
    }
}

/// Whether the value is a sequence of items (PS3.5 section 7.5). In Implicit VR the dictionary says so, and the undefined
/// length.
fn is_sequence(header: &ElementHeader) -> bool {
    match header.vr {
        Some(vr) => vr == *b"SQ",
        None if header.length.is_none() => PixelElement::of_tag(header.tag) != Some(PixelElement::Pixel),
        None => super::dictionary::is_sequence(header.tag),
    }
}
