//! Decoding damaged payloads: the length asked for or an error, never a panic and never more memory than asked for.
//!
//! Input: [codec, rows, columns, samples, bits, flags], then the payload. HTJ2K and JPEG-LS are left out: they
//! decode only what we encoded and authenticated, and their C++ is not under test here.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::codec::{Codec, decode};

mod shape;

fuzz_target!(|data: &[u8]| {
    let [codec, description @ ..] = data else { return };
    let Some((shape, payload)) = shape::of_bytes(description) else {
        return;
    };
    let Ok(codec) = Codec::try_from(codec % 4) else { return };
    let length = shape.frame_length().unwrap_or(1000) as usize;
    for shape in [Some(&shape), None] {
        if let Ok(decoded) = decode(codec, shape, payload, length) {
            assert_eq!(decoded.len(), length);
        }
    }
});
