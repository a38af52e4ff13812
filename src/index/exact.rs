//! The exact scan: codes first, f32 where codes cannot tell.

use pulp::{Arch, Simd, WithSimd};

use super::{
    base::{Allowed, Base},
    codes::{Codes, Estimate, QueryCode},
    rank::{Best, Ranked},
};

/// Points that all queries are compared with before the next ones are read: 32 KiB of codes at 512 numbers, which
/// stay in the first cache.
const BLOCK: usize = 64;

/// The best rows for each query and the number that it wants, best first; keys are rows. None for one that wants none.
///
/// A scan waits for memory more than it computes, so several queries at a time cost little more than one.
pub(super) fn search(
    base: &Base,
    allowed: &Allowed,
    wanted: &[(&[f32], usize)],
) -> Vec<Vec<Ranked>> {
    let mut scans: Vec<_> = wanted
        .iter()
        .filter(|&&(_, k)| k > 0)
        .map(|&(query, k)| (base.codes.query(query), Candidates::new(k)))
        .collect();
    if !scans.is_empty() {
        Arch::new().dispatch(Scan {
            codes: &base.codes,
            scans: &mut scans,
            allowed,
        });
    }
    let mut scans = scans.into_iter();
    let found = wanted.iter().map(|&(query, k)| {
        let scan = if k > 0 { scans.next() } else { None };
        let Some((_, candidates)) = scan else {
            return Vec::new();
        };
        Arch::new().dispatch(Rescore {
            base,
            allowed,
            query,
            candidates: &candidates.into_sorted(),
            k,
        })
    });
    found.collect()
}

/// Points that may be among the best.
struct Candidates {
    /// The most that a point's score can be, and the point.
    open: Vec<(f32, u32)>,
    /// The `k` greatest of the least that scores can be.
    least: Best,
    /// The least of these: whatever cannot reach it is out.
    floor: f32,
}

impl Candidates {
    fn new(k: usize) -> Self {
        Self {
            open: Vec::new(),
            least: Best::new(k),
            floor: f32::NEG_INFINITY,
        }
    }

    #[inline(always)]
    fn offer(&mut self, point: u32, estimate: Estimate) {
        if estimate.score + estimate.error >= self.floor {
            self.take(point, estimate);
        }
    }

    // Rare after the first few thousand points: kept out of the hot loop.
    #[inline(never)]
    fn take(&mut self, point: u32, estimate: Estimate) {
        self.open.push((estimate.score + estimate.error, point));
        self.least.offer(Ranked {
            score: estimate.score - estimate.error,
            key: point,
        });
        self.floor = self.least.floor();
    }

    /// Most promising first.
    fn into_sorted(mut self) -> Vec<(f32, u32)> {
        self.open.retain(|&(most, _)| most >= self.floor);
        self.open
            .sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.open
    }
}

struct Scan<'a> {
    codes: &'a Codes,
    scans: &'a mut [(QueryCode, Candidates)],
    allowed: &'a Allowed,
}

impl WithSimd for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.allowed {
            Allowed::All => {
                let all = self.codes.len();
                for start in (0..all).step_by(BLOCK) {
                    for (query, candidates) in &mut *self.scans {
                        for point in start..all.min(start + BLOCK) {
                            let point = point as u32;
                            candidates.offer(point, self.codes.estimate(query, point));
                        }
                    }
                }
            }
            Allowed::Some { points, .. } => {
                for point in points.iter() {
                    for (query, candidates) in &mut *self.scans {
                        candidates.offer(point, self.codes.estimate(query, point));
                    }
                }
            }
        }
    }
}

struct Rescore<'a> {
    base: &'a Base,
    allowed: &'a Allowed,
    query: &'a [f32],
    candidates: &'a [(f32, u32)],
    k: usize,
}

impl WithSimd for Rescore<'_> {
    type Output = Vec<Ranked>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<Ranked> {
        let mut best = Best::new(self.k);
        for &(most, point) in self.candidates {
            if most < best.floor() {
                break;
            }
            let score = self.base.score(self.query, point);
            self.base.offer_rows(self.allowed, point, score, &mut best);
        }
        best.into_sorted()
    }
}
