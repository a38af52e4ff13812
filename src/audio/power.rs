//! Power of some bins of a short real signal's spectrum: what spectrogram and landmarks are made from.

use std::{f64::consts::PI, ops::Range, sync::Arc};

use rustfft::{Fft, FftPlanner, num_complex::Complex};

/// A windowed Fourier transform that is planned once and shared between threads.
///
/// A real signal of `n` samples is transformed as a complex one of `n / 2`: the even samples are its real
/// part, the odd ones its imaginary part. With `Z` for what comes out and `Z'(k)` for the conjugate of
/// `Z(n/2 - k)`, the even samples' transform is `(Z + Z') / 2` and that of the odd ones `-i (Z - Z') / 2`, so
/// the signal's is `((Z + Z') - i e^(-2 pi i k / n) (Z - Z')) / 2` (Cooley, Lewis and Welch, "The Fast Fourier
/// Transform Algorithm", 1970). Only the wanted bins are put together so.
pub(super) struct PowerSpectrum {
    fft: Arc<dyn Fft<f32>>,
    window: Vec<f32>,
    first_bin: usize,
    /// `-i e^(-2 pi i k / n)` for each wanted bin `k`.
    turns: Vec<Complex<f32>>,
}

/// Values between the two halves of a [`Scratch`]. Reads that lie whole pages behind writes look to a processor
/// like reads of what is being written, and wait: one run of six was half as slow again without this.
const GAP: usize = 32;

/// A buffer of one thread: pairs of samples, a gap, and what the transform works with.
pub(super) struct Scratch(Vec<Complex<f32>>);

impl PowerSpectrum {
    /// Plans the transform of as many samples as `window` has, followed by zeros up to `size`.
    ///
    /// # Panics
    /// Where window and size are odd, the window is longer than `size`, or a bin is not between 0 (a
    /// signal's mean, which nobody asks for) and `size / 2`.
    pub(super) fn new(window: Vec<f32>, size: usize, bins: Range<usize>) -> Self {
        assert!(size.is_multiple_of(2) && window.len().is_multiple_of(2) && window.len() <= size);
        assert!(bins.start > 0 && bins.end <= size / 2);
        let turn = |bin| Complex::from_polar(1.0, -PI * (0.5 + 2.0 * bin as f64 / size as f64));
        let narrow = |turn: Complex<f64>| Complex::new(turn.re as f32, turn.im as f32);
        Self {
            fft: FftPlanner::new().plan_fft_forward(size / 2),
            window,
            first_bin: bins.start,
            turns: bins.map(|bin| narrow(turn(bin))).collect(),
        }
    }

    pub(super) fn scratch(&self) -> Scratch {
        let values = self.fft.len() + GAP + self.fft.get_inplace_scratch_len();
        Scratch(vec![Complex::new(0.0, 0.0); values])
    }

    /// Power of the wanted bins, into the front of `power`, of as many samples as the window has.
    pub(super) fn power(&self, samples: &[f32], scratch: &mut Scratch, power: &mut [f32]) {
        let (pairs, rest) = scratch.0.split_at_mut(self.fft.len());
        let (body, zeros) = pairs.split_at_mut(self.window.len() / 2);
        let (samples, window) = (samples.as_chunks().0, self.window.as_chunks().0);
        for ((pair, [even, odd]), [a, b]) in body.iter_mut().zip(samples).zip(window) {
            *pair = Complex::new(even * a, odd * b);
        }
        zeros.fill(Complex::new(0.0, 0.0));
        self.fft.process_with_scratch(pairs, &mut rest[GAP..]);

        let ahead = &pairs[self.first_bin..];
        let back = pairs[..=pairs.len() - self.first_bin].iter().rev();
        for (((power, z), mirrored), turn) in power.iter_mut().zip(ahead).zip(back).zip(&self.turns)
        {
            let sum = Complex::new(z.re + mirrored.re, z.im - mirrored.im);
            let difference = Complex::new(z.re - mirrored.re, z.im + mirrored.im);
            *power = 0.25 * (sum + turn * difference).norm_sqr();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in f64.
    fn slow_power(samples: &[f32], window: &[f32], size: usize, bin: usize) -> f64 {
        let turned = samples.iter().zip(window).enumerate().map(|(n, (s, w))| {
            let angle = -2.0 * PI * (n * bin) as f64 / size as f64;
            Complex::from_polar(f64::from(*s) * f64::from(*w), angle)
        });
        turned.sum::<Complex<f64>>().norm_sqr()
    }

    #[test]
    fn power_is_that_of_the_definition() {
        for (length, size, bins) in [(400, 512, 1..256), (1024, 1024, 10..256), (6, 8, 1..4)] {
            let samples: Vec<f32> = (0..length).map(|n| (n as f32 * 0.37).sin()).collect();
            let window: Vec<f32> = (0..length).map(|n| 0.5 + (n as f32).cos() / 3.0).collect();
            let spectrum = PowerSpectrum::new(window.clone(), size, bins.clone());
            let mut power = vec![f32::NAN; bins.len()];
            spectrum.power(&samples, &mut spectrum.scratch(), &mut power);
            let slow: Vec<f64> = bins
                .map(|bin| slow_power(&samples, &window, size, bin).sqrt())
                .collect();
            let most = slow.iter().copied().fold(0.0, f64::max);
            for (bin, (power, slow)) in power.into_iter().zip(slow).enumerate() {
                let fast = f64::from(power).sqrt();
                assert!(
                    (fast - slow).abs() < 3e-7 * most,
                    "{size} points, bin {bin}: {fast}, not {slow}"
                );
            }
        }
    }
}
