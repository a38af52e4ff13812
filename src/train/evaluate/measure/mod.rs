//! From neighbours to one value a query, for every figure of a representation.

use super::{
    Labels,
    bootstrap::Statistic,
    compare::Representation,
    hubness,
    perturb::Perturbation,
    probe,
    ranking::{self, average_precision, ndcg_at, precision_at},
    task::{Measure, Task, Unavailable},
    views::Rows,
};
use crate::model::cosine;

/// The k of every figure "at 10".
const K: usize = 10;

/// The figures of rankings that labels judge, by task.
const LABELLED: [(Task, &[Measure]); 5] = [
    (Task::SameAlbum, &RANKING),
    (Task::SameArtist, &RANKING),
    (Task::SameArtistOtherAlbums, &RANKING),
    (Task::Genre, &[Measure::PrecisionAt10]),
    (Task::GenreOtherArtists, &[Measure::PrecisionAt10]),
];

const RANKING: [Measure; 4] = [
    Measure::PrecisionAt1,
    Measure::PrecisionAt10,
    Measure::MeanAveragePrecision,
    Measure::NdcgAt10,
];

/// What a figure is made of.
pub(super) struct Sample {
    pub(super) task: Task,
    pub(super) measure: Measure,
    pub(super) outcome: Result<Values, Unavailable>,
}

/// A value for each query. Which tracks are queries depends on labels and lengths alone, so it is the same
/// for every representation.
pub(super) struct Values {
    /// The queries' tracks.
    pub(super) tracks: Vec<usize>,
    pub(super) values: Vec<f64>,
}

/// What all representations are measured by.
pub(super) struct Plan<'a> {
    pub(super) labels: &'a [Labels],
    pub(super) probe: Result<probe::Plan, Unavailable>,
    pub(super) mp3_missing: Option<Unavailable>,
}

impl Plan<'_> {
    /// All samples of a representation, for every one in the same order.
    pub(super) fn measure(&self, it: &Representation) -> Vec<Sample> {
        let mut samples = self.rankings(it);
        samples.extend(crop_to_track(it));
        for (change, rows) in Perturbation::ALL.into_iter().zip(&it.space.changed) {
            let missing = self.mp3_missing.filter(|_| change == Perturbation::Mp3);
            samples.extend(robustness(it, change, rows, missing));
        }
        samples.extend(self.linear_probe(it));
        samples
    }

    /// Everything that the neighbours of whole tracks tell.
    fn rankings(&self, it: &Representation) -> Vec<Sample> {
        let rows = &it.space.whole;
        let mut tables = LABELLED.map(|(_, measures)| Table::new(measures.len()));
        let mut occurrences = vec![0.0; rows.tracks.len()];
        for (query, labels) in self.labels.iter().enumerate() {
            let sorted = it.neighbours(rows, query);
            hubness::count(K, &sorted, &mut occurrences);
            for ((task, measures), table) in LABELLED.iter().zip(&mut tables) {
                let relation = |other: usize| task.relation(labels, &self.labels[other]);
                let list = ranking::relevance(&sorted, relation);
                if list.contains(&true) {
                    table.push(query, measures.iter().map(|&measure| score(measure, &list)));
                }
            }
        }
        let labelled = LABELLED.iter().zip(tables);
        labelled
            .flat_map(|(&(task, measures), table)| table.samples(task, measures, no_query(task)))
            .chain(hubs(occurrences))
            .collect()
    }

    fn linear_probe(&self, it: &Representation) -> Vec<Sample> {
        let measures = [Measure::Accuracy, Measure::BalancedAccuracy];
        let plan = match &self.probe {
            Ok(plan) => plan,
            Err(reason) => return Table::new(2).samples(Task::LinearProbe, &measures, *reason),
        };
        let mut table = Table::new(2);
        let answers = plan.run(it).into_iter().zip(plan.balance());
        for (&track, (right, weight)) in plan.tracks.iter().zip(answers) {
            let right = f64::from(u8::from(right));
            table.push(track, [right, weight * right].into_iter());
        }
        table.samples(Task::LinearProbe, &measures, Unavailable::FewGenres)
    }
}

fn score(measure: Measure, list: &[bool]) -> f64 {
    match measure {
        Measure::PrecisionAt1 => precision_at(1, list),
        Measure::PrecisionAt10 => precision_at(K, list),
        Measure::NdcgAt10 => ndcg_at(K, list),
        _ => average_precision(list),
    }
}

fn no_query(task: Task) -> Unavailable {
    match task {
        Task::SameAlbum => Unavailable::Albums,
        Task::SameArtist => Unavailable::Artists,
        Task::SameArtistOtherAlbums => Unavailable::ArtistsOnTwoAlbums,
        Task::GenreOtherArtists => Unavailable::GenresOfOtherArtists,
        _ => Unavailable::Genres,
    }
}

fn hubs(occurrences: Vec<f64>) -> Vec<Sample> {
    let mut table = Table::new(2);
    if occurrences.len() > 2 * K {
        for (track, count) in occurrences.into_iter().enumerate() {
            table.push(
                track,
                [count, f64::from(u8::from(count == 0.0))].into_iter(),
            );
        }
    }
    let measures = [Measure::Skewness, Measure::AntiHubs];
    table.samples(Task::Hubness, &measures, Unavailable::FewTracks)
}

/// The last excerpt of each track as the query, the rest of every track as the candidates.
fn crop_to_track(it: &Representation) -> Vec<Sample> {
    let measures = [
        Measure::RecallAt1,
        Measure::RecallAt10,
        Measure::MeanReciprocalRank,
    ];
    let (queries, candidates) = (&it.space.last, &it.space.rest);
    let mut table = Table::new(measures.len());
    if candidates.tracks.len() > 1 {
        for (&track, query) in queries.tracks.iter().zip(&queries.vectors) {
            let rank = rank_of(it, track, query, candidates);
            table.push(track, recalls(rank).into_iter());
        }
    }
    table.samples(Task::CropToTrack, &measures, Unavailable::LongClips)
}

/// A changed excerpt as the query, the unchanged ones as the candidates.
fn robustness(
    it: &Representation,
    change: Perturbation,
    queries: &Rows,
    missing: Option<Unavailable>,
) -> Vec<Sample> {
    let measures = [Measure::RecallAt1, Measure::MeanCosine];
    let candidates = &it.space.first;
    let mut table = Table::new(measures.len());
    if candidates.tracks.len() > 1 && missing.is_none() {
        for (&track, query) in queries.tracks.iter().zip(&queries.vectors) {
            let Ok(row) = candidates.tracks.binary_search(&track) else {
                continue;
            };
            let [first, ..] = recalls(rank_of(it, track, query, candidates));
            let cosine = cosine(query, &candidates.vectors[row]);
            table.push(track, [first, cosine].into_iter());
        }
    }
    let reason = missing.unwrap_or(Unavailable::Excerpts);
    table.samples(Task::of(change), &measures, reason)
}

/// Rank of the query's own track among the candidates, from 1; last where it is not among them.
fn rank_of(it: &Representation, track: usize, query: &[f32], candidates: &Rows) -> usize {
    let scores: Vec<f32> = candidates
        .vectors
        .iter()
        .map(|vector| it.score(query, vector))
        .collect();
    let Ok(own) = candidates.tracks.binary_search(&track) else {
        return candidates.tracks.len();
    };
    let others = scores.iter().enumerate().filter(|(row, _)| *row != own);
    ranking::rank(scores[own], others.map(|(_, &score)| score))
}

/// Recall at 1, at 10, and the reciprocal rank.
fn recalls(rank: usize) -> [f64; 3] {
    let within = |k| f64::from(u8::from(rank <= k));
    [within(1), within(K), 1.0 / rank as f64]
}

/// Values of several measures, query after query.
struct Table {
    tracks: Vec<usize>,
    columns: Vec<Vec<f64>>,
}

impl Table {
    fn new(columns: usize) -> Self {
        Self {
            tracks: Vec::new(),
            columns: vec![Vec::new(); columns],
        }
    }

    fn push(&mut self, track: usize, values: impl Iterator<Item = f64>) {
        self.tracks.push(track);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
        }
    }

    /// One sample a measure; without queries there is a `reason` instead.
    fn samples(self, task: Task, measures: &[Measure], reason: Unavailable) -> Vec<Sample> {
        let sample = |(&measure, values): (&Measure, Vec<f64>)| Sample {
            task,
            measure,
            outcome: match values.is_empty() {
                true => Err(reason),
                false => Ok(Values {
                    tracks: self.tracks.clone(),
                    values,
                }),
            },
        };
        measures.iter().zip(self.columns).map(sample).collect()
    }
}

impl Measure {
    /// How the figure is made of its values.
    pub(super) fn statistic(self) -> Statistic {
        match self {
            Self::Skewness => Statistic::Skewness,
            _ => Statistic::Mean,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
