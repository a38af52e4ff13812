//! From a clip to what is searched for: embeddings of its windows, and landmarks.
//!
//! Ingest and requests both go through here, so a track and a query are heard in the same way.

use std::{sync::Arc, time::Instant};

use crate::{
    audio::{AudioError, FRAME_SHIFT_SECONDS, Fbank, SAMPLE_RATE},
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
    /// Where each window starts, seconds from the clip's start.
    pub start_seconds: Vec<f32>,
    /// Length of the clip, seconds.
    pub clip_seconds: f64,
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
        let spectrogram = self.fbank.spectrogram(clip)?;
        let starts = spectrogram.windows(self.max_length);
        Ok(Prepared {
            windows: starts
                .iter()
                .map(|at| match at.frames < self.max_length {
                    true => spectrogram.repeated(self.max_length),
                    false => spectrogram.window(at.start_frame, self.max_length),
                })
                .collect(),
            start_seconds: starts
                .iter()
                .map(|at| at.start_frame as f32 * FRAME_SHIFT_SECONDS)
                .collect(),
            clip_seconds: clip.len() as f64 / f64::from(SAMPLE_RATE),
        })
    }

    /// Embeds what [`Extractor::prepare`] cut, if the device gets to it by `start_by`.
    ///
    /// # Errors
    ///
    /// [`ExtractError::Batch`] when the queue is full, the time is up or the device fails.
    pub async fn embed(
        &self,
        batcher: &Batcher,
        prepared: Prepared,
        start_by: Instant,
    ) -> Result<Embedded, ExtractError> {
        let Prepared {
            windows,
            start_seconds,
            clip_seconds,
        } = prepared;
        let windows = batcher.embed(&self.encoder, windows, start_by).await?;
        Ok(Embedded {
            embedding: mean_embedding(&windows)?,
            windows,
            start_seconds,
            clip_seconds,
        })
    }

    /// [`Extractor::embed`] for a thread outside the async runtime, a few windows at a time: a
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
        Ok(Embedded {
            embedding: mean_embedding(&windows)?,
            windows,
            start_seconds: prepared.start_seconds,
            clip_seconds: prepared.clip_seconds,
        })
    }
}
