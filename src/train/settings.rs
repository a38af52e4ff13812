//! Everything that decides what a run learns.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    AdamSettings, LearnerSettings, LossSettings, Objective, Patchout, Schedule,
    dataset::{DatasetSettings, SameArtist, SplitLimits, Splits},
    health::CollapseLimits,
};
use crate::{audio::augment::AugmentSettings, model::Preset, text::hex};

/// A run's settings. The same settings, tracks and device give the same weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSettings {
    /// The encoder.
    pub preset: Preset,
    /// Passes over the training tracks.
    pub epochs: usize,
    /// Most tracks that are used of each split.
    pub limits: SplitLimits,
    /// How batches are made.
    pub dataset: DatasetSettings,
    /// How they are learned from. A schedule's `total_steps` of 0 stands for the run's steps.
    pub learner: LearnerSettings,
    /// When a model counts as collapsed, which ends the run.
    pub collapse: CollapseLimits,
    /// Stop after this time even if epochs are left, minutes.
    pub max_minutes: Option<f64>,
    /// How often the run's state is written to disk, seconds; always at its end.
    pub checkpoint_seconds: f64,
}

impl TrainingSettings {
    /// The recipe of a preset.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        match preset {
            Preset::Paper => Self::paper(),
            Preset::Small => Self::small(),
        }
    }

    /// The study's protocol: 1,000, 200 and 200 tracks, their first 10 s twice, batches of 8, Adam
    /// at 3e-5, 10 epochs.
    fn paper() -> Self {
        Self {
            preset: Preset::Paper,
            epochs: 10,
            limits: SplitLimits::STUDY,
            dataset: DatasetSettings::paper(),
            learner: LearnerSettings::default(),
            collapse: CollapseLimits::default(),
            max_minutes: None,
            checkpoint_seconds: 30.0,
        }
    }

    /// What a CPU can finish: many short steps, each over a sixteenth of every window. `docs/TRAINING.md`
    /// has what was tried on the way here, and what it gave.
    fn small() -> Self {
        Self {
            preset: Preset::Small,
            epochs: 400,
            limits: SplitLimits::NONE,
            dataset: DatasetSettings {
                batch: 64,
                same_artist: SameArtist::MaskNegatives,
                augment: AugmentSettings::light(),
                ..DatasetSettings::default()
            },
            learner: LearnerSettings {
                loss: LossSettings {
                    temperature: 0.1,
                    decoupled: false,
                },
                objective: Objective::Standardised,
                optimiser: AdamSettings {
                    learning_rate: 1e-3,
                    beta2: 0.98,
                    weight_decay: 0.05,
                    ..AdamSettings::default()
                },
                schedule: Schedule::WarmupCosine {
                    warmup_steps: 200,
                    total_steps: 0,
                    floor: 0.0,
                },
                clip_norm: Some(1.0),
                patchout: Patchout {
                    kept_per_row: Some(4),
                    ..Patchout::default()
                },
                ..LearnerSettings::default()
            },
            collapse: CollapseLimits::default(),
            max_minutes: None,
            checkpoint_seconds: 30.0,
        }
    }

    /// The learner's settings for a run of so many steps.
    #[must_use]
    pub(super) fn learner_for(&self, steps: usize) -> LearnerSettings {
        let mut settings = self.learner.clone();
        if let Schedule::WarmupCosine {
            warmup_steps,
            total_steps: total @ 0,
            ..
        } = &mut settings.schedule
        {
            *total = steps as u64;
            // A short run has a short rise.
            *warmup_steps = (*warmup_steps).min(*total / 10);
        }
        settings
    }

    /// Sets the seed of everything that chance decides.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.dataset.seed = seed;
        self.learner.seed = seed;
        self
    }

    /// Names a run by all that decides what it learns: these settings, what it starts from (the hash of its
    /// weights), and its tracks. What decides only when a run stops or how fast it is does not count, so
    /// that a run can be continued with more time.
    #[must_use]
    pub fn run_name(&self, start: &str, splits: &Splits) -> String {
        let mut counted = self.clone();
        counted.max_minutes = None;
        counted.checkpoint_seconds = 0.0;
        counted.dataset.threads = 0;
        counted.dataset.ahead = 0;
        counted.dataset.cache_mib = 0;
        let [training, validation] = [&splits.training, &splits.validation]
            .map(|side| side.iter().map(|track| track.id).collect::<Vec<_>>());
        let text = serde_json::to_vec(&(counted, start, training, validation))
            .expect("settings are plain data");
        hex(&Sha256::digest(text)[..8])
    }
}
