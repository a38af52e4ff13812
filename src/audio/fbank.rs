//! Kaldi's log-mel filterbank as Hugging Face's `ASTFeatureExtractor` calls it.
//!
//! The reference is `torchaudio.compliance.kaldi.fbank(waveform, htk_compat=True, use_energy=False,
//! window_type="hanning", dither=0.0, frame_shift=10)` followed by `(x - mean) / (2 std)`. Per frame of
//! 25 ms: remove the mean, pre-emphasise, window, FFT, power, mel filters, logarithm. Unlike Kaldi's
//! own tools the samples are not scaled by 2^15.

use std::{f64::consts::PI, sync::Arc};

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};

use super::{AudioError, FeatureConfig, SAMPLE_RATE, Spectrogram, mel::MelBank};

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

/// The filterbank, planned once and shared between threads.
pub struct Fbank {
    fft: Arc<dyn RealToComplex<f32>>,
    taper: Vec<f32>,
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
            fft: RealFftPlanner::new().plan_fft_forward(FFT_SIZE),
            taper: (0..FRAME).map(|i| hann(i) as f32).collect(),
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
        let frames = self.frames(clip.len());
        if frames == 0 {
            return Err(AudioError::TooShort {
                samples: clip.len(),
                needed: FRAME,
            });
        }
        let mut scratch = Scratch::new(&*self.fft);
        let mut data = Vec::with_capacity(frames * self.mel_bins);
        for frame in clip.windows(FRAME).step_by(HOP) {
            self.power(frame, &mut scratch);
            let log_energies = self
                .bank
                .apply(&scratch.power)
                .map(|e| e.max(ENERGY_FLOOR).ln());
            data.extend(log_energies.map(|value| self.normalise(value)));
        }
        let padding = self.normalise(0.0);
        Ok(Spectrogram {
            frames,
            mel_bins: self.mel_bins,
            data,
            padding,
        })
    }

    fn normalise(&self, value: f32) -> f32 {
        (value - self.offset) * self.scale
    }

    /// Power spectrum of one frame, into `scratch.power`.
    fn power(&self, frame: &[f32], scratch: &mut Scratch) {
        let mean = mean(frame);
        let (body, zeros) = scratch.time.split_at_mut(FRAME);
        // The sample before the first is the first itself, as in Kaldi.
        body[0] = (frame[0] - mean) * (1.0 - PREEMPHASIS) * self.taper[0];
        for ((out, pair), taper) in body[1..]
            .iter_mut()
            .zip(frame.windows(2))
            .zip(&self.taper[1..])
        {
            *out = ((pair[1] - mean) - PREEMPHASIS * (pair[0] - mean)) * taper;
        }
        zeros.fill(0.0);
        self.fft
            .process_with_scratch(&mut scratch.time, &mut scratch.spectrum, &mut scratch.work)
            .expect("the buffers were made by the plan itself");
        for (power, bin) in scratch.power.iter_mut().zip(&scratch.spectrum) {
            *power = bin.norm_sqr();
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

/// Buffers of one run over a clip.
struct Scratch {
    time: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    work: Vec<Complex<f32>>,
    power: Vec<f32>,
}

impl Scratch {
    fn new(fft: &dyn RealToComplex<f32>) -> Self {
        Self {
            time: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            work: fft.make_scratch_vec(),
            power: vec![0.0; FFT_SIZE / 2 + 1],
        }
    }
}
