//! Searching the frozen graph.

use pulp::{Arch, Simd, WithSimd};

use super::{
    Graph, Layer,
    walk::{self, Ground},
};
use crate::index::{
    base::{Allowed, Base},
    codes::{Codes, WideCode},
    rank::{Best, Ranked},
};

/// How far a graph search goes.
#[derive(Clone, Copy, Debug)]
pub(in crate::index) struct Limits {
    /// Rows wanted.
    pub(in crate::index) k: usize,
    /// Allowed points kept while searching, at least 1.
    pub(in crate::index) ef: usize,
    /// Points to look at before giving up.
    pub(in crate::index) budget: usize,
}

impl Graph {
    /// The nearest allowed rows that the graph leads to, best first; keys are rows. None at all if
    /// the budget was spent before the walk was through.
    pub(in crate::index) fn search(
        &self,
        base: &Base,
        allowed: &Allowed,
        query: &[f32],
        limits: Limits,
    ) -> Vec<Ranked> {
        let code = base.codes.query(query);
        Arch::new().dispatch(Search {
            graph: self,
            base,
            allowed,
            query,
            code: &code.wide,
            limits,
        })
    }
}

/// A whole search as one piece, so that it is compiled for the machine's vectors as one.
struct Search<'a> {
    graph: &'a Graph,
    base: &'a Base,
    allowed: &'a Allowed,
    query: &'a [f32],
    code: &'a WideCode,
    limits: Limits,
}

impl WithSimd for Search<'_> {
    type Output = Vec<Ranked>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<Ranked> {
        let Limits { k, ef, budget } = self.limits;
        let top = self.graph.layers.len() - 1;
        let mut point = self.graph.layers[top].point(self.graph.entry);
        for layer in self.graph.layers[1..].iter().rev() {
            let found = walk::descend(&self.ground(layer), layer.node(point));
            point = layer.point(found.key);
        }
        let bottom = self.ground(&self.graph.layers[0]);
        let start = Ranked {
            score: bottom.score(point),
            key: point,
        };
        let mut best = Best::new(k);
        for found in walk::explore(&bottom, start, ef, budget).unwrap_or_default() {
            let score = self.base.score(self.query, found.key);
            let base = self.base;
            base.offer_rows(self.allowed, found.key, score, &mut best);
        }
        best.into_sorted()
    }
}

impl<'a> Search<'a> {
    #[inline(always)]
    fn ground(&self, layer: &'a Layer) -> Frozen<'a> {
        Frozen {
            layer,
            codes: &self.base.codes,
            query: self.code,
            allowed: self.allowed,
        }
    }
}

/// A layer and a query. The walk goes by codes: a quarter of the memory to wait for; f32 decides in the end.
struct Frozen<'a> {
    layer: &'a Layer,
    codes: &'a Codes,
    query: &'a WideCode,
    allowed: &'a Allowed,
}

impl Ground for Frozen<'_> {
    #[inline(always)]
    fn nodes(&self) -> usize {
        self.layer.len()
    }

    #[inline(always)]
    fn links(&self, node: u32) -> &[u32] {
        self.layer.links_of(node)
    }

    #[inline(always)]
    fn score(&self, node: u32) -> f32 {
        self.codes.score(self.query, self.layer.point(node))
    }

    #[inline(always)]
    fn is_wanted(&self, node: u32) -> bool {
        self.allowed.has_point(self.layer.point(node))
    }
}
