//! A breast in one view: fat, glandular strands, a mass, microcalcifications, skin line and, in the oblique view,
//! the pectoral muscle.

use super::{smooth_step, value_noise};
use crate::random::Random;

/// Which view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// The left breast: chest wall at the image's left edge.
    pub(crate) left: bool,
    /// Mediolateral oblique, else craniocaudal.
    pub(crate) oblique: bool,
}

/// 16-bit samples using 0..4096, row by row; background 0.
pub(crate) fn image(seed: u64, rows: u32, columns: u32, view: View) -> Vec<u16> {
    let side = u64::from(view.left) | u64::from(view.oblique) << 1;
    let mut random = Random::new(seed, 0x3A00 | side);
    let texture = seed ^ side << 32;
    let height = rows as f32;
    let calcifications: Vec<[f32; 2]> = (0..14)
        .map(|_| [0.30 + 0.05 * random.normal() * 0.6, 0.52 + 0.05 * random.normal() * 0.6])
        .collect();
    let mut out = Vec::with_capacity(rows as usize * columns as usize);
    for row in 0..rows {
        let y = (row as f32 + 0.5) / height;
        for column in 0..columns {
            let from_wall = if view.left { column } else { columns - 1 - column };
            let x = (from_wall as f32 + 0.5) / height;
            // Half an ellipse from the chest wall; the oblique view hangs lower and reaches the armpit.
            let centre = if view.oblique { 0.56 } else { 0.5 };
            let (u, v) = (
                x / 0.56,
                (y - centre) / if view.oblique && y < centre { 0.60 } else { 0.42 },
            );
            let radius = (u * u + v * v).sqrt();
            let inside = smooth_step(1.004, 0.996, radius);
            if inside <= 0.0 {
                out.push(0);
                continue;
            }
            let cloud = |scale: f32, salt: u64| value_noise(texture ^ salt, x * scale, y * scale);
            let clouds = cloud(6.0, 1) + 0.5 * cloud(13.0, 2) + 0.28 * cloud(29.0, 3) + 0.16 * cloud(61.0, 4);
            // Strands run towards the nipple.
            let strand = value_noise(texture ^ 5, (v / (1.15 - u).max(0.1)) * 26.0, u * 5.0).abs();
            let gland = smooth_step(1.0, 0.25, radius) * smooth_step(-0.35, 0.75, clouds);
            let mut value = 900.0 + 240.0 * clouds + 1350.0 * gland + 320.0 * smooth_step(0.25, 0.0, strand) * gland;
            // Thinner towards the rim, and a thin bright skin line.
            value *= 0.30 + 0.70 * smooth_step(1.0, 0.72, radius);
            value += 420.0 * smooth_step(0.016, 0.0, (radius - 0.988).abs());
            let mass = (((x - 0.27) / 0.035).powi(2) + ((y - 0.42) / 0.030).powi(2)).sqrt();
            value += 900.0 * smooth_step(1.15 + 0.12 * cloud(70.0, 6), 0.6, mass);
            for [cx, cy] in &calcifications {
                let distance = ((x - cx).powi(2) + (y - cy).powi(2)).sqrt();
                value += 1500.0 * smooth_step(0.0022, 0.0008, distance);
            }
            if view.oblique {
                let muscle = smooth_step(0.02, -0.02, x - 0.30 + y * 0.62);
                value += (2350.0 + 120.0 * clouds - value) * muscle * 0.85;
            }
            value += 18.0 * random.normal();
            out.push((value * inside).clamp(0.0, 4095.0) as u16);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chest_wall_is_on_the_right_side() {
        for left in [true, false] {
            let image = image(1, 100, 75, View { left, oblique: false });
            let at = |column: usize| image[50 * 75 + column];
            assert_eq!(at(2) > 300, left);
            assert_eq!(at(72) > 300, !left);
        }
    }
}
