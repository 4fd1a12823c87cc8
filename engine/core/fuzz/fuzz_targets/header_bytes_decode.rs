//! Stored header bytes: refused, or read the same again after being written; their readable form never panics.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use septum_core::dicom::HeaderBytes;

fuzz_target!(|data: &[u8]| {
    let Ok(header) = HeaderBytes::decode(&Bytes::copy_from_slice(data)) else {
        return;
    };
    let _ = (header.elements(), header.elements_before(), header.elements_after());
    assert_eq!(header.is_empty(), header.len() == 0);
    let again = HeaderBytes::decode(&Bytes::from(header.encode())).expect("ours");
    assert_eq!(again, header);
});
