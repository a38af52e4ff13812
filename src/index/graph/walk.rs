//! Walking over links towards a target: what searching and building have in common.
//!
//! Points lie far apart in memory, and a look at one waits for it. So the links of a node are looked at together: all
//! scores first, with no branch that hangs on one of them, and decisions after, which lets the processor
//! fetch several points at a time.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::index::{bitmap::Bitmap, rank::Ranked};

/// A layer as a walk sees it. Nodes are numbers local to the layer.
pub(super) trait Ground {
    /// How many nodes there are.
    fn nodes(&self) -> usize;

    /// Where one can go from a node.
    fn links(&self, node: u32) -> &[u32];

    /// How near a node is to the target.
    fn score(&self, node: u32) -> f32;

    /// Whether a walk may bring this node back. One that it may not is still walked through.
    fn is_wanted(&self, node: u32) -> bool;
}

/// The node of a greedy walk that has no nearer neighbour; its key is the node.
///
/// Algorithm 2 with `ef` = 1.
#[inline(always)]
pub(super) fn descend(ground: &impl Ground, start: u32) -> Ranked {
    let mut here = rank(ground, start);
    loop {
        let from = here;
        for &link in ground.links(from.key) {
            here = here.max(rank(ground, link));
        }
        if here == from {
            return here;
        }
    }
}

/// Best-first from `start` until `ef` wanted nodes are nearer than all that is open: these, in no
/// order, keys are nodes. `None` if more than `budget` nodes had to be looked at.
///
/// Algorithm 2.
#[inline(always)]
pub(super) fn explore(
    ground: &impl Ground,
    start: Ranked,
    ef: usize,
    budget: usize,
) -> Option<Vec<Ranked>> {
    let mut seen = Bitmap::empty(ground.nodes());
    let mut open = BinaryHeap::from([start]);
    let mut kept = BinaryHeap::<Reverse<Ranked>>::with_capacity(ef + 1);
    let mut fresh = Vec::new();
    let mut ranked = Vec::new();
    seen.insert(start.key);
    if ground.is_wanted(start.key) {
        kept.push(Reverse(start));
    }
    let mut looked_at = 1;
    while let Some(here) = open.pop() {
        if kept.len() == ef && kept.peek().is_some_and(|worst| here < worst.0) {
            break;
        }
        if looked_at > budget {
            return None;
        }
        // Loops, here and in `select`: a closure in an adapter is compiled apart, without wide vectors.
        fresh.clear();
        for &link in ground.links(here.key) {
            if seen.insert(link) {
                fresh.push(link);
            }
        }
        looked_at += fresh.len();
        ranked.clear();
        for &node in &fresh {
            ranked.push(rank(ground, node));
        }
        for &there in &ranked {
            let full = kept.len() == ef;
            if full && kept.peek().is_some_and(|worst| there < worst.0) {
                continue;
            }
            open.push(there);
            if ground.is_wanted(there.key) {
                kept.push(Reverse(there));
                if full {
                    kept.pop();
                }
            }
        }
    }
    Some(kept.into_iter().map(|kept| kept.0).collect())
}

#[inline(always)]
fn rank(ground: &impl Ground, node: u32) -> Ranked {
    Ranked {
        score: ground.score(node),
        key: node,
    }
}
