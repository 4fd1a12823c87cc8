//! STOW-RS of metadata and bulk data (PS3.18 section 10.5.1.4): parts in, Part 10 streams out into the pipeline.
//!
//! An instance goes into the pipeline as soon as the last part that it waits for is complete. What arrives before is held,
//! within `limits.held` for all requests together. Where bulk data is long, and the last that its one instance waits for,
//! it is not held but passed on as it comes: native bulk data of a known length (the part's Content-Length, or what
//! rows, columns and frames say), and compressed frames one by one. Parts that no instance refers to are counted and
//! left out. What is wrong with one instance never touches the others.

mod passing;
mod streams;

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use septum_core::dicom::from_json::BulkEncoding;
use septum_core::dicom::{FailureReason, TransferSyntax};

use self::passing::Passing;
use super::store::{Broken, Ingest};
use super::store_answer::Failure;
use crate::http::body::BodyReader;
use crate::http::media_type::MediaType;
use crate::http::multipart::{Event, Multipart, PartHeader};
use crate::stow::codestream::unbox;
use crate::stow::held::{Held, Share};
use crate::stow::location::{Base, content_key, frame_of};
use crate::stow::metadata::{Form, MetadataError, Needs, objects};
use crate::stow::parts::{BulkFailure, CODED, Entry, Part, encoding_of};

/// From this length on, bulk data is passed on where it can be.
const STREAM_BYTES_MIN: u64 = 4 << 20;

/// What one request may cost.
pub(super) struct Limits {
    /// What may be held.
    pub(super) held: Held,
    /// Most instances.
    pub(super) instances: usize,
    /// Longest metadata part, in bytes.
    pub(super) text_bytes: u64,
}

/// An instance that waits for bulk data.
struct Waiting {
    text: Bytes,
    needs: Needs,
    /// Addresses whose parts are not complete.
    num_missing: usize,
}

/// The part that is being read.
enum Current {
    None,
    Metadata(BytesMut, Share),
    Bulk {
        key: String,
        content_type: Option<String>,
        length_bytes: Option<u64>,
        part: Part,
    },
    /// Goes straight into the pipeline.
    Passed,
    /// Nobody wants it.
    Skipped,
}

pub(super) struct FromMetadata {
    form: Form,
    /// Content-ID of the root part, where it is not the first.
    start: Option<String>,
    /// Parts that have begun.
    num_parts: usize,
    base: Base,
    limits: Limits,
    waiting: Vec<Option<Waiting>>,
    entries: HashMap<String, Entry>,
    current: Current,
    passing: Option<Passing>,
    last_key: Option<String>,
    num_metadata: usize,
    /// Parts that no instance refers to.
    pub(super) num_unreferenced: usize,
    /// Held by the texts.
    texts: Vec<Share>,
}

impl FromMetadata {
    pub(super) fn new(form: Form, start: Option<String>, base: Base, limits: Limits) -> Self {
        Self {
            form,
            start,
            num_parts: 0,
            base,
            limits,
            waiting: Vec::new(),
            entries: HashMap::new(),
            current: Current::None,
            passing: None,
            last_key: None,
            num_metadata: 0,
            num_unreferenced: 0,
            texts: Vec::new(),
        }
    }

    /// Reads the whole body. Where it breaks off, what was complete before is stored.
    pub(super) async fn read(
        &mut self,
        ingest: &mut Ingest,
        mut parser: Multipart,
        mut body: BodyReader,
    ) -> Result<(), Broken> {
        let outcome = self.parts(ingest, &mut parser, &mut body).await;
        match &outcome {
            Ok(()) => self.complete(ingest).await,
            Err(broken) => {
                for waiting in std::mem::take(&mut self.waiting).into_iter().flatten() {
                    ingest.refuse(waiting.needs.named, broken.failure());
                }
            }
        }
        outcome
    }

    async fn parts(
        &mut self,
        ingest: &mut Ingest,
        parser: &mut Multipart,
        body: &mut BodyReader,
    ) -> Result<(), Broken> {
        loop {
            match body.next().await.map_err(Broken::Body)? {
                Some(bytes) => parser.push(&bytes),
                None => parser.finish(),
            }
            let is_last = parser.is_finished();
            while let Some(event) = parser.next_event().map_err(Broken::Multipart)? {
                match event {
                    Event::Part(header) => self.begin(ingest, header).await?,
                    Event::Data(bytes) => self.data(ingest, bytes).await?,
                    Event::PartEnd => self.end(ingest).await?,
                    Event::End => {}
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Whether a part is the root (RFC 2387 section 3.2): the one that `start` names, else the first.
    fn is_root(&self, header: &PartHeader) -> bool {
        match &self.start {
            Some(start) => header.content_id.as_deref() == Some(start),
            None => self.num_parts == 1,
        }
    }

    async fn begin(&mut self, ingest: &mut Ingest, header: PartHeader) -> Result<(), Broken> {
        self.num_parts += 1;
        let essence = header
            .content_type
            .as_deref()
            .and_then(MediaType::parse)
            .map(|media| media.essence);
        let is_metadata = match &essence {
            // A document among the bulk data may be XML or JSON as well; its address tells it from metadata.
            Some(essence) => {
                let may_be_bulk = header.content_location.is_some() && !essence.starts_with("application/dicom+");
                Form::of(essence) == Some(self.form) && (!may_be_bulk || self.is_root(&header))
            }
            None => self.num_metadata == 0 && (header.content_location.is_none() || self.is_root(&header)),
        };
        if is_metadata {
            if header.is_coded {
                return Err(Broken::Metadata(MetadataError::Coded));
            }
            self.leave_key(ingest, None).await;
            self.num_metadata += 1;
            self.current = Current::Metadata(BytesMut::new(), self.limits.held.share());
            return Ok(());
        }
        let Some(key) = self.key_of(&header) else {
            self.num_unreferenced += 1;
            self.current = Current::Skipped;
            return Ok(());
        };
        let (mut key, mut frame) = (key, None);
        if !self.entries.contains_key(&key)
            && let Some((whole, number)) = frame_of(&key)
        {
            (key, frame) = (whole.to_owned(), Some(number));
        }
        self.leave_key(ingest, Some(&key)).await;
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.is_used || entry.is_closed {
            let is_passing = self.passing.as_ref().is_some_and(|passing| passing.key == key);
            if !is_passing {
                self.num_unreferenced += 1;
                self.current = Current::Skipped;
                return Ok(());
            }
        }
        if header.is_coded {
            entry.fail(BulkFailure(FailureReason::CannotUnderstand, CODED));
        }
        self.last_key = Some(key.clone());
        self.current = Current::Bulk {
            key,
            content_type: header.content_type,
            length_bytes: header.content_length,
            part: Part::new(frame, self.limits.held.share()),
        };
        Ok(())
    }

    /// What the metadata may call a part: its Content-Location, or its Content-ID where that alone is referred to.
    fn key_of(&self, header: &PartHeader) -> Option<String> {
        let location = header
            .content_location
            .as_deref()
            .map(|location| self.base.resolve(location));
        let id = header.content_id.as_deref().map(content_key);
        let is_wanted = |key: &String| self.entries.contains_key(key);
        match (location, id) {
            (Some(location), Some(id)) if !is_wanted(&location) && is_wanted(&id) => Some(id),
            (location, id) => location.or(id),
        }
    }

    async fn data(&mut self, ingest: &mut Ingest, bytes: Bytes) -> Result<(), Broken> {
        match &mut self.current {
            Current::None | Current::Skipped => {}
            Current::Passed => self.pass(ingest, bytes).await,
            Current::Metadata(text, share) => {
                // Twice: what is noted of it beside the text is never longer.
                let is_held = share.grow(2 * bytes.len() as u64);
                if !is_held || (text.len() + bytes.len()) as u64 > self.limits.text_bytes {
                    return Err(Broken::Metadata(MetadataError::TooLarge));
                }
                text.extend_from_slice(&bytes);
            }
            Current::Bulk { key, part, .. } => {
                let key = key.clone();
                let Some(entry) = self.entries.get(&key) else {
                    return Ok(());
                };
                let is_held = entry.failure.is_none() && part.push(bytes.clone());
                let is_long = part.length_bytes >= STREAM_BYTES_MIN;
                if is_held && !is_long {
                    return Ok(());
                }
                if entry.failure.is_none() && self.start_passing(ingest, &key).await {
                    if !is_held {
                        self.pass(ingest, bytes).await;
                    }
                } else if !is_held {
                    if let Some(entry) = self.entries.get_mut(&key) {
                        entry.fail(BulkFailure(
                            FailureReason::OutOfResources,
                            "more bulk data than can be held came before its instance was complete",
                        ));
                    }
                    // The rest of it is still this part's, and nobody's.
                    if let Current::Bulk { part, .. } = &mut self.current {
                        *part = Part::new(part.frame, self.limits.held.share());
                    }
                }
            }
        }
        Ok(())
    }

    async fn end(&mut self, ingest: &mut Ingest) -> Result<(), Broken> {
        match std::mem::replace(&mut self.current, Current::None) {
            Current::None | Current::Skipped => Ok(()),
            Current::Passed => {
                self.finish_passing(ingest).await;
                Ok(())
            }
            Current::Metadata(text, share) => {
                self.texts.push(share);
                self.take_metadata(ingest, text.freeze()).await
            }
            Current::Bulk {
                key,
                content_type,
                part,
                ..
            } => {
                self.take_part(ingest, key, content_type.as_deref(), part).await;
                Ok(())
            }
        }
    }

    /// Cuts metadata into instances and notes what they wait for.
    async fn take_metadata(&mut self, ingest: &mut Ingest, text: Bytes) -> Result<(), Broken> {
        let texts = match self.form {
            Form::Json => objects(&text).map_err(Broken::Metadata)?,
            Form::Xml => vec![text],
        };
        for text in texts {
            if self.waiting.len() >= self.limits.instances {
                return Err(Broken::TooManyInstances);
            }
            let index = self.waiting.len();
            self.waiting.push(None);
            match self.look_through(text.clone()).await {
                Err(failure) => ingest.refuse(Default::default(), failure),
                Ok(needs) => {
                    let mut num_missing = 0;
                    for key in &needs.keys {
                        let entry = self.entries.entry(key.clone()).or_default();
                        entry.wanted_by.push(index);
                        // What another instance used up is gone.
                        num_missing += usize::from(!entry.is_closed);
                    }
                    self.waiting[index] = Some(Waiting {
                        text,
                        needs,
                        num_missing,
                    });
                    if num_missing == 0 {
                        self.store(ingest, index).await;
                    }
                }
            }
        }
        Ok(())
    }

    async fn take_part(&mut self, ingest: &mut Ingest, key: String, content_type: Option<&str>, mut part: Part) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if self.passing.as_ref().is_some_and(|passing| passing.key == key) {
            if let Some(BulkEncoding::Compressed { transfer_syntax }) = &entry.encoding
                && let Err(BulkFailure(reason, comment)) = unbox(transfer_syntax, &mut part)
            {
                ingest.fail(Failure::Incomplete(reason, comment));
            }
            return self.pass_frame(ingest, part).await;
        }
        if entry.failure.is_none() {
            entry.note_encoding(encoding_of(content_type, part.start()));
        }
        if entry.failure.is_none()
            && let Some(BulkEncoding::Compressed { transfer_syntax }) = &entry.encoding
            && let Err(failure) = unbox(transfer_syntax, &mut part)
        {
            entry.fail(failure);
        }
        if entry.failure.is_none() {
            entry.parts.push(part);
        }
        let expected = self.num_expected(&key);
        let Some(entry) = self.entries.get(&key) else { return };
        if expected.is_some_and(|expected| entry.parts.len() >= expected) {
            self.close(ingest, &key).await;
        } else if entry.parts.iter().map(|part| part.length_bytes).sum::<u64>() >= STREAM_BYTES_MIN
            && expected.is_some()
        {
            self.start_passing(ingest, &key).await;
        }
    }

    fn num_expected(&self, key: &str) -> Option<usize> {
        let entry = self.entries.get(key)?;
        let pixels = entry.wanted_by.iter().find_map(|index| {
            let waiting = self.waiting.get(*index)?.as_ref()?;
            waiting.needs.pixels.as_ref().filter(|pixels| pixels.key == key)
        })?;
        let is_video = matches!(&entry.encoding, Some(BulkEncoding::Compressed { transfer_syntax })
            if TransferSyntax::of(transfer_syntax).is_video());
        entry.num_expected(pixels.num_frames, is_video)
    }

    /// The next part is at another address: the last one is complete, unless frames are still to come.
    async fn leave_key(&mut self, ingest: &mut Ingest, next: Option<&str>) {
        let Some(last) = self.last_key.take_if(|last| Some(last.as_str()) != next) else {
            return;
        };
        if self.passing.as_ref().is_some_and(|passing| passing.key == last) {
            self.finish_passing(ingest).await;
        } else if self.num_expected(&last).is_none() {
            self.close(ingest, &last).await;
        }
    }

    /// Nothing more comes at this address: instances that waited for nothing else are stored.
    async fn close(&mut self, ingest: &mut Ingest, key: &str) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.is_closed) else {
            return;
        };
        entry.is_closed = true;
        entry.parts.sort_by_key(|part| part.frame);
        for index in entry.wanted_by.clone() {
            let Some(waiting) = &mut self.waiting[index] else {
                continue;
            };
            waiting.num_missing = waiting.num_missing.saturating_sub(1);
            if waiting.num_missing == 0 {
                self.store(ingest, index).await;
            }
        }
    }

    /// The body is complete: what is missing now will never come.
    async fn complete(&mut self, ingest: &mut Ingest) {
        self.leave_key(ingest, None).await;
        let mut keys: Vec<String> = Vec::new();
        for (key, entry) in &self.entries {
            if entry.wanted_by.is_empty() {
                self.num_unreferenced += entry.parts.len().max(1);
            } else if !entry.is_closed && !entry.parts.is_empty() {
                keys.push(key.clone());
            }
        }
        for key in keys {
            self.close(ingest, &key).await;
        }
        for index in 0..self.waiting.len() {
            self.store(ingest, index).await;
        }
    }
}
