//! From the catalogue's files to batches of views.
//!
//! ```text
//! catalogue -> split -> sampler: tracks of a batch -> cache: clips -> views: windows -> loader
//! ```
//!
//! A view is a crop of a track, changed (see [`crate::audio::augment`]), as a window for the encoder.
//! What a batch holds follows from the settings' seed, the epoch and the step alone, so that a run that
//! stopped anywhere goes on with the batches that it would have had, and the number of threads
//! changes nothing.

mod cache;
mod error;
mod loader;
mod sampler;
mod seed;
mod settings;
mod split;
mod views;

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use rand::seq::SliceRandom;
use tracing::warn;

use crate::{
    audio::{AudioError, Decoder, FeatureConfig, SAMPLE_RATE},
    track::TrackId,
};
use cache::{Clip, ClipCache};
use loader::Cancelled;
use sampler::Sampler;
use seed::Decision;
use views::ViewMaker;

pub use error::DatasetError;
pub use loader::Batches;
pub use sampler::SameArtist;
pub use settings::DatasetSettings;
pub use split::{SplitLimits, SplitTrack, Splits};
pub use views::Crop;

/// A clip shorter than this, in samples, is no music to learn from: half a second.
const MIN_SAMPLES: usize = SAMPLE_RATE as usize / 2;

/// Views of some tracks.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewBatch {
    /// Frames of a view.
    pub frames: usize,
    /// Normalised windows, `[view][track][frames * mel_bins]`.
    pub views: Vec<Vec<Vec<f32>>>,
    /// Which tracks.
    pub tracks: Vec<TrackId>,
    /// Who made each of them: equal numbers are one artist. Below 0 for a track without an artist,
    /// another number for each.
    pub artists: Vec<i64>,
}

/// The training tracks, ready to be cut into batches of views. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dataset(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tracks: Vec<SplitTrack>,
    settings: DatasetSettings,
    sampler: Sampler,
    views: ViewMaker,
    cache: ClipCache,
    lost: Mutex<BTreeSet<TrackId>>,
}

impl Dataset {
    /// The data set of these training tracks, for a model with this front end.
    ///
    /// # Errors
    /// [`DatasetError::Settings`] with all faults, [`DatasetError::FrontEnd`],
    /// [`DatasetError::TooFewTracks`] for a single batch, [`DatasetError::TooFewArtists`].
    pub fn new(
        tracks: Vec<SplitTrack>,
        decoder: Decoder,
        features: &FeatureConfig,
        settings: DatasetSettings,
    ) -> Result<Self, DatasetError> {
        settings.validate()?;
        let views = ViewMaker::new(features, settings.crop, settings.augment.clone())?;
        let sampler = Sampler::new(
            tracks.iter().map(|track| track.artist),
            settings.batch,
            settings.same_artist,
            settings.seed,
        )?;
        let cache = ClipCache::new(
            decoder,
            settings.decoded_seconds(),
            settings.cache_mib.saturating_mul(1 << 20),
        );
        Ok(Self(Arc::new(Inner {
            tracks,
            settings,
            sampler,
            views,
            cache,
            lost: Mutex::default(),
        })))
    }

    /// Batches of an epoch, the same number in each.
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        self.0.sampler.batches()
    }

    /// Tracks whose file could not be decoded so far. Each was told in the log, once, and others
    /// take its place.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.0.lost().len()
    }

    /// The batches of an epoch from a step on, in order, prepared by background threads.
    ///
    /// # Errors
    /// [`DatasetError::Thread`]. An item is an error where too few tracks are left for a batch; it is
    /// the last one.
    pub fn batches(&self, epoch: u64, from_step: usize) -> Result<Batches, DatasetError> {
        let (inner, order) = (Arc::clone(&self.0), self.0.sampler.epoch(epoch));
        let steps = from_step.min(order.len())..order.len();
        let prepare = move |step: usize, cancelled: &Cancelled| {
            inner.training_batch(epoch, step, &order[step], cancelled)
        };
        self.start(Arc::new(prepare), steps)
    }

    /// The views of validation tracks, made as the views of training tracks are, but each time the same:
    /// what a crop and its changes are depends on seed, track and view alone. Batches are in the order
    /// of `tracks`; the last one may be smaller, and tracks that cannot be decoded are left out.
    ///
    /// # Errors
    /// [`DatasetError::Thread`].
    pub fn validation_pairs(&self, tracks: &[SplitTrack]) -> Result<Batches, DatasetError> {
        let inner = Arc::clone(&self.0);
        let batches: Vec<Vec<SplitTrack>> = tracks
            .chunks(self.0.settings.batch)
            .map(<[SplitTrack]>::to_vec)
            .collect();
        let steps = 0..batches.len();
        let prepare = move |step: usize, cancelled: &Cancelled| {
            inner.validation_batch(&batches[step], cancelled)
        };
        self.start(Arc::new(prepare), steps)
    }

    fn start(
        &self,
        prepare: Arc<loader::Prepare>,
        steps: std::ops::Range<usize>,
    ) -> Result<Batches, DatasetError> {
        let DatasetSettings { threads, ahead, .. } = self.0.settings;
        Batches::start(prepare, steps, threads, ahead)
    }
}

impl Inner {
    /// The batch of the tracks `planned`, with others in the place of those that are lost.
    fn training_batch(
        &self,
        epoch: u64,
        step: usize,
        planned: &[usize],
        cancelled: &Cancelled,
    ) -> Result<Option<ViewBatch>, DatasetError> {
        let step = step as u64;
        let mut members = Members::new(self, planned);
        let mut batch = self.empty_batch();
        for (&planned, item) in planned.iter().zip(0u32..) {
            if cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let (track, clip) = match self.clip(&self.tracks[planned]) {
                Some(clip) => (&self.tracks[planned], clip),
                None => {
                    let substitute = Decision::Substitute { epoch, step, item };
                    members.substitute(substitute)?
                }
            };
            let rng = |view| Decision::View {
                epoch,
                step,
                item,
                view,
            };
            self.add(&mut batch, track, &clip, rng)?;
        }
        Ok(Some(batch))
    }

    fn validation_batch(
        &self,
        tracks: &[SplitTrack],
        cancelled: &Cancelled,
    ) -> Result<Option<ViewBatch>, DatasetError> {
        let mut batch = self.empty_batch();
        for track in tracks {
            if cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if let Some(clip) = self.clip(track) {
                let rng = |view| Decision::Validation {
                    track: track.id.0,
                    view,
                };
                self.add(&mut batch, track, &clip, rng)?;
            }
        }
        Ok((!batch.tracks.is_empty()).then_some(batch))
    }

    fn empty_batch(&self) -> ViewBatch {
        ViewBatch {
            frames: self.views.frames(),
            views: vec![Vec::new(); self.settings.views],
            tracks: Vec::new(),
            artists: Vec::new(),
        }
    }

    /// Adds a track's views, each by its own decision.
    fn add(
        &self,
        batch: &mut ViewBatch,
        track: &SplitTrack,
        clip: &Clip,
        decision: impl Fn(u32) -> Decision,
    ) -> Result<(), DatasetError> {
        for (views, view) in batch.views.iter_mut().zip(0u32..) {
            let mut rng = decision(view).rng(self.settings.seed);
            views.push(self.views.view(clip, &mut rng)?);
        }
        batch.tracks.push(track.id);
        batch.artists.push(track.artist);
        Ok(())
    }

    /// A track's clip; none, and a line in the log, where there is none.
    fn clip(&self, track: &SplitTrack) -> Option<Clip> {
        if self.lost().contains(&track.id) {
            return None;
        }
        let error = match self.cache.clip(track.id, &track.path) {
            Ok(clip) if clip.len() >= MIN_SAMPLES => return Some(clip),
            Ok(clip) => AudioError::TooShort {
                samples: clip.len(),
                needed: MIN_SAMPLES,
            },
            Err(error) => error,
        };
        if self.lost().insert(track.id) {
            let (track, path) = (track.id.0, track.path.display());
            let error = &error as &dyn std::error::Error;
            warn!(track, %path, error, "a track is left out: it cannot be decoded");
        }
        None
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<TrackId>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which tracks and artists a batch holds, or is to hold.
struct Members<'a> {
    dataset: &'a Inner,
    tracks: HashSet<usize>,
    artists: HashSet<i64>,
}

impl<'a> Members<'a> {
    fn new(dataset: &'a Inner, planned: &[usize]) -> Self {
        Self {
            dataset,
            tracks: planned.iter().copied().collect(),
            artists: planned
                .iter()
                .map(|&index| dataset.tracks[index].artist)
                .collect(),
        }
    }

    /// A track that is not yet in the batch, in the place of one that is lost; by another artist
    /// than all others, if there is one.
    ///
    /// Which one it is depends on the decision and on what can be decoded, not on what was tried before.
    fn substitute(&mut self, decision: Decision) -> Result<(&'a SplitTrack, Clip), DatasetError> {
        let dataset = self.dataset;
        let mut order: Vec<usize> = (0..dataset.tracks.len()).collect();
        order.shuffle(&mut decision.rng(dataset.settings.seed));
        order.retain(|index| !self.tracks.contains(index));
        let (same, other): (Vec<usize>, Vec<usize>) = order
            .into_iter()
            .partition(|&index| self.artists.contains(&dataset.tracks[index].artist));
        let same = match dataset.settings.same_artist {
            SameArtist::Exclude => Vec::new(),
            SameArtist::MaskNegatives => same,
        };
        for index in other.into_iter().chain(same) {
            let track = &dataset.tracks[index];
            if let Some(clip) = dataset.clip(track) {
                self.tracks.insert(index);
                self.artists.insert(track.artist);
                return Ok((track, clip));
            }
        }
        let lost = dataset.lost();
        let left = dataset.tracks.iter().filter(|t| !lost.contains(&t.id));
        Err(DatasetError::TooFewTracks {
            tracks: left.count(),
            batch: dataset.settings.batch,
        })
    }
}
