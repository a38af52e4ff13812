//! The HNSW graph, frozen into flat arrays, and the search through it.
//!
//! Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
//! Hierarchical Navigable Small World graphs" (2018). Each layer is a compressed table of links; what
//! a link names is local to its layer, so that the sparse upper layers take no room for absent points.
//!
//! `walk` goes through links, for `search` and for building; `grow` builds, `select` picks the links
//! for it; `racing` is the other builder, `hnsw_rs`; `lists` is what both end in.

mod build;
mod grow;
mod lists;
mod racing;
mod search;
mod select;
mod walk;

use serde::{Deserialize, Serialize};

use super::{mapped::Array, rows::slot};
pub(super) use search::Limits;

/// How a graph is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphSettings {
    /// Links of a point in the upper layers (M); twice as many at the bottom. From 4 to 64.
    pub connections: usize,
    /// Candidates looked at for a point's links. From 8 to 2000.
    pub ef_construction: usize,
    /// One after the other or many at once.
    pub order: BuildOrder,
}

/// In what order points enter a graph, and who puts them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildOrder {
    /// Many at once, on all threads of the calling rayon pool, linked batch after batch: the same vectors
    /// give the same graph, to the bit, on any number of threads.
    Batches,
    /// By `hnsw_rs`, one after the other: the same vectors give the same graph, to the bit.
    Serial,
    /// By `hnsw_rs`, on all threads of the calling rayon pool: quicker than `Serial`, and different each time.
    Parallel,
}

impl Default for GraphSettings {
    /// The settings that the measured graphs were built with: the usual M = 16, efConstruction = 200.
    fn default() -> Self {
        Self {
            connections: 16,
            ef_construction: 200,
            order: BuildOrder::Batches,
        }
    }
}

/// The frozen graph; at least one layer, at least one point.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Graph {
    /// Bottom first.
    pub(super) layers: Vec<Layer>,
    /// Where every search starts: a number local to the top layer.
    pub(super) entry: u32,
}

/// One layer: nodes `0..` with their links.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// The point of each node, rising. Empty at the bottom, where node = point.
    pub(super) nodes: Array<u32>,
    /// Where each node's links start; one entry more than nodes.
    pub(super) offsets: Array<u32>,
    /// Nodes of this layer.
    pub(super) links: Array<u32>,
}

impl Layer {
    #[inline(always)]
    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline(always)]
    fn links_of(&self, node: u32) -> &[u32] {
        &self.links[slot(&self.offsets, node)]
    }

    #[inline(always)]
    fn point(&self, node: u32) -> u32 {
        if self.nodes.is_empty() {
            node
        } else {
            self.nodes[node as usize]
        }
    }

    /// The node of a point that is known to be in this layer.
    fn node(&self, point: u32) -> u32 {
        if self.nodes.is_empty() {
            point
        } else {
            // Loading and building see to it that each layer's points are in the one below.
            self.nodes.partition_point(|&node| node < point) as u32
        }
    }
}

impl Graph {
    pub(super) fn bytes(&self) -> usize {
        let layers = self.layers.iter();
        layers
            .flat_map(|layer| [&layer.nodes, &layer.offsets, &layer.links])
            .map(|array| size_of_val(&array[..]))
            .sum()
    }

    pub(super) fn links(&self) -> usize {
        self.layers.iter().map(|layer| layer.links.len()).sum()
    }
}
