//! Graphics of presentation states: lines, circles and ellipses in image coordinates (PS3.3 section C.10.5).
//!
//! Not drawn: text, compound graphics, and graphics in coordinates of the displayed area, which depend on the viewer's
//! screen. INTERPOLATED is drawn as straight lines. Lines are one source pixel wide.

use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::Dataset;

use crate::attributes::{items, numbers, text};
use crate::canvas::Canvas;
use crate::shutter::crossings;
use crate::state::Shown;

/// Most pixels that are set for all graphics of a frame; what exceeds them is left out.
const WORK_MAX: usize = 1 << 24;

/// Lines that stand for a circle or an ellipse.
const CURVE_SEGMENTS: u16 = 256;

/// A point: column and row, where 0 is the outer edge of the first pixel.
type Point = [f64; 2];

/// Draws the graphics of a presentation state that belong to the frame. Returns whether all of them were drawn.
pub(crate) fn draw(state: &Dataset, shown: Shown<'_>, canvas: &mut Canvas, level: u8) -> bool {
    let annotations = items(state, tags::GRAPHIC_ANNOTATION_SEQUENCE).iter();
    let mut pen = Pen { canvas, level, work: 0 };
    let mut is_complete = true;
    for annotation in annotations.filter(|annotation| shown.is_meant_by(annotation)) {
        is_complete &= items(annotation, tags::TEXT_OBJECT_SEQUENCE).is_empty()
            && items(annotation, tags::COMPOUND_GRAPHIC_SEQUENCE).is_empty();
        for object in items(annotation, tags::GRAPHIC_OBJECT_SEQUENCE) {
            is_complete &= outline(object).is_some_and(|points| {
                let is_filled = text(object, tags::GRAPHIC_FILLED).as_deref() == Some("Y");
                (!is_filled || pen.fill(&points)) && pen.lines(&points)
            });
        }
    }
    is_complete
}

/// The points that an object's lines join; `None` when it is none that is drawn.
fn outline(object: &Dataset) -> Option<Vec<Point>> {
    if text(object, tags::GRAPHIC_ANNOTATION_UNITS).as_deref() != Some("PIXEL") {
        return None;
    }
    let data = numbers(object, tags::GRAPHIC_DATA);
    let points = data.as_chunks::<2>().0;
    if points.iter().flatten().any(|value| !value.is_finite()) {
        return None;
    }
    match (text(object, tags::GRAPHIC_TYPE)?.as_str(), points) {
        ("POINT" | "POLYLINE" | "INTERPOLATED", points) => Some(points.to_vec()),
        ("CIRCLE", &[center, edge, ..]) => {
            let radius = (edge[0] - center[0]).hypot(edge[1] - center[1]);
            Some(ellipse(center, [radius, 0.0], [0.0, radius]))
        }
        ("ELLIPSE", &[major_from, major_to, minor_from, minor_to, ..]) => {
            let half = |from: Point, to: Point| [(to[0] - from[0]) / 2.0, (to[1] - from[1]) / 2.0];
            let center = [(major_from[0] + major_to[0]) / 2.0, (major_from[1] + major_to[1]) / 2.0];
            Some(ellipse(center, half(major_from, major_to), half(minor_from, minor_to)))
        }
        _ => None,
    }
}

fn ellipse(center: Point, major: Point, minor: Point) -> Vec<Point> {
    let point = |number: u16| {
        let (sin, cos) = (f64::from(number) / f64::from(CURVE_SEGMENTS) * std::f64::consts::TAU).sin_cos();
        [0, 1].map(|axis| center[axis] + major[axis] * cos + minor[axis] * sin)
    };
    (0..=CURVE_SEGMENTS).map(point).collect()
}

struct Pen<'a> {
    canvas: &'a mut Canvas,
    level: u8,
    work: usize,
}

impl Pen<'_> {
    /// Takes from the work that is left; whether there was enough.
    fn spend(&mut self, work: usize) -> bool {
        self.work = self.work.saturating_add(work);
        self.work <= WORK_MAX
    }

    /// Joins the points; a single one is a dot.
    fn lines(&mut self, points: &[Point]) -> bool {
        if let &[point] = points {
            return self.line(point, point);
        }
        points.windows(2).all(|pair| self.line(pair[0], pair[1]))
    }

    fn line(&mut self, from: Point, to: Point) -> bool {
        let size = [self.canvas.width as f64, self.canvas.height as f64];
        let Some((from, to)) = clipped(from, to, size) else {
            return self.spend(1);
        };
        let delta = [to[0] - from[0], to[1] - from[1]];
        let num_steps = delta[0].abs().max(delta[1].abs()).ceil();
        if !self.spend(num_steps as usize + 1) {
            return false;
        }
        for step in 0..=num_steps as usize {
            let part = step as f64 / num_steps.max(1.0);
            // `as` saturates at 0; the canvas passes over what lies outside.
            let [column, row] = [0, 1].map(|axis| (from[axis] + delta[axis] * part) as usize);
            self.canvas.set(row, column, self.level);
        }
        true
    }

    /// Fills a closed outline, even-odd.
    fn fill(&mut self, points: &[Point]) -> bool {
        let polygon: Vec<Point> = points.iter().map(|&[column, row]| [row, column]).collect();
        for row in 0..self.canvas.height {
            if !self.spend(points.len()) {
                return false;
            }
            let width = self.canvas.width;
            for pair in crossings(&polygon, row as f64 + 0.5).as_chunks::<2>().0 {
                let [from, to] = pair.map(|column| (column.round() as usize).min(width));
                if !self.spend(to.saturating_sub(from)) {
                    return false;
                }
                (from..to).for_each(|column| self.canvas.set(row, column, self.level));
            }
        }
        true
    }
}

/// The part of a line that lies inside of the picture (Liang and Barsky 1984).
fn clipped(from: Point, to: Point, size: [f64; 2]) -> Option<(Point, Point)> {
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    let delta = [to[0] - from[0], to[1] - from[1]];
    for axis in 0..2 {
        for (speed, distance) in [(-delta[axis], from[axis]), (delta[axis], size[axis] - from[axis])] {
            if speed == 0.0 {
                if distance < 0.0 {
                    return None;
                }
            } else if speed < 0.0 {
                enter = enter.max(distance / speed);
            } else {
                leave = leave.min(distance / speed);
            }
        }
    }
    let at = |part: f64| [0, 1].map(|axis| (from[axis] + delta[axis] * part).clamp(0.0, size[axis]));
    (enter <= leave).then(|| (at(enter), at(leave)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{element, header, sequence};

    fn object(kind: &str, units: &str, filled: &str, data: &[f32]) -> Vec<u8> {
        let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        [
            element(tags::GRAPHIC_ANNOTATION_UNITS, b"CS", units.as_bytes()),
            element(tags::GRAPHIC_DATA, b"FL", &bytes),
            element(tags::GRAPHIC_TYPE, b"CS", kind.as_bytes()),
            element(tags::GRAPHIC_FILLED, b"CS", filled.as_bytes()),
        ]
        .concat()
    }

    fn drawn(annotation: Vec<u8>) -> (Vec<String>, bool) {
        let header = header(&[sequence(tags::GRAPHIC_ANNOTATION_SEQUENCE, &[annotation])]);
        let mut canvas = Canvas::filled(5, 5, 1, 0).expect("small");
        let shown = Shown {
            sop_instance_uid: "1.2.3",
            frame_index: 0,
        };
        let is_complete = draw(header.dataset(), shown, &mut canvas, 255);
        let picture = |row| {
            canvas
                .row(row)
                .iter()
                .map(|&level| if level == 0 { '.' } else { 'x' })
                .collect()
        };
        ((0..5).map(picture).collect(), is_complete)
    }

    #[test]
    fn shapes() {
        let check = |kind: &str, filled: &str, data: &[f32], expected: [&str; 5]| {
            let objects = sequence(tags::GRAPHIC_OBJECT_SEQUENCE, &[object(kind, "PIXEL", filled, data)]);
            let (picture, is_complete) = drawn(objects);
            assert!(is_complete);
            assert_eq!(picture, expected, "{kind} {data:?}");
        };
        check("POINT", "N", &[2.5, 1.5], [".....", "..x..", ".....", ".....", "....."]);
        let corner = [0.5, 0.5, 4.5, 0.5, 4.5, 3.5];
        check("POLYLINE", "N", &corner, ["xxxxx", "....x", "....x", "....x", "....."]);
        check(
            "POLYLINE",
            "N",
            &[0.5, 0.5, 4.5, 4.5],
            ["x....", ".x...", "..x..", "...x.", "....x"],
        );
        check(
            "POLYLINE",
            "N",
            &[-1e6, 2.5, 1e6, 2.5],
            [".....", ".....", "xxxxx", ".....", "....."],
        );
        check("POLYLINE", "N", &[9.0, 9.0, 20.0, 9.0], ["....."; 5]);
        let square = [1.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0, 1.0, 1.0];
        check("POLYLINE", "Y", &square, [".....", ".xxxx", ".xxxx", ".xxxx", ".xxxx"]);
        let ring = [".xxx.", "xx.xx", "x...x", "xx.xx", ".xxx."];
        check("CIRCLE", "N", &[2.5, 2.5, 4.5, 2.5], ring);
        check("ELLIPSE", "N", &[0.5, 2.5, 4.5, 2.5, 2.5, 0.5, 2.5, 4.5], ring);
    }

    #[test]
    fn what_is_not_drawn_is_told() {
        let check = |annotation: Vec<u8>| assert_eq!(drawn(annotation), (vec![".....".to_owned(); 5], false));
        let objects = |object| sequence(tags::GRAPHIC_OBJECT_SEQUENCE, &[object]);
        check(objects(object("POINT", "DISPLAY", "N", &[0.5, 0.5])));
        check(objects(object("ARROW", "PIXEL", "N", &[0.5, 0.5])));
        check(objects(object("CIRCLE", "PIXEL", "N", &[0.5, 0.5])));
        check(objects(object("POINT", "PIXEL", "N", &[f32::NAN, 0.5])));
        check(sequence(tags::TEXT_OBJECT_SEQUENCE, &[Vec::new()]));
    }

    #[test]
    fn work_is_bounded() {
        let mut canvas = Canvas::filled(1000, 1000, 1, 0).expect("small");
        let mut pen = Pen {
            canvas: &mut canvas,
            level: 1,
            work: 0,
        };
        let zigzag: Vec<Point> = (0..200_000)
            .map(|number| [f64::from(number % 2) * 1000.0, 5.0])
            .collect();
        assert!(!pen.lines(&zigzag));
        assert!(!pen.fill(&zigzag));
    }
}
