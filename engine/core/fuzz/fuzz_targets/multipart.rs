//! `multipart/related` bodies: no panic, bounded buffering, and how a body arrives makes no difference.
//!
//! Input: one byte for the size of the pieces, then the body; its boundary is `B`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the server uses all of it")]
#[path = "../../../../api/src/http/multipart.rs"]
mod multipart;

use multipart::{Event, Multipart, MultipartError, MultipartLimits};

/// Headers and data of all parts that came before the end or an error.
type Parts = Vec<(Option<String>, Vec<u8>, bool)>;

fn read(body: &[u8], piece_bytes: usize) -> (Parts, Option<MultipartError>) {
    let mut parts = Parts::new();
    let mut multipart = Multipart::new(
        "B",
        MultipartLimits {
            parts: 50,
            part_header: 500,
        },
    )
    .expect("a boundary");
    let mut pieces = body.chunks(piece_bytes);
    loop {
        match multipart.next_event() {
            Ok(Some(Event::Part(header))) => parts.push((header.content_type, Vec::new(), false)),
            Ok(Some(Event::Data(data))) => parts.last_mut().expect("inside a part").1.extend_from_slice(&data),
            Ok(Some(Event::PartEnd)) => parts.last_mut().expect("inside a part").2 = true,
            Ok(Some(Event::End)) => return (parts, None),
            Ok(None) => match pieces.next() {
                Some(piece) => multipart.push(piece),
                None => multipart.finish(),
            },
            Err(error) => return (parts, Some(error)),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&pieces, body)) = data.split_first() else {
        return;
    };
    let whole = read(body, body.len().max(1));
    let cut = read(body, usize::from(pieces) + 1);
    // Which of two errors is met first may differ; that there is one may not.
    assert_eq!(whole.1.is_some(), cut.1.is_some(), "{:?} {:?}", whole.1, cut.1);
    let complete = |(parts, _): &(Parts, _)| parts.iter().filter(|part| part.2).cloned().collect::<Parts>();
    assert_eq!(complete(&whole), complete(&cut));
});
