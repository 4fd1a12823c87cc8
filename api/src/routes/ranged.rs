//! Answers of which a client may ask for a range of bytes.

use std::ops::Range;
use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use septum_engine::retrieve::frames::Frames;
use septum_engine::retrieve::{PixelReader, StoredValue};

use super::stream::{self, Break, Sink, send};
use crate::call::{Call, header_value};
use crate::http::range::{Asked, asked};

/// The answer's head, and the bytes it is to carry; no bytes for 416.
fn head(call: &Call, length: u64, content_type: &str, etag: &str) -> (HttpResponseBuilder, Option<Range<u64>>) {
    let (mut response, range) = match asked(&call.request, length, etag) {
        Asked::Whole => (HttpResponse::Ok(), Some(0..length)),
        Asked::Part(range) => {
            let mut response = HttpResponse::PartialContent();
            let place = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            response.insert_header((header::CONTENT_RANGE, place));
            (response, Some(range))
        }
        Asked::Nothing => {
            let mut response = HttpResponse::build(StatusCode::RANGE_NOT_SATISFIABLE);
            response.insert_header((header::CONTENT_RANGE, format!("bytes */{length}")));
            (response, None)
        }
    };
    response
        .content_type(content_type)
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"));
    (response, range)
}

/// The first `length` bytes of a value outside the pixels.
pub(crate) fn value(call: &Call, value: StoredValue, length: u64, content_type: &str, etag: &str) -> HttpResponse {
    if let Some(response) = call.not_modified(etag) {
        return response;
    }
    let (mut response, range) = head(call, length, content_type, etag);
    let Some(range) = range else {
        return response.finish();
    };
    if let StoredValue::Held(bytes) = &value {
        return response.body(bytes.slice(range.start as usize..range.end as usize));
    }
    response.body(stream::body(Some(range.end - range.start), |sink: Sink| async move {
        send_value(&sink, &value, range).await
    }))
}

/// Sends a range of a value.
pub(super) async fn send_value(sink: &Sink, value: &StoredValue, range: Range<u64>) -> Result<(), Break> {
    let mut at = range.start;
    while at < range.end {
        let piece = value.piece(at..range.end).await?;
        at += piece.len() as u64;
        send(sink, piece).await?;
    }
    Ok(())
}

/// The native pixels of an instance as one value.
pub(super) fn native(call: &Call, frames: Frames, length: u64, content_type: &str, etag: &str) -> HttpResponse {
    let (mut response, range) = head(call, length, content_type, etag);
    let Some(range) = range else {
        return response.finish();
    };
    let num_bytes = range.end - range.start;
    response.body(stream::body(Some(num_bytes), |sink: Sink| async move {
        let mut at = range.start;
        while at < range.end {
            let piece = frames.native_bytes(at, range.end).await?;
            if piece.is_empty() {
                return Err(septum_engine::EngineError::Corrupt("pixel record").into());
            }
            at += piece.len() as u64;
            send(&sink, piece).await?;
        }
        Ok::<(), Break>(())
    }))
}

/// The stored payload of an instance as one stream: its fragments one after the other.
pub(crate) fn stored(call: &Call, pixels: PixelReader, content_type: &str, etag: &str) -> HttpResponse {
    if let Some(response) = call.not_modified(etag) {
        return response;
    }
    let length = pixels.record().layout.payload_length();
    let (mut response, range) = head(call, length, content_type, etag);
    let Some(range) = range else {
        return response.finish();
    };
    let (num_bytes, pixels) = (range.end - range.start, Arc::new(pixels));
    response.body(stream::body(Some(num_bytes), |sink: Sink| async move {
        let mut at = range.start;
        while at < range.end {
            let piece = pixels.payload_from(at, range.end).await?;
            if piece.is_empty() {
                return Err(septum_engine::EngineError::Corrupt("pixel record").into());
            }
            at += piece.len() as u64;
            send(&sink, piece).await?;
        }
        Ok::<(), Break>(())
    }))
}
