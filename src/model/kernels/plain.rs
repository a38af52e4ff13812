//! The same arithmetic in candle's own differentiable operations, for any device and type.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops;

/// Twin of [`super::linear`]; without a bias too.
pub(in crate::model) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    let product = x.reshape(((), inputs))?.matmul(&weight.t()?)?;
    let product = match bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    };
    dims.pop();
    dims.push(outputs);
    product.reshape(dims)
}

/// Twin of [`super::layer_norm`]. candle's fused one, which cuts the gradient, only where nobody
/// asks for a gradient (it does not take f64).
pub(in crate::model) fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f32,
) -> Result<Tensor> {
    let differentiable = x.track_op() || weight.track_op() || bias.track_op();
    if differentiable || x.dtype() == DType::F64 {
        ops::layer_norm_slow(x, weight, bias, epsilon)
    } else {
        ops::layer_norm(&x.contiguous()?, weight, bias, epsilon)
    }
}

/// Softmax over the last dimension; candle's fused one under the same condition. Its sums are f32
/// for every type on CUDA (`SOFTMAX_OP` in candle-kernels' `reduce.cu`), but of the type itself on
/// a CPU.
fn softmax(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() && matches!(x.dtype(), DType::F16 | DType::BF16) {
        return softmax(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype());
    }
    if x.track_op() {
        ops::softmax(x, D::Minus1)
    } else {
        ops::softmax_last_dim(x)
    }
}

/// What the heads read: queries, keys and values `[windows, tokens, hidden]` to a context of the
/// same shape.
pub(in crate::model) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
) -> Result<Tensor> {
    let (windows, tokens, hidden) = q.dims3()?;
    let head = hidden / heads;
    let split = |x: &Tensor| {
        x.reshape((windows, tokens, heads, head))?
            .transpose(1, 2)?
            .contiguous()
    };
    // Scaling the queries instead of the scores touches `head / tokens` as many values.
    let q = (split(q)? * (head as f64).powf(-0.5))?;
    softmax(&q.matmul(&split(k)?.t()?)?)?
        .matmul(&split(v)?)?
        .transpose(1, 2)?
        .reshape((windows, tokens, hidden))
}

/// Twin of [`super::patches`].
pub(in crate::model) fn patches(
    windows: &Tensor,
    mel: &[usize],
    time: &[usize],
    size: usize,
) -> Result<Tensor> {
    let count = windows.dim(0)?;
    let positions = |firsts: &[usize]| {
        let positions: Vec<u32> = firsts
            .iter()
            .flat_map(|first| (0..size).map(move |offset| (first + offset) as u32))
            .collect();
        Tensor::new(positions, windows.device())
    };
    windows
        .index_select(&positions(time)?, 1)?
        .index_select(&positions(mel)?, 2)?
        .reshape((count, time.len(), size, mel.len(), size))?
        .permute((0, 3, 1, 4, 2))?
        .reshape((count, mel.len() * time.len(), size * size))
}

/// Twin of [`super::embed`].
pub(in crate::model) fn embed(patches: &Tensor, weight: &Tensor, table: &Tensor) -> Result<Tensor> {
    let (windows, count, _) = patches.dims3()?;
    let (tokens, hidden) = table.dims2()?;
    let extra = table.narrow(0, 0, tokens - count)?;
    let extra = extra
        .unsqueeze(0)?
        .broadcast_as((windows, tokens - count, hidden))?;
    let projected =
        linear(patches, weight, None)?.broadcast_add(&table.narrow(0, tokens - count, count)?)?;
    Tensor::cat(&[&extra, &projected], 1)
}
