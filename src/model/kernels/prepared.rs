//! A stack of transformer blocks whose weights do not change, for serving.
//!
//! Windows go through the whole stack one by one, on as many threads as there are: what one needs
//! between two blocks stays in a core's cache, which that of a batch would not. A window that has
//! threads to itself is divided among them.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, bail};
use rayon::prelude::*;

use super::{
    attention,
    buffers::Pools,
    bytes::{self, Byte},
    element::{Bf16, Element},
    layer::{Layer, Ready, StackShape},
    mlp,
    storage::slice,
};

/// Most of the MLP's hidden layer that is computed at a time: what lies between its two layers
/// stays in a core's cache.
const STRIP: usize = 1024;

/// The weights of a stack, in order for forward passes, which have no gradients.
pub(in crate::model) struct Prepared {
    shape: StackShape,
    blocks: Blocks,
}

enum Blocks {
    F32(Vec<Ready<f32>>, Pools<f32>),
    Bf16(Vec<Ready<Bf16>>, Pools<Bf16>),
    Bytes(Vec<bytes::Ready>, Pools<Byte>),
}

impl Prepared {
    /// Puts packed weights in order; `packed` is as [`super::stack`] takes it, and `products` what
    /// [`super::take`] takes.
    pub(super) fn new(shape: StackShape, packed: &[f32], products: DType) -> Self {
        let blocks = match products {
            DType::U8 => {
                let pools = Pools::default();
                Blocks::Bytes(ready(&shape, packed, &pools), pools)
            }
            DType::BF16 => {
                let pools = Pools::default();
                Blocks::Bf16(ready(&shape, packed, &pools), pools)
            }
            _ => {
                let pools = Pools::default();
                Blocks::F32(ready(&shape, packed, &pools), pools)
            }
        };
        Self { shape, blocks }
    }

    /// Runs `x`, `[windows, tokens, hidden]`, through the blocks. The last one computes no more than each
    /// window's first `read` tokens; what stands in the others' places is nothing.
    pub(super) fn forward(&self, tokens: usize, read: usize, x: &mut [f32]) {
        match &self.blocks {
            Blocks::F32(blocks, pools) => forward(&self.shape, blocks, pools, tokens, read, x),
            Blocks::Bf16(blocks, pools) => forward(&self.shape, blocks, pools, tokens, read, x),
            Blocks::Bytes(blocks, pools) => forward(&self.shape, blocks, pools, tokens, read, x),
        }
    }
}

/// A transformer block whose weights are in order for factors of one element.
pub(super) trait Block: Sync + Sized {
    type Element: Element;
    /// What lies between the parts of its attention.
    type Between;

    /// Puts the weights in order.
    fn ready(shape: &StackShape, layer: &Layer<&[f32]>, pools: &Pools<Self::Element>) -> Self;

    /// Room for a window of so many tokens.
    fn between(shape: &StackShape, tokens: usize, pools: &Pools<Self::Element>) -> Self::Between;

    /// Computes the block in place on `x`, `[tokens, hidden]` of one window, for its first `read` tokens: no others are
    /// read afterwards.
    fn forward(
        &self,
        shape: &StackShape,
        read: usize,
        pools: &Pools<Self::Element>,
        x: &mut [f32],
        between: &mut Self::Between,
    );
}

impl<T: Element> Block for Ready<T> {
    type Element = T;
    type Between = attention::Between<T>;

    fn ready(shape: &StackShape, layer: &Layer<&[f32]>, pools: &Pools<T>) -> Self {
        Self::new(shape, layer, STRIP, pools)
    }

    fn between(shape: &StackShape, tokens: usize, pools: &Pools<T>) -> Self::Between {
        attention::Between::new(shape, tokens, pools)
    }

    fn forward(
        &self,
        shape: &StackShape,
        read: usize,
        pools: &Pools<T>,
        x: &mut [f32],
        between: &mut Self::Between,
    ) {
        attention::forward(shape, self, read, pools, x, between);
        mlp::forward(shape, self, pools, &mut x[..read * shape.hidden]);
    }
}

fn ready<B: Block>(shape: &StackShape, packed: &[f32], pools: &Pools<B::Element>) -> Vec<B> {
    packed
        .chunks_exact(shape.layer_len())
        .map(|packed| B::ready(shape, &Layer::of(shape, packed), pools))
        .collect()
}

fn forward<B: Block>(
    shape: &StackShape,
    blocks: &[B],
    pools: &Pools<B::Element>,
    tokens: usize,
    read: usize,
    x: &mut [f32],
) {
    x.par_chunks_mut(tokens * shape.hidden)
        .with_max_len(1)
        .for_each(|x| {
            let mut between = B::between(shape, tokens, pools);
            let last = blocks.len().saturating_sub(1);
            for (number, block) in blocks.iter().enumerate() {
                let read = if number == last { read } else { tokens };
                block.forward(shape, read, pools, x, &mut between);
            }
        });
}

/// The operation, on `[windows, tokens, hidden]`: gives `[windows, read, hidden]`, the first tokens of each window.
pub(super) struct Encode<'a> {
    pub(super) stack: &'a Prepared,
    pub(super) read: usize,
}

impl CustomOp1 for Encode<'_> {
    fn name(&self) -> &'static str {
        "prepared-stack"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (windows, tokens, hidden) = layout.shape().dims3()?;
        let (shape, read) = (&self.stack.shape, self.read);
        if hidden != shape.hidden || read > tokens {
            bail!("{read} of {tokens} tokens of {hidden} values do not fit the stack {shape:?}");
        }
        if matches!(self.stack.blocks, Blocks::Bytes(..)) && !bytes::attends(tokens) {
            bail!("windows of {tokens} tokens are too long for products of bytes");
        }
        let mut x = slice(x, layout)?.to_vec();
        if !x.is_empty() {
            self.stack.forward(tokens, read, &mut x);
        }
        for window in 1..windows {
            let first = window * tokens * hidden;
            x.copy_within(first..first + read * hidden, window * read * hidden);
        }
        x.truncate(windows * read * hidden);
        Ok((CpuStorage::F32(x), Shape::from((windows, read, hidden))))
    }
}
