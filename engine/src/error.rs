//! The engine's one error type.
//!
//! *Failures* are ours; what is wrong with a sender's instance is a [`Rejection`] and travels in the receipt of that
//! instance, never as an error of the whole request. Corrupt never becomes not found (invariant 7).

use septum_core::dicom::Rejection;
use septum_core::seal::SealError;
use septum_storage::StorageError;

/// What a caller may do about an [`EngineError`]; the doors map statuses from this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing of that name is visible to the caller.
    NotFound,
    /// The request contradicts what is stored.
    Conflict,
    /// No form that the caller accepts can be made.
    NotAcceptable,
    /// The sender's data cannot be taken.
    Rejected,
    /// Too much work at the moment; again later.
    Overloaded,
    /// The disk is full.
    DiskFull,
    /// A part of the server is not working; again later.
    Unavailable,
    /// Stored bytes do not pass their own check.
    Corrupt,
}

/// Anything that stops the engine from doing what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// See [`ErrorKind::NotFound`].
    #[error("not found")]
    NotFound,
    /// See [`ErrorKind::Conflict`].
    #[error("{0}")]
    Conflict(&'static str),
    /// See [`ErrorKind::NotAcceptable`]; the text says why.
    #[error("{0}")]
    NotAcceptable(String),
    /// The instance was refused.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No credit or permit came free in time.
    #[error("too much work in flight, try again in {retry_after_seconds} s")]
    Overloaded {
        /// When trying again makes sense.
        retry_after_seconds: u32,
    },
    /// The pipeline generation that held the work ended.
    #[error("the pipeline restarted while it held this instance")]
    PipelineRestarted,
    /// The input is in quarantine: it made processing panic twice.
    #[error("this input is quarantined: processing failed on it twice")]
    Quarantined,
    /// A pure function panicked; the input is noted as poison.
    #[error("processing failed inside the server")]
    Panicked,
    /// An unusable stored value: which kind of row or object.
    #[error("stored {0} is corrupt")]
    Corrupt(&'static str),
    /// The audit log cannot take entries, so nothing may be read (invariant 8).
    #[error("the audit log does not accept entries")]
    AuditUnavailable,
    /// Sealed bytes did not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The storage layer failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The decoder child could not decode a foreign frame.
    #[error("the frame cannot be decoded: {0}")]
    Decode(String),
    /// The frame cannot be rendered.
    #[error(transparent)]
    Render(#[from] septum_render::RenderError),
    /// A file of ours could not be used.
    #[error("{what}: {source}")]
    File {
        /// Which file, by its purpose.
        what: &'static str,
        /// The operating system's word.
        source: std::io::Error,
    },
}

impl EngineError {
    /// What a caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            // Nothing here decodes or shows it: the client may still have the original.
            Self::NotAcceptable(_) | Self::Render(_) | Self::Decode(_) => ErrorKind::NotAcceptable,
            Self::Rejected(_) | Self::Quarantined => ErrorKind::Rejected,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::Corrupt(_) | Self::Seal(_) => ErrorKind::Corrupt,
            Self::Storage(StorageError::NoSpace) => ErrorKind::DiskFull,
            Self::Storage(StorageError::Overloaded) => ErrorKind::Overloaded,
            // A row named an object that is not there.
            Self::Storage(StorageError::NotFound) => ErrorKind::Corrupt,
            Self::Storage(error) if error.is_corrupt() => ErrorKind::Corrupt,
            Self::PipelineRestarted
            | Self::Panicked
            | Self::AuditUnavailable
            | Self::Storage(_)
            | Self::File { .. } => ErrorKind::Unavailable,
        }
    }
}

impl EngineError {
    /// Whether a commit that answered this is sure to have changed nothing. After a failed sync only the next start
    /// tells, so what the commit named must be left as it is.
    pub fn left_all_as_it_was(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_transient() || matches!(error, StorageError::TooLarge { .. }),
            Self::Panicked => false,
            _ => true,
        }
    }
}

/// The engine's result.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;
