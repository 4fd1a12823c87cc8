//! A beating heart in a sector scan: speckle that moves with the wall, dark chamber, red and blue flow.

use super::{smooth_step, value_noise};
use crate::random::Random;

/// Half the sector's opening angle, in radians.
const HALF_ANGLE: f32 = 0.70;

/// One frame, RGB interleaved, 8 bits a sample. `phase` is the place in the heart cycle, 0 to 1.
pub(crate) fn frame(seed: u64, rows: u32, columns: u32, phase: f32) -> Vec<u8> {
    let (height, width) = (rows as f32, columns as f32);
    let mut random = Random::new(seed, 0x05_0000 | (phase * 65_536.0) as u64);
    let beat = (phase * std::f32::consts::TAU).sin();
    let mut out = Vec::with_capacity(rows as usize * columns as usize * 3);
    for row in 0..rows {
        for column in 0..columns {
            // Polar around the transducer, which sits a little above the image; depth in image heights.
            let (x, y) = (
                (column as f32 + 0.5 - width / 2.0) / height,
                (row as f32 + 0.5) / height + 0.02,
            );
            let (depth, angle) = ((x * x + y * y).sqrt(), x.atan2(y));
            let inside = angle.abs() < HALF_ANGLE && (0.06..0.98).contains(&depth);
            out.extend(match inside {
                true => sample(seed, depth, angle, beat, &mut random),
                false => [0, 0, 0],
            });
        }
    }
    out
}

fn sample(seed: u64, depth: f32, angle: f32, beat: f32, random: &mut Random) -> [u8; 3] {
    // The wall: a ring around the chamber that grows thicker while the chamber shrinks.
    let (x, y) = (angle * 1.35 + 0.05, depth - 0.55);
    let radius = ((x * 0.72).powi(2) + y.powi(2)).sqrt();
    let chamber = 0.22 - 0.045 * beat;
    let wall = 0.33 - 0.02 * beat;
    // Speckle is finer along the beam than across, and is carried by the motion.
    let moved = radius - chamber;
    let speckle = value_noise(
        seed,
        depth * 210.0 + beat * 6.0 * smooth_step(0.25, 0.0, moved.abs()),
        angle * 95.0,
    );
    let brightness = if radius < chamber {
        0.06
    } else if radius < wall {
        0.62
    } else {
        0.34 + 0.16 * value_noise(seed ^ 7, depth * 9.0, angle * 7.0)
    };
    // The valve: a bright, swinging leaf.
    let leaf = smooth_step(0.012, 0.0, (x - 0.10 * beat - y * 0.4).abs()) * smooth_step(0.16, 0.10, radius);
    let attenuation = 1.05 - 0.45 * depth;
    let mut grey = (brightness * (1.0 + 0.75 * speckle) + 0.8 * leaf) * attenuation;
    grey += 0.02 * random.normal();
    let grey = (grey * 235.0).clamp(0.0, 255.0);
    // Colour flow inside the chamber: towards the transducer red, away blue.
    let flow =
        smooth_step(chamber * 0.85, 0.0, radius) * (0.55 + 0.45 * value_noise(seed ^ 3, depth * 40.0, angle * 30.0));
    let (red, blue) = if beat >= 0.0 {
        (flow * beat, 0.0)
    } else {
        (0.0, -flow * beat)
    };
    let mix = |share: f32, tint: f32| (grey * (1.0 - share) + tint * share).clamp(0.0, 255.0) as u8;
    let share = (red + blue).min(0.9);
    [
        mix(share, 235.0 * (red > 0.0) as u8 as f32),
        mix(share, 60.0),
        mix(share, 240.0 * (blue > 0.0) as u8 as f32),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sector_is_lit_and_moves() {
        let (first, later) = (frame(1, 48, 64, 0.0), frame(1, 48, 64, 0.25));
        assert_eq!(first.len(), 48 * 64 * 3);
        assert_eq!(first[..3], [0, 0, 0], "corner is black");
        assert!(first[(24 * 64 + 32) * 3..].iter().any(|&v| v > 40));
        assert_ne!(first, later);
        let coloured = later.chunks_exact(3).filter(|p| p[0] > p[2].saturating_add(60)).count();
        assert!(coloured > 5, "{coloured}");
    }
}
