//! What is evaluated, on what, and how it is watched.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{BoxError, EvaluateError};
use crate::track::TrackId;

/// What is known of a track: the ground truth of every figure.
///
/// A label that is `None` is not known. Such a track is never relevant to another by that label, and asks
/// no questions about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The track.
    pub id: TrackId,
    /// Its artist.
    pub artist: Option<i64>,
    /// Its album.
    pub album: Option<i64>,
    /// Its one root genre.
    pub genre: Option<i64>,
    /// The genre's title, for tables and legends.
    pub genre_title: Option<String>,
}

/// The tracks of an evaluation. Clips are asked for one at a time and dropped before the next one.
#[derive(Clone, Copy)]
pub struct Tracks<'a> {
    /// The tracks, none of them trained on.
    pub labels: &'a [Labels],
    /// Loads a track's clip: mono, 16 kHz, 30 s or any other length.
    pub clip: &'a dyn Fn(TrackId) -> Result<Vec<f32>, BoxError>,
}

/// Turns clips into vectors: what is compared in an evaluation.
pub trait Embed {
    /// Names it in the report: `trained`, `untrained`, `active`, ...
    fn name(&self) -> &str;

    /// One vector a clip. Clips are mono at 16 kHz, of any length from 1 s; all vectors of one embedder have
    /// the same number of values, any length but 0, and are compared by their cosine.
    ///
    /// # Errors
    /// [`EvaluateError::Embed`] with the embedder's own error as the source; the evaluation ends.
    fn embed(&self, clips: &[&[f32]]) -> Result<Vec<Vec<f32>>, EvaluateError>;
}

/// How an evaluation is done. The defaults are those that reports are compared by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationSettings {
    /// What the tracks are, for the report's heading.
    pub dataset: String,
    /// What a reader must know of the data, such as the music that is not in it. A sentence each.
    pub notes: Vec<String>,
    /// Seed of everything random: noise, random vectors, resamples, the map.
    pub seed: u64,
    /// Resamples of a bootstrap.
    pub resamples: usize,
    /// Length of the excerpts by which tracks are asked for, in seconds.
    pub excerpt_seconds: f64,
    /// Shorter clips are left out, in seconds.
    pub min_seconds: f64,
    /// Share of tracks that may be without a clip.
    pub max_unreadable: f64,
    /// Tracks for the robustness figures, spread evenly over all: every one costs six more excerpts.
    pub robustness_tracks: usize,
    /// The program that encodes MP3.
    pub ffmpeg: PathBuf,
    /// Whether a linear classifier of genres is trained on each representation.
    pub linear_probe: bool,
    /// Points of the t-SNE map at most; 0 leaves it out. The time grows with the square.
    pub map_points: usize,
}

impl Default for EvaluationSettings {
    fn default() -> Self {
        Self {
            dataset: "test tracks".to_owned(),
            notes: Vec::new(),
            seed: 0,
            resamples: 2_000,
            excerpt_seconds: 10.0,
            min_seconds: 1.0,
            max_unreadable: 0.1,
            robustness_tracks: 500,
            ffmpeg: PathBuf::from("ffmpeg"),
            linear_probe: true,
            map_points: 1_000,
        }
    }
}

/// What an evaluation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Clips are loaded and embedded; a step is a track.
    Embedding,
    /// Neighbours are looked up and counted; a step is a representation.
    Measuring,
    /// Bootstrap; a step is a figure.
    Resampling,
    /// The t-SNE map; a step is a representation.
    Mapping,
}

/// How far a stage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done.
    pub stage: Stage,
    /// Steps finished.
    pub done: usize,
    /// All steps of this stage.
    pub total: usize,
}

/// How a caller watches an evaluation and ends it.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// Called after every step.
    pub progress: &'a dyn Fn(Progress),
    /// Asked before every step, and every few dozen milliseconds while a map is drawn.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Hooks<'_> {
    /// Nobody watches.
    #[must_use]
    pub fn none() -> Self {
        Self {
            progress: &|_| {},
            cancelled: &|| false,
        }
    }

    /// Ends the evaluation where the caller wants it.
    pub(super) fn check(&self) -> Result<(), EvaluateError> {
        match (self.cancelled)() {
            true => Err(EvaluateError::Cancelled),
            false => Ok(()),
        }
    }

    /// Reports a finished step, or ends the evaluation.
    pub(super) fn step(
        &self,
        stage: Stage,
        done: usize,
        total: usize,
    ) -> Result<(), EvaluateError> {
        (self.progress)(Progress { stage, done, total });
        self.check()
    }
}
