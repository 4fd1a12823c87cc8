//! Text about patient and technique, burned in (PS3.18 section 8.3.5.1.1): the patient on top, the technique below.
//!
//! What is hidden from the client is left out. White letters with a black edge are readable on any picture. Text is broken
//! and not cut, since half a name may be somebody else's; what finds no room is told by a [`RenderWarning`].

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::Header;

use crate::canvas::Canvas;
use crate::error::RenderWarning;
use crate::font::{HEIGHT, WIDTH, glyph};
use crate::request::Annotation;

/// Dots from one letter to the next, and from one line to the next.
const ADVANCE: usize = WIDTH + 1;
const LINE: usize = HEIGHT + 2;
/// Dots between text and the picture's edge.
const MARGIN: usize = 2;
/// A dot is a pixel for each of so many of the picture's shorter side.
const PIXELS_PER_DOT: usize = 400;
/// Longest value that is shown, in characters.
const CHARACTERS_MAX: usize = 200;

const INK: u8 = 255;
const EDGE: u8 = 0;

/// What the lines of an annotation are about.
pub(crate) struct Subject<'a> {
    pub(crate) header: &'a Header,
    /// Attributes that are not shown, group × 65536 + element.
    pub(crate) hidden: &'a [u32],
    pub(crate) frame_index: u32,
}

impl Subject<'_> {
    fn text(&self, tag: Tag) -> Option<String> {
        let is_hidden = self.hidden.contains(&(u32::from(tag.0) << 16 | u32::from(tag.1)));
        let text = (!is_hidden).then(|| self.header.text(tag)).flatten()?;
        let text: String = text.trim().chars().take(CHARACTERS_MAX).collect();
        (!text.is_empty()).then_some(text)
    }

    /// A value behind its name.
    fn named(&self, name: &str, tag: Tag, unit: &str) -> Option<String> {
        self.text(tag).map(|text| format!("{name} {text}{unit}"))
    }

    fn date(&self, name: &str, tag: Tag) -> Option<String> {
        let text = self.text(tag)?;
        let is_date = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        let text = if is_date {
            format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..])
        } else {
            text
        };
        Some(format!("{name}{text}"))
    }

    fn patient(&self) -> Vec<String> {
        let name = self.text(tags::PATIENT_NAME).map(|name| readable(&name));
        let lines = [
            name,
            self.named("ID", tags::PATIENT_ID, ""),
            joined([
                self.date("Born ", tags::PATIENT_BIRTH_DATE),
                self.named("Sex", tags::PATIENT_SEX, ""),
                self.named("Age", tags::PATIENT_AGE, ""),
            ]),
        ];
        lines.into_iter().flatten().collect()
    }

    fn technique(&self) -> Vec<String> {
        let num_frames = self.header.integer(tags::NUMBER_OF_FRAMES).filter(|frames| *frames > 1);
        let lines = [
            joined([
                self.text(tags::MODALITY),
                self.date("", tags::STUDY_DATE),
                self.text(tags::STUDY_DESCRIPTION),
            ]),
            joined([
                self.named("Series", tags::SERIES_NUMBER, ""),
                self.named("Image", tags::INSTANCE_NUMBER, ""),
                num_frames.map(|num_frames| format!("Frame {}/{num_frames}", u64::from(self.frame_index) + 1)),
            ]),
            joined([
                self.named("Location", tags::SLICE_LOCATION, " mm"),
                self.named("Thickness", tags::SLICE_THICKNESS, " mm"),
            ]),
            joined([
                self.named("Tube", tags::KVP, " kV"),
                self.named("Current", tags::X_RAY_TUBE_CURRENT, " mA"),
                self.named("TR", tags::REPETITION_TIME, " ms"),
                self.named("TE", tags::ECHO_TIME, " ms"),
            ]),
        ];
        lines.into_iter().flatten().collect()
    }
}

/// The first group of a name that is there, as it is read.
fn readable(name: &str) -> String {
    let group = name.split('=').find(|group| !group.trim_matches(['^', ' ']).is_empty());
    let mut parts = group.unwrap_or_default().splitn(2, '^');
    let family = parts.next().unwrap_or_default().trim();
    let others: Vec<&str> = parts
        .flat_map(|others| others.split('^'))
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    match (family, others.join(" ")) {
        (family, others) if others.is_empty() => family.to_owned(),
        ("", others) => others,
        (family, others) => format!("{family}, {others}"),
    }
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("  "))
}

/// Burns in what is asked for.
pub(crate) fn draw(asked: Annotation, subject: &Subject<'_>, canvas: &mut Canvas) -> Result<(), RenderWarning> {
    let patient = if asked.patient { subject.patient() } else { Vec::new() };
    let technique = if asked.technique {
        subject.technique()
    } else {
        Vec::new()
    };
    if patient.is_empty() && technique.is_empty() {
        return Ok(());
    }
    let dot = (canvas.width.min(canvas.height) / PIXELS_PER_DOT).max(1);
    let (columns, rows) = (canvas.width / dot, canvas.height / dot);
    let num_characters = columns.saturating_sub(2 * MARGIN) / ADVANCE;
    let num_lines = rows.saturating_sub(2 * MARGIN) / LINE;
    let (top, below) = (broken(&patient, num_characters), broken(&technique, num_characters));
    if num_characters == 0 || top.len() + below.len() > num_lines {
        return Err(RenderWarning::AnnotationLeftOut);
    }
    let start = rows - MARGIN - below.len() * LINE;
    let placed = top.iter().enumerate().map(|(line, text)| (MARGIN + line * LINE, text));
    let below = below.iter().enumerate().map(|(line, text)| (start + line * LINE, text));
    let mut is_exact = true;
    for (row, line) in placed.chain(below) {
        for (at, &letter) in line.iter().enumerate() {
            let (columns, is_known) = glyph(letter);
            is_exact &= is_known;
            letter_at(canvas, dot, row, MARGIN + at * ADVANCE, columns);
        }
    }
    if is_exact {
        Ok(())
    } else {
        Err(RenderWarning::AnnotationInOtherLetters)
    }
}

/// Lines of at most so many characters.
fn broken(lines: &[String], num_characters: usize) -> Vec<Vec<char>> {
    let characters = lines.iter().map(|line| line.chars().collect::<Vec<char>>());
    characters
        .flat_map(|line| {
            line.chunks(num_characters.max(1))
                .map(<[char]>::to_vec)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn letter_at(canvas: &mut Canvas, dot: usize, row: usize, column: usize, columns: [u8; WIDTH]) {
    let is_set = |x: usize, y: usize| columns.get(x).is_some_and(|bits| y < HEIGHT && bits >> y & 1 == 1);
    let mut paint = |x: usize, y: usize, level: u8| {
        // One to the left and above of the letter is its edge's.
        let (left, top) = ((column + x - 1) * dot, (row + y - 1) * dot);
        for y in top..top + dot {
            for x in left..left + dot {
                canvas.set(y, x, level);
            }
        }
    };
    for y in 0..HEIGHT + 2 {
        for x in 0..WIDTH + 2 {
            let near = |by: usize, at: usize| (by + at).checked_sub(2);
            let is_edge =
                (0..3).any(|dx| (0..3).any(|dy| near(x, dx).zip(near(y, dy)).is_some_and(|(x, y)| is_set(x, y))));
            let is_ink = x
                .checked_sub(1)
                .zip(y.checked_sub(1))
                .is_some_and(|(x, y)| is_set(x, y));
            if is_ink {
                paint(x, y, INK);
            } else if is_edge {
                paint(x, y, EDGE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{element, header};

    const BOTH: Annotation = Annotation {
        patient: true,
        technique: true,
    };

    fn example() -> Header {
        header(&[
            element(tags::STUDY_DATE, b"DA", b"20240131"),
            element(tags::MODALITY, b"CS", b"CT"),
            element(tags::PATIENT_NAME, b"PN", b"Doe^John^^Dr"),
            element(tags::PATIENT_ID, b"LO", b"P-1"),
            element(tags::PATIENT_BIRTH_DATE, b"DA", b"19700102"),
            element(tags::INSTANCE_NUMBER, b"IS", b"7"),
        ])
    }

    fn lines(hidden: &[u32]) -> (Vec<String>, Vec<String>) {
        let header = example();
        let subject = Subject {
            header: &header,
            hidden,
            frame_index: 0,
        };
        (subject.patient(), subject.technique())
    }

    #[test]
    fn what_is_hidden_is_not_written() {
        let (patient, technique) = lines(&[]);
        assert_eq!(patient, ["Doe, John Dr", "ID P-1", "Born 1970-01-02"]);
        assert_eq!(technique, ["CT  2024-01-31", "Image 7"]);
        let (patient, technique) = lines(&[0x0010_0010, 0x0010_0030, 0x0008_0020]);
        assert_eq!(patient, ["ID P-1"]);
        assert_eq!(technique, ["CT", "Image 7"]);
    }

    #[test]
    fn names_are_read() {
        for (name, expected) in [
            ("Doe", "Doe"),
            ("^John", "John"),
            ("Doe^John=山田", "Doe, John"),
            ("=山田^太郎", "山田, 太郎"),
            ("^^^", ""),
        ] {
            assert_eq!(readable(name), expected);
        }
    }

    fn drawn(width: usize, height: usize, asked: Annotation, hidden: &[u32]) -> (Canvas, Result<(), RenderWarning>) {
        let header = example();
        let subject = Subject {
            header: &header,
            hidden,
            frame_index: 0,
        };
        let mut canvas = Canvas::filled(width, height, 1, 128).expect("small");
        let outcome = draw(asked, &subject, &mut canvas);
        (canvas, outcome)
    }

    #[test]
    fn text_is_drawn_where_it_belongs() {
        let patient = Annotation {
            technique: false,
            ..BOTH
        };
        let (canvas, outcome) = drawn(120, 120, patient, &[]);
        assert_eq!(outcome, Ok(()));
        // The stem of the D, with its edge on both sides.
        assert_eq!(canvas.row(4)[..4], [128, 0, 255, 0]);
        assert!(canvas.pixels[60 * 120..].iter().all(|&level| level == 128));
        let (canvas, outcome) = drawn(120, 120, BOTH, &[]);
        assert_eq!(outcome, Ok(()));
        assert!(canvas.pixels[80 * 120..].contains(&INK));
        // Broken into more lines.
        assert_eq!(drawn(30, 300, BOTH, &[]).1, Ok(()));
        for (width, height) in [(3, 300), (120, 30), (1, 1)] {
            let (canvas, outcome) = drawn(width, height, BOTH, &[]);
            assert_eq!(outcome, Err(RenderWarning::AnnotationLeftOut));
            assert!(canvas.pixels.iter().all(|&level| level == 128), "all of it or nothing");
        }
    }
}
