//! The projection head: what stands between the embedding and the contrastive loss in training.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Uniform};

use super::kernels;

/// Width of the head's hidden layer.
pub const PROJECTION_HIDDEN: usize = 512;
/// Dimension of a projection.
pub const PROJECTION_DIM: usize = 128;

/// `hidden -> 512 -> ReLU -> 128`. It takes up what the loss would otherwise do to the embedding
/// and is left behind after training (Chen et al. 2020, "A Simple Framework for Contrastive
/// Learning of Visual Representations", arXiv:2002.05709, section 4.2).
pub struct ProjectionHead {
    layers: [(Tensor, Tensor); 2],
}

impl ProjectionHead {
    /// Names and shapes of the weights, for an encoder `hidden` wide.
    fn shapes(hidden: usize) -> [(&'static str, Vec<usize>); 4] {
        [
            ("projection.0.weight", vec![PROJECTION_HIDDEN, hidden]),
            ("projection.0.bias", vec![PROJECTION_HIDDEN]),
            (
                "projection.2.weight",
                vec![PROJECTION_DIM, PROJECTION_HIDDEN],
            ),
            ("projection.2.bias", vec![PROJECTION_DIM]),
        ]
    }

    /// Draws the weights of an untrained head from a seed: uniform within `1 / sqrt(inputs)`, as
    /// PyTorch's `Linear` does, biases too.
    ///
    /// # Errors
    ///
    /// When memory cannot be had.
    pub fn untrained_weights(hidden: usize, seed: u64) -> Result<BTreeMap<String, Tensor>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut weights = BTreeMap::new();
        let mut bound = 1.0;
        for (name, shape) in Self::shapes(hidden) {
            if let [_, inputs] = shape[..] {
                bound = (1.0 / inputs.max(1) as f32).sqrt();
            }
            let values: Vec<f32> = Uniform::new(-bound, bound)
                .expect("the bound is finite and positive")
                .sample_iter(&mut rng)
                .take(shape.iter().product())
                .collect();
            weights.insert(
                name.to_owned(),
                Tensor::from_vec(values, shape, &Device::Cpu)?,
            );
        }
        Ok(weights)
    }

    /// Builds the head from weights named as [`ProjectionHead::untrained_weights`] names them.
    ///
    /// # Errors
    ///
    /// When a weight is missing or has another shape.
    pub fn new(hidden: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let [first, first_bias, second, second_bias] =
            Self::shapes(hidden).map(|(name, shape)| vb.get(shape, name));
        Ok(Self {
            layers: [(first?, first_bias?), (second?, second_bias?)],
        })
    }

    /// Embeddings `[batch, hidden]` to projections `[batch, 128]`, not normalised.
    ///
    /// # Errors
    ///
    /// When the embeddings have another width, or the device fails.
    pub fn forward(&self, embeddings: &Tensor) -> Result<Tensor> {
        let [(first, first_bias), (second, second_bias)] = &self.layers;
        let hidden = kernels::linear(embeddings, first, first_bias)?;
        // candle's ReLU makes 0 of NaN, and a broken encoder would have a fine loss.
        let positive = hidden.gt(0.0)?.to_dtype(hidden.dtype())?;
        let hidden = (hidden * positive)?;
        kernels::linear(&hidden, second, second_bias)
    }
}
