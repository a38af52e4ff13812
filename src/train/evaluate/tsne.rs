//! t-SNE (van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008), exact.
//!
//! Crates exist, but add their forces up in parallel, where the order of a sum depends on the scheduler; this
//! map is the same for the same seed. Exact forces cost the square of the number of points: a thousand
//! points take 2 s of CPU, two thousand 9 s.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// The paper's default is 30; a point must have about three times as many others.
const PERPLEXITY: f64 = 30.0;
/// Steps, of which the first [`EXAGGERATED`] pull clusters together.
const STEPS: usize = 1_000;
const EXAGGERATED: usize = 250;
/// How much stronger attraction is in those steps (the authors' implementation).
const EXAGGERATION: f64 = 12.0;
/// Momentum in the exaggerated steps and after them.
const MOMENTUM: [f64; 2] = [0.5, 0.8];
/// The least learning rate. It grows with the points: n / exaggeration (Belkina et al. 2019).
const MIN_LEARNING_RATE: f64 = 50.0;

/// Two coordinates for each of some points.
type Plane = Vec<[f64; 2]>;

/// The perplexity for `count` points.
pub(super) fn perplexity(count: usize) -> f64 {
    PERPLEXITY.min((count.saturating_sub(1)) as f64 / 3.0)
}

/// Puts points onto a plane so that neighbours stay neighbours. `distances` are squared, `[count][count]`, row
/// by row. `cancelled` is asked before every step; `None` where it says so.
pub(super) fn tsne(
    distances: &[f64],
    count: usize,
    seed: u64,
    cancelled: &dyn Fn() -> bool,
) -> Option<Plane> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut coordinate = || 1e-4 * rng.sample::<f64, _>(StandardNormal);
    let mut points: Plane = (0..count).map(|_| [coordinate(), coordinate()]).collect();
    if count < 4 {
        return Some(points);
    }
    let affinities = affinities(distances, count, perplexity(count));
    let learning_rate = (count as f64 / EXAGGERATION).max(MIN_LEARNING_RATE);
    let mut velocity = vec![[0.0; 2]; count];
    // Each coordinate's own factor of the learning rate (Jacobs 1988), as the paper's section 3.4 has it.
    let mut gains = vec![[1.0f64; 2]; count];
    for step in 0..STEPS {
        if cancelled() {
            return None;
        }
        let early = step < EXAGGERATED;
        let exaggeration = if early { EXAGGERATION } else { 1.0 };
        let momentum = MOMENTUM[usize::from(!early)];
        let gradient = gradient(&affinities, &points, exaggeration);
        for at in 0..count {
            for axis in 0..2 {
                let (slope, speed) = (gradient[at][axis], &mut velocity[at][axis]);
                let gain = &mut gains[at][axis];
                let turned = (slope > 0.0) == (*speed > 0.0);
                *gain = if turned { *gain * 0.8 } else { *gain + 0.2 };
                *gain = gain.max(0.01);
                *speed = momentum * *speed - learning_rate * *gain * slope;
                points[at][axis] += *speed;
            }
        }
        centre(&mut points);
    }
    Some(points)
}

/// Symmetric affinities p of the paper's section 2.1, `[count][count]`, which sum to 1.
fn affinities(distances: &[f64], count: usize, perplexity: f64) -> Vec<f64> {
    let mut conditional = Vec::with_capacity(count * count);
    for (at, row) in distances.chunks_exact(count).enumerate() {
        conditional.extend(conditional_affinities(row, at, perplexity));
    }
    let mut joint = vec![0.0; count * count];
    for i in 0..count {
        for j in 0..count {
            let both = conditional[i * count + j] + conditional[j * count + i];
            // A floor keeps far points from drifting away, as in the authors' implementation.
            joint[i * count + j] = (both / (2 * count) as f64).max(1e-12);
        }
    }
    joint
}

/// Gaussian affinities of point `at` to all others, of a width that gives them this perplexity.
fn conditional_affinities(distances: &[f64], at: usize, perplexity: f64) -> Vec<f64> {
    // Only differences of distances matter; without the least one, exp never underflows for all.
    let others = || {
        distances
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
    };
    let least = others().fold(f64::INFINITY, |least, (_, &d)| least.min(d));
    let weights = |precision: f64| -> Vec<f64> {
        let weight = |(other, &distance): (usize, &f64)| match other == at {
            true => 0.0,
            false => (-precision * (distance - least)).exp(),
        };
        distances.iter().enumerate().map(weight).collect()
    };
    let (mut low, mut high, mut precision) = (0.0, f64::INFINITY, 1.0);
    let mut found = weights(precision);
    for _ in 0..100 {
        let entropy = entropy(&found);
        let error = entropy - perplexity.ln();
        if error.abs() < 1e-6 {
            break;
        }
        if error > 0.0 {
            low = precision;
        } else {
            high = precision;
        }
        precision = match high.is_finite() {
            true => (low + high) / 2.0,
            false => precision * 2.0,
        };
        // Equal distances have one entropy at any width; the search would run away.
        if !(1e-200..1e200).contains(&precision) {
            break;
        }
        found = weights(precision);
    }
    let sum: f64 = found.iter().sum();
    found.into_iter().map(|weight| weight / sum).collect()
}

/// Entropy in nats of weights that do not yet sum to 1.
fn entropy(weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let shares = weights.iter().map(|weight| weight / sum);
    shares.filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

/// Gradient of the Kullback-Leibler divergence, equation 5 of the paper, with exaggerated attraction.
///
/// With `w` the kernel, `q = w / total`: attraction `p w` and repulsion `w^2 / total` are summed apart, so that
/// one pass over the pairs finds the total as well.
fn gradient(affinities: &[f64], points: &[[f64; 2]], exaggeration: f64) -> Plane {
    let count = points.len();
    let mut attraction = vec![[0.0; 2]; count];
    let mut repulsion = vec![[0.0; 2]; count];
    let mut total = 0.0;
    for i in 0..count {
        let [x, y] = points[i];
        let row = &affinities[i * count..(i + 1) * count];
        for j in i + 1..count {
            let (dx, dy) = (x - points[j][0], y - points[j][1]);
            let weight = 1.0 / (1.0 + dx * dx + dy * dy);
            let (pull, push) = (row[j] * weight, weight * weight);
            total += 2.0 * weight;
            add(&mut attraction, i, j, [pull * dx, pull * dy]);
            add(&mut repulsion, i, j, [push * dx, push * dy]);
        }
    }
    let slope = |(pull, push): (&[f64; 2], &[f64; 2])| {
        [0, 1].map(|axis| 4.0 * (exaggeration * pull[axis] - push[axis] / total))
    };
    attraction.iter().zip(&repulsion).map(slope).collect()
}

/// Adds a force to point `i`, and the opposite one to point `j`.
fn add(forces: &mut [[f64; 2]], i: usize, j: usize, force: [f64; 2]) {
    for axis in 0..2 {
        forces[i][axis] += force[axis];
        forces[j][axis] -= force[axis];
    }
}

fn centre(points: &mut [[f64; 2]]) {
    for axis in 0..2 {
        let sum: f64 = points.iter().map(|point| point[axis]).sum();
        let mean = sum / points.len() as f64;
        points.iter_mut().for_each(|point| point[axis] -= mean);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn squared_distances(points: &[Vec<f64>]) -> Vec<f64> {
        let distance =
            |a: &Vec<f64>, b: &Vec<f64>| a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        let row = |a| points.iter().map(move |b| distance(a, b));
        points.iter().flat_map(row).collect()
    }

    /// Three clouds of points, far apart in five dimensions.
    fn clouds() -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut point = |cloud: usize| -> Vec<f64> {
            let value = |dimension: usize| {
                let noise: f64 = rng.sample(StandardNormal);
                noise + if dimension == cloud { 30.0 } else { 0.0 }
            };
            (0..5).map(value).collect()
        };
        (0..60).map(|i| point(i % 3)).collect()
    }

    #[test]
    fn affinities_have_the_perplexity_asked_for() {
        let distances = squared_distances(&clouds());
        for perplexity in [5.0, 15.0] {
            let row = conditional_affinities(&distances[60 * 7..60 * 8], 7, perplexity);
            assert!((entropy(&row).exp() - perplexity).abs() < 1e-3);
            assert_eq!(row[7], 0.0);
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let joint = affinities(&distances, 60, 15.0);
        assert!((joint.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        assert_eq!(joint[3], joint[3 * 60]);
    }

    #[test]
    fn the_gradient_is_that_of_the_divergence() {
        let distances = squared_distances(&clouds()[..8]);
        let p = affinities(&distances, 8, 2.0);
        let points: Plane = (0..8)
            .map(|i| [f64::from(i % 3) * 0.7, f64::from(i * i % 5) * 0.3])
            .collect();
        let divergence = |points: &Plane| {
            let kernel = |i: usize, j: usize| {
                let (dx, dy) = (points[i][0] - points[j][0], points[i][1] - points[j][1]);
                1.0 / (1.0 + dx * dx + dy * dy)
            };
            let pairs = || {
                (0..8)
                    .flat_map(|i| (0..8).map(move |j| (i, j)))
                    .filter(|(i, j)| i != j)
            };
            let total: f64 = pairs().map(|(i, j)| kernel(i, j)).sum();
            pairs()
                .map(|(i, j)| p[i * 8 + j] * (p[i * 8 + j] / (kernel(i, j) / total)).ln())
                .sum::<f64>()
        };
        let gradient = gradient(&p, &points, 1.0);
        for at in 0..8 {
            for axis in 0..2 {
                let moved = |by: f64| {
                    let mut points = points.clone();
                    points[at][axis] += by;
                    divergence(&points)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((slope - gradient[at][axis]).abs() < 1e-6, "{at} {axis}");
            }
        }
    }

    #[test]
    fn clouds_stay_apart_and_the_map_repeats() {
        let distances = squared_distances(&clouds());
        let points = tsne(&distances, 60, 1, &|| false).unwrap();
        for (i, a) in points.iter().enumerate() {
            let distance = |b: &[f64; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
            let nearest = (0..60)
                .filter(|&j| j != i)
                .min_by(|&j, &k| distance(&points[j]).total_cmp(&distance(&points[k])));
            assert_eq!(nearest.unwrap() % 3, i % 3);
        }
        assert_eq!(tsne(&distances, 60, 1, &|| false).unwrap(), points);
        assert_ne!(tsne(&distances, 60, 2, &|| false).unwrap(), points);
    }

    #[test]
    fn equal_points_and_few_points_are_no_trouble() {
        let equal = tsne(&vec![0.0; 100], 10, 1, &|| false).unwrap();
        assert!(equal.iter().flatten().all(|value| value.is_finite()));
        for count in 0..4 {
            let points = tsne(&vec![1.0; count * count], count, 1, &|| false);
            assert_eq!(points.unwrap().len(), count);
        }
        assert!(tsne(&[0.0; 100], 10, 1, &|| true).is_none());
    }
}
