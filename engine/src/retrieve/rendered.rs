//! Pictures of instances: decoded frames through the rendering pipeline, on the CPU pool.
//!
//! A presentation state is rendered as the first image that it applies to, shown as it says (PS3.18 section 10.4.1.1.3).

use std::sync::Arc;

use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::Header;
use septum_core::dicom::{HeaderBytes, PixelElement};
use septum_core::frame_shape::FrameShape;
use septum_render::{
    Animation, Deep, Frame, MediaType, PresentationState, RenderError, RenderRequest, RenderWarning, Renderer,
    SampleKind, encode,
};

use super::frames::Frames;
use super::stream::{header_of, pixels_of};
use super::{InstanceRef, StoredValue, Values};
use crate::error::{EngineError, Result};
use crate::services::Services;

/// What the UIDs of JPEG, JPEG-LS, JPEG 2000 and JPEG XL start with.
const JPEG_FAMILIES: &str = "1.2.840.10008.1.2.4.";

/// What the SOP Class UIDs of presentation states start with.
const PRESENTATION_STATES: &str = "1.2.840.10008.5.1.4.1.1.11.";

/// Most pixels of one animation, all frames together.
const ANIMATION_PIXELS_MAX: u64 = 512 << 20;

/// Most frames of one animation.
const ANIMATION_FRAMES_MAX: u32 = 2_000;

/// An encoded picture.
pub struct Picture {
    /// Its bytes in the media type asked for.
    pub bytes: Vec<u8>,
    /// What was left out.
    pub warnings: Vec<RenderWarning>,
}

/// The frames of one instance as pictures.
pub struct Pictures {
    services: Arc<Services>,
    header: Arc<Header>,
    state: Option<Arc<Header>>,
    frames: Arc<Frames>,
    shape: FrameShape,
    kind: SampleKind,
    first_frame: u32,
    hidden: Arc<[u32]>,
}

async fn read_header(services: &Arc<Services>, instance: &InstanceRef) -> Result<Header> {
    parsed(&header_of(services, instance).await?, instance)
}

fn parsed(header: &HeaderBytes, instance: &InstanceRef) -> Result<Header> {
    Header::from_bytes(header.elements(), instance.record.encoding.into())
        .map_err(|_| EngineError::NotAcceptable("the header of this instance cannot be read".to_owned()))
}

/// The index of the first of some frames, which are counted from 1; of none, that of all frames.
fn first_index(frames: &[u32]) -> u32 {
    frames.first().map_or(0, |number| number.saturating_sub(1))
}

/// The shape of native frames whose colour is subsampled (PS3.3 section C.7.6.3.1.2), which no codec here takes.
fn subsampled_shape(header: &Header) -> Option<FrameShape> {
    let short = |tag| {
        let bytes = header.get(tag)?.little_endian_bytes().first_chunk().copied()?;
        Some(u16::from_le_bytes(bytes))
    };
    let is_subsampled = header
        .text(tags::PHOTOMETRIC_INTERPRETATION)
        .is_some_and(|photometric| photometric.trim_end().ends_with("_422"));
    let bits_stored = short(tags::BITS_STORED)?;
    is_subsampled.then_some(FrameShape {
        rows: short(tags::ROWS)?.into(),
        columns: short(tags::COLUMNS)?.into(),
        samples_per_pixel: short(tags::SAMPLES_PER_PIXEL)?,
        bits_allocated: short(tags::BITS_ALLOCATED)?,
        bits_stored,
        high_bit: bits_stored.saturating_sub(1),
        signed: false,
        planar: false,
        big_endian: false,
    })
}

impl Pictures {
    /// Opens an instance.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`] where it has no pixels, or none that can be decoded.
    pub async fn open(services: &Arc<Services>, instance: &InstanceRef) -> Result<Self> {
        let header = read_header(services, instance).await?;
        let Ok(state) = PresentationState::new(&header) else {
            if instance.record.sop_class_uid.starts_with(PRESENTATION_STATES) {
                let text =
                    "this kind of presentation state is not rendered: only grayscale, color and pseudo-color ones are";
                return Err(EngineError::NotAcceptable(text.to_owned()));
            }
            return Self::of_image(services, instance, header, None, 0).await;
        };
        let shown = state
            .referenced_images()
            .into_iter()
            .next()
            .ok_or_else(|| EngineError::NotAcceptable("the presentation state names no image".to_owned()))?;
        let first_frame = first_index(&shown.frames);
        let (series_uid, instance_uid) = (&shown.series_instance_uid, &shown.sop_instance_uid);
        let image = match instance.study.instance(services, series_uid, instance_uid, None) {
            Err(EngineError::NotFound) => {
                let text = "the image that the presentation state applies to is not in this study";
                return Err(EngineError::NotAcceptable(text.to_owned()));
            }
            image => image?,
        };
        let image_header = read_header(services, &image).await?;
        Self::of_image(services, &image, image_header, Some(header), first_frame).await
    }

    /// Opens an image, whose SOP Instance UID is `image_uid`, as a presentation state shows it. None where `state` is no
    /// presentation state, or not one of this image.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_shown(
        services: &Arc<Services>,
        image: &InstanceRef,
        image_uid: &str,
        state: &InstanceRef,
    ) -> Result<Option<Self>> {
        let header = read_header(services, state).await?;
        let images = PresentationState::new(&header).map_or_else(|_| Vec::new(), |state| state.referenced_images());
        let Some(shown) = images.into_iter().find(|shown| shown.sop_instance_uid == image_uid) else {
            return Ok(None);
        };
        let image_header = read_header(services, image).await?;
        Self::of_image(services, image, image_header, Some(header), first_index(&shown.frames))
            .await
            .map(Some)
    }

    async fn of_image(
        services: &Arc<Services>,
        image: &InstanceRef,
        header: Header,
        state: Option<Header>,
        first_frame: u32,
    ) -> Result<Self> {
        let no_picture = |text: &str| EngineError::NotAcceptable(text.to_owned());
        let pixels = pixels_of(services, image)?.ok_or_else(|| no_picture("the instance has no pixels"))?;
        let kind = match pixels.record().description.element {
            PixelElement::Pixel => SampleKind::Integer,
            PixelElement::Float => SampleKind::Float,
            PixelElement::Double => SampleKind::Double,
        };
        let frames = Frames::native(services, pixels, image).await?;
        let mut shape = frames
            .description()
            .shape
            .or_else(|| subsampled_shape(&header))
            .ok_or_else(|| no_picture("the instance does not describe its pixels"))?;
        if let Some(decoded) = frames.decoded() {
            shape.samples_per_pixel = decoded.samples_per_pixel;
            shape.planar = decoded.planar;
            shape.bits_allocated = decoded.bits_allocated;
            // Decoders of the JPEG families put values at the low end of their words.
            if image.record.transfer_syntax_uid.starts_with(JPEG_FAMILIES) {
                shape.high_bit = shape.bits_stored.saturating_sub(1);
            }
        }
        if first_frame >= frames.num_frames() {
            return Err(no_picture(
                "the frame that the presentation state applies to is not there",
            ));
        }
        Ok(Self {
            services: Arc::clone(services),
            header: Arc::new(header),
            state: state.map(Arc::new),
            frames: Arc::new(frames),
            shape,
            kind,
            first_frame,
            hidden: Arc::default(),
        })
    }

    /// Leaves attributes out of annotations: their tags, group × 65536 + element.
    pub fn hiding(self, hidden: Arc<[u32]>) -> Self {
        Self { hidden, ..self }
    }

    /// Number of frames.
    pub fn num_frames(&self) -> u32 {
        self.frames.num_frames()
    }

    /// Columns of a frame.
    pub fn columns(&self) -> u32 {
        self.shape.columns
    }

    /// Rows of a frame.
    pub fn rows(&self) -> u32 {
        self.shape.rows
    }

    /// Index of the frame that stands for the instance: the presentation state's, else the first.
    pub fn first_frame(&self) -> u32 {
        self.first_frame
    }

    /// One frame, by index from 0.
    pub async fn frame(&self, index: u32, request: RenderRequest, media_type: MediaType) -> Result<Picture> {
        let samples = self.frames.native_frame(index).await?;
        let work = self.work(samples, index, request);
        self.services
            .compute
            .run(move || -> Result<Picture> {
                let image = work.image()?;
                Ok(Picture {
                    bytes: encode(&image, media_type, request.quality)?,
                    warnings: image.warnings().to_vec(),
                })
            })
            .await?
    }

    /// One grey frame in full depth, by index from 0; `None` where it is not grey.
    pub async fn deep(&self, index: u32) -> Result<Option<Deep>> {
        if self.kind != SampleKind::Integer {
            return Ok(None);
        }
        let samples = self.frames.native_frame(index).await?;
        let (shape, frames) = (self.shape, Arc::clone(&self.frames));
        self.services
            .compute
            .run(move || {
                let photometric = match frames.decoded() {
                    Some(decoded) => &decoded.photometric,
                    None => &frames.description().photometric,
                };
                Deep::new(&samples, &shape, photometric)
            })
            .await
    }

    /// All frames as one animated GIF.
    pub async fn animation(&self, request: RenderRequest) -> Result<Picture> {
        if self.num_frames() > ANIMATION_FRAMES_MAX {
            return Err(EngineError::NotAcceptable(
                "there are too many frames for one animation".to_owned(),
            ));
        }
        let num_frames = self.num_frames();
        let delay_ms = Renderer::new(&self.header).frame_delay_ms();
        let mut open: Option<(Animation, Vec<RenderWarning>)> = None;
        for index in 0..num_frames {
            let samples = self.frames.native_frame(index).await?;
            let work = self.work(samples, index, request);
            let before = open.take();
            let after = self.services.compute.run(move || -> Result<_> {
                let image = work.image()?;
                if image.width() as u64 * image.height() as u64 * u64::from(num_frames) > ANIMATION_PIXELS_MAX {
                    return Err(EngineError::NotAcceptable(
                        "the animation would be too large: ask for a smaller viewport".to_owned(),
                    ));
                }
                let (mut animation, warnings) = match before {
                    Some(before) => before,
                    None => (Animation::new(&image, delay_ms)?, image.warnings().to_vec()),
                };
                animation.push(&image)?;
                Ok((animation, warnings))
            });
            open = Some(after.await??);
        }
        let (animation, warnings) = open.ok_or(EngineError::NotFound)?;
        let bytes = animation.finish()?;
        Ok(Picture { bytes, warnings })
    }

    fn work(&self, samples: bytes::Bytes, index: u32, request: RenderRequest) -> Work {
        Work {
            header: Arc::clone(&self.header),
            state: self.state.clone(),
            frames: Arc::clone(&self.frames),
            samples,
            shape: self.shape,
            kind: self.kind,
            index,
            request,
            hidden: Arc::clone(&self.hidden),
        }
    }
}

/// What rendering one frame needs, on any thread.
struct Work {
    header: Arc<Header>,
    state: Option<Arc<Header>>,
    frames: Arc<Frames>,
    samples: bytes::Bytes,
    shape: FrameShape,
    kind: SampleKind,
    index: u32,
    request: RenderRequest,
    hidden: Arc<[u32]>,
}

impl Work {
    fn image(&self) -> Result<septum_render::Image, RenderError> {
        let photometric = match self.frames.decoded() {
            Some(decoded) => &decoded.photometric,
            None => &self.frames.description().photometric,
        };
        let frame = Frame {
            samples: &self.samples,
            shape: self.shape,
            photometric,
            kind: self.kind,
        };
        let mut renderer = Renderer::new(&self.header).hiding(&self.hidden);
        if let Some(state) = &self.state {
            renderer = renderer.with_presentation_state(PresentationState::new(state)?);
        }
        renderer.render(self.index, &frame, &self.request)
    }
}

/// A document inside a DICOM object (PS3.3 section C.24).
pub struct Document {
    /// MIME Type of Encapsulated Document (0042,0012), in lower case.
    pub media_type: String,
    /// Its bytes and what pads them.
    pub value: StoredValue,
    /// Bytes of it without padding.
    pub length: u64,
}

/// The document in an instance; none where it has no Encapsulated Document (0042,0011).
pub async fn document(services: &Arc<Services>, instance: &InstanceRef) -> Result<Option<Document>> {
    use septum_core::dicom::attributes::Value;
    let header_bytes = header_of(services, instance).await?;
    let values = Values::new(services, instance, &header_bytes)?;
    let header = parsed(&header_bytes, instance)?;
    let tag = tags::ENCAPSULATED_DOCUMENT;
    let value = match (
        values.position((tag.0, tag.1)),
        header.get(tag).map(|element| &element.value),
    ) {
        (Some(index), Some(_)) => StoredValue::Long {
            values: Box::new(values),
            index,
        },
        (None, Some(Value::Bytes(bytes))) => StoredValue::Held(bytes.clone()),
        _ => return Ok(None),
    };
    let media_type = header
        .text(tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT)
        .unwrap_or_default();
    // The value is padded to an even length, the document need not be (0042,0015).
    let length = header
        .integer(tags::ENCAPSULATED_DOCUMENT_LENGTH)
        .and_then(|length| u64::try_from(length).ok())
        .unwrap_or(value.length());
    Ok(Some(Document {
        media_type: media_type.trim().to_ascii_lowercase(),
        length: length.min(value.length()),
        value,
    }))
}
