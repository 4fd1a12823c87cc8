//! Datasets of any JSON object: refused, or pieces whose lengths are what is announced.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::dicom::from_json::{BulkPart, SequenceLengths, from_json};

fuzz_target!(|data: &[u8]| {
    let Ok(serde_json::Value::Object(attributes)) = serde_json::from_slice(data) else {
        return;
    };
    for lengths in [SequenceLengths::Defined, SequenceLengths::Undefined] {
        let mut resolve = |_: &str| Some(BulkPart::native(6));
        let _ = from_json(&attributes, &mut resolve, lengths);
    }
});
