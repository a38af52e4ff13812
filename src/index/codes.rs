//! Vectors as 8-bit codes: a quarter of the bytes to read, with an error that is known.
//!
//! With the mean μ of all vectors taken off, a point is `x' = x - μ` and a query `q' = q - μ`, so
//! `q·x = q'·x' + q·μ + μ·x'`. Only `q'·x'` is computed on codes; the other terms are kept in f32. The mean
//! is taken off because embeddings crowd together, an untrained encoder's most of all: codes of what
//! they have in common would spend their 8 bits on it.
//!
//! Let `x^` and `q^` be what the codes stand for. By Cauchy-Schwarz
//! `|q'·x' - q^·x^| = |(q'-q^)·x' + q^·(x'-x^)| <= ‖q'-q^‖‖x'‖ + ‖q^‖‖x'-x^‖`.
//! All four norms are known, so a scan over codes can say which points *may* be among the best and
//! leave the rest alone; what it then rescores in f32 is the true answer, not a likely one.

use super::kernel;

/// The codes of all points.
#[derive(Debug)]
pub(super) struct Codes {
    dimension: usize,
    mean: Vec<f32>,
    /// μ·μ
    mean_square: f32,
    /// `[points, dimension]`
    codes: Vec<i8>,
    points: Vec<PointCode>,
}

#[derive(Clone, Copy, Debug)]
struct PointCode {
    /// What a code of 1 stands for.
    step: f32,
    /// μ·x'
    bias: f32,
    /// ‖x'‖
    norm: f32,
    /// ‖x'-x^‖
    residual: f32,
}

/// A query's codes and what is known of their error.
#[derive(Debug)]
pub(super) struct QueryCode {
    pub(super) wide: WideCode,
    /// ‖q^‖
    norm: f32,
    /// ‖q'-q^‖
    residual: f32,
    /// For the rounding of f32 sums, here and in the f32 score itself.
    slack: f32,
}

/// The side that is compared with many points: codes of 16 bits, as fine as 32-bit sums allow.
#[derive(Debug)]
pub(super) struct WideCode {
    codes: Vec<i16>,
    /// What a code of 1 stands for.
    step: f32,
    /// q·μ
    bias: f32,
}

/// What codes say about a score: it is within `error` of `score`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) score: f32,
    pub(super) error: f32,
}

const POINT_CODE_MAX: f32 = 127.0;

impl Codes {
    /// Encodes `[points, dimension]` vectors. The same vectors give the same codes on every machine.
    pub(super) fn encode(vectors: &[f32], dimension: usize) -> Self {
        let count = vectors.len() / dimension;
        let mut sums = vec![0.0f64; dimension];
        for vector in vectors.chunks_exact(dimension) {
            for (sum, &x) in sums.iter_mut().zip(vector) {
                *sum += f64::from(x);
            }
        }
        let mean: Vec<f32> = sums
            .iter()
            .map(|sum| (sum / count.max(1) as f64) as f32)
            .collect();

        let mut codes = Vec::with_capacity(vectors.len());
        let mut points = Vec::with_capacity(count);
        let mut centred = vec![0.0; dimension];
        for vector in vectors.chunks_exact(dimension) {
            for ((centred, x), mean) in centred.iter_mut().zip(vector).zip(&mean) {
                *centred = x - mean;
            }
            let step = largest(&centred) / POINT_CODE_MAX;
            let start = codes.len();
            codes.extend(centred.iter().map(|x| quantise(*x, step) as i8));
            let errors = centred.iter().zip(&codes[start..]);
            points.push(PointCode {
                step,
                bias: kernel::dot(&mean, &centred),
                norm: norm(centred.iter().copied()),
                residual: norm(errors.map(|(x, &code)| x - step * f32::from(code))),
            });
        }
        Self {
            dimension,
            mean_square: kernel::dot(&mean, &mean),
            mean,
            codes,
            points,
        }
    }

    /// Numbers in a vector.
    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.codes.len() + size_of_val(&self.points[..])
    }

    pub(super) fn query(&self, query: &[f32]) -> QueryCode {
        let centred: Vec<f32> = query
            .iter()
            .zip(&self.mean)
            .map(|(q, mean)| q - mean)
            .collect();
        // The largest sum, `dimension * code * 127`, must fit into 31 bits.
        let code_max = (i32::MAX as f32 / (POINT_CODE_MAX * self.dimension as f32 * 1.01))
            .floor()
            .clamp(1.0, f32::from(i16::MAX));
        let step = largest(&centred) / code_max;
        let codes: Vec<i16> = centred.iter().map(|x| quantise(*x, step) as i16).collect();
        QueryCode {
            norm: norm(codes.iter().map(|&code| step * f32::from(code))),
            residual: norm(
                centred
                    .iter()
                    .zip(&codes)
                    .map(|(x, &code)| x - step * f32::from(code)),
            ),
            // A sum of d products in 32 lanes is off by (d/32 + 6) roundings of 2^-24 at most, and
            // four such sums meet here; this is several times that.
            slack: 1e-5 + 1e-8 * self.dimension as f32,
            wide: WideCode {
                codes,
                step,
                bias: kernel::dot(query, &self.mean),
            },
        }
    }

    /// A point's own codes as those of a query: scores between points.
    #[inline(always)]
    pub(super) fn widened(&self, point: u32) -> WideCode {
        let code = &self.points[point as usize];
        WideCode {
            codes: self.row(point).iter().map(|&code| code.into()).collect(),
            step: code.step,
            bias: self.mean_square + code.bias,
        }
    }

    #[inline(always)]
    fn row(&self, point: u32) -> &[i8] {
        let start = point as usize * self.dimension;
        &self.codes[start..start + self.dimension]
    }

    /// About a point's score. `point` must be below [`Codes::len`].
    #[inline(always)]
    pub(super) fn score(&self, query: &WideCode, point: u32) -> f32 {
        let dot = kernel::dot_codes(&query.codes, self.row(point));
        let code = &self.points[point as usize];
        query.bias + code.bias + dot as f32 * (query.step * code.step)
    }

    /// A point's score and how far off that may be. `point` must be below [`Codes::len`].
    #[inline(always)]
    pub(super) fn estimate(&self, query: &QueryCode, point: u32) -> Estimate {
        let code = &self.points[point as usize];
        Estimate {
            score: self.score(&query.wide, point),
            error: query.residual * code.norm + query.norm * code.residual + query.slack,
        }
    }
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}

/// The nearest multiple of `step`; 0 where the step is, as every number is then.
fn quantise(number: f32, step: f32) -> f32 {
    if step > 0.0 {
        (number / step).round()
    } else {
        0.0
    }
}

fn norm(numbers: impl Iterator<Item = f32>) -> f32 {
    numbers.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn unit(mut vector: Vec<f32>) -> Vec<f32> {
        let length = norm(vector.iter().copied()).max(1e-6);
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }

    proptest! {
        /// `crowding` puts all vectors around one direction, as an untrained encoder does.
        #[test]
        fn estimates_are_within_their_error(
            crowding in prop_oneof![Just(0.0f32), Just(1.0), Just(30.0)],
            raw in vec(vec(-1.0f32..1.0, 48), 2..12),
        ) {
            let vectors: Vec<Vec<f32>> = raw.into_iter()
                .map(|mut v| { v.iter_mut().for_each(|x| *x += crowding); v[0] += 0.1; unit(v) }).collect();
            let codes = Codes::encode(&vectors.concat(), 48);
            for query in &vectors {
                let code = codes.query(query);
                for (point, vector) in vectors.iter().enumerate() {
                    let estimate = codes.estimate(&code, point as u32);
                    let score = kernel::dot(query, vector);
                    prop_assert!((score - estimate.score).abs() <= estimate.error, "{score} {estimate:?}");
                    prop_assert!(estimate.error < 0.03);
                }
            }
        }
    }

    #[test]
    fn crowded_vectors_keep_small_errors() {
        let vectors: Vec<f32> = (0..64)
            .flat_map(|i| {
                let mut v = vec![1.0f32; 64];
                v[i] += 0.5;
                unit(v)
            })
            .collect();
        let codes = Codes::encode(&vectors, 64);
        let query = codes.query(&vectors[..64]);
        assert!((0..64).all(|point| codes.estimate(&query, point).error < 3e-4));
    }

    #[test]
    fn a_single_point_and_none_encode() {
        let codes = Codes::encode(&[0.6, 0.8], 2);
        let estimate = codes.estimate(&codes.query(&[0.8, 0.6]), 0);
        assert!((estimate.score - 0.96).abs() <= estimate.error);
        assert_eq!(Codes::encode(&[], 2).len(), 0);
    }

    #[test]
    fn sums_fit_at_large_dimensions() {
        for dimension in [512, 4096, 20_000] {
            let mut vectors = unit(vec![1.0; dimension]);
            vectors.extend(unit(vec![-1.0; dimension]));
            let codes = Codes::encode(&vectors, dimension);
            let estimate = codes.estimate(&codes.query(&vectors[..dimension]), 1);
            assert!(
                (estimate.score + 1.0).abs() <= estimate.error,
                "{dimension} {estimate:?}"
            );
        }
    }
}
