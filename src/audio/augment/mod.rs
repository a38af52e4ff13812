//! Changes to a clip that leave the music recognisable: what a contrastive model learns to ignore.
//!
//! They work on the waveform (mono, 16 kHz), before the spectrogram. [`AugmentSettings`] says what may
//! happen and how often, [`AugmentSettings::draw`] decides once, and the [`AugmentPlan`] that comes out
//! is a pure function from samples to samples.
//!
//! ```text
//! clip -> time stretch + pitch shift -> high-pass, low-pass -> gain -> noise -> band limit -> clip
//! ```
//!
//! The order is that of a recording: somebody plays it, a room and a device colour it, a codec comes
//! last.
//!
//! ```
//! # use rand::SeedableRng;
//! # use songkin::audio::augment::AugmentSettings;
//! # let clip = vec![0.0f32; 400_000];
//! let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
//! let plan = AugmentSettings::default().draw(&mut rng);
//! let needed = plan.input_len(160_000);
//! let view = plan.apply(&clip[..needed], 160_000);
//! assert_eq!(view.len(), 160_000);
//! ```

mod band_limit;
mod biquad;
mod noise;
mod settings;
mod stretch;

pub use noise::add_noise;
pub use settings::{AugmentSettings, Chance, Choice, SettingFault, SettingFaults};

use super::{SAMPLE_RATE, resample, scrub};

/// What happens to one clip; [`AugmentPlan::default`] is nothing.
///
/// The same plan on the same samples gives the same bits, on one machine: the Fourier transforms pick
/// their instructions by processor.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentPlan {
    /// How much faster the music plays, its pitch unchanged: 1.25 makes 10 s out of 12.5 s.
    pub tempo: f64,
    /// How far the pitch moves, its tempo unchanged.
    pub semitones: i8,
    /// Cut-off of a high-pass filter, hertz.
    pub high_pass: Option<f64>,
    /// Cut-off of a low-pass filter, hertz.
    pub low_pass: Option<f64>,
    /// Gain, decibels.
    pub gain_db: Option<f64>,
    /// White noise.
    pub noise: Option<Noise>,
    /// Above this frequency, in hertz, nothing is left.
    pub band_limit: Option<f64>,
}

/// White Gaussian noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Power of the clip over power of the noise, decibels. Noise over silence is silence.
    pub snr_db: f64,
    /// What the noise is drawn from.
    pub seed: u64,
}

impl Default for AugmentPlan {
    fn default() -> Self {
        Self {
            tempo: 1.0,
            semitones: 0,
            high_pass: None,
            low_pass: None,
            gain_db: None,
            noise: None,
            band_limit: None,
        }
    }
}

impl AugmentPlan {
    /// Samples that [`Self::apply`] reads for `output_len` samples of result. More than the tempo asks
    /// for by up to 100 ms, where the clip is stretched.
    #[must_use]
    pub fn input_len(&self, output_len: usize) -> usize {
        match self.retiming() {
            Some(retiming) => retiming.input_len(output_len),
            None => output_len,
        }
    }

    /// Samples of result that `input_len` samples are enough for, the inverse of [`Self::input_len`];
    /// 0 where they are too few for any.
    #[must_use]
    pub fn output_len(&self, input_len: usize) -> usize {
        let Some(retiming) = self.retiming() else {
            return input_len;
        };
        let (mut enough, mut limit) = (0, (input_len as f64 / self.tempo()) as usize + 1);
        while enough < limit {
            let middle = (enough + limit).div_ceil(2);
            if retiming.input_len(middle) <= input_len {
                enough = middle;
            } else {
                limit = middle - 1;
            }
        }
        enough
    }

    /// Carries out the plan: exactly `output_len` samples, all finite and within
    /// [`MAX_SAMPLE`](super::MAX_SAMPLE).
    ///
    /// It takes the first [`input_len(output_len)`](Self::input_len) samples of `clip`; what is missing
    /// to that is silence.
    #[must_use]
    pub fn apply(&self, clip: &[f32], output_len: usize) -> Vec<f32> {
        let needed = self.input_len(output_len);
        let mut clip: Vec<f32> = clip.iter().take(needed).copied().map(scrub).collect();
        clip.resize(needed, 0.0);
        if let Some(retiming) = self.retiming() {
            clip = retiming.apply(&clip, output_len);
        }
        if let Some(hertz) = self.high_pass {
            biquad::high_pass(&mut clip, hertz);
        }
        if let Some(hertz) = self.low_pass {
            biquad::low_pass(&mut clip, hertz);
        }
        if let Some(decibels) = self.gain_db {
            let factor = 10f64.powf(decibels / 20.0) as f32;
            clip.iter_mut().for_each(|sample| *sample *= factor);
        }
        if let Some(noise) = self.noise {
            add_noise(&mut clip, noise);
        }
        if let Some(hertz) = self.band_limit {
            clip = band_limit::apply(&clip, hertz);
        }
        clip.iter_mut().for_each(|sample| *sample = scrub(*sample));
        clip
    }

    /// The tempo within what the stretch is made for, whatever the field holds.
    fn tempo(&self) -> f64 {
        if self.tempo.is_nan() {
            return 1.0;
        }
        self.tempo.clamp(0.25, 4.0)
    }

    fn retiming(&self) -> Option<Retiming> {
        (self.tempo() != 1.0 || self.semitones != 0).then(|| Retiming {
            tempo: self.tempo(),
            rate: shifted_rate(self.semitones),
        })
    }
}

/// Tempo and pitch in one: a stretch, and a resampling that takes the stretch's result for a recording
/// at another rate. Resampled, it is higher by `rate / 16000` and faster by as much, for which the
/// stretch has made up.
struct Retiming {
    tempo: f64,
    rate: u32,
}

/// The rate at which a recording has to be taken for 16 kHz to be `semitones` lower.
///
/// Rounded to 10 Hz, which gives the resampler short blocks; that is off by 0.6 cents at most.
fn shifted_rate(semitones: i8) -> u32 {
    let exact = f64::from(SAMPLE_RATE) * 2f64.powf(f64::from(semitones.clamp(-24, 24)) / 12.0);
    10 * (exact / 10.0).round() as u32
}

impl Retiming {
    fn pitch(&self) -> f64 {
        f64::from(self.rate) / f64::from(SAMPLE_RATE)
    }

    /// Samples between stretch and resampling.
    fn stretched_len(&self, output_len: usize) -> usize {
        (output_len as f64 * self.pitch()).ceil() as usize
    }

    /// Input samples for a sample of the stretch's result.
    fn step(&self) -> f64 {
        self.tempo / self.pitch()
    }

    fn input_len(&self, output_len: usize) -> usize {
        stretch::input_len(self.stretched_len(output_len), self.step())
    }

    fn apply(&self, clip: &[f32], output_len: usize) -> Vec<f32> {
        let stretched = stretch::stretch(clip, self.step(), self.stretched_len(output_len));
        if self.rate == SAMPLE_RATE {
            return stretched;
        }
        let mut clip = resample(&stretched, self.rate);
        clip.resize(output_len, 0.0);
        clip
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_within_a_cent_of_the_semitone() {
        for semitones in -24..=24 {
            let ratio = f64::from(shifted_rate(semitones)) / 16_000.0;
            let cents = 1200.0 * ratio.log2() - 100.0 * f64::from(semitones);
            assert!(cents.abs() < 1.2, "{semitones}: {cents}");
            if semitones.abs() <= 2 {
                assert!(cents.abs() < 0.6, "{semitones}: {cents}");
            }
        }
    }

    #[test]
    fn output_len_is_the_most_that_the_input_is_enough_for() {
        for tempo in [0.8, 0.9371, 1.0, 1.2] {
            for semitones in -2..=2 {
                let plan = AugmentPlan {
                    tempo,
                    semitones,
                    ..AugmentPlan::default()
                };
                for input in [16_000, 160_000, 164_081] {
                    let output = plan.output_len(input);
                    assert!(plan.input_len(output) <= input, "{tempo} {semitones}");
                    assert!(plan.input_len(output + 1) > input, "{tempo} {semitones}");
                }
            }
        }
    }
}
