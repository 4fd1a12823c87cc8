//! Frames as pictures: JPEG, thumbnails, 16-bit PNG for diagnosis, TIFF.
//!
//! | address | depth | sent |
//! |---|---|---|
//! | `frame/{n}`, `…/thumbnail` | 8 | JPEG, as `/rendered` of DICOMweb shows it |
//! | `…/diagnostic` | 16, or 8 | PNG; grey in 16 bits has the stored values |
//! | `…/tiff` | 16, or 8 | TIFF, likewise |
//!
//! Colour has 8 bits. Frames are numbered from 0; a file extension behind the number is passed over.

use actix_web::HttpResponse;
use septum_engine::retrieve::rendered::{Picture, Pictures};
use septum_render::{MediaType, RenderRequest, Target, Viewport};

use super::error::{Answer, Kind, StorageError};
use super::scope;
use crate::call::Call;

/// JPEG quality where none is asked for.
const QUALITY: u8 = 90;

/// Longest edge of a picture, in pixels.
const EDGE_MAX: u32 = 16_384;

/// How large a picture may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
}

impl Size {
    /// `N` for the longest edge, or `WxH`; 0 and nothing for no limit.
    fn parse(text: &str) -> Option<Option<Self>> {
        let edge = |text: &str| text.trim().parse::<u32>().ok().filter(|edge| *edge <= EDGE_MAX);
        let (width, height) = match text.split_once(['x', 'X']) {
            Some((width, height)) => (edge(width)?, edge(height)?),
            None => {
                let longest = edge(text)?;
                (longest, longest)
            }
        };
        Some((width > 0 && height > 0).then_some(Self { width, height }))
    }
}

/// JPEG quality, above 0 and at most 1, in percent.
fn quality(text: &str) -> Option<u8> {
    let quality = text.trim().parse::<f64>().ok()?;
    (quality > 0.0 && quality <= 1.0).then(|| ((quality * 100.0).round() as u8).max(1))
}

struct Wanted {
    pictures: Pictures,
    frame: u32,
    size: Option<Size>,
    depth: u8,
    quality: u8,
}

impl Wanted {
    async fn of(call: &Call, depth: u8) -> Answer<Self> {
        let malformed = |name: &str| StorageError::new(Kind::BadRequest, format!("the parameter {name} is malformed"));
        let parameter = |name| scope::parameter(call, name);
        let size = match parameter("size") {
            None => None,
            Some(text) => Size::parse(&text).ok_or_else(|| malformed("size"))?,
        };
        let depth = match parameter("depth").as_deref() {
            None => depth,
            Some("8") => 8,
            Some("16") => 16,
            Some(_) => return Err(malformed("depth")),
        };
        let quality = match parameter("quality") {
            None => QUALITY,
            Some(text) => quality(&text).ok_or_else(|| malformed("quality"))?,
        };
        let seen = scope::study(call).await?;
        let image = scope::image(call, &seen.study)?;
        let number = call.path("frame");
        let number = number.split_once('.').map_or(number, |(number, _)| number);
        let missing = || {
            StorageError::from(Kind::ImageNotFound)
                .with("image_uid", call.path("image"))
                .with("frame_number", call.path("frame"))
        };
        let frame: u32 = number.parse().map_err(|_| missing())?;
        call.audit_study(&seen.study).await?;
        let pictures = Pictures::open(call.services(), &image).await?;
        if frame >= pictures.num_frames() {
            return Err(missing());
        }
        Ok(Self {
            pictures,
            frame,
            size,
            depth,
            quality,
        })
    }

    /// The size to ask for; pictures never get larger than they are.
    fn viewport(&self) -> Option<Viewport> {
        let size = self.size?;
        let (columns, rows) = (self.pictures.columns(), self.pictures.rows());
        (size.width < columns || size.height < rows)
            .then(|| Viewport::fit(size.width.min(columns), size.height.min(rows)))
    }

    async fn rendered(&self, media_type: MediaType) -> Answer {
        let request = RenderRequest {
            quality: self.quality,
            viewport: self.viewport(),
            ..RenderRequest::default()
        };
        let picture = self.pictures.frame(self.frame, request, media_type).await?;
        Ok(answer(picture, media_type))
    }

    /// In full depth where the frame is grey and 16 bits are wanted.
    async fn deep(&self, media_type: MediaType) -> Answer {
        let deep = match self.depth {
            16 => self.pictures.deep(self.frame).await?,
            _ => None,
        };
        let Some(mut deep) = deep else {
            return self.rendered(media_type).await;
        };
        if let Some(size) = self.size {
            deep = deep.fitted(size.width as usize, size.height as usize);
        }
        let bytes = match media_type {
            MediaType::Tiff => deep.to_tiff(),
            _ => deep.to_png(),
        };
        let bytes = bytes.map_err(septum_engine::EngineError::from)?;
        Ok(HttpResponse::Ok().content_type(media_type.name()).body(bytes))
    }
}

fn answer(picture: Picture, media_type: MediaType) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    for warning in &picture.warnings {
        response.append_header(("Warning", format!("299 septum \"{warning}\"")));
    }
    response.content_type(media_type.name()).body(picture.bytes)
}

/// JPEG as browsers show it has eight bits.
fn eight_bits_only(wanted: &Wanted) -> Answer<()> {
    if wanted.depth == 8 {
        return Ok(());
    }
    Err(StorageError::new(
        Kind::NotAcceptable,
        "JPEG has 8 bits here; 16 bits can be had as PNG and TIFF",
    ))
}

/// `GET …/frame/{frame}`.
pub(super) async fn frame(call: Call) -> Answer {
    let wanted = Wanted::of(&call, 8).await?;
    eight_bits_only(&wanted)?;
    wanted.rendered(MediaType::Jpeg).await
}

/// `GET …/frame/{frame}/thumbnail`.
pub(super) async fn thumbnail(call: Call) -> Answer {
    let wanted = Wanted::of(&call, 8).await?;
    eight_bits_only(&wanted)?;
    let request = RenderRequest::parse(Target::Thumbnail, []).map_err(|_| StorageError::from(Kind::BadRequest))?;
    let picture = wanted.pictures.frame(wanted.frame, request, MediaType::Jpeg).await?;
    Ok(answer(picture, MediaType::Jpeg))
}

/// `GET …/frame/{frame}/diagnostic`.
pub(super) async fn diagnostic(call: Call) -> Answer {
    Wanted::of(&call, 16).await?.deep(MediaType::Png).await
}

/// `GET …/frame/{frame}/tiff`.
pub(super) async fn tiff(call: Call) -> Answer {
    Wanted::of(&call, 16).await?.deep(MediaType::Tiff).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let size = |width, height| Some(Some(Size { width, height }));
        for (text, expected) in [
            ("0", Some(None)),
            ("64", size(64, 64)),
            ("64x32", size(64, 32)),
            ("0x0", Some(None)),
            ("x", None),
            ("1x", None),
            ("-1", None),
            ("99999", None),
        ] {
            assert_eq!(Size::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn qualities() {
        for (text, expected) in [
            ("0.9", Some(90)),
            ("1", Some(100)),
            ("0.001", Some(1)),
            ("0", None),
            ("90", None),
            ("NaN", None),
        ] {
            assert_eq!(quality(text), expected, "{text}");
        }
    }
}
