//! How good answers are while they are given, by a sample of the searches.
//!
//! Once a second at most a search is done again beside its answer: as it was planned and, where that was not
//! the exact scan, by the exact scan. At 100,000 tracks this is 3 ms of one core a second.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    generation::Generation,
    index::{Effort, Engine, IndexError, Query, VectorRead},
    text::Chain,
    track::TrackId,
};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// Samples that the figures are made of: those of the last minutes under load.
const KEPT: usize = 256;

/// Figures of the latest samples; none where there was no sample yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LiveStats {
    /// Samples since the start.
    pub samples: u64,
    /// The share of the true nearest tracks that the planned search found, mean over searches, in [0, 1].
    pub recall: Option<f64>,
    /// How unequally answers are distributed over tracks: the skewness of the number of answers that a track
    /// is in, over all tracks of the index (the measure of hubness of Radovanović, Nanopoulos, Ivanović,
    /// JMLR 11, 2010). 0 where all are in equally many; large where a few are in most.
    pub hubness: Option<f64>,
    /// The share of answers that the commonest track is in, in (0, 1].
    pub hub_share: Option<f64>,
}

/// Watches searches.
#[derive(Default)]
pub(super) struct Live {
    last: Mutex<Option<Instant>>,
    seen: Mutex<Seen>,
}

impl Live {
    /// Whether this search is to be a sample; true once for each.
    pub(super) fn is_due(&self) -> bool {
        let mut last = locked(&self.last);
        let due = last.is_none_or(|last| last.elapsed() >= EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    /// Takes a search as a sample. Some milliseconds of CPU: call it off the runtime.
    pub(super) fn sample(&self, generation: &Generation, query: &Query) {
        match Sample::take(&generation.index, query) {
            Ok(Some(sample)) => locked(&self.seen).add(&generation.manifest.id, sample),
            Ok(None) => {}
            // What was answered by the same search is answered; this is only looking after.
            Err(error) => tracing::warn!(error = %Chain(&error), "cannot take a sample search"),
        }
    }

    pub(super) fn stats(&self) -> LiveStats {
        locked(&self.seen).stats()
    }
}

/// Nothing panics while it holds one of the locks.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one search tells.
#[derive(Debug)]
struct Sample {
    recall: f64,
    found: Vec<TrackId>,
    /// Tracks of the index.
    tracks: usize,
}

impl Sample {
    /// None where the filter lets nothing through.
    fn take(index: &dyn VectorRead, query: &Query) -> Result<Option<Self>, IndexError> {
        let planned = index.search(query)?;
        let found: Vec<TrackId> = planned.hits.iter().map(|hit| hit.id).collect();
        let recall = match planned.plan.engine {
            Engine::Exact => 1.0,
            Engine::Graph => {
                let truth = index.search(&Query {
                    effort: Effort::Exact,
                    ..query.clone()
                })?;
                let known: HashSet<TrackId> = found.iter().copied().collect();
                let hits = truth.hits.iter().filter(|hit| known.contains(&hit.id));
                hits.count() as f64 / truth.hits.len().max(1) as f64
            }
        };
        Ok((!found.is_empty()).then_some(Self {
            recall,
            found,
            tracks: index.stats()?.tracks,
        }))
    }
}

/// The latest samples, all of one generation.
#[derive(Default)]
struct Seen {
    generation: String,
    samples: VecDeque<Sample>,
    /// In how many of them a track is.
    answers: HashMap<TrackId, u32>,
    total: u64,
}

impl Seen {
    fn add(&mut self, generation: &str, sample: Sample) {
        if self.generation != generation {
            self.generation = generation.to_owned();
            self.samples.clear();
            self.answers.clear();
        }
        if self.samples.len() == KEPT
            && let Some(old) = self.samples.pop_front()
        {
            for id in old.found {
                if let Some(count) = self.answers.get_mut(&id) {
                    *count -= 1;
                    if *count == 0 {
                        self.answers.remove(&id);
                    }
                }
            }
        }
        for id in &sample.found {
            *self.answers.entry(*id).or_default() += 1;
        }
        self.samples.push_back(sample);
        self.total += 1;
    }

    fn stats(&self) -> LiveStats {
        let Some(latest) = self.samples.back() else {
            return LiveStats::default();
        };
        let samples = self.samples.len() as f64;
        let recall = self.samples.iter().map(|sample| sample.recall).sum::<f64>() / samples;
        let commonest = self.answers.values().max().copied().unwrap_or_default();
        LiveStats {
            samples: self.total,
            recall: Some(recall),
            hubness: skewness(self.answers.values().copied(), latest.tracks),
            hub_share: Some(f64::from(commonest) / samples),
        }
    }
}

/// The skewness of `population` counts, of which those that are not given are 0: the third central moment over
/// the cube of the standard deviation. None where all are equal.
fn skewness(counts: impl Iterator<Item = u32> + Clone, population: usize) -> Option<f64> {
    let size = population as f64;
    let mean = counts.clone().map(f64::from).sum::<f64>() / size;
    let given = counts.clone().count();
    let zeros = population.saturating_sub(given) as f64;
    let moment = |power: i32| {
        let counted: f64 = counts
            .clone()
            .map(|count| (f64::from(count) - mean).powi(power))
            .sum();
        (counted + zeros * (-mean).powi(power)) / size
    };
    let variance = moment(2);
    (variance > 0.0).then(|| moment(3) / variance.powf(1.5))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::index::{Item, OracleIndex, VectorWrite};

    fn sample(found: &[u32], recall: f64, tracks: usize) -> Sample {
        Sample {
            recall,
            found: found.iter().map(|&id| TrackId(id)).collect(),
            tracks,
        }
    }

    #[test]
    fn the_figures_are_those_of_the_formulas() {
        // Counts 1, 1, 1, 5 and four zeros; worked out by hand: mean 1, moments 20 / 8 and 60 / 8.
        let skew = skewness([1, 1, 1, 5].into_iter(), 8).unwrap();
        assert!((skew - 7.5 / 2.5_f64.powf(1.5)).abs() < 1e-12, "{skew}");
        assert_eq!(skewness([2, 2].into_iter(), 2), None, "all are equal");

        let mut seen = Seen::default();
        assert_eq!(seen.stats(), LiveStats::default());
        seen.add("a", sample(&[1, 2], 1.0, 4));
        seen.add("a", sample(&[1, 3], 0.5, 4));
        let stats = seen.stats();
        assert_eq!((stats.samples, stats.recall), (2, Some(0.75)));
        assert_eq!(stats.hub_share, Some(1.0));
        assert!(stats.hubness.unwrap().abs() < 1e-12, "2, 1, 1, 0 is even");
    }

    #[test]
    fn old_samples_and_those_of_another_generation_are_forgotten() {
        let mut seen = Seen::default();
        for number in 0..KEPT as u32 + 10 {
            seen.add("a", sample(&[number], 1.0, 1000));
        }
        assert_eq!(seen.answers.len(), KEPT);
        seen.add("b", sample(&[1, 2, 3], 0.0, 1000));
        let stats = seen.stats();
        assert_eq!(stats.samples, KEPT as u64 + 11);
        assert_eq!((stats.recall, seen.answers.len()), (Some(0.0), 3));
    }

    #[test]
    fn a_search_is_sampled_once_a_second_at_most() {
        let live = Live::default();
        assert!(live.is_due());
        assert!(!live.is_due());
    }

    #[test]
    fn an_exact_search_misses_nothing() {
        let index = OracleIndex::new(2);
        let items = (1..=9_u32).map(|id| Item {
            id: TrackId(id),
            vector: vec![(id as f32 / 10.0).cos(), (id as f32 / 10.0).sin()],
            fields: Vec::new(),
        });
        index.upsert(&items.collect::<Vec<_>>()).unwrap();
        let query = Query::nearest(vec![1.0, 0.0], 3);
        let sample = Sample::take(&index, &query).unwrap().unwrap();
        assert_eq!((sample.recall, sample.found.len()), (1.0, 3));
        assert_eq!(sample.tracks, 9);
    }
}
