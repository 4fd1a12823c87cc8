//! WADO-RS of a study or a series: every current instance as a part of `multipart/related`, streamed.
//!
//! Which form is as for one instance (see `instances`). Where a client names no transfer syntax and an instance cannot be
//! decoded, that instance goes out as stored and its part says so: an image is not lost because its codec is unknown
//! here. Where a client names a syntax, instances that cannot be had in it are left out: 206 with a warning, or 406 if
//! none is left. What only shows when the samples are looked at, after the answer began (bits above Bits Stored have no form
//! in HTJ2K), goes out as stored too: a torn answer would keep the whole study from the client.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use septum_core::ids::VersionId;
use septum_core::seal::Token;
use septum_engine::EngineError;
use septum_engine::retrieve::stream::{Form, InstanceStream, open};
use septum_engine::retrieve::{InstanceRef, StudyRef};
use septum_engine::services::Services;

use super::instances::{DICOM, Wanted, form_of, is_form_error, not_acceptable, wanted};
use super::media;
use super::stream::{self, Break, Sink, send};
use crate::call::{Call, header_value};
use crate::http::accept::{self, Syntax};
use crate::http::parts::{PartWriter, with_syntax};
use crate::http::problem::{Answer, Problem};

pub(super) struct Member {
    series: Token,
    instance: Token,
    version: VersionId,
    form: Form,
}

/// `GET …/studies/{study}` and `…/series/{series}`.
pub(super) async fn retrieve(call: Call) -> Answer {
    let choices = accept::choices(&call.request)?;
    let wanted = wanted(&choices, false);
    let (_, study) = call.study()?;
    let series_uid = call.series_uid_if_any()?;
    call.audit_study(&study).await?;
    if let Some(syntax) = media::wanted(&choices, false) {
        return media::study(&call, study, series_uid.as_deref(), syntax).await;
    }
    let mut refused = Vec::new();
    // The most wanted way in which at least one instance can be had.
    for Wanted { syntax, .. } in wanted {
        let etag = format!("W/\"{}-{}-{}\"", study.id(), study.row.revision, token_of(&syntax));
        let (members, num_left_out) = members(&call, &study, series_uid.as_deref(), &syntax).await?;
        if members.is_empty() {
            if num_left_out == 0 {
                return Err(Problem::not_found());
            }
            refused.push(syntax);
            continue;
        }
        if let Some(response) = call.not_modified(&etag) {
            return Ok(response);
        }
        let mut response = if num_left_out == 0 {
            HttpResponse::Ok()
        } else {
            HttpResponse::PartialContent()
        };
        if num_left_out > 0 {
            let warning =
                format!("299 septum \"{num_left_out} instances cannot be had in the transfer syntax asked for\"");
            response.insert_header((header::WARNING, warning));
        }
        let writer = PartWriter::new();
        response
            .content_type(writer.content_type(DICOM))
            .insert_header((header::ETAG, header_value(&etag)))
            .insert_header((header::VARY, "Accept"));
        let services = Arc::clone(call.services());
        return Ok(response.body(stream::body(None, |sink| {
            send_all(sink, services, study, members, writer)
        })));
    }
    Err(none_of(&refused))
}

/// 406: no instance can be had in these transfer syntaxes.
pub(super) fn none_of(syntaxes: &[Syntax]) -> Problem {
    let uids = syntaxes.iter().filter_map(|syntax| match syntax {
        Syntax::Uid(uid) => Some(uid.as_str()),
        Syntax::Default | Syntax::Stored => None,
    });
    not_acceptable(None, &uids.collect::<Vec<_>>(), None)
}

/// A syntax inside an ETag.
pub(super) fn token_of(syntax: &Syntax) -> &str {
    match syntax {
        Syntax::Default => "native",
        Syntax::Stored => "original",
        Syntax::Uid(uid) if uid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => uid,
        Syntax::Uid(_) => "other",
    }
}

/// The instances that can be had, and how many cannot.
pub(super) async fn members(
    call: &Call,
    study: &StudyRef,
    series_uid: Option<&str>,
    syntax: &Syntax,
) -> Answer<(Vec<Member>, usize)> {
    let (services, study) = (Arc::clone(call.services()), study.clone());
    let (series_uid, syntax) = (series_uid.map(str::to_owned), syntax.clone());
    // Thousands of rows may be read and opened: not on a thread that serves others.
    let gathered = tokio::task::spawn_blocking(move || -> septum_engine::Result<(Vec<Member>, usize)> {
        let (mut members, mut num_left_out) = (Vec::new(), 0);
        for instance in study.instances(&services, series_uid.as_deref()) {
            let instance = instance?;
            let form = form_of(&instance.record, &syntax);
            let form = if syntax == Syntax::Default {
                form.or(Some(Form::Original))
            } else {
                form
            };
            match form {
                Some(form) => members.push(Member {
                    series: instance.series,
                    instance: instance.instance,
                    version: instance.version,
                    form,
                }),
                None => num_left_out += 1,
            }
        }
        Ok((members, num_left_out))
    });
    Ok(gathered.await.map_err(|_| septum_engine::EngineError::Panicked)??)
}

async fn send_all(
    sink: Sink,
    services: Arc<Services>,
    study: StudyRef,
    members: Vec<Member>,
    mut writer: PartWriter,
) -> Result<(), Break> {
    let study = Arc::new(study);
    let start = |member| actix_web::rt::spawn(open_member(Arc::clone(&services), Arc::clone(&study), member));
    let mut members = members.into_iter();
    let mut ahead = members.next().map(start);
    while let Some(opening) = ahead.take() {
        let mut opened = opening.await.map_err(|_| EngineError::Panicked)??;
        send(
            &sink,
            writer.open(&with_syntax(DICOM, &opened.transfer_syntax_uid), None),
        )
        .await?;
        loop {
            // The next is read while this one is sent, but not before this one needs no more memory to be read into: nobody
            // waits for permits while holding some that only the same wait would free.
            if ahead.is_none() && opened.is_read() {
                ahead = members.next().map(start);
            }
            match opened.next().await {
                Some(piece) => send(&sink, piece?).await?,
                None => break,
            }
        }
        ahead = ahead.or_else(|| members.next().map(start));
    }
    send(&sink, writer.close()).await?;
    Ok(())
}

/// Opens an instance in its form, or where that turns out not to be possible, as the original.
async fn open_member(
    services: Arc<Services>,
    study: Arc<StudyRef>,
    member: Member,
) -> septum_engine::Result<InstanceStream> {
    let instance = study.version(&services, member.series, member.instance, member.version)?;
    open_or_original(&services, &instance, member.form).await
}

/// Opens an instance in a form, or where that turns out not to be possible, as the original.
pub(super) async fn open_or_original(
    services: &Arc<Services>,
    instance: &InstanceRef,
    form: Form,
) -> septum_engine::Result<InstanceStream> {
    match open(services, instance, form).await {
        Err(error) if is_form_error(&error) => open(services, instance, Form::Original).await,
        opened => opened,
    }
}
