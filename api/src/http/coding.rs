//! Content codings of request bodies (RFC 9110 section 8.4): `gzip`, `deflate` and `zstd`, undone bit by bit.
//!
//! Owns the decoders and the bounds on what may come out. Invariants (6): one [`Decoder::step`] gives at most about
//! [`STEP_BYTES`], whatever a few bytes expand to; the whole may expand to a set multiple of what came in; the window of
//! `zstd` has at most 8 MiB (RFC 9659). A body that ends inside its coding is an error, never a short body.

use std::io::Write;

use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as RawZstd, InBuffer, Operation, OutBuffer};

/// About what one step gives.
pub const STEP_BYTES: usize = 64 << 10;

/// Base-2 logarithm of the longest window of `zstd` (RFC 9659 section 3).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// So much may come out before the ratio counts: blank images compress without end.
const RATIO_FREE_BYTES: u64 = 16 << 20;

/// What a body may be coded in, for `Accept-Encoding`.
pub const TAKEN: &str = "gzip, deflate, zstd";

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// None.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950; what leaves out its wrapper (RFC 1951 alone) is read too, as some clients send it.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Reads `Content-Encoding`. `None` for an unknown coding, and for several one around the other.
    pub fn parse(text: &str) -> Option<Self> {
        let mut found = Self::Identity;
        for name in text.split(',') {
            let coding = match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Self::Gzip,
                "deflate" => Self::Deflate,
                "zstd" => Self::Zstd,
                _ => return None,
            };
            if found != Self::Identity {
                return None;
            }
            found = coding;
        }
        Some(found)
    }
}

/// Why a coded body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// Not in the coding, or it ends too early.
    #[error("the body is not in its content coding")]
    Malformed,
    /// It expands beyond the allowed ratio.
    #[error("the body expands more than allowed")]
    Bomb,
}

enum Inner {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// Which of the two it is, its first two bytes tell.
    DeflateStart(Vec<u8>),
    Deflate {
        state: Box<Decompress>,
        ended: bool,
    },
    Zstd {
        state: Box<RawZstd<'static>>,
        ended: bool,
    },
}

/// Undoes one coding.
pub struct Decoder {
    inner: Inner,
    ratio_max: u64,
    in_bytes: u64,
    out_bytes: u64,
}

impl Decoder {
    /// A decoder; `None` for [`Coding::Identity`]. `ratio_max` is the most bytes out of one byte, once 16 MiB are out.
    pub fn new(coding: Coding, ratio_max: u32) -> Option<Self> {
        let inner = match coding {
            Coding::Identity => return None,
            Coding::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Deflate => Inner::DeflateStart(Vec::new()),
            Coding::Zstd => {
                let mut state = RawZstd::new().ok()?;
                state
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
                    .ok()?;
                Inner::Zstd {
                    state: Box::new(state),
                    ended: false,
                }
            }
        };
        Some(Self {
            inner,
            ratio_max: u64::from(ratio_max),
            in_bytes: 0,
            out_bytes: 0,
        })
    }

    /// Decodes the start of `input`. Answers how much of it was used, and what came out. Call it again with the rest,
    /// also when nothing is left of it, until nothing was used and nothing came out.
    ///
    /// # Errors
    /// [`CodingError`]; nothing comes after it.
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, Vec<u8>), CodingError> {
        let (used, output) = self.decode(input).ok_or(CodingError::Malformed)?;
        self.in_bytes += used as u64;
        self.out_bytes += output.len() as u64;
        let allowed = self.in_bytes.saturating_mul(self.ratio_max).max(RATIO_FREE_BYTES);
        if self.out_bytes > allowed {
            return Err(CodingError::Bomb);
        }
        Ok((used, output))
    }

    fn decode(&mut self, input: &[u8]) -> Option<(usize, Vec<u8>)> {
        match &mut self.inner {
            Inner::Gzip(state) => {
                let used = if input.is_empty() { 0 } else { state.write(input).ok()? };
                Some((used, std::mem::take(state.get_mut())))
            }
            Inner::DeflateStart(start) => {
                let used = input.len().min(2 - start.len());
                start.extend_from_slice(&input[..used]);
                let [first, second] = start[..] else {
                    return Some((used, Vec::new()));
                };
                let has_wrapper = first & 0x0F == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31);
                let mut state = Box::new(Decompress::new(has_wrapper));
                let mut output = Vec::with_capacity(STEP_BYTES);
                let status = state
                    .decompress_vec(&[first, second], &mut output, FlushDecompress::None)
                    .ok()?;
                let ended = status == Status::StreamEnd;
                if state.total_in() != 2 && !ended {
                    return None;
                }
                self.inner = Inner::Deflate { state, ended };
                Some((used, output))
            }
            Inner::Deflate { ended: true, .. } => input.is_empty().then(|| (0, Vec::new())),
            Inner::Deflate { state, ended } => {
                let mut output = Vec::with_capacity(STEP_BYTES);
                let before = state.total_in();
                // Without input there may still be output; then an error says that there is none.
                match state.decompress_vec(input, &mut output, FlushDecompress::None).ok()? {
                    Status::StreamEnd => *ended = true,
                    Status::Ok | Status::BufError => {}
                }
                Some(((state.total_in() - before) as usize, output))
            }
            Inner::Zstd { state, ended } => {
                let mut output = vec![0; STEP_BYTES];
                let mut source = InBuffer::around(input);
                let mut target = OutBuffer::around(output.as_mut_slice());
                if input.is_empty() && *ended {
                    return Some((0, Vec::new()));
                }
                let hint = state.run(&mut source, &mut target).ok()?;
                let (used, length) = (source.pos(), target.pos());
                // Nothing left of a frame: the next byte, if any, starts another.
                *ended = hint == 0;
                output.truncate(length);
                Some((used, output))
            }
        }
    }

    /// The body is complete: what is left, if the coding is too.
    ///
    /// # Errors
    /// [`CodingError::Malformed`] where it is not.
    pub fn finish(&mut self) -> Result<Vec<u8>, CodingError> {
        match &mut self.inner {
            Inner::Gzip(state) => {
                state.try_finish().map_err(|_| CodingError::Malformed)?;
                Ok(std::mem::take(state.get_mut()))
            }
            Inner::Deflate { ended: true, .. } | Inner::Zstd { ended: true, .. } => Ok(Vec::new()),
            Inner::DeflateStart(_) | Inner::Deflate { .. } | Inner::Zstd { .. } => Err(CodingError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn all(coding: Coding, body: &[u8], chunk: usize) -> Result<Vec<u8>, CodingError> {
        let mut decoder = Decoder::new(coding, 200).expect("a coding");
        let mut whole = Vec::new();
        for mut input in body.chunks(chunk).chain([&[][..]]) {
            loop {
                let (used, output) = decoder.step(input)?;
                assert!(output.len() <= 3 * STEP_BYTES, "{} at once", output.len());
                whole.extend_from_slice(&output);
                input = &input[used..];
                if used == 0 && output.is_empty() {
                    assert!(input.is_empty(), "nothing moves");
                    break;
                }
            }
        }
        whole.extend_from_slice(&decoder.finish()?);
        Ok(whole)
    }

    fn coded(coding: Coding, text: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        let mut out = Vec::new();
        match coding {
            Coding::Identity => out.extend_from_slice(text),
            Coding::Gzip => drop(flate2::read::GzEncoder::new(text, level).read_to_end(&mut out)),
            Coding::Deflate => drop(flate2::read::ZlibEncoder::new(text, level).read_to_end(&mut out)),
            Coding::Zstd => out = zstd::encode_all(text, 3).expect("encodes"),
        }
        out
    }

    const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Zstd];

    #[test]
    fn names_are_read() {
        for (text, expected) in [
            ("", Some(Coding::Identity)),
            ("identity", Some(Coding::Identity)),
            ("gzip", Some(Coding::Gzip)),
            ("X-GZip", Some(Coding::Gzip)),
            ("deflate", Some(Coding::Deflate)),
            ("identity, zstd", Some(Coding::Zstd)),
            ("br", None),
            ("gzip, gzip", None),
        ] {
            assert_eq!(Coding::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_was_coded_comes_back() {
        let text: Vec<u8> = (0..3_000_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .take(3_000_000)
            .collect();
        for text in [&text[..], b"x", b""] {
            for coding in CODINGS {
                let body = coded(coding, text);
                for chunk in [1, 7, 4096, body.len().max(1)] {
                    if chunk == 1 && text.len() > 1000 {
                        continue;
                    }
                    assert!(all(coding, &body, chunk).as_deref() == Ok(text), "{coding:?} {chunk}");
                }
            }
        }
    }

    #[test]
    fn without_its_wrapper() {
        let mut body = Vec::new();
        flate2::read::DeflateEncoder::new(&b"some text"[..], flate2::Compression::default())
            .read_to_end(&mut body)
            .expect("encodes");
        assert_eq!(all(Coding::Deflate, &body, 1).as_deref(), Ok(&b"some text"[..]));
    }

    #[test]
    fn what_is_cut_or_broken_is_refused() {
        let text: Vec<u8> = (0..100_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for coding in CODINGS {
            let body = coded(coding, &text);
            for cut in [0, 1, 2, body.len() / 2, body.len() - 1] {
                let outcome = all(coding, &body[..cut], 4096);
                // A body of no bytes is a gzip file of no members, and one of no zstd frames.
                assert!(outcome.is_err() || cut == 0, "{coding:?} cut at {cut}");
            }
            assert_eq!(
                all(coding, b"this is not compressed", 4096),
                Err(CodingError::Malformed)
            );
        }
    }

    #[test]
    fn bombs_are_stopped() {
        let zeros = vec![0; 64 << 20];
        for coding in CODINGS {
            assert_eq!(
                all(coding, &coded(coding, &zeros), 4096),
                Err(CodingError::Bomb),
                "{coding:?}"
            );
        }
    }
}
