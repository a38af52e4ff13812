//! Measures of one ranked list, as in any textbook on retrieval (Manning, Raghavan and Schütze 2008, ch. 8).
//!
//! **Ties are broken against the representation**: among candidates with equal scores, those that are not
//! relevant come first. A representation that gives every track the same vector therefore scores as the
//! worst, not as a random one.

/// Another track and how near it is; a larger score is nearer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Neighbour {
    pub(super) track: usize,
    pub(super) score: f32,
}

/// Sorts neighbours, the nearest first; equal ones by their number.
pub(super) fn sort(neighbours: &mut [Neighbour]) {
    neighbours.sort_unstable_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| a.track.cmp(&b.track))
    });
}

/// Whether each candidate is relevant, in the order of a sorted list. `relation` says of a track whether it is
/// relevant, or `None` where it is not a candidate.
pub(super) fn relevance(
    sorted: &[Neighbour],
    relation: impl Fn(usize) -> Option<bool>,
) -> Vec<bool> {
    let mut list = Vec::with_capacity(sorted.len());
    for equals in sorted.chunk_by(|a, b| a.score == b.score) {
        let of = |wanted| {
            let relation = &relation;
            let hits = equals.iter().filter_map(move |at| relation(at.track));
            hits.filter(move |&relevant| relevant == wanted)
        };
        list.extend(of(false));
        list.extend(of(true));
    }
    list
}

/// Share of relevant candidates among the first `k`, or among all where there are fewer. 0 for an empty list.
pub(super) fn precision_at(k: usize, list: &[bool]) -> f64 {
    let first = &list[..k.min(list.len())];
    count(first) as f64 / first.len().max(1) as f64
}

/// Mean over the relevant candidates of the precision at their ranks. 0 where none is relevant.
pub(super) fn average_precision(list: &[bool]) -> f64 {
    let ranks = list.iter().enumerate().filter(|(_, relevant)| **relevant);
    let precisions = ranks.enumerate().map(|(found, (rank, _))| {
        let (found, rank) = (found + 1, rank + 1);
        found as f64 / rank as f64
    });
    precisions.sum::<f64>() / count(list).max(1) as f64
}

/// Sum of `1 / log2(rank + 1)` over the relevant among the first `k`, divided by that of the best order.
/// 0 where none is relevant.
pub(super) fn ndcg_at(k: usize, list: &[bool]) -> f64 {
    let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let ideal: f64 = (0..count(list).min(k)).map(gain).sum();
    if ideal == 0.0 {
        return 0.0;
    }
    let hits = list.iter().take(k).enumerate().filter(|(_, hit)| **hit);
    hits.map(|(rank, _)| gain(rank)).sum::<f64>() / ideal
}

/// Rank of the one right answer, from 1, given its score and those of all others; ties count against it.
pub(super) fn rank(own: f32, others: impl Iterator<Item = f32>) -> usize {
    1 + others.filter(|&score| score >= own).count()
}

fn count(list: &[bool]) -> usize {
    list.iter().filter(|relevant| **relevant).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: bool = false;
    const YES: bool = true;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} != {expected}");
    }

    #[test]
    fn precision_counts_the_first_k_or_all_that_there_are() {
        let list = [YES, NO, YES, NO];
        near(precision_at(1, &list), 1.0);
        near(precision_at(3, &list), 2.0 / 3.0);
        near(precision_at(10, &list), 0.5);
        near(precision_at(10, &[]), 0.0);
    }

    #[test]
    fn average_precision_by_hand() {
        // Relevant at ranks 1, 3 and 6: (1/1 + 2/3 + 3/6) / 3.
        let list = [YES, NO, YES, NO, NO, YES];
        near(average_precision(&list), (1.0 + 2.0 / 3.0 + 0.5) / 3.0);
        near(average_precision(&[YES, YES]), 1.0);
        near(average_precision(&[NO, NO, NO, YES]), 0.25);
        near(average_precision(&[NO]), 0.0);
        near(average_precision(&[]), 0.0);
    }

    #[test]
    fn ndcg_by_hand() {
        // Gains at ranks 1 and 3 (1 and 1/2), of ideally 1 and 1/log2(3).
        let ideal = 1.0 + 1.0 / 3f64.log2();
        near(ndcg_at(10, &[YES, NO, YES]), 1.5 / ideal);
        near(ndcg_at(2, &[YES, NO, YES]), 1.0 / ideal);
        // One place, three relevant: the ideal has one place, too.
        near(ndcg_at(1, &[YES, YES, YES]), 1.0);
        near(ndcg_at(10, &[NO, NO]), 0.0);
        near(ndcg_at(10, &[]), 0.0);
    }

    fn list(scores: &[f32]) -> Vec<Neighbour> {
        let neighbour = |(track, &score)| Neighbour { track, score };
        let mut list: Vec<_> = scores.iter().enumerate().map(neighbour).collect();
        sort(&mut list);
        list
    }

    #[test]
    fn the_nearest_come_first_and_ties_count_against() {
        let sorted = list(&[0.1, 0.9, 0.5, 0.5, 0.5]);
        let order: Vec<usize> = sorted.iter().map(|at| at.track).collect();
        assert_eq!(order, [1, 2, 3, 4, 0]);
        // 2 and 3 are relevant, 4 is not and has the same score.
        let relation = |track| Some([2, 3].contains(&track));
        assert_eq!(relevance(&sorted, relation), [NO, NO, YES, YES, NO]);
    }

    #[test]
    fn what_is_no_candidate_takes_no_rank() {
        let sorted = list(&[0.3, 0.2, 0.1]);
        let relation = |track| [None, Some(true), Some(false)][track];
        assert_eq!(relevance(&sorted, relation), [YES, NO]);
    }

    #[test]
    fn a_collapsed_representation_scores_worst() {
        let sorted = list(&[1.0; 4]);
        let found = relevance(&sorted, |track| Some(track == 0));
        near(average_precision(&found), 0.25);
        assert_eq!(rank(1.0, [1.0, 1.0, 0.5].into_iter()), 3);
    }

    #[test]
    fn rank_is_one_more_than_those_before() {
        assert_eq!(rank(0.5, [0.9, 0.4, 0.1].into_iter()), 2);
        assert_eq!(rank(0.5, std::iter::empty()), 1);
    }
}
