//! How far a figure would move if other queries had been drawn (Efron and Tibshirani 1993, ch. 13:
//! percentile intervals).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::hubness::skewness;

/// The bounds of a 95 % interval.
const QUANTILES: [f64; 2] = [0.025, 0.975];

/// Between which values a figure lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The 2.5th percentile of the resamples.
    pub low: f64,
    /// The 97.5th percentile of the resamples.
    pub high: f64,
}

/// How a figure is made of the values of its queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statistic {
    Mean,
    Skewness,
}

impl Statistic {
    /// The figure; 0 where there are no values.
    pub(super) fn of(self, values: impl Iterator<Item = f64> + Clone) -> f64 {
        match self {
            Self::Mean => values.clone().sum::<f64>() / values.count().max(1) as f64,
            Self::Skewness => skewness(values),
        }
    }
}

/// Figures of resampled queries, `[columns][resamples]`. `columns` are representations, each with a value for
/// every query; in one resample all of them see the same queries, so that their differences are paired.
///
/// `clusters` partition the queries: whole clusters are drawn, as many as there are, with replacement.
/// With clusters of one this is the usual bootstrap.
pub(super) fn resample(
    columns: &[&[f64]],
    clusters: &[Vec<usize>],
    statistic: Statistic,
    resamples: usize,
    seed: u64,
) -> Vec<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut figures = vec![Vec::with_capacity(resamples); columns.len()];
    if clusters.is_empty() {
        return figures;
    }
    let mut queries = Vec::new();
    for _ in 0..resamples {
        queries.clear();
        for _ in clusters {
            queries.extend_from_slice(&clusters[rng.random_range(0..clusters.len())]);
        }
        for (figures, values) in figures.iter_mut().zip(columns) {
            figures.push(statistic.of(queries.iter().map(|&query| values[query])));
        }
    }
    figures
}

/// The interval of resampled figures; `None` where there are none.
pub(super) fn interval(mut figures: Vec<f64>) -> Option<Interval> {
    if figures.is_empty() {
        return None;
    }
    figures.sort_unstable_by(f64::total_cmp);
    let [low, high] = QUANTILES.map(|q| quantile(&figures, q));
    Some(Interval { low, high })
}

/// A quantile of sorted values, linear between neighbours (type 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn singles(count: usize) -> Vec<Vec<usize>> {
        (0..count).map(|query| vec![query]).collect()
    }

    #[test]
    fn quantiles_by_hand() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.5), 3.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.25), 1.25);
        assert_eq!(quantile(&[7.0], 0.975), 7.0);
        assert_eq!(interval(Vec::new()), None);
    }

    #[test]
    fn the_interval_of_a_share_is_the_normal_approximations() {
        // 400 queries, 30 % right: standard error sqrt(.3 * .7 / 400) = .0229.
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 10 < 3))).collect();
        let figures = resample(&[&values], &singles(400), Statistic::Mean, 2_000, 1);
        let found = interval(figures[0].clone()).unwrap();
        let half = 1.96 * 0.0229;
        assert!((found.low - (0.3 - half)).abs() < 0.006, "{found:?}");
        assert!((found.high - (0.3 + half)).abs() < 0.006, "{found:?}");
    }

    #[test]
    fn columns_are_paired() {
        // The second is the first plus 0.1 everywhere: the difference does not vary.
        let first: Vec<f64> = (0..50).map(|i| f64::from(i % 7)).collect();
        let second: Vec<f64> = first.iter().map(|value| value + 0.1).collect();
        let figures = resample(&[&first, &second], &singles(50), Statistic::Mean, 200, 3);
        for (first, second) in figures[0].iter().zip(&figures[1]) {
            assert!((second - first - 0.1).abs() < 1e-9);
        }
    }

    #[test]
    fn queries_that_go_together_widen_the_interval() {
        // Ten albums of ten; the answer is the album's.
        let values: Vec<f64> = (0..100).map(|i| f64::from(i / 10 % 2)).collect();
        let albums: Vec<Vec<usize>> = (0..10).map(|a| (a * 10..a * 10 + 10).collect()).collect();
        let width = |clusters: &[Vec<usize>]| {
            let figures = resample(&[&values], clusters, Statistic::Mean, 1_000, 5);
            let found = interval(figures[0].clone()).unwrap();
            found.high - found.low
        };
        let (by_query, by_album) = (width(&singles(100)), width(&albums));
        assert!(by_album > 2.5 * by_query, "{by_album} {by_query}");
    }

    #[test]
    fn a_seed_repeats_and_nothing_gives_nothing() {
        let values = [1.0, 2.0, 5.0];
        let run = |seed| resample(&[&values], &singles(3), Statistic::Skewness, 50, seed);
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_eq!(resample(&[&[]], &[], Statistic::Mean, 10, 1), [[0.0; 0]]);
    }
}
