//! From an uploaded clip to its analysis, within bounds of time and memory.
//!
//! A request that is dropped, since its client has gone, takes everything with it: its place at the
//! door, its place in the queues, its decode if that is going on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tracing::Instrument;

use super::{
    Analysis, Clip, ClipSource, HeardClip, RecommendError, Recommender, Ticket, UploadedClip,
    cache::AnalysisKey,
};
use crate::{
    audio::{Excerpt, Hearing, SAMPLE_RATE, Source, fingerprint},
    batch::BatchError,
    extract::{Cut, ExtractError, Prepared},
    generation::Generation,
};

/// Most threads that decode one clip.
const MAX_THREADS: usize = 8;

impl Recommender {
    /// Lets a clip in before its upload is read.
    ///
    /// # Errors
    ///
    /// [`RecommendError::Overloaded`] when it would wait too long.
    pub fn admit(&self) -> Result<Ticket, RecommendError> {
        self.admission.admit()
    }

    /// Decodes and embeds a clip, or finds that this was done before.
    ///
    /// # Errors
    ///
    /// [`RecommendError`]; `Overloaded` when decoder and device did not get to it in time.
    pub async fn hear(
        &self,
        clip: UploadedClip,
        offset_seconds: f64,
    ) -> Result<HeardClip, RecommendError> {
        let generation = self.generation()?;
        let UploadedClip {
            source,
            sha256,
            mut ticket,
        } = clip;
        let start_by = ticket.arrive();
        let key = AnalysisKey::new(&sha256, offset_seconds, generation.extractor.id());
        let analyse = async {
            let (give, windows) = unbounded_channel();
            let decoding = async {
                let decoded = self.decode(&generation, source, offset_seconds, start_by, give);
                let Heard {
                    clip,
                    samples,
                    cut,
                    permit,
                } = decoded.await?;
                // A twentieth of the work, and the device need not wait for it.
                let landmarks = tokio::task::spawn_blocking(move || {
                    let _held = permit;
                    fingerprint::query_landmarks(&samples)
                });
                Ok((clip, cut, landmarks.await?))
            };
            let embedding = self
                .embed(&generation, windows, start_by)
                .instrument(tracing::info_span!("embed"));
            let ((clip, cut, landmarks), windows) = tokio::try_join!(decoding, embedding)?;
            ticket.analysed();
            Ok(Arc::new(Analysis {
                clip,
                embedded: Arc::new(cut.embedded(windows)?),
                landmarks: landmarks.into(),
            }))
        };
        let late = || self.admission.too_late();
        let analysis = self.cache.get_or(&key, start_by, late, analyse).await?;
        Ok(HeardClip {
            generation,
            analysis,
        })
    }

    /// The turns of other decoders, some of them, where they have nothing to do.
    fn idle_decoders(&self) -> Option<OwnedSemaphorePermit> {
        let idle = self.decoders.available_permits().min(MAX_THREADS - 1);
        let idle = u32::try_from(idle).ok().filter(|&idle| idle > 0)?;
        Arc::clone(&self.decoders).try_acquire_many_owned(idle).ok()
    }

    /// Embeds a clip's windows in the order in which they are cut, as many at a time as there are.
    async fn embed(
        &self,
        generation: &Generation,
        mut windows: UnboundedReceiver<Vec<Vec<f32>>>,
        start_by: Instant,
    ) -> Result<Vec<Vec<f32>>, RecommendError> {
        let mut embedded = Vec::new();
        while let Some(mut some) = windows.recv().await {
            while let Ok(more) = windows.try_recv() {
                some.extend(more);
            }
            let vectors = generation.extractor.embed(&self.batcher, some, start_by);
            embedded.extend(vectors.await.map_err(|error| match error {
                ExtractError::Batch(BatchError::TooLate) => self.admission.too_late(),
                other => other.into(),
            })?);
        }
        Ok(embedded)
    }

    /// Decodes and cuts a clip on a blocking thread, one a decoder permit, and gives away the windows. Where other decoders have
    /// nothing to do, they decode a stretch of it each, and each window goes as soon as it is whole, so that the device need
    /// not wait; else all of them go in the end, for a pass over several costs less.
    async fn decode(
        &self,
        generation: &Arc<Generation>,
        source: ClipSource,
        offset_seconds: f64,
        start_by: Instant,
        give: UnboundedSender<Vec<Vec<f32>>>,
    ) -> Result<Heard, RecommendError> {
        let turn = Arc::clone(&self.decoders).acquire_owned();
        let turn = tokio::time::timeout_at(start_by.into(), turn).await;
        // The semaphore is never closed; time is all that can be up.
        let Ok(Ok(permit)) = turn else {
            return Err(self.admission.too_late());
        };
        let idle = self.idle_decoders();
        let caller = Caller::default();
        let decoder = self.decoder.until(Arc::clone(&caller.gone));
        let generation = Arc::clone(generation);
        let measured = self.measured.clone();
        let span = tracing::info_span!("decode");
        let excerpt = Excerpt {
            offset_seconds,
            max_seconds: self.settings.max_query_seconds,
        };
        tokio::task::spawn_blocking(move || {
            // The permit is held in here, also when the caller has gone: a thread is a thread.
            let _entered = span.entered();
            let started = Instant::now();
            let mut cutting = generation.extractor.cutting();
            // Who does not take them has gone, and has this stopped.
            let give = |windows: Vec<_>| {
                if !windows.is_empty() {
                    drop(give.send(windows));
                }
            };
            let mut listen = |samples: &[f32]| {
                if idle.is_some() {
                    give(cutting.hear(samples));
                }
            };
            let source = match &source {
                ClipSource::Bytes(bytes) => Source::Bytes(bytes),
                ClipSource::File(path) => Source::File(path),
            };
            let hearing = Hearing {
                listen: &mut listen,
                threads: 1 + idle.as_ref().map_or(0, OwnedSemaphorePermit::num_permits),
            };
            let decoded = decoder.hear(source, excerpt, hearing);
            drop(idle);
            let cut = decoded
                .map_err(ExtractError::Audio)
                .and_then(|decoded| Ok((cutting.finish(&decoded.clip)?, decoded)));
            measured.decoded(started.elapsed(), cut.is_ok());
            let (Prepared { windows, cut }, decoded) = cut?;
            give(windows);
            let clip = Clip {
                source: decoded.source,
                offset_seconds,
                seconds: decoded.clip.len() as f64 / f64::from(SAMPLE_RATE),
                truncated: decoded.truncated,
            };
            Ok(Heard {
                clip,
                cut,
                samples: decoded.clip,
                permit,
            })
        })
        .await?
    }
}

/// A decoded clip whose windows have been given away.
struct Heard {
    clip: Clip,
    /// Mono samples at [`SAMPLE_RATE`].
    samples: Vec<f32>,
    cut: Cut,
    permit: OwnedSemaphorePermit,
}

/// Tells a blocking thread when the future that waits for it is dropped.
#[derive(Default)]
struct Caller {
    gone: Arc<AtomicBool>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}
