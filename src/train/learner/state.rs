//! A learner between two steps, as tensors with names.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{Learner, LearnerSettings, network};
use crate::{model::AstConfig, train::TrainError};

/// All that a learner needs to go on: weights `encoder.*` and `head.*`, and what the optimiser
/// remembers of their gradients, `m.*` and `v.*`. The tensors are copies.
#[derive(Clone, Debug)]
pub struct LearnerState {
    /// Steps taken.
    pub step: u64,
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Learner {
    /// The learner as it is now.
    ///
    /// # Errors
    ///
    /// When memory cannot be had.
    pub fn state(&self) -> Result<LearnerState, TrainError> {
        let mut tensors = self.optimiser.state()?;
        for (name, weight) in &self.weights {
            tensors.insert(name.clone(), weight.as_detached_tensor().copy()?);
        }
        Ok(LearnerState {
            step: self.steps(),
            tensors,
        })
    }

    /// A learner that goes on from a state: with the same settings and batches it takes the same
    /// steps, to the bit on one device.
    ///
    /// # Errors
    ///
    /// [`TrainError`] that names a tensor that is missing or has another shape.
    pub fn restore(
        config: &AstConfig,
        settings: LearnerSettings,
        state: &LearnerState,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let (encoder, head) = network::parts(&state.tensors);
        let mut learner = Self::assemble(config, encoder, head, settings, device)?;
        learner.optimiser.restore(&state.tensors, state.step)?;
        Ok(learner)
    }
}
