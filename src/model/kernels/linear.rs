//! A linear layer as an operation of its own.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{
    blocks::{Partials, WeightGradient, height, weight_gradients},
    buffers::{Buffers, Pools},
    layer::Affine,
    matrix::Held,
    rows,
    storage::{slice, values},
};

/// `x weight^T + bias` for `x` `[.., inputs]`, weight `[outputs, inputs]`, bias `[outputs]`.
pub(super) struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let (outputs, inputs) = weight_layout.shape().dims2()?;
        let mut dims = x_layout.dims().to_vec();
        if dims.last() != Some(&inputs) || bias_layout.dims() != [outputs] {
            bail!("a layer of {inputs} inputs and {outputs} outputs does not take {dims:?}");
        }
        dims.pop();
        dims.push(outputs);
        let layer = Affine {
            weight: slice(weight, weight_layout)?,
            bias: slice(bias, bias_layout)?,
        };
        let count = x.len() / inputs;
        let block = height(count);
        let layer = layer.forward::<f32>(inputs, &Pools::default());
        let mut out = vec![0.0; count * outputs];
        x.par_chunks(block * inputs)
            .zip(out.par_chunks_mut(block * outputs))
            .for_each(|(x, out)| layer.write(x, out));
        Ok((CpuStorage::F32(out), dims.into()))
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
        let (outputs, inputs) = weight.dims2()?;
        let (x_values, gradient) = (values(x)?, values(&gradient)?);
        let (matrix, bias_values) = (values(weight)?, values(bias)?);
        let layer = Affine {
            weight: &*matrix,
            bias: &*bias_values,
        };
        let layer = layer.backward(inputs, &Buffers::default());
        let count = x_values.len() / inputs;
        let block = height(count);
        let mut input = vec![0.0; x_values.len()];
        let mut sums = Partials::new(count, outputs);
        input
            .par_chunks_mut(block * inputs)
            .zip(gradient.par_chunks(block * outputs))
            .zip(sums.blocks())
            .for_each(|((input, gradient), sums)| {
                rows::add_columns(gradient, sums);
                layer.multiply(gradient, input, Held::Replaced);
            });
        let mut weights = vec![0.0; outputs * inputs];
        weight_gradients([WeightGradient::of(
            &mut weights,
            (&gradient, outputs),
            (&x_values, inputs),
        )]);
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(input, x.shape(), device)?),
            Some(Tensor::from_vec(weights, weight.shape(), device)?),
            Some(Tensor::from_vec(sums.total(), bias.shape(), device)?),
        ))
    }
}
