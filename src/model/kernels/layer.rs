//! The parts of a transformer block inside one flat slice of weights, or of their gradients.

use super::{
    blocks::WeightGradient,
    buffers::Buffers,
    matrix::{Held, Matrix},
    panels::Panels,
    rows,
};

/// Sizes of a stack of pre-norm transformer blocks.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct StackShape {
    /// Blocks.
    pub(in crate::model) layers: usize,
    /// Width of a token.
    pub(in crate::model) hidden: usize,
    /// Attention heads; divides `hidden`.
    pub(in crate::model) heads: usize,
    /// Width of the MLP's hidden layer.
    pub(in crate::model) intermediate: usize,
    /// Whether query, key and value projections have a bias.
    pub(in crate::model) qkv_bias: bool,
    /// Epsilon of the norms.
    pub(in crate::model) epsilon: f32,
}

impl StackShape {
    /// Width of a head.
    pub(super) fn head(&self) -> usize {
        self.hidden / self.heads
    }

    /// Weights of one block.
    pub(super) fn layer_len(&self) -> usize {
        let mut len = 0;
        Layer::carve(self, |part| len += part);
        len
    }
}

/// Weight and bias of a linear layer, `[outputs, inputs]` and `[outputs]` (or empty), or of a norm.
pub(super) struct Affine<T> {
    pub(super) weight: T,
    pub(super) bias: T,
}

/// Weights, or gradients, of one block.
pub(super) struct Layer<T> {
    pub(super) norm_before: Affine<T>,
    /// Query, key and value projections under each other, `[3 hidden, hidden]`.
    pub(super) qkv: Affine<T>,
    pub(super) output: Affine<T>,
    pub(super) norm_after: Affine<T>,
    pub(super) fc1: Affine<T>,
    pub(super) fc2: Affine<T>,
}

impl<T> Layer<T> {
    /// Takes the parts by their lengths, in the order in which they are packed.
    fn carve(shape: &StackShape, mut take: impl FnMut(usize) -> T) -> Self {
        let (hidden, wide) = (shape.hidden, shape.intermediate);
        let qkv_bias = if shape.qkv_bias { 3 * hidden } else { 0 };
        let mut affine = |weight, bias| Affine {
            weight: take(weight),
            bias: take(bias),
        };
        Self {
            norm_before: affine(hidden, hidden),
            qkv: affine(3 * hidden * hidden, qkv_bias),
            output: affine(hidden * hidden, hidden),
            norm_after: affine(hidden, hidden),
            fc1: affine(wide * hidden, wide),
            fc2: affine(hidden * wide, hidden),
        }
    }
}

impl<'a> Layer<&'a [f32]> {
    /// The parts of one block's packed weights.
    pub(super) fn of(shape: &StackShape, mut packed: &'a [f32]) -> Self {
        Self::carve(shape, |len| {
            let (part, rest) = packed.split_at(len);
            packed = rest;
            part
        })
    }
}

impl<'a> Layer<&'a mut [f32]> {
    /// The parts of one block's packed gradients.
    pub(super) fn of_mut(shape: &StackShape, mut packed: &'a mut [f32]) -> Self {
        Self::carve(shape, |len| {
            let (part, rest) = std::mem::take(&mut packed).split_at_mut(len);
            packed = rest;
            part
        })
    }
}

impl<'a> Affine<&'a [f32]> {
    /// The layer, of so many inputs, in order for [`Forward::apply`].
    pub(super) fn forward(&self, inputs: usize, buffers: &Buffers) -> Forward<'a> {
        Forward {
            panels: Panels::transposed(Matrix::new(self.weight, inputs), buffers),
            bias: self.bias,
        }
    }

    /// The layer, of so many inputs, in order for gradients: those of its outputs times these panels are
    /// those of its inputs, `gradient weight`.
    pub(super) fn backward(&self, inputs: usize, buffers: &Buffers) -> Panels {
        Panels::of(Matrix::new(self.weight, inputs), buffers)
    }
}

/// A linear layer from inputs to outputs.
pub(super) struct Forward<'a> {
    panels: Panels,
    bias: &'a [f32],
}

impl Forward<'_> {
    /// `out = input weight^T + bias` for a block of rows; added to what `out` holds if it is kept.
    pub(super) fn apply(&self, input: &[f32], out: &mut [f32], held: Held) {
        let held = match (self.bias.is_empty(), held) {
            (true, held) => held,
            (false, Held::Replaced) => {
                rows::fill(out, self.bias);
                Held::Kept
            }
            (false, Held::Kept) => {
                rows::add(out, self.bias);
                Held::Kept
            }
        };
        self.panels.multiply(input, out, held);
    }
}

impl<'a> WeightGradient<'a> {
    /// For whole matrices of `outputs` and `inputs` columns.
    pub(super) fn of(
        weight: &'a mut [f32],
        (gradient, outputs): (&'a [f32], usize),
        (input, inputs): (&'a [f32], usize),
    ) -> Self {
        Self {
            weight,
            gradient: Matrix::new(gradient, outputs),
            input: Matrix::new(input, inputs),
            outputs,
            inputs,
        }
    }
}
