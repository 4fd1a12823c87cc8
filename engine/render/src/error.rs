//! Why nothing is rendered.
//!
//! Invariant: messages name tags and numbers of pixels, never attribute values.

use dicom_core::Tag;

/// A query parameter that cannot be honoured: the client's fault (400).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The value of this parameter does not follow PS3.18 section 8.3.5.1.
    #[error("query parameter {0} is malformed")]
    Malformed(&'static str),
    /// The viewport has more pixels than [`crate::MAX_OUTPUT_PIXELS`] or a side above 65535.
    #[error("the viewport is too large")]
    TooLarge,
}

/// A frame that cannot be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The frame's bytes do not fit its description.
    #[error("the frame holds {actual} bytes where its attributes need {expected}")]
    FrameLength {
        /// Bytes that the attributes imply.
        expected: u64,
        /// Bytes at hand.
        actual: u64,
    },
    /// Photometric Interpretation (0028,0004) is not one that is rendered, or does not fit Samples per Pixel.
    #[error("this photometric interpretation is not rendered")]
    Photometric,
    /// The pixels have a form that is not rendered.
    #[error("not rendered: {0}")]
    Unsupported(&'static str),
    /// An attribute that the pipeline needs is missing or makes no sense.
    #[error("attribute ({:04X},{:04X}) is missing or unusable", .tag.0, .tag.1)]
    Attribute {
        /// The attribute.
        tag: (u16, u16),
    },
    /// The source or the result exceeds [`crate::MAX_OUTPUT_PIXELS`] pixels.
    #[error("the image has more than {} pixels", crate::MAX_OUTPUT_PIXELS)]
    TooLarge,
    /// The requested region lies outside of the image: the client's fault (400).
    #[error("the requested region lies outside of the image")]
    EmptyRegion,
    /// The encoder cannot write this image.
    #[error("the image cannot be written as {0}")]
    Encoding(&'static str),
}

impl RenderError {
    pub(crate) fn attribute(tag: Tag) -> Self {
        Self::Attribute { tag: (tag.0, tag.1) }
    }
}

/// Something that was asked for, or that belongs to the image, and was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RenderWarning {
    /// `annotation=` was asked for, and the picture has no room for it.
    #[error("the annotation finds no room in the picture")]
    AnnotationLeftOut,
    /// `annotation=` was asked for, and some letters of it are not those that are stored.
    #[error("letters of the annotation are shown without their accents, or as question marks")]
    AnnotationInOtherLetters,
    /// The presentation state has text, or graphics that are not drawn (PS3.3 section C.10.5).
    #[error("text or graphics of the presentation state are not drawn")]
    GraphicsLeftOut,
    /// A window was asked for an image that is not grayscale.
    #[error("the window does not apply to a colour image")]
    WindowIgnored,
    /// The ICC profile of the image is damaged or not one for RGB; nothing was embedded or converted.
    #[error("the image's ICC profile is unusable")]
    IccProfileUnusable,
    /// A supplemental palette (PS3.3 section C.7.6.19) cannot be read, or a presentation state takes its place, or that of
    /// an optical path's palette: the grayscale values are shown.
    #[error("the supplemental palette is not applied")]
    SupplementalPaletteLeftOut,
}
