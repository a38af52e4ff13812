//! The parts of a transformer block inside one flat slice of weights, or of their gradients.

use rayon::prelude::*;

use super::{
    blocks::WeightGradient,
    buffers::{Buffers, Pools},
    element::Element,
    matrix::{Matrix, MatrixMut},
    panels::{Panels, product},
    sink::{Activated, Added, Rounded, Sink},
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

    /// Whether all rows that are multiplied are whole cells.
    pub(super) fn whole_cells<T: Element>(&self) -> bool {
        let rows = [self.hidden, self.head(), self.intermediate];
        rows.iter().all(|row| row % T::DEPTH == 0)
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

impl Affine<&[f32]> {
    /// The layer, of so many inputs, in order for forward passes.
    pub(super) fn forward<T: Element>(&self, inputs: usize, pools: &Pools<T>) -> Forward<T> {
        let weight = T::rounded(self.weight);
        Forward {
            panels: Panels::transposed(Matrix::new(&weight, inputs), &pools.cells),
            bias: self.bias.to_vec(),
        }
    }

    /// The layer, of so many inputs, in order for gradients: those of its outputs times these panels are
    /// those of its inputs, `gradient weight`.
    pub(super) fn backward(&self, inputs: usize, buffers: &Buffers) -> Panels<f32> {
        Panels::of(Matrix::new(self.weight, inputs), buffers)
    }
}

/// A linear layer from inputs to outputs.
pub(super) struct Forward<T: Element> {
    panels: Panels<T>,
    bias: Vec<f32>,
}

impl<T: Element> Forward<T> {
    /// Values of a row that it gives.
    pub(super) fn outputs(&self) -> usize {
        self.panels.columns()
    }

    /// `out = input weight^T + bias` for a block of whole rows.
    pub(super) fn write(&self, input: &[T], out: &mut [T]) {
        let out = MatrixMut::new(out, self.panels.columns());
        self.product(
            input,
            Rounded {
                out,
                bias: &self.bias,
            },
        );
    }

    /// `out += input weight^T + bias` for a block of whole rows.
    pub(super) fn add(&self, input: &[T], out: &mut [f32]) {
        let out = MatrixMut::new(out, self.panels.columns());
        self.product(
            input,
            Added {
                out,
                bias: &self.bias,
            },
        );
    }

    /// `out = gelu(input weight^T + bias)` for a block of whole rows.
    pub(super) fn activate(&self, input: &[T], out: &mut [T]) {
        let out = MatrixMut::new(out, self.panels.columns());
        self.product(
            input,
            Activated {
                out,
                bias: &self.bias,
            },
        );
    }

    fn product(&self, input: &[T], sink: impl Sink<T>) {
        product(Matrix::new(input, self.panels.inner()), &self.panels, sink);
    }
}

/// A block's weights in order for forward passes.
pub(super) struct Ready<T: Element> {
    pub(super) norm_before: Affine<Vec<f32>>,
    pub(super) qkv: Forward<T>,
    pub(super) output: Forward<T>,
    pub(super) norm_after: Affine<Vec<f32>>,
    /// The MLP in strips of its hidden layer, which are computed one after the other: both layers of a
    /// strip. The bias of the second layer is in the first strip.
    pub(super) mlp: Vec<[Forward<T>; 2]>,
}

impl<T: Element> Ready<T> {
    /// Puts the weights in order, on all threads; `strip` is how much of the MLP's hidden layer is
    /// computed at a time.
    pub(super) fn new(
        shape: &StackShape,
        layer: &Layer<&[f32]>,
        strip: usize,
        pools: &Pools<T>,
    ) -> Self {
        let (hidden, wide) = (shape.hidden, shape.intermediate);
        let (mlp, (qkv, output)) = rayon::join(
            || {
                let strips = (0..wide).into_par_iter().step_by(strip).map(|first| {
                    let count = strip.min(wide - first);
                    let fc1 = Affine {
                        weight: &layer.fc1.weight[first * hidden..][..count * hidden],
                        bias: &layer.fc1.bias[first..][..count],
                    };
                    let columns = Matrix::new(layer.fc2.weight, wide).columns(first, count);
                    let second: Vec<f32> = (0..hidden)
                        .flat_map(|row| columns.row(row))
                        .copied()
                        .collect();
                    let fc2 = Affine {
                        weight: &second[..],
                        bias: if first == 0 { layer.fc2.bias } else { &[] },
                    };
                    [fc1.forward(hidden, pools), fc2.forward(count, pools)]
                });
                strips.collect()
            },
            || {
                rayon::join(
                    || layer.qkv.forward(hidden, pools),
                    || layer.output.forward(hidden, pools),
                )
            },
        );
        Self {
            norm_before: layer.norm_before.to_owned(),
            qkv,
            output,
            norm_after: layer.norm_after.to_owned(),
            mlp,
        }
    }
}

impl Affine<Vec<f32>> {
    /// Weight and bias.
    pub(super) fn slices(&self) -> [&[f32]; 2] {
        [&self.weight, &self.bias]
    }
}

impl Affine<&[f32]> {
    /// The same, held.
    pub(super) fn to_owned(&self) -> Affine<Vec<f32>> {
        Affine {
            weight: self.weight.to_vec(),
            bias: self.bias.to_vec(),
        }
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
