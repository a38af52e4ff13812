//! Inner products, the only arithmetic of this floor that is worth being fast.
//!
//! Plain loops over fixed lanes, `#[inline(always)]` so that [`pulp::Arch::dispatch`] around a
//! whole scan compiles them with the widest vectors that the machine has, chosen at run time.
//! The order of the sums is written down here and no compiler may change it for floats: a score
//! has the same bits on every machine, so equal scores are equal everywhere.

use pulp::{Arch, Simd, WithSimd};

/// Sums kept apart: two registers of AVX-512, four of AVX2, so that additions do not wait for each other.
const LANES: usize = 32;

/// Inner product of two vectors of equal length.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *sum += a * b;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Inner product of a query's wide codes and a point's narrow ones.
///
/// 16-bit factors with 32-bit sums are what the `pmaddwd` instruction takes. The caller keeps the
/// query's codes small enough for the sum to fit (see `codes`).
#[inline(always)]
pub(super) fn dot_codes(query: &[i16], point: &[i8]) -> i32 {
    query
        .iter()
        .zip(point)
        .map(|(&q, &p)| i32::from(q) * i32::from(p))
        .sum()
}

/// What callers see of an inner product of unit vectors: rounding is clamped away, and there is
/// one zero only, so that `total_cmp` agrees with `==`.
#[inline(always)]
pub(super) fn cosine(dot: f32) -> f32 {
    dot.clamp(-1.0, 1.0) + 0.0
}

/// [`dot`] by itself, with the widest vectors that the machine has.
#[inline]
pub(super) fn dispatched_dot(arch: Arch, a: &[f32], b: &[f32]) -> f32 {
    struct Dot<'a>(&'a [f32], &'a [f32]);
    impl WithSimd for Dot<'_> {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> f32 {
            dot(self.0, self.1)
        }
    }
    arch.dispatch(Dot(a, b))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn dot_agrees_with_f64_at_every_length() {
        for count in [0, 1, 31, 32, 33, 100, 192, 512] {
            let (a, b) = (numbers(count, 1), numbers(count, 7));
            let want: f64 = a
                .iter()
                .zip(&b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum();
            assert!((f64::from(dot(&a, &b)) - want).abs() < 1e-4, "{count}");
        }
    }

    #[test]
    fn dot_has_the_same_bits_on_every_instruction_set() {
        for count in [31, 192, 500, 512] {
            let (a, b) = (numbers(count, 3), numbers(count, 5));
            let wide = dispatched_dot(Arch::new(), &a, &b);
            assert_eq!(
                wide.to_bits(),
                dispatched_dot(Arch::Scalar, &a, &b).to_bits()
            );
        }
    }

    #[test]
    fn dot_codes_takes_the_extremes() {
        assert_eq!(
            dot_codes(&[i16::MAX; 100], &[-127; 100]),
            -127 * 32_767 * 100
        );
    }

    #[test]
    fn cosine_knows_one_zero_and_no_more_than_one() {
        assert_eq!(cosine(-0.0).to_bits(), 0.0f32.to_bits());
        assert_eq!(cosine(1.000_001), 1.0);
        assert_eq!(cosine(-1.000_001), -1.0);
    }
}
