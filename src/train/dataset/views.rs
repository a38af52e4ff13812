//! From a clip to a view: a crop, changed, as a window for the encoder.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{DatasetError, cache::Clip};
use crate::audio::{Fbank, FeatureConfig, SAMPLE_RATE, augment::AugmentSettings};

/// Which part of a track a view is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Crop {
    /// The track's first seconds, in every view. Played faster they last shorter, and are repeated to
    /// fill the window; played slower, the window cuts them.
    First {
        /// Seconds of the track.
        seconds: f64,
    },
    /// Another place for each view. The view lasts this long at any tempo, or as long as a shorter
    /// track is enough for; what is shorter than a window is repeated to fill it.
    Random {
        /// Seconds of the view; more than a window are cut to it.
        seconds: f64,
    },
}

impl Crop {
    /// Its seconds, of the track or of the view.
    #[must_use]
    pub fn seconds(self) -> f64 {
        match self {
            Self::First { seconds } | Self::Random { seconds } => seconds,
        }
    }
}

/// Makes views: the front end is the one that serves, [`Fbank`] with the model's own settings.
#[derive(Debug)]
pub(super) struct ViewMaker {
    fbank: Fbank,
    /// Frames of a window.
    frames: usize,
    /// Samples that give exactly so many frames.
    window_samples: usize,
    crop: Crop,
    augment: AugmentSettings,
}

impl ViewMaker {
    /// Plans the filterbank.
    pub(super) fn new(
        features: &FeatureConfig,
        crop: Crop,
        augment: AugmentSettings,
    ) -> Result<Self, DatasetError> {
        let fbank = Fbank::new(features).map_err(DatasetError::FrontEnd)?;
        let frames = features.max_length;
        let window_samples = samples_for(&fbank, frames);
        Ok(Self {
            fbank,
            frames,
            window_samples,
            crop,
            augment,
        })
    }

    /// Frames of a window.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// A view of the clip, normalised, `[frames, mel_bins]`. Everything random comes from `rng`, and
    /// the crop's place does not depend on what the augmentation may do.
    pub(super) fn view(&self, clip: &Clip, rng: &mut ChaCha8Rng) -> Result<Vec<f32>, DatasetError> {
        let place: f64 = rng.random();
        let plan = self.augment.draw(rng);
        let (available, wanted) = match self.crop {
            Crop::First { seconds } => (clip.len().min(samples(seconds)), self.window_samples),
            Crop::Random { seconds } => (clip.len(), self.window_samples.min(samples(seconds))),
        };
        let len = wanted.min(plan.output_len(available));
        let needed = plan.input_len(len).min(available);
        let start = match self.crop {
            Crop::First { .. } => 0,
            Crop::Random { .. } => (place * (available - needed + 1) as f64) as usize,
        };
        let changed = plan.apply(&clip.samples(start, needed), len);
        let spectrogram = self
            .fbank
            .spectrogram(&changed)
            .map_err(DatasetError::View)?;
        Ok(spectrogram.repeated(self.frames))
    }
}

fn samples(seconds: f64) -> usize {
    (seconds * f64::from(SAMPLE_RATE)).round() as usize
}

/// The fewest samples that give `frames` frames.
fn samples_for(fbank: &Fbank, frames: usize) -> usize {
    let (mut enough, mut too_few) = (1, 0);
    while fbank.frames(enough) < frames {
        (too_few, enough) = (enough, 2 * enough);
    }
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if fbank.frames(middle) < frames {
            too_few = middle;
        } else {
            enough = middle;
        }
    }
    enough
}
