//! The use case: hear a clip, search, rank, describe.

mod admission;
mod cache;
mod current;
mod error;
mod filter;
mod hear;
mod live;
mod measured;
mod passage;
mod query;
mod rank;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::Semaphore;

pub use admission::{AdmissionStats, Ticket};
pub use cache::CacheStats;
pub use current::Current;
pub use error::RecommendError;
pub use filter::FilterRequest;
pub use live::LiveStats;
pub use measured::Measured;
pub use query::{Analysis, Clip, ClipSource, UploadedClip};

use crate::{
    audio::Decoder,
    batch::Batcher,
    catalog::{Catalog, Descriptions, Track},
    extract::Embedded,
    generation::Generation,
    index::{Effort, Filter, Plan, Query, VectorRead},
    track::TrackId,
};
use admission::{Admission, AdmissionSettings};
use cache::AnalysisCache;
use live::Live;
use rank::{Candidate, SameRecording};

/// How answers are bounded.
#[derive(Clone, Copy, Debug)]
pub struct RecommendSettings {
    /// How much of a clip is heard, seconds.
    pub max_query_seconds: f64,
    /// Clips decoded at once.
    pub max_decodes: usize,
    /// Clips that may be on their way in or wait.
    pub max_waiting: usize,
    /// How long a clip may wait for decoder and device.
    pub max_wait: Duration,
    /// Analyses kept for clips that come again, bytes; 0 keeps none.
    pub cache_bytes: u64,
    /// Descriptions of tracks held in memory, bytes; 0 holds none.
    pub description_bytes: u64,
}

/// What a request asks for, whether it starts from a clip or from a track.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Results wanted, at least 1.
    pub k: usize,
    /// Which tracks may come back.
    pub filter: FilterRequest,
    /// At most this many results of one artist; tracks without an artist are not counted.
    pub max_per_artist: Option<usize>,
}

/// Where query and track sound alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Passage {
    /// Start in the query, seconds from its start (not from `offset_seconds`).
    pub query_seconds: f64,
    /// Start in the track, seconds.
    pub track_seconds: f64,
    /// Length, seconds.
    pub length_seconds: f64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// The track.
    pub track: Track,
    /// Cosine between query and track embedding, in [-1, 1].
    pub similarity: f32,
    /// Whether query and track are the same recording, by its fingerprint and not by similarity.
    pub same_recording: bool,
    /// The best-matching passage.
    pub passage: Option<Passage>,
}

/// All answers to one request, from one generation.
pub struct Recommendations {
    /// The generation that they came from.
    pub generation: Arc<Generation>,
    /// Same recordings first, then similarity falling, then id.
    pub results: Vec<Recommendation>,
    /// How the index found them.
    pub plan: Plan,
}

/// An analysed clip with the generation whose extractor analysed it.
pub struct HeardClip {
    /// The generation.
    pub generation: Arc<Generation>,
    /// What was made of the clip.
    pub analysis: Arc<Analysis>,
}

/// What a search starts from.
struct Asked {
    embedded: Arc<Embedded>,
    /// The tracks that are the query's own recording, surest first.
    same: Vec<SameRecording>,
}

/// Answers requests.
pub struct Recommender {
    catalog: Catalog,
    descriptions: Descriptions,
    batcher: Arc<Batcher>,
    decoder: Decoder,
    current: Arc<Current>,
    settings: RecommendSettings,
    decoders: Arc<Semaphore>,
    admission: Arc<Admission>,
    cache: AnalysisCache,
    measured: Measured,
    live: Arc<Live>,
}

impl Recommender {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        catalog: Catalog,
        batcher: Arc<Batcher>,
        decoder: Decoder,
        current: Arc<Current>,
        settings: RecommendSettings,
    ) -> Self {
        let admission = Admission::new(AdmissionSettings {
            max_wait: settings.max_wait,
            max_clips: settings.max_decodes + settings.max_waiting,
        });
        Self {
            descriptions: Descriptions::new(catalog.clone(), settings.description_bytes),
            catalog,
            batcher,
            decoder,
            current,
            settings,
            decoders: Arc::new(Semaphore::new(settings.max_decodes)),
            admission,
            cache: AnalysisCache::new(settings.cache_bytes),
            measured: Measured::default(),
            live: Arc::default(),
        }
    }

    /// The catalogue behind the answers.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What answers describe their tracks with.
    #[must_use]
    pub fn descriptions(&self) -> &Descriptions {
        &self.descriptions
    }

    /// The device thread.
    #[must_use]
    pub fn batcher(&self) -> &Batcher {
        &self.batcher
    }

    /// What the door has seen.
    #[must_use]
    pub fn admission_stats(&self) -> AdmissionStats {
        self.admission.stats()
    }

    /// What clips that came again were spared.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// How long the parts of requests took.
    #[must_use]
    pub fn measured(&self) -> &Measured {
        &self.measured
    }

    /// How good the answers of late were, by a sample of them.
    #[must_use]
    pub fn live_stats(&self) -> LiveStats {
        self.live.stats()
    }

    /// The loaded generation.
    ///
    /// # Errors
    ///
    /// [`RecommendError::NotReady`] when there is none.
    pub fn generation(&self) -> Result<Arc<Generation>, RecommendError> {
        self.current.get().ok_or(RecommendError::NotReady)
    }

    /// The tracks that sound most like a clip.
    ///
    /// # Errors
    ///
    /// [`RecommendError`].
    pub async fn recommend(
        &self,
        clip: UploadedClip,
        offset_seconds: f64,
        wish: &Wish,
    ) -> Result<(Clip, Recommendations), RecommendError> {
        let filter = wish.filter.resolve(&self.catalog).await?;
        let HeardClip {
            generation,
            analysis,
        } = self.hear(clip, offset_seconds).await?;
        let clip = analysis.clip.clone();
        let answer = self.answer(generation, filter, wish, move |generation| {
            let found = generation.landmarks.lookup(&analysis.landmarks);
            Ok(Asked {
                embedded: Arc::clone(&analysis.embedded),
                same: found.iter().map(SameRecording::from).collect(),
            })
        });
        Ok((clip, answer.await?))
    }

    /// The tracks that sound most like a track of the catalogue, itself left out. Needs neither
    /// audio nor encoder.
    ///
    /// # Errors
    ///
    /// [`RecommendError::UnknownTrack`], [`RecommendError::NotIndexed`] and what a search can fail with.
    pub async fn similar(
        &self,
        id: TrackId,
        wish: &Wish,
    ) -> Result<Recommendations, RecommendError> {
        let generation = self.generation()?;
        let filter = wish.filter.resolve(&self.catalog).await?;
        let filter = Filter::And(vec![filter, FilterRequest::without(&[id])]);
        let answer = self.answer(generation, filter, wish, move |generation| {
            let item = generation.index.get(&[id])?.into_iter().flatten().next();
            let item = item.ok_or(RecommendError::NotIndexed(id))?;
            let windows = generation.windows.of(id)?;
            let (start_seconds, windows) = windows
                .iter()
                .map(|(at, vector)| (at, vector.to_vec()))
                .unzip();
            let same = generation.copies.of(id).iter().map(SameRecording::from);
            Ok(Asked {
                embedded: Arc::new(Embedded {
                    embedding: item.vector,
                    windows,
                    start_seconds,
                    // The passage is as long as a window wherever the track's last one ends.
                    clip_seconds: f64::INFINITY,
                }),
                same: same.collect(),
            })
        });
        match answer.await {
            Err(RecommendError::NotIndexed(_)) if self.catalog.track(id).await?.is_none() => {
                Err(RecommendError::UnknownTrack(id))
            }
            answer => answer,
        }
    }

    /// Searches for what `ask` gets together, ranks and describes.
    async fn answer(
        &self,
        generation: Arc<Generation>,
        filter: Filter,
        wish: &Wish,
        ask: impl FnOnce(&Generation) -> Result<Asked, RecommendError>,
    ) -> Result<Recommendations, RecommendError> {
        let (k, max_per_artist) = (wish.k, wish.max_per_artist);
        let span = tracing::info_span!("search");
        // Files are read and a processor kept busy, but for less time than it takes to wake another thread twice.
        let (candidates, plan) = tokio::task::block_in_place(|| {
            let _entered = span.entered();
            let started = Instant::now();
            let Asked { embedded, same } = ask(&generation)?;
            let query = Query {
                vector: embedded.embedding.clone(),
                k,
                filter,
                effort: Effort::default(),
            };
            let sampled = self.live.is_due().then(|| query.clone());
            let (mut candidates, plan) =
                rank::candidates(&generation.index, query, &same, max_per_artist)?;
            for candidate in candidates.iter_mut().filter(|c| c.passage.is_none()) {
                candidate.passage = passage::best(&embedded, &generation.windows.of(candidate.id)?);
            }
            self.measured.searched(started.elapsed(), plan.engine);
            if let Some(query) = sampled {
                // Beside the answer, which does not wait for it.
                let (live, generation) = (Arc::clone(&self.live), Arc::clone(&generation));
                tokio::task::spawn_blocking(move || live.sample(&generation, &query));
            }
            Ok::<_, RecommendError>((candidates, plan))
        })?;
        Ok(Recommendations {
            results: self.describe(candidates).await?,
            generation,
            plan,
        })
    }

    async fn describe(
        &self,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<Recommendation>, RecommendError> {
        let ids: Vec<TrackId> = candidates.iter().map(|candidate| candidate.id).collect();
        let mut tracks = self.descriptions.tracks(&ids).await?;
        // A track deleted since the generation was built is no answer any more.
        let results = candidates.into_iter().filter_map(|candidate| {
            Some(Recommendation {
                track: tracks.remove(&candidate.id)?,
                similarity: candidate.similarity,
                same_recording: candidate.same_recording,
                passage: candidate.passage,
            })
        });
        Ok(results.collect())
    }

    /// Where a track's audio lies, if the file is there.
    ///
    /// # Errors
    ///
    /// [`RecommendError::UnknownTrack`], or the catalogue's failure.
    pub async fn audio_path(&self, id: TrackId) -> Result<Option<PathBuf>, RecommendError> {
        if self.catalog.track(id).await?.is_none() {
            return Err(RecommendError::UnknownTrack(id));
        }
        Ok(self.catalog.audio_path(id).await?)
    }
}
