//! The border to C++: the only `unsafe` of this crate, three calls.
//!
//! What the shim (`shim.cc`) promises and this module relies on:
//! - it reads `image` and the sample or codestream bytes only within the lengths given, writes only within the
//!   capacities given, and keeps no pointer beyond the call but in the handle;
//! - no exception leaves it; each function returns a code and leaves a NUL-terminated message;
//! - it may be called from any number of threads at once.
//!
//! OpenJPH 0.9 itself is C++ that has not been hardened against hostile codestreams: with those, the first promise is
//! only as good as the library. Hence the rule in the crate's docs about what may be decoded where.
#![allow(unsafe_code)]

use crate::{Error, Image};
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

#[repr(C)]
struct RawImage {
    width: u32,
    height: u32,
    components: u32,
    bit_depth: u32,
    is_signed: u32,
}

impl From<&Image> for RawImage {
    fn from(image: &Image) -> Self {
        Self {
            width: image.width,
            height: image.height,
            components: image.components.into(),
            bit_depth: image.bit_depth.into(),
            is_signed: image.signed.into(),
        }
    }
}

unsafe extern "C" {
    fn septum_htj2k_encode(
        image: *const RawImage,
        samples: *const u8,
        sample_bytes: usize,
        is_planar: usize,
        num_decompositions: u32,
        handle: *mut *mut c_void,
        bytes: *mut *const u8,
        length: *mut usize,
        message: *mut c_char,
        message_capacity: usize,
    ) -> c_int;
    fn septum_htj2k_release(handle: *mut c_void);
    fn septum_htj2k_decode(
        bytes: *const u8,
        length: usize,
        image: *const RawImage,
        samples: *mut u8,
        capacity: usize,
        message: *mut c_char,
        message_capacity: usize,
    ) -> c_int;
}

const MESSAGE_CAPACITY: usize = 200;

fn checked(code: c_int, message: [u8; MESSAGE_CAPACITY]) -> Result<(), Error> {
    let text = message.split(|&byte| byte == 0).next().unwrap_or_default();
    match code {
        0 => Ok(()),
        2 => Err(Error::SampleRange),
        3 => Err(Error::OutOfMemory),
        4 => Err(Error::Unsupported("header and library disagree")),
        _ => Err(Error::Library(String::from_utf8_lossy(text).into_owned())),
    }
}

/// Encodes; `samples` must be exactly the image's length with `sample_bytes` (1 or 2) bytes a sample: checked again
/// here, because memory safety hangs on it.
pub(crate) fn encode(
    image: &Image,
    samples: &[u8],
    sample_bytes: usize,
    planar: bool,
    num_decompositions: u32,
) -> Result<Vec<u8>, Error> {
    if !matches!(sample_bytes, 1 | 2)
        || image.num_samples().checked_mul(sample_bytes as u64) != Some(samples.len() as u64)
    {
        return Err(Error::SamplesLength);
    }
    let raw = RawImage::from(image);
    let mut handle = ptr::null_mut();
    let (mut bytes, mut length) = (ptr::null(), 0);
    let mut message = [0; MESSAGE_CAPACITY];
    // SAFETY: all pointers are to live locals or to `samples`, whose length was checked against what the shim reads:
    // width * height * components * sample_bytes.
    let code = unsafe {
        septum_htj2k_encode(
            &raw,
            samples.as_ptr(),
            sample_bytes,
            planar.into(),
            num_decompositions,
            &mut handle,
            &mut bytes,
            &mut length,
            message.as_mut_ptr().cast(),
            message.len(),
        )
    };
    checked(code, message)?;
    // SAFETY: on success the handle owns `length` initialised bytes at `bytes` (a non-empty vector: it holds at least
    // the headers) until it is released, which happens once, after the copy; nothing in between can panic but an
    // allocation failure, which aborts.
    unsafe {
        let codestream = std::slice::from_raw_parts(bytes, length).to_vec();
        septum_htj2k_release(handle);
        Ok(codestream)
    }
}

/// Decodes into the samples of `image`, which was read from the codestream's SIZ.
pub(crate) fn decode(codestream: &[u8], image: &Image) -> Result<Vec<u8>, Error> {
    let raw = RawImage::from(image);
    let length = usize::try_from(image.decoded_length()).map_err(|_| Error::OutOfMemory)?;
    let mut samples = vec![0; length];
    let mut message = [0; MESSAGE_CAPACITY];
    // SAFETY: all pointers are to live locals, to `codestream` or to `samples`, each passed with its length; the shim
    // writes only if the capacity equals what it is about to write.
    let code = unsafe {
        septum_htj2k_decode(
            codestream.as_ptr(),
            codestream.len(),
            &raw,
            samples.as_mut_ptr(),
            samples.len(),
            message.as_mut_ptr().cast(),
            message.len(),
        )
    };
    checked(code, message)?;
    Ok(samples)
}
