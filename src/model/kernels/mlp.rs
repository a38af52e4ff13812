//! The MLP half of a transformer block, `x + fc2(gelu(fc1(norm(x))))`.

use rayon::prelude::*;

use super::{
    blocks::{Partials, WeightGradient, height, weight_gradients},
    buffers::{Buffer, Buffers, Pools},
    element::Element,
    layer::{Layer, Ready, StackShape},
    matrix::Held,
    norm::Standard,
    rounded::layer_norm,
    rows,
};

/// What the backward pass needs of the forward pass.
pub(super) struct Kept {
    standard: Standard,
    /// `[rows, intermediate]`: what goes into the GELU.
    wide: Buffer,
}

impl Kept {
    pub(super) fn new(shape: &StackShape, rows: usize, buffers: &Buffers) -> Self {
        Self {
            standard: Standard::new(rows, shape.hidden, buffers),
            wide: buffers.take(rows * shape.intermediate),
        }
    }
}

/// Computes the half in place on `x`, `[rows, hidden]`.
pub(super) fn forward<T: Element>(
    shape: &StackShape,
    layer: &Ready<T>,
    pools: &Pools<T>,
    x: &mut [f32],
) {
    let hidden = shape.hidden;
    let block = height(x.len() / hidden);
    let strip = layer.mlp.iter().map(|[fc1, _]| fc1.outputs()).max();
    x.par_chunks_mut(block * hidden).for_each_init(
        || {
            (
                pools.elements.take(block * hidden),
                pools.elements.take(block * strip.unwrap_or(0)),
            )
        },
        |(normed, activations), x| {
            let normed = &mut normed[..x.len()];
            let norm = &layer.norm_after;
            layer_norm(x, norm.slices(), shape.epsilon, normed);
            for [fc1, fc2] in &layer.mlp {
                let activations = &mut activations[..x.len() / hidden * fc1.outputs()];
                fc1.activate(normed, activations);
                fc2.add(activations, x);
            }
        },
    );
}

/// [`forward`], with the MLP in one strip, that keeps what [`backward`] needs.
pub(super) fn forward_kept(
    shape: &StackShape,
    layer: &Ready<f32>,
    buffers: &Buffers,
    x: &mut [f32],
    kept: &mut Kept,
) {
    let (hidden, wide) = (shape.hidden, shape.intermediate);
    let [[fc1, fc2]] = &layer.mlp[..] else {
        unreachable!("what is kept has whole rows");
    };
    let block = height(x.len() / hidden);
    x.par_chunks_mut(block * hidden)
        .zip(kept.standard.blocks(block))
        .zip(kept.wide.par_chunks_mut(block * wide))
        .for_each_init(
            || (buffers.take(block * hidden), buffers.take(block * wide)),
            |(normed, activations), ((x, mut standard), kept)| {
                let normed = &mut normed[..x.len()];
                let activations = &mut activations[..kept.len()];
                standard.norm(x, shape.epsilon, &layer.norm_after, normed);
                fc1.write(normed, kept);
                rows::gelu(kept, activations);
                fc2.add(activations, x);
            },
        );
}

/// Buffer of the backward pass, used by one layer after another.
pub(super) struct Scratch {
    wide: Buffer,
    buffers: Buffers,
}

impl Scratch {
    pub(super) fn new(shape: &StackShape, rows: usize, buffers: &Buffers) -> Self {
        Self {
            wide: buffers.take(rows * shape.intermediate),
            buffers: buffers.clone(),
        }
    }
}

/// Turns `gradient`, that of the half's output, into that of its input, and writes those of its weights.
pub(super) fn backward(
    shape: &StackShape,
    layer: &Layer<&[f32]>,
    mut kept: Kept,
    scratch: &mut Scratch,
    gradient: &mut [f32],
    weights: &mut Layer<&mut [f32]>,
) {
    let (hidden, wide) = (shape.hidden, shape.intermediate);
    let (fc1, fc2) = rayon::join(
        || layer.fc1.backward(hidden, &scratch.buffers),
        || layer.fc2.backward(wide, &scratch.buffers),
    );
    let count = gradient.len() / hidden;
    let block = height(count);

    // The GELU's output takes the place of its input.
    let mut biases = Partials::new(count, hidden + wide);
    gradient
        .par_chunks(block * hidden)
        .zip(kept.wide.par_chunks_mut(block * wide))
        .zip(scratch.wide.par_chunks_mut(block * wide))
        .zip(biases.blocks())
        .for_each(|(((gradient, activations), wide_gradient), sums)| {
            let (narrow, wide) = sums.split_at_mut(hidden);
            rows::add_columns(gradient, narrow);
            fc2.multiply(gradient, wide_gradient, Held::Replaced);
            rows::gelu_gradient(activations, wide_gradient);
            rows::add_columns(wide_gradient, wide);
        });
    let biases = biases.total();
    let (narrow_sums, wide_sums) = biases.split_at(hidden);
    weights.fc2.bias.copy_from_slice(narrow_sums);
    weights.fc1.bias.copy_from_slice(wide_sums);
    weight_gradients([WeightGradient::of(
        weights.fc2.weight,
        (gradient, hidden),
        (&kept.wide, wide),
    )]);

    let mut norm = Partials::new(count, 2 * hidden);
    gradient
        .par_chunks_mut(block * hidden)
        .zip(scratch.wide.par_chunks(block * wide))
        .zip(kept.standard.blocks(block))
        .zip(norm.blocks())
        .for_each_init(
            || vec![0.0; block * hidden],
            |normed, (((gradient, wide_gradient), mut standard), norm)| {
                let normed = &mut normed[..gradient.len()];
                fc1.multiply(wide_gradient, normed, Held::Replaced);
                standard.norm_gradient(&layer.norm_after, normed, gradient, norm);
            },
        );
    weights.norm_after.set(&norm.total());
    weight_gradients([WeightGradient::of(
        weights.fc1.weight,
        (&scratch.wide, wide),
        (kept.standard.normed(), hidden),
    )]);
}
