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

pub(super) use byte::Byte;

use self::{attention::Between, linear::Right};
use super::{
    buffers::Pools,
    layer::{Affine, Layer, StackShape},
    prepared::Block,
};

/// What stands for 0 on the left side.
const MIDDLE: f32 = 128.0;

/// The largest whole number, counted from [`MIDDLE`] on the left side, from zero on the right.
const MOST: f32 = 127.0;

/// Most products of a sum: as many as 32 bits hold whatever the bytes are.
const TERMS: usize = (i32::MAX / (255 * 127)) as usize;

/// Whether the sums of a stack's linear layers fit; for those of attention see [`attends`].
pub(super) fn fits(shape: &StackShape) -> bool {
    shape.hidden.max(shape.intermediate) <= TERMS
}

/// Whether attention over so many tokens has sums that fit.
pub(super) fn attends(tokens: usize) -> bool {
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

impl Block for Ready {
    type Element = Byte;
    type Between = Between;

    fn ready(shape: &StackShape, layer: &Layer<&[f32]>, pools: &Pools<Byte>) -> Self {
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

    fn between(shape: &StackShape, tokens: usize, pools: &Pools<Byte>) -> Between {
        Between::new(shape, tokens, pools)
    }

    fn forward(
        &self,
        shape: &StackShape,
        read: usize,
        pools: &Pools<Byte>,
        x: &mut [f32],
        between: &mut Between,
    ) {
        attention::forward(shape, self, read, pools, x, between);
        mlp::forward(shape, self, pools, &mut x[..read * shape.hidden]);
    }
}
