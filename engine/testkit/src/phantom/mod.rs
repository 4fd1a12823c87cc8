//! The phantoms: pixels that look right in a viewer, from a seed. Each file owns one modality's image; the DICOM
//! modules around them are in [`crate::study`].

pub(crate) mod head;
pub(crate) mod mammogram;
pub(crate) mod ultrasound;

/// 0 below `low`, 1 above `high`, smooth between.
pub(crate) fn smooth_step(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Smooth value noise on an endless grid, in −1..1: equal for equal arguments.
pub(crate) fn value_noise(seed: u64, x: f32, y: f32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let corner = |dx: i64, dy: i64| {
        let key = (x0 as i64 + dx).wrapping_mul(0x1F12_3BB5) ^ (y0 as i64 + dy).wrapping_mul(0x5DEE_CE66);
        (crate::random::mix(seed ^ key as u64) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let (tx, ty) = (smooth_step(0.0, 1.0, x - x0), smooth_step(0.0, 1.0, y - y0));
    let top = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * tx;
    let bottom = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * tx;
    top + (bottom - top) * ty
}
