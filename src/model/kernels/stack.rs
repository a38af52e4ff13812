//! A whole stack of transformer blocks as one operation.
//!
//! One operation, since between operations candle's backward pass allocates zeros for every
//! gradient and adds to them, which costs more than the norms do. The blocks' weights come packed
//! into one tensor, since an operation has three arguments at most.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::{
    attention,
    buffers::{Buffers, Pools},
    layer::{Layer, Ready, StackShape},
    mlp,
    prepared::Prepared,
    storage::{slice, values},
};

/// The operation, on `x` `[windows, tokens, hidden]` and packed weights.
pub(super) struct Stack {
    shape: StackShape,
    buffers: Buffers,
    /// What the backward pass will take, a pair a block; `None` where nobody will ask for one.
    kept: Option<Mutex<Vec<(attention::Kept, mlp::Kept)>>>,
}

impl Stack {
    /// `differentiable` says whether a backward pass may come: what it needs takes memory.
    pub(super) fn new(shape: StackShape, buffers: Buffers, differentiable: bool) -> Self {
        Self {
            shape,
            buffers,
            kept: differentiable.then(Mutex::default),
        }
    }

    fn layers<'a>(
        &'a self,
        packed: &'a [f32],
    ) -> impl DoubleEndedIterator<Item = Layer<&'a [f32]>> {
        packed
            .chunks_exact(self.shape.layer_len())
            .map(|packed| Layer::of(&self.shape, packed))
    }

    fn forward(&self, tokens: usize, packed: &[f32], x: &mut [f32]) {
        let Some(kept) = &self.kept else {
            return Prepared::new(self.shape, packed, DType::F32).forward(tokens, tokens, x);
        };
        let rows = x.len() / self.shape.hidden;
        let (shape, buffers) = (&self.shape, &self.buffers);
        let pools = Pools::shared(buffers);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in self.layers(packed) {
            let layer = Ready::new(shape, &layer, shape.intermediate, &pools);
            let mut attention = attention::Kept::new(shape, rows, buffers);
            attention::forward_kept(shape, &layer, tokens, buffers, x, &mut attention);
            let mut mlp = mlp::Kept::new(shape, rows, buffers);
            mlp::forward_kept(shape, &layer, buffers, x, &mut mlp);
            kept.push((attention, mlp));
        }
    }

    /// Turns `gradient` into that of `x`, and gives that of the packed weights.
    fn backward(
        &self,
        tokens: usize,
        packed: &[f32],
        kept: Vec<(attention::Kept, mlp::Kept)>,
        gradient: &mut [f32],
    ) -> Vec<f32> {
        let rows = gradient.len() / self.shape.hidden;
        let mut weights = vec![0.0; packed.len()];
        let mut attention_scratch = attention::Scratch::new(&self.shape, rows, &self.buffers);
        let mut mlp_scratch = mlp::Scratch::new(&self.shape, rows, &self.buffers);
        for ((layer, (attention, mlp)), weights) in self
            .layers(packed)
            .rev()
            .zip(kept.into_iter().rev())
            .zip(weights.rchunks_exact_mut(self.shape.layer_len()))
        {
            let mut weights = Layer::of_mut(&self.shape, weights);
            mlp::backward(
                &self.shape,
                &layer,
                mlp,
                &mut mlp_scratch,
                gradient,
                &mut weights,
            );
            attention::backward(
                &self.shape,
                &layer,
                tokens,
                attention,
                &mut attention_scratch,
                gradient,
                &mut weights,
            );
        }
        weights
    }
}

impl CustomOp2 for Stack {
    fn name(&self) -> &'static str {
        "transformer-stack"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, tokens, hidden) = x_layout.shape().dims3()?;
        let packed = slice(packed, packed_layout)?;
        if hidden != self.shape.hidden || packed.len() != self.shape.layers * self.shape.layer_len()
        {
            bail!("tokens or weights do not fit the stack {:?}", self.shape);
        }
        let mut x = slice(x, x_layout)?.to_vec();
        if !x.is_empty() {
            self.forward(tokens, packed, &mut x);
        }
        Ok((CpuStorage::F32(x), x_layout.shape().clone()))
    }

    /// Takes what the forward pass kept, so a second call is an error.
    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(kept) = &self.kept else {
            bail!("the stack was computed without a backward pass in mind");
        };
        let kept = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
        if kept.len() != self.shape.layers {
            bail!("a stack's backward pass runs once, on one forward pass of some windows");
        }
        let (_, tokens, _) = x.dims3()?;
        let mut gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
        let weights = self.backward(tokens, &values(packed)?, kept, &mut gradient);
        Ok((
            Some(Tensor::from_vec(gradient, x.shape(), x.device())?),
            Some(Tensor::from_vec(weights, packed.shape(), x.device())?),
        ))
    }
}
