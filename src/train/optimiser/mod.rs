//! Adam with decoupled weight decay, in place.

mod update;

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{Gradients, TrainError};

/// Settings of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamSettings {
    /// The learning rate at its peak; the schedule scales it.
    pub learning_rate: f64,
    /// How slowly the mean of the gradients forgets.
    pub beta1: f64,
    /// How slowly the mean of their squares forgets.
    pub beta2: f64,
    /// Added to the root of the squares' mean.
    pub epsilon: f64,
    /// Part of a matrix that a step at learning rate 1 would take away; 0 gives plain Adam.
    pub weight_decay: f64,
}

/// Betas and epsilon of Kingma, Ba 2015; learning rate and no decay as in the preset `paper`.
impl Default for AdamSettings {
    fn default() -> Self {
        Self {
            learning_rate: 3e-5,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// AdamW: Kingma, Ba 2015, "Adam", arXiv:1412.6980, algorithm 1, with the decay of Loshchilov,
/// Hutter 2019, "Decoupled Weight Decay Regularization", arXiv:1711.05101, algorithm 2, computed
/// as PyTorch's `AdamW` does: the decay is scaled by the learning rate.
pub struct Optimiser {
    settings: AdamSettings,
    slots: BTreeMap<String, Slot>,
    step: u64,
}

/// A weight and what is remembered about its gradients.
struct Slot {
    weight: Var,
    mean: Tensor,
    square: Tensor,
    decays: bool,
}

impl Optimiser {
    /// For these weights, which the optimiser changes in place.
    ///
    /// # Errors
    ///
    /// When memory cannot be had.
    pub fn new(
        weights: &BTreeMap<String, Var>,
        settings: AdamSettings,
    ) -> Result<Self, TrainError> {
        let slot = |(name, weight): (&String, &Var)| {
            let slot = Slot {
                weight: weight.clone(),
                mean: weight.zeros_like()?,
                square: weight.zeros_like()?,
                decays: decays(name),
            };
            Ok((name.clone(), slot))
        };
        Ok(Self {
            settings,
            slots: weights
                .iter()
                .map(slot)
                .collect::<Result<_, TrainError>>()?,
            step: 0,
        })
    }

    /// Steps taken.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Takes one step. `scale` multiplies every gradient first: what clipping takes away.
    ///
    /// # Errors
    ///
    /// [`TrainError::NoGradient`] when one is missing; nothing has changed then.
    pub fn update(
        &mut self,
        gradients: &Gradients,
        learning_rate: f64,
        scale: f64,
    ) -> Result<(), TrainError> {
        if let Some(name) = self
            .slots
            .keys()
            .find(|&name| gradients.get(name).is_none())
        {
            return Err(TrainError::NoGradient(name.clone()));
        }
        let settings = &self.settings;
        let step = (self.step + 1) as f64;
        let update = update::Update {
            beta1: settings.beta1,
            beta2: settings.beta2,
            scale,
            rate: learning_rate / (1.0 - settings.beta1.powf(step)),
            square_root: (1.0 - settings.beta2.powf(step)).sqrt(),
            epsilon: settings.epsilon,
            keep: 1.0 - learning_rate * settings.weight_decay,
        };
        for (name, slot) in &self.slots {
            if let Some(gradient) = gradients.get(name) {
                let update = if slot.decays {
                    update
                } else {
                    update.without_decay()
                };
                update.apply(&slot.weight, &slot.mean, &slot.square, gradient)?;
            }
        }
        self.step += 1;
        Ok(())
    }

    /// What the optimiser remembers, as copies: `m.<weight>` and `v.<weight>`.
    ///
    /// # Errors
    ///
    /// When memory cannot be had.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut tensors = BTreeMap::new();
        for (name, slot) in &self.slots {
            tensors.insert(format!("m.{name}"), slot.mean.copy()?);
            tensors.insert(format!("v.{name}"), slot.square.copy()?);
        }
        Ok(tensors)
    }

    /// Puts back what [`Optimiser::state`] gave after `step` steps; other tensors are passed over.
    ///
    /// # Errors
    ///
    /// [`TrainError`] that names the tensor that is missing or has another shape.
    pub fn restore(
        &mut self,
        tensors: &BTreeMap<String, Tensor>,
        step: u64,
    ) -> Result<(), TrainError> {
        for (name, slot) in &mut self.slots {
            for (prefix, place) in [("m", &mut slot.mean), ("v", &mut slot.square)] {
                *place = saved(tensors, &format!("{prefix}.{name}"), place)?;
            }
        }
        self.step = step;
        Ok(())
    }
}

/// A copy of a saved tensor, where one like `like` is.
pub(super) fn saved(
    tensors: &BTreeMap<String, Tensor>,
    name: &str,
    like: &Tensor,
) -> Result<Tensor, TrainError> {
    let tensor = tensors
        .get(name)
        .ok_or_else(|| TrainError::MissingState(name.to_owned()))?;
    if tensor.dims() != like.dims() {
        return Err(TrainError::StateShape {
            name: name.to_owned(),
            found: tensor.dims().to_vec(),
            expected: like.dims().to_vec(),
        });
    }
    Ok(tensor
        .to_device(like.device())?
        .to_dtype(like.dtype())?
        .copy()?)
}

/// Whether weight decay makes sense: for matrices. Biases and norms set a scale of their own, and
/// tokens and position embeddings are not multiplied with anything.
fn decays(name: &str) -> bool {
    name.ends_with(".weight") && !name.contains("layernorm")
}

#[cfg(test)]
mod tests {
    use super::decays;

    #[test]
    fn only_matrices_decay() {
        for name in [
            "encoder.embeddings.patch_embeddings.projection.weight",
            "encoder.layers.0.attention.q_proj.weight",
            "encoder.layers.11.mlp.fc2.weight",
            "head.projection.2.weight",
        ] {
            assert!(decays(name), "{name}");
        }
        for name in [
            "encoder.embeddings.cls_token",
            "encoder.embeddings.distillation_token",
            "encoder.embeddings.position_embeddings",
            "encoder.layers.0.layernorm_before.weight",
            "encoder.layers.0.mlp.fc1.bias",
            "encoder.layernorm.weight",
            "head.projection.0.bias",
        ] {
            assert!(!decays(name), "{name}");
        }
    }
}
