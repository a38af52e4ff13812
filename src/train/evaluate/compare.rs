//! How two vectors of a representation are compared.

use serde::{Deserialize, Serialize};

use super::{
    ranking::{self, Neighbour},
    views::{Rows, Space},
};

/// A measure of nearness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Cosine of the angle between the vectors.
    Cosine,
    /// Euclidean distance.
    Euclidean,
}

/// What kind of representation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Handed in by the caller.
    Encoder,
    /// MFCC statistics, standardised over the evaluated tracks.
    MfccStatistics,
    /// Random vectors.
    Random,
}

/// A representation, ready to be measured.
#[derive(Clone)]
pub(super) struct Representation {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) comparison: Comparison,
    pub(super) space: Space,
}

impl Representation {
    /// Takes a space as it was embedded. MFCC statistics are standardised: in each dimension the whole
    /// clips have mean 0 and deviation 1, and the excerpts are scaled alike. Vectors that are compared by
    /// their cosine are brought to unit length.
    pub(super) fn new(name: &str, kind: Kind, comparison: Comparison, mut space: Space) -> Self {
        if kind == Kind::MfccStatistics {
            let scale = Standardiser::fit(&space.whole.vectors);
            vectors(&mut space).for_each(|vector| scale.apply(vector));
        }
        if comparison == Comparison::Cosine {
            vectors(&mut space).for_each(|vector| normalise(vector));
        }
        Self {
            name: name.to_owned(),
            kind,
            comparison,
            space,
        }
    }

    /// Nearness of two vectors, larger for nearer ones.
    pub(super) fn score(&self, left: &[f32], right: &[f32]) -> f32 {
        match self.comparison {
            Comparison::Cosine => dot(left, right),
            Comparison::Euclidean => -squared_distance(left, right),
        }
    }

    /// All other rows by their nearness to row `index`, the nearest first. Neighbours are numbered by rows.
    pub(super) fn neighbours(&self, rows: &Rows, index: usize) -> Vec<Neighbour> {
        let query = &rows.vectors[index];
        let others = rows.vectors.iter().enumerate();
        let mut neighbours: Vec<Neighbour> = others
            .filter(|(track, _)| *track != index)
            .map(|(track, vector)| Neighbour {
                track,
                score: self.score(query, vector),
            })
            .collect();
        ranking::sort(&mut neighbours);
        neighbours
    }
}

fn vectors(space: &mut Space) -> impl Iterator<Item = &mut Vec<f32>> {
    space.rows_mut().flat_map(|rows| &mut rows.vectors)
}

/// Scales each dimension to mean 0 and deviation 1.
pub(super) struct Standardiser {
    mean: Vec<f64>,
    /// 1 / deviation; 0 where a dimension is constant and tells nothing.
    scale: Vec<f64>,
}

impl Standardiser {
    /// Measures mean and deviation of rows of one length.
    pub(super) fn fit<V: AsRef<[f32]>>(rows: &[V]) -> Self {
        let dimension = rows.first().map_or(0, |row| row.as_ref().len());
        let count = rows.len().max(1) as f64;
        let average = |of: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            let column = |d: usize| {
                let values = rows.iter().map(|row| of(d, f64::from(row.as_ref()[d])));
                values.sum::<f64>() / count
            };
            (0..dimension).map(column).collect()
        };
        let mean = average(&|_, value| value);
        let variance = average(&|d, value| (value - mean[d]).powi(2));
        let scale = |(variance, mean): (&f64, &f64)| {
            let constant = variance.sqrt() <= 1e-9 * mean.abs().max(1e-3);
            if constant { 0.0 } else { 1.0 / variance.sqrt() }
        };
        let scale = variance.iter().zip(&mean).map(scale).collect();
        Self { mean, scale }
    }

    pub(super) fn apply(&self, row: &mut [f32]) {
        for ((value, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
            *value = ((f64::from(*value) - mean) * scale) as f32;
        }
    }
}

/// Scales a vector to unit length; a zero vector stays one.
fn normalise(vector: &mut [f32]) {
    let norm = vector.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    if norm > 0.0 {
        let scale = 1.0 / norm.sqrt();
        let scaled = |value: &f32| (f64::from(*value) * scale) as f32;
        vector.iter_mut().for_each(|value| *value = scaled(value));
    }
}

/// Sum of products. Sixteen partial sums let the compiler add them side by side.
fn dot(left: &[f32], right: &[f32]) -> f32 {
    sum_over(left, right, |l, r| l * r)
}

pub(super) fn squared_distance(left: &[f32], right: &[f32]) -> f32 {
    sum_over(left, right, |l, r| (l - r) * (l - r))
}

fn sum_over(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (left, left_rest) = left.as_chunks::<16>();
    let (right, right_rest) = right.as_chunks::<16>();
    let mut partial = [0.0f32; 16];
    for (left, right) in left.iter().zip(right) {
        for ((sum, l), r) in partial.iter_mut().zip(left).zip(right) {
            *sum += term(*l, *r);
        }
    }
    let rest = left_rest.iter().zip(right_rest).map(|(l, r)| term(*l, *r));
    partial.iter().sum::<f32>() + rest.sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_chunks_and_the_rest() {
        let left: Vec<f32> = (0..19).map(|i| i as f32).collect();
        let right = vec![2.0; 19];
        assert_eq!(dot(&left, &right), 342.0);
        assert_eq!(squared_distance(&[1.0, 2.0], &[4.0, 6.0]), 25.0);
    }

    #[test]
    fn standardised_dimensions_have_mean_0_and_deviation_1() {
        let mut rows = vec![vec![1.0, 5.0], vec![3.0, 5.0]];
        let scale = Standardiser::fit(&rows);
        rows.iter_mut().for_each(|row| scale.apply(row));
        assert_eq!(rows, [[-1.0, 0.0], [1.0, 0.0]]);
        Standardiser::fit::<Vec<f32>>(&[]).apply(&mut []);
    }

    #[test]
    fn neighbours_are_all_others_by_nearness() {
        let rows = Rows {
            tracks: vec![0, 1, 2],
            vectors: vec![vec![1.0, 0.0], vec![0.0, 2.0], vec![3.0, 3.0]],
        };
        let order = |comparison| -> Vec<usize> {
            let space = Space {
                whole: rows.clone(),
                ..Space::default()
            };
            let it = Representation::new("it", Kind::Encoder, comparison, space);
            let neighbours = it.neighbours(&it.space.whole, 0);
            neighbours.iter().map(|at| at.track).collect()
        };
        assert_eq!(order(Comparison::Cosine), [2, 1]);
        assert_eq!(order(Comparison::Euclidean), [1, 2]);
    }
}
