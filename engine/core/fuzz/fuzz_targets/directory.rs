//! A DICOMDIR of any bytes: refused, or paths that stay below their folder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::dicom::dicomdir::files;

fuzz_target!(|data: &[u8]| {
    let Ok(found) = files(data) else { return };
    for component in found.files.iter().flatten() {
        assert!(!component.is_empty() && component != "." && component != ".." && !component.contains(['/', '\\', '\0']));
    }
});
