//! What can be set about an embedded index.

use serde::{Deserialize, Serialize};

use super::{GraphSettings, IndexError};

/// The settings of an embedded index; they are stored with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Up to this many allowed tracks the exact scan answers; an index of no more distinct vectors has no graph.
    pub exact_up_to: usize,
    /// Size of the graph search's result list: more is slower and finds more. From 1 to 100,000.
    pub ef_search: usize,
    /// What looking at a point costs the graph, in points scanned: where the planner expects the graph
    /// to lose, or a walk is about to, the scan answers. From 0, the graph never loses, to 1,000.
    pub look_cost: usize,
    /// Tracks that the delta takes before it must be folded in by a checkpoint. All of them are
    /// scanned in f32 by every search.
    pub delta_limit: usize,
    /// How the graph is built.
    pub graph: GraphSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exact_up_to: 40_000,
            ef_search: 96,
            look_cost: 8,
            delta_limit: 4_096,
            graph: GraphSettings::default(),
        }
    }
}

impl Settings {
    /// Refuses settings outside their ranges.
    ///
    /// # Errors
    /// [`IndexError::Setting`] for the first that is.
    pub fn check(&self) -> Result<(), IndexError> {
        within("ef_search", self.ef_search, 1, 100_000)?;
        within("look_cost", self.look_cost, 0, 1_000)?;
        within("graph.connections", self.graph.connections, 4, 64)?;
        within(
            "graph.ef_construction",
            self.graph.ef_construction,
            8,
            2_000,
        )
    }
}

/// Refuses a dimension that no index takes.
pub(super) fn check_dimension(dimension: usize) -> Result<(), IndexError> {
    within("dimension", dimension, 1, 1 << 16)
}

fn within(name: &'static str, found: usize, min: usize, max: usize) -> Result<(), IndexError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(IndexError::Setting {
        name,
        found,
        min,
        max,
    })
}
