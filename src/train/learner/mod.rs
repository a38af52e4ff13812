//! The learner: one step on one batch, and what is needed to go on later.

mod batch;
mod network;
mod patchout;
mod settings;
mod state;

use std::{collections::BTreeMap, time::Instant};

use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{Gradients, Optimiser, TrainError, contrastive_loss, health::Health, loss};
use crate::model::{AstConfig, ProjectionHead};

pub use batch::ViewBatch;
pub use settings::{LearnerSettings, Patchout, Placement};
pub use state::LearnerState;

use batch::Chunk;
use network::Network;

/// Windows that are embedded at once where no gradient is wanted.
const VALIDATION_WINDOWS: usize = 16;

/// An encoder and its projection head in training.
///
/// Everything random is drawn from the seed and the number of the step, so a learner that is
/// restored takes the same steps, to the bit on one device.
pub struct Learner {
    config: AstConfig,
    settings: LearnerSettings,
    device: Device,
    weights: BTreeMap<String, Var>,
    network: Network,
    optimiser: Optimiser,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps taken, this one included.
    pub step: u64,
    /// The loss before the step.
    pub loss: f64,
    /// Length of the gradient before clipping.
    pub grad_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// How long it took.
    pub seconds: f64,
}

/// How a learner does on tracks that it does not learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Mean loss over the batches.
    pub loss: f64,
    /// Figures about the embeddings, all batches taken together.
    #[serde(flatten)]
    pub health: Health,
}

impl Learner {
    /// Begins with an encoder's weights, by their canonical names, and an untrained head.
    ///
    /// # Errors
    ///
    /// [`TrainError`] for settings that cannot be, or weights that do not fit.
    pub fn new(
        config: &AstConfig,
        weights: BTreeMap<String, Tensor>,
        settings: LearnerSettings,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let head = ProjectionHead::untrained_weights(config.hidden_size, settings.seed)?;
        Self::assemble(config, weights, head, settings, device)
    }

    fn assemble(
        config: &AstConfig,
        encoder: BTreeMap<String, Tensor>,
        head: BTreeMap<String, Tensor>,
        settings: LearnerSettings,
        device: &Device,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        settings.check(config)?;
        let weights = network::variables(encoder, head, device)?;
        Ok(Self {
            network: Network::new(config, network::tracked(&weights), device)?,
            optimiser: Optimiser::new(&weights, settings.optimiser)?,
            config: config.clone(),
            settings,
            device: device.clone(),
            weights,
        })
    }

    /// The encoder's settings.
    #[must_use]
    pub fn config(&self) -> &AstConfig {
        &self.config
    }

    /// The learner's settings.
    #[must_use]
    pub fn settings(&self) -> &LearnerSettings {
        &self.settings
    }

    /// Weights that learn, the head's included, in values.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.weights
            .values()
            .map(|weight| weight.elem_count())
            .sum()
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.optimiser.step()
    }

    /// Learns from one batch.
    ///
    /// # Errors
    ///
    /// [`TrainError::NotFinite`] when loss or gradient are NaN or infinite, other kinds for a batch
    /// that does not fit; the weights are as before then.
    pub fn step(&mut self, batch: &ViewBatch) -> Result<StepReport, TrainError> {
        let started = Instant::now();
        let step = self.steps();
        let (loss, gradients) = self.gradients(batch)?;
        let not_finite = |what| TrainError::NotFinite { what, step };
        if !loss.is_finite() {
            return Err(not_finite("loss"));
        }
        let grad_norm = gradients.norm()?;
        if !grad_norm.is_finite() {
            return Err(not_finite("gradient"));
        }
        // As PyTorch's `clip_grad_norm_` does.
        let scale = self
            .settings
            .clip_norm
            .map_or(1.0, |most| (most / (grad_norm + 1e-6)).min(1.0));
        let learning_rate =
            self.settings.optimiser.learning_rate * self.settings.schedule.factor(step);
        self.optimiser.update(&gradients, learning_rate, scale)?;
        Ok(StepReport {
            step: step + 1,
            loss,
            grad_norm,
            learning_rate,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Loss and gradients of the next step, which is not taken.
    ///
    /// # Errors
    ///
    /// [`TrainError`] for a batch that does not fit.
    pub fn gradients(&self, batch: &ViewBatch) -> Result<(f64, Gradients), TrainError> {
        batch.check(&self.config)?;
        let draws = patchout::draw(&self.config, &self.settings, self.steps(), batch);
        match self.settings.micro_batch {
            Some(most) if most < batch.windows() => {
                self.cached_gradients(batch, &batch.chunks(&draws, most))
            }
            _ => self.direct_gradients(batch, &batch.chunks(&draws, batch.windows())),
        }
    }

    /// One forward and one backward pass over all.
    fn direct_gradients(
        &self,
        batch: &ViewBatch,
        chunks: &[Chunk],
    ) -> Result<(f64, Gradients), TrainError> {
        let projections = chunks
            .iter()
            .map(|chunk| self.project(&self.network, batch, chunk))
            .collect::<Result<Vec<_>, _>>()?;
        let loss = self.loss(&Tensor::cat(&projections, 0)?, batch)?;
        let gradients = Gradients::take(loss.backward()?, &self.weights)?;
        Ok((loss::value(&loss)?, gradients))
    }

    /// The same gradients in the memory of one chunk (Gao et al. 2021, "Scaling Deep Contrastive
    /// Learning Batch Size under Memory Limited Setup", arXiv:2101.06983): all projections are
    /// computed without a graph, then the loss's gradient with respect to them; then each chunk's
    /// projections once more with a graph, into which its part of that gradient is fed.
    fn cached_gradients(
        &self,
        batch: &ViewBatch,
        chunks: &[Chunk],
    ) -> Result<(f64, Gradients), TrainError> {
        let fixed = self.fixed_network()?;
        let projections = chunks
            .iter()
            .map(|chunk| self.project(&fixed, batch, chunk))
            .collect::<Result<Vec<_>, _>>()?;
        let projections = Var::from_tensor(&Tensor::cat(&projections, 0)?)?;
        let loss = self.loss(&projections, batch)?;
        let gradient = loss
            .backward()?
            .remove(&projections)
            .ok_or_else(|| TrainError::NoGradient("projections".to_owned()))?;
        let mut total: Option<Gradients> = None;
        for chunk in chunks {
            let gradient = gradient.narrow(0, chunk.rows.start, chunk.rows.len())?;
            let fed = (self.project(&self.network, batch, chunk)? * gradient)?.sum_all()?;
            let gradients = Gradients::take(fed.backward()?, &self.weights)?;
            match &mut total {
                Some(total) => total.add(&gradients)?,
                None => total = Some(gradients),
            }
        }
        let total = total.ok_or_else(|| TrainError::NoGradient("projections".to_owned()))?;
        Ok((loss::value(&loss)?, total))
    }

    fn loss(&self, projections: &Tensor, batch: &ViewBatch) -> Result<Tensor, TrainError> {
        contrastive_loss(
            projections,
            batch.tracks(),
            batch.artists.as_deref(),
            &self.settings.loss,
        )
    }

    fn project(
        &self,
        network: &Network,
        batch: &ViewBatch,
        chunk: &Chunk,
    ) -> Result<Tensor, TrainError> {
        let windows = batch.tensor(chunk, self.config.num_mel_bins, &self.device)?;
        let (_, projections) = network.forward(&windows, chunk.kept.as_ref())?;
        Ok(projections)
    }

    /// The network over the same values, without a graph.
    fn fixed_network(&self) -> Result<Network, TrainError> {
        Network::new(
            &self.config,
            network::untracked(&self.weights),
            &self.device,
        )
    }

    /// Measures on batches of tracks that are not learned from. Nothing is left out of a window.
    /// A loss depends on how many tracks it tells apart, so compare only batches of equal size.
    ///
    /// # Errors
    ///
    /// [`TrainError`] for a batch that does not fit, or none.
    pub fn validate(&self, batches: &[ViewBatch]) -> Result<Validation, TrainError> {
        let Some(first) = batches.first() else {
            return Err(TrainError::Batch {
                what: "batches",
                found: 0,
                expected: 1,
            });
        };
        let network = self.fixed_network()?;
        let mut views = vec![Vec::new(); first.views.len()];
        let mut total = 0.0;
        for batch in batches {
            batch.check(&self.config)?;
            if batch.views.len() != views.len() {
                return Err(TrainError::Batch {
                    what: "views",
                    found: batch.views.len(),
                    expected: views.len(),
                });
            }
            let mut projections = Vec::new();
            let mut embeddings = Vec::new();
            for chunk in batch.chunks(&vec![None; views.len()], VALIDATION_WINDOWS) {
                let windows = batch.tensor(&chunk, self.config.num_mel_bins, &self.device)?;
                let (embedded, projected) = network.forward(&windows, None)?;
                embeddings.extend(embedded.to_vec2::<f32>()?);
                projections.push(projected);
            }
            total += loss::value(&self.loss(&Tensor::cat(&projections, 0)?, batch)?)?;
            let mut embeddings = embeddings.into_iter();
            for view in &mut views {
                view.extend(embeddings.by_ref().take(batch.tracks()));
            }
        }
        Ok(Validation {
            loss: total / batches.len() as f64,
            health: Health::of(&views),
        })
    }

    /// A copy of the encoder's weights by their canonical names, as [`crate::model::ModelDir`] takes them.
    ///
    /// # Errors
    ///
    /// When memory cannot be had.
    pub fn encoder_weights(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        network::encoder_weights(&self.weights)
    }
}
