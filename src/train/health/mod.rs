//! Whether an encoder's embeddings are still worth something: a contrastive loss can fall while
//! they collapse onto a point or into a few dimensions.

mod spectrum;

use serde::{Deserialize, Serialize};

pub use spectrum::effective_rank;

/// Figures about the embeddings of several views of the same tracks, at unit length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Mean squared distance of two views of a track, 0 to 4; the lower the better (Wang, Isola
    /// 2020, "Understanding Contrastive Representation Learning through Alignment and Uniformity
    /// on the Hypersphere", arXiv:2005.10242, with alpha = 2).
    pub alignment: f64,
    /// Logarithm of the mean of `e^(-2 d^2)` over the distances `d` of different tracks, -8 to 0;
    /// the lower, the better they use the sphere (same source, with t = 2).
    pub uniformity: f64,
    /// Dimensions in use, 0 to the smaller of dimension and number of embeddings, see [`effective_rank`].
    pub effective_rank: f64,
    /// Sum of the variances of all dimensions, 0 to 1: 1 less the squared length of the mean embedding.
    pub spread: f64,
    /// Variance of each dimension.
    pub variances: Vec<f32>,
}

impl Health {
    /// Measures embeddings `views[view][track]`, of any length each; every view holds the same
    /// tracks in the same order. Without two tracks or two views, what needs them is 0.
    #[must_use]
    pub fn of(views: &[Vec<Vec<f32>>]) -> Self {
        let views: Vec<Vec<Vec<f64>>> = views
            .iter()
            .map(|view| view.iter().map(|embedding| unit(embedding)).collect())
            .collect();
        let all: Vec<&[f64]> = views.iter().flatten().map(Vec::as_slice).collect();
        let (centred, variances) = centre(&all);
        Self {
            alignment: alignment(&views),
            uniformity: uniformity(&views),
            effective_rank: effective_rank(&centred),
            spread: variances.iter().sum(),
            variances: variances.iter().map(|&variance| variance as f32).collect(),
        }
    }

    /// Says what is wrong, if something is.
    #[must_use]
    pub fn collapse(&self, limits: &CollapseLimits) -> Option<Collapse> {
        let figures = [
            ("spread", self.spread, limits.spread),
            ("effective rank", self.effective_rank, limits.effective_rank),
        ];
        figures
            .into_iter()
            // Written so that NaN is a collapse.
            .find(|(_, found, least)| {
                found
                    .partial_cmp(least)
                    .is_none_or(std::cmp::Ordering::is_lt)
            })
            .map(|(what, found, least)| Collapse { what, found, least })
    }
}

/// Below which figures embeddings count as collapsed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollapseLimits {
    /// Least [`Health::effective_rank`].
    pub effective_rank: f64,
    /// Least [`Health::spread`].
    pub spread: f64,
}

/// Far below what untrained encoders have: these catch a collapse, not a weak model.
impl Default for CollapseLimits {
    fn default() -> Self {
        Self {
            effective_rank: 2.0,
            spread: 1e-5,
        }
    }
}

/// Embeddings that no longer tell tracks apart.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the embeddings have collapsed: their {what} is {found:.3e}, below {least:.3e}")]
pub struct Collapse {
    /// The figure that shows it.
    pub what: &'static str,
    /// Its value.
    pub found: f64,
    /// The least it has to be.
    pub least: f64,
}

/// At unit length; zero stays zero.
fn unit(embedding: &[f32]) -> Vec<f64> {
    let values = embedding.iter().map(|&value| f64::from(value));
    let length = values
        .clone()
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt();
    let scale = if length == 0.0 { 0.0 } else { 1.0 / length };
    values.map(|value| value * scale).collect()
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The mean, 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| {
        (sum + value, count + 1)
    });
    if count == 0 { 0.0 } else { sum / count as f64 }
}

fn alignment(views: &[Vec<Vec<f64>>]) -> f64 {
    let pairs = views
        .iter()
        .enumerate()
        .flat_map(|(number, a)| views[number + 1..].iter().map(move |b| (a, b)));
    mean(pairs.flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| squared_distance(a, b))))
}

fn uniformity(views: &[Vec<Vec<f64>>]) -> f64 {
    let potentials = views.iter().flat_map(|view| {
        view.iter().enumerate().flat_map(move |(number, a)| {
            view[number + 1..]
                .iter()
                .map(move |b| (-2.0 * squared_distance(a, b)).exp())
        })
    });
    let mean = mean(potentials);
    if mean == 0.0 { 0.0 } else { mean.ln() }
}

/// Rows less their mean, and the variance of each dimension.
fn centre(rows: &[&[f64]]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let dim = rows.first().map_or(0, |row| row.len());
    let means: Vec<f64> = (0..dim)
        .map(|column| mean(rows.iter().map(|row| row[column])))
        .collect();
    let centred: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .zip(&means)
                .map(|(value, mean)| value - mean)
                .collect()
        })
        .collect();
    let variances = (0..dim)
        .map(|column| mean(centred.iter().map(|row| row[column] * row[column])))
        .collect();
    (centred, variances)
}
