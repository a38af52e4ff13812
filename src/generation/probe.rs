//! The self-check of a generation: does this machine hear with it what its builder heard?
//!
//! A build keeps the embeddings of three clips that are made from formulas, and the ids of some
//! tracks. Whoever loads the generation embeds the clips again and searches for the tracks: a
//! front end, a device or a graph that computes something else is found before it answers anyone.

use std::{cmp::Ordering, f32::consts::TAU, path::Path};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{GenerationError, manifest};
use crate::{
    audio::SAMPLE_RATE,
    batch::Batcher,
    extract::Extractor,
    index::{Answer, Effort, Query, VectorRead},
    track::TrackId,
};

pub(super) const PROBES_FILE: &str = "probes.json";

/// Least cosine of a probe's embedding to the stored one. Two CPUs differ by 1e-6, half precision
/// on a GPU by 1e-3; another front end or other weights by far more.
const MIN_COSINE: f32 = 0.99;
/// Tracks that the index is asked for.
const SAMPLED_TRACKS: usize = 64;
/// Hits that are compared with the exact scan's.
const K: usize = 10;
/// Least share of the true nearest that the planned search has to find.
const MIN_RECALL: f64 = 0.9;
/// Scores this close are a tie, in which either hit is right.
const TIE: f32 = 1e-5;

/// What a self-check found wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfCheckFault {
    /// A probe clip has another embedding than when the generation was built.
    #[error(
        "probe clip {number} has cosine {cosine:.4} to its stored embedding, at least {MIN_COSINE} is wanted"
    )]
    Probe {
        /// Which clip, from 0.
        number: usize,
        /// Cosine to the stored embedding.
        cosine: f32,
    },
    /// The search misses tracks that the exact scan finds.
    #[error("recall@{K} against the exact scan is {recall:.3}, at least {MIN_RECALL} is wanted")]
    Recall {
        /// Share of the true nearest that was found.
        recall: f64,
    },
    /// The index lacks a track that was built into it.
    #[error("the index lacks track {0}")]
    Missing(TrackId),
}

/// What a generation should answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Probes {
    /// Embedding of each probe clip, `[clips][dim]`.
    embeddings: Vec<Vec<f32>>,
    /// Tracks that the index is asked for.
    tracks: Vec<TrackId>,
}

impl Probes {
    /// Embeds the probe clips and picks tracks evenly from `ids`.
    pub(super) fn make(
        extractor: &Extractor,
        batcher: &Batcher,
        ids: &[TrackId],
    ) -> Result<Self, GenerationError> {
        let step = ids.len().div_ceil(SAMPLED_TRACKS).max(1);
        Ok(Self {
            embeddings: embed_clips(extractor, batcher)?,
            tracks: ids.iter().copied().step_by(step).collect(),
        })
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), GenerationError> {
        manifest::write_json(&dir.join(PROBES_FILE), self)
    }

    pub(super) fn read(dir: &Path) -> Result<Self, GenerationError> {
        manifest::read_json(&dir.join(PROBES_FILE))
    }

    /// Embeds the clips again and searches for the tracks.
    pub(super) fn check(
        &self,
        extractor: &Extractor,
        batcher: &Batcher,
        index: &dyn VectorRead,
    ) -> Result<(), GenerationError> {
        let heard = embed_clips(extractor, batcher)?;
        for (number, (now, then)) in heard.iter().zip(&self.embeddings).enumerate() {
            let cosine = now.iter().zip(then).map(|(a, b)| a * b).sum::<f32>();
            // NaN fails too.
            let differs = cosine.partial_cmp(&MIN_COSINE).is_none_or(Ordering::is_lt);
            if now.len() != then.len() || differs {
                return Err(SelfCheckFault::Probe { number, cosine }.into());
            }
        }
        let recall = recall(index, &self.tracks)?;
        if recall < MIN_RECALL {
            return Err(SelfCheckFault::Recall { recall }.into());
        }
        Ok(())
    }
}

/// Share of the true nearest of some tracks that the search as it is planned finds.
fn recall(index: &dyn VectorRead, tracks: &[TrackId]) -> Result<f64, GenerationError> {
    let items = index.get(tracks)?;
    let planned = tracks.iter().zip(items).map(|(id, item)| {
        let item = item.ok_or(SelfCheckFault::Missing(*id))?;
        Ok(Query::nearest(item.vector, K))
    });
    let planned = planned.collect::<Result<Vec<_>, SelfCheckFault>>()?;
    let exact = planned.iter().map(|query| Query {
        effort: Effort::Exact,
        ..query.clone()
    });
    let truths = index.search_batch(&exact.collect::<Vec<_>>())?;
    let answers = index.search_batch(&planned)?;
    let (mut found, mut wanted) = (0, 0);
    for (Answer { hits, .. }, Answer { hits: truth, .. }) in answers.iter().zip(&truths) {
        let Some(worst) = truth.last() else { continue };
        found += hits
            .iter()
            .filter(|hit| hit.score >= worst.score - TIE)
            .count();
        wanted += truth.len();
    }
    Ok(if wanted == 0 {
        1.0
    } else {
        found as f64 / wanted as f64
    })
}

fn embed_clips(extractor: &Extractor, batcher: &Batcher) -> Result<Vec<Vec<f32>>, GenerationError> {
    clips()
        .iter()
        .map(|clip| {
            let prepared = extractor.prepare(clip)?;
            Ok(extractor.embed_blocking(batcher, prepared)?.embedding)
        })
        .collect()
}

/// Three clips that have little in common: a sweep, a chord that beats, bursts of noise. The first
/// is longer than a window and the last shorter.
fn clips() -> [Vec<f32>; 3] {
    let rate = SAMPLE_RATE as f32;
    let samples = |seconds: f32| 0..(seconds * rate) as usize;
    // Exponential sweep from 50 Hz to 7 kHz (Farina 2000).
    let (low, high, seconds) = (50.0_f32, 7000.0, 16.0);
    let growth = (high / low).ln();
    let sweep = samples(seconds).map(|n| {
        let phase = ((n as f32 / rate / seconds) * growth).exp_m1() * low * seconds / growth;
        0.5 * (TAU * phase.fract()).sin()
    });
    let chord = samples(10.24).map(|n| {
        let t = n as f32 / rate;
        let tone = |hz: f32| (TAU * (hz * t).fract()).sin();
        0.2 * (tone(220.0) + tone(277.18) + tone(329.63)) * (0.6 + 0.4 * tone(2.0))
    });
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let bursts = samples(4.0).map(|n| {
        let decay = (-((n % 8000) as f32) / 1500.0).exp();
        decay * rng.random_range(-0.8..0.8)
    });
    [sweep.collect(), chord.collect(), bursts.collect()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        audio::FeatureConfig,
        batch::BatchSettings,
        index::{EmbeddedIndex, Item, Settings},
        model::{AstConfig, DeviceChoice, ModelDir, normalise, untrained_weights},
    };

    const DIM: usize = 16;

    fn extractor(seed: u64, batcher: &Batcher) -> Extractor {
        let config = AstConfig {
            hidden_size: DIM,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 16,
            frequency_stride: 64,
            time_stride: 128,
            ..AstConfig::default()
        };
        let weights = untrained_weights(&config, seed).unwrap();
        let model = ModelDir::new(config, FeatureConfig::default(), weights).unwrap();
        Extractor::load(&Arc::new(model), batcher).unwrap()
    }

    fn index(tracks: u32) -> EmbeddedIndex {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let items: Vec<Item> = (0..tracks)
            .map(|id| {
                let mut vector: Vec<f32> = (0..DIM).map(|_| rng.random_range(-1.0..1.0)).collect();
                normalise(&mut vector).unwrap();
                Item {
                    id: TrackId(id),
                    vector,
                    fields: Vec::new(),
                }
            })
            .collect();
        EmbeddedIndex::build(&items, DIM, Settings::default()).unwrap()
    }

    #[test]
    fn other_weights_and_a_lost_track_are_found_out() {
        let settings = BatchSettings {
            max_batch: 4,
            max_queue: 16,
        };
        let batcher = Batcher::start(settings, DeviceChoice::Cpu, || ()).unwrap();
        let own = extractor(0, &batcher);
        let ids: Vec<TrackId> = (0..200).map(TrackId).collect();
        let probes = Probes::make(&own, &batcher, &ids).unwrap();
        assert_eq!(probes.tracks.len(), 50, "every fourth");
        let dir = tempfile::tempdir().unwrap();
        probes.write(dir.path()).unwrap();
        let probes = Probes::read(dir.path()).unwrap();
        probes.check(&own, &batcher, &index(200)).unwrap();

        let error = probes
            .check(&extractor(1, &batcher), &batcher, &index(200))
            .unwrap_err();
        assert!(
            matches!(
                error,
                GenerationError::SelfCheck(SelfCheckFault::Probe { number: 0, .. })
            ),
            "{error}"
        );
        let error = probes.check(&own, &batcher, &index(100)).unwrap_err();
        assert!(
            matches!(
                error,
                GenerationError::SelfCheck(SelfCheckFault::Missing(TrackId(100)))
            ),
            "{error}"
        );
    }

    /// An index whose planned search forgets the best hits.
    struct Forgetful(EmbeddedIndex);

    impl VectorRead for Forgetful {
        fn describe(&self) -> crate::index::Description {
            self.0.describe()
        }

        fn search(&self, query: &Query) -> Result<crate::index::Answer, crate::index::IndexError> {
            let mut answer = self.0.search(query)?;
            if query.effort != Effort::Exact {
                answer.hits.drain(..2);
            }
            Ok(answer)
        }

        fn search_batch(
            &self,
            queries: &[Query],
        ) -> Result<Vec<crate::index::Answer>, crate::index::IndexError> {
            queries.iter().map(|query| self.search(query)).collect()
        }

        fn get(&self, ids: &[TrackId]) -> Result<Vec<Option<Item>>, crate::index::IndexError> {
            self.0.get(ids)
        }

        fn stats(&self) -> Result<crate::index::Stats, crate::index::IndexError> {
            self.0.stats()
        }
    }

    #[test]
    fn recall_counts_what_the_planned_search_misses() {
        let ids: Vec<TrackId> = (0..50).map(TrackId).collect();
        assert_eq!(recall(&index(200), &ids).unwrap(), 1.0);
        let found = recall(&Forgetful(index(200)), &ids).unwrap();
        assert!((found - 0.8).abs() < 1e-9, "{found}");
    }

    #[test]
    fn clips_are_sound_and_the_same_every_time() {
        for (clip, again) in clips().iter().zip(clips()) {
            assert!(clip.iter().all(|sample| sample.abs() <= 1.0));
            let power = clip.iter().map(|sample| sample * sample).sum::<f32>() / clip.len() as f32;
            assert!(power > 1e-3, "power {power}");
            assert_eq!(*clip, again);
        }
    }
}
