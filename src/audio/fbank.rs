//! Kaldi's log-mel filterbank as Hugging Face's `ASTFeatureExtractor` calls it.
//!
//! The reference is `torchaudio.compliance.kaldi.fbank(waveform, htk_compat=True, use_energy=False,
//! window_type="hanning", dither=0.0, frame_shift=10)` followed by `(x - mean) / (2 std)`. Per frame of
//! 25 ms: remove the mean, pre-emphasise, window, FFT, power, mel filters, logarithm. Unlike Kaldi's
//! own tools the samples are not scaled by 2^15.

use std::{
    f32::consts::{FRAC_1_SQRT_2, LN_2},
    f64::consts::PI,
};

use super::{
    AudioError, FeatureConfig, SAMPLE_RATE, Spectrogram,
    mel::{LANES, MelBank},
    power::{self, PowerSpectrum},
};

/// Samples in a frame: 25 ms, Kaldi's default.
const FRAME: usize = 400;
/// Samples from one frame to the next: 10 ms.
const HOP: usize = 160;
/// The next power of two above [`FRAME`] (Kaldi's `round_to_power_of_two`).
const FFT_SIZE: usize = 512;
/// Lower edge of the lowest filter, Kaldi's default.
const LOW_HERTZ: f64 = 20.0;
/// Kaldi's default pre-emphasis.
const PREEMPHASIS: f32 = 0.97;
/// Floor under the energies before the logarithm: torch's float epsilon.
const ENERGY_FLOOR: f32 = f32::EPSILON;
/// Bins of which the filters are made: all but the highest, which belongs to none.
const BINS: usize = FFT_SIZE / 2;

/// The filterbank, planned once and shared between threads.
pub struct Fbank {
    spectrum: PowerSpectrum,
    bank: MelBank,
    mel_bins: usize,
    offset: f32,
    scale: f32,
}

impl std::fmt::Debug for Fbank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fbank")
            .field("mel_bins", &self.mel_bins)
            .finish_non_exhaustive()
    }
}

impl Fbank {
    /// Plans the filterbank for these settings.
    ///
    /// # Errors
    /// [`AudioError::Features`] where a setting asks for something that is not implemented here.
    pub fn new(config: &FeatureConfig) -> Result<Self, AudioError> {
        config.validate()?;
        let high = f64::from(SAMPLE_RATE) / 2.0;
        // Symmetric Hann: torch.hann_window(400, periodic=False).
        let hann = |i: usize| 0.5 - 0.5 * (2.0 * PI * i as f64 / (FRAME - 1) as f64).cos();
        let (offset, scale) = if config.do_normalize {
            (config.mean, 1.0 / (2.0 * config.std))
        } else {
            (0.0, 1.0)
        };
        Ok(Self {
            spectrum: PowerSpectrum::new(
                (0..FRAME).map(|i| hann(i) as f32).collect(),
                FFT_SIZE,
                1..BINS,
            ),
            bank: MelBank::new(config.num_mel_bins, FFT_SIZE, SAMPLE_RATE, LOW_HERTZ, high),
            mel_bins: config.num_mel_bins,
            offset,
            scale,
        })
    }

    /// Whole frames in a clip of `samples` samples; the rest that fills no frame is dropped (Kaldi's
    /// `snip_edges`).
    #[must_use]
    pub fn frames(&self, samples: usize) -> usize {
        match samples.checked_sub(FRAME) {
            Some(rest) => 1 + rest / HOP,
            None => 0,
        }
    }

    /// All frames of a clip (mono, 16 kHz), normalised.
    ///
    /// A frame depends on its own 400 samples only, so frames of a part of the clip that starts at a
    /// multiple of 160 samples are the frames of the whole clip, sliced.
    ///
    /// # Errors
    /// [`AudioError::TooShort`] below 400 samples, as the reference.
    pub fn spectrogram(&self, clip: &[f32]) -> Result<Spectrogram, AudioError> {
        self.begin().finish(clip)
    }

    /// The spectrogram of a clip that is still growing.
    #[must_use]
    pub fn begin(&self) -> Frames<'_> {
        Frames {
            fbank: self,
            scratch: Scratch {
                emphasised: [0.0; FRAME],
                spectrum: self.spectrum.scratch(),
                row: [0.0; BINS],
                columns: [[0.0; LANES]; BINS],
                levels: vec![[0.0; LANES]; self.mel_bins],
            },
            grown: Spectrogram {
                frames: 0,
                mel_bins: self.mel_bins,
                data: Vec::new(),
                padding: self.normalise(0.0),
            },
        }
    }

    /// Appends the frames that start at these samples of a clip, [`LANES`] at most.
    fn block(
        &self,
        clip: &[f32],
        starts: impl ExactSizeIterator<Item = usize>,
        scratch: &mut Scratch,
        data: &mut Vec<f32>,
    ) {
        let first = data.len();
        data.resize(first + starts.len() * self.mel_bins, 0.0);
        for (lane, start) in starts.enumerate() {
            self.power(&clip[start..start + FRAME], scratch);
            for (column, power) in scratch.columns.iter_mut().zip(&scratch.row) {
                column[lane] = *power;
            }
        }
        let energies = self.bank.apply(&scratch.columns);
        for (levels, energies) in scratch.levels.iter_mut().zip(energies) {
            *levels = energies.map(|energy| self.normalise(ln(energy.max(ENERGY_FLOOR))));
        }
        for (lane, frame) in data[first..].chunks_mut(self.mel_bins).enumerate() {
            for (cell, levels) in frame.iter_mut().zip(&scratch.levels) {
                *cell = levels[lane];
            }
        }
    }

    fn normalise(&self, value: f32) -> f32 {
        (value - self.offset) * self.scale
    }

    /// Power spectrum of one frame into `scratch.row`; bin 0 stays as it is.
    fn power(&self, frame: &[f32], scratch: &mut Scratch) {
        let mean = mean(frame);
        let emphasised = &mut scratch.emphasised;
        // The sample before the first is the first itself, as in Kaldi.
        emphasised[0] = (frame[0] - mean) * (1.0 - PREEMPHASIS);
        for (out, pair) in emphasised[1..].iter_mut().zip(frame.windows(2)) {
            *out = (pair[1] - mean) - PREEMPHASIS * (pair[0] - mean);
        }
        self.spectrum
            .power(emphasised, &mut scratch.spectrum, &mut scratch.row[1..]);
    }
}

/// A clip's frames while the clip grows. They are what [`Fbank::spectrogram`] gives for the whole clip.
pub struct Frames<'a> {
    fbank: &'a Fbank,
    scratch: Scratch,
    grown: Spectrogram,
}

impl Frames<'_> {
    /// Takes the clip's first samples, among them all that it was given before, and computes the new frames, a block at a
    /// time; gives all that there are.
    pub fn grow(&mut self, clip: &[f32]) -> &Spectrogram {
        let whole = self.fbank.frames(clip.len()) / LANES * LANES;
        self.compute(clip, whole);
        &self.grown
    }

    /// Takes the whole clip.
    ///
    /// # Errors
    /// As [`Fbank::spectrogram`].
    pub fn finish(mut self, clip: &[f32]) -> Result<Spectrogram, AudioError> {
        let frames = self.fbank.frames(clip.len());
        if frames == 0 {
            return Err(AudioError::TooShort {
                samples: clip.len(),
                needed: FRAME,
            });
        }
        self.compute(clip, frames);
        Ok(self.grown)
    }

    fn compute(&mut self, clip: &[f32], frames: usize) {
        let Spectrogram {
            frames: done,
            mel_bins,
            data,
            ..
        } = &mut self.grown;
        data.reserve(frames.saturating_sub(*done) * *mel_bins);
        while *done < frames {
            let end = frames.min(*done + LANES);
            let starts = (*done..end).map(|frame| frame * HOP);
            self.fbank.block(clip, starts, &mut self.scratch, data);
            *done = end;
        }
    }
}

/// Mean of a frame. Sixteen partial sums let the compiler add them side by side, and keep the
/// rounding error near the reference's pairwise sum.
fn mean(frame: &[f32]) -> f32 {
    let mut partial = [0.0f32; 16];
    let chunks = frame.chunks_exact(partial.len());
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (sum, sample) in partial.iter_mut().zip(chunk) {
            *sum += sample;
        }
    }
    (partial.iter().sum::<f32>() + rest) / frame.len() as f32
}

/// The natural logarithm of a positive number, to a relative error of 3e-7; written so that the compiler makes
/// vectors of it.
///
/// `x = 2^n m` with `m` between `sqrt(1/2)` and `sqrt 2`, so `s = (m - 1) / (m + 1)` is below 0.1716 in size, and
/// `ln m = 2 artanh s`, whose Taylor series up to the ninth power is within 1e-9.
#[inline(always)]
fn ln(x: f32) -> f32 {
    // The bits of `x` less those of `sqrt(1/2)`, which starts the next power of two early.
    let above = x.to_bits().wrapping_sub(FRAC_1_SQRT_2.to_bits());
    let exponent = (above as i32) >> 23;
    let m = f32::from_bits((above & 0x007f_ffff) + FRAC_1_SQRT_2.to_bits());
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut series = 1.0 / 9.0;
    for coefficient in [1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0] {
        series = series * square + coefficient;
    }
    let tail = series * square * s;
    exponent as f32 * LN_2 + 2.0 * (s + tail)
}

/// Buffers of a run over a clip.
struct Scratch {
    emphasised: [f32; FRAME],
    spectrum: power::Scratch,
    /// Powers of a frame.
    row: [f32; BINS],
    /// Powers of a block, a lane a frame.
    columns: [[f32; LANES]; BINS],
    /// What the filters make of them.
    levels: Vec<[f32; LANES]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_within_its_error() {
        let mut bits = ENERGY_FLOOR.to_bits();
        while bits < f32::INFINITY.to_bits() {
            let x = f32::from_bits(bits);
            let exact = f64::from(x).ln();
            let error = (f64::from(ln(x)) - exact).abs();
            assert!(
                error <= 3e-7 * exact.abs(),
                "ln {x} = {exact}, not {}",
                ln(x)
            );
            bits += 997;
        }
        assert_eq!(ln(1.0), 0.0);
    }
}
