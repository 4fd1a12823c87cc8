//! # septum-render: from a decoded frame to a picture for people
//!
//! Turns one native frame and the attributes of its instance into what DICOMweb's `/rendered` and `/thumbnail` serve
//! (PS3.18 sections 8.3.5 and 10.4.1.1.3): grayscale and colour pipelines, presentation states, overlays, shutters,
//! viewport, colour profiles, JPEG, PNG and GIF.
//!
//! ```text
//! stored values ─ modality ─ VOI ─ presentation ─┐
//! palette indices ─ lookup tables ───────────────┼─ shutters ─ overlays ─ area, rotation ─ viewport ─ annotation ─ profile ─ encoder
//! RGB, YBR ─ RGB ────────────────────────────────┘
//! ```
//!
//! Pure: no thread, no file, no clock. Input is untrusted: what attributes claim is checked against the bytes at hand,
//! and a source or picture has at most [`MAX_OUTPUT_PIXELS`] pixels. Beside the frame, memory is that of at most three
//! pictures (source, cut or turned, result) of one or three bytes a pixel, and of the encoded bytes.
//!
//! ```
//! use septum_core::dicom::attributes::{Encoding, Header};
//! use septum_core::frame_shape::FrameShape;
//! use septum_render::{Frame, MediaType, RenderRequest, Renderer, SampleKind, Target, encode};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let header = Header::parse(&[], Encoding::ExplicitLittle)?;
//! let shape = FrameShape {
//!     rows: 2,
//!     columns: 2,
//!     samples_per_pixel: 1,
//!     bits_allocated: 8,
//!     bits_stored: 8,
//!     high_bit: 7,
//!     signed: false,
//!     planar: false,
//!     big_endian: false,
//! };
//! let frame = Frame { samples: &[0, 1, 2, 4], shape, photometric: "MONOCHROME2", kind: SampleKind::Integer };
//! let request = RenderRequest::parse(Target::Rendered, [("viewport", "4,4"), ("quality", "80")])?;
//! let image = Renderer::new(&header).render(0, &frame, &request)?;
//! let png = encode(&image, MediaType::Png, request.quality)?;
//! assert_eq!((image.width(), &png[1..4]), (4, &b"PNG"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `request` | query parameters |
//! | `renderer` | the order of the stages |
//! | `frame` | samples as numbers |
//! | `modality`, `voi`, `grayscale`, `lookup` | the grayscale pipeline |
//! | `palette`, `colour`, `supplement` | the colour pipelines; colours above a grayscale range |
//! | `shutter`, `overlay`, `state`, `graphics`, `spatial` | what covers, marks, crops and turns |
//! | `viewport`, `scale` | region and size |
//! | `annotation`, `font` | text about patient and technique |
//! | `icc` | colour profiles |
//! | `encode` | media types |
//!
//! Not rendered: text of presentation states, graphics in screen coordinates, blending. The first two are told by a
//! [`RenderWarning`]; of presentation states that blend there is no picture.

mod annotation;
mod attributes;
mod canvas;
mod colour;
mod deep;
mod encode;
mod error;
mod font;
mod frame;
mod graphics;
mod grayscale;
mod groups;
mod icc;
mod image;
mod lookup;
mod modality;
mod overlay;
mod palette;
mod renderer;
mod request;
mod scale;
mod shutter;
mod spatial;
mod state;
mod supplement;
#[cfg(test)]
mod testing;
mod viewport;
mod voi;

pub use deep::Deep;
pub use encode::{Animation, DecodedPng, MediaType, decode_png, encode};
pub use error::{RenderError, RenderWarning, RequestError};
pub use frame::{Frame, SampleKind};
pub use image::Image;
pub use renderer::Renderer;
pub use request::{
    Annotation, DEFAULT_QUALITY, IccProfileChoice, RenderRequest, THUMBNAIL_SIDE, Target, Viewport, Window, WindowShape,
};
pub use state::{PresentationState, ReferencedImage};

/// Most pixels of a source frame and of a picture: 128 Mi.
pub const MAX_OUTPUT_PIXELS: u64 = 1 << 27;
