//! WADO-RS `/frames/{list}` and `/bulkdata/{path}` (PS3.18 sections 10.4.1.1.5 and 10.4.1.1.6).
//!
//! | asked for | sent |
//! |---|---|
//! | `application/octet-stream` without a transfer syntax, `*/*` | native samples, little endian |
//! | `transfer-syntax=*`, or the stored syntax | the frame as it was received, under its own media type |
//! | the media type of the stored syntax, such as `image/jls` | the same |
//! | `image/jphc`, `image/jls`, `image/dicom-rle`: lossless HTJ2K, JPEG-LS, RLE | as it lies in the dense tier; made on the way, of other codestreams too, where nothing else that is accepted can be had |
//!
//! One frame may be asked for alone, without `multipart/related`.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use septum_core::codec::Interchange;
use septum_core::dicom::attributes::Header;
use septum_core::dicom::json::{bulk_value, parse_tag};
use septum_core::dicom::{Encoding, PixelElement};
use septum_engine::retrieve::frames::{EXPLICIT_LITTLE, Frames, check_stored, stored_frame};
use septum_engine::retrieve::interchange::{Coder, is_possible, lying_frame};
use septum_engine::retrieve::stream::{header_of, pixels_of};
use septum_engine::retrieve::{InstanceRef, PixelReader, StoredValue, Values};
use septum_engine::services::Services;
use septum_engine::{EngineError, Result};

use super::instances::{self, is_form_error};
use super::media_types::{OCTETS, media_type_of, video_type};
use super::ranged;
use super::stream::{self, Break, Sink, send};
use crate::call::{Call, header_value};
use crate::http::accept::{self, Choice, Syntax};
use crate::http::parts::{PartWriter, with_syntax};
use crate::http::problem::{Answer, Problem};

/// In which form frames are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Native,
    Stored,
    Interchange(Interchange),
}

impl Form {
    /// The transfer syntax that frames in this form are in.
    fn transfer_syntax_uid(self, stored_uid: &str) -> &str {
        match self {
            Self::Native => EXPLICIT_LITTLE,
            Self::Stored => stored_uid,
            Self::Interchange(interchange) => interchange.transfer_syntax_uid(),
        }
    }

    /// Their media type.
    fn media_type(self, stored_uid: &str) -> &'static str {
        media_type_of(self.transfer_syntax_uid(stored_uid))
    }
}

/// The forms that one choice means, the most wanted first.
fn forms_of(choice: &Choice, stored_uid: &str) -> Vec<Form> {
    let stored_media = media_type_of(stored_uid);
    let media = choice.media.as_str();
    let covers = |media_type: &str| choice.covers(media_type);
    // Viewers ask for octets in the stored syntax and look at the part's own media type.
    let takes_stored = covers(stored_media) || media == OCTETS;
    match &choice.syntax {
        Syntax::Stored if takes_stored => vec![Form::Stored],
        Syntax::Uid(uid) if uid == stored_uid && takes_stored => vec![Form::Stored],
        Syntax::Uid(uid) if uid == EXPLICIT_LITTLE && covers(OCTETS) => vec![Form::Native],
        Syntax::Default if media == "*/*" => [(Form::Native, OCTETS), (Form::Stored, stored_media)]
            .into_iter()
            .filter(|(_, media_type)| covers(media_type))
            .map(|(form, _)| form)
            .collect(),
        Syntax::Default if covers(OCTETS) => vec![Form::Native],
        Syntax::Default if covers(stored_media) => vec![Form::Stored],
        syntax => Interchange::ALL
            .into_iter()
            .filter(|interchange| {
                let uid = interchange.transfer_syntax_uid();
                let (is_named, is_octets) = match syntax {
                    Syntax::Uid(named) => (named == uid, media == OCTETS),
                    // `*` is whatever can be had of the media type, if not as stored.
                    Syntax::Default | Syntax::Stored => (true, false),
                };
                is_named && (covers(media_type_of(uid)) || is_octets)
            })
            .map(Form::Interchange)
            .collect(),
    }
}

/// What is tried one after the other: the forms as they are, the most wanted first; then what must be made.
fn attempts<'a>(choices: &'a [Choice], stored_uid: &str) -> impl Iterator<Item = (&'a Choice, Form, Unmade)> {
    let forms = choices
        .iter()
        .flat_map(|choice| forms_of(choice, stored_uid).into_iter().map(move |form| (choice, form)));
    let made = forms.clone().filter(|(_, form)| matches!(form, Form::Interchange(_)));
    forms
        .map(|(choice, form)| (choice, form, Unmade::Refused))
        .chain(made.map(|(choice, form)| (choice, form, Unmade::Made)))
}

/// Frame numbers from 1, parted by commas; at least one.
pub(super) fn numbers(list: &str, most: usize) -> Answer<Vec<u32>> {
    let bad = || Problem::bad_request("frames are whole numbers from 1, parted by commas");
    if list.split(',').count() > most {
        return Err(Problem::bad_request(
            "more frames are asked for than allowed in one request",
        ));
    }
    list.split(',')
        .map(|number| number.parse().ok().filter(|number| *number > 0).ok_or_else(bad))
        .collect()
}

/// Where frames come from.
enum Source {
    Native(Frames),
    Stored(PixelReader),
    Interchange {
        coder: Box<Coder>,
        /// The first frame asked for, which tells whether this form can be had.
        first: (u32, Bytes),
    },
}

impl Source {
    async fn frame(&self, index: u32) -> Result<Bytes> {
        match self {
            Self::Native(frames) => frames.native_frame(index).await,
            Self::Stored(pixels) => stored_frame(pixels, index).await,
            Self::Interchange { first, .. } if first.0 == index => Ok(first.1.clone()),
            Self::Interchange { coder, .. } => coder.frame(index).await,
        }
    }

    /// Whether these frames, from 1, can be had each in one piece: to be known before the answer begins.
    fn check(&self, services: &Services, numbers: &[u32]) -> Result<()> {
        let check = |number: &u32| match self {
            Self::Native(frames) => frames.check(number - 1),
            Self::Stored(pixels) => check_stored(services, pixels, number - 1),
            // Such a frame lies in one unit.
            Self::Interchange { .. } => Ok(()),
        };
        numbers.iter().try_for_each(check)
    }

    fn content_type(&self, stored_uid: &str) -> (&'static str, String) {
        let uid = match self {
            Self::Native(_) => EXPLICIT_LITTLE,
            Self::Stored(_) => stored_uid,
            Self::Interchange { coder, .. } => coder.transfer_syntax_uid(),
        };
        (media_type_of(uid), with_syntax(media_type_of(uid), uid))
    }
}

/// What is done for a form of the dense tier that is not on disk yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unmade {
    /// Another form that the client takes is rather sent.
    Refused,
    /// It is made on the way.
    Made,
}

/// Opens a source of frames from `number` on, or says why the form cannot be had of these pixels.
async fn source(
    services: &Arc<Services>,
    pixels: &PixelReader,
    instance: &InstanceRef,
    number: u32,
    form: Form,
    unmade: Unmade,
) -> Answer<std::result::Result<Source, String>> {
    match form {
        Form::Stored => Ok(Ok(Source::Stored(pixels.clone()))),
        Form::Native => reason(
            Frames::native(services, pixels.clone(), instance)
                .await
                .map(Source::Native),
        ),
        Form::Interchange(interchange) => {
            let index = number - 1;
            let coded = async {
                let none = || EngineError::NotAcceptable("they have no such form".to_owned());
                if index >= pixels.record().layout.num_frames() || !is_possible(&instance.record, interchange) {
                    return Err(none());
                }
                let lying = match unmade {
                    Unmade::Refused => Some(
                        lying_frame(services, pixels, interchange, index)
                            .await?
                            .ok_or_else(none)?,
                    ),
                    Unmade::Made => None,
                };
                let coder = Box::new(Coder::open(services, pixels, instance, interchange).await?);
                let frame = match lying {
                    Some(frame) => frame,
                    None => coder.frame(index).await?,
                };
                let first = (index, frame);
                Ok(Source::Interchange { coder, first })
            };
            reason(coded.await)
        }
    }
}

/// Parts "not in this form", where another may do, from what ends the request.
fn reason<T>(result: Result<T>) -> Answer<std::result::Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if is_form_error(&error) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn no_form(reason: Option<String>, offers: &[String]) -> Problem {
    let text = "the frames cannot be had in a form that you accept";
    let text = match reason {
        Some(reason) => format!("{text}: {reason}"),
        None => text.to_owned(),
    };
    Problem::not_acceptable(text, offers)
}

/// `GET …/instances/{instance}/frames/{frames}`.
pub(super) async fn retrieve(call: Call) -> Answer {
    let numbers = numbers(call.path("frames"), call.app.frames_max)?;
    let choices = accept::choices(&call.request)?;
    let instance = instances::find(&call)?;
    call.audit_study(&instance.study).await?;
    let pixels = pixels_of(call.services(), &instance)?.ok_or_else(Problem::not_found)?;
    let num_frames = pixels.record().layout.num_frames();
    if numbers.iter().any(|number| *number > num_frames) {
        return Err(Problem::new(
            actix_web::http::StatusCode::NOT_FOUND,
            "no-such-frame",
            "there are fewer frames",
        )
        .with_member("frames", num_frames.into()));
    }
    let stored_uid = instance.record.transfer_syntax_uid.clone();
    let mut refused = None;
    for (choice, form, unmade) in attempts(&choices, &stored_uid) {
        let multipart = choice.multipart || choice.covers_parts(form.media_type(&stored_uid));
        if !multipart && numbers.len() > 1 {
            continue;
        }
        let etag = instances::etag(&instance, &format!("{form:?}").to_lowercase());
        let source = match source(call.services(), &pixels, &instance, numbers[0], form, unmade).await? {
            Ok(source) => source,
            Err(reason) => {
                refused = Some(reason);
                continue;
            }
        };
        if let Err(reason) = reason(source.check(call.services(), &numbers))? {
            refused = Some(reason);
            continue;
        }
        if let Some(response) = call.not_modified(&etag) {
            return Ok(response);
        }
        return respond(&call, source, numbers, &stored_uid, multipart, &etag).await;
    }
    let mut offers = vec![OCTETS.to_owned(), format!("{OCTETS}; transfer-syntax=*")];
    if media_type_of(&stored_uid) != OCTETS {
        offers.push(with_syntax(media_type_of(&stored_uid), &stored_uid));
    }
    Err(no_form(refused, &offers))
}

async fn respond(
    call: &Call,
    source: Source,
    numbers: Vec<u32>,
    stored_uid: &str,
    multipart: bool,
    etag: &str,
) -> Answer {
    let (media_type, part_type) = source.content_type(stored_uid);
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"));
    if !multipart {
        let number = numbers.first().copied().unwrap_or(1);
        let frame = source.frame(number - 1).await?;
        return Ok(response.content_type(part_type).body(frame));
    }
    let (mut writer, addresses) = (PartWriter::new(), call.frame_addresses(""));
    response.content_type(writer.content_type(media_type));
    Ok(response.body(stream::body(None, |sink: Sink| async move {
        for number in numbers {
            let frame = source.frame(number - 1).await?;
            let location = addresses.of(number);
            send(&sink, writer.open(&part_type, Some(&location))).await?;
            send(&sink, frame).await?;
        }
        send(&sink, writer.close()).await?;
        Ok::<(), Break>(())
    })))
}

/// `GET …/instances/{instance}/bulkdata/{bulk}`: the value that a BulkDataURI in the metadata names.
pub(super) async fn bulk_data(call: Call) -> Answer {
    let choices = accept::choices(&call.request)?;
    let instance = instances::find(&call)?;
    call.audit_study(&instance.study).await?;
    let path = call.path("bulk").to_ascii_uppercase();
    if is_pixels(&path) {
        return pixel_data(&call, &instance, &choices).await;
    }
    let choice = choices
        .iter()
        .find(|choice| choice.covers(OCTETS))
        .ok_or_else(|| Problem::not_acceptable("only octets can be had here", &[OCTETS.to_owned()]))?;
    let value = stored_value(call.services(), &instance, &path).await?;
    let length = value.length();
    if !choice.multipart {
        let etag = instances::strong_etag(&instance, "bulk");
        return Ok(ranged::value(&call, value, length, OCTETS, &etag));
    }
    let mut response = HttpResponse::Ok();
    let mut writer = PartWriter::new();
    let (open, close) = (writer.open(OCTETS, Some(&call.address())), writer.close());
    response.content_type(writer.content_type(OCTETS));
    let whole = (open.len() + close.len()) as u64 + length;
    Ok(response.body(stream::body(Some(whole), |sink| async move {
        send(&sink, open).await?;
        ranged::send_value(&sink, &value, 0..length).await?;
        send(&sink, close).await?;
        Ok::<(), Break>(())
    })))
}

/// Whether a path of a BulkDataURI names the pixels.
pub(super) fn is_pixels(path: &str) -> bool {
    matches!(path, "7FE00010" | "7FE00008" | "7FE00009")
}

/// The value outside the pixels that a path of a BulkDataURI names.
pub(super) async fn stored_value(services: &Arc<Services>, instance: &InstanceRef, path: &str) -> Result<StoredValue> {
    let header = header_of(services, instance).await?;
    let values = Values::new(services, instance, &header)?;
    let long = parse_tag(path).and_then(|tag| values.position((tag.0, tag.1)));
    if let Some(index) = long {
        // Little endian is promised (PS3.18 section 8.7.3.3), and in big endian only bytes are the same.
        if instance.record.encoding == Encoding::ExplicitBig && values.all()[index].vr != Some(*b"OB") {
            let text = "a long value in big endian byte order can be had in the instance only";
            return Err(EngineError::NotAcceptable(text.to_owned()));
        }
        return Ok(StoredValue::Long {
            values: Box::new(values),
            index,
        });
    }
    let header = Header::from_bytes(header.elements(), instance.record.encoding.into())
        .map_err(|_| EngineError::Corrupt("header"))?;
    let value = bulk_value(&header, path).ok_or(EngineError::NotFound)?;
    Ok(StoredValue::Held(value.bytes))
}

/// The pixels as one value: native samples in one part, or each stored frame in a part of its own.
async fn pixel_data(call: &Call, instance: &InstanceRef, choices: &[Choice]) -> Answer {
    let pixels = pixels_of(call.services(), instance)?.ok_or_else(Problem::not_found)?;
    let named = match pixels.record().description.element {
        PixelElement::Pixel => "7FE00010",
        PixelElement::Float => "7FE00008",
        PixelElement::Double => "7FE00009",
    };
    if !call.path("bulk").eq_ignore_ascii_case(named) {
        return Err(Problem::not_found());
    }
    let stored_uid = instance.record.transfer_syntax_uid.clone();
    let is_native = !pixels.record().description.encapsulated;
    let video = video_type(&stored_uid);
    for choice in choices {
        if let Some(media_type) = video
            && choice.covers(media_type)
        {
            if !choice.multipart {
                let etag = instances::strong_etag(instance, "video");
                return Ok(ranged::stored(call, pixels, media_type, &etag));
            }
            let etag = instances::etag(instance, "video-parts");
            return Ok(whole_stored(
                call,
                pixels,
                media_type,
                with_syntax(media_type, &stored_uid),
                &etag,
            ));
        }
    }
    for (choice, form, unmade) in attempts(choices, &stored_uid) {
        // What a decoder made may differ from one release to the next; what came native does not.
        let etag = if is_native && !choice.multipart && !matches!(form, Form::Interchange(_)) {
            instances::strong_etag(instance, "bulk")
        } else {
            instances::etag(instance, &format!("bulk-{form:?}").to_lowercase())
        };
        let Ok(source) = source(call.services(), &pixels, instance, 1, form, unmade).await? else {
            continue;
        };
        if let Some(response) = call.not_modified(&etag) {
            return Ok(response);
        }
        let frames = match source {
            Source::Native(frames) => frames,
            Source::Stored(pixels) if is_native => Frames::native(call.services(), pixels, instance).await?,
            source => {
                let num_frames = pixels.record().layout.num_frames();
                let multipart = choice.multipart || choice.covers_parts(form.media_type(&stored_uid));
                if num_frames == 0 && multipart {
                    // Frames that cannot be told apart go out as one.
                    let part_type = with_syntax(media_type_of(&stored_uid), &stored_uid);
                    return Ok(whole_stored(call, pixels, media_type_of(&stored_uid), part_type, &etag));
                }
                if num_frames != 1 && !multipart {
                    continue;
                }
                let numbers: Vec<u32> = (1..=num_frames).collect();
                source.check(call.services(), &numbers)?;
                return respond(call, source, numbers, &stored_uid, multipart, &etag).await;
            }
        };
        if !choice.multipart {
            let (length, part_type) = (frames.native_length()?, with_syntax(OCTETS, EXPLICIT_LITTLE));
            return Ok(ranged::native(call, frames, length, &part_type, &etag));
        }
        return Ok(whole(call, frames, &etag));
    }
    Err(Problem::not_acceptable(
        "the pixels cannot be had in a form that you accept",
        &[OCTETS.to_owned()],
    ))
}

/// The stored payload in one part.
fn whole_stored(call: &Call, pixels: PixelReader, media_type: &str, part_type: String, etag: &str) -> HttpResponse {
    let mut writer = PartWriter::new();
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"))
        .content_type(writer.content_type(media_type));
    let (open, close) = (writer.open(&part_type, Some(&call.address())), writer.close());
    response.body(stream::body(None, |sink: Sink| async move {
        send(&sink, open).await?;
        send_payload(&sink, &pixels).await?;
        send(&sink, close).await?;
        Ok::<(), Break>(())
    }))
}

/// Sends the stored payload.
pub(super) async fn send_payload(sink: &Sink, pixels: &PixelReader) -> std::result::Result<(), Break> {
    let (mut at, end) = (0, pixels.record().layout.payload_length());
    while at < end {
        let piece = pixels.payload_from(at, end).await?;
        if piece.is_empty() {
            return Err(EngineError::Corrupt("pixel record").into());
        }
        at += piece.len() as u64;
        send(sink, piece).await?;
    }
    Ok(())
}

fn whole(call: &Call, frames: Frames, etag: &str) -> HttpResponse {
    let mut writer = PartWriter::new();
    let part_type = with_syntax(OCTETS, EXPLICIT_LITTLE);
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"))
        .content_type(writer.content_type(OCTETS));
    let (open, close) = (writer.open(&part_type, Some(&call.address())), writer.close());
    response.body(stream::body(None, |sink: Sink| async move {
        send(&sink, open).await?;
        let mut step = 0;
        while let Some(piece) = frames.native_piece(step).await? {
            send(&sink, piece).await?;
            step += 1;
        }
        send(&sink, close).await?;
        Ok::<(), Break>(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RLE: &str = "1.2.840.10008.1.2.5";
    const HTJ2K: &str = "1.2.840.10008.1.2.4.201";

    fn check(media: &str, syntax: Syntax, stored: &str, expected: &[Form]) {
        let choice = Choice {
            multipart: true,
            syntax,
            ..Choice::single(media)
        };
        assert_eq!(forms_of(&choice, stored), expected, "{choice:?} {stored}");
    }

    #[test]
    fn choices_become_forms() {
        use Syntax::{Default, Stored};
        let uid = |uid: &str| Syntax::Uid(uid.to_owned());
        check("*/*", Default, RLE, &[Form::Native, Form::Stored]);
        check(OCTETS, Default, RLE, &[Form::Native]);
        check(OCTETS, Stored, RLE, &[Form::Stored]);
        check("image/dicom-rle", Default, RLE, &[Form::Stored]);
        check("image/*", Default, RLE, &[Form::Stored]);
        let (htj2k, jpegls) = (
            Form::Interchange(Interchange::Htj2k),
            Form::Interchange(Interchange::JpegLs),
        );
        check("image/jphc", Default, RLE, &[htj2k]);
        check("image/jphc", uid(HTJ2K), EXPLICIT_LITTLE, &[htj2k]);
        check("image/jls", Default, RLE, &[jpegls]);
        check("image/jls", uid(HTJ2K), RLE, &[]);
        check("image/jphc", Stored, RLE, &[htj2k]);
        check("image/jphc", Stored, EXPLICIT_LITTLE, &[htj2k]);
        check("image/jphc", Stored, HTJ2K, &[Form::Stored]);
        check("image/jp2", Stored, EXPLICIT_LITTLE, &[]);
        check(OCTETS, uid("1.2.840.10008.1.2.4.80"), EXPLICIT_LITTLE, &[jpegls]);
        let rle = Form::Interchange(Interchange::Rle);
        check("image/*", Default, EXPLICIT_LITTLE, &[htj2k, jpegls, rle]);
        check("image/dicom-rle", Default, EXPLICIT_LITTLE, &[rle]);
        check("image/jpeg", uid("1.2.840.10008.1.2.4.50"), RLE, &[]);
        check(OCTETS, uid(EXPLICIT_LITTLE), RLE, &[Form::Native]);
        check(OCTETS, uid(RLE), RLE, &[Form::Stored]);
        check(OCTETS, Stored, EXPLICIT_LITTLE, &[Form::Stored]);
        check("image/jphc", Default, HTJ2K, &[Form::Stored]);
    }

    #[test]
    fn what_is_refused_is_not_sent() {
        for (accept, stored, expected) in [
            ("application/octet-stream;q=0, */*", RLE, &[Form::Stored][..]),
            ("image/dicom-rle;q=0, */*", RLE, &[Form::Native]),
            ("application/octet-stream;q=0, */*", EXPLICIT_LITTLE, &[]),
        ] {
            let choices = accept::choices_of([accept].into_iter()).expect("well formed");
            assert_eq!(forms_of(&choices[0], stored), expected, "{accept}");
        }
    }

    #[test]
    fn frame_lists_are_read() {
        for (list, expected) in [
            ("1", Some(vec![1])),
            ("3,1,3", Some(vec![3, 1, 3])),
            ("0", None),
            ("", None),
            ("1,", None),
            ("-1", None),
            ("1-3", None),
            ("4294967296", None),
            ("1,2,3,4,5", None),
        ] {
            assert_eq!(numbers(list, 4).ok(), expected, "{list}");
        }
    }
}
