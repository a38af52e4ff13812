//! How work is divided among threads.
//!
//! Blocks depend on sizes alone, never on the number of threads, and partial sums are added in
//! the order of their blocks: so a result has the same bits however many threads there are and
//! however they take turns.

use rayon::prelude::*;

use super::matrix::{Held, Matrix, MatrixMut, multiply};

/// Rows of a block: enough for a product to be worth its set-up, few enough for a block's scratch
/// to stay in a core's cache and for a single window to keep several threads busy.
const ROWS: usize = 96;

/// Rows that a product computes at once.
const TILE: usize = 8;

/// Largest side of a block of a weight's gradient.
const WEIGHT_ROWS: usize = 96;
const WEIGHT_COLUMNS: usize = 192;

/// Height of the blocks that `rows` rows are divided into, near [`ROWS`], nearly equal
/// and whole tiles.
pub(super) fn height(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(ROWS).max(1))
        .next_multiple_of(TILE)
        .max(1)
}

/// Sums over rows that the blocks of rows form each for themselves.
pub(super) struct Partials {
    sums: Vec<f32>,
    width: usize,
}

impl Partials {
    /// Room for `width` sums a block, for `rows` rows in blocks of [`height`].
    pub(super) fn new(rows: usize, width: usize) -> Self {
        Self {
            sums: vec![0.0; rows.div_ceil(height(rows)) * width],
            width,
        }
    }

    /// The sums of each block, zero at first.
    pub(super) fn blocks(&mut self) -> impl IndexedParallelIterator<Item = &mut [f32]> {
        self.sums.par_chunks_mut(self.width)
    }

    /// The sums over all blocks.
    pub(super) fn total(self) -> Vec<f32> {
        let mut total = vec![0.0; self.width];
        for block in self.sums.chunks_exact(self.width) {
            for (total, sum) in total.iter_mut().zip(block) {
                *total += sum;
            }
        }
        total
    }
}

/// A linear layer's weight gradient: `weight = gradient^T input`, summed over all rows.
pub(super) struct WeightGradient<'a> {
    /// `[outputs, inputs]`, written over.
    pub(super) weight: &'a mut [f32],
    /// `[rows, outputs]`.
    pub(super) gradient: Matrix<'a>,
    /// `[rows, inputs]`.
    pub(super) input: Matrix<'a>,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

/// Computes weight gradients block by block; each block's sum over all rows is formed in one go.
pub(super) fn weight_gradients<'a>(layers: impl IntoIterator<Item = WeightGradient<'a>>) {
    let mut blocks = Vec::new();
    for layer in layers {
        let rows = MatrixMut::new(layer.weight, layer.inputs).split_rows(WEIGHT_ROWS);
        for (row, part) in (0..layer.outputs).step_by(WEIGHT_ROWS).zip(rows) {
            let gradient = layer.gradient.columns(row, part.rows());
            let columns = part.split_columns(WEIGHT_COLUMNS);
            for (column, block) in (0..layer.inputs).step_by(WEIGHT_COLUMNS).zip(columns) {
                let input = layer.input.columns(column, block.width());
                blocks.push((block, gradient, input));
            }
        }
    }
    blocks
        .into_par_iter()
        .with_max_len(1)
        .for_each(|(mut block, gradient, input)| {
            multiply(&mut block, Held::Replaced, gradient.t(), input);
        });
}
