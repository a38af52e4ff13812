//! What a run measured on its way.

use serde::{Deserialize, Serialize};

use super::Validation;

/// One optimiser step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepPoint {
    /// Steps of the run up to this one, from 1.
    pub step: usize,
    /// Contrastive loss of the batch, nats.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Norm of the whole gradient before clipping.
    pub grad_norm: f64,
    /// Wall time of the step, seconds, without waiting for the batch.
    pub seconds: f64,
    /// Wall time that the step waited for its batch, seconds.
    pub waited: f64,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochPoint {
    /// Epochs up to this one, from 1; 0 for the weights that the run starts from.
    pub epoch: usize,
    /// Steps of the run at its end.
    pub step: usize,
    /// Mean loss of its steps; none before the first.
    pub loss: Option<f64>,
    /// The validation tracks through the model as it then was; none without validation tracks.
    pub validation: Option<Validation>,
}

/// All steps and epochs of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// Every step.
    pub steps: Vec<StepPoint>,
    /// Every epoch.
    pub epochs: Vec<EpochPoint>,
}

impl Curves {
    /// Mean loss of the first `count` steps, or of all where there are fewer; none without steps.
    #[must_use]
    pub fn first_loss(&self, count: usize) -> Option<f64> {
        mean_loss(&self.steps[..count.min(self.steps.len())])
    }

    /// Mean loss of the last `count` steps; none where there are fewer.
    #[must_use]
    pub fn recent_loss(&self, count: usize) -> Option<f64> {
        let from = self.steps.len().checked_sub(count.max(1))?;
        mean_loss(&self.steps[from..])
    }
}

fn mean_loss(steps: &[StepPoint]) -> Option<f64> {
    let total: f64 = steps.iter().map(|point| point.loss).sum();
    (!steps.is_empty()).then(|| total / steps.len() as f64)
}
