//! Media types of pixels (PS3.18 section 8.7.3).

/// Native samples, and whatever has no media type of its own.
pub(super) const OCTETS: &str = "application/octet-stream";

/// The media type of one frame in a transfer syntax (PS3.18 table 8.7.3-5).
pub(crate) fn media_type_of(transfer_syntax_uid: &str) -> &'static str {
    match transfer_syntax_uid {
        "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51" | "1.2.840.10008.1.2.4.57" | "1.2.840.10008.1.2.4.70" => {
            "image/jpeg"
        }
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => "image/jls",
        "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91" => "image/jp2",
        "1.2.840.10008.1.2.4.92" | "1.2.840.10008.1.2.4.93" => "image/jpx",
        "1.2.840.10008.1.2.4.110" | "1.2.840.10008.1.2.4.111" | "1.2.840.10008.1.2.4.112" => "image/jxl",
        "1.2.840.10008.1.2.4.201" | "1.2.840.10008.1.2.4.202" | "1.2.840.10008.1.2.4.203" => "image/jphc",
        "1.2.840.10008.1.2.5" => "image/dicom-rle",
        _ => OCTETS,
    }
}

/// The media type of a whole video in a transfer syntax (PS3.18 table 8.7.3-5).
pub(crate) fn video_type(transfer_syntax_uid: &str) -> Option<&'static str> {
    match transfer_syntax_uid.strip_prefix("1.2.840.10008.1.2.4.")? {
        "100" | "100.1" | "101" | "101.1" => Some("video/mpeg"),
        "102" | "102.1" | "103" | "103.1" | "104" | "104.1" | "105" | "105.1" | "106" | "106.1" | "107" | "108" => {
            Some("video/mp4")
        }
        _ => None,
    }
}
