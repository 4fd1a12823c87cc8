//! Header bytes compressed against a template: the hundreds of near-identical headers of a series become small.
//!
//! Format: one version byte, then
//!
//! | version | rest |
//! |---|---|
//! | 0 | the header as it is |
//! | 1 | LZ4 block |
//! | 2 | first 4 bytes of BLAKE3 of the template, LZ4 block with the template's last 64 KiB as dictionary |
//!
//! The four bytes catch a mixed-up template; they lie inside sealed bytes like the rest.

use super::Codec;
use super::entropy::{lz4_compress, lz4_decompress};
use super::error::CodecError;

const VERSION_STORED: u8 = 0;
const VERSION_LZ4: u8 = 1;
const VERSION_TEMPLATE: u8 = 2;

/// How far back an LZ4 match reaches, and so how much of a template is of use.
const WINDOW_BYTES: usize = 64 * 1024;

const CHECK_LENGTH: usize = 4;

/// Longest header that is compressed, in bytes; longer ones are stored as they are.
const HEADER_LENGTH_MAX: usize = 1 << 30;

/// Compresses `header` against `template`, or alone where there is none or it does not help; as it is where nothing
/// helps. The result is at most one byte longer than the header and was proved to decompress to it.
pub fn compress_with_template(template: Option<&[u8]>, header: &[u8]) -> Vec<u8> {
    let candidates = [template.and_then(|template| against(template, header)), alone(header)];
    let smallest = candidates.into_iter().flatten().min_by_key(Vec::len);
    match smallest {
        Some(bytes)
            if bytes.len() <= header.len()
                && decompress_with_template(template, &bytes, header.len()).is_ok_and(|back| back == header) =>
        {
            bytes
        }
        _ => [&[VERSION_STORED], header].concat(),
    }
}

/// Inverse of [`compress_with_template`], into exactly `length` bytes; takes no more memory than that.
///
/// `template` must be the one given then; it may be given also where the header turned out to stand alone.
pub fn decompress_with_template(
    template: Option<&[u8]>,
    compressed: &[u8],
    length: usize,
) -> Result<Vec<u8>, CodecError> {
    let (&version, rest) = compressed.split_first().ok_or(CodecError::Truncated)?;
    if version != VERSION_STORED && length > HEADER_LENGTH_MAX {
        return Err(CodecError::TooLong(length));
    }
    match version {
        VERSION_STORED if rest.len() == length => Ok(rest.to_vec()),
        VERSION_STORED => Err(CodecError::Length { expected: length }),
        VERSION_LZ4 => lz4_decompress(Codec::Lz4, rest, length),
        VERSION_TEMPLATE => {
            let (stored, block) = rest.split_first_chunk::<CHECK_LENGTH>().ok_or(CodecError::Truncated)?;
            let template = template.ok_or(CodecError::TemplateMissing)?;
            if *stored != check(template) {
                return Err(CodecError::TemplateMismatch);
            }
            let mut out = vec![0; length];
            match lz4_flex::block::decompress_into_with_dict(block, &mut out, tail(template)) {
                Ok(written) if written == length => Ok(out),
                Ok(_) => Err(CodecError::Length { expected: length }),
                Err(_) => Err(CodecError::Malformed(Codec::Lz4)),
            }
        }
        _ => Err(CodecError::TemplateVersion(version)),
    }
}

fn alone(header: &[u8]) -> Option<Vec<u8>> {
    (header.len() <= HEADER_LENGTH_MAX).then(|| {
        let mut out = vec![VERSION_LZ4];
        lz4_compress(header, &mut out);
        out
    })
}

fn against(template: &[u8], header: &[u8]) -> Option<Vec<u8>> {
    (header.len() <= HEADER_LENGTH_MAX && !template.is_empty()).then(|| {
        let block = lz4_flex::block::compress_with_dict(header, tail(template));
        [&[VERSION_TEMPLATE], &check(template)[..], &block].concat()
    })
}

fn tail(template: &[u8]) -> &[u8] {
    &template[template.len().saturating_sub(WINDOW_BYTES)..]
}

fn check(template: &[u8]) -> [u8; CHECK_LENGTH] {
    blake3::hash(template)
        .as_bytes()
        .first_chunk()
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(instance: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for element in 0..200_usize {
            out.extend_from_slice(format!("(0018,{element:04x})LO value {} ", element * element).as_bytes());
        }
        out.extend_from_slice(format!("instance {instance}").as_bytes());
        out
    }

    #[test]
    fn a_similar_header_becomes_small() {
        let (template, header) = (header(1), header(2));
        let compressed = compress_with_template(Some(&template), &header);
        assert_eq!(compressed[0], VERSION_TEMPLATE);
        assert!(compressed.len() < 64, "{} bytes", compressed.len());
        assert_eq!(
            decompress_with_template(Some(&template), &compressed, header.len()),
            Ok(header)
        );
    }

    #[test]
    fn golden_forms() {
        let check = |template: Option<&[u8]>, header: &[u8], expected: &[u8]| {
            let compressed = compress_with_template(template, header);
            assert_eq!(compressed, expected);
            assert_eq!(
                decompress_with_template(template, &compressed, header.len()).unwrap(),
                header
            );
        };
        check(None, b"", &[0]);
        check(None, b"abc", b"\0abc");
        check(None, &[7; 40], &[1, 0x1F, 7, 1, 0, 14, 0x60, 7, 7, 7, 7, 7, 7]);
        check(
            Some(b"0123456789abcdefghijklmnopqrstuv"),
            b"0123456789abcdefghijklmnopqrstuv",
            &GOLDEN_TEMPLATE,
        );
    }

    const GOLDEN_TEMPLATE: [u8; 16] = [2, 160, 130, 161, 89, 15, 32, 0, 7, 96, 113, 114, 115, 116, 117, 118];

    #[test]
    fn mistakes_are_named() {
        let (template, header) = (header(1), header(2));
        let compressed = compress_with_template(Some(&template), &header);
        let check = |template: Option<&[u8]>, compressed: &[u8], length, expected| {
            assert_eq!(decompress_with_template(template, compressed, length), Err(expected));
        };
        check(None, &compressed, header.len(), CodecError::TemplateMissing);
        check(
            Some(b"another"),
            &compressed,
            header.len(),
            CodecError::TemplateMismatch,
        );
        check(
            Some(&template),
            &compressed,
            header.len() + 1,
            CodecError::Length {
                expected: header.len() + 1,
            },
        );
        check(
            Some(&template),
            &compressed,
            header.len() - 1,
            CodecError::Malformed(Codec::Lz4),
        );
        check(None, &[], 0, CodecError::Truncated);
        check(Some(&template), &[2, 0, 0], 5, CodecError::Truncated);
        check(None, &[3], 0, CodecError::TemplateVersion(3));
        check(None, &[0, 1], 2, CodecError::Length { expected: 2 });
    }

    proptest! {
        #[test]
        fn round_trip(
            template in prop::option::of(prop::collection::vec(0_u8..4, 0..300)),
            repeat in 1_usize..400,
            header in prop::collection::vec(0_u8..4, 0..300),
            mutation in any::<(prop::sample::Index, u8)>(),
        ) {
            // Long enough, at times, to reach beyond the window.
            let template = template.map(|template| template.repeat(repeat));
            let mut compressed = compress_with_template(template.as_deref(), &header);
            prop_assert!(compressed.len() <= header.len() + 1);
            prop_assert_eq!(&decompress_with_template(template.as_deref(), &compressed, header.len()).unwrap(), &header);
            let at = mutation.0.index(compressed.len());
            compressed[at] ^= mutation.1;
            if let Ok(bytes) = decompress_with_template(template.as_deref(), &compressed, header.len()) {
                prop_assert_eq!(bytes.len(), header.len());
            }
        }
    }
}
