//! One weight's step.

use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

/// Values that one task changes at a time.
const CHUNK: usize = 1 << 15;

/// The numbers of a step; the arithmetic's order is that of PyTorch's `AdamW`.
#[derive(Clone, Copy)]
pub(super) struct Update {
    pub(super) beta1: f64,
    pub(super) beta2: f64,
    /// Multiplies every gradient.
    pub(super) scale: f64,
    /// Learning rate over `1 - beta1^step`.
    pub(super) rate: f64,
    /// Root of `1 - beta2^step`.
    pub(super) square_root: f64,
    pub(super) epsilon: f64,
    /// What weight decay leaves of a weight.
    pub(super) keep: f64,
}

impl Update {
    pub(super) fn without_decay(self) -> Self {
        Self { keep: 1.0, ..self }
    }

    /// Changes weight, mean and mean square in place.
    pub(super) fn apply(
        self,
        weight: &Var,
        mean: &Tensor,
        square: &Tensor,
        gradient: &Tensor,
    ) -> Result<()> {
        if weight.device().is_cpu() && weight.dtype() == DType::F32 {
            let remember = |factor, squared| Remember {
                factor,
                scale: self.scale,
                squared,
            };
            mean.inplace_op2(gradient, &remember(self.beta1, false))?;
            square.inplace_op2(gradient, &remember(self.beta2, true))?;
            return weight.inplace_op3(mean, square, &self);
        }
        self.apply_plain(weight, mean, square, gradient)
    }

    /// The same for any device and type.
    fn apply_plain(
        self,
        weight: &Var,
        mean: &Tensor,
        square: &Tensor,
        gradient: &Tensor,
    ) -> Result<()> {
        let gradient = (gradient * self.scale)?;
        let new_mean = ((mean * self.beta1)? + (&gradient * (1.0 - self.beta1))?)?;
        let new_square = ((square * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
        let divisor = ((new_square.sqrt()? / self.square_root)? + self.epsilon)?;
        let moved = (&new_mean / divisor)? * self.rate;
        weight.set(&((weight.as_tensor() * self.keep)? - moved?)?)?;
        mean.slice_set(&new_mean, 0, 0)?;
        square.slice_set(&new_square, 0, 0)
    }
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("the optimiser takes contiguous tensors, not {layout:?}"),
    }
}

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("the optimiser takes contiguous f32 tensors, not {layout:?}"),
    }
}

/// A running mean of gradients, or of their squares.
struct Remember {
    factor: f64,
    scale: f64,
    squared: bool,
}

impl InplaceOp2 for Remember {
    fn name(&self) -> &'static str {
        "adam-remember"
    }

    fn cpu_fwd(
        &self,
        mean: &mut CpuStorage,
        mean_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let (factor, rest) = (self.factor as f32, (1.0 - self.factor) as f32);
        let scale = self.scale as f32;
        slice_mut(mean, mean_layout)?
            .par_chunks_mut(CHUNK)
            .zip(slice(gradient, gradient_layout)?.par_chunks(CHUNK))
            .for_each(|(means, gradients)| {
                for (mean, gradient) in means.iter_mut().zip(gradients) {
                    let gradient = scale * gradient;
                    *mean = if self.squared {
                        factor * *mean + rest * gradient * gradient
                    } else {
                        *mean + rest * (gradient - *mean)
                    };
                }
            });
        Ok(())
    }
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adam-update"
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        weight_layout: &Layout,
        mean: &CpuStorage,
        mean_layout: &Layout,
        square: &CpuStorage,
        square_layout: &Layout,
    ) -> Result<()> {
        let (rate, keep) = (self.rate as f32, self.keep as f32);
        let (root, epsilon) = (self.square_root as f32, self.epsilon as f32);
        slice_mut(weight, weight_layout)?
            .par_chunks_mut(CHUNK)
            .zip(slice(mean, mean_layout)?.par_chunks(CHUNK))
            .zip(slice(square, square_layout)?.par_chunks(CHUNK))
            .for_each(|((weights, means), squares)| {
                for ((weight, mean), square) in weights.iter_mut().zip(means).zip(squares) {
                    *weight = *weight * keep - rate * mean / (square.sqrt() / root + epsilon);
                }
            });
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn in_place_and_plain_agree() {
        let update = Update {
            beta1: 0.9,
            beta2: 0.99,
            scale: 0.5,
            rate: 0.1,
            square_root: 0.3,
            epsilon: 1e-8,
            keep: 0.99,
        };
        let values = |seed: usize| -> Vec<f32> {
            let value = |i: usize| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 0.99;
            (0..60).map(value).collect()
        };
        let tensor = |seed| Tensor::from_vec(values(seed), (5, 12), &Device::Cpu).unwrap();
        let run = |plain: bool| {
            let weight = Var::from_tensor(&tensor(1)).unwrap();
            let (mean, square) = (tensor(2), tensor(3).sqr().unwrap());
            if plain {
                update
                    .apply_plain(&weight, &mean, &square, &tensor(4))
                    .unwrap();
            } else {
                update.apply(&weight, &mean, &square, &tensor(4)).unwrap();
            }
            [weight.as_tensor().clone(), mean, square]
                .map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        for (plain, fused) in run(true).iter().zip(run(false)) {
            for (a, b) in plain.iter().zip(fused) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }
    }
}
