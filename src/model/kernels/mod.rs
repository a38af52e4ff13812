//! The encoder's arithmetic on a CPU, with its gradients.
//!
//! candle's own operations each allocate their result, and its backward pass allocates and adds
//! once more for each; its fused softmax and layer norm have no backward pass and cut the gradient
//! without a word. The operations here compute what the encoder does a good part at a time, in
//! f32, for serving and for training alike. Each has a twin in [`plain`], made of candle's
//! differentiable operations: the one that other devices and types run, and the one that tests
//! compare with.

mod attention;
mod blocks;
mod buffers;
mod bytes;
mod element;
mod embed;
mod layer;
mod linear;
mod matrix;
mod mlp;
mod norm;
mod panels;
pub(in crate::model) mod plain;
mod pool;
mod prepared;
mod rounded;
mod rows;
mod simd;
mod sink;
mod stack;
mod storage;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};

pub(in crate::model) use buffers::Buffers;
use bytes::Byte;
use element::Bf16;
pub(in crate::model) use layer::StackShape;
use prepared::Encode;
pub(in crate::model) use prepared::Prepared;
pub(in crate::model) use storage::fits;

/// `x weight^T + bias` for `x` `[.., inputs]`, weight `[outputs, inputs]` and bias `[outputs]`.
///
/// # Errors
///
/// When the shapes do not fit.
pub(in crate::model) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if fits(x) {
        x.contiguous()?.apply_op3(weight, bias, linear::Linear)
    } else {
        plain::linear(x, weight, Some(bias))
    }
}

/// Layer norm over the last dimension, with weight and bias of that size.
///
/// # Errors
///
/// When the shapes do not fit.
pub(in crate::model) fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f32,
) -> Result<Tensor> {
    if fits(x) {
        x.apply_op3(weight, bias, norm::LayerNorm { epsilon })
    } else {
        plain::layer_norm(x, weight, bias, epsilon)
    }
}

/// Mean over the tokens in a range: `[windows, tokens, hidden]` to `[windows, hidden]`.
///
/// # Errors
///
/// When there are no such tokens.
pub(in crate::model) fn mean_tokens(x: &Tensor, tokens: Range<usize>) -> Result<Tensor> {
    if fits(x) {
        x.apply_op1(pool::MeanTokens { tokens })
    } else {
        x.narrow(1, tokens.start, tokens.len())?.mean(1)
    }
}

/// Cuts square patches out of `[windows, frames, mel_bins]`: `[windows, patches, size * size]`,
/// for every first mel bin in `mel`, every first frame in `time`.
///
/// # Errors
///
/// When a patch lies outside.
pub(in crate::model) fn patches(
    windows: &Tensor,
    mel: Vec<usize>,
    time: Vec<usize>,
    size: usize,
) -> Result<Tensor> {
    if fits(windows) {
        windows
            .contiguous()?
            .apply_op1(embed::Patches { mel, time, size })
    } else {
        plain::patches(windows, &mel, &time, size)
    }
}

/// Projects patches by `[hidden, inputs]` and adds `table`, whose rows beyond the patches become
/// the first tokens: `[windows, patches, inputs]` to `[windows, table rows, hidden]`.
///
/// # Errors
///
/// When the shapes do not fit.
pub(in crate::model) fn embed(patches: &Tensor, weight: &Tensor, table: &Tensor) -> Result<Tensor> {
    if fits(patches) {
        patches.apply_op3(weight, table, embed::Embed)
    } else {
        plain::embed(patches, weight, table)
    }
}

/// Runs tokens `[windows, tokens, hidden]` through a stack of blocks whose weights are packed in
/// the order of `Layer::in_order` in [`super::ast`]. CPU and f32 only, see [`fits`].
///
/// # Errors
///
/// When the shapes do not fit.
pub(in crate::model) fn stack(
    x: &Tensor,
    packed: &Tensor,
    shape: StackShape,
    buffers: Buffers,
) -> Result<Tensor> {
    let differentiable = x.track_op() || packed.track_op();
    x.apply_op2(packed, stack::Stack::new(shape, buffers, differentiable))
}

/// Whether [`prepare`] takes a stack whose products are of a type: f32, and bf16 or u8 where the
/// machine multiplies it and all rows are whole cells of two or four.
pub(in crate::model) fn take(products: DType, shape: &StackShape) -> bool {
    match products {
        DType::F32 => true,
        DType::BF16 => multiplies_bf16() && shape.whole_cells::<Bf16>(),
        DType::U8 => multiplies_bytes() && shape.whole_cells::<Byte>() && bytes::fits(shape),
        _ => false,
    }
}

/// Whether this machine multiplies bytes.
pub(in crate::model) fn multiplies_bytes() -> bool {
    Byte::available()
}

/// Whether this machine multiplies bf16.
pub(in crate::model) fn multiplies_bf16() -> bool {
    Bf16::available()
}

/// Puts the weights of a stack, packed as [`stack`] takes them, in order for [`encode`], which multiplies
/// in the type that is given.
///
/// # Errors
///
/// When the kernels do not [`take`] that type, or the weights do not fit the shape.
pub(in crate::model) fn prepare(
    packed: &Tensor,
    products: DType,
    shape: StackShape,
) -> Result<Prepared> {
    let packed = storage::values(packed)?;
    if !take(products, &shape) || packed.len() != shape.layers * shape.layer_len() {
        bail!("the weights do not fit the stack {shape:?} in {products:?}");
    }
    Ok(Prepared::new(shape, &packed, products))
}

/// [`stack`] with weights that are fixed, for each window's first `read` tokens: `[windows, read, hidden]`. The
/// last block is computed for no others.
///
/// # Errors
///
/// When the shapes do not fit, or `x` is to have a gradient.
pub(in crate::model) fn encode(x: &Tensor, stack: &Prepared, read: usize) -> Result<Tensor> {
    if x.track_op() {
        bail!("a stack of fixed weights gives no gradients");
    }
    x.apply_op1_no_bwd(&Encode { stack, read })
}
