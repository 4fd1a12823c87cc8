//! One dataset, pushed: header bytes to the walker, the pixel element's value to the unit reader, junk to the end.

use bytes::{Buf, Bytes};

use super::description::{self, Plan};
use super::file_meta::{FileMeta, guess_encoding};
use super::frames::read_offsets;
use super::header_bytes::HeaderBytes;
use super::instance::{Identity, InstanceStart, PixelElement, SplitEvent, SplitInstance};
use super::limits::SplitLimits;
use super::long_value::VALUE_UNIT_BYTES;
use super::rejection::{Rejection, RejectionKind, Tag};
use super::slots::{IDENTITY, Slot, Slots, trim};
use super::transfer_syntax::{Encoding, TransferSyntax};
use super::units::{Of, UnitReader, UnitSink};
use super::walker::{Progress, Section, Walker};
use super::warning::{Warning, Warnings};

/// How many header bytes are looked at together.
const WINDOW: usize = 16 << 10;

/// The section in front of the pixel element, once it is over.
struct Front {
    bytes: Bytes,
    walker: Walker,
    pixel_header_length: u8,
    plan: Plan,
    reader: UnitReader,
}

enum Stage {
    Elements,
    /// Inside a value that was cut out.
    Value(Box<UnitReader>),
    Pixels,
    Trailing,
}

pub(super) struct Dataset {
    limits: SplitLimits,
    meta: FileMeta,
    syntax: TransferSyntax,
    encoding: Encoding,
    /// The first element has been looked at.
    probed: bool,
    /// Where the dataset starts in the stream, and how long the stream will be.
    base: u64,
    expected_length: Option<u64>,
    stage: Stage,
    walker: Walker,
    front: Option<Front>,
    start: Option<InstanceStart>,
    /// Who it is, where that was said before the start.
    identified: Option<Identity>,
    /// Units that wait for the identity, and their bytes.
    held: Vec<SplitEvent>,
    held_bytes: usize,
    trailing: Vec<u8>,
    length: u64,
    num_units: u32,
    num_value_units: u32,
    /// How many of the walker's bytes the digest has.
    num_digested: usize,
    digest: blake3::Hasher,
}

impl Dataset {
    pub(super) fn new(meta: FileMeta, limits: SplitLimits, expected_length: Option<u64>) -> Self {
        let base = meta.bytes.len() as u64;
        let header_left = limits.header_bytes_max.saturating_sub(meta.bytes.len());
        let left = expected_length.map(|length| length.saturating_sub(base));
        let syntax = meta
            .transfer_syntax
            .clone()
            .unwrap_or_else(|| TransferSyntax::of(TransferSyntax::EXPLICIT_LITTLE));
        let encoding = syntax.encoding();
        Self {
            limits,
            meta,
            syntax,
            encoding,
            probed: false,
            base,
            expected_length,
            stage: Stage::Elements,
            walker: Walker::new(Section::Before, encoding, limits, base, header_left, left),
            front: None,
            start: None,
            identified: None,
            held: Vec::new(),
            held_bytes: 0,
            trailing: Vec::new(),
            length: 0,
            num_units: 0,
            num_value_units: 0,
            num_digested: 0,
            digest: blake3::Hasher::new(),
        }
    }

    fn reject(&self, kind: RejectionKind) -> Rejection {
        Rejection::new(kind, None, self.base + self.length)
    }

    /// Takes bytes off `input`: all of them, or those up to where pixels or a long value begin.
    pub(super) fn push_section(
        &mut self,
        input: &mut Bytes,
        events: &mut Vec<SplitEvent>,
        warnings: &mut Warnings,
    ) -> Result<(), Rejection> {
        let (start_length, num_bytes) = (self.length, input.len());
        self.length += num_bytes as u64;
        if self.length > self.limits.instance_bytes_max {
            return Err(self.reject(RejectionKind::InstanceTooLarge));
        }
        while !input.is_empty() {
            match &mut self.stage {
                Stage::Elements => {
                    self.push_elements(input, events, warnings)?;
                    if matches!(self.stage, Stage::Value(_) | Stage::Pixels) {
                        break;
                    }
                }
                Stage::Value(_) => self.push_value(input, events, warnings)?,
                Stage::Pixels => self.push_pixels(input, events, warnings)?,
                Stage::Trailing => {
                    self.trailing
                        .try_reserve(input.len())
                        .map_err(|_| self.reject(RejectionKind::OutOfMemory))?;
                    self.trailing.extend_from_slice(&std::mem::take(input));
                    self.check_trailing()?;
                }
            }
        }
        self.length = start_length + (num_bytes - input.len()) as u64;
        Ok(())
    }

    fn check_trailing(&self) -> Result<(), Rejection> {
        let front = self.front.as_ref().map_or(0, |front| front.bytes.len());
        if self.meta.bytes.len() + front + self.walker.bytes.len() + self.trailing.len() > self.limits.header_bytes_max
        {
            return Err(self.reject(RejectionKind::HeaderTooLarge));
        }
        Ok(())
    }

    fn push_elements(
        &mut self,
        input: &mut Bytes,
        events: &mut Vec<SplitEvent>,
        warnings: &mut Warnings,
    ) -> Result<(), Rejection> {
        let skipped = self.walker.num_skipped();
        let taken = input.len().min(if skipped > 0 { skipped } else { WINDOW });
        self.walker.append(&input[..taken])?;
        if !self.probed {
            if self.walker.bytes.len() < 8 {
                input.advance(taken);
                return Ok(());
            }
            self.probe(warnings)?;
        }
        match self.walker.advance(warnings)? {
            Progress::More => input.advance(taken),
            Progress::Trailing => {
                input.advance(taken);
                self.end_of_elements(warnings)?;
            }
            Progress::Long { tag, length } => {
                self.give_back(input, taken);
                self.start_value(tag, length, events, warnings)?;
            }
            Progress::Pixel {
                element,
                header_bytes,
                length,
            } => {
                self.give_back(input, taken);
                self.start_pixels(element, header_bytes, length, events, warnings)?;
            }
        }
        Ok(())
    }

    /// What was appended behind the walker's position belongs to a value that it does not keep; it all came with this
    /// input.
    fn give_back(&mut self, input: &mut Bytes, taken: usize) {
        input.advance(taken - (self.walker.bytes.len() - self.walker.position).min(taken));
        self.walker.bytes.truncate(self.walker.position);
    }

    /// The bytes that the walker has kept so far, to the digest.
    fn digest_header(&mut self) {
        self.digest.update(&self.walker.bytes[self.num_digested..]);
        self.num_digested = self.walker.bytes.len();
    }

    fn start_value(
        &mut self,
        tag: Tag,
        length: u32,
        events: &mut Vec<SplitEvent>,
        warnings: &mut Warnings,
    ) -> Result<(), Rejection> {
        if self.start.is_none() && self.identified.is_none() {
            let identity = self.identity(None, warnings)?;
            events.push(SplitEvent::Identified(Box::new(identity.clone())));
            self.identified = Some(identity);
        }
        self.digest_header();
        let offset = self.walker.base + self.walker.bytes.len() as u64;
        let unit_length = u64::from(VALUE_UNIT_BYTES);
        let reader = UnitReader::native(u64::from(length), unit_length, tag, offset, self.limits);
        self.stage = Stage::Value(Box::new(reader));
        Ok(())
    }

    fn push_value(
        &mut self,
        input: &mut Bytes,
        events: &mut Vec<SplitEvent>,
        warnings: &mut Warnings,
    ) -> Result<(), Rejection> {
        let Stage::Value(reader) = &mut self.stage else {
            return Ok(());
        };
        let mut sink = UnitSink {
            events,
            dataset: &mut self.digest,
            of: Of::LongValue,
            next_index: &mut self.num_value_units,
        };
        if reader.push(input, &mut sink, warnings)?.is_none() {
            return Ok(());
        }
        // The walker's bytes go on as if the value were not there.
        self.walker.base = reader.offset().saturating_sub(self.walker.bytes.len() as u64);
        self.walker
            .set_stream_left(self.expected_length.map(|end| end.saturating_sub(self.walker.base)));
        self.stage = Stage::Elements;
        Ok(())
    }

    /// From the walker's position on all is junk.
    fn end_of_elements(&mut self, warnings: &mut Warnings) -> Result<(), Rejection> {
        warnings.add(Warning::TrailingBytes);
        self.trailing = self.walker.bytes.split_off(self.walker.position);
        self.stage = Stage::Trailing;
        self.check_trailing()
    }

    /// Looks at the first element: the transfer syntax may be missing or wrong about the encoding.
    fn probe(&mut self, warnings: &mut Warnings) -> Result<(), Rejection> {
        self.probed = true;
        let guess = guess_encoding(&self.walker.bytes);
        if self.meta.transfer_syntax.is_none() {
            let Some(guess) = guess else {
                return Err(Rejection::new(RejectionKind::NotDicom, None, self.base));
            };
            warnings.add(Warning::TransferSyntaxGuessed);
            self.syntax = TransferSyntax::of_encoding(guess);
            self.encoding = guess;
        } else if let Some(guess) = guess
            && guess != self.encoding
        {
            warnings.add(Warning::EncodingContradictsTransferSyntax);
            self.encoding = guess;
        }
        self.walker.set_encoding(self.encoding);
        Ok(())
    }

    fn identity(&self, after: Option<(&Slots, &[u8])>, warnings: &mut Warnings) -> Result<Identity, Rejection> {
        let front = self.front.as_ref().map(|front| (&front.walker.slots, &front.bytes[..]));
        let front = front.unwrap_or((&self.walker.slots, &self.walker.bytes));
        let value = |slot| {
            let behind = after.and_then(|(slots, bytes)| slots.get(slot, bytes));
            behind.or_else(|| front.0.get(slot, front.1))
        };
        let identity =
            description::identity(value, self.meta.sop_class.as_deref(), warnings).map_err(|rejection| Rejection {
                offset: self.base + self.length,
                ..rejection
            })?;
        if self
            .meta
            .sop_instance
            .as_deref()
            .is_some_and(|uid| uid != identity.instance.as_str())
        {
            warnings.add(Warning::InstanceUidDiffersFromMeta);
        }
        if self
            .meta
            .sop_class
            .as_deref()
            .is_some_and(|uid| uid != identity.sop_class.as_str())
        {
            warnings.add(Warning::SopClassDiffersFromMeta);
        }
        Ok(identity)
    }

    fn start_pixels(
        &mut self,
        element: PixelElement,
        pixel_header_length: u8,
        length: Option<u32>,
        events: &mut Vec<SplitEvent>,
        warnings: &mut Warnings,
    ) -> Result<(), Rejection> {
        self.digest_header();
        self.num_digested = 0;
        let bytes = Bytes::from(std::mem::take(&mut self.walker.bytes));
        let offset = self.walker.base + bytes.len() as u64;
        let header_left = self
            .limits
            .header_bytes_max
            .saturating_sub(self.meta.bytes.len() + bytes.len());
        if let Some(length) = length.map(u64::from) {
            let too_large = Rejection::new(RejectionKind::InstanceTooLarge, Some(element.tag()), offset);
            if length > self.limits.instance_bytes_max.saturating_sub(bytes.len() as u64) {
                return Err(too_large);
            }
            let remaining_bytes = self.expected_length.map_or(u64::MAX, |end| end.saturating_sub(offset));
            if length > remaining_bytes {
                let kind = RejectionKind::LengthBeyondEnd {
                    claimed_bytes: length,
                    remaining_bytes,
                };
                return Err(Rejection {
                    kind,
                    reason: super::FailureReason::CannotUnderstand,
                    ..too_large
                });
            }
        }
        let after = Walker::new(Section::After, self.encoding, self.limits, offset, header_left, None);
        let walker = std::mem::replace(&mut self.walker, after);
        let value = |slot| walker.slots.get(slot, &bytes);
        let plan = description::plan(value, element, length, self.encoding, &self.syntax, warnings);
        let reader = match length {
            Some(length) => UnitReader::native(u64::from(length), plan.unit_length, element.tag(), offset, self.limits),
            None => UnitReader::encapsulated(self.encoding, element.tag(), offset, self.limits, header_left),
        };
        let identified = walker.slots.has_identity();
        let pixels = plan.description.clone();
        self.front = Some(Front {
            bytes,
            walker,
            pixel_header_length,
            plan,
            reader,
        });
        self.stage = Stage::Pixels;
        if identified {
            let identity = self.identity(None, warnings)?;
            self.check_identified(&identity)?;
            self.walker.is_identified = true;
            let start = self.instance_start(identity, Some(pixels));
            events.push(SplitEvent::Started(Box::new(start.clone())));
            self.start = Some(start);
        } else {
            warnings.add(Warning::PixelsBeforeIdentity);
        }
        // An empty value has ended before its first byte.
        self.push_pixels(&mut Bytes::new(), events, warnings)
    }

    /// A long value went to whom the elements in front of it named: no later one may say otherwise.
    fn check_identified(&self, identity: &Identity) -> Result<(), Rejection> {
        match &self.identified {
            Some(before) if before != identity => Err(self.reject(RejectionKind::AmbiguousIdentity)),
            _ => Ok(()),
        }
    }

    fn instance_start(&self, identity: Identity, pixels: Option<super::PixelDescription>) -> InstanceStart {
        InstanceStart {
            identity,
            transfer_syntax: self.syntax.clone(),
            encoding: self.encoding,
            pixels,
        }
    }

    fn push_pixels(
        &mut self,
        input: &mut Bytes,
        events: &mut Vec<SplitEvent>,
        warnings: &mut Warnings,
    ) -> Result<(), Rejection> {
        let Some(front) = &mut self.front else { return Ok(()) };
        let holding = self.start.is_none();
        if holding {
            // Not one unit goes out before it is known whose it is.
            self.held_bytes += input.len();
            if self.held_bytes > self.limits.header_bytes_max {
                let tag = Some(Slot::SopInstance.tag());
                return Err(Rejection::new(
                    RejectionKind::MissingIdentity,
                    tag,
                    front.reader.offset(),
                ));
            }
        }
        let mut sink = UnitSink {
            events: if holding { &mut self.held } else { events },
            dataset: &mut self.digest,
            of: Of::Pixels,
            next_index: &mut self.num_units,
        };
        let Some(unread) = front.reader.push(input, &mut sink, warnings)? else {
            return Ok(());
        };
        self.walker.base = front.reader.offset();
        self.walker.set_stream_left(
            self.expected_length
                .map(|end| end.saturating_sub(front.reader.offset())),
        );
        self.walker.num_elements = front.walker.num_elements;
        self.walker.last_tag = front.walker.last_tag;
        self.stage = Stage::Elements;
        if !unread.is_empty() {
            let mut unread = unread;
            while !unread.is_empty() {
                self.push_elements(&mut unread, events, warnings)?;
            }
        }
        Ok(())
    }

    /// The stream is at its end.
    pub(super) fn finish(
        mut self,
        file_length: u64,
        events: &mut Vec<SplitEvent>,
        mut warnings: Warnings,
    ) -> Result<SplitInstance, Rejection> {
        let warnings_ref = &mut warnings;
        if !self.probed {
            if self.length == 0 && self.meta.transfer_syntax.is_none() {
                return Err(Rejection::new(RejectionKind::NotDicom, None, self.base));
            }
            self.probe(warnings_ref)?;
        }
        if let (Stage::Pixels, Some(front)) = (&self.stage, &mut self.front) {
            front.reader.end_of_stream(warnings_ref)?;
        } else if let Stage::Value(reader) = &mut self.stage {
            reader.end_of_stream(warnings_ref)?;
        } else if matches!(self.stage, Stage::Elements) && self.walker.finish(warnings_ref)? {
            self.end_of_elements(warnings_ref)?;
        }
        self.identify_at_end(events, warnings_ref)?;
        let Some(start) = self.start.take() else {
            return Err(Rejection::new(
                RejectionKind::MissingIdentity,
                None,
                self.base + self.length,
            ));
        };
        self.digest_header();
        self.digest.update(&self.trailing);
        let last = HeaderBytes {
            preamble_and_meta: self.meta.bytes,
            before: Bytes::from(self.walker.bytes),
            after: Bytes::new(),
            trailing: self.trailing.into(),
            pixel_header_length: 0,
            edits_before: self.walker.edits,
            edits_after: Vec::new(),
            long_before: self.walker.long,
            long_after: Vec::new(),
        };
        let (header, layout) = match self.front {
            None => (last, None),
            Some(front) => {
                let value = |slot| {
                    let behind = self.walker.slots.get(slot, &last.before);
                    behind.or_else(|| front.walker.slots.get(slot, &front.bytes))
                };
                let table = value(Slot::ExtendedOffsetTable).unwrap_or_default();
                let extended = read_offsets(table, 8, self.encoding.is_big_endian());
                let Plan {
                    description, frames, ..
                } = front.plan;
                let video = self.syntax.is_video();
                let layout = front
                    .reader
                    .layout(frames, description.num_frames, extended, video, warnings_ref)?;
                let header = HeaderBytes {
                    before: front.bytes,
                    after: last.before,
                    edits_before: front.walker.edits,
                    edits_after: last.edits_before,
                    long_before: front.walker.long,
                    long_after: last.long_before,
                    pixel_header_length: front.pixel_header_length,
                    ..last
                };
                (header, Some(layout))
            }
        };
        Ok(SplitInstance {
            start,
            header,
            layout,
            dataset_digest: *self.digest.finalize().as_bytes(),
            dataset_length: self.length,
            file_length,
            warnings: warnings.into_vec(),
        })
    }

    /// Gives the start event if it is due only now, and checks that no identity comes after it.
    fn identify_at_end(&mut self, events: &mut Vec<SplitEvent>, warnings: &mut Warnings) -> Result<(), Rejection> {
        let Some(front) = &self.front else {
            let has = |slot| {
                self.walker
                    .slots
                    .get(slot, &self.walker.bytes)
                    .is_some_and(|value| trim(value) != b"")
            };
            if has(Slot::Rows) && has(Slot::Columns) && has(Slot::BitsAllocated) {
                warnings.add(Warning::MissingPixelData);
            }
            let identity = self.identity(None, warnings)?;
            self.check_identified(&identity)?;
            let start = self.instance_start(identity, None);
            events.push(SplitEvent::Started(Box::new(start.clone())));
            self.start = Some(start);
            return Ok(());
        };
        if self.start.is_none() {
            let identity = self.identity(Some((&self.walker.slots, &self.walker.bytes)), warnings)?;
            let start = self.instance_start(identity, Some(front.plan.description.clone()));
            events.push(SplitEvent::Started(Box::new(start.clone())));
            self.start = Some(start);
            events.append(&mut self.held);
            return Ok(());
        }
        let changed = IDENTITY.into_iter().find(|slot| {
            let behind = self.walker.slots.get(*slot, &self.walker.bytes);
            behind.is_some_and(|value| {
                trim(value) != trim(front.walker.slots.get(*slot, &front.bytes).unwrap_or_default())
            })
        });
        match changed {
            Some(slot) => {
                let offset = self.walker.base;
                Err(Rejection::new(
                    RejectionKind::AmbiguousIdentity,
                    Some(slot.tag()),
                    offset,
                ))
            }
            None => Ok(()),
        }
    }
}
