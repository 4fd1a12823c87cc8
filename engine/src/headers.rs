//! From header bytes to what is shown of them.

use septum_core::dicom::attributes::Header;
use septum_core::dicom::json::{BULK_PREFIX, JsonOptions, PixelPlaceholder, to_json};
use septum_core::dicom::{HeaderBytes, InstanceStart, PixelElement};
use serde_json::{Map, Value, json};

/// The metadata of one instance, DICOM JSON Model (PS3.18 annex F). Bulk data has its whole address, but for `{BULK}` in
/// place of the study's.
///
/// A header that cannot be read all through still gives what could be read, and a warning's name.
pub fn metadata_of(start: &InstanceStart, header: &HeaderBytes) -> Shown {
    let read = Header::from_bytes(header.elements(), start.encoding.into()).ok();
    Shown {
        attributes: attributes_of(start, header, read.as_ref()),
        warning: match read {
            Some(read) if read.unread_bytes() == 0 => None,
            Some(_) => Some("header-partly-unreadable"),
            None => Some("header-unreadable"),
        },
    }
}

/// What is shown of a header.
pub struct Shown {
    /// DICOM JSON Model.
    pub attributes: Map<String, Value>,
    /// The name of a leniency it needed.
    pub warning: Option<&'static str>,
}

fn attributes_of(start: &InstanceStart, header: &HeaderBytes, read: Option<&Header>) -> Map<String, Value> {
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
    let mut attributes = read.map_or_else(Map::new, |read| to_json(read, &options));
    // Values that were cut out read as empty.
    for value in header.long_values() {
        let tag = format!("{:04X}{:04X}", value.tag.0, value.tag.1);
        let uri = json!(format!("{}/{tag}", options.bulk_prefix));
        if let Some(Value::Object(shown)) = attributes.get_mut(&tag) {
            shown.insert("BulkDataURI".to_owned(), uri);
        }
    }
    // Identity always shows as it was indexed, whatever the rest of the header looks like.
    for (tag, uid) in [
        ("00080016", identity.sop_class.as_str()),
        ("00080018", identity.instance.as_str()),
        ("0020000D", identity.study.as_str()),
        ("0020000E", identity.series.as_str()),
        // Available Transfer Syntax UID (PS3.18 section 10.6.1.2.5): viewers tell videos by it.
        ("00083002", start.transfer_syntax.uid()),
    ] {
        attributes.insert(tag.to_owned(), json!({ "vr": "UI", "Value": [uid] }));
    }
    attributes
}
