//! Documents of a study: attached, read, deleted, and made into images of the study.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use bytes::Bytes;
use septum_core::access::Permission;
use septum_core::ids::ObjectId;
use septum_engine::attachments::{self, Attachment, Writer};
use septum_engine::retrieve::StudyRef;
use serde_json::Value;

use super::error::{Answer, Kind, StorageError};
use super::form::{Form, Part, Step};
use super::schema::attachment_entry;
use super::scope::{self, Seen};
use super::upload::described;
use super::wrap;
use crate::call::Call;
use crate::routes::stream::{self, Break, send};

/// Longest media type and file name that are kept, in bytes.
const NAME_BYTES_MAX: usize = 512;

fn clipped(text: &str) -> String {
    let end = (0..=text.len().min(NAME_BYTES_MAX))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    text[..end].chars().filter(|c| !c.is_control()).collect()
}

/// `POST /study/{namespace}/{study}/attachment`.
pub(super) async fn post(mut call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    if scope::flag(&call, "wrap_html_as_pdf") {
        return Err(StorageError::new(Kind::NotAcceptable, "HTML is not made into PDF here"));
    }
    let wraps = scope::flag(&call, "wrap_images") || scope::flag(&call, "synchronous_wrap");
    let returns_html = scope::flag(&call, "return_html");
    let mut form = Form::new(&mut call)?;
    let mut stored = None;
    while let Some(step) = form.next().await? {
        let Step::Begin(part) = step else { continue };
        if part.name == "data" && stored.is_none() {
            stored = Some(read_part(&call, &mut form, &seen, &part).await?);
        }
    }
    let stored = stored.ok_or_else(|| StorageError::new(Kind::BadRequest, "the form has no part named data"))?;
    let mut body = attachment_entry(&stored);
    if let Some(body) = body.as_object_mut() {
        body.insert("study_uid".into(), seen.uid.as_str().into());
        body.insert("namespace".into(), call.path("namespace").into());
    }
    if wraps {
        // The study's row changed when the document came.
        let seen = scope::study(&call).await?;
        match image_of(&call, &seen, &stored).await {
            Ok(image) => {
                if let Some(body) = body.as_object_mut() {
                    body.insert("images".into(), Value::from(vec![image]));
                }
            }
            // What no image can be made of is an attachment all the same.
            Err(error) if error.kind() == Kind::NotAcceptable => {}
            Err(error) => return Err(error),
        }
    }
    let mut response = HttpResponse::Accepted();
    if returns_html {
        return Ok(response.content_type("text/html; charset=utf-8").body(escaped(&body)));
    }
    Ok(response.json(body))
}

/// JSON that a browser shows as text.
fn escaped(body: &Value) -> String {
    body.to_string()
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

async fn read_part(call: &Call, form: &mut Form, seen: &Seen, part: &Part) -> Answer<Attachment> {
    let mut writer = Writer::new(call.services(), seen.study.clone());
    loop {
        match form.next().await {
            Ok(Some(Step::Data(data))) => writer.push(&data).await?,
            Ok(Some(Step::End)) => break,
            Ok(_) => {
                writer.give_up().await?;
                return Err(StorageError::new(Kind::BadRequest, "the attachment broke off"));
            }
            Err(error) => {
                writer.give_up().await?;
                return Err(error);
            }
        }
    }
    let media_type = match part.media_type.as_str() {
        "" => "application/octet-stream",
        media_type => media_type,
    };
    let (file_name, media_type) = (clipped(&part.file_name), clipped(media_type));
    Ok(writer.finish(&file_name, &media_type, &call.source()).await?)
}

/// The attachments of a study, oldest first, once the caller may see them.
fn list(call: &Call, study: &StudyRef) -> Answer<Vec<Attachment>> {
    Ok(attachments::list(call.services(), study)?)
}

/// The attachment of the path, in its version.
fn find(call: &Call, study: &StudyRef) -> Answer<Attachment> {
    let missing = || StorageError::from(Kind::AttachmentNotFound).with("attachment_id", call.path("attachment"));
    let id = ObjectId::parse(call.path("attachment")).ok_or_else(missing)?;
    let found = list(call, study)?.into_iter().find(|attachment| attachment.id == id);
    let version = call.path("version");
    found
        .filter(|attachment| version == "*" || attachment.version() == version)
        .ok_or_else(missing)
}

/// `GET …/attachment/{attachment}/version/{version}[/{file}]`.
pub(super) async fn get(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let attachment = find(&call, &seen.study)?;
    send_attachment(call, seen, attachment).await
}

/// `GET …/attachment/latest[/{file}]`.
pub(super) async fn latest(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let attachment = list(&call, &seen.study)?.pop().ok_or(Kind::AttachmentNotFound)?;
    send_attachment(call, seen, attachment).await
}

async fn send_attachment(call: Call, seen: Seen, attachment: Attachment) -> Answer {
    call.audit_study(&seen.study).await?;
    let services = Arc::clone(call.services());
    // The first piece is read before the answer begins, so that damage found there is an error and not a torn stream.
    let first = match attachment.num_pieces() {
        0 => Bytes::new(),
        _ => attachments::piece(&services, &seen.study, &attachment, 0).await?,
    };
    // Only what a browser shows without running it is shown in place.
    let (shown, disposition) = match attachment.record.media_type.as_str() {
        known @ ("application/pdf" | "image/jpeg" | "image/png" | "image/tiff" | "video/mp4") => (known, "inline"),
        _ => ("application/octet-stream", "attachment"),
    };
    let body = stream::body(Some(attachment.record.length), {
        let attachment = attachment.clone();
        |sink| async move {
            send(&sink, first).await?;
            for number in 1..attachment.num_pieces() {
                send(
                    &sink,
                    attachments::piece(&services, &seen.study, &attachment, number).await?,
                )
                .await?;
            }
            Ok::<(), Break>(())
        }
    });
    Ok(HttpResponse::Ok()
        .content_type(shown)
        .insert_header((header::CONTENT_DISPOSITION, disposition))
        .body(body))
}

/// `DELETE …/attachment/{attachment}/version/{version}`.
pub(super) async fn delete(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let attachment = find(&call, &seen.study)?;
    attachments::delete(call.services(), &seen.study, attachment.id, &call.source()).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// `POST …/attachment/{attachment}/version/{version}/image`: the document as an image of its study.
pub(super) async fn image(call: Call) -> Answer {
    let seen = scope::study(&call).await?;
    let attachment = find(&call, &seen.study)?;
    let image = image_of(&call, &seen, &attachment).await?;
    Ok(HttpResponse::build(StatusCode::ACCEPTED).json(image))
}

async fn image_of(call: &Call, seen: &Seen, attachment: &Attachment) -> Answer<Value> {
    let text = seen.namespace.id.to_string();
    let namespace = scope::namespace_with(call, &text, Permission::StudyReportUpload).await?;
    let length = attachment.record.length;
    let mut share = call.app.held.share();
    if length > call.app.held.total_bytes() {
        return Err(Kind::PayloadTooLarge.into());
    }
    if !share.grow(length) {
        return Err(StorageError::later(
            "other uploads fill what may be held; try again",
            10,
        ));
    }
    let mut content = Vec::new();
    for number in 0..attachment.num_pieces() {
        content.extend_from_slice(&attachments::piece(call.services(), &seen.study, attachment, number).await?);
    }
    let options = wrap::Options {
        tags: Vec::new(),
        study_uid: Some(seen.uid.clone()),
        // The same document gives the same image, so a request that is sent twice doubles nothing.
        has_static_ids: true,
    };
    let stored = wrap::store(&call.app, &namespace, call.source(), content.into(), options).await?;
    Ok(described(&stored))
}

/// The attachments that a download carries, with the names they get there.
pub(super) fn for_download(call: &Call, study: &StudyRef) -> Answer<Vec<(String, Attachment)>> {
    let extension = |attachment: &Attachment| {
        let name = attachment.record.file_name.to_ascii_uppercase();
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_owned());
        extension
            .filter(|text| (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .map_or_else(String::new, |extension| format!(".{extension}"))
    };
    let list = list(call, study)?;
    let named = list
        .into_iter()
        .enumerate()
        .map(|(index, attachment)| (format!("A{:07}{}", index + 1, extension(&attachment)), attachment));
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_short_and_plain() {
        assert_eq!(clipped("a\r\nb"), "ab");
        assert_eq!(clipped(&"ä".repeat(600)).len(), 512);
    }

    #[test]
    fn html_shows_json_as_text() {
        assert_eq!(escaped(&Value::from("<b>&")), "\"&lt;b&gt;&amp;\"");
    }
}
