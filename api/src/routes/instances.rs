//! WADO-RS of one instance, and which form of an instance a client gets (PS3.18 sections 8.7 and 10.4).
//!
//! | asked for | sent |
//! |---|---|
//! | no transfer syntax | Explicit VR Little Endian, pixels decoded |
//! | `transfer-syntax=*` | as stored |
//! | the stored syntax by its UID | as stored |
//! | Explicit VR Little Endian by its UID | the same, decoded |
//! | High-Throughput JPEG 2000, JPEG-LS (both lossless) or RLE by its UID | grey, palette and RGB pixels of 8 or 16 bits in this form, however they came |
//! | anything else | 406 with what can be had |
//! | `*/*` or no `Accept`, and the pixels cannot be decoded | as stored |
//!
//! Only original pixels leave as stored bytes; each part says which syntax it is in.

use actix_web::HttpResponse;
use actix_web::http::header;
use septum_core::access::Permission;
use septum_core::codec::Interchange;
use septum_core::dicom::TransferSyntax;
use septum_engine::EngineError;
use septum_engine::error::ErrorKind;
use septum_engine::records::VersionRecord;
use septum_engine::retrieve::InstanceRef;
use septum_engine::retrieve::frames::{EXPLICIT_LITTLE, check_readable};
use septum_engine::retrieve::interchange;
use septum_engine::retrieve::stream::{self as engine_stream, Form};

use super::media;
use super::stream::{self, send};
use crate::call::{Call, header_value};
use crate::http::accept::{self, Choice, Syntax};
use crate::http::parts::{PartWriter, with_syntax};
use crate::http::problem::{Answer, Problem};

/// The media type of Part 10 streams.
pub(super) const DICOM: &str = "application/dicom";

/// One way to answer that the client takes, the most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As a part of `multipart/related`.
    pub(super) multipart: bool,
    /// The transfer syntax.
    pub(super) syntax: Syntax,
}

/// What of a client's choices is about instances. `single` says whether a bare Part 10 stream can be the answer.
pub(super) fn wanted(choices: &[Choice], single: bool) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for choice in choices.iter().filter(|choice| choice.covers(DICOM)) {
        let multipart = choice.covers_parts(DICOM);
        if multipart || single {
            wanted.push(Wanted {
                multipart,
                syntax: choice.syntax.clone(),
            });
            if choice.media == "*/*" && choice.syntax == Syntax::Default {
                wanted.push(Wanted {
                    multipart,
                    syntax: Syntax::Stored,
                });
            }
        }
    }
    wanted
}

/// Whether the instance can be had in Explicit VR Little Endian, as far as can be told without decoding.
pub(super) fn can_be_native(record: &VersionRecord) -> bool {
    let is_decodable = record.pixels.as_ref().is_none_or(|pixels| {
        !pixels.encapsulated || (pixels.shape.is_some() && septum_decoder::is_supported(&record.transfer_syntax_uid))
    });
    is_decodable && check_readable(record).is_ok()
}

/// The form that a syntax means for an instance, if it can be made.
pub(super) fn form_of(record: &VersionRecord, syntax: &Syntax) -> Option<Form> {
    let native = || can_be_native(record).then_some(Form::Native);
    match syntax {
        Syntax::Stored => Some(Form::Original),
        Syntax::Default => native(),
        Syntax::Uid(uid) if *uid == record.transfer_syntax_uid => Some(Form::Original),
        Syntax::Uid(uid) if uid == EXPLICIT_LITTLE => native(),
        Syntax::Uid(uid) => interchange::of(uid, record).map(Form::Interchange),
    }
}

/// 406, naming what can be had: of all transfer syntaxes, those that were not just `refused`. `reason` is why the most
/// wanted one was.
pub(super) fn not_acceptable(record: Option<&VersionRecord>, refused: &[&str], reason: Option<&str>) -> Problem {
    let mut uids = Vec::new();
    if record.is_none_or(can_be_native) {
        uids.push(EXPLICIT_LITTLE);
    }
    // What cannot be decoded cannot be encoded anew either.
    let is_undecoded = |record: &VersionRecord| {
        let is_encapsulated = record.pixels.as_ref().is_some_and(|pixels| pixels.encapsulated);
        is_encapsulated && refused.contains(&EXPLICIT_LITTLE)
    };
    for form in Interchange::ALL {
        if record.is_none_or(|record| interchange::is_possible(record, form) && !is_undecoded(record)) {
            uids.push(form.transfer_syntax_uid());
        }
    }
    uids.retain(|uid| !refused.contains(uid));
    if let Some(record) = record
        && TransferSyntax::of(&record.transfer_syntax_uid).is_known()
        && !uids.contains(&record.transfer_syntax_uid.as_str())
    {
        uids.push(&record.transfer_syntax_uid);
    }
    let mut choices: Vec<String> = uids.into_iter().map(|uid| with_syntax(DICOM, uid)).collect();
    choices.push(format!("{DICOM}; transfer-syntax=*"));
    let text = "nothing that you accept can be made of this";
    let text = reason.map_or_else(|| text.to_owned(), |reason| format!("{text}: {reason}"));
    Problem::not_acceptable(text, &choices)
}

/// The instance of the path, in the version asked for.
pub(super) fn find(call: &Call) -> Answer<InstanceRef> {
    let (namespace, study) = call.study()?;
    let version = call.version()?;
    let found = study.instance(call.services(), &call.series_uid()?, &call.instance_uid()?, version)?;
    if version.is_some() && study.is_original(call.services(), &found)? {
        call.authorize(Permission::StudyViewOriginal, namespace.id)?;
    }
    Ok(found)
}

/// A validator of one instance's answers.
pub(super) fn etag(instance: &InstanceRef, form: &str) -> String {
    format!("W/\"{}-{form}\"", instance.version)
}

/// A strong validator, for bytes that never change while the version is the same.
pub(super) fn strong_etag(instance: &InstanceRef, form: &str) -> String {
    format!("\"{}-{form}\"", instance.version)
}

/// `GET …/instances/{instance}`.
pub(super) async fn retrieve(call: Call) -> Answer {
    let choices = accept::choices(&call.request)?;
    let instance = find(&call)?;
    call.audit_study(&instance.study).await?;
    if let Some(syntax) = media::wanted(&choices, true) {
        return media::instance(&call, instance, syntax).await;
    }
    send_as(&call, &instance, &choices).await
}

/// Sends an instance in the form that is wanted most of those it can be had in.
pub(super) async fn send_as(call: &Call, instance: &InstanceRef, choices: &[Choice]) -> Answer {
    let (mut refused, mut reason) = (Vec::new(), None);
    for Wanted { multipart, syntax } in wanted(choices, true) {
        let Some(form) = form_of(&instance.record, &syntax) else {
            continue;
        };
        let uid = syntax_of(form);
        if uid.is_some_and(|uid| refused.contains(&uid)) {
            continue;
        }
        let etag = etag(instance, name_of(form));
        if let Some(response) = call.not_modified(&etag) {
            return Ok(response);
        }
        match engine_stream::open(call.services(), instance, form).await {
            Ok(opened) => return Ok(respond(opened, multipart, &etag, &call.address())),
            Err(error) if is_form_error(&error) => {
                refused.extend(uid);
                reason.get_or_insert_with(|| error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(not_acceptable(Some(&instance.record), &refused, reason.as_deref()))
}

/// The transfer syntax that a form is made into; none where nothing is made.
fn syntax_of(form: Form) -> Option<&'static str> {
    match form {
        Form::Original => None,
        Form::Native => Some(EXPLICIT_LITTLE),
        Form::Interchange(interchange) => Some(interchange.transfer_syntax_uid()),
    }
}

/// A form inside an ETag.
pub(super) fn name_of(form: Form) -> &'static str {
    match form {
        Form::Original => "original",
        Form::Native => "native",
        Form::Interchange(Interchange::Htj2k) => "htj2k",
        Form::Interchange(Interchange::JpegLs) => "jpegls",
        Form::Interchange(Interchange::Rle) => "rle",
    }
}

fn respond(mut opened: engine_stream::InstanceStream, multipart: bool, etag: &str, location: &str) -> HttpResponse {
    let mut writer = PartWriter::new();
    let part_type = with_syntax(DICOM, &opened.transfer_syntax_uid);
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::ETAG, header_value(etag)))
        .insert_header((header::VARY, "Accept"));
    let (open, close) = if multipart {
        response.content_type(writer.content_type(DICOM));
        let open = writer.open(&part_type, Some(location));
        (open, writer.close())
    } else {
        response.content_type(part_type);
        response.insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"instance.dcm\""));
        Default::default()
    };
    let length = opened
        .length
        .map(|length| length + open.len() as u64 + close.len() as u64);
    response.body(stream::body(length, |sink| async move {
        send(&sink, open).await?;
        while let Some(piece) = opened.next().await {
            send(&sink, piece?).await?;
        }
        send(&sink, close).await?;
        Ok(())
    }))
}

/// Whether the error means "not in this form", where another form may do.
pub(super) fn is_form_error(error: &EngineError) -> bool {
    error.kind() == ErrorKind::NotAcceptable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_not_offered() {
        let offered = |refused: &[&str]| {
            let problem = not_acceptable(None, refused, Some("why"));
            format!("{problem:?}")
        };
        assert!(offered(&[]).contains(EXPLICIT_LITTLE));
        let text = offered(&[EXPLICIT_LITTLE, Interchange::Htj2k.transfer_syntax_uid()]);
        assert!(
            !text.contains(&format!("transfer-syntax={EXPLICIT_LITTLE}\"")),
            "{text}"
        );
        assert!(!text.contains(Interchange::Htj2k.transfer_syntax_uid()));
        assert!(text.contains("transfer-syntax=*") && text.contains("this: why"));
    }

    fn check(choices: &[(bool, &str, Syntax)], single: bool, expected: &[(bool, Syntax)]) {
        let choices: Vec<Choice> = choices
            .iter()
            .map(|(multipart, media, syntax)| Choice {
                multipart: *multipart,
                syntax: syntax.clone(),
                ..Choice::single(media)
            })
            .collect();
        let expected: Vec<Wanted> = expected
            .iter()
            .map(|(multipart, syntax)| Wanted {
                multipart: *multipart,
                syntax: syntax.clone(),
            })
            .collect();
        assert_eq!(wanted(&choices, single), expected, "{choices:?}");
    }

    #[test]
    fn choices_become_forms() {
        use Syntax::{Default, Stored};
        check(&[(false, "*/*", Default)], true, &[(true, Default), (true, Stored)]);
        check(&[(true, DICOM, Stored)], false, &[(true, Stored)]);
        check(&[(false, DICOM, Default)], true, &[(false, Default)]);
        check(&[(false, DICOM, Default)], false, &[]);
        check(
            &[(true, "image/jpeg", Default), (true, DICOM, Stored)],
            true,
            &[(true, Stored)],
        );
        check(&[(false, "application/*", Stored)], true, &[(false, Stored)]);
    }
}
