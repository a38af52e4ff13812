//! Blocks whose products are of bytes.
//!
//! Rows of a product's left side are brought to whole numbers around [`MIDDLE`], columns of its right side to whole
//! numbers around zero, each by the largest value that it has itself. Their sums are whole and exact; everything between
//! two products is f32 (Dettmers et al. 2022, "LLM.int8()", arXiv:2208.07339, section 2.1: vector-wise quantisation; for
//! attention Zhang et al. 2024, "SageAttention", arXiv:2410.02367).

mod attention;
mod byte;
mod linear;
mod mlp;
mod rows;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod vectors;

use rayon::prelude::*;

pub(super) use byte::Byte;

use self::linear::Right;
use super::{
    buffers::Pools,
    layer::{Affine, Layer, StackShape},
};

/// What stands for 0 on the left side.
const MIDDLE: f32 = 128.0;

/// The largest whole number, counted from [`MIDDLE`] on the left side, from zero on the right.
const MOST: f32 = 127.0;

/// Most products of a sum: as many as 32 bits hold whatever the bytes are.
const TERMS: usize = (i32::MAX / (255 * 127)) as usize;

/// Whether all products of a stack are of whole cells and their sums fit; so those of attention have to, see [`fits`].
pub(super) fn take(shape: &StackShape) -> bool {
    let rows = [shape.hidden, shape.head(), shape.intermediate];
    Byte::available() && rows.iter().all(|row| row % 4 == 0 && *row <= TERMS)
}

/// Whether attention over so many tokens has sums that fit.
pub(super) fn fits(tokens: usize) -> bool {
    tokens <= TERMS
}

/// A block's weights in order for forward passes.
pub(super) struct Ready {
    norm_before: Affine<Vec<f32>>,
    query: Right,
    key: Right,
    value: Right,
    output: Right,
    norm_after: Affine<Vec<f32>>,
    fc1: Right,
    fc2: Right,
}

impl Ready {
    /// Puts the weights in order.
    pub(super) fn new(shape: &StackShape, layer: &Layer<&[f32]>, pools: &Pools<Byte>) -> Self {
        let (hidden, wide) = (shape.hidden, shape.intermediate);
        let linear = |weight: &[f32], bias: &[f32], inputs: usize| {
            Right::transposed(weight.chunks_exact(inputs), inputs, bias, pools)
        };
        let part = |part: usize| {
            let weight = &layer.qkv.weight[part * hidden * hidden..][..hidden * hidden];
            let bias = layer.qkv.bias.chunks_exact(hidden).nth(part);
            linear(weight, bias.unwrap_or_default(), hidden)
        };
        Self {
            norm_before: layer.norm_before.to_owned(),
            query: part(0),
            key: part(1),
            value: part(2),
            output: linear(layer.output.weight, layer.output.bias, hidden),
            norm_after: layer.norm_after.to_owned(),
            fc1: linear(layer.fc1.weight, layer.fc1.bias, hidden),
            fc2: linear(layer.fc2.weight, layer.fc2.bias, wide),
        }
    }
}

/// Runs `x`, `[windows, tokens, hidden]`, through the blocks; the last computes each window's first `read` tokens alone.
pub(super) fn forward(
    shape: &StackShape,
    blocks: &[Ready],
    pools: &Pools<Byte>,
    tokens: usize,
    read: usize,
    x: &mut [f32],
) {
    x.par_chunks_mut(tokens * shape.hidden)
        .with_max_len(1)
        .for_each(|x| {
            let mut between = attention::Between::new(shape, tokens, pools);
            let last = blocks.len().saturating_sub(1);
            for (number, block) in blocks.iter().enumerate() {
                let read = if number == last { read } else { tokens };
                attention::forward(shape, block, read, pools, x, &mut between);
                mlp::forward(shape, block, pools, &mut x[..read * shape.hidden]);
            }
        });
}
