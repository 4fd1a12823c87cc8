//! The splitter: a stream goes in, in pieces of any size; units of pixels and a header come out.

use bytes::Bytes;

use super::dataset::Dataset;
use super::description::is_non_patient;
use super::file_meta::{FileMeta, MetaReader};
use super::inflate::Inflater;
use super::instance::{SplitEvent, SplitInstance};
use super::limits::SplitLimits;
use super::rejection::{Rejection, RejectionKind};
use super::transfer_syntax::TransferSyntax;
use super::warning::Warnings;

enum Phase {
    Meta(MetaReader),
    Dataset(Box<Dataset>, Option<Inflater>),
}

/// Splits one DICOM object (PS3.10 file, or a bare dataset) while it arrives.
///
/// Memory is bounded by [`SplitLimits::header_bytes_max`] and one unit, whatever the object's size. The events that a push
/// gives are the caller's to take; units are numbered from 0 in the order of the payload. After a rejection every further
/// call gives it again.
pub struct Splitter {
    limits: SplitLimits,
    expected_length: Option<u64>,
    file_length: u64,
    warnings: Warnings,
    phase: Phase,
    failed: Option<Rejection>,
}

impl Splitter {
    /// A splitter for one object.
    pub fn new(limits: SplitLimits) -> Self {
        // Places in the header are kept in 32 bits.
        let header_bytes_max = limits.header_bytes_max.min(1 << 31);
        Self {
            limits: SplitLimits {
                header_bytes_max,
                ..limits
            },
            expected_length: None,
            file_length: 0,
            warnings: Warnings::default(),
            phase: Phase::Meta(MetaReader::default()),
            failed: None,
        }
    }

    /// Tells how many bytes the stream will have, so that a length that goes beyond its end is refused at once.
    pub fn with_expected_length(mut self, length: Option<u64>) -> Self {
        self.expected_length = length;
        self
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// The object is refused; it should be dropped.
    pub fn push(&mut self, mut bytes: Bytes, events: &mut Vec<SplitEvent>) -> Result<(), Rejection> {
        while !bytes.is_empty() {
            self.push_section(&mut bytes, events)?;
        }
        match self.failed {
            Some(rejection) => Err(rejection),
            None => Ok(()),
        }
    }

    /// As [`Self::push`], but where the header ends at pixels or at a long value, what lies behind is left in `bytes`: who
    /// pushes it again in a larger piece gets units that are slices of that piece.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_section(&mut self, bytes: &mut Bytes, events: &mut Vec<SplitEvent>) -> Result<(), Rejection> {
        if let Some(rejection) = self.failed {
            return Err(rejection);
        }
        let result = self.try_push(bytes, events);
        self.failed = result.err();
        result
    }

    fn try_push(&mut self, bytes: &mut Bytes, events: &mut Vec<SplitEvent>) -> Result<(), Rejection> {
        let start_length = self.file_length;
        let num_bytes = bytes.len();
        self.file_length += num_bytes as u64;
        if self.file_length > self.limits.instance_bytes_max {
            return Err(Rejection::new(RejectionKind::InstanceTooLarge, None, self.file_length));
        }
        self.push_phase(bytes, events)?;
        self.file_length = start_length + (num_bytes - bytes.len()) as u64;
        Ok(())
    }

    fn push_phase(&mut self, bytes: &mut Bytes, events: &mut Vec<SplitEvent>) -> Result<(), Rejection> {
        if let Phase::Meta(reader) = &mut self.phase {
            let pushed = reader.push(bytes, &self.limits, &mut self.warnings)?;
            let Some((meta, mut first)) = pushed else { return Ok(()) };
            // A directory is refused for what it is, however broken it may be further on.
            if meta
                .sop_class
                .as_deref()
                .is_some_and(|class| is_non_patient(class.as_bytes()))
            {
                return Err(Rejection::new(
                    RejectionKind::UnsupportedSopClass,
                    Some((0x0002, 0x0002)),
                    0,
                ));
            }
            self.start_dataset(meta);
            self.push_all(&mut first, events)?;
        }
        self.push_dataset(bytes, events)
    }

    fn start_dataset(&mut self, meta: FileMeta) {
        let deflated = meta.transfer_syntax.as_ref().is_some_and(TransferSyntax::is_deflated);
        let expected_length = self.expected_length.filter(|_| !deflated);
        let inflater = deflated.then(|| Inflater::new(self.limits));
        self.phase = Phase::Dataset(Box::new(Dataset::new(meta, self.limits, expected_length)), inflater);
    }

    fn push_all(&mut self, bytes: &mut Bytes, events: &mut Vec<SplitEvent>) -> Result<(), Rejection> {
        while !bytes.is_empty() {
            self.push_dataset(bytes, events)?;
        }
        Ok(())
    }

    fn push_dataset(&mut self, bytes: &mut Bytes, events: &mut Vec<SplitEvent>) -> Result<(), Rejection> {
        let Phase::Dataset(dataset, inflater) = &mut self.phase else {
            return Ok(());
        };
        match inflater {
            None => dataset.push_section(bytes, events, &mut self.warnings),
            Some(inflater) => inflater
                .push(&std::mem::take(bytes), &mut self.warnings, |mut bytes, warnings| {
                    while !bytes.is_empty() {
                        dataset
                            .push_section(&mut bytes, events, warnings)
                            .map_err(InflateError::Dataset)?;
                    }
                    Ok(())
                })
                .map_err(|error| match error {
                    InflateError::Stream(kind) => Rejection::new(kind, None, self.file_length),
                    InflateError::Dataset(rejection) => rejection,
                }),
        }
    }

    /// The stream is at its end.
    ///
    /// # Errors
    /// The object is refused: it is cut off, or it cannot be identified.
    pub fn finish(mut self, events: &mut Vec<SplitEvent>) -> Result<SplitInstance, Rejection> {
        if let Some(rejection) = self.failed {
            return Err(rejection);
        }
        if let Phase::Meta(reader) = &mut self.phase {
            let (meta, mut dataset) = std::mem::take(reader).finish(&self.limits, &mut self.warnings)?;
            self.start_dataset(meta);
            self.push_all(&mut dataset, events)?;
        }
        match self.phase {
            Phase::Dataset(dataset, inflater) => {
                if inflater.is_some_and(|inflater| !inflater.is_ended()) {
                    let kind = RejectionKind::Truncated { missing_bytes: 1 };
                    return Err(Rejection::new(kind, None, self.file_length));
                }
                dataset.finish(self.file_length, events, self.warnings)
            }
            // Not reached: the dataset was started above.
            Phase::Meta(_) => Err(Rejection::new(RejectionKind::NotDicom, None, 0)),
        }
    }
}

enum InflateError {
    Stream(RejectionKind),
    Dataset(Rejection),
}

impl From<RejectionKind> for InflateError {
    fn from(kind: RejectionKind) -> Self {
        Self::Stream(kind)
    }
}
