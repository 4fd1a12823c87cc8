//! Media types of bulk data and the transfer syntaxes they stand for (PS3.18 tables 8.7.3-4 and 8.7.3-5).

use super::BulkEncoding;
use crate::dicom::transfer_syntax::TransferSyntax;

/// A media type, and the transfer syntaxes that its parts may be in; the first one is meant when nothing else is said.
struct Row {
    names: &'static [&'static str],
    transfer_syntaxes: &'static [&'static str],
}

/// PS3.18 table 8.7.3-5, first in each list of names the standard's own. The others were in earlier editions.
const ROWS: [Row; 10] = [
    Row {
        names: &["image/jpeg"],
        transfer_syntaxes: &[
            "1.2.840.10008.1.2.4.70",
            "1.2.840.10008.1.2.4.50",
            "1.2.840.10008.1.2.4.51",
            "1.2.840.10008.1.2.4.57",
        ],
    },
    Row {
        names: &["image/dicom-rle", "image/x-dicom-rle", "image/dicom+rle"],
        transfer_syntaxes: &["1.2.840.10008.1.2.5"],
    },
    Row {
        names: &["image/jls", "image/x-jls"],
        transfer_syntaxes: &["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"],
    },
    Row {
        names: &["image/jp2"],
        transfer_syntaxes: &["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"],
    },
    Row {
        names: &["image/jpx"],
        transfer_syntaxes: &["1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93"],
    },
    Row {
        names: &["image/jphc"],
        transfer_syntaxes: &[
            "1.2.840.10008.1.2.4.201",
            "1.2.840.10008.1.2.4.202",
            "1.2.840.10008.1.2.4.203",
        ],
    },
    Row {
        names: &["image/jxl"],
        transfer_syntaxes: &[
            "1.2.840.10008.1.2.4.110",
            "1.2.840.10008.1.2.4.111",
            "1.2.840.10008.1.2.4.112",
        ],
    },
    Row {
        names: &["video/mpeg", "video/mpeg2"],
        transfer_syntaxes: &["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101"],
    },
    Row {
        names: &["video/mp4"],
        transfer_syntaxes: &[
            "1.2.840.10008.1.2.4.102",
            "1.2.840.10008.1.2.4.103",
            "1.2.840.10008.1.2.4.104",
            "1.2.840.10008.1.2.4.105",
            "1.2.840.10008.1.2.4.106",
        ],
    },
    Row {
        names: &["video/h265"],
        transfer_syntaxes: &["1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.108"],
    },
];

/// Why a part's media type cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaTypeError {
    /// None of PS3.18 tables 8.7.3-4 and 8.7.3-5.
    #[error("the media type of the bulk data is not supported")]
    Unsupported,
    /// The `transfer-syntax` parameter does not go with the media type.
    #[error("the transfer syntax of the bulk data does not go with its media type")]
    TransferSyntax,
}

/// Reads the `Content-Type` of a bulk data part, parameters included. Without a `transfer-syntax` parameter the default
/// of the media type is meant, which for `image/jpeg` is lossless: [`transfer_syntax_of_jpeg`] looks at the bytes.
/// `application/octet-stream`, and no content type at all, is native; with the parameter it may be any encapsulated
/// transfer syntax.
pub fn bulk_encoding(content_type: Option<&str>) -> Result<BulkEncoding, MediaTypeError> {
    let mut members = content_type
        .unwrap_or("application/octet-stream")
        .split(';')
        .map(str::trim);
    let name = members.next().unwrap_or_default().to_ascii_lowercase();
    let parameter = members.find_map(|member| {
        let (name, value) = member.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("transfer-syntax")
            .then_some(value.trim().trim_matches('"'))
    });
    // `*` leaves the choice to whoever reads.
    let parameter = parameter.filter(|uid| *uid != "*");
    if name == "application/octet-stream" {
        return match parameter {
            None | Some(TransferSyntax::EXPLICIT_LITTLE | TransferSyntax::IMPLICIT_LITTLE) => Ok(BulkEncoding::Native),
            Some(uid) if TransferSyntax::of(uid).is_encapsulated() => Ok(compressed(uid)),
            Some(_) => Err(MediaTypeError::TransferSyntax),
        };
    }
    let row = ROWS.iter().find(|row| row.names.contains(&name.as_str()));
    let row = row.ok_or(MediaTypeError::Unsupported)?;
    match parameter {
        None => Ok(compressed(row.transfer_syntaxes[0])),
        // Fragmentable video (PS3.5 section 8.2.5) has its plain syntax's UID and `.1`.
        Some(uid) if row.transfer_syntaxes.contains(&uid.strip_suffix(".1").unwrap_or(uid)) => {
            match TransferSyntax::of(uid).is_encapsulated() {
                true => Ok(compressed(uid)),
                false => Err(MediaTypeError::TransferSyntax),
            }
        }
        Some(_) => Err(MediaTypeError::TransferSyntax),
    }
}

/// The media type under which pixels of a transfer syntax are served, without parameters. `None` for what has no media
/// type of its own: then `application/octet-stream` with the `transfer-syntax` parameter is left.
pub fn media_type_of(transfer_syntax: &str) -> Option<&'static str> {
    let plain = if TransferSyntax::of(transfer_syntax).is_video() {
        transfer_syntax.strip_suffix(".1").unwrap_or(transfer_syntax)
    } else {
        transfer_syntax
    };
    let row = ROWS.iter().find(|row| row.transfer_syntaxes.contains(&plain))?;
    row.names.first().copied()
}

fn compressed(uid: &str) -> BulkEncoding {
    BulkEncoding::Compressed {
        transfer_syntax: uid.to_owned(),
    }
}

/// The transfer syntax that a JPEG stream (ITU-T T.81) is in, by its first frame and scan header. `bytes` is its start;
/// `None` when these headers are not in it, or it is no JPEG that DICOM knows. For parts that say `image/jpeg` and no
/// more: most are baseline, though the default is lossless.
pub fn transfer_syntax_of_jpeg(bytes: &[u8]) -> Option<&'static str> {
    let mut rest = bytes.strip_prefix(&[0xFF, 0xD8])?;
    let mut is_lossless = false;
    loop {
        // Any number of fill bytes may stand before a marker.
        while let [0xFF, 0xFF, ..] = rest {
            rest = &rest[1..];
        }
        let [0xFF, marker, high, low, ..] = *rest else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        match marker {
            0xC0 => return Some("1.2.840.10008.1.2.4.50"),
            0xC1 => return Some("1.2.840.10008.1.2.4.51"),
            0xC3 => is_lossless = true,
            0xDA if is_lossless => {
                // Components, a selector and tables for each, then the predictor (section B.2.3).
                let num_components = usize::from(*rest.get(4)?);
                return Some(match rest.get(5 + 2 * num_components)? {
                    1 => "1.2.840.10008.1.2.4.70",
                    _ => "1.2.840.10008.1.2.4.57",
                });
            }
            0xC4 | 0xCC | 0xDB..=0xDD | 0xE0..=0xEF | 0xFE => {}
            _ => return None,
        }
        rest = rest.get(2 + length.max(2)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_read() {
        let compressed = |uid| Ok(super::compressed(uid));
        let check = |content_type: Option<&str>, expected: Result<BulkEncoding, MediaTypeError>| {
            assert_eq!(bulk_encoding(content_type), expected, "{content_type:?}");
        };
        check(None, Ok(BulkEncoding::Native));
        check(Some("application/octet-stream"), Ok(BulkEncoding::Native));
        check(
            Some("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"),
            Ok(BulkEncoding::Native),
        );
        check(
            Some("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.2"),
            Err(MediaTypeError::TransferSyntax),
        );
        check(
            Some("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.8.1"),
            compressed("1.2.840.10008.1.2.8.1"),
        );
        check(Some("image/jpeg"), compressed("1.2.840.10008.1.2.4.70"));
        check(
            Some("Image/JPEG ; Transfer-Syntax = \"1.2.840.10008.1.2.4.50\"; q=1"),
            compressed("1.2.840.10008.1.2.4.50"),
        );
        check(
            Some("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.80"),
            Err(MediaTypeError::TransferSyntax),
        );
        check(
            Some("image/jls; transfer-syntax=*"),
            compressed("1.2.840.10008.1.2.4.80"),
        );
        check(Some("image/jphc"), compressed("1.2.840.10008.1.2.4.201"));
        check(
            Some("video/mp4; transfer-syntax=1.2.840.10008.1.2.4.102.1"),
            compressed("1.2.840.10008.1.2.4.102.1"),
        );
        check(
            Some("image/jls; transfer-syntax=1.2.840.10008.1.2.4.80.1"),
            Err(MediaTypeError::TransferSyntax),
        );
        check(Some("video/H265"), compressed("1.2.840.10008.1.2.4.107"));
        check(Some("text/html"), Err(MediaTypeError::Unsupported));
        check(Some(""), Err(MediaTypeError::Unsupported));
    }

    #[test]
    fn every_row_leads_back() {
        for row in &ROWS {
            for uid in row.transfer_syntaxes {
                assert!(TransferSyntax::of(uid).is_encapsulated(), "{uid}");
                assert_eq!(media_type_of(uid), row.names.first().copied());
            }
        }
        assert_eq!(media_type_of("1.2.840.10008.1.2.4.101.1"), Some("video/mpeg"));
        assert_eq!(media_type_of("1.2.840.10008.1.2.1"), None);
    }

    #[test]
    fn jpeg_tells_what_it_is() {
        let lossless = |predictor: u8| {
            let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xC3, 0, 3, 16];
            bytes.extend([0xFF, 0xC4, 0, 2, 0xFF, 0xDA, 0, 8, 1, 1, 0, predictor, 0, 0]);
            bytes
        };
        let check = |bytes: &[u8], expected: Option<&str>| assert_eq!(transfer_syntax_of_jpeg(bytes), expected);
        check(&lossless(1), Some("1.2.840.10008.1.2.4.70"));
        check(&lossless(6), Some("1.2.840.10008.1.2.4.57"));
        check(&lossless(1)[..24], None);
        check(&[0xFF, 0xD8, 0xFF, 0xC0, 0, 2], Some("1.2.840.10008.1.2.4.50"));
        check(&[0xFF, 0xD8, 0xFF, 0xC1, 0, 2], Some("1.2.840.10008.1.2.4.51"));
        // JPEG-LS, and no JPEG at all.
        check(&[0xFF, 0xD8, 0xFF, 0xF7, 0, 2], None);
        check(b"GIF89a", None);
    }
}
