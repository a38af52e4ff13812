//! The HNSW graph, frozen into flat arrays, and the search through it.
//!
//! Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
//! Hierarchical Navigable Small World graphs" (2018), algorithms 2 and 5. Each layer is a
//! compressed table of links; what a link names is local to its layer, so that the sparse upper
//! layers take no room for absent points. Searching these arrays is about three times as fast as
//! searching the linked structure that the graph was built in.

mod build;

use std::{cmp::Reverse, collections::BinaryHeap};

use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

use super::{
    base::{Allowed, Base},
    bitmap::Bitmap,
    codes::QueryCode,
    rank::{Best, Ranked},
    rows::slot,
};

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

/// In what order points enter a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildOrder {
    /// One after the other: the same vectors give the same graph, to the bit.
    Serial,
    /// On all threads of the calling rayon pool: quicker, and different each time.
    Parallel,
}

impl Default for GraphSettings {
    /// The settings that the measured graphs were built with: the usual M = 16, efConstruction = 200.
    fn default() -> Self {
        Self {
            connections: 16,
            ef_construction: 200,
            order: BuildOrder::Parallel,
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
    pub(super) nodes: Vec<u32>,
    /// Where each node's links start; one entry more than nodes.
    pub(super) offsets: Vec<u32>,
    /// Nodes of this layer.
    pub(super) links: Vec<u32>,
}

/// How far a graph search goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Rows wanted.
    pub(super) k: usize,
    /// Allowed points kept while searching, at least 1.
    pub(super) ef: usize,
    /// Points to look at before giving up.
    pub(super) budget: usize,
}

impl Layer {
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
            .map(|l| {
                size_of_val(&l.nodes[..]) + size_of_val(&l.offsets[..]) + size_of_val(&l.links[..])
            })
            .sum()
    }

    pub(super) fn links(&self) -> usize {
        self.layers.iter().map(|layer| layer.links.len()).sum()
    }

    /// The nearest allowed rows that the graph leads to, best first; keys are rows. None at all if
    /// the budget was spent before the walk was through.
    pub(super) fn search(
        &self,
        base: &Base,
        allowed: &Allowed,
        query: &[f32],
        limits: Limits,
    ) -> Vec<Ranked> {
        let code = base.codes.query(query);
        Arch::new().dispatch(Walk {
            graph: self,
            base,
            allowed,
            query,
            code: &code,
            limits,
        })
    }
}

/// A whole search as one piece, so that it is compiled for the machine's vectors as one.
struct Walk<'a> {
    graph: &'a Graph,
    base: &'a Base,
    allowed: &'a Allowed,
    query: &'a [f32],
    code: &'a QueryCode,
    limits: Limits,
}

impl WithSimd for Walk<'_> {
    type Output = Vec<Ranked>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<Ranked> {
        let mut best = Best::new(self.limits.k);
        for point in self.explore(self.descend()).unwrap_or_default() {
            let score = self.base.score(self.query, point);
            self.base.offer_rows(self.allowed, point, score, &mut best);
        }
        best.into_sorted()
    }
}

impl Walk<'_> {
    // The walk goes by codes: a quarter of the memory to wait for; f32 decides in the end.
    #[inline(always)]
    fn rank(&self, point: u32) -> Ranked {
        Ranked {
            score: self.base.codes.estimate(self.code, point).score,
            key: point,
        }
    }

    /// Greedily down to the bottom layer: the point to start from.
    #[inline(always)]
    fn descend(&self) -> Ranked {
        let top = self.graph.layers.len() - 1;
        let mut here = self.rank(self.graph.layers[top].point(self.graph.entry));
        for layer in self.graph.layers[1..].iter().rev() {
            let mut node = layer.node(here.key);
            loop {
                let from = node;
                for &link in layer.links_of(from) {
                    let there = self.rank(layer.point(link));
                    if there > here {
                        (here, node) = (there, link);
                    }
                }
                if node == from {
                    break;
                }
            }
        }
        here
    }

    /// Best-first through the bottom layer. Points that may not come back are walked through and
    /// not kept, so the walk goes on until `ef` allowed ones are closer than all that is open. `None`
    /// if the budget was spent before that.
    #[inline(always)]
    fn explore(&self, start: Ranked) -> Option<Vec<u32>> {
        let bottom = &self.graph.layers[0];
        let mut seen = Bitmap::empty(self.base.points());
        let mut open = BinaryHeap::from([start]);
        let mut kept = BinaryHeap::<Reverse<Ranked>>::with_capacity(self.limits.ef + 1);
        seen.insert(start.key);
        if self.allowed.has_point(start.key) {
            kept.push(Reverse(start));
        }
        let mut looked_at = 1;
        while let Some(here) = open.pop() {
            if kept.len() == self.limits.ef && kept.peek().is_some_and(|worst| here < worst.0) {
                break;
            }
            if looked_at > self.limits.budget {
                return None;
            }
            for &link in bottom.links_of(here.key) {
                if !seen.insert(link) {
                    continue;
                }
                looked_at += 1;
                let there = self.rank(link);
                let full = kept.len() == self.limits.ef;
                if full && kept.peek().is_some_and(|worst| there < worst.0) {
                    continue;
                }
                open.push(there);
                if self.allowed.has_point(link) {
                    kept.push(Reverse(there));
                    if full {
                        kept.pop();
                    }
                }
            }
        }
        Some(kept.into_iter().map(|kept| kept.0.key).collect())
    }
}
