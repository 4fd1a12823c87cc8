//! Deflated datasets (PS3.5 section A.5, RFC 1951), inflated while they arrive, in bounded steps.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use super::limits::SplitLimits;
use super::rejection::RejectionKind;
use super::warning::{Warning, Warnings};

/// Inflated bytes given at a time.
const STEP_BYTES: usize = 64 << 10;
/// Inflated bytes before the ratio counts: small datasets may well be nothing but zeros.
const RATIO_FREE_BYTES: u64 = 1 << 20;

pub(super) struct Inflater {
    /// `None` until the first two bytes tell whether there is a zlib header.
    stream: Option<Decompress>,
    start: Vec<u8>,
    ended: bool,
    limits: SplitLimits,
}

impl Inflater {
    pub(super) fn new(limits: SplitLimits) -> Self {
        Self {
            stream: None,
            start: Vec::new(),
            ended: false,
            limits,
        }
    }

    /// Inflates `input` and gives the result in steps to `output`.
    pub(super) fn push<E: From<RejectionKind>>(
        &mut self,
        input: &[u8],
        warnings: &mut Warnings,
        mut output: impl FnMut(Bytes, &mut Warnings) -> Result<(), E>,
    ) -> Result<(), E> {
        let joined;
        let mut input = input;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty @ None => {
                self.start.extend_from_slice(input);
                if self.start.len() < 2 {
                    return Ok(());
                }
                let zlib = is_zlib(self.start[0], self.start[1]);
                if zlib {
                    warnings.add(Warning::ZlibWrapped);
                }
                joined = std::mem::take(&mut self.start);
                input = &joined;
                empty.insert(Decompress::new(zlib))
            }
        };
        while !self.ended {
            let mut step = vec![0; STEP_BYTES];
            let (num_in, num_out) = (stream.total_in(), stream.total_out());
            let status = stream
                .decompress(input, &mut step, FlushDecompress::None)
                .map_err(|_| RejectionKind::BadDeflate)?;
            input = &input[(stream.total_in() - num_in) as usize..];
            let inflated = stream.total_out();
            step.truncate((inflated - num_out) as usize);
            let allowed = stream
                .total_in()
                .saturating_mul(u64::from(self.limits.inflate_ratio_max));
            if inflated > RATIO_FREE_BYTES && inflated > allowed {
                return Err(RejectionKind::InflateBomb.into());
            }
            let done = step.is_empty();
            if !done {
                output(step.into(), warnings)?;
            }
            match status {
                Status::StreamEnd => self.ended = true,
                Status::Ok | Status::BufError if done => return Ok(()),
                Status::Ok | Status::BufError => {}
            }
        }
        // PS3.5 section A.5: a single NUL may pad the stream to even length.
        if !input.is_empty() && input != [0] {
            warnings.add(Warning::BytesAfterDeflate);
        }
        Ok(())
    }

    /// Whether the stream has ended, as it must at the end of the object.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }
}

/// A zlib header (RFC 1950 section 2.2). As raw deflate its first byte would be a stored block with junk in the padding.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0F == 8 && first >> 4 <= 7 && second & 0x20 == 0 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}
