//! The learner: one step on one batch, and what is needed to go on later.

mod batch;
mod network;
mod patchout;
mod settings;
mod standardise;
mod state;

use std::{collections::BTreeMap, time::Instant};

use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{Gradients, Optimiser, TrainError, contrastive_loss, health::Health, loss};
use crate::model::{AstConfig, ProjectionHead};

pub use batch::ViewBatch;
pub use settings::{LearnerSettings, Objective, Patchout, Placement};
pub use state::LearnerState;

use batch::Chunk;
use network::Network;

/// Takes the place of a step's number in what a validation draws.
const VALIDATION: u64 = u64::MAX - 1;
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
            optimiser: Optimiser::new(&learning(&weights, settings.objective), settings.optimiser)?,
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
        let (config, settings, step) = (&self.config, &self.settings, self.steps());
        let most = settings.micro_batch.unwrap_or(usize::MAX);
        let chunks = match patchout::scatter(config, settings, step, batch.windows()) {
            Some(kept) => batch.scattered_chunks(&kept, most.min(batch.windows())),
            None => {
                let draws = patchout::draw(config, settings, step, batch);
                batch.chunks(&draws, most.min(batch.windows()))
            }
        };
        if most < batch.windows() {
            self.cached_gradients(batch, &chunks)
        } else {
            self.direct_gradients(batch, &chunks)
        }
    }

    /// One forward and one backward pass over all.
    fn direct_gradients(
        &self,
        batch: &ViewBatch,
        chunks: &[Chunk],
    ) -> Result<(f64, Gradients), TrainError> {
        let embeddings = self.network.embed_all(batch, chunks)?;
        let loss = self.loss(&self.network, &embeddings, batch)?;
        let mut store = loss.backward()?;
        let gradients = Gradients::take_some(&mut store, self.learning())?;
        Ok((loss::value(&loss)?, gradients))
    }

    /// The same gradients in the memory of one chunk (Gao et al. 2021, "Scaling Deep Contrastive
    /// Learning Batch Size under Memory Limited Setup", arXiv:2101.06983): all embeddings are
    /// computed without a graph, then the loss's gradient with respect to them; then each chunk's
    /// embeddings once more with a graph, into which its part of that gradient is fed.
    fn cached_gradients(
        &self,
        batch: &ViewBatch,
        chunks: &[Chunk],
    ) -> Result<(f64, Gradients), TrainError> {
        let embeddings = self.fixed_network()?.embed_all(batch, chunks)?;
        let embeddings = Var::from_tensor(&embeddings)?;
        let loss = self.loss(&self.network, &embeddings, batch)?;
        let mut store = loss.backward()?;
        let gradient = store
            .remove(&embeddings)
            .ok_or_else(|| TrainError::NoGradient("embeddings".to_owned()))?;
        let head = self
            .learning()
            .filter(|(name, _)| network::is_of_head(name));
        let head = Gradients::take_some(&mut store, head)?;
        let mut total: Option<Gradients> = None;
        for chunk in chunks {
            let gradient = gradient.narrow(0, chunk.rows.start, chunk.rows.len())?;
            let again = self.network.embed(batch, chunk)?;
            let mut store = (again * gradient)?.sum_all()?.backward()?;
            let encoder = self
                .learning()
                .filter(|(name, _)| !network::is_of_head(name));
            let gradients = Gradients::take_some(&mut store, encoder)?;
            match &mut total {
                Some(total) => total.add(&gradients)?,
                None => total = Some(gradients),
            }
        }
        let mut total = total.ok_or_else(|| TrainError::NoGradient("embeddings".to_owned()))?;
        total.join(head);
        Ok((loss::value(&loss)?, total))
    }

    /// The weights that the loss depends on.
    fn learning(&self) -> impl Iterator<Item = (&String, &Var)> {
        let objective = self.settings.objective;
        self.weights
            .iter()
            .filter(move |(name, _)| learns(name, objective))
    }

    /// The loss of embeddings `[views * tracks, hidden]`.
    fn loss(
        &self,
        network: &Network,
        embeddings: &Tensor,
        batch: &ViewBatch,
    ) -> Result<Tensor, TrainError> {
        let objective = self.settings.objective;
        let embeddings = match objective.standardises() {
            true => &standardise::over_batch(embeddings)?,
            false => embeddings,
        };
        let contrast = |rows: &Tensor| {
            contrastive_loss(
                rows,
                batch.tracks(),
                batch.artists.as_deref(),
                &self.settings.loss,
            )
        };
        match objective {
            Objective::Projections => contrast(&network.project(embeddings)?),
            Objective::Standardised => contrast(embeddings),
            Objective::Both => {
                let projected = contrast(&network.project(embeddings)?)?;
                Ok((projected + contrast(embeddings)?)?)
            }
        }
    }

    /// The network over the same values, without a graph.
    fn fixed_network(&self) -> Result<Network, TrainError> {
        Network::new(
            &self.config,
            network::untracked(&self.weights),
            &self.device,
        )
    }

    /// Measures on batches of tracks that are not learned from. Nothing is left out of a window, but
    /// where training scatters the patches that it keeps, so does this, the same ones every time.
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
            let kept = patchout::scatter(&self.config, &self.settings, VALIDATION, batch.windows());
            let chunks = match kept {
                Some(kept) => batch.scattered_chunks(&kept, VALIDATION_WINDOWS),
                None => batch.chunks(&vec![None; views.len()], VALIDATION_WINDOWS),
            };
            let embeddings = network.embed_all(batch, &chunks)?;
            total += loss::value(&self.loss(&network, &embeddings, batch)?)?;
            let mut embeddings = embeddings.to_vec2::<f32>()?.into_iter();
            for view in &mut views {
                view.extend(embeddings.by_ref().take(batch.tracks()));
            }
        }
        if self.settings.objective.standardises() {
            standardise::over_all(&mut views);
        }
        Ok(Validation {
            loss: total / batches.len() as f64,
            health: Health::of(&views),
        })
    }

    /// The encoder's weights by their canonical names, as [`crate::model::ModelDir`] takes them. Where the
    /// objective standardises embeddings, the encoder does so from here on: mean and deviation
    /// of each dimension over the windows of `sample` go into its last layer norm.
    ///
    /// # Errors
    ///
    /// [`TrainError`] for batches that do not fit.
    pub fn trained_encoder(
        &self,
        sample: &[ViewBatch],
    ) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut weights = self.encoder_weights()?;
        if self.settings.objective.standardises() {
            let network = self.fixed_network()?;
            let mut embeddings = Vec::new();
            for batch in sample {
                batch.check(&self.config)?;
                let chunks = batch.chunks(&vec![None; batch.views.len()], VALIDATION_WINDOWS);
                embeddings.extend(network.embed_all(batch, &chunks)?.to_vec2::<f32>()?);
            }
            standardise::fold(&mut weights, &embeddings)?;
        }
        Ok(weights)
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

/// Whether a weight learns: without [`Objective::projects`] the head only waits.
fn learns(name: &str, objective: Objective) -> bool {
    objective.projects() || !network::is_of_head(name)
}

/// The weights that learn.
fn learning(weights: &BTreeMap<String, Var>, objective: Objective) -> BTreeMap<String, Var> {
    let learning = weights.iter().filter(|(name, _)| learns(name, objective));
    learning
        .map(|(name, weight)| (name.clone(), weight.clone()))
        .collect()
}
