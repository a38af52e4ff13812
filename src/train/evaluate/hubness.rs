//! Hubs: tracks that are near to everything, and so recommended for everything.
//!
//! Radovanović, Nanopoulos and Ivanović, "Hubs in space", JMLR 11 (2010): N_k of a point is the number of
//! other points that have it among their k nearest; its skewness over all points measures hubness, and
//! points with N_k = 0 are anti-hubs.

use super::ranking::Neighbour;

/// Adds one to the count of each of the `k` nearest of a sorted list.
pub(super) fn count(k: usize, sorted: &[Neighbour], occurrences: &mut [f64]) {
    for neighbour in sorted.iter().take(k) {
        occurrences[neighbour.track] += 1.0;
    }
}

/// Third standardised moment of the population; 0 where all values are equal.
pub(super) fn skewness(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    let moment = |power: i32| {
        let powers = values.clone().map(|value| (value - mean).powi(power));
        powers.sum::<f64>() / count
    };
    let variance = moment(2);
    if variance <= 1e-12 * mean.abs().max(1e-12) {
        return 0.0;
    }
    moment(3) / variance.powf(1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skewness_by_hand() {
        // Mean 1, deviations -1 (three times) and 3: m2 = 12/4, m3 = 24/4.
        let values = [0.0, 0.0, 0.0, 4.0];
        let expected = 6.0 / 3f64.powf(1.5);
        assert!((skewness(values.into_iter()) - expected).abs() < 1e-12);
        assert_eq!(skewness([2.0, 2.0].into_iter()), 0.0);
        assert_eq!(skewness([1.0, 2.0, 3.0].into_iter()), 0.0);
        assert_eq!(skewness(std::iter::empty()), 0.0);
    }

    #[test]
    fn only_the_nearest_are_counted() {
        let neighbour = |track| Neighbour { track, score: 0.0 };
        let mut occurrences = [0.0; 4];
        count(
            2,
            &[neighbour(3), neighbour(1), neighbour(0)],
            &mut occurrences,
        );
        count(2, &[neighbour(3)], &mut occurrences);
        assert_eq!(occurrences, [0.0, 1.0, 0.0, 2.0]);
    }
}
