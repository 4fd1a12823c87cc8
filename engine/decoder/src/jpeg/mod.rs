//! JPEG (ITU-T T.81) in safe Rust: baseline, extended sequential and progressive DCT with 8 or 12 bits, and lossless
//! (process 14, all predictors) with 2 to 16 bits; Huffman coding only.
//!
//! Arithmetic of the DCT, the chroma upsampling and the colour transform is that of the Independent JPEG Group's
//! library in its default (accurate integer, "fancy" upsampling) mode, bit for bit: other readers show the same values.
//! Its own decoder because jpeg-decoder and zune-jpeg, the safe ones in use elsewhere, do no 12-bit DCT.

mod bits;
mod colour;
mod dct;
mod huffman;
mod idct;
mod lossless;
mod markers;
mod progressive;
#[cfg(test)]
mod tests;
mod upsample;

use crate::decode::{CodecError, FrameLayout, Output};
use crate::error::Damage;
use crate::samples::Packer;
use markers::{Process, Reader, Segment};

/// One component, decoded to the image's full size.
pub(crate) struct Plane {
    /// Row by row, `columns` wide.
    samples: Vec<u16>,
}

/// Decodes one JPEG image into interleaved samples of the layout's shape.
///
/// Colour (PS3.5 section 8.2.1): YCbCr of the DCT processes comes out as RGB and Photometric Interpretation says so;
/// lossless streams are not transformed. Which of both a DCT stream holds is told by, in this order: the Adobe APP14
/// segment, component identifiers "RGB", the JFIF APP0 segment, Photometric Interpretation.
pub(crate) fn decode_frame(frame: &[u8], layout: &FrameLayout, photometric: &str) -> Result<Output, CodecError> {
    let mut reader = Reader::new(frame)?;
    let Segment::Frame(header) = reader.next_segment()? else {
        return Err(Damage::Header.into());
    };
    if header.columns != layout.columns as usize || !(header.rows == layout.rows as usize || header.rows == 0) {
        return Err(Damage::Dimensions.into());
    }
    if header.components.len() != usize::from(layout.samples_per_pixel) {
        return Err(Damage::Components.into());
    }
    let packer = Packer::new(layout, header.precision)?;
    // Rows of 0 are told after the first scan by a DNL segment; Rows (0028,0010) is as good.
    let (rows, columns) = (layout.rows as usize, layout.columns as usize);
    let lossless = header.process == Process::Lossless;
    let mut planes = if lossless {
        lossless::decode(&mut reader, &header, rows, columns)?
    } else {
        dct::decode(&mut reader, &header, rows, columns)?
    };
    let mut transformed = None;
    if !lossless && planes.len() == 3 && colour::is_ycbcr(&reader, &header, photometric) {
        colour::to_rgb(&mut planes, header.precision);
        transformed = Some("RGB");
    } else if !lossless && planes.len() == 3 {
        transformed = Some("RGB");
    }
    let samples = match planes.as_slice() {
        [grey] => packer.pack(grey.samples.iter().map(|value| i32::from(*value))),
        planes => {
            let count = rows * columns * planes.len();
            packer.pack((0..count).map(|index| i32::from(planes[index % planes.len()].samples[index / planes.len()])))
        }
    };
    Ok(Output {
        samples,
        photometric: transformed,
        planar: false,
    })
}
