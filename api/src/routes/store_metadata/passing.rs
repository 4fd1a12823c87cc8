//! Bulk data that is not held but passed on as it comes: the last that its one instance waits for.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use septum_core::dicom::from_json::{BulkEncoding, BulkPart, Piece, fragment_header};
use septum_core::dicom::{FailureReason, TransferSyntax};

use super::streams::changes;
use super::{Current, FromMetadata, Ingest};
use crate::routes::store_answer::Failure;
use crate::stow::codestream::is_bare;
use crate::stow::held::Share;
use crate::stow::parts::{BulkFailure, Part, encoding_of};

/// What is still to come of the bulk data that is passed on.
enum Feed {
    /// So many bytes of one value; then perhaps one of padding.
    Value { left_bytes: u64, may_be_padded: bool },
    /// One compressed codestream, cut into fragments. Holds back the byte that would make one odd.
    Codestream(BytesMut),
    /// Frames, one part each.
    Frames { num_seen: u32, num_frames: u32 },
}

/// The instance whose last bulk data is passed on.
pub(super) struct Passing {
    instance: usize,
    pub(super) key: String,
    feed: Feed,
    /// What follows in the stream.
    rest: VecDeque<Piece>,
    _cost: Share,
}

impl FromMetadata {
    /// Passes on what came of the current part, or of the frames before, where it is the last that its one instance
    /// waits for. False, and nothing changes, where it cannot be passed on.
    pub(super) async fn start_passing(&mut self, ingest: &mut Ingest, key: &str) -> bool {
        let Some((index, part, feed)) = self.feed(key) else {
            return false;
        };
        let Some(waiting) = self.waiting[index].take() else {
            return false;
        };
        let made = self.make(&waiting, Some((key, part))).await;
        let (made, cost) = match made {
            Ok(made) => made,
            Err(failure) => {
                ingest.refuse(waiting.needs.named.clone(), failure);
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.fail(BulkFailure(FailureReason::ProcessingFailure, "its instance failed"));
                    entry.is_closed = true;
                }
                self.release(&waiting.needs.keys, index);
                self.current = match std::mem::replace(&mut self.current, Current::None) {
                    Current::Bulk { .. } => Current::Skipped,
                    other => other,
                };
                return true;
            }
        };
        ingest.begin(None).await;
        ingest.describe(waiting.needs.named.clone(), changes(&made.warnings));
        let mut rest: VecDeque<Piece> = made.pieces.into();
        while let Some(piece) = rest.pop_front() {
            match piece {
                Piece::Bulk(bulk) if self.base.resolve(&bulk.uri) == key => break,
                piece => self.push(ingest, piece).await,
            }
        }
        // Other bulk data of the instance is still needed for what follows.
        let before = self.entries.get_mut(key).map(|entry| {
            entry.is_closed = true;
            std::mem::take(&mut entry.parts)
        });
        let is_frames = matches!(feed, Feed::Frames { .. });
        self.passing = Some(Passing {
            instance: index,
            key: key.to_owned(),
            feed,
            rest,
            _cost: cost,
        });
        self.waiting[index] = Some(waiting);
        for part in before.into_iter().flatten() {
            self.pass_frame(ingest, part).await;
        }
        if !is_frames && let Current::Bulk { part, .. } = std::mem::replace(&mut self.current, Current::Passed) {
            for chunk in part.chunks {
                self.pass(ingest, chunk).await;
            }
        }
        true
    }

    /// How the bulk data of an address can be passed on.
    fn feed(&self, key: &str) -> Option<(usize, BulkPart, Feed)> {
        if self.passing.is_some() {
            return None;
        }
        let entry = self.entries.get(key)?;
        let &[index] = &entry.wanted_by[..] else { return None };
        let waiting = self.waiting.get(index)?.as_ref()?;
        if waiting.num_missing != 1 || waiting.needs.shared_keys.contains(key) {
            return None;
        }
        let pixels = waiting.needs.pixels.as_ref().filter(|pixels| pixels.key == key);
        if let Current::Bulk {
            key: current,
            content_type,
            length_bytes,
            part,
        } = &self.current
            && current == key
        {
            if !entry.parts.is_empty() || part.frame.is_some() {
                return None;
            }
            let encoding = encoding_of(content_type.as_deref(), part.start()).ok()?;
            let value = |length_bytes: u64| {
                let part = BulkPart {
                    encoding: encoding.clone(),
                    lengths_bytes: vec![Some(length_bytes)],
                };
                let feed = Feed::Value {
                    left_bytes: length_bytes,
                    may_be_padded: length_bytes % 2 == 1,
                };
                (index, part, feed)
            };
            return match &encoding {
                BulkEncoding::Native => {
                    // A claimed length of frames is of no use: further parts may follow.
                    let length = length_bytes.or(pixels.and_then(|pixels| pixels.native_bytes))?;
                    Some(value(length))
                }
                BulkEncoding::Items { .. } => length_bytes.map(value),
                BulkEncoding::Compressed { transfer_syntax } => {
                    let is_video = TransferSyntax::of(transfer_syntax).is_video();
                    // What stands in boxes is taken out of them once it is complete.
                    if (pixels?.num_frames > 1 && !is_video) || !is_bare(transfer_syntax, part) {
                        return None;
                    }
                    let part = BulkPart {
                        encoding: encoding.clone(),
                        lengths_bytes: vec![None],
                    };
                    Some((index, part, Feed::Codestream(BytesMut::new())))
                }
            };
        }
        // Between parts: frames.
        let num_frames = pixels?.num_frames;
        let part = BulkPart {
            encoding: entry.encoding.clone()?,
            lengths_bytes: vec![None],
        };
        let feed = Feed::Frames {
            num_seen: 0,
            num_frames,
        };
        Some((index, part, feed))
    }

    pub(super) async fn pass(&mut self, ingest: &mut Ingest, mut bytes: Bytes) {
        let Some(passing) = &mut self.passing else { return };
        match &mut passing.feed {
            Feed::Value {
                left_bytes,
                may_be_padded,
            } => {
                let length = (bytes.len() as u64).min(*left_bytes) as usize;
                *left_bytes -= length as u64;
                let surplus = bytes.split_off(length);
                if *may_be_padded && surplus.len() == 1 {
                    *may_be_padded = false;
                } else if !surplus.is_empty() {
                    ingest.fail(LENGTH_WRONG);
                }
                ingest.data(bytes).await;
            }
            Feed::Codestream(kept) => {
                kept.extend_from_slice(&bytes);
                let length = kept.len() & !1;
                let fragment = kept.split_to(length).freeze();
                push_fragment(ingest, vec![fragment]).await;
            }
            Feed::Frames { .. } => {}
        }
    }

    /// One frame is one fragment.
    pub(super) async fn pass_frame(&mut self, ingest: &mut Ingest, part: Part) {
        let Some(passing) = &mut self.passing else { return };
        let Feed::Frames { num_seen, num_frames } = &mut passing.feed else {
            return;
        };
        *num_seen += 1;
        if part.frame.is_some_and(|frame| frame != *num_seen) {
            ingest.fail(Failure::Incomplete(
                FailureReason::CannotUnderstand,
                "the frames do not come in their order",
            ));
        } else if part.length_bytes == 0 {
            ingest.fail(LENGTH_WRONG);
        }
        let is_last = num_seen == num_frames;
        push_fragment(ingest, part.chunks).await;
        if is_last {
            self.finish_passing(ingest).await;
        }
    }

    pub(super) async fn finish_passing(&mut self, ingest: &mut Ingest) {
        let Some(passing) = self.passing.take() else { return };
        match passing.feed {
            Feed::Value { left_bytes: 0, .. } => {}
            Feed::Codestream(kept) => push_fragment(ingest, vec![kept.freeze()]).await,
            Feed::Frames { num_seen, num_frames } if num_seen == num_frames => {}
            Feed::Value { .. } => ingest.fail(LENGTH_WRONG),
            Feed::Frames { .. } => ingest.fail(Failure::Incomplete(
                FailureReason::CannotUnderstand,
                "there are fewer frames than the metadata says",
            )),
        }
        for piece in passing.rest {
            self.push(ingest, piece).await;
        }
        ingest.end().await;
        if let Some(waiting) = self.waiting[passing.instance].take() {
            self.release(&waiting.needs.keys, passing.instance);
        }
    }
}

const LENGTH_WRONG: Failure = Failure::Incomplete(
    FailureReason::CannotUnderstand,
    "the bulk data is not as long as its Content-Length or the metadata says",
);

/// One fragment of these chunks; nothing where they are empty.
async fn push_fragment(ingest: &mut Ingest, chunks: Vec<Bytes>) {
    let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    let Some((header, padding)) = fragment_header(length) else {
        return;
    };
    ingest.data(Bytes::copy_from_slice(&header)).await;
    for chunk in chunks {
        ingest.data(chunk).await;
    }
    if let Some(padding) = padding {
        ingest.data(Bytes::copy_from_slice(&[padding])).await;
    }
}
