//! From a clip to what is searched for: embeddings of its windows, and landmarks.
//!
//! Ingest and requests both go through here, so a track and a query are heard in the same way.

use std::{sync::Arc, time::Instant};

use crate::{
    audio::{AudioError, FRAME_SHIFT_SECONDS, Fbank, Frames, SAMPLE_RATE},
    batch::{BatchError, Batcher},
    model::{DeviceMemory, EncodeWindows, ModelDir, ModelError, mean_embedding},
    track::ExtractorId,
};

/// Why a clip could not be turned into vectors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The clip has no spectrogram.
    #[error("no spectrogram of this clip")]
    Audio(#[from] AudioError),
    /// The device did not compute.
    #[error("the encoder did not run")]
    Batch(#[from] BatchError),
    /// The model cannot be loaded, or gave no embedding.
    #[error("the model failed")]
    Model(#[from] ModelError),
}

/// A clip after the front end, before the encoder.
pub struct Prepared {
    /// Spectrogram windows, each `[max_length, mel_bins]`.
    pub windows: Vec<Vec<f32>>,
    /// Where they lie.
    pub cut: Cut,
}

/// How a clip was cut into windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// Where each window starts, seconds from the clip's start.
    pub start_seconds: Vec<f32>,
    /// Length of the clip, seconds.
    pub clip_seconds: f64,
}

impl Cut {
    /// The track that windows with these embeddings belong to.
    ///
    /// # Errors
    ///
    /// [`ExtractError::Model`] when the embeddings cancel each other out.
    pub fn embedded(self, windows: Vec<Vec<f32>>) -> Result<Embedded, ExtractError> {
        Ok(Embedded {
            embedding: mean_embedding(&windows)?,
            windows,
            start_seconds: self.start_seconds,
            clip_seconds: self.clip_seconds,
        })
    }
}

/// A clip that is cut into windows while it is decoded.
pub struct Cutting<'a> {
    frames: Frames<'a>,
    max_length: usize,
    /// Windows that have been given out.
    given: usize,
}

impl Cutting<'_> {
    /// Takes the clip's first samples, among them all that it was given before, and gives the windows that they make whole, each
    /// once.
    pub fn hear(&mut self, clip: &[f32]) -> Vec<Vec<f32>> {
        let spectrogram = self.frames.grow(clip);
        let whole = spectrogram.frames / self.max_length;
        let new = self.given..whole;
        self.given = whole;
        new.map(|window| spectrogram.window(window * self.max_length, self.max_length))
            .collect()
    }

    /// Takes the whole clip and gives the windows that have not been given before.
    ///
    /// # Errors
    ///
    /// [`ExtractError::Audio`] when the clip is shorter than one frame.
    pub fn finish(self, clip: &[f32]) -> Result<Prepared, ExtractError> {
        let spectrogram = self.frames.finish(clip)?;
        let starts = spectrogram.windows(self.max_length);
        Ok(Prepared {
            windows: starts[self.given..]
                .iter()
                .map(|at| match at.frames < self.max_length {
                    true => spectrogram.repeated(self.max_length),
                    false => spectrogram.window(at.start_frame, self.max_length),
                })
                .collect(),
            cut: Cut {
                start_seconds: starts
                    .iter()
                    .map(|at| at.start_frame as f32 * FRAME_SHIFT_SECONDS)
                    .collect(),
                clip_seconds: clip.len() as f64 / f64::from(SAMPLE_RATE),
            },
        })
    }
}

/// A clip after the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// Normalised mean of the windows' embeddings, `[dim]`.
    pub embedding: Vec<f32>,
    /// Embedding of each window, `[windows][dim]`.
    pub windows: Vec<Vec<f32>>,
    /// Where each window starts, seconds from the clip's start.
    pub start_seconds: Vec<f32>,
    /// Length of the clip, seconds.
    pub clip_seconds: f64,
}

/// Weights and front end that belong together, ready to run.
pub struct Extractor {
    id: ExtractorId,
    fbank: Fbank,
    max_length: usize,
    encoder: Arc<dyn EncodeWindows>,
}

impl Extractor {
    /// Loads the weights onto the device and runs empty windows through it, so that the first
    /// request does not pay for what is set up lazily.
    ///
    /// # Errors
    ///
    /// When the front end's settings are unknown, the device has no room, or does not compute.
    pub fn load(model: &Arc<ModelDir>, batcher: &Batcher) -> Result<Self, ExtractError> {
        let fbank = Fbank::new(&model.features)?;
        let (on_device, precision) = (Arc::clone(model), batcher.precision());
        let encoder = batcher.on_device(move |device| on_device.encoder(device, precision))??;
        let encoder: Arc<dyn EncodeWindows> = Arc::new(encoder);
        batcher.warm_up(&encoder, DeviceMemory::of(&model.config, precision))?;
        Ok(Self {
            id: model.extractor.clone(),
            fbank,
            max_length: model.features.max_length,
            encoder,
        })
    }

    /// Names weights and front end.
    #[must_use]
    pub fn id(&self) -> &ExtractorId {
        &self.id
    }

    /// Values of an embedding.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.encoder.dim()
    }

    /// Cuts a clip's spectrogram into windows; a clip shorter than a window is repeated to fill it. A few milliseconds of CPU: not for the async
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`ExtractError::Audio`] when the clip is shorter than one frame.
    pub fn prepare(&self, clip: &[f32]) -> Result<Prepared, ExtractError> {
        self.cutting().finish(clip)
    }

    /// [`Extractor::prepare`] for a clip that is still being decoded.
    #[must_use]
    pub fn cutting(&self) -> Cutting<'_> {
        Cutting {
            frames: self.fbank.begin(),
            max_length: self.max_length,
            given: 0,
        }
    }

    /// Embeds windows that [`Extractor::cutting`] gave, if the device gets to them by `start_by`.
    ///
    /// # Errors
    ///
    /// [`ExtractError::Batch`] when the queue is full, the time is up or the device fails.
    pub async fn embed(
        &self,
        batcher: &Batcher,
        windows: Vec<Vec<f32>>,
        start_by: Instant,
    ) -> Result<Vec<Vec<f32>>, ExtractError> {
        Ok(batcher.embed(&self.encoder, windows, start_by).await?)
    }

    /// Embeds what [`Extractor::prepare`] cut, on a thread outside the async runtime, a few windows at a time: a
    /// long track never fills the queue.
    ///
    /// # Errors
    ///
    /// As [`Extractor::embed`].
    pub fn embed_blocking(
        &self,
        batcher: &Batcher,
        prepared: Prepared,
    ) -> Result<Embedded, ExtractError> {
        let mut windows = Vec::with_capacity(prepared.windows.len());
        let mut rest = prepared.windows.into_iter().peekable();
        while rest.peek().is_some() {
            let some = rest.by_ref().take(batcher.max_batch()).collect();
            windows.extend(batcher.embed_blocking(&self.encoder, some)?);
        }
        prepared.cut.embedded(windows)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::audio::FeatureConfig;

    #[test]
    fn a_clip_that_is_heard_in_pieces_has_the_windows_of_the_whole() {
        let fbank = Fbank::new(&FeatureConfig::default()).unwrap();
        let cutting = || Cutting {
            frames: fbank.begin(),
            max_length: 40,
            given: 0,
        };
        // Less than a window, one, one and a short rest, two that overlap, some.
        for samples in [500, 400 + 39 * 160, 400 + 50 * 160, 400 + 70 * 160, 60_000] {
            let clip: Vec<f32> = (0..samples).map(|i| (i as f32 * 0.1).sin() * 0.3).collect();
            let whole = cutting().finish(&clip).unwrap();
            for piece in [1_000, 418, 7_001] {
                let mut growing = cutting();
                let mut windows = Vec::new();
                for end in (0..clip.len()).step_by(piece) {
                    windows.extend(growing.hear(&clip[..end]));
                }
                let before_the_end = windows.len();
                let rest = growing.finish(&clip).unwrap();
                windows.extend(rest.windows);
                assert_eq!(windows, whole.windows);
                assert_eq!(rest.cut, whole.cut);
                assert!(samples < 60_000 || before_the_end > 5, "{before_the_end}");
            }
        }
        assert!(matches!(
            cutting().finish(&[0.0; 399]),
            Err(ExtractError::Audio(_))
        ));
    }
}
