//! What a file is, from its first 64 KiB: a DICOM instance, a DICOMDIR, a container, or something else; and its SOP
//! Instance UID, by which the server's answer names it.
//!
//! This is a sieve, not a parser: the server decides what is acceptable. With a `DICM` mark a file is always sent.
//! Without it (PS3.10 section 7.1 is often ignored in old archives) it must begin like a dataset and show its SOP
//! Instance UID.

use std::io::{self, Read};

use super::container::Kind;
use super::iso;

/// How much of a file is looked at.
const WINDOW_BYTES: u64 = 64 << 10;

/// Media Storage Directory Storage: a DICOMDIR.
const MEDIA_DIRECTORY: &str = "1.2.840.10008.1.3.10";

/// The group of items and their delimiters.
const ITEM_GROUP: u16 = 0xFFFE;

/// A length that is not told: a delimiter ends the value.
const UNDEFINED_LENGTH: u32 = 0xFFFF_FFFF;

/// What a file is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Inspection {
    /// An instance. A UID is missing when the sieve could not see it.
    Dicom {
        sop_instance_uid: Option<String>,
        study_instance_uid: Option<String>,
    },
    /// A DICOMDIR: a table of contents, nothing to store.
    Directory,
    /// Has files in it.
    Container(Kind),
    /// A disc image that cannot be read here: UDF alone.
    Udf,
    /// Something else.
    NotDicom,
}

/// Looks into a file.
pub(super) fn inspect(file: &mut dyn Read) -> io::Result<Inspection> {
    let mut window = Vec::new();
    file.take(WINDOW_BYTES).read_to_end(&mut window)?;
    Ok(match inspect_bytes(&window) {
        // A disc image may begin with anything, a DICOM preamble is not likely.
        Inspection::NotDicom if window.starts_with(b"PK\x03\x04") || window.starts_with(b"PK\x05\x06") => {
            Inspection::Container(Kind::Zip)
        }
        Inspection::NotDicom if iso::is_iso(&window) => Inspection::Container(Kind::Iso),
        Inspection::NotDicom if iso::is_udf(&window) => Inspection::Udf,
        other => other,
    })
}

fn inspect_bytes(window: &[u8]) -> Inspection {
    let mark = window.get(128..132) == Some(b"DICM");
    let start = if mark { 132 } else { 0 };
    let meta = Form {
        explicit: true,
        big_endian: false,
    };
    let mut cursor = Cursor { window, at: start };
    let (mut class, mut transfer_syntax, mut has_meta) = (None, None, false);
    while let Some(element) = cursor.peek(meta).filter(|e| e.group == 0x0002) {
        has_meta = true;
        match element.element {
            0x0002 => class = element.uid(),
            0x0010 => transfer_syntax = element.uid(),
            _ => {}
        }
        if !cursor.skip(&element) {
            break;
        }
    }
    if class.as_deref() == Some(MEDIA_DIRECTORY) {
        return Inspection::Directory;
    }
    let form = match transfer_syntax.as_deref() {
        Some("1.2.840.10008.1.2.1.99") => {
            return Inspection::Dicom {
                sop_instance_uid: None,
                study_instance_uid: None,
            };
        }
        Some("1.2.840.10008.1.2") => Some(Form {
            explicit: false,
            big_endian: false,
        }),
        Some("1.2.840.10008.1.2.2") => Some(Form {
            explicit: true,
            big_endian: true,
        }),
        Some(_) => Some(meta),
        None => guess(&window[cursor.at.min(window.len())..]),
    };
    let sop_instance_uid = form.and_then(|form| find_uid(&mut cursor, form, (0x0008, 0x0018)));
    let study_instance_uid = form
        .filter(|_| sop_instance_uid.is_some())
        .and_then(|form| find_uid(&mut cursor, form, (0x0020, 0x000D)));
    match sop_instance_uid {
        None if !mark && !has_meta => Inspection::NotDicom,
        sop_instance_uid => Inspection::Dicom {
            sop_instance_uid,
            study_instance_uid,
        },
    }
}

/// Walks to an attribute. Nested data is skipped.
fn find_uid(cursor: &mut Cursor<'_>, form: Form, wanted: (u16, u16)) -> Option<String> {
    loop {
        let element = cursor.peek(form)?;
        let tag = (element.group, element.element);
        if tag >= wanted {
            return element.uid().filter(|_| tag == wanted);
        }
        if !cursor.skip_all(&element, form) {
            return None;
        }
    }
}

/// How a bare dataset is written, judged by its first element, which is in group 0008 in practice.
fn guess(start: &[u8]) -> Option<Form> {
    let explicit = start.get(4..6)?.iter().all(u8::is_ascii_uppercase);
    match (start.first()?, start.get(1)?) {
        (0x08, 0x00) => Some(Form {
            explicit,
            big_endian: false,
        }),
        (0x00, 0x08) if explicit => Some(Form {
            explicit,
            big_endian: true,
        }),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Form {
    explicit: bool,
    big_endian: bool,
}

struct Cursor<'a> {
    window: &'a [u8],
    at: usize,
}

struct Peeked<'a> {
    group: u16,
    element: u16,
    header_bytes: usize,
    length: u32,
    /// As much of the value as the window has.
    value: &'a [u8],
}

impl Peeked<'_> {
    fn uid(&self) -> Option<String> {
        if self.value.len() as u64 != u64::from(self.length) {
            return None;
        }
        let text = str::from_utf8(self.value).ok()?.trim_end_matches(['\0', ' ']);
        let plausible = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        plausible.then(|| text.to_string())
    }
}

impl<'a> Cursor<'a> {
    fn peek(&self, form: Form) -> Option<Peeked<'a>> {
        let bytes = self.window.get(self.at..)?;
        let u16_at = |at: usize| {
            let pair = [*bytes.get(at)?, *bytes.get(at + 1)?];
            Some(if form.big_endian {
                u16::from_be_bytes(pair)
            } else {
                u16::from_le_bytes(pair)
            })
        };
        let u32_at = |at: usize| {
            let (first, second) = (u32::from(u16_at(at)?), u32::from(u16_at(at + 2)?));
            Some(if form.big_endian {
                first << 16 | second
            } else {
                second << 16 | first
            })
        };
        let long = || {
            matches!(
                &bytes[4..6],
                b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV"
            )
        };
        let (header_bytes, length) = match form.explicit {
            // Items and their ends have no VR in any form (PS3.5 section 7.5).
            _ if u16_at(0)? == ITEM_GROUP => (8, u32_at(4)?),
            false => (8, u32_at(4)?),
            true if bytes.len() < 8 || !bytes[4..6].iter().all(u8::is_ascii_uppercase) => return None,
            true if long() => (12, u32_at(8)?),
            true => (8, u32::from(u16_at(6)?)),
        };
        let rest = bytes.get(header_bytes..)?;
        let value = &rest[..rest.len().min(length as usize)];
        Some(Peeked {
            group: u16_at(0)?,
            element: u16_at(2)?,
            header_bytes,
            length,
            value,
        })
    }

    /// Goes past the element with all that is nested in it; false when its end is not in the window. Sequences and items
    /// of undefined length are gone through to their delimiters (PS3.5 section 7.5.2), whatever the depth.
    fn skip_all(&mut self, element: &Peeked<'_>, form: Form) -> bool {
        if element.length != UNDEFINED_LENGTH {
            return self.skip(element);
        }
        self.at += element.header_bytes;
        let mut depth = 1_u64;
        while depth > 0 {
            let Some(inner) = self.peek(form) else { return false };
            let is_end = inner.group == ITEM_GROUP && matches!(inner.element, 0xE00D | 0xE0DD);
            if is_end {
                depth -= 1;
                self.at += inner.header_bytes;
            } else if inner.length == UNDEFINED_LENGTH {
                depth += 1;
                self.at += inner.header_bytes;
            } else if !self.skip(&inner) {
                return false;
            }
        }
        true
    }

    /// Goes past the element; false when its end is not in the window.
    fn skip(&mut self, element: &Peeked<'_>) -> bool {
        self.at += element.header_bytes + element.value.len();
        element.value.len() as u64 == u64::from(element.length)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn explicit(group: u16, element: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [group.to_le_bytes(), element.to_le_bytes()].concat();
        bytes.extend_from_slice(vr);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend_from_slice(value);
        bytes
    }

    fn file(class: &[u8], transfer_syntax: &[u8], dataset: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes.extend_from_slice(b"DICM");
        bytes.extend(explicit(2, 2, b"UI", class));
        bytes.extend(explicit(2, 0x10, b"UI", transfer_syntax));
        bytes.extend_from_slice(dataset);
        bytes
    }

    fn check(bytes: &[u8], expected: &str) {
        let text = match inspect_bytes(bytes) {
            Inspection::Dicom {
                sop_instance_uid: Some(uid),
                ..
            } => uid,
            Inspection::Dicom { .. } => "unknown".into(),
            Inspection::Directory => "directory".into(),
            _ => "no".into(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn files() {
        let dataset = [
            explicit(8, 5, b"CS", b"ISO_IR 192"),
            explicit(8, 0x18, b"UI", b"1.2.3\0"),
        ]
        .concat();
        let implicit = b"\x08\0\x05\0\x04\0\0\0ISO_\x08\0\x18\0\x06\0\0\x001.2.4\0";
        let big = b"\0\x08\0\x18UI\0\x061.2.5\0";
        check(&file(b"1.2", b"1.2.840.10008.1.2.1\0", &dataset), "1.2.3");
        check(&file(b"1.2", b"1.2.840.10008.1.2.4.50", &dataset), "1.2.3");
        check(&file(b"1.2", b"1.2.840.10008.1.2\0", implicit), "1.2.4");
        check(&file(b"1.2", b"1.2.840.10008.1.2.2\0", big), "1.2.5");
        check(&file(b"1.2", b"1.2.840.10008.1.2.1.99", b"\x12\x34"), "unknown");
        check(
            &file(b"1.2.840.10008.1.3.10", b"1.2.840.10008.1.2.1\0", &dataset),
            "directory",
        );
        check(&dataset, "1.2.3");
        check(implicit, "1.2.4");
        check(big, "1.2.5");
        check(&file(b"1.2", b"1.2.840.10008.1.2.1\0", &dataset)[132..], "1.2.3");
        check(&file(b"1.2", b"1.2.840.10008.1.2.1\0", b""), "unknown");
        check(b"", "no");
        check(b"\x08\0", "no");
        check(b"\x89PNG\r\n\x1a\n and so on, and so on", "no");
        check(&[0; 4096], "no");
        check(&[8, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2], "no");
    }

    #[test]
    fn studies() {
        let study = |bytes: &[u8]| match inspect_bytes(bytes) {
            Inspection::Dicom { study_instance_uid, .. } => study_instance_uid,
            _ => None,
        };
        let (instance, found) = (
            explicit(8, 0x18, b"UI", b"1.2.3\0"),
            explicit(0x20, 0xD, b"UI", b"1.9.7\0"),
        );
        let undefined = b"\xFF\xFF\xFF\xFF";
        let item = |element: u16, length: &[u8]| [&[0xFE, 0xFF][..], &element.to_le_bytes(), length].concat();
        // A sequence without length, with an item without length, with another sequence and an item that says its own.
        let open = |element: u8| [&[8, 0, element, 0x11][..], b"SQ\0\0", undefined].concat();
        let nested = [
            open(0x40),
            item(0xE000, undefined),
            instance.clone(),
            open(0x50),
            item(0xE000, &[14, 0, 0, 0]),
            found.clone(),
            item(0xE0DD, &[0; 4]),
            item(0xE00D, &[0; 4]),
            item(0xE0DD, &[0; 4]),
        ]
        .concat();
        let with = |middle: &[u8], rest: &[u8]| {
            let dataset = [&instance, middle, rest].concat();
            study(&file(b"1.2", b"1.2.840.10008.1.2.1\0", &dataset))
        };
        assert_eq!(with(b"", &found).as_deref(), Some("1.9.7"));
        assert_eq!(with(&nested, &found).as_deref(), Some("1.9.7"));
        assert_eq!(with(&nested[..nested.len() - 8], &found), None, "the end is missing");
        assert_eq!(with(&nested, b""), None);
        let implicit = b"\x08\0\x18\0\x06\0\0\x001.2.4\0\x20\0\x0D\0\x04\0\0\x001.77";
        assert_eq!(
            study(&file(b"1.2", b"1.2.840.10008.1.2\0", implicit)).as_deref(),
            Some("1.77")
        );
    }

    #[test]
    fn no_prefix_panics() {
        let bytes = file(b"1.2", b"1.2.840.10008.1.2.1\0", &explicit(8, 0x18, b"UI", b"1.2.3\0"));
        for end in 0..bytes.len() {
            inspect_bytes(&bytes[..end]);
            inspect_bytes(&bytes[bytes.len() - end..]);
        }
    }

    /// Every file of the shared corpus that is DICOM is seen as such, and nothing else is.
    #[test]
    fn corpus() {
        let root = std::env::var_os("SEPTUM_CORPUS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
            Into::into,
        );
        if !root.is_dir() {
            return println!("no corpus at {}", root.display());
        }
        let (mut num_named, mut num_placed, mut num_unnamed) = (0, 0, 0);
        for file in super::super::walk::Walk::new(std::slice::from_ref(&root), |_| {}) {
            let below = file.path.strip_prefix(&root).unwrap_or(&file.path);
            let is_other = ["json", "csv", "md", "hl7", "txt"]
                .iter()
                .any(|e| below.extension().is_some_and(|x| x == *e));
            let inspection = inspect(&mut std::fs::File::open(&file.path).expect("opens")).expect("readable");
            match &inspection {
                Inspection::Dicom {
                    sop_instance_uid: Some(_),
                    study_instance_uid,
                } => {
                    num_named += 1;
                    num_placed += u32::from(study_instance_uid.is_some());
                }
                Inspection::Dicom { .. } => num_unnamed += 1,
                Inspection::Directory => {}
                _ => assert!(is_other || below.starts_with("bad"), "{}", below.display()),
            }
            assert!(
                !(is_other && matches!(inspection, Inspection::Dicom { .. })),
                "{}",
                below.display()
            );
        }
        println!("{num_named} with UID, {num_placed} of them with study, {num_unnamed} without");
        assert!(num_named > 400 && num_named - num_placed < 40 && num_unnamed < 40);
    }
}
