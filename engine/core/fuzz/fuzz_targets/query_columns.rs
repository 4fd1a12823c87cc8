//! Column pages of any bytes: refused, or the very page that encodes to them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::query::columns::{Column, Page};

fuzz_target!(|data: &[u8]| {
    let Ok(page) = Page::decode(data) else { return };
    assert_eq!(page.encode(), data);
    for row in 0..=page.num_rows() {
        for column in Column::ALL {
            let _ = page.field(row, column);
        }
        assert_eq!(page.key(row).is_some(), row < page.num_rows());
    }
});
