//! Every tier gives back every frame, whatever shape it is said to have (invariant 4).
//!
//! Input: [rows, columns, samples, bits, flags], then samples, repeated to fill the frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::codec::{Tier, decode, encode};

mod shape;

fuzz_target!(|data: &[u8]| {
    let Some((shape, samples)) = shape::of_bytes(data) else {
        return;
    };
    // Also frames that are not what their shape says.
    let length = match samples.first() {
        Some(200..) => samples.len(),
        _ => shape.frame_length().unwrap_or(samples.len() as u64) as usize,
    };
    let frame: Vec<u8> = samples.iter().copied().cycle().take(length).collect();
    for tier in [Tier::Pressure, Tier::Acknowledge, Tier::Dense] {
        let encoded = encode(tier, Some(&shape), &frame);
        assert!(encoded.bytes.len() <= frame.len());
        let decoded = decode(encoded.codec, Some(&shape), &encoded.bytes, frame.len());
        assert_eq!(decoded.expect("our own payload"), frame, "{tier:?} {:?}", encoded.codec);
    }
});
