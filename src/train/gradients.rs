//! The gradients of one step.

use std::collections::BTreeMap;

use candle_core::{
    CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, Var, backprop::GradStore, bail,
};
use rayon::prelude::*;

use super::TrainError;

/// A gradient for every trained weight, by name.
pub struct Gradients(BTreeMap<String, Tensor>);

impl Gradients {
    /// Takes the gradients of the weights out of what a backward pass gave.
    ///
    /// # Errors
    ///
    /// [`TrainError::NoGradient`] for a weight that the loss does not depend on.
    pub fn take(mut store: GradStore, weights: &BTreeMap<String, Var>) -> Result<Self, TrainError> {
        Self::take_some(&mut store, weights.iter())
    }

    /// [`Gradients::take`] of some weights.
    pub(super) fn take_some<'a>(
        store: &mut GradStore,
        weights: impl Iterator<Item = (&'a String, &'a Var)>,
    ) -> Result<Self, TrainError> {
        weights
            .map(|(name, weight)| {
                let gradient = store
                    .remove(weight)
                    .ok_or_else(|| TrainError::NoGradient(name.clone()))?;
                Ok((name.clone(), gradient.contiguous()?))
            })
            .collect::<Result<_, TrainError>>()
            .map(Self)
    }

    /// Gradients by name, from somewhere else than a backward pass.
    #[must_use]
    pub fn new(gradients: BTreeMap<String, Tensor>) -> Self {
        Self(gradients)
    }

    /// The gradient of one weight.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0
            .iter()
            .map(|(name, gradient)| (name.as_str(), gradient))
    }

    /// Adds those of other weights.
    pub(super) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Adds those of another part of the batch.
    ///
    /// # Errors
    ///
    /// [`TrainError`] when they are of other weights.
    pub fn add(&mut self, other: &Self) -> Result<(), TrainError> {
        for (name, gradient) in &mut self.0 {
            let other = other
                .get(name)
                .ok_or_else(|| TrainError::NoGradient(name.clone()))?;
            *gradient = (&*gradient + other)?;
        }
        Ok(())
    }

    /// The length of all gradients taken as one vector (L2). Not finite if any value is not.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn norm(&self) -> Result<f64, TrainError> {
        let mut total = 0.0;
        for gradient in self.0.values() {
            let squares = if gradient.device().is_cpu() && gradient.dtype() == DType::F32 {
                gradient.apply_op1_no_bwd(&SquareSum)?
            } else {
                gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?
            };
            total += squares.to_scalar::<f64>()?;
        }
        Ok(total.sqrt())
    }
}

/// Sum of squares in f64. Chunks are added in their order, whichever thread summed them.
struct SquareSum;

impl CustomOp1 for SquareSum {
    fn name(&self) -> &'static str {
        "square-sum"
    }

    fn cpu_fwd(
        &self,
        values: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a gradient has to be contiguous");
        };
        let sums: Vec<f64> = values.as_slice::<f32>()?[start..end]
            .par_chunks(1 << 15)
            .map(|chunk| chunk.iter().map(|&value| f64::from(value).powi(2)).sum())
            .collect();
        Ok((CpuStorage::F64(vec![sums.iter().sum()]), Shape::from(())))
    }
}
