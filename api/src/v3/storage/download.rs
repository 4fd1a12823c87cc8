//! A study as one file: a ZIP file or a disc image, with a DICOMDIR.
//!
//! | bundle | sent |
//! |---|---|
//! | `dicom` | ZIP: DICOM files, DICOMDIR, attachments |
//! | `image` | ZIP: JPEG of every frame, videos as they are |
//! | `iso` | ISO 9660 image: DICOM files, DICOMDIR, attachments |
//! | `osx`, `win` | as `dicom` and `image` together, without a viewer: only with `exclude_viewer` |
//!
//! Files are in the order of the series' metadata, as `DICOM/S0000001/I0000001`, or flat as `IMG00001`. What cannot be
//! made stands in `ERROR.TXT`, without a word about the patient. Memory holds where each image lies, never the images.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use dicom_core::VR;
use septum_core::dicom::dicomdir::{DirectoryBuilder, DirectoryEntry};
use septum_core::dicom::edit::Edits;
use septum_core::dicom::json::read_stored;
use septum_engine::EngineError;
use septum_engine::attachments::{self, Attachment};
use septum_engine::derive::{self, PixelChange, Recipe};
use septum_engine::error::ErrorKind;
use septum_engine::retrieve::metadata::Reader;
use septum_engine::retrieve::rendered::Pictures;
use septum_engine::retrieve::stream::{self as engine_stream, Form, pixels_of};
use septum_engine::retrieve::{InstanceRef, StudyRef};
use septum_engine::services::Services;
use septum_render::{MediaType, RenderRequest};
use serde_json::{Map, Value, json};

use super::attachments::for_download;
use super::attributes::Place;
use super::error::{Answer, Kind, StorageError};
use super::form::body_error;
use super::scope::{self, Seen};
use super::{iso, wrap};
use crate::call::Call;
use crate::http::form_pairs;
use crate::http::zip::ZipWriter;
use crate::routes::stream::{self, Break, Sink, send};

/// File-set ID and volume name.
const NAME: &str = "SEPTUM";

/// Says that a tag is left out.
const DELETE: &str = "__DELETE__";

/// Longest form of a POST, in bytes.
const FORM_BYTES_MAX: u64 = 8 << 20;

/// Images in flat folders: `IMG00001` has room for no more.
const FLAT_MAX: usize = 99_999;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bundle {
    Dicom,
    Image,
    Iso,
    Both,
}

/// What is wanted.
struct Wanted {
    bundle: Bundle,
    series: Option<Vec<String>>,
    images: Option<Vec<String>>,
    is_flat: bool,
    overrides: Vec<(u32, Option<String>)>,
    stops_on_failure: bool,
}

/// Tags to override: `number=value` parted by commas; a value may have commas.
fn overrides(text: &str) -> Option<Vec<(u32, Option<String>)>> {
    let pairs = wrap::parse_tags(text)?;
    let pair = |(tag, value): (u32, String)| (tag, (value != DELETE).then_some(value));
    Some(pairs.into_iter().map(pair).collect())
}

/// Whether a text says which tags to override.
pub(crate) fn is_overrides(text: &str) -> bool {
    overrides(text).is_some_and(|overrides| edits_of(&overrides).is_ok())
}

impl Wanted {
    /// With what the namespace says of every download: it wins over what is asked for.
    fn in_namespace(mut self, settings: &Map<String, Value>) -> Answer<Self> {
        let text = match settings.get("download_anonymize") {
            None | Some(Value::Null) => return Ok(self),
            Some(Value::String(text)) if text.is_empty() => return Ok(self),
            Some(Value::String(text)) => text,
            Some(_) => return Err(Kind::AnonymizeTags.into()),
        };
        let rules = overrides(text).ok_or(Kind::AnonymizeTags)?;
        if self.bundle != Bundle::Dicom {
            return Err(StorageError::new(
                Kind::NotAcceptable,
                "downloads are anonymized here, which the bundle dicom only can be",
            ));
        }
        self.overrides
            .retain(|(tag, _)| rules.iter().all(|(ruled, _)| ruled != tag));
        self.overrides.extend(rules);
        edits_of(&self.overrides).map_err(|_| StorageError::from(Kind::AnonymizeTags))?;
        Ok(self)
    }

    /// Out of the query, and for POST out of a form.
    async fn of(call: &mut Call) -> Answer<Self> {
        let mut pairs = crate::http::query_pairs(&call.request);
        if call.request.method() == actix_web::http::Method::POST {
            let mut body = call.body()?;
            body.set_longest(FORM_BYTES_MAX);
            let body = body.read_all().await.map_err(body_error)?;
            let is_form = call
                .request
                .headers()
                .get(header::CONTENT_TYPE)
                .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
            if is_form {
                pairs.extend(form_pairs(&String::from_utf8_lossy(&body)));
            }
        }
        let value = |name: &str| {
            let found = pairs.iter().find(|(known, value)| known == name && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        let flag = |name: &str| matches!(value(name).as_deref(), Some("1" | "true"));
        let refused = |text: &str| StorageError::new(Kind::NotAcceptable, text);
        let bundle = match value("bundle").as_deref() {
            None => return Err(StorageError::new(Kind::Validation, "bundle is missing")),
            Some("dicom") => Bundle::Dicom,
            Some("image") => Bundle::Image,
            Some("iso") => Bundle::Iso,
            Some("osx" | "win") if flag("exclude_viewer") => Bundle::Both,
            Some("osx" | "win") => return Err(refused("there is no viewer to bundle; ask with exclude_viewer")),
            Some(_) => return Err(StorageError::new(Kind::Validation, "there is no such bundle")),
        };
        if flag("roche_directory") {
            return Err(refused("folders are numbered, or flat"));
        }
        let overrides = overrides(&value("anonymize_tags").unwrap_or_default()).ok_or(Kind::AnonymizeTags)?;
        if !overrides.is_empty() && bundle != Bundle::Dicom {
            return Err(refused("tags are overridden in the bundle dicom only"));
        }
        // Whether they can be set at all is told before the answer begins.
        edits_of(&overrides).map_err(|_| StorageError::from(Kind::AnonymizeTags))?;
        Ok(Self {
            bundle,
            series: value("series_uid").map(|text| scope::parts(&text)),
            images: value("image_uid").map(|text| scope::parts(&text)),
            is_flat: flag("flat_directory"),
            overrides,
            stops_on_failure: flag("stop_on_failure"),
        })
    }
}

fn edits_of(overrides: &[(u32, Option<String>)]) -> Answer<Edits> {
    let mut edits = Edits::default();
    let set: Vec<(u32, String)> = overrides
        .iter()
        .filter_map(|(tag, value)| Some((*tag, value.clone()?)))
        .collect();
    wrap::set_tags(&mut edits, &set)?;
    for (tag, value) in overrides {
        if value.is_none() {
            edits.remove(dicom_core::Tag((tag >> 16) as u16, *tag as u16));
        }
    }
    Ok(edits)
}

/// The attributes as the file will have them.
fn overridden(mut attributes: Map<String, Value>, overrides: &[(u32, Option<String>)]) -> Map<String, Value> {
    for (tag, value) in overrides {
        let key = format!("{tag:08X}");
        match value {
            None => {
                attributes.remove(&key);
            }
            Some(text) => {
                let vr = septum_core::dicom::keyword_of(*tag).map_or("LO", |(_, vr)| vr);
                let value = if vr == VR::PN.to_string() {
                    json!([{ "Alphabetic": text }])
                } else {
                    json!(text.split('\\').collect::<Vec<_>>())
                };
                attributes.insert(key, json!({"vr": vr, "Value": value}));
            }
        }
    }
    attributes
}

/// One image of the download.
struct Item {
    place: Place,
    path: Vec<String>,
}

/// `GET` and `POST /study/{namespace}/{study}/download`.
pub(super) async fn download(mut call: Call) -> Answer {
    let wanted = Wanted::of(&mut call).await?;
    let seen = scope::study(&call).await?;
    let wanted = wanted.in_namespace(&seen.namespace.settings)?;
    call.audit_study(&seen.study).await?;
    let (items, directory) = plan(&call, &seen, &wanted).await?;
    let documents = match wanted.bundle {
        Bundle::Image => Vec::new(),
        _ => for_download(&call, &seen.study)?,
    };
    let contents = Contents {
        services: Arc::clone(call.services()),
        study: seen.study.clone(),
        items,
        directory,
        documents,
    };
    if wanted.bundle == Bundle::Iso {
        return iso_image(contents).await;
    }
    Ok(HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"study.zip\""))
        .body(stream::body(None, move |sink| async move {
            let mut zip = Zip {
                sink,
                writer: ZipWriter::default(),
                errors: Vec::new(),
            };
            zip.all(&contents, &wanted).await
        })))
}

struct Contents {
    services: Arc<Services>,
    study: StudyRef,
    items: Vec<Item>,
    directory: Vec<u8>,
    documents: Vec<(String, Attachment)>,
}

impl Contents {
    fn image(&self, item: &Item) -> septum_engine::Result<InstanceRef> {
        let Place {
            series,
            instance,
            version,
        } = item.place;
        self.study.version(&self.services, series, instance, version)
    }
}

/// The images that are wanted, where each goes, and the DICOMDIR of them all.
async fn plan(call: &Call, seen: &Seen, wanted: &Wanted) -> Answer<(Vec<Item>, Vec<u8>)> {
    let corrupt = |_| EngineError::Corrupt("DICOMDIR");
    let services = call.services();
    let mut reader = Reader::new(services, &seen.study, None)?;
    let mut builder = DirectoryBuilder::new(NAME).map_err(corrupt)?;
    let (mut items, mut series, mut num_series) = (Vec::new(), None, 0);
    while let Some(entries) = reader.next().await? {
        for entry in entries {
            let attributes: Map<String, Value> =
                read_stored(&entry.text).map_err(|_| EngineError::Corrupt("metadata"))?;
            let is_in = |list: &Option<Vec<String>>, tag: &str| {
                let uid = attributes.get(tag).and_then(|uid| uid["Value"][0].as_str());
                list.as_ref()
                    .is_none_or(|list| uid.is_some_and(|uid| list.iter().any(|known| known == uid)))
            };
            if !is_in(&wanted.series, "0020000E") || !is_in(&wanted.images, "00080018") {
                continue;
            }
            if series != Some(entry.series) {
                series = Some(entry.series);
                num_series += 1;
            }
            let number = items.len() + 1;
            if wanted.is_flat && number > FLAT_MAX {
                return Err(StorageError::new(
                    Kind::NotAcceptable,
                    "there are too many images for one folder",
                ));
            }
            let path = match wanted.is_flat {
                true => vec![format!("IMG{number:05}")],
                false => vec!["DICOM".to_owned(), format!("S{num_series:07}"), format!("I{number:07}")],
            };
            let versions = seen.study.versions(services, &entry.series, &entry.instance)?;
            let version = *versions.last().ok_or(EngineError::Corrupt("instance row"))?;
            let image = seen.study.version(services, entry.series, entry.instance, version)?;
            let file_id: Vec<&str> = path.iter().map(String::as_str).collect();
            let attributes = overridden(attributes, &wanted.overrides);
            let listed = builder.add(&DirectoryEntry {
                file_id: &file_id,
                transfer_syntax: &image.record.transfer_syntax_uid,
                attributes: &attributes,
            });
            if listed.is_err() {
                tracing::warn!("an instance is not in the DICOMDIR of a download");
            }
            let place = Place {
                series: entry.series,
                instance: entry.instance,
                version,
            };
            items.push(Item { place, path });
        }
    }
    if items.is_empty() {
        return Err(Kind::ImagesNotFound.into());
    }
    let uid = septum_core::ids::Uid::random();
    let directory = builder.finish(uid.as_str()).map_err(corrupt)?;
    Ok((items, directory.bytes))
}

/// The file being sent.
struct Zip {
    sink: Sink,
    writer: ZipWriter,
    errors: Vec<String>,
}

impl Zip {
    async fn all(&mut self, contents: &Contents, wanted: &Wanted) -> Result<(), Break> {
        let edits = edits_of(&wanted.overrides).map_err(|_| EngineError::Corrupt("overrides"))?;
        for item in &contents.items {
            let image = contents.image(item)?;
            if wanted.bundle != Bundle::Image {
                self.dicom(contents, &image, item, wanted, &edits).await?;
            }
            if matches!(wanted.bundle, Bundle::Image | Bundle::Both) {
                let number = item.path.last().map_or("", String::as_str);
                let made = self.pictures(contents, &image, number).await;
                self.settle(made, number, wanted)?;
            }
        }
        for (name, attachment) in &contents.documents {
            self.open(&format!("REPORTS/{name}")).await?;
            for number in 0..attachment.num_pieces() {
                let piece = attachments::piece(&contents.services, &contents.study, attachment, number).await?;
                self.content(&piece).await?;
            }
            self.close().await?;
        }
        if wanted.bundle != Bundle::Image {
            self.file("DICOMDIR", &contents.directory).await?;
        }
        if !self.errors.is_empty() {
            let text = self.errors.join("\r\n");
            self.file("ERROR.TXT", text.as_bytes()).await?;
        }
        let end = std::mem::take(&mut self.writer).finish();
        send(&self.sink, end).await?;
        Ok(())
    }

    /// What cannot be made is noted, unless the caller would rather have nothing.
    fn settle(&mut self, made: Result<(), Break>, name: &str, wanted: &Wanted) -> Result<(), Break> {
        match made {
            Err(Break::Failed(error)) if error.kind() == ErrorKind::NotAcceptable && !wanted.stops_on_failure => {
                self.errors.push(format!("{name}: {error}"));
                Ok(())
            }
            made => made,
        }
    }

    async fn open(&mut self, path: &str) -> Result<(), Break> {
        Ok(send(&self.sink, self.writer.open(path)).await?)
    }

    async fn content(&mut self, piece: &[u8]) -> Result<(), Break> {
        Ok(send(&self.sink, self.writer.content(piece)).await?)
    }

    async fn close(&mut self) -> Result<(), Break> {
        Ok(send(&self.sink, self.writer.close()).await?)
    }

    async fn file(&mut self, path: &str, content: &[u8]) -> Result<(), Break> {
        self.open(path).await?;
        self.content(content).await?;
        self.close().await
    }

    async fn dicom(
        &mut self,
        contents: &Contents,
        image: &InstanceRef,
        item: &Item,
        wanted: &Wanted,
        edits: &Edits,
    ) -> Result<(), Break> {
        let path = item.path.join("/");
        if wanted.overrides.is_empty() {
            let mut opened = engine_stream::open(&contents.services, image, Form::Original).await?;
            self.open(&path).await?;
            while let Some(piece) = opened.next().await {
                self.content(&piece?).await?;
            }
            return self.close().await;
        }
        let recipe = Recipe {
            edits: edits.clone(),
            pixels: PixelChange::Keep,
        };
        let mut derived = match derive::open(&contents.services, image, recipe).await {
            Ok(derived) => derived,
            Err(error) => return self.settle(Err(error.into()), &path, wanted),
        };
        self.open(&path).await?;
        while let Some(piece) = derived.next().await {
            self.content(&piece?).await?;
        }
        self.close().await
    }

    /// Every frame as JPEG, or the video.
    async fn pictures(&mut self, contents: &Contents, image: &InstanceRef, number: &str) -> Result<(), Break> {
        if let Some(media_type) = crate::routes::video_type(&image.record.transfer_syntax_uid) {
            let Some(pixels) = pixels_of(&contents.services, image)? else {
                return Ok(());
            };
            let extension = if media_type == "video/mp4" { "MP4" } else { "MPG" };
            self.open(&format!("IMAGES/{number}.{extension}")).await?;
            let length = pixels.record().layout.payload_length();
            let mut at = 0;
            while at < length {
                let piece = pixels.payload_from(at, length).await?;
                if piece.is_empty() {
                    return Err(EngineError::Corrupt("pixel record").into());
                }
                at += piece.len() as u64;
                self.content(&piece).await?;
            }
            return self.close().await;
        }
        if image.row.pixel_set.is_none() {
            return Ok(());
        }
        let pictures = Pictures::open(&contents.services, image).await?;
        for frame in 0..pictures.num_frames() {
            let picture = pictures.frame(frame, RenderRequest::default(), MediaType::Jpeg).await?;
            self.file(&format!("IMAGES/{number}/F{:07}.JPG", frame + 1), &picture.bytes)
                .await?;
        }
        Ok(())
    }
}

/// An image in the form that a disc takes: its length must be known beforehand.
async fn open_for_disc(
    services: &Arc<Services>,
    image: &InstanceRef,
) -> septum_engine::Result<(engine_stream::InstanceStream, u64)> {
    let original = engine_stream::open(services, image, Form::Original).await?;
    if let Some(length) = original.length {
        return Ok((original, length));
    }
    let native = engine_stream::open(services, image, Form::Native).await?;
    let length = native.length.ok_or(EngineError::Corrupt("length of an instance"))?;
    Ok((native, length))
}

async fn iso_image(contents: Contents) -> Answer {
    let mut files = vec![iso::File {
        path: vec!["DICOMDIR".to_owned()],
        length: contents.directory.len() as u64,
    }];
    for item in &contents.items {
        let image = contents.image(item)?;
        let (_, length) = open_for_disc(&contents.services, &image).await?;
        files.push(iso::File {
            path: item.path.clone(),
            length,
        });
    }
    for (name, attachment) in &contents.documents {
        files.push(iso::File {
            path: vec!["REPORTS".to_owned(), name.clone()],
            length: attachment.record.length,
        });
    }
    let image =
        iso::lay_out(NAME, &files).map_err(|error| StorageError::new(Kind::NotAcceptable, error.to_string()))?;
    Ok(HttpResponse::Ok()
        .content_type("application/x-iso9660-image")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"study.iso\""))
        .body(stream::body(Some(image.length), move |sink| async move {
            send(&sink, image.head.into()).await?;
            let directory = Bytes::from(contents.directory.clone());
            padded(&sink, directory.len() as u64, directory).await?;
            for (item, file) in contents.items.iter().zip(&files[1..]) {
                let instance = contents.image(item)?;
                let (mut opened, length) = open_for_disc(&contents.services, &instance).await?;
                if length != file.length {
                    return Err(EngineError::Conflict("the study changed while it was sent").into());
                }
                while let Some(piece) = opened.next().await {
                    send(&sink, piece?).await?;
                }
                padded(&sink, length, Bytes::new()).await?;
            }
            for (_, attachment) in &contents.documents {
                for number in 0..attachment.num_pieces() {
                    let piece = attachments::piece(&contents.services, &contents.study, attachment, number).await?;
                    send(&sink, piece).await?;
                }
                padded(&sink, attachment.record.length, Bytes::new()).await?;
            }
            Ok::<(), Break>(())
        })))
}

/// The last piece of a file of that length, and the zeros behind it.
async fn padded(sink: &Sink, length: u64, piece: Bytes) -> Result<(), Break> {
    send(sink, piece).await?;
    send(sink, Bytes::from(vec![0; iso::padding(length)])).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_overridden_or_left_out() {
        let list = overrides("1048592=A^B,1048608=__DELETE__").expect("tags");
        assert_eq!(list, [(0x0010_0010, Some("A^B".to_owned())), (0x0010_0020, None)]);
        let attributes = json!({"00100020": {"vr": "LO", "Value": ["7"]}, "00080060": {"vr": "CS"}});
        let attributes = attributes.as_object().cloned().expect("object");
        let made = Value::Object(overridden(attributes, &list));
        let expected = json!({"00080060": {"vr": "CS"}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}});
        assert_eq!(made, expected);
        assert!(overrides("x").is_none());
        assert!(edits_of(&[(0x7FE0_0010, Some("x".to_owned()))]).is_err());
    }
}
