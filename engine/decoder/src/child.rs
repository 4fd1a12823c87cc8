//! The child's side: confines itself, then decodes frame after frame until its standard input ends.

use crate::decode::{DecodeRequest, Decoded, MAX_FRAME_BYTES};
use crate::error::{Damage, DecodeError};
use crate::wire::{AnswerHeader, Limits, MAX_HEADER_BYTES, Outcome, RequestHeader, framed};
use crate::{decode, sandbox};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The whole life of a decoder child: the server's hidden subcommand for children calls nothing else, before any thread
/// is started and any secret is read.
///
/// Reads its limits and then requests from standard input, answers on standard output, and ends with status 0 when
/// standard input ends. Ends with another status, or by a signal, when it cannot confine itself, when decoding panics,
/// and at the first system call that is not needed for computing.
pub fn run_child() -> ! {
    run_child_with(decode)
}

/// [`run_child`] with another decoder: tests pass ones that misbehave.
#[doc(hidden)]
pub fn run_child_with(decoder: impl Fn(&DecodeRequest) -> std::result::Result<Decoded, DecodeError>) -> ! {
    // A panic message could hold pixel values, and printing it is a forbidden system call.
    std::panic::set_hook(Box::new(|_| {}));
    let served = catch_unwind(AssertUnwindSafe(|| serve(&decoder)));
    std::process::exit(match served {
        Ok(Ok(())) => 0,
        Ok(Err(_)) => 1,
        Err(_) => 101,
    })
}

fn serve(decoder: &impl Fn(&DecodeRequest) -> std::result::Result<Decoded, DecodeError>) -> Result<()> {
    let mut limits = [0; 16];
    StandardInput.read_exact(&mut limits)?;
    sandbox::confine(Limits::from_bytes(limits))?;
    while let Some((serial, request)) = read_request(&mut StandardInput)? {
        let (outcome, samples) = match decoder(&request) {
            Ok(decoded) => {
                let outcome = Outcome::Decoded {
                    became_rgb: decoded.photometric != request.photometric,
                    planar: decoded.planar,
                    samples_per_pixel: decoded.samples_per_pixel,
                    bits_allocated: decoded.bits_allocated,
                    num_bytes: decoded.samples.len() as u64,
                };
                (outcome, decoded.samples)
            }
            Err(DecodeError::Damaged(damage)) => (Outcome::Damaged(damage), Vec::new()),
            Err(_) => (Outcome::Unsupported, Vec::new()),
        };
        let header = framed(&AnswerHeader { serial, outcome }).ok_or(ErrorKind::InvalidData)?;
        StandardOutput.write_all(&header)?;
        StandardOutput.write_all(&samples)?;
    }
    Ok(())
}

/// The next request with its serial number, or `None` at the end of the input.
fn read_request(input: &mut impl Read) -> Result<Option<(u64, DecodeRequest)>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut header = vec![0; length];
    input.read_exact(&mut header)?;
    let header: RequestHeader = postcard::from_bytes(&header).map_err(|_| ErrorKind::InvalidData)?;
    if header.frame_bytes > MAX_FRAME_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    let frame_bytes = usize::try_from(header.frame_bytes).map_err(|_| ErrorKind::InvalidData)?;
    let mut frame = Vec::new();
    frame
        .try_reserve_exact(frame_bytes)
        .map_err(|_| Error::from(ErrorKind::OutOfMemory))?;
    frame.resize(frame_bytes, 0);
    input.read_exact(&mut frame)?;
    let RequestHeader {
        serial,
        transfer_syntax,
        layout,
        photometric,
        ..
    } = header;
    Ok(Some((
        serial,
        DecodeRequest {
            transfer_syntax,
            layout,
            photometric,
            frame,
        },
    )))
}

/// Standard input without the standard library's lock and buffer.
struct StandardInput;

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

/// Standard output without the standard library's line buffer.
struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), buffer)?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The damage a request shows before any child sees it.
pub(crate) fn check_request(request: &DecodeRequest) -> std::result::Result<usize, DecodeError> {
    let length = request.layout.frame_length().ok_or(Damage::Shape)?;
    if request.frame.len() as u64 > MAX_FRAME_BYTES {
        return Err(Damage::Shape.into());
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_lie_are_refused() {
        let check = |bytes: &[u8], expected: ErrorKind| {
            let outcome = read_request(&mut &bytes[..]).map(|_| ());
            assert_eq!(outcome.map_err(|error| error.kind()), Err(expected));
        };
        check(&u32::MAX.to_le_bytes(), ErrorKind::InvalidData);
        check(&[4, 0, 0, 0, 1], ErrorKind::UnexpectedEof);
        check(&[1, 0, 0, 0, 1], ErrorKind::InvalidData);
        assert!(read_request(&mut &[][..]).is_ok_and(|request| request.is_none()));
    }
}
