//! Second-order filters, from R. Bristow-Johnson's Audio EQ Cookbook.

use std::f64::consts::{PI, SQRT_2};

use super::SAMPLE_RATE;

/// Butterworth: flat below the cut-off, 3 dB down at it.
const QUALITY: f64 = 1.0 / SQRT_2;

/// Lets through what is below `hertz`; 12 dB an octave.
pub(super) fn low_pass(clip: &mut [f32], hertz: f64) {
    let angle = Angle::of(hertz);
    let side = (1.0 - angle.cos) / 2.0;
    run(clip, angle, [side, 2.0 * side, side]);
}

/// Lets through what is above `hertz`; 12 dB an octave.
pub(super) fn high_pass(clip: &mut [f32], hertz: f64) {
    let angle = Angle::of(hertz);
    let side = (1.0 + angle.cos) / 2.0;
    run(clip, angle, [side, -2.0 * side, side]);
}

/// The cookbook's `w0` and `alpha`.
struct Angle {
    cos: f64,
    alpha: f64,
}

impl Angle {
    fn of(hertz: f64) -> Self {
        let rate = f64::from(SAMPLE_RATE);
        // At both ends of the spectrum the filter would no longer be one.
        let hertz = hertz.max(1.0).min(0.499 * rate);
        let (sin, cos) = (2.0 * PI * hertz / rate).sin_cos();
        Self {
            cos,
            alpha: sin / (2.0 * QUALITY),
        }
    }
}

/// Transposed direct form II, in f64: a low cut-off has poles near 1, where f32 is heard.
fn run(clip: &mut [f32], angle: Angle, zeros: [f64; 3]) {
    let scale = 1.0 / (1.0 + angle.alpha);
    let [b0, b1, b2] = zeros.map(|b| b * scale);
    let (a1, a2) = (-2.0 * angle.cos * scale, (1.0 - angle.alpha) * scale);
    let (mut first, mut second) = (0.0, 0.0);
    for sample in clip {
        let x = f64::from(*sample);
        let y = b0 * x + first;
        first = b1 * x - a1 * y + second;
        second = b2 * x - a2 * y;
        *sample = y as f32;
    }
}
