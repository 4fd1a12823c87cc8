//! A head after Shepp and Logan (IEEE Trans. Nucl. Sci. 21, 1974): ellipsoids one over the other, the later one
//! wins. The same anatomy serves CT (Hounsfield units) and MR (T1-like signal).

use super::{smooth_step, value_noise};
use crate::random::Random;

/// What a voxel is made of, per modality.
#[derive(Clone, Copy)]
struct Tissue {
    hounsfield: f32,
    t1_signal: f32,
    /// Standard deviation of the tissue's own texture in Hounsfield units; the same share of the signal in MR.
    texture: f32,
}

const fn tissue(hounsfield: f32, t1_signal: f32, texture: f32) -> Tissue {
    Tissue {
        hounsfield,
        t1_signal,
        texture,
    }
}

const AIR: Tissue = tissue(-1000.0, 8.0, 0.0);
const SCALP: Tissue = tissue(20.0, 860.0, 14.0);
const SKULL: Tissue = tissue(940.0, 60.0, 60.0);
const MARROW: Tissue = tissue(520.0, 420.0, 90.0);
const FLUID: Tissue = tissue(6.0, 130.0, 1.0);
const GREY_MATTER: Tissue = tissue(38.0, 440.0, 3.0);
const WHITE_MATTER: Tissue = tissue(30.0, 640.0, 2.0);
const EYE: Tissue = tissue(12.0, 180.0, 1.0);
const ORBITAL_FAT: Tissue = tissue(-90.0, 900.0, 10.0);
const LESION: Tissue = tissue(68.0, 760.0, 4.0);
const CALCIFICATION: Tissue = tissue(320.0, 90.0, 20.0);

/// Centre and half axes in half head heights (x to the patient's left, y to the back, z to the head), turned in the
/// axial plane by an angle in radians.
struct Ellipsoid {
    centre: [f32; 3],
    axes: [f32; 3],
    angle: f32,
    tissue: Tissue,
    /// How deep the surface is folded, as a share of the radius.
    folds: f32,
}

const fn ellipsoid(centre: [f32; 3], axes: [f32; 3], angle: f32, tissue: Tissue, folds: f32) -> Ellipsoid {
    Ellipsoid {
        centre,
        axes,
        angle,
        tissue,
        folds,
    }
}

const HEAD: [Ellipsoid; 24] = [
    ellipsoid([0.0, 0.0, 0.0], [0.72, 0.94, 0.96], 0.0, SCALP, 0.0),
    ellipsoid([0.0, -0.93, -0.38], [0.10, 0.13, 0.20], 0.0, SCALP, 0.0),
    ellipsoid([0.0, 0.0, 0.02], [0.68, 0.89, 0.92], 0.0, SKULL, 0.0),
    ellipsoid([0.0, 0.0, 0.02], [0.655, 0.865, 0.895], 0.0, MARROW, 0.0),
    ellipsoid([0.0, 0.0, 0.02], [0.64, 0.85, 0.88], 0.0, SKULL, 0.0),
    ellipsoid([0.0, 0.0, 0.03], [0.615, 0.825, 0.855], 0.0, FLUID, 0.0),
    // Hemispheres: grey matter, two white lobes in it, the fissure between them, the bridge under it.
    ellipsoid([0.0, 0.0, 0.05], [0.59, 0.79, 0.81], 0.0, GREY_MATTER, 0.012),
    ellipsoid([-0.28, 0.0, 0.06], [0.215, 0.60, 0.68], 0.10, WHITE_MATTER, 0.055),
    ellipsoid([0.28, 0.0, 0.06], [0.215, 0.60, 0.68], -0.10, WHITE_MATTER, 0.055),
    ellipsoid([0.0, 0.0, 0.10], [0.013, 0.80, 0.83], 0.0, FLUID, 0.0),
    ellipsoid([0.0, 0.02, 0.10], [0.16, 0.34, 0.13], 0.0, WHITE_MATTER, 0.0),
    // Hind brain and the bone between it and the lobes above.
    ellipsoid([0.0, 0.24, -0.42], [0.40, 0.30, 0.24], 0.0, GREY_MATTER, 0.03),
    ellipsoid([0.0, 0.06, -0.52], [0.12, 0.14, 0.42], 0.0, WHITE_MATTER, 0.0),
    ellipsoid([-0.36, 0.02, -0.50], [0.26, 0.07, 0.09], -0.55, SKULL, 0.0),
    ellipsoid([0.36, 0.02, -0.50], [0.26, 0.07, 0.09], 0.55, SKULL, 0.0),
    ellipsoid([-0.13, -0.06, 0.10], [0.055, 0.30, 0.16], 0.24, FLUID, 0.0),
    ellipsoid([0.13, -0.06, 0.10], [0.055, 0.30, 0.16], -0.24, FLUID, 0.0),
    ellipsoid([-0.17, 0.05, -0.02], [0.085, 0.15, 0.12], 0.3, GREY_MATTER, 0.0),
    ellipsoid([0.17, 0.05, -0.02], [0.085, 0.15, 0.12], -0.3, GREY_MATTER, 0.0),
    ellipsoid([0.0, 0.06, -0.02], [0.018, 0.12, 0.12], 0.0, FLUID, 0.0),
    ellipsoid([0.0, 0.30, 0.04], [0.018, 0.022, 0.02], 0.0, CALCIFICATION, 0.0),
    ellipsoid([-0.27, -0.70, -0.42], [0.19, 0.22, 0.16], 0.0, ORBITAL_FAT, 0.0),
    ellipsoid([0.27, -0.70, -0.42], [0.19, 0.22, 0.16], 0.0, ORBITAL_FAT, 0.0),
    ellipsoid([0.0, -0.66, -0.50], [0.085, 0.20, 0.15], 0.0, AIR, 0.0),
];

/// A volume: how many slices, and how large one is.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    pub(crate) slices: u32,
    pub(crate) rows: u32,
    pub(crate) columns: u32,
}

/// A head with its own lesion, placed by the seed.
pub(crate) struct Head {
    seed: u64,
    parts: Vec<Ellipsoid>,
}

impl Head {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, 0x4EAD);
        let mut parts: Vec<Ellipsoid> = HEAD.into_iter().collect();
        for side in [-0.27, 0.27] {
            parts.push(ellipsoid([side, -0.72, -0.42], [0.125, 0.125, 0.125], 0.0, EYE, 0.0));
        }
        let side = if random.below(2) == 0 { -1.0 } else { 1.0 };
        let place = [
            side * (0.26 + 0.14 * random.unit()),
            -0.25 + 0.6 * random.unit(),
            0.05 + 0.3 * random.unit(),
        ];
        let size = 0.06 + 0.05 * random.unit();
        parts.push(ellipsoid(place, [size, size * 1.3, size], 0.5, LESION, 0.03));
        Self { seed, parts }
    }

    /// One axial CT slice in Hounsfield units, row by row: head, head rest, quantum noise.
    pub(crate) fn hounsfield(&self, grid: Grid, slice: u32) -> Vec<i16> {
        let mut random = Random::new(self.seed, 0xC700_0000 | u64::from(slice));
        self.slice(grid, slice, |tissue, texture, [x, y], cover| {
            let couch = smooth_step(0.03, 0.015, ((x * x * 0.35 + 1.0 - y) + 0.02).abs());
            let body = tissue.hounsfield + tissue.texture * texture;
            let value = if cover < 0.5 {
                body.max(-1000.0 + couch * 880.0)
            } else {
                body
            };
            // Noise is larger behind bone: towards the middle of the head.
            let noise = if cover > 0.5 { 5.5 - 2.0 * (x * x + y * y) } else { 7.0 };
            (value + noise * random.normal()).clamp(-1024.0, 1023.0) as i16
        })
    }

    /// One axial T1-like MR slice, 0 to about 1,200: coil shading and Rician noise.
    pub(crate) fn t1_signal(&self, grid: Grid, slice: u32) -> Vec<i16> {
        let mut random = Random::new(self.seed, 0x3121_0000 | u64::from(slice));
        self.slice(grid, slice, |tissue, texture, [x, y], _| {
            let shading = 1.0 + 0.18 * (x * 1.3 - 0.4).sin() + 0.12 * (y * 1.1).cos();
            let signal = tissue.t1_signal * shading * (1.0 + tissue.texture * texture * 0.004);
            let (real, imaginary) = (signal + 14.0 * random.normal(), 14.0 * random.normal());
            (real * real + imaginary * imaginary).sqrt() as i16
        })
    }

    /// Walks one slice. `voxel` gets the blended tissue, a texture value in −1..1, the place in half head heights and
    /// the head's coverage.
    fn slice(&self, grid: Grid, slice: u32, mut voxel: impl FnMut(Tissue, f32, [f32; 2], f32) -> i16) -> Vec<i16> {
        // The stack reaches from below the eyes to just above the vertex; rows and columns have square pixels.
        let z = -0.62 + 1.5 * (slice as f32 + 0.5) / grid.slices.max(1) as f32;
        let scale = 2.2 / grid.rows.min(grid.columns).max(1) as f32;
        let in_reach: Vec<&Ellipsoid> = self
            .parts
            .iter()
            .filter(|p| (z - p.centre[2]).abs() < p.axes[2] * 1.1)
            .collect();
        let turned: Vec<(f32, f32)> = in_reach.iter().map(|p| p.angle.sin_cos()).collect();
        let mut out = Vec::with_capacity(grid.rows as usize * grid.columns as usize);
        for row in 0..grid.rows {
            let y = (row as f32 + 0.5 - grid.rows as f32 / 2.0) * scale;
            for column in 0..grid.columns {
                let x = (column as f32 + 0.5 - grid.columns as f32 / 2.0) * scale;
                let mut mixed = AIR;
                let mut cover_of_head = 0.0f32;
                for (part, &(sin, cos)) in in_reach.iter().zip(&turned) {
                    let cover = part.cover([x, y, z], sin, cos, scale);
                    if cover > 0.0 {
                        let blend = |from: f32, to: f32| from + (to - from) * cover;
                        mixed.hounsfield = blend(mixed.hounsfield, part.tissue.hounsfield);
                        mixed.t1_signal = blend(mixed.t1_signal, part.tissue.t1_signal);
                        mixed.texture = blend(mixed.texture, part.tissue.texture);
                        cover_of_head = cover_of_head.max(cover);
                    }
                }
                let texture = match cover_of_head > 0.0 {
                    true => value_noise(self.seed ^ u64::from(slice / 2), x * 28.0, y * 28.0),
                    false => 0.0,
                };
                out.push(voxel(mixed, texture, [x, y], cover_of_head));
            }
        }
        out
    }
}

impl Ellipsoid {
    /// How much of the voxel lies inside: 0 to 1, soft over about one pixel.
    fn cover(&self, [x, y, z]: [f32; 3], sin: f32, cos: f32, pixel: f32) -> f32 {
        let (dx, dy, dz) = (x - self.centre[0], y - self.centre[1], z - self.centre[2]);
        let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
        let (u, v, w) = (u / self.axes[0], v / self.axes[1], dz / self.axes[2]);
        let squared = u * u + v * v + w * w;
        if squared > 1.3 {
            return 0.0;
        }
        let mut radius = squared.sqrt();
        if self.folds > 0.0 && squared > 0.4 {
            let angle = v.atan2(u);
            radius += self.folds
                * (1.0 - w * w).max(0.0)
                * ((angle * 13.0 + 5.0 * w).sin() + 0.6 * (angle * 23.0 - 9.0 * w).sin());
        }
        let edge = pixel / self.axes[0].min(self.axes[1]);
        smooth_step(1.0 + edge * 0.7, 1.0 - edge * 0.7, radius)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid {
        slices: 8,
        rows: 64,
        columns: 64,
    };

    #[test]
    fn a_slice_has_air_brain_and_bone() {
        let slice = Head::new(1).hounsfield(GRID, 4);
        let at = |row: usize, column: usize| slice[row * 64 + column];
        assert!(at(1, 1) < -900, "air outside");
        assert!((0..90).contains(&at(20, 24)), "brain inside: {}", at(20, 24));
        assert!(slice.iter().any(|&v| v > 600), "bone");
    }

    #[test]
    fn noise_follows_the_seed() {
        assert_eq!(Head::new(1).t1_signal(GRID, 3), Head::new(1).t1_signal(GRID, 3));
        assert_ne!(Head::new(1).t1_signal(GRID, 3), Head::new(2).t1_signal(GRID, 3));
        assert!(Head::new(1).t1_signal(GRID, 3).iter().all(|&v| (0..2048).contains(&v)));
    }
}
