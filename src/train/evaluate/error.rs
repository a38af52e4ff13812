//! Why there is no report: a kind and a source.

use std::{error::Error, io, path::PathBuf};

use crate::{audio::AudioError, track::TrackId};

/// An error of a part that the caller handed in.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What ends an evaluation. That a figure cannot be computed from these tracks is no error: it is
/// reported as not measured, with the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The caller's hook said so.
    #[error("the evaluation was cancelled")]
    Cancelled,
    /// Two representations have one name, or one has the name of a baseline.
    #[error("there are two representations called {name}")]
    RepeatedName {
        /// The name.
        name: String,
    },
    /// A track is there twice; it would find itself.
    #[error("track {track} is there twice")]
    RepeatedTrack {
        /// Its id.
        track: TrackId,
    },
    /// More clips than allowed could not be had.
    #[error("{unreadable} of {tracks} tracks have no clip")]
    Unreadable {
        /// Tracks without a clip until the evaluation was given up.
        unreadable: usize,
        /// All tracks.
        tracks: usize,
        /// Why the last of them has none.
        source: BoxError,
    },
    /// A representation could not be computed.
    #[error("{name} gave no embeddings")]
    Embed {
        /// The representation.
        name: String,
        /// Its error.
        source: BoxError,
    },
    /// A representation gave more or fewer vectors than there were clips, or vectors of changing length.
    #[error("{name} gave {found} where {expected} was due: {what}")]
    Shape {
        /// The representation.
        name: String,
        /// What was counted.
        what: &'static str,
        /// How many there should have been.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// An embedding is not finite, or has no direction.
    #[error("{name} gave an embedding of track {track} that is zero or not finite")]
    Degenerate {
        /// The representation.
        name: String,
        /// The track.
        track: TrackId,
    },
    /// The MFCC baseline could not be planned.
    #[error("the mfcc baseline failed")]
    Audio(#[from] AudioError),
    /// A file of the report cannot be written or read.
    #[error("cannot access {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `report.json` is not a report.
    #[error("cannot parse {path}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// `report.json` was written by a later version.
    #[error("the report has format {found}; formats up to {known} can be read")]
    NewerFormat {
        /// Its format.
        found: u32,
        /// The latest format known here.
        known: u32,
    },
}

impl EvaluateError {
    /// An error of the representation `name`, for implementations of [`Embed`](super::Embed).
    pub fn embed(name: &str, source: impl Into<BoxError>) -> Self {
        Self::Embed {
            name: name.to_owned(),
            source: source.into(),
        }
    }
}
