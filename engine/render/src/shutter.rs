//! Display shutters: what lies outside is covered (PS3.3 sections C.7.6.11, C.7.6.15 and C.11.5).

use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::Dataset;

use crate::attributes::{number, numbers, pair, texts, word};
use crate::canvas::Canvas;
use crate::frame::Frame;
use crate::overlay::Overlay;

/// Most vertices of a polygonal shutter; one with more is left out.
const VERTICES_MAX: usize = 4096;

/// The shutters of an image or a presentation state. All apply: what any of them covers is covered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shutter {
    /// Left, right, upper and lower edge; columns and rows from 1.
    rectangle: Option<[f64; 4]>,
    /// Row and column of the centre from 1, and the radius.
    circle: Option<[f64; 3]>,
    /// Rows and columns from 1.
    polygon: Vec<[f64; 2]>,
    /// The overlay group whose marks are covered.
    bitmap_group: Option<u16>,
    level: u8,
}

impl Shutter {
    /// The shutters of a dataset; `None` when it has none that make sense.
    pub(crate) fn read(dataset: &Dataset) -> Option<Self> {
        let mut shutter = Self {
            level: (word(dataset, tags::SHUTTER_PRESENTATION_VALUE).unwrap_or(0) >> 8) as u8,
            ..Self::default()
        };
        for shape in texts(dataset, tags::SHUTTER_SHAPE) {
            match shape.as_str() {
                "RECTANGULAR" => {
                    let edges = [
                        number(dataset, tags::SHUTTER_LEFT_VERTICAL_EDGE),
                        number(dataset, tags::SHUTTER_RIGHT_VERTICAL_EDGE),
                        number(dataset, tags::SHUTTER_UPPER_HORIZONTAL_EDGE),
                        number(dataset, tags::SHUTTER_LOWER_HORIZONTAL_EDGE),
                    ];
                    if let [Some(left), Some(right), Some(upper), Some(lower)] = edges {
                        shutter.rectangle = Some([left, right, upper, lower]);
                    }
                }
                "CIRCULAR" => {
                    let center = pair(dataset, tags::CENTER_OF_CIRCULAR_SHUTTER);
                    let radius = number(dataset, tags::RADIUS_OF_CIRCULAR_SHUTTER);
                    shutter.circle = center.zip(radius).map(|([row, column], radius)| [row, column, radius]);
                }
                "POLYGONAL" => {
                    let vertices = numbers(dataset, tags::VERTICES_OF_THE_POLYGONAL_SHUTTER);
                    let vertices = vertices.as_chunks().0;
                    if (3..=VERTICES_MAX).contains(&vertices.len()) {
                        shutter.polygon = vertices.to_vec();
                    }
                }
                "BITMAP" => shutter.bitmap_group = word(dataset, tags::SHUTTER_OVERLAY_GROUP),
                _ => {}
            }
        }
        let is_empty = shutter.rectangle.is_none()
            && shutter.circle.is_none()
            && shutter.polygon.is_empty()
            && shutter.bitmap_group.is_none();
        (!is_empty).then_some(shutter)
    }

    /// The overlay group that serves as a shutter.
    pub(crate) fn bitmap_group(&self) -> Option<u16> {
        self.bitmap_group
    }

    /// Covers what lies outside. `dataset` is the one that the shutters were read from.
    pub(crate) fn apply(&self, dataset: &Dataset, frame_index: u32, frame: &Frame<'_>, canvas: &mut Canvas) {
        let mut open = vec![true; canvas.width];
        for row in 0..canvas.height {
            open.fill(true);
            self.close_row((row + 1) as f64, &mut open);
            let channels = canvas.channels;
            let pixels = canvas.row_mut(row).chunks_exact_mut(channels);
            pixels
                .zip(&open)
                .filter(|(_, open)| !**open)
                .for_each(|(pixel, _)| pixel.fill(self.level));
        }
        if let Some(overlay) = self
            .bitmap_group
            .and_then(|group| Overlay::read(dataset, group, frame_index))
        {
            overlay.draw(frame, canvas, self.level);
        }
    }

    /// Marks the columns of a row, counted from 1, that are covered.
    fn close_row(&self, row: f64, open: &mut [bool]) {
        let columns = |open: &mut [bool], is_inside: &dyn Fn(f64) -> bool| {
            let numbered = open.iter_mut().enumerate();
            numbered.for_each(|(column, open)| *open &= is_inside((column + 1) as f64));
        };
        if let Some([left, right, upper, lower]) = self.rectangle {
            let row_inside = (upper..=lower).contains(&row);
            columns(open, &|column| row_inside && (left..=right).contains(&column));
        }
        if let Some([center_row, center_column, radius]) = self.circle {
            columns(open, &|column| {
                (row - center_row).hypot(column - center_column) <= radius
            });
        }
        if !self.polygon.is_empty() {
            let crossings = crossings(&self.polygon, row);
            columns(open, &|column| {
                let num_left = crossings.partition_point(|&crossing| crossing < column);
                num_left % 2 == 1 || crossings.get(num_left) == Some(&column)
            });
        }
    }
}

/// The columns at which the edges of a polygon, given by row and column, cross a row; in order.
pub(crate) fn crossings(polygon: &[[f64; 2]], row: f64) -> Vec<f64> {
    let ends = polygon.iter().zip(polygon.iter().cycle().skip(1));
    let mut columns: Vec<f64> = ends
        .filter(|([from, _], [to, _])| (*from <= row) != (*to <= row))
        .map(|([from_row, from], [to_row, to])| from + (row - from_row) / (to_row - from_row) * (to - from))
        .collect();
    columns.sort_by(f64::total_cmp);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{element, frame, header, shape, words};

    #[test]
    fn shapes_cover_what_lies_outside() {
        let check = |shape_name: &str, extra: &[Vec<u8>], expected: [&str; 5]| {
            let mut elements = vec![element(tags::SHUTTER_SHAPE, b"CS", shape_name.as_bytes())];
            elements.extend_from_slice(extra);
            let header = header(&elements);
            let bytes = [1; 25];
            let image = frame(&bytes, shape(5, 5, 1, 8), "MONOCHROME2");
            let mut canvas = Canvas::filled(5, 5, 1, 1).expect("small");
            let shutter = Shutter::read(header.dataset()).expect("a shutter");
            shutter.apply(header.dataset(), 0, &image, &mut canvas);
            let seen: Vec<String> = (0..5)
                .map(|row| {
                    canvas
                        .row(row)
                        .iter()
                        .map(|&level| if level == 1 { 'o' } else { '.' })
                        .collect()
                })
                .collect();
            assert_eq!(seen, expected, "{shape_name}");
        };
        let text = |tag, value: &str| element(tag, b"IS", value.as_bytes());
        let rectangle = [
            text(tags::SHUTTER_LEFT_VERTICAL_EDGE, "2"),
            text(tags::SHUTTER_RIGHT_VERTICAL_EDGE, "4"),
            text(tags::SHUTTER_UPPER_HORIZONTAL_EDGE, "3"),
            text(tags::SHUTTER_LOWER_HORIZONTAL_EDGE, "9"),
        ];
        check("RECTANGULAR", &rectangle, [".....", ".....", ".ooo.", ".ooo.", ".ooo."]);
        let circle = [
            text(tags::CENTER_OF_CIRCULAR_SHUTTER, "3\\3"),
            text(tags::RADIUS_OF_CIRCULAR_SHUTTER, "2"),
        ];
        check("CIRCULAR", &circle, ["..o..", ".ooo.", "ooooo", ".ooo.", "..o.."]);
        let both = [rectangle.concat(), circle.concat()];
        check(
            "RECTANGULAR\\CIRCULAR",
            &both,
            [".....", ".....", ".ooo.", ".ooo.", "..o.."],
        );
        let triangle = [text(tags::VERTICES_OF_THE_POLYGONAL_SHUTTER, "1\\1\\1\\5\\6\\1")];
        check("POLYGONAL", &triangle, ["ooooo", "oooo.", "ooo..", "oo...", "o...."]);
        let bitmap = [
            words(tags::SHUTTER_OVERLAY_GROUP, b"US", &[0x6000]),
            words(dicom_core::Tag(0x6000, 0x10), b"US", &[1]),
            words(dicom_core::Tag(0x6000, 0x11), b"US", &[3]),
            words(dicom_core::Tag(0x6000, 0x50), b"SS", &[2, 2]),
            element(dicom_core::Tag(0x6000, 0x3000), b"OW", &[0b101, 0]),
        ];
        check("BITMAP", &bitmap, ["ooooo", "o.o.o", "ooooo", "ooooo", "ooooo"]);
    }

    #[test]
    fn nonsense_is_no_shutter() {
        let shape = |value: &str| element(tags::SHUTTER_SHAPE, b"CS", value.as_bytes());
        assert_eq!(Shutter::read(header(&[shape("RECTANGULAR")]).dataset()), None);
        assert_eq!(Shutter::read(header(&[shape("OVAL")]).dataset()), None);
        let vertices = element(tags::VERTICES_OF_THE_POLYGONAL_SHUTTER, b"IS", b"1\\1\\2\\2");
        assert_eq!(Shutter::read(header(&[shape("POLYGONAL"), vertices]).dataset()), None);
    }
}
