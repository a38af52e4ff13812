//! The mean over some of the tokens.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::storage::{slice, values};

/// `[windows, tokens, hidden]` to `[windows, hidden]`: the mean of the tokens in a range.
pub(super) struct MeanTokens {
    pub(super) tokens: Range<usize>,
}

impl CustomOp1 for MeanTokens {
    fn name(&self) -> &'static str {
        "mean-tokens"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (windows, tokens, hidden) = layout.shape().dims3()?;
        if self.tokens.is_empty() || self.tokens.end > tokens {
            bail!("no mean over tokens {:?} of {tokens}", self.tokens);
        }
        let scale = 1.0 / self.tokens.len() as f32;
        let mut out = vec![0.0; windows * hidden];
        for (x, out) in slice(x, layout)?
            .chunks_exact(tokens * hidden)
            .zip(out.chunks_exact_mut(hidden))
        {
            for row in x[self.tokens.start * hidden..self.tokens.end * hidden].chunks_exact(hidden)
            {
                for (sum, value) in out.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            for sum in out {
                *sum *= scale;
            }
        }
        Ok((CpuStorage::F32(out), (windows, hidden).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (_, tokens, hidden) = x.dims3()?;
        let gradient = gradient.contiguous()?;
        let scale = 1.0 / self.tokens.len() as f32;
        let mut out = vec![0.0; x.elem_count()];
        for (out, gradient) in out
            .chunks_exact_mut(tokens * hidden)
            .zip(values(&gradient)?.chunks_exact(hidden))
        {
            let pooled = &mut out[self.tokens.start * hidden..self.tokens.end * hidden];
            for row in pooled.chunks_exact_mut(hidden) {
                for (out, value) in row.iter_mut().zip(gradient) {
                    *out = value * scale;
                }
            }
        }
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}
