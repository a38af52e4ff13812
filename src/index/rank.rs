//! The order of hits, and the best `k` in it.

use std::{cmp::Ordering, cmp::Reverse, collections::BinaryHeap};

use super::Hit;

/// A scored candidate. The greater one is the better one: higher score, then lower key.
///
/// The key is a track id, or anything that rises with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranked {
    pub(super) score: f32,
    pub(super) key: u32,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.key.cmp(&self.key))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The best `capacity` of all that were offered.
#[derive(Debug)]
pub(super) struct Best {
    capacity: usize,
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    /// `capacity` is at least 1.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            heap: BinaryHeap::with_capacity(capacity + 1),
        }
    }

    /// Takes a candidate in if it is among the best so far.
    #[inline]
    pub(super) fn offer(&mut self, candidate: Ranked) -> bool {
        if self.heap.len() < self.capacity {
            self.heap.push(Reverse(candidate));
            return true;
        }
        match self.heap.peek_mut() {
            Some(mut worst) if candidate > worst.0 => {
                *worst = Reverse(candidate);
                true
            }
            _ => false,
        }
    }

    /// The score below which nothing can enter any more.
    #[inline]
    pub(super) fn floor(&self) -> f32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() == self.capacity => worst.0.score,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Best first.
    pub(super) fn into_sorted(self) -> Vec<Ranked> {
        // `Reverse` turns the heap's ascending order into ours.
        self.heap
            .into_sorted_vec()
            .into_iter()
            .map(|r| r.0)
            .collect()
    }
}

/// Brings hits into the order of answers: score falling, then id rising.
pub(super) fn sort(hits: &mut [Hit]) {
    hits.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
}
