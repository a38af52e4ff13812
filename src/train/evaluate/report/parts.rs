//! The parts of a report, as they stand in `report.json`.

use serde::{Deserialize, Serialize};

use crate::{
    track::TrackId,
    train::evaluate::{Comparison, Interval, Kind, Measure, Task},
};

/// The tracks of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// What they are.
    pub name: String,
    /// What a reader must know of them.
    pub notes: Vec<String>,
    /// Tracks with a clip.
    pub tracks: usize,
    /// Different albums.
    pub albums: usize,
    /// Tracks of the album with the most.
    pub largest_album: usize,
    /// Different artists.
    pub artists: usize,
    /// Genres and their tracks, the largest first.
    pub genres: Vec<GenreCount>,
    /// Tracks whose album is not known.
    pub without_album: usize,
    /// Tracks whose artist is not known.
    pub without_artist: usize,
    /// Tracks whose genre is not known.
    pub without_genre: usize,
    /// Length of all clips together, in seconds.
    pub seconds: f64,
    /// Tracks that were left out.
    pub skipped: Vec<Skipped>,
}

/// A genre of the evaluated tracks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenreCount {
    /// Its title.
    pub title: String,
    /// Tracks of it.
    pub tracks: usize,
}

/// A track that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The track.
    pub track: TrackId,
    /// Why.
    pub reason: String,
}

/// A representation of tracks as vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How vectors are compared. MFCC statistics are measured by cosine and by distance, and the better one
    /// is reported.
    pub comparison: Comparison,
    /// Values of a vector.
    pub dimension: usize,
    /// Mean cosine of two tracks; near 1 where all tracks look alike.
    pub mean_cosine: Option<f64>,
    /// Dimensions that the tracks fill evenly (participation ratio); near 1 after a collapse.
    pub effective_dimensions: Option<f64>,
}

/// A figure of all representations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was asked.
    pub task: Task,
    /// How it was scored.
    pub measure: Measure,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Queries; 0 where it could not be measured.
    pub queries: usize,
    /// Why it could not be measured.
    pub reason: Option<String>,
    /// The figure of each representation, in their order.
    pub values: Vec<Value>,
    /// Of each embedder and each representation after it, the first's figure minus the second's over the
    /// same queries.
    pub differences: Vec<Difference>,
}

/// A figure of one representation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// Name of the representation.
    pub representation: String,
    /// Its figure, `null` where it could not be measured.
    pub estimate: Option<Estimate>,
}

/// A figure of one representation minus that of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Name of the one.
    pub representation: String,
    /// Name of the other.
    pub minus: String,
    /// The difference.
    pub estimate: Estimate,
}

/// A number and how far it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Lower bound of the 95 % interval over resampled queries.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// The interval over resampled albums, which is wider where the tracks of an album answer alike. `null`
    /// where the queries are of fewer than five albums.
    pub by_album: Option<Interval>,
}

impl Estimate {
    /// The same difference the other way round.
    #[must_use]
    pub fn negated(self) -> Self {
        let negated = |interval: Interval| Interval {
            low: -interval.high,
            high: -interval.low,
        };
        Self {
            value: -self.value,
            low: -self.high,
            high: -self.low,
            by_album: self.by_album.map(negated),
        }
    }
}

/// Where t-SNE puts the tracks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// Effective number of neighbours of a track.
    pub perplexity: f64,
    /// The tracks.
    pub tracks: Vec<TrackId>,
    /// Title of each track's genre.
    pub genres: Vec<Option<String>>,
    /// One for each embedder.
    pub panels: Vec<Panel>,
}

/// The map of one representation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// Name of the representation.
    pub representation: String,
    /// x and y of each track.
    pub points: Vec<[f32; 2]>,
}
