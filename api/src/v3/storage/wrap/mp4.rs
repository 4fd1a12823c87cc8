//! An MP4 file as a video: what an instance must say of it is read from its boxes (ISO/IEC 14496-12).

use bytes::Bytes;
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use septum_core::dicom::edit::Edits;

use super::super::error::{Answer, Kind, StorageError};
use super::{Large, Made, picture};

/// Most boxes that are looked at.
const BOXES_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Track {
    rows: u16,
    columns: u16,
    num_frames: u32,
    /// Ticks a second, and ticks of the whole track.
    timescale: u32,
    duration: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..at + 4)?.first_chunk()?))
}

/// The boxes of a range: kind and content.
fn boxes(mut bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (
        u32_at(bytes, 0),
        bytes.get(4..8).and_then(|kind| kind.first_chunk::<4>()),
    ) {
        let (start, length) = match length {
            0 => (8, bytes.len()),
            1 => {
                let Some(long) = bytes.get(8..16).and_then(|long| long.first_chunk::<8>()) else {
                    break;
                };
                (16, usize::try_from(u64::from_be_bytes(*long)).unwrap_or(usize::MAX))
            }
            length => (8, length as usize),
        };
        let Some(content) = bytes.get(start..length.max(start)) else {
            break;
        };
        found.push((*kind, content));
        if found.len() >= BOXES_MAX {
            break;
        }
        bytes = &bytes[length.max(start)..];
    }
    found
}

fn child<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(bytes)
        .into_iter()
        .find(|(found, _)| found == kind)
        .map(|(_, content)| content)
}

/// The first track with H.264.
fn track(file: &[u8]) -> Option<Track> {
    let movie = child(file, b"moov")?;
    boxes(movie)
        .into_iter()
        .filter(|(kind, _)| kind == b"trak")
        .find_map(|(_, track)| {
            let media = child(track, b"mdia")?;
            let header = child(media, b"mdhd")?;
            let (timescale, duration) = match header.first()? {
                1 => {
                    let duration = header.get(24..32)?.first_chunk::<8>()?;
                    (u32_at(header, 20)?, u64::from_be_bytes(*duration))
                }
                _ => (u32_at(header, 12)?, u32_at(header, 16)?.into()),
            };
            let samples = child(child(media, b"minf")?, b"stbl")?;
            let description = child(samples, b"stsd")?;
            // Version, flags and the number of entries stand before the entries.
            let entry = child(description.get(8..)?, b"avc1")?;
            let side = |at: usize| Some(u16::from_be_bytes(*entry.get(at..at + 2)?.first_chunk()?));
            let sizes = child(samples, b"stsz")?;
            Some(Track {
                columns: side(24)?,
                rows: side(26)?,
                num_frames: u32_at(sizes, 8)?,
                timescale,
                duration,
            })
        })
}

pub(super) fn made_of(file: &Bytes) -> Answer<Made> {
    let refused = || StorageError::new(Kind::NotAcceptable, "the MP4 file has no H.264 video that can be read");
    let track = track(file).ok_or_else(refused)?;
    if track.rows == 0 || track.columns == 0 || track.num_frames == 0 || track.duration == 0 || track.timescale == 0 {
        return Err(refused());
    }
    let mut edits: Edits = picture(track.rows, track.columns, 3, "YBR_PARTIAL_420");
    edits.text(tags::MODALITY, VR::CS, "XC");
    edits.text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY");
    edits.remove(tags::CONVERSION_TYPE);
    // Of a body that is no pair.
    edits.remove(tags::LATERALITY);
    edits.text(tags::NUMBER_OF_FRAMES, VR::IS, &track.num_frames.to_string());
    let seconds = track.duration as f64 / f64::from(track.timescale);
    let frame_ms = seconds * 1000.0 / f64::from(track.num_frames);
    let rate = (f64::from(track.num_frames) / seconds).round().clamp(1.0, 1e6);
    edits.text(tags::CINE_RATE, VR::IS, &format!("{rate}"));
    edits.text(tags::FRAME_TIME, VR::DS, &format!("{frame_ms:.4}"));
    edits.set(tags::FRAME_INCREMENT_POINTER, VR::AT, [0x18, 0x00, 0x63, 0x10]);
    edits.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01");
    edits.text(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, "ISO_14496_10");
    let native = f64::from(track.rows) * f64::from(track.columns) * 3.0 * f64::from(track.num_frames);
    let ratio = format!("{:.2}", (native / file.len() as f64).max(0.01));
    edits.text(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, &ratio);
    edits.set(tags::ACQUISITION_CONTEXT_SEQUENCE, VR::SQ, []);
    edits.set(tags::ANATOMIC_REGION_SEQUENCE, VR::SQ, entire_body());
    Ok(Made {
        edits,
        sop_class: uids::VIDEO_PHOTOGRAPHIC_IMAGE_STORAGE,
        transfer_syntax: uids::MPEG4HP41,
        element: Large::Fragment(file.clone()),
    })
}

/// The one item of an Anatomic Region Sequence (PS3.3 section C.7.6.1.1.9 wants one of videos) that says nothing in
/// particular: SCT 38266002, explicit VR little endian.
fn entire_body() -> Vec<u8> {
    let mut item = Vec::new();
    for (element, vr, value) in [
        (0x0100_u16, b"SH", "38266002"),
        (0x0102, b"SH", "SCT "),
        (0x0104, b"LO", "Entire body "),
    ] {
        item.extend_from_slice(&[0x08, 0x00]);
        item.extend_from_slice(&element.to_le_bytes());
        item.extend_from_slice(vr);
        item.extend_from_slice(&(value.len() as u16).to_le_bytes());
        item.extend_from_slice(value.as_bytes());
    }
    let mut sequence = vec![0xFE, 0xFF, 0x00, 0xE0];
    sequence.extend_from_slice(&(item.len() as u32).to_le_bytes());
    sequence.extend(item);
    sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = (content.len() as u32 + 8).to_be_bytes().to_vec();
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(content);
        bytes
    }

    fn file() -> Vec<u8> {
        let mut entry = vec![0; 78];
        entry[24..26].copy_from_slice(&320_u16.to_be_bytes());
        entry[26..28].copy_from_slice(&240_u16.to_be_bytes());
        let description = [vec![0, 0, 0, 0, 0, 0, 0, 1], boxed(b"avc1", &entry)].concat();
        let mut sizes = vec![0; 12];
        sizes[8..12].copy_from_slice(&50_u32.to_be_bytes());
        let mut header = vec![0; 24];
        header[12..16].copy_from_slice(&1000_u32.to_be_bytes());
        header[16..20].copy_from_slice(&2000_u32.to_be_bytes());
        let table = boxed(
            b"stbl",
            &[boxed(b"stsd", &description), boxed(b"stsz", &sizes)].concat(),
        );
        let media = [boxed(b"mdhd", &header), boxed(b"minf", &table)].concat();
        let movie = boxed(b"moov", &boxed(b"trak", &boxed(b"mdia", &media)));
        [boxed(b"ftyp", b"isom"), movie, boxed(b"mdat", b"x")].concat()
    }

    #[test]
    fn a_track_is_described() {
        let made = made_of(&file().into()).expect("video");
        for (tag, expected) in [
            (tags::NUMBER_OF_FRAMES, "50"),
            (tags::CINE_RATE, "25"),
            (tags::FRAME_TIME, "40.0000"),
        ] {
            assert_eq!(made.edits.value(tag), Some(expected.as_bytes()));
        }
    }

    #[test]
    fn broken_files_are_refused() {
        let whole = file();
        for length in 0..whole.len() - 9 {
            assert!(
                made_of(&Bytes::copy_from_slice(&whole[..length])).is_err(),
                "{length} bytes"
            );
        }
    }
}
