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
        let layers = || {
            let layers = packed.chunks_exact(shape.layer_len());
            layers.map(|packed| Layer::of(&shape, packed))
        };
        let blocks = match products {
            DType::U8 => {
                let pools = Pools::default();
                let ready = layers().map(|layer| bytes::Ready::new(&shape, &layer, &pools));
                Blocks::Bytes(ready.collect(), pools)
            }
            DType::BF16 => {
                let pools = Pools::default();
                let ready = layers().map(|layer| Ready::new(&shape, &layer, STRIP, &pools));
                Blocks::Bf16(ready.collect(), pools)
            }
            _ => {
                let pools = Pools::default();
                let ready = layers().map(|layer| Ready::new(&shape, &layer, STRIP, &pools));
                Blocks::F32(ready.collect(), pools)
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
            Blocks::Bytes(blocks, pools) => {
                bytes::forward(&self.shape, blocks, pools, tokens, read, x);
            }
        }
    }
}

fn forward<T: Element>(
    shape: &StackShape,
    blocks: &[Ready<T>],
    pools: &Pools<T>,
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
        if matches!(self.stack.blocks, Blocks::Bytes(..)) && !bytes::fits(tokens) {
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
