//! Header compression against templates: damaged input is an error, and compressing is without loss.
//!
//! Input: one byte for where the template ends, then template and header (or damaged payload).

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::codec::{compress_with_template, decompress_with_template};

fuzz_target!(|data: &[u8]| {
    let Some((&place, rest)) = data.split_first() else {
        return;
    };
    let (template, header) = rest.split_at(rest.len() * usize::from(place) / 256);
    for template in [Some(template), None] {
        for length in [0, 1, header.len(), 3 * header.len()] {
            if let Ok(decompressed) = decompress_with_template(template, header, length) {
                assert_eq!(decompressed.len(), length);
            }
        }
        let compressed = compress_with_template(template, header);
        assert!(compressed.len() <= header.len() + 1);
        let back = decompress_with_template(template, &compressed, header.len());
        assert_eq!(back.expect("our own payload"), header);
    }
});
