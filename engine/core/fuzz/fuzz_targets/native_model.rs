//! The Native DICOM Model of any bytes: refused, or attributes that are written and read again alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::dicom::xml::{XmlLimits, from_xml, to_xml};

fuzz_target!(|data: &[u8]| {
    let Ok(attributes) = from_xml(data, &XmlLimits::default()) else {
        return;
    };
    if let Ok(text) = to_xml(&attributes) {
        assert!(from_xml(text.as_bytes(), &XmlLimits::default()).is_ok());
    }
});
