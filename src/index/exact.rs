//! The exact scan: codes first, f32 where codes cannot tell.

use pulp::{Arch, Simd, WithSimd};

use super::{
    base::{Allowed, Base},
    codes::{Codes, Estimate, QueryCode},
    rank::{Best, Ranked},
};

/// The `k` best rows, best first; keys are rows. `k` is at least 1.
pub(super) fn search(base: &Base, allowed: &Allowed, query: &[f32], k: usize) -> Vec<Ranked> {
    let code = base.codes.query(query);
    let mut candidates = Candidates::new(k);
    Arch::new().dispatch(Scan {
        codes: &base.codes,
        query: &code,
        allowed,
        candidates: &mut candidates,
    });
    let candidates = candidates.into_sorted();
    Arch::new().dispatch(Rescore {
        base,
        allowed,
        query,
        candidates: &candidates,
        k,
    })
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
    query: &'a QueryCode,
    allowed: &'a Allowed,
    candidates: &'a mut Candidates,
}

impl WithSimd for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.allowed {
            Allowed::All => {
                for point in 0..self.codes.len() as u32 {
                    self.candidates
                        .offer(point, self.codes.estimate(self.query, point));
                }
            }
            Allowed::Some { points, .. } => {
                for point in points.iter() {
                    self.candidates
                        .offer(point, self.codes.estimate(self.query, point));
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
