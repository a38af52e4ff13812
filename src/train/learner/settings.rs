//! What a learner is told.

use serde::{Deserialize, Serialize};

use crate::{
    model::AstConfig,
    train::{AdamSettings, LossSettings, Schedule, TrainError},
};

/// Settings of a learner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerSettings {
    /// The loss.
    pub loss: LossSettings,
    /// The optimiser.
    pub optimiser: AdamSettings,
    /// The learning rate's course.
    pub schedule: Schedule,
    /// Longest gradient; a longer one is scaled down to it.
    pub clip_norm: Option<f64>,
    /// Most windows that are held in memory at once. A larger batch has the same gradient, for
    /// one more forward pass.
    pub micro_batch: Option<usize>,
    /// What of the embeddings the loss compares.
    pub objective: Objective,
    /// What is left out of each window.
    pub patchout: Patchout,
    /// Where windows shorter than the encoder's longest are put.
    pub placement: Placement,
    /// Fixes the head's first weights and what is left out.
    pub seed: u64,
}

/// What of the embeddings the loss compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Their projections by the head, as SimCLR does.
    #[default]
    Projections,
    /// The embeddings themselves, each dimension standardised over the batch. A spectrogram encoder's
    /// embeddings differ mostly in loudness and tilt, a few directions that a projection head
    /// hides from the loss; standardised, every dimension counts alike. The trained encoder has
    /// the standardisation in its last layer norm.
    Standardised,
    /// Both losses, added. The head gets standardised embeddings.
    Both,
}

impl Objective {
    /// Whether embeddings are standardised.
    #[must_use]
    pub fn standardises(self) -> bool {
        self != Self::Projections
    }

    /// Whether the head takes part.
    #[must_use]
    pub fn projects(self) -> bool {
        self != Self::Standardised
    }
}

/// Rows and columns of patches that are left out of each view, drawn anew for every step and view
/// (Koutini et al. 2022, arXiv:2110.05069): less to compute, and views that differ more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Patchout {
    /// Rows, along the mel axis.
    pub mel_rows_dropped: usize,
    /// Columns, along the time axis.
    pub time_columns_dropped: usize,
    /// In place of rows and columns: so many patches of every row are kept, drawn for each row
    /// of each window on its own. At the same cost a window is then heard over its whole length.
    pub kept_per_row: Option<usize>,
}

/// Which position embeddings a window has that is shorter than the encoder's longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Those from a random column on, so that all of them are trained.
    #[default]
    Random,
    /// The first.
    Start,
}

impl LearnerSettings {
    /// Checks that an encoder can be trained with them.
    pub(super) fn check(&self, config: &AstConfig) -> Result<(), TrainError> {
        let fault = |key, found: String, expected| {
            Err(TrainError::Setting {
                key,
                found,
                expected,
            })
        };
        let (rows, columns) = config.patch_grid();
        for (key, dropped, all) in [
            (
                "patchout.mel_rows_dropped",
                self.patchout.mel_rows_dropped,
                rows,
            ),
            (
                "patchout.time_columns_dropped",
                self.patchout.time_columns_dropped,
                columns,
            ),
        ] {
            if dropped >= all {
                return fault(key, dropped.to_string(), "some patches have to be left");
            }
        }
        if let Some(kept) = self.patchout.kept_per_row
            && !(1..=columns).contains(&kept)
        {
            let expected = "it has to be between 1 and the columns of the patch grid";
            return fault("patchout.kept_per_row", kept.to_string(), expected);
        }
        let optimiser = &self.optimiser;
        for (key, value) in [
            ("optimiser.learning_rate", optimiser.learning_rate),
            ("optimiser.weight_decay", optimiser.weight_decay),
            ("optimiser.epsilon", optimiser.epsilon),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return fault(key, value.to_string(), "it cannot be negative");
            }
        }
        for (key, value) in [
            ("optimiser.beta1", optimiser.beta1),
            ("optimiser.beta2", optimiser.beta2),
        ] {
            if !(0.0..1.0).contains(&value) {
                return fault(key, value.to_string(), "it has to be in [0, 1)");
            }
        }
        if let Some(most) = self.clip_norm
            && (most.is_nan() || most <= 0.0)
        {
            return fault("clip_norm", most.to_string(), "it has to be positive");
        }
        if self.micro_batch == Some(0) {
            return fault("micro_batch", "0".to_owned(), "it has to be positive");
        }
        Ok(())
    }
}
