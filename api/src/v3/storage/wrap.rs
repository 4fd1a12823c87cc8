//! DICOM instances made of documents, pictures and videos.
//!
//! | file | SOP class | transfer syntax |
//! |---|---|---|
//! | PDF | Encapsulated PDF | Explicit VR Little Endian |
//! | JPEG, baseline | Secondary Capture | JPEG Baseline, the file's own stream |
//! | PNG | Secondary Capture | Explicit VR Little Endian, decoded |
//! | MP4 with H.264 | Video Photographic | MPEG-4 AVC/H.264 High Profile, the file itself |
//!
//! What a file is is told by its first bytes, never by its name. A file waits in memory within the same bounds as what
//! store requests hold. Attributes come from `tags`; in a study that is there already, patient and study are that study's.

mod jpeg;
mod mp4;
mod png;

use std::sync::Arc;

use actix_web::http::StatusCode;
use bytes::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use septum_core::dicom::attributes::Encoding;
use septum_core::dicom::edit::{Edits, edited};
use septum_core::dicom::transcode::{PixelHeader, file_meta};
use septum_core::ids::{StudyInstanceUid, Uid};
use septum_engine::EngineError;
use septum_engine::accounts::Namespace;
use septum_engine::pipeline::messages::Source;
use septum_engine::retrieve::StudyRef;
use septum_engine::search::study_map;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::error::{Answer, Kind, StorageError};
use super::form::{Form, Step};
use super::multipart::number;
use super::upload::{self, Stored, job_name, target};
use super::{jobs, scope};
use crate::app::App;
use crate::call::Call;

/// Longest file, in bytes: 2 GiB, as documented.
const FILE_BYTES_MAX: u64 = (1 << 31) - 1;

/// What is made of a file, its large element aside.
struct Made {
    edits: Edits,
    sop_class: &'static str,
    transfer_syntax: &'static str,
    element: Large,
}

/// The large element of an instance.
enum Large {
    /// A plain value.
    Plain(Tag, VR, Bytes),
    /// Pixels in one fragment.
    Fragment(Bytes),
}

/// What a caller wants of wrapping.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    /// Attributes to set.
    pub(super) tags: Vec<(u32, String)>,
    /// Into this study, whatever the tags say.
    pub(super) study_uid: Option<String>,
    /// Series and image UIDs made of the content, so that the same file gives the same image.
    pub(super) has_static_ids: bool,
}

impl Options {
    /// The options of a request; `tags` as text.
    ///
    /// # Errors
    /// 412 where the tags are malformed; 406 for pages rendered as images, which is not done here.
    pub(super) fn of(call: &Call, tags: Option<String>) -> Answer<Self> {
        if scope::flag(call, "render_wrapped_pdf") {
            let text = "pages of a PDF are not rendered; the document itself can be wrapped";
            return Err(StorageError::new(Kind::NotAcceptable, text));
        }
        Ok(Self {
            tags: parse_tags(tags.as_deref().unwrap_or_default())
                .ok_or_else(|| StorageError::new(Kind::Validation, "the tags are malformed"))?,
            study_uid: scope::parameter(call, "study_uid"),
            has_static_ids: scope::flag(call, "static_ids"),
        })
    }
}

/// A tag: a keyword, eight hexadecimal digits with or without `(gggg,eeee)`, or a decimal number.
pub(super) fn parse_tag(text: &str) -> Option<u32> {
    let plain: String = text.chars().filter(|c| !matches!(c, '(' | ')' | ',' | ' ')).collect();
    if let Some((tag, _)) = septum_core::dicom::tag_of(&plain) {
        return Some(tag);
    }
    let is_hexadecimal =
        plain.len() == 8 && (text.contains(',') || !plain.starts_with(|c: char| c.is_ascii_digit() && c != '0'));
    if is_hexadecimal {
        return u32::from_str_radix(&plain, 16).ok();
    }
    plain.parse().ok()
}

/// Tags as a JSON object, or as `tag=value` parted by commas (or semicolons or line ends).
pub(super) fn parse_tags(text: &str) -> Option<Vec<(u32, String)>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(Vec::new());
    }
    if text.starts_with('{') {
        let object: Map<String, Value> = serde_json::from_str(text).ok()?;
        let pair = |(name, value): (String, Value)| {
            let value = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Null => String::new(),
                _ => return None,
            };
            Some((parse_tag(&name)?, value))
        };
        return object.into_iter().map(pair).collect();
    }
    let mut pairs: Vec<(u32, String)> = Vec::new();
    let mut pending = String::new();
    for part in text.split([',', ';', '\n']) {
        // The comma of `(gggg,eeee)` parts nothing.
        pending.push_str(part);
        if pending.starts_with('(') && !pending.contains(')') {
            pending.push(',');
            continue;
        }
        let taken = std::mem::take(&mut pending);
        match taken.split_once('=') {
            Some((tag, value)) => pairs.push((parse_tag(tag.trim())?, value.to_owned())),
            // A comma inside a value.
            None => {
                let (_, value) = pairs.last_mut()?;
                value.push(',');
                value.push_str(&taken);
            }
        }
    }
    pending.is_empty().then_some(pairs)
}

/// The VR that text can be written under; `None` where the tag is no text.
fn text_vr(tag: u32) -> Option<VR> {
    let (_, vr) = septum_core::dicom::keyword_of(tag)?;
    let vr: VR = vr.parse().ok()?;
    matches!(
        vr,
        VR::AE
            | VR::AS
            | VR::CS
            | VR::DA
            | VR::DS
            | VR::DT
            | VR::IS
            | VR::LO
            | VR::LT
            | VR::PN
            | VR::SH
            | VR::ST
            | VR::TM
            | VR::UC
            | VR::UI
            | VR::UR
            | VR::UT
    )
    .then_some(vr)
}

fn tag_of(number: u32) -> Tag {
    Tag((number >> 16) as u16, number as u16)
}

/// Sets tags as they are given.
///
/// # Errors
/// 412 for tags that hold no text, are not known, or describe pixels or file meta.
pub(super) fn set_tags(edits: &mut Edits, given: &[(u32, String)]) -> Answer<()> {
    for (number, value) in given {
        let is_ours = matches!(number >> 16, 0x0002 | 0x0028 | 0x7FE0) || *number == 0x0008_0005;
        let vr = text_vr(*number).filter(|_| !is_ours).ok_or_else(|| {
            StorageError::new(Kind::Validation, "a tag cannot be set").with("tag", format!("{number:08X}"))
        })?;
        edits.text(tag_of(*number), vr, value);
    }
    Ok(())
}

/// Patient and study attributes out of DICOM JSON. Only a header in UTF-8 takes those that are not ASCII: another would
/// need its whole text written anew.
pub(super) fn set_study_attributes(edits: &mut Edits, attributes: &Map<String, Value>, is_unicode: bool) {
    const TAKEN: [u32; 14] = [
        0x0010_0010,
        0x0010_0020,
        0x0010_0021,
        0x0010_0030,
        0x0010_0040,
        0x0008_0020,
        0x0008_0030,
        0x0008_0050,
        0x0008_0090,
        0x0008_1030,
        0x0020_0010,
        0x0010_1010,
        0x0010_1020,
        0x0010_1030,
    ];
    for number in TAKEN {
        let Some(values) = attributes
            .get(&format!("{number:08X}"))
            .and_then(|attribute| attribute.get("Value"))
            .and_then(Value::as_array)
        else {
            continue;
        };
        let one = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Object(name) => ["Alphabetic", "Ideographic", "Phonetic"]
                .iter()
                .map(|group| name.get(*group).and_then(Value::as_str).unwrap_or_default())
                .collect::<Vec<_>>()
                .join("=")
                .trim_end_matches('=')
                .to_owned(),
            other => other.to_string(),
        };
        let text = values.iter().map(one).collect::<Vec<_>>().join("\\");
        let Some(vr) = text_vr(number) else { continue };
        if is_unicode || text.is_ascii() {
            edits.text(tag_of(number), vr, &text);
        }
    }
}

/// What every instance has, unless it is set already. With static ids nothing of it depends on when it is made, so that
/// the same file gives the same instance.
fn set_defaults(edits: &mut Edits, made: &Made, now: OffsetDateTime, digest: &str, has_static_ids: bool) {
    let (mut date, mut time) = (String::new(), String::new());
    if !has_static_ids {
        date = format!("{:04}{:02}{:02}", now.year(), u8::from(now.month()), now.day());
        time = format!("{:02}{:02}{:02}", now.hour(), now.minute(), now.second());
    }
    let study = edits.value(tags::STUDY_INSTANCE_UID).unwrap_or_default().to_vec();
    let uid = |what: &str| {
        if !has_static_ids {
            return Uid::random().as_str().to_owned();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(what.as_bytes()).update(digest.as_bytes()).update(&study);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        format!("2.25.{}", u128::from_be_bytes(bytes))
    };
    edits.text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    edits.text(tags::SOP_CLASS_UID, VR::UI, made.sop_class);
    for (tag, vr, value) in [
        (tags::SOP_INSTANCE_UID, VR::UI, uid("image").as_str()),
        (tags::SERIES_INSTANCE_UID, VR::UI, uid("series").as_str()),
        (tags::STUDY_INSTANCE_UID, VR::UI, Uid::random().as_str()),
        (tags::STUDY_DATE, VR::DA, date.as_str()),
        (tags::STUDY_TIME, VR::TM, time.as_str()),
        (tags::CONTENT_DATE, VR::DA, date.as_str()),
        (tags::CONTENT_TIME, VR::TM, time.as_str()),
        (tags::ACCESSION_NUMBER, VR::SH, ""),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, ""),
        (tags::PATIENT_NAME, VR::PN, ""),
        (tags::PATIENT_ID, VR::LO, ""),
        (tags::PATIENT_BIRTH_DATE, VR::DA, ""),
        (tags::PATIENT_SEX, VR::CS, ""),
        (tags::STUDY_ID, VR::SH, ""),
        (tags::SERIES_NUMBER, VR::IS, "1"),
        (tags::INSTANCE_NUMBER, VR::IS, "1"),
        (tags::MANUFACTURER, VR::LO, "Septum"),
    ] {
        edits.set_default(tag, vr, value);
    }
}

fn unknown_file() -> StorageError {
    StorageError::new(Kind::NotAcceptable, "the file is neither PDF, JPEG, PNG nor MP4")
}

fn made_of(file: &Bytes) -> Answer<Made> {
    if file.starts_with(b"%PDF-") {
        return Ok(pdf(file));
    }
    if file.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return jpeg::made_of(file);
    }
    if file.starts_with(b"\x89PNG\r\n\x1A\n") {
        return png::made_of(file);
    }
    if file.get(4..8) == Some(b"ftyp") {
        return mp4::made_of(file);
    }
    Err(unknown_file())
}

/// PS3.3 section A.45.1.
fn pdf(file: &Bytes) -> Made {
    let mut edits = Edits::default();
    edits.text(tags::MODALITY, VR::CS, "DOC");
    edits.text(tags::CONVERSION_TYPE, VR::CS, "WSD");
    edits.text(tags::BURNED_IN_ANNOTATION, VR::CS, "YES");
    edits.text(tags::ACQUISITION_DATE_TIME, VR::DT, "");
    edits.text(tags::DOCUMENT_TITLE, VR::ST, "");
    edits.set(tags::CONCEPT_NAME_CODE_SEQUENCE, VR::SQ, []);
    edits.text(tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, VR::LO, "application/pdf");
    let length = u32::try_from(file.len()).unwrap_or(u32::MAX);
    edits.set(tags::ENCAPSULATED_DOCUMENT_LENGTH, VR::UL, length.to_le_bytes());
    Made {
        edits,
        sop_class: uids::ENCAPSULATED_PDF_STORAGE,
        transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN,
        element: Large::Plain(tags::ENCAPSULATED_DOCUMENT, VR::OB, file.clone()),
    }
}

/// What pictures have in common: Secondary Capture (PS3.3 section A.8.1).
fn picture(rows: u16, columns: u16, samples_per_pixel: u16, photometric: &str) -> Edits {
    let mut edits = Edits::default();
    edits.text(tags::MODALITY, VR::CS, "OT");
    edits.text(tags::CONVERSION_TYPE, VR::CS, "WSD");
    edits.text(tags::PATIENT_ORIENTATION, VR::CS, "");
    edits.text(tags::LATERALITY, VR::CS, "");
    edits.short(tags::SAMPLES_PER_PIXEL, samples_per_pixel);
    edits.text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric);
    if samples_per_pixel > 1 {
        edits.short(tags::PLANAR_CONFIGURATION, 0);
    }
    edits.short(tags::ROWS, rows);
    edits.short(tags::COLUMNS, columns);
    edits.short(tags::BITS_ALLOCATED, 8);
    edits.short(tags::BITS_STORED, 8);
    edits.short(tags::HIGH_BIT, 7);
    edits.short(tags::PIXEL_REPRESENTATION, 0);
    if samples_per_pixel == 1 {
        // As the file shows it: without a window, viewers spread what grey there is from black to white.
        edits.text(tags::WINDOW_CENTER, VR::DS, "128");
        edits.text(tags::WINDOW_WIDTH, VR::DS, "256");
    }
    edits
}

/// An instance as a Part 10 stream in pieces.
fn written(made: &Made, edits: &Edits) -> Answer<Vec<Bytes>> {
    let uid = |tag| String::from_utf8_lossy(edits.value(tag).unwrap_or_default()).into_owned();
    let meta = file_meta(made.transfer_syntax, made.sop_class, &uid(tags::SOP_INSTANCE_UID));
    let (header, value, end): (PixelHeader, Bytes, Vec<u8>) = match &made.element {
        Large::Plain(tag, vr, value) => {
            let padded = value.len() + value.len() % 2;
            let length = u32::try_from(padded).map_err(|_| StorageError::from(Kind::PayloadTooLarge))?;
            let header = PixelHeader {
                tag: *tag,
                vr: *vr,
                length: Some(length),
            };
            (header, value.clone(), vec![0; value.len() % 2])
        }
        Large::Fragment(value) => {
            let header = PixelHeader {
                tag: tags::PIXEL_DATA,
                vr: VR::OB,
                length: None,
            };
            let mut end = vec![0; value.len() % 2];
            end.extend_from_slice(&[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
            (header, value.clone(), end)
        }
    };
    let made_header = edited(&[], &[], Encoding::ExplicitLittle, &[], edits, Some(header))
        .map_err(|_| StorageError::from(Kind::Unknown))?;
    let mut start = [meta, made_header.before].concat();
    if let Large::Fragment(value) = &made.element {
        // An empty offset table, and the one item.
        start.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0]);
        start.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
        let padded = value.len() + value.len() % 2;
        let length = u32::try_from(padded).map_err(|_| StorageError::from(Kind::PayloadTooLarge))?;
        start.extend_from_slice(&length.to_le_bytes());
    }
    Ok(vec![start.into(), value, [end, made_header.after].concat().into()])
}

/// Makes an instance of a file, and stores it.
///
/// # Errors
/// 406 for files that no instance can be made of; 412 for tags that cannot be set.
pub(super) async fn store(
    app: &App,
    namespace: &Arc<Namespace>,
    source: Source,
    file: Bytes,
    options: Options,
) -> Answer<Stored> {
    if file.len() as u64 > FILE_BYTES_MAX {
        return Err(Kind::PayloadTooLarge.into());
    }
    let services = &app.archive.services;
    let making = services.compute.run(move || {
        let digest = blake3::hash(&file).to_hex().to_string();
        made_of(&file).map(|made| (made, digest))
    });
    let (made, digest) = making.await??;
    let mut edits = made.edits.clone();
    set_tags(&mut edits, &options.tags)?;
    if let Some(uid) = &options.study_uid {
        edits.text(tags::STUDY_INSTANCE_UID, VR::UI, uid);
    }
    let named = edits
        .value(tags::STUDY_INSTANCE_UID)
        .map(|uid| String::from_utf8_lossy(uid).into_owned());
    if let Some(uid) = named {
        let uid = StudyInstanceUid::parse(&uid)
            .map_err(|_| StorageError::new(Kind::Validation, "the study UID is not a UID"))?;
        match StudyRef::find(services, namespace, uid.as_str()) {
            Ok(study) => {
                let open = services.summaries.open(&study.row)?;
                set_study_attributes(&mut edits, &study_map(&open.summary), true);
            }
            Err(EngineError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    set_defaults(
        &mut edits,
        &made,
        OffsetDateTime::now_utc(),
        &digest,
        options.has_static_ids,
    );
    let pieces = written(&made, &edits)?;
    upload::store(app, namespace, source, None, pieces).await
}

/// `POST /namespace/{namespace}/wrap`.
pub(super) async fn wrap(mut call: Call) -> Answer {
    let namespace = target(&call, call.path("namespace")).await?;
    let length: u64 = number(&call, "X-File-Size")?;
    if length > FILE_BYTES_MAX || length > call.app.held.total_bytes() {
        return Err(Kind::PayloadTooLarge.into());
    }
    let mut share = call.app.held.share();
    if !share.grow(length) {
        return Err(StorageError::later(
            "other uploads fill what may be held; try again",
            10,
        ));
    }
    let mut tags = scope::parameter(&call, "tags");
    let mut file = None;
    let mut form = Form::new(&mut call)?;
    while let Some(step) = form.next().await? {
        let Step::Begin(part) = step else { continue };
        match part.name.as_str() {
            "tags" => tags = Some(form.text().await?),
            "file" => file = Some(whole_file(&mut form, length).await?),
            _ => {}
        }
    }
    let file = file.ok_or_else(|| StorageError::new(Kind::NotFound, "the form has no part named file"))?;
    let options = Options::of(&call, tags)?;
    let name = job_name(&call, namespace.id);
    let (app, source, user) = (Arc::clone(&call.app), call.source(), call.principal.user);
    let tags_text = format!("{:?}", options.tags);
    let key = jobs::key(
        user,
        &[b"wrap", call.request.path().as_bytes(), tags_text.as_bytes(), &file],
    );
    let stored = std::rc::Rc::new(std::cell::RefCell::new(None));
    let result = std::rc::Rc::clone(&stored);
    let work = async move {
        let made = store(&app, &namespace, source, file, options).await?;
        drop(share);
        *result.borrow_mut() = Some(made);
        Ok(())
    };
    let jobs = Arc::clone(&call.app.storage.jobs);
    jobs.start(key, name, String::new(), work).await?;
    let stored = stored.borrow();
    Ok(match stored.as_ref() {
        Some(stored) => upload::answer(StatusCode::ACCEPTED, stored),
        // Under way still, or made by an earlier try.
        None => actix_web::HttpResponse::Accepted().json(serde_json::json!({})),
    })
}

/// The content of a file part, which must be as long as announced.
pub(super) async fn whole_file(form: &mut Form, length: u64) -> Answer<Bytes> {
    let mut bytes = Vec::new();
    while let Some(Step::Data(data)) = form.next().await? {
        bytes.extend_from_slice(&data);
        if bytes.len() as u64 > length {
            break;
        }
    }
    if bytes.len() as u64 != length {
        return Err(StorageError::new(
            Kind::Validation,
            "X-File-Size is not the length of the file",
        ));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_in_every_form() {
        let expected = Some(vec![(0x0010_0010, "A^B".to_owned()), (0x0010_0020, "7,8".to_owned())]);
        for text in [
            r#"{"PatientName": "A^B", "00100020": "7,8"}"#,
            "(0010,0010)=A^B,(0010,0020)=7,8",
            "00100010=A^B;00100020=7,8",
            "1048592=A^B,1048608=7,8",
            "PatientName=A^B\nPatientID=7,8",
        ] {
            let mut read = parse_tags(text);
            if let Some(read) = &mut read {
                read.sort();
            }
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(parse_tags(" "), Some(Vec::new()));
        for bad in ["nonsense", "{\"x\": 1}", "(0010,0010", "{"] {
            assert_eq!(parse_tags(bad), None, "{bad}");
        }
    }

    #[test]
    fn pixels_and_file_meta_cannot_be_set() {
        let mut edits = Edits::default();
        for number in [0x0002_0010, 0x0028_0010, 0x7FE0_0010, 0x0008_0005, 0x0009_0001] {
            assert!(set_tags(&mut edits, &[(number, "x".to_owned())]).is_err());
        }
        assert!(set_tags(&mut edits, &[(0x0010_0010, "x".to_owned())]).is_ok());
    }

    #[test]
    fn files_are_told_by_their_content() {
        let sop_class = |file: &'static [u8]| made_of(&Bytes::from_static(file)).map(|made| made.sop_class).ok();
        assert_eq!(sop_class(b"%PDF-1.4"), Some(uids::ENCAPSULATED_PDF_STORAGE));
        assert_eq!(sop_class(b"GIF89a"), None);
        assert_eq!(sop_class(b""), None);
        assert_eq!(sop_class(b"\xFF\xD8\xFF"), None);
        assert_eq!(sop_class(b"\0\0\0\x08ftyp"), None);
    }
}
