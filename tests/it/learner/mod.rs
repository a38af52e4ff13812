//! Training's core: gradients, loss, optimiser, health, learner.

mod gradients;
mod health;
mod reference;
mod runs;
mod steps;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use songkin::model::{Ast, AstConfig, untrained_weights};

/// A small encoder that still has everything: 182 tokens, so more than one block of queries, and
/// sizes that no vector length divides.
fn tiny() -> AstConfig {
    AstConfig {
        hidden_size: 36,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 52,
        time_stride: 10,
        max_length: 164,
        ..AstConfig::default()
    }
}

/// Uniform numbers in [-1, 1).
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let values = numbers(shape.iter().product(), seed);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Untrained weights, shaken so that every part of the network shows in output and gradient:
/// biases, tokens and norms of an untrained encoder are zeros and ones.
fn shaken_weights(config: &AstConfig) -> BTreeMap<String, Tensor> {
    let weights = untrained_weights(config, 0).unwrap();
    weights
        .into_iter()
        .zip(1..)
        .map(|((name, weight), seed)| {
            let noise = (tensor(weight.dims(), seed) * 0.2).unwrap();
            let weight = (weight + noise).unwrap();
            (name, weight)
        })
        .collect()
}

/// The weights as variables of a type, and the encoder over them.
fn variables(
    config: &AstConfig,
    weights: &BTreeMap<String, Tensor>,
    dtype: DType,
) -> (BTreeMap<String, Var>, Ast) {
    let variables: BTreeMap<String, Var> = weights
        .iter()
        .map(|(name, weight)| {
            let weight = weight.to_dtype(dtype).unwrap();
            (name.clone(), Var::from_tensor(&weight).unwrap())
        })
        .collect();
    let tensors = variables
        .iter()
        .map(|(name, variable)| (name.clone(), variable.as_tensor().clone()))
        .collect();
    let vb = VarBuilder::from_tensors(tensors, dtype, &Device::Cpu);
    let ast = Ast::new(config, vb).unwrap();
    (variables, ast)
}

fn to_f64(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference, and the largest size of what is compared with.
fn difference(got: &Tensor, want: &Tensor) -> (f64, f64) {
    assert_eq!(got.dims(), want.dims());
    let (got, want) = (to_f64(got), to_f64(want));
    let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs());
    let size = want.iter().map(|value| value.abs());
    // `f64::max` would pass over NaN.
    let largest = |most: f64, value: f64| if value <= most { most } else { value };
    (worst.fold(0.0, largest), size.fold(0.0, largest))
}
