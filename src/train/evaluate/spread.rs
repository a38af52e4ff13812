//! Whether the embeddings use their room, or have collapsed into a corner of it.

/// How widely vectors are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// Mean cosine of two vectors.
    pub(super) mean_cosine: f64,
    /// Participation ratio of the covariance's eigenvalues, `(sum l)^2 / sum l^2`: the number of dimensions
    /// that the vectors fill evenly; 1 for a line, 0 for a point.
    pub(super) effective_dimensions: f64,
}

/// Measures the vectors of at least two tracks, `[tracks][dimension]`.
pub(super) fn spread(vectors: &[Vec<f32>]) -> Option<Spread> {
    (vectors.len() > 1).then(|| Spread {
        mean_cosine: mean_cosine(vectors),
        effective_dimensions: participation_ratio(vectors),
    })
}

/// The squared length of the sum of `n` unit vectors is `n` plus the cosines of all ordered pairs.
fn mean_cosine(vectors: &[Vec<f32>]) -> f64 {
    let mut sum = vec![0.0; vectors[0].len()];
    let mut units = 0.0;
    for vector in vectors {
        let values = || vector.iter().map(|&value| f64::from(value));
        let norm = values().map(|value| value * value).sum::<f64>().sqrt();
        if norm > 0.0 {
            units += 1.0;
            sum.iter_mut()
                .zip(values())
                .for_each(|(sum, value)| *sum += value / norm);
        }
    }
    let squared = sum.iter().map(|value| value * value).sum::<f64>();
    let count = vectors.len() as f64;
    (squared - units) / (count * (count - 1.0))
}

/// The sum of the eigenvalues is the covariance's trace, that of their squares its squared Frobenius norm:
/// no eigenvalue need be known.
fn participation_ratio(vectors: &[Vec<f32>]) -> f64 {
    let dimension = vectors.first().map_or(0, Vec::len);
    let count = vectors.len() as f64;
    let mut mean = vec![0.0; dimension];
    for vector in vectors {
        for (sum, &value) in mean.iter_mut().zip(vector) {
            *sum += f64::from(value) / count;
        }
    }
    let mut covariance = vec![0.0; dimension * dimension];
    for vector in vectors {
        let centred: Vec<f64> = vector
            .iter()
            .zip(&mean)
            .map(|(&value, mean)| f64::from(value) - mean)
            .collect();
        for (row, &left) in covariance.chunks_exact_mut(dimension).zip(&centred) {
            for (sum, &right) in row.iter_mut().zip(&centred) {
                *sum += left * right;
            }
        }
    }
    let trace: f64 = covariance.iter().step_by(dimension + 1).sum();
    let squares: f64 = covariance.iter().map(|value| value * value).sum();
    // Rounding leaves a trace of this order where all vectors are the same.
    let rounding = 1e-12 * count * mean.iter().map(|value| value * value).sum::<f64>();
    if trace <= rounding {
        return 0.0;
    }
    trace * trace / squares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenly_filled_dimensions_are_counted() {
        let mut cross = Vec::new();
        for dimension in 0..3 {
            for sign in [1.0, -1.0] {
                let mut vector = vec![0.0; 5];
                vector[dimension] = sign;
                cross.push(vector);
            }
        }
        let found = spread(&cross).map(|it| it.effective_dimensions);
        assert!((found.unwrap_or(0.0) - 3.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn the_mean_cosine_is_that_of_all_pairs() {
        // Cosines 0, sqrt(1/2), sqrt(1/2).
        let vectors = [vec![2.0, 0.0], vec![0.0, 1.0], vec![3.0, 3.0]];
        let expected = 2.0 * 0.5f64.sqrt() / 3.0;
        assert!((mean_cosine(&vectors) - expected).abs() < 1e-9);
        assert_eq!(mean_cosine(&[vec![0.0], vec![0.0]]), 0.0);
    }

    #[test]
    fn a_line_has_one_dimension_and_a_point_none() {
        let line: Vec<Vec<f32>> = (1..5).map(|i| vec![i as f32, 2.0 * i as f32]).collect();
        let found = spread(&line).map(|it| (it.mean_cosine, it.effective_dimensions));
        let (mean_cosine, dimensions) = found.unwrap_or_default();
        assert!((mean_cosine - 1.0).abs() < 1e-6 && (dimensions - 1.0).abs() < 1e-9);
        let point = vec![vec![0.3, 0.1, 0.7]; 4];
        assert_eq!(spread(&point).map(|it| it.effective_dimensions), Some(0.0));
        assert_eq!(spread(&[vec![1.0]]), None);
        assert_eq!(spread(&[]), None);
    }
}
