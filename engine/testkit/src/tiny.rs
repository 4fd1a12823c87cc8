//! Small instances for tests. A [`TinyInstance`] starts as a good 8 × 8 Secondary Capture image of a few hundred
//! bytes; whatever a test is about is then changed.

use crate::dataset::{Dataset, Element, SequenceLength, Tag, Value};
use crate::part10::{FileOptions, RLE_LOSSLESS, TransferSyntax};
use crate::random::Random;
use crate::study::{Instance, finish};
use crate::{rle, tags, uid};

/// How pixel data is encapsulated (PS3.5 section A.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encapsulation {
    /// Whether the Basic Offset Table is filled.
    pub basic_offset_table: bool,
    /// Whether the Extended Offset Table (7FE0,0001) and its lengths (7FE0,0002) are written.
    pub extended_offset_table: bool,
    /// Fragments a frame; more than one breaks RLE's own rule (PS3.5 section A.4.2), for tests of the frame table.
    pub fragments_per_frame: usize,
}

impl Default for Encapsulation {
    fn default() -> Self {
        Self {
            basic_offset_table: true,
            extended_offset_table: false,
            fragments_per_frame: 1,
        }
    }
}

/// A small instance under construction.
#[derive(Debug, Clone)]
pub struct TinyInstance {
    dataset: Dataset,
    transfer_syntax: TransferSyntax,
    options: FileOptions,
    seed: u64,
    trailing: Vec<u8>,
}

impl TinyInstance {
    /// A good instance: 8 × 8, 8 bits, one frame of noise. The seed gives its UIDs; study and series UIDs are shared
    /// by the seeds of one hundred (`seed / 100`), so that 0 to 99 make one series.
    pub fn new(seed: u64) -> Self {
        let mut dataset = Dataset::new();
        dataset.set_texts(&[
            (tags::SPECIFIC_CHARACTER_SET, b"CS", "ISO_IR 192"),
            (tags::SOP_CLASS_UID, b"UI", "1.2.840.10008.5.1.4.1.1.7"),
            (tags::SOP_INSTANCE_UID, b"UI", &uid::from_seed(seed, "tiny instance", 0)),
            (tags::STUDY_DATE, b"DA", "20250314"),
            ((0x0008, 0x0030), b"TM", "150926"),
            (tags::ACCESSION_NUMBER, b"SH", "TINY0001"),
            (tags::MODALITY, b"CS", "OT"),
            ((0x0008, 0x0064), b"CS", "WSD"),
            ((0x0008, 0x0090), b"PN", ""),
            (tags::PATIENT_NAME, b"PN", "DEMO^TINY"),
            (tags::PATIENT_ID, b"LO", "DEMO-TINY"),
            (tags::ISSUER_OF_PATIENT_ID, b"LO", "SEPTUM-DEMO"),
            (tags::PATIENT_BIRTH_DATE, b"DA", "19700101"),
            (tags::PATIENT_SEX, b"CS", "O"),
            (
                tags::STUDY_INSTANCE_UID,
                b"UI",
                &uid::from_seed(seed / 100, "tiny study", 0),
            ),
            (
                tags::SERIES_INSTANCE_UID,
                b"UI",
                &uid::from_seed(seed / 100, "tiny series", 0),
            ),
            ((0x0020, 0x0010), b"SH", "1"),
            ((0x0020, 0x0020), b"CS", ""),
            ((0x0020, 0x0060), b"CS", ""),
            ((0x0020, 0x0011), b"IS", "1"),
            (tags::INSTANCE_NUMBER, b"IS", &(seed % 100 + 1).to_string()),
        ]);
        let tiny = Self {
            dataset,
            transfer_syntax: TransferSyntax::ExplicitLittleEndian,
            options: FileOptions::default(),
            seed,
            trailing: Vec::new(),
        };
        tiny.pixels(8, 8, 1, 8)
    }

    /// Native noise of the given shape, unsigned, one sample a pixel. `bits_allocated` is 1, 8 or 16; more than one
    /// frame makes it a multi-frame Secondary Capture.
    pub fn pixels(mut self, rows: u16, columns: u16, num_frames: u32, bits_allocated: u16) -> Self {
        let sop_class = match (num_frames, bits_allocated) {
            (_, 1) => "1.2.840.10008.5.1.4.1.1.7.1",
            (1, _) => "1.2.840.10008.5.1.4.1.1.7",
            (_, 8) => "1.2.840.10008.5.1.4.1.1.7.2",
            _ => "1.2.840.10008.5.1.4.1.1.7.3",
        };
        let num_pixels = usize::from(rows) * usize::from(columns) * num_frames as usize;
        let mut noise = vec![0; (num_pixels * usize::from(bits_allocated)).div_ceil(8)];
        Random::new(self.seed, 0x717E).fill(&mut noise);
        let value = match bits_allocated {
            16 => Value::Words(
                noise
                    .chunks_exact(2)
                    .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                    .collect(),
            ),
            _ => Value::Bytes(noise),
        };
        let vr = if bits_allocated == 16 { *b"OW" } else { *b"OB" };
        for (tag, word) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, rows),
            (tags::COLUMNS, columns),
            (tags::BITS_ALLOCATED, bits_allocated),
            (tags::BITS_STORED, bits_allocated),
            (tags::HIGH_BIT, bits_allocated.saturating_sub(1)),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            self.dataset.set(Element::words(tag, &[word]));
        }
        self.dataset.set(Element::text(tags::SOP_CLASS_UID, b"UI", sop_class));
        self.dataset
            .set(Element::text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "MONOCHROME2"));
        match num_frames {
            1 => self.dataset.remove(tags::NUMBER_OF_FRAMES),
            _ => self
                .dataset
                .set(Element::text(tags::NUMBER_OF_FRAMES, b"IS", num_frames.to_string())),
        };
        self.dataset.set(Element {
            tag: tags::PIXEL_DATA,
            vr,
            value,
        });
        self
    }

    /// Turns the native pixel data into RLE Lossless. Call it after [`TinyInstance::pixels`]; without native pixel
    /// data of 8 or 16 bits nothing changes.
    pub fn encapsulated(mut self, how: Encapsulation) -> Self {
        let (bytes, bytes_per_sample): (Vec<u8>, usize) = match self.dataset.get(tags::PIXEL_DATA).map(|e| &e.value) {
            Some(Value::Words(words)) => (words.iter().flat_map(|w| w.to_le_bytes()).collect(), 2),
            Some(Value::Bytes(bytes)) => (bytes.clone(), 1),
            _ => return self,
        };
        let word = |tag| match self.dataset.get(tag).map(|e| &e.value) {
            Some(Value::Words(words)) => words.first().map_or(1, |&w| usize::from(w)),
            _ => 1,
        };
        let columns = word(tags::COLUMNS);
        let frame_bytes = (word(tags::ROWS) * columns * bytes_per_sample).max(1);
        let (mut fragments, mut offsets, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        let mut offset = 0u64;
        for frame in bytes.chunks_exact(frame_bytes) {
            let encoded = rle::encode_frame(frame, columns, 1, bytes_per_sample);
            offsets.push(offset);
            lengths.push(encoded.len() as u64);
            // Every fragment but the last must have even length.
            let piece = encoded
                .len()
                .div_ceil(how.fragments_per_frame.max(1))
                .next_multiple_of(2)
                .max(2);
            for part in encoded.chunks(piece) {
                offset += 8 + part.len().next_multiple_of(2) as u64;
                fragments.push(part.to_vec());
            }
        }
        if how.extended_offset_table {
            for (tag, values) in [
                (tags::EXTENDED_OFFSET_TABLE, &offsets),
                (tags::EXTENDED_OFFSET_TABLE_LENGTHS, &lengths),
            ] {
                self.dataset.set(Element {
                    tag,
                    vr: *b"OV",
                    value: Value::VeryLongs(values.clone()),
                });
            }
        }
        let offsets = match how.basic_offset_table {
            true => offsets.iter().map(|&o| o as u32).collect(),
            false => Vec::new(),
        };
        let value = Value::Fragments { offsets, fragments };
        self.dataset.set(Element {
            tag: tags::PIXEL_DATA,
            vr: *b"OB",
            value,
        });
        self.transfer_syntax = RLE_LOSSLESS;
        self
    }

    /// Sets or replaces an element.
    pub fn with(mut self, element: Element) -> Self {
        self.dataset.set(element);
        self
    }

    /// Sets or replaces a text element.
    pub fn with_text(self, tag: Tag, vr: &[u8; 2], text: &str) -> Self {
        self.with(Element::text(tag, vr, text))
    }

    /// Takes an element away.
    pub fn without(mut self, tag: Tag) -> Self {
        self.dataset.remove(tag);
        self
    }

    /// Appends an element at the end, out of order or twice as may be.
    pub fn append(mut self, element: Element) -> Self {
        self.dataset.append(element);
        self
    }

    /// Appends bytes after the dataset.
    pub fn trailing(mut self, bytes: &[u8]) -> Self {
        self.trailing.extend_from_slice(bytes);
        self
    }

    /// Nests Referenced Image Sequence `depth` deep; the innermost item holds `innermost`. Built without recursion,
    /// but written and dropped with it: keep `depth` below some thousands.
    pub fn nested(self, depth: usize, length: SequenceLength, innermost: Element) -> Self {
        let mut element = innermost;
        for _ in 0..depth {
            let mut item = Dataset::new();
            item.set(element);
            let value = Value::Items(vec![item], length);
            element = Element {
                tag: tags::REFERENCED_IMAGE_SEQUENCE,
                vr: *b"SQ",
                value,
            };
        }
        self.with(element)
    }

    /// Plants a string wherever patient data hides: name, comments, a nested item, a private element with its
    /// creator, and an Encapsulated-Text-like unlimited text. A search for it must find nothing at rest.
    pub fn planted(self, secret: &str) -> Self {
        self.with_text(tags::PATIENT_NAME, b"PN", secret)
            .with_text(tags::PATIENT_COMMENTS, b"LT", secret)
            .with_text((0x0009, 0x0010), b"LO", "SEPTUM TESTKIT")
            .with(Element::bytes((0x0009, 0x1001), b"UN", secret.as_bytes()))
            .with_text((0x0040, 0xA160), b"UT", secret)
            .nested(
                3,
                SequenceLength::Undefined,
                Element::text((0x0008, 0x103E), b"LO", secret),
            )
    }

    /// How the dataset is written; encapsulated pixel data stays encapsulated.
    pub fn transfer_syntax(mut self, transfer_syntax: TransferSyntax) -> Self {
        self.transfer_syntax = transfer_syntax;
        self
    }

    /// Leaves the preamble out.
    pub fn without_preamble(mut self) -> Self {
        self.options.preamble = false;
        self
    }

    /// Leaves preamble and file meta out: the bare dataset.
    pub fn without_meta(mut self) -> Self {
        self.options = FileOptions {
            preamble: false,
            meta: false,
        };
        self
    }

    /// The dataset so far.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Writes the instance.
    pub fn build(self) -> Instance {
        let mut instance = finish(self.dataset, self.transfer_syntax, self.options);
        instance.bytes.extend(self.trailing);
        instance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_shares_its_uids() {
        let (first, second, other) = (
            TinyInstance::new(1).build(),
            TinyInstance::new(2).build(),
            TinyInstance::new(100).build(),
        );
        assert_eq!(first.series_instance_uid, second.series_instance_uid);
        assert_ne!(first.sop_instance_uid, second.sop_instance_uid);
        assert_ne!(first.study_instance_uid, other.study_instance_uid);
    }

    #[test]
    fn offsets_name_the_fragments() {
        let how = Encapsulation {
            basic_offset_table: true,
            extended_offset_table: true,
            fragments_per_frame: 3,
        };
        let tiny = TinyInstance::new(1).pixels(16, 16, 4, 16).encapsulated(how);
        let Value::Fragments { offsets, fragments } = &tiny.dataset().get(tags::PIXEL_DATA).expect("pixels").value
        else {
            panic!("not encapsulated");
        };
        assert_eq!((offsets.len(), fragments.len()), (4, 12));
        let mut starts = vec![0u32];
        for fragment in fragments {
            starts.push(starts[starts.len() - 1] + 8 + fragment.len().next_multiple_of(2) as u32);
        }
        for (frame, offset) in offsets.iter().enumerate() {
            assert_eq!(*offset, starts[frame * 3]);
        }
    }

    #[test]
    fn planted_strings_are_in_the_file() {
        let secret = "PLANTED^SECRET";
        let bytes = TinyInstance::new(1).planted(secret).build().bytes;
        assert_eq!(
            bytes.windows(secret.len()).filter(|w| *w == secret.as_bytes()).count(),
            5
        );
    }

    #[test]
    fn bare_datasets_start_with_group_eight() {
        let bytes = TinyInstance::new(1).without_meta().build().bytes;
        assert_eq!(bytes[..2], [8, 0]);
        let bytes = TinyInstance::new(1).without_preamble().build().bytes;
        assert_eq!(bytes[..2], [2, 0]);
    }
}
