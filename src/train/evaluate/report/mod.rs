//! What an evaluation found, as it is written and read.

mod figures;
mod markdown;
mod plots;
mod svg;

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

pub use plots::Curves;

pub(super) use figures::{figures, round};

use super::{Comparison, EvaluateError, EvaluationSettings, Interval, Kind, Measure, Task};
use crate::track::TrackId;

/// Version of `report.json`.
const FORMAT: u32 = 1;
/// The report for programs.
pub const REPORT_JSON: &str = "report.json";
/// The report for readers.
pub const REPORT_MARKDOWN: &str = "report.md";
/// The loss over the steps of training.
pub const LOSS_PLOT: &str = "loss.svg";
/// The t-SNE map.
pub const MAP_PLOT: &str = "tsne.svg";

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout; a reader refuses later ones.
    pub format: u32,
    /// What was evaluated on.
    pub dataset: Dataset,
    /// How it was evaluated.
    pub settings: EvaluationSettings,
    /// What was compared: the embedders in the caller's order, then the baselines.
    pub representations: Vec<Summary>,
    /// Every figure, whether it could be measured or not; always the same ones in the same order.
    pub figures: Vec<Figure>,
    /// The t-SNE map of the embedders, unless there are too few tracks or it was not wanted.
    pub map: Option<Map>,
}

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

impl Report {
    /// Puts a report together.
    pub(super) fn new(
        dataset: Dataset,
        settings: EvaluationSettings,
        representations: Vec<Summary>,
        figures: Vec<Figure>,
        map: Option<Map>,
    ) -> Self {
        Self {
            format: FORMAT,
            dataset,
            settings,
            representations,
            figures,
            map,
        }
    }

    /// A figure.
    #[must_use]
    pub fn figure(&self, task: Task, measure: Measure) -> Option<&Figure> {
        let mut figures = self.figures.iter();
        figures.find(|figure| figure.task == task && figure.measure == measure)
    }

    /// A figure of a representation; `None` where it was not measured.
    #[must_use]
    pub fn value(&self, task: Task, measure: Measure, representation: &str) -> Option<Estimate> {
        let mut values = self.figure(task, measure)?.values.iter();
        values
            .find(|value| value.representation == representation)?
            .estimate
    }

    /// A figure of one representation minus that of another; `None` where it was not measured, or both are
    /// baselines.
    #[must_use]
    pub fn difference(
        &self,
        task: Task,
        measure: Measure,
        representation: &str,
        minus: &str,
    ) -> Option<Estimate> {
        self.figure(task, measure)?
            .differences
            .iter()
            .find_map(|it| match (&*it.representation, &*it.minus) {
                pair if pair == (representation, minus) => Some(it.estimate),
                pair if pair == (minus, representation) => Some(it.estimate.negated()),
                _ => None,
            })
    }

    /// Writes `report.json`, `report.md`, the map's plot where there is a map, and the loss's where there are
    /// curves, into a directory that exists.
    ///
    /// # Errors
    /// [`EvaluateError::Io`] with the file that cannot be written.
    pub fn write(&self, dir: &Path, curves: &Curves) -> Result<(), EvaluateError> {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|source| EvaluateError::Io { path, source })
        };
        let mut json =
            serde_json::to_string_pretty(self).map_err(|source| EvaluateError::Json {
                path: dir.join(REPORT_JSON),
                source,
            })?;
        json.push('\n');
        write(REPORT_JSON, json)?;
        if let Some(map) = &self.map {
            write(MAP_PLOT, plots::map(map))?;
        }
        if let Some(plot) = plots::loss(curves) {
            write(LOSS_PLOT, plot)?;
        }
        write(REPORT_MARKDOWN, markdown::render(self, curves))
    }

    /// Reads `report.json` from a directory.
    ///
    /// # Errors
    /// [`EvaluateError`] when it is missing, no report, or written by a later version.
    pub fn read(dir: &Path) -> Result<Self, EvaluateError> {
        let path = dir.join(REPORT_JSON);
        let text = fs::read(&path).map_err(|source| EvaluateError::Io {
            path: path.clone(),
            source,
        })?;
        let json = |source| EvaluateError::Json {
            path: path.clone(),
            source,
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(&text).map_err(json)?;
        if format > FORMAT {
            return Err(EvaluateError::NewerFormat {
                found: format,
                known: FORMAT,
            });
        }
        serde_json::from_slice(&text).map_err(json)
    }
}
