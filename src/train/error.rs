//! What can go wrong in training.

use super::{checkpoint::CheckpointError, dataset::DatasetError, health::Collapse};
use crate::model::ModelError;

/// Why training cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A loss or gradient is NaN or infinite. The weights are those before the step.
    #[error("the {what} of step {step} is not finite")]
    NotFinite {
        /// `loss` or `gradient`.
        what: &'static str,
        /// Steps taken before.
        step: u64,
    },
    /// A batch is not what the learner takes.
    #[error("the batch has {found} {what}, {expected} are needed")]
    Batch {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A setting that cannot be.
    #[error("{key} is {found}, but {expected}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// The loss does not depend on a weight, so it would never be trained.
    #[error("weight {0} has no gradient")]
    NoGradient(String),
    /// A saved state lacks a tensor.
    #[error("the saved state lacks {0}")]
    MissingState(String),
    /// A tensor of a saved state has another shape than the weight it belongs to.
    #[error("{name} has shape {found:?} in the saved state, {expected:?} is needed")]
    StateShape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The weight's shape.
        expected: Vec<usize>,
    },
    /// The model gives all tracks nearly the same embedding.
    #[error("epoch {epoch}")]
    Collapsed {
        /// Epochs that were done.
        epoch: usize,
        /// What shows it.
        source: Collapse,
    },
    /// The batches cannot be made.
    #[error("the training tracks cannot be used")]
    Dataset(#[from] DatasetError),
    /// The run's state cannot be written or read.
    #[error("checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// The model cannot be built.
    #[error("the model cannot be trained")]
    Model(#[from] ModelError),
    /// The tensor library failed.
    #[error("tensor computation failed")]
    Tensor(#[from] candle_core::Error),
}
