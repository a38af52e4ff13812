//! Weights of an untrained encoder, from a seed.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};

use super::{AstConfig, ModelError, checkpoint::weight_shapes};

/// Draws the weights of an untrained encoder. The same seed gives the same weights everywhere:
/// candle cannot seed its own generator on a CPU, so they come from ChaCha8, weight by weight in
/// the order of their names.
///
/// The scheme is the Vision Transformer's (Dosovitskiy et al. 2021, arXiv:2010.11929, reference
/// implementation): Xavier-uniform matrices, LeCun-normal patch projection, position embeddings
/// with a deviation of 0.02, tokens and biases zero, norms one.
///
/// # Errors
///
/// [`ModelError::Config`] for settings that no encoder can have.
pub fn untrained_weights(
    config: &AstConfig,
    seed: u64,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    config.validate()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = BTreeMap::new();
    for (name, shape) in weight_shapes(config) {
        let count = shape.iter().product();
        let values = draw(&name, &shape, count, &mut rng);
        weights.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
    }
    Ok(weights)
}

fn draw(name: &str, shape: &[usize], count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut normal = |deviation: f32| {
        let distribution =
            Normal::new(0.0, deviation).expect("deviations here are finite and positive");
        distribution.sample_iter(&mut *rng).take(count).collect()
    };
    if name.ends_with("position_embeddings") {
        return normal(0.02);
    }
    if name.ends_with("projection.weight") {
        let fan_in: usize = shape[1..].iter().product();
        return normal((1.0 / fan_in as f32).sqrt());
    }
    match shape {
        [rows, columns] => {
            let bound = (6.0 / (rows + columns) as f32).sqrt();
            let distribution =
                Uniform::new(-bound, bound).expect("the bound is finite and positive");
            distribution.sample_iter(rng).take(count).collect()
        }
        _ if name.contains("layernorm") && name.ends_with("weight") => vec![1.0; count],
        _ => vec![0.0; count],
    }
}
