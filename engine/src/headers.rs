//! From header bytes to what is shown of them.

use septum_core::dicom::attributes::Header;
use septum_core::dicom::json::{BULK_PREFIX, JsonOptions, PixelPlaceholder, to_json};
use septum_core::dicom::{HeaderBytes, InstanceStart, PixelElement};
use serde_json::{Map, Value, json};

/// The metadata of one instance, DICOM JSON Model (PS3.18 annex F). Bulk data has its whole address, but for `{BULK}` in
/// place of the study's.
///
/// A header that cannot be read all through still gives what could be read, and a warning's name.
pub fn metadata_of(start: &InstanceStart, header: &HeaderBytes) -> (Map<String, Value>, Option<String>) {
    let pixel = start.pixels.as_ref().map(|pixels| match pixels.element {
        PixelElement::Pixel => {
            let deep = pixels.shape.is_some_and(|shape| shape.bits_allocated > 8);
            PixelPlaceholder {
                tag: "7FE00010",
                vr: if deep && !pixels.encapsulated { "OW" } else { "OB" },
            }
        }
        PixelElement::Float => PixelPlaceholder {
            tag: "7FE00008",
            vr: "OF",
        },
        PixelElement::Double => PixelPlaceholder {
            tag: "7FE00009",
            vr: "OD",
        },
    });
    let identity = &start.identity;
    let options = JsonOptions {
        pixel,
        bulk_prefix: format!(
            "{BULK_PREFIX}/series/{}/instances/{}/bulkdata",
            identity.series.as_str(),
            identity.instance.as_str()
        ),
        ..JsonOptions::default()
    };
    let (mut attributes, warning) = match Header::from_bytes(header.elements(), start.encoding.into()) {
        Ok(read) => {
            let warning = (read.unread_bytes() > 0).then(|| "header-partly-unreadable".to_owned());
            (to_json(&read, &options), warning)
        }
        Err(_) => (Map::new(), Some("header-unreadable".to_owned())),
    };
    // Identity always shows as it was indexed, whatever the rest of the header looks like.
    for (tag, uid) in [
        ("00080016", identity.sop_class.as_str()),
        ("00080018", identity.instance.as_str()),
        ("0020000D", identity.study.as_str()),
        ("0020000E", identity.series.as_str()),
    ] {
        attributes.insert(tag.to_owned(), json!({ "vr": "UI", "Value": [uid] }));
    }
    (attributes, warning)
}
