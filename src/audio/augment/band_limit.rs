//! A steep low-pass, as lossy codecs put one before everything else at low bit rates.
//!
//! A linear-phase FIR filter, designed with a Kaiser window (Kaiser 1974, as in Oppenheim and Schafer,
//! "Discrete-Time Signal Processing", 7.5.3) and run by overlap-save.

use std::f64::consts::PI;

use realfft::{RealFftPlanner, num_complex::Complex};

use super::SAMPLE_RATE;

/// Attenuation of the stop band, decibels: below the noise of any music.
const ATTENUATION: f64 = 80.0;
/// Taps; odd, so that the delay is a whole number of samples. Kaiser's `(A - 8) / (2.285 (taps - 1))`
/// makes the edge 313 Hz wide.
const TAPS: usize = 257;
/// Samples by which a linear-phase filter delays.
const DELAY: usize = (TAPS - 1) / 2;
/// Points of a block's transform; the first `TAPS - 1` samples of each block are thrown away.
const BLOCK: usize = 2048;
/// Samples that a block yields.
const STEP: usize = BLOCK - (TAPS - 1);

/// Takes away everything above `hertz`; 6 dB down at it, 80 dB from 160 Hz above it.
pub(super) fn apply(clip: &[f32], hertz: f64) -> Vec<f32> {
    let mut planner = RealFftPlanner::new();
    let (forward, inverse) = (
        planner.plan_fft_forward(BLOCK),
        planner.plan_fft_inverse(BLOCK),
    );
    let (mut time, mut spectrum) = (forward.make_input_vec(), forward.make_output_vec());
    let mut work =
        vec![Complex::default(); forward.get_scratch_len().max(inverse.get_scratch_len())];

    for (value, tap) in time.iter_mut().zip(taps(hertz)) {
        // The transforms are not normalised.
        *value = (tap / BLOCK as f64) as f32;
    }
    let mut response = forward.make_output_vec();
    forward
        .process_with_scratch(&mut time, &mut response, &mut work)
        .expect("the buffers were made by the plan itself");

    let mut output = Vec::with_capacity(clip.len() + STEP);
    // Block k holds the samples from k * STEP - (TAPS - 1) + DELAY on.
    for start in (0..clip.len()).step_by(STEP) {
        let (before, from) = match (start + DELAY).checked_sub(TAPS - 1) {
            Some(from) => (0, from.min(clip.len())),
            None => (TAPS - 1 - DELAY - start, 0),
        };
        let piece = &clip[from..(from + BLOCK - before).min(clip.len())];
        time.fill(0.0);
        time[before..before + piece.len()].copy_from_slice(piece);
        forward
            .process_with_scratch(&mut time, &mut spectrum, &mut work)
            .expect("the buffers were made by the plan itself");
        for (bin, factor) in spectrum.iter_mut().zip(&response) {
            *bin *= factor;
        }
        real_ends(&mut spectrum);
        inverse
            .process_with_scratch(&mut spectrum, &mut time, &mut work)
            .expect("the buffers were made by the plan, and both ends are real");
        output.extend_from_slice(&time[TAPS - 1..]);
    }
    output.truncate(clip.len());
    output
}

/// The first and the last bin of a real signal's spectrum are real; the inverse insists on it.
fn real_ends(spectrum: &mut [Complex<f32>]) {
    if let [first, .., last] = spectrum {
        (first.im, last.im) = (0.0, 0.0);
    }
}

/// The ideal low-pass under a Kaiser window, scaled to a gain of 1 at 0 Hz.
fn taps(hertz: f64) -> Vec<f64> {
    let nyquist = f64::from(SAMPLE_RATE) / 2.0;
    let cutoff = hertz.max(1.0).min(nyquist) / nyquist;
    let beta = 0.1102 * (ATTENUATION - 8.7);
    let tap = |index: usize| {
        let x = index as f64 - DELAY as f64;
        let ideal = if x == 0.0 {
            cutoff
        } else {
            (PI * cutoff * x).sin() / (PI * x)
        };
        let place = x / DELAY as f64;
        ideal * bessel(beta * (1.0 - place * place).max(0.0).sqrt()) / bessel(beta)
    };
    let taps: Vec<f64> = (0..TAPS).map(tap).collect();
    let sum: f64 = taps.iter().sum();
    taps.into_iter().map(|tap| tap / sum).collect()
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..64 {
        term *= quarter / f64::from(k * k);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_the_convolution() {
        let clip: Vec<f32> = (0..5_000)
            .map(|i| ((i * i) as f32 * 0.01).sin() * 0.5)
            .collect();
        let taps = taps(4_000.0);
        let filtered = apply(&clip, 4_000.0);
        assert_eq!(filtered.len(), clip.len());
        for at in [0, 1, 127, 128, 129, STEP - 1, STEP, STEP + 1, 4_870, 4_999] {
            let sum: f64 = (0..TAPS)
                .filter_map(|k| {
                    let index = (at + DELAY).checked_sub(k)?;
                    Some(taps[k] * f64::from(*clip.get(index)?))
                })
                .sum();
            assert!((f64::from(filtered[at]) - sum).abs() < 1e-6, "sample {at}");
        }
    }
}
