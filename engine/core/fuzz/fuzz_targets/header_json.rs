//! Attributes and DICOM JSON of any bytes: no panic, text that is JSON, bulk paths that lead somewhere.
//!
//! Input: one byte for the encoding, then the elements.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::dicom::attributes::{Encoding, Header};
use septum_core::dicom::json::{
    JsonOptions, PixelPlaceholder, bulk_value, instance_attributes, series_attributes, study_attributes, to_json,
};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, elements)) = data.split_first() else {
        return;
    };
    let encoding = match choice % 3 {
        0 => Encoding::ImplicitLittle,
        1 => Encoding::ExplicitLittle,
        _ => Encoding::ExplicitBig,
    };
    let Ok(header) = Header::parse(elements, encoding) else {
        return;
    };
    assert!(header.unread_bytes() <= elements.len());
    let pixel = (choice & 64 != 0).then_some(PixelPlaceholder {
        tag: "7FE00010",
        vr: "OW",
    });
    let attributes = to_json(
        &header,
        &JsonOptions {
            pixel,
            bulk_threshold_bytes: 32,
            ..JsonOptions::default()
        },
    );
    for level in [
        study_attributes(&attributes),
        series_attributes(&attributes),
        instance_attributes(&attributes),
    ] {
        assert!(level.keys().all(|key| attributes.contains_key(key)));
    }
    for (tag, attribute) in &attributes {
        let address = attribute.get("BulkDataURI").and_then(|address| address.as_str());
        let is_pixel = pixel.is_some_and(|pixel| pixel.tag == tag);
        if let Some(path) = address
            .and_then(|address| address.split_once('/'))
            .map(|(_, path)| path)
            && !is_pixel
        {
            assert!(
                bulk_value(&header, path).is_some(),
                "every address that is given leads to a value"
            );
        }
    }
    let _ = bulk_value(&header, &String::from_utf8_lossy(elements));
});
