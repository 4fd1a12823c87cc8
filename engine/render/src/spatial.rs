//! Displayed area, rotation and flip of presentation states (PS3.3 sections C.10.4 and C.10.6).

use crate::canvas::Canvas;
use crate::error::RenderError;
use crate::state::DisplayedArea;

/// The displayed area; what lies outside of the image is black.
pub(crate) fn cut(canvas: Canvas, area: &DisplayedArea) -> Result<Canvas, RenderError> {
    let (width, height) = (canvas.width as i64, canvas.height as i64);
    if (area.left, area.top, area.right, area.bottom) == (1, 1, width, height) {
        return Ok(canvas);
    }
    let length = |first: i64, last: i64| {
        let length = last.checked_sub(first).and_then(|length| length.checked_add(1));
        length
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(RenderError::TooLarge)
    };
    let (cut_width, cut_height) = (length(area.left, area.right)?, length(area.top, area.bottom)?);
    let mut cut = Canvas::filled(cut_width, cut_height, canvas.channels, 0)?;
    let columns = area.left.max(1)..=area.right.min(width);
    if columns.is_empty() {
        return Ok(cut);
    }
    let channels = canvas.channels;
    let source = (columns.start() - 1) as usize * channels..*columns.end() as usize * channels;
    let target = (columns.start() - area.left) as usize * channels;
    for row in area.top.max(1)..=area.bottom.min(height) {
        let pixels = &canvas.row((row - 1) as usize)[source.clone()];
        cut.row_mut((row - area.top) as usize)[target..target + pixels.len()].copy_from_slice(pixels);
    }
    Ok(cut)
}

/// Turned clockwise by quarters, then flipped horizontally.
pub(crate) fn turn(canvas: Canvas, quarter_turns: u8, flip: bool) -> Result<Canvas, RenderError> {
    if quarter_turns == 0 && !flip {
        return Ok(canvas);
    }
    let (width, height, channels) = (canvas.width, canvas.height, canvas.channels);
    let (turned_width, turned_height) = if quarter_turns % 2 == 1 {
        (height, width)
    } else {
        (width, height)
    };
    let mut turned = Canvas::filled(turned_width, turned_height, channels, 0)?;
    for row in 0..turned_height {
        let target = turned.row_mut(row);
        for (column, pixel) in target.chunks_exact_mut(channels).enumerate() {
            let column = if flip { turned_width - 1 - column } else { column };
            let (source_row, source_column) = match quarter_turns {
                1 => (height - 1 - column, row),
                2 => (height - 1 - row, width - 1 - column),
                3 => (column, width - 1 - row),
                _ => (row, column),
            };
            let at = (source_row * width + source_column) * channels;
            pixel.copy_from_slice(&canvas.pixels[at..at + channels]);
        }
    }
    Ok(turned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas() -> Canvas {
        Canvas {
            width: 3,
            height: 2,
            channels: 1,
            pixels: vec![1, 2, 3, 4, 5, 6],
        }
    }

    #[test]
    fn turns() {
        let check = |turns: u8, flip: bool, width: usize, expected: [u8; 6]| {
            let turned = turn(canvas(), turns, flip).expect("small");
            assert_eq!((turned.width, turned.pixels.as_slice()), (width, &expected[..]));
        };
        check(0, false, 3, [1, 2, 3, 4, 5, 6]);
        check(0, true, 3, [3, 2, 1, 6, 5, 4]);
        check(1, false, 2, [4, 1, 5, 2, 6, 3]);
        check(1, true, 2, [1, 4, 2, 5, 3, 6]);
        check(2, false, 3, [6, 5, 4, 3, 2, 1]);
        check(3, false, 2, [3, 6, 2, 5, 1, 4]);
    }

    #[test]
    fn areas() {
        let area = |left: i64, top: i64, right: i64, bottom: i64| DisplayedArea {
            left,
            top,
            right,
            bottom,
            aspect: None,
        };
        let check = |area: DisplayedArea, width: usize, expected: &[u8]| {
            let cut = cut(canvas(), &area).expect("small");
            assert_eq!((cut.width, cut.pixels.as_slice()), (width, expected));
        };
        check(area(1, 1, 3, 2), 3, &[1, 2, 3, 4, 5, 6]);
        check(area(2, 2, 3, 2), 2, &[5, 6]);
        check(area(0, 0, 2, 1), 3, &[0, 0, 0, 0, 1, 2]);
        check(area(3, 2, 4, 3), 2, &[6, 0, 0, 0]);
        check(area(7, 7, 7, 7), 1, &[0]);
        let huge = cut(canvas(), &area(i64::MIN, 1, i64::MAX, 1));
        assert_eq!(huge, Err(RenderError::TooLarge));
    }
}
