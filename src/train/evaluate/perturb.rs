//! What may happen to music on its way to a query, without making it other music.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use super::{EvaluationSettings, task::Unavailable};
use crate::{
    audio::{
        DecodeLimits, Decoder, Excerpt, SAMPLE_RATE,
        augment::{Noise, add_noise},
    },
    track::TrackId,
};

/// A change of an excerpt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Perturbation {
    OffsetShort,
    OffsetLong,
    Gain,
    Noise20,
    Noise10,
    Mp3,
}

/// A start that is no multiple of the filterbank's 10 ms, and less than a quarter of a beat.
const OFFSET_SHORT_SECONDS: f64 = 0.3737;
/// A start beyond any patch of the encoder (0.16 s) and off every usual bar.
const OFFSET_LONG_SECONDS: f64 = 2.5;
/// Decibels of the quieter excerpt.
const GAIN_DECIBELS: f64 = -12.0;

impl Perturbation {
    pub(super) const ALL: [Self; 6] = [
        Self::OffsetShort,
        Self::OffsetLong,
        Self::Gain,
        Self::Noise20,
        Self::Noise10,
        Self::Mp3,
    ];
}

/// Samples that a clip must have for an excerpt of `length` samples and all changes of it.
pub(super) fn samples_needed(length: usize) -> usize {
    length + samples(OFFSET_LONG_SECONDS)
}

/// Samples of a stretch of time at 16 kHz.
pub(super) fn samples(seconds: f64) -> usize {
    (seconds * f64::from(SAMPLE_RATE)).round() as usize
}

/// Changes excerpts, the same track always in the same way.
pub(super) struct Perturber {
    seed: u64,
    mp3: Result<Mp3, Unavailable>,
}

impl Perturber {
    pub(super) fn new(settings: &EvaluationSettings) -> Self {
        Self {
            seed: settings.seed,
            mp3: Mp3::new(&settings.ffmpeg),
        }
    }

    /// The changes that can be made here.
    pub(super) fn available(&self) -> impl Iterator<Item = Perturbation> + '_ {
        let mp3 = self.mp3.is_ok();
        let all = Perturbation::ALL.into_iter();
        all.filter(move |&change| change != Perturbation::Mp3 || mp3)
    }

    /// Why there is no MP3, where there is none.
    pub(super) fn mp3_missing(&self) -> Option<Unavailable> {
        self.mp3.as_ref().err().copied()
    }

    /// The first `length` samples of a clip, changed. The clip has [`samples_needed`].
    ///
    /// `None` where MP3 does not work after all; it is not tried again.
    pub(super) fn apply(
        &mut self,
        change: Perturbation,
        track: TrackId,
        clip: &[f32],
        length: usize,
    ) -> Option<Vec<f32>> {
        let from = |seconds| {
            let start = samples(seconds);
            clip[start..start + length].to_vec()
        };
        let excerpt = &clip[..length];
        Some(match change {
            Perturbation::OffsetShort => from(OFFSET_SHORT_SECONDS),
            Perturbation::OffsetLong => from(OFFSET_LONG_SECONDS),
            Perturbation::Gain => gain(excerpt, GAIN_DECIBELS),
            Perturbation::Noise20 => self.noise(excerpt, track, 20.0),
            Perturbation::Noise10 => self.noise(excerpt, track, 10.0),
            Perturbation::Mp3 => match self.mp3.as_ref().ok()?.recode(excerpt) {
                Ok(recoded) => recoded,
                Err(error) => {
                    tracing::warn!(%error, %track, "no robustness to mp3: ffmpeg failed");
                    self.mp3 = Err(Unavailable::FfmpegFailed);
                    return None;
                }
            },
        })
    }

    fn noise(&self, excerpt: &[f32], track: TrackId, snr_db: f64) -> Vec<f32> {
        let seed = self.seed ^ (u64::from(track.0) << 32);
        let mut noisy = excerpt.to_vec();
        add_noise(&mut noisy, Noise { snr_db, seed });
        noisy
    }
}

fn gain(clip: &[f32], decibels: f64) -> Vec<f32> {
    let factor = 10f64.powf(decibels / 20.0) as f32;
    clip.iter().map(|sample| sample * factor).collect()
}

/// Encodes with `ffmpeg` and decodes as any upload is decoded.
struct Mp3 {
    ffmpeg: std::path::PathBuf,
    decoder: Decoder,
}

impl Mp3 {
    fn new(ffmpeg: &Path) -> Result<Self, Unavailable> {
        let version = Command::new(ffmpeg)
            .arg("-version")
            .stdin(Stdio::null())
            .output();
        match version {
            Ok(output) if output.status.success() => Ok(Self {
                ffmpeg: ffmpeg.to_path_buf(),
                decoder: Decoder::new(DecodeLimits::default(), None),
            }),
            Ok(_) => Err(Unavailable::FfmpegFailed),
            Err(_) => Err(Unavailable::FfmpegMissing),
        }
    }

    /// The clip through MP3 at 44.1 kHz stereo, as such files are found: at 16 kHz mono the same 64 kbit/s
    /// would change next to nothing.
    fn recode(&self, clip: &[f32]) -> io::Result<Vec<f32>> {
        let dir = tempfile::tempdir()?;
        let (raw, mp3) = (dir.path().join("clip.f32"), dir.path().join("clip.mp3"));
        // Both channels are written here: ffmpeg would make each of them 3 dB quieter than the clip.
        let frames = clip.iter().flat_map(|sample| [sample.to_le_bytes(); 2]);
        fs::write(&raw, frames.flatten().collect::<Vec<u8>>())?;
        let output = Command::new(&self.ffmpeg)
            .args(["-nostdin", "-v", "error", "-f", "f32le", "-ar", "16000"])
            .args(["-ac", "2", "-i"])
            .arg(&raw)
            .args(["-ar", "44100", "-c:a", "libmp3lame", "-b:a", "64k"])
            .arg(&mp3)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(message));
        }
        let decoded = self.decoder.decode_file(&mp3, Excerpt::ALL);
        let mut recoded = decoded.map_err(io::Error::other)?.clip;
        recoded.truncate(clip.len());
        Ok(recoded)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Mean square of the samples.
    fn power(clip: &[f32]) -> f64 {
        let sum: f64 = clip.iter().map(|&sample| f64::from(sample).powi(2)).sum();
        sum / clip.len().max(1) as f64
    }

    fn clip() -> Vec<f32> {
        let sample = |i: usize| 0.3 * (i as f32 * 0.05).sin() + 0.1 * (i as f32 * 0.31).sin();
        (0..samples_needed(16_000)).map(sample).collect()
    }

    fn changed(change: Perturbation, track: u32) -> Vec<f32> {
        let mut perturber = Perturber::new(&EvaluationSettings::default());
        perturber
            .apply(change, TrackId(track), &clip(), 16_000)
            .unwrap()
    }

    fn decibels(power_ratio: f64) -> f64 {
        10.0 * power_ratio.log10()
    }

    #[test]
    fn an_offset_is_the_clip_from_there() {
        let clip = clip();
        assert_eq!(changed(Perturbation::OffsetShort, 1), clip[5_979..21_979]);
        assert_eq!(changed(Perturbation::OffsetLong, 1), clip[40_000..56_000]);
    }

    #[test]
    fn a_gain_of_12_decibels_is_a_sixteenth_of_the_power() {
        let excerpt = &clip()[..16_000];
        let change = decibels(power(&changed(Perturbation::Gain, 1)) / power(excerpt));
        assert!((change - -12.0).abs() < 1e-3, "{change}");
    }

    #[test]
    fn noise_has_the_ratio_that_its_name_says_and_repeats() {
        let excerpt = &clip()[..16_000];
        for (change, wanted) in [(Perturbation::Noise20, 20.0), (Perturbation::Noise10, 10.0)] {
            let noisy = changed(change, 1);
            let noise: Vec<f32> = noisy.iter().zip(excerpt).map(|(n, c)| n - c).collect();
            let snr = decibels(power(excerpt) / power(&noise));
            assert!((snr - wanted).abs() < 0.2, "{snr}");
            assert_eq!(noisy, changed(change, 1));
            assert_ne!(noisy, changed(change, 2));
        }
    }

    #[test]
    fn noise_under_silence_is_silence() {
        let mut perturber = Perturber::new(&EvaluationSettings::default());
        let silence = vec![0.0; samples_needed(16_000)];
        let noisy = perturber.apply(Perturbation::Noise10, TrackId(1), &silence, 16_000);
        assert_eq!(noisy.unwrap(), [0.0; 16_000]);
    }

    #[test]
    fn mp3_is_nearly_the_excerpt_and_in_step_with_it() {
        let excerpt = &clip()[..16_000];
        let recoded = changed(Perturbation::Mp3, 1);
        assert_eq!(recoded.len(), excerpt.len());
        let difference: Vec<f32> = recoded.iter().zip(excerpt).map(|(r, e)| r - e).collect();
        let error = decibels(power(&difference) / power(excerpt));
        assert!((-60.0..-15.0).contains(&error), "{error} dB");
    }

    #[test]
    fn without_ffmpeg_there_is_a_reason() {
        let settings = EvaluationSettings {
            ffmpeg: "/no/such/ffmpeg".into(),
            ..EvaluationSettings::default()
        };
        let perturber = Perturber::new(&settings);
        assert_eq!(perturber.mp3_missing(), Some(Unavailable::FfmpegMissing));
        assert_eq!(perturber.available().count(), 5);
    }

    #[test]
    fn an_ffmpeg_that_fails_ends_the_measurement_of_mp3_only() {
        // `true` answers -version, and then writes no file.
        let settings = EvaluationSettings {
            ffmpeg: "true".into(),
            ..EvaluationSettings::default()
        };
        let mut perturber = Perturber::new(&settings);
        let mut apply = |change| perturber.apply(change, TrackId(1), &clip(), 16_000);
        assert!(apply(Perturbation::Mp3).is_none());
        assert!(apply(Perturbation::Gain).is_some());
        assert_eq!(perturber.mp3_missing(), Some(Unavailable::FfmpegFailed));
    }
}
