//! What goes into an index and what comes out of it.

use serde::{Deserialize, Serialize};

use super::{Field, Filter};
use crate::track::TrackId;

/// How far a vector's length may be from one.
///
/// Normalising in f32 leaves an error near 1e-6 at 512 numbers; a vector that misses by a hundred
/// times as much was not normalised.
pub const UNIT_TOLERANCE: f32 = 1e-4;

/// A track as an index holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Whose vector this is.
    pub id: TrackId,
    /// The track embedding: finite numbers, unit length within [`UNIT_TOLERANCE`].
    pub vector: Vec<f32>,
    /// What filters see. A field may have several values; [`Field::Track`] is implied by `id`.
    pub fields: Vec<(Field, i64)>,
}

/// A question to an index: which tracks are nearest to a vector?
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Finite numbers, unit length within [`UNIT_TOLERANCE`].
    pub vector: Vec<f32>,
    /// How many hits are wanted, at least one. Fewer come back only if fewer tracks pass the filter.
    pub k: usize,
    /// Which tracks may come back.
    pub filter: Filter,
    /// How hard to look.
    pub effort: Effort,
}

impl Query {
    /// The `k` nearest of all tracks, by whatever engine the planner picks.
    pub fn nearest(vector: Vec<f32>, k: usize) -> Self {
        Self {
            vector,
            k,
            filter: Filter::All,
            effort: Effort::default(),
        }
    }
}

/// How hard an index looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// The planner chooses between exact scan and graph.
    Planned {
        /// Size of the graph search's result list, in place of the index's own setting: more is
        /// slower and finds more.
        ef_search: Option<usize>,
    },
    /// The true nearest, whatever it costs.
    Exact,
}

impl Default for Effort {
    fn default() -> Self {
        Self::Planned { ef_search: None }
    }
}

/// One track of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The track found.
    pub id: TrackId,
    /// Cosine similarity to the query, in `[-1, 1]`.
    pub score: f32,
}

/// What an index answers to a [`Query`].
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// At most `k` hits, score falling, equal scores by rising id. The order decides the cut at `k` too.
    pub hits: Vec<Hit>,
    /// How they were found.
    pub plan: Plan,
}

/// How an answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The engine whose hits these are.
    pub engine: Engine,
    /// How many tracks passed the filter.
    pub allowed: usize,
    /// Why this engine.
    pub reason: Reason,
}

/// The ways to find nearest vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Every allowed vector is looked at; the answer is the true one.
    Exact,
    /// The HNSW graph; the answer is nearly always the true one.
    Graph,
}

/// Why the planner chose an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The query asked for the true nearest.
    Requested,
    /// The index is small enough to have no graph.
    SmallCatalogue,
    /// The filter leaves so few that scanning them is quicker.
    FewAllowed,
    /// The graph would look at so many points, for many hits or past a narrow filter, that scanning is quicker.
    GraphTooDear,
    /// Many are allowed, few are wanted.
    ManyAllowed,
    /// The graph came back with too few, or spent what a scan costs: the scan answered.
    GraphFellShort,
}

/// What an index is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The implementation's name.
    pub engine: &'static str,
    /// Numbers in a vector.
    pub dimension: usize,
    /// The fields that filters may name.
    pub fields: Vec<Field>,
    /// Whether every answer is the true one, whatever the effort.
    pub always_exact: bool,
}

/// What an index holds right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Tracks that a search can find.
    pub tracks: usize,
    /// Distinct vectors in the immutable part.
    pub points: usize,
    /// Tracks in the exact delta, waiting for a checkpoint.
    pub delta: usize,
    /// Tracks of the immutable part that were deleted or replaced.
    pub tombstones: usize,
    /// Links in the graph, all layers; 0 without a graph.
    pub links: usize,
    /// Bytes of the large arrays, in memory or mapped from their files.
    pub bytes: usize,
}
