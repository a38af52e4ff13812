//! Decoding an uploaded clip, within bounds.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{RecommendError, Recommender};
use crate::{
    audio::{
        Excerpt, SAMPLE_RATE, SourceInfo,
        fingerprint::{self, Landmark},
    },
    extract::{ExtractError, Prepared},
    generation::Generation,
};

/// Where a clip's bytes are.
#[derive(Clone, Debug)]
pub enum ClipSource {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File(PathBuf),
}

/// What was decoded of a clip.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Container, codec, rate.
    pub source: SourceInfo,
    /// Where in the upload it starts, seconds.
    pub offset_seconds: f64,
    /// Length of what was heard, seconds.
    pub seconds: f64,
    /// Whether the upload goes on after it.
    pub truncated: bool,
    /// Landmarks for the same-recording verdict.
    pub landmarks: Vec<Landmark>,
}

/// What a caller that found no room is told to wait: about the time that a decode takes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Recommender {
    /// Decodes and cuts a clip on a blocking thread, one a decoder permit.
    pub(super) async fn prepare(
        &self,
        generation: &Arc<Generation>,
        source: ClipSource,
        offset_seconds: f64,
    ) -> Result<(Clip, Prepared), RecommendError> {
        let overloaded = || RecommendError::Overloaded {
            retry_after: RETRY_AFTER,
        };
        let room = Arc::clone(&self.room);
        let room = room.try_acquire_owned().map_err(|_| overloaded())?;
        let decoders = Arc::clone(&self.decoders);
        let permit = decoders.acquire_owned().await.map_err(|_| overloaded())?;
        let decoder = self.decoder.clone();
        let generation = Arc::clone(generation);
        let excerpt = Excerpt {
            offset_seconds,
            max_seconds: self.settings.max_query_seconds,
        };
        tokio::task::spawn_blocking(move || {
            // Held to the decode's end, also when the caller has gone: a thread is a thread.
            let _held = (room, permit);
            let decoded = match source {
                ClipSource::Bytes(bytes) => decoder.decode_bytes(bytes, excerpt),
                ClipSource::File(path) => decoder.decode_file(&path, excerpt),
            }
            .map_err(ExtractError::Audio)?;
            let prepared = generation.extractor.prepare(&decoded.clip)?;
            let clip = Clip {
                source: decoded.source,
                offset_seconds,
                seconds: decoded.clip.len() as f64 / f64::from(SAMPLE_RATE),
                truncated: decoded.truncated,
                landmarks: fingerprint::query_landmarks(&decoded.clip),
            };
            Ok((clip, prepared))
        })
        .await?
    }
}
