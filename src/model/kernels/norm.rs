//! Layer norm: as a part of other kernels and as an operation of its own.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    blocks::{Partials, height},
    buffers::{Buffer, Buffers},
    layer::Affine,
    rounded::layer_norm,
    rows,
    storage::{slice, values},
};

/// Rows brought to mean 0 and variance 1, and what each was multiplied with.
pub(super) struct Standard {
    values: Buffer,
    inverse: Buffer,
    columns: usize,
}

/// A block of rows of a [`Standard`].
pub(super) struct StandardBlock<'a> {
    values: &'a mut [f32],
    inverse: &'a mut [f32],
}

impl Standard {
    pub(super) fn new(rows: usize, columns: usize, buffers: &Buffers) -> Self {
        Self {
            values: buffers.take(rows * columns),
            inverse: buffers.take(rows),
            columns,
        }
    }

    /// Blocks of `height` rows.
    pub(super) fn blocks(
        &mut self,
        height: usize,
    ) -> impl IndexedParallelIterator<Item = StandardBlock<'_>> {
        self.values
            .par_chunks_mut(height * self.columns)
            .zip(self.inverse.par_chunks_mut(height))
            .map(|(values, inverse)| StandardBlock { values, inverse })
    }

    /// The norm's output, there once [`StandardBlock::norm_gradient`] has run over all blocks.
    pub(super) fn normed(&self) -> &[f32] {
        &self.values
    }
}

impl StandardBlock<'_> {
    /// The norm of `x` into `out`.
    pub(super) fn norm(
        &mut self,
        x: &[f32],
        epsilon: f32,
        norm: &Affine<Vec<f32>>,
        out: &mut [f32],
    ) {
        rows::standardise(x, self.values, self.inverse, epsilon);
        rows::scale_and_shift(self.values, &norm.weight, &norm.bias, out);
    }

    /// Adds the gradient of the norm's input to `input`, and those of weight and bias to the two
    /// halves of `sums`, from `gradient`, that of its output. The standardised rows end as the
    /// norm's output, which the next layer's weight gradient is made of.
    pub(super) fn norm_gradient(
        &mut self,
        norm: &Affine<&[f32]>,
        gradient: &[f32],
        input: &mut [f32],
        sums: &mut [f32],
    ) {
        let (weight_sum, bias_sum) = sums.split_at_mut(norm.weight.len());
        rows::layer_norm_gradient(
            self.values,
            self.inverse,
            norm.weight,
            gradient,
            input,
            weight_sum,
            bias_sum,
        );
        rows::scale_and_shift_in_place(self.values, norm.weight, norm.bias);
    }
}

impl Affine<&mut [f32]> {
    /// Writes the two halves of what [`StandardBlock::norm_gradient`] summed up.
    pub(super) fn set(&mut self, sums: &[f32]) {
        let (weight, bias) = sums.split_at(self.weight.len());
        self.weight.copy_from_slice(weight);
        self.bias.copy_from_slice(bias);
    }
}

/// The operation, on `x` `[.., columns]`, weight and bias `[columns]`.
pub(super) struct LayerNorm {
    pub(super) epsilon: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, x_layout)?;
        let norm = Affine {
            weight: slice(weight, weight_layout)?,
            bias: slice(bias, bias_layout)?,
        };
        let columns = norm.weight.len();
        let mut out = vec![0.0; x.len()];
        let block = height(x.len() / columns);
        x.par_chunks(block * columns)
            .zip(out.par_chunks_mut(block * columns))
            .for_each(|(x, out)| layer_norm(x, [norm.weight, norm.bias], self.epsilon, out));
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (x_values, gradient) = (values(x)?, values(&gradient)?);
        let (weight, bias) = (values(weight)?, values(bias)?);
        let norm = Affine {
            weight: &*weight,
            bias: &*bias,
        };
        let columns = norm.weight.len();
        let count = x_values.len() / columns;
        let block = height(count);
        let mut standard = Standard::new(count, columns, &Buffers::default());
        let mut sums = Partials::new(count, 2 * columns);
        let mut input = vec![0.0; x_values.len()];
        x_values
            .par_chunks(block * columns)
            .zip(gradient.par_chunks(block * columns))
            .zip(input.par_chunks_mut(block * columns))
            .zip(standard.blocks(block))
            .zip(sums.blocks())
            .for_each(|((((x, gradient), input), mut standard), sums)| {
                rows::standardise(x, standard.values, standard.inverse, self.epsilon);
                standard.norm_gradient(&norm, gradient, input, sums);
            });
        let sums = sums.total();
        let (weight, bias) = sums.split_at(columns);
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(input, x.shape(), device)?),
            Some(Tensor::from_slice(weight, columns, device)?),
            Some(Tensor::from_slice(bias, columns, device)?),
        ))
    }
}
