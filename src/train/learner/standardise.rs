//! Embeddings with mean 0 and deviation 1 in every dimension.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use crate::train::TrainError;

/// Added to a deviation: a dimension that hardly varies is not blown up.
const MIN_DEVIATION: f64 = 1e-3;

/// Standardises each dimension of `[rows, dim]` over the rows; gradients go through mean and
/// deviation.
pub(super) fn over_batch(embeddings: &Tensor) -> Result<Tensor, TrainError> {
    let centred = embeddings.broadcast_sub(&embeddings.mean_keepdim(0)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(0)? + MIN_DEVIATION.powi(2))?.sqrt()?;
    Ok(centred.broadcast_div(&deviation)?)
}

/// The same of `[view][track][dim]` over views and tracks.
pub(super) fn over_all(views: &mut [Vec<Vec<f32>>]) {
    let (means, deviations) = moments(views.iter().flatten());
    for embedding in views.iter_mut().flatten() {
        for ((value, mean), deviation) in embedding.iter_mut().zip(&means).zip(&deviations) {
            *value = ((f64::from(*value) - mean) / deviation) as f32;
        }
    }
}

/// Puts the standardisation by these embeddings into an encoder's weights. An embedding is a mean
/// of tokens after the last layer norm, and so linear in its weight and bias: dividing both by a
/// deviation and taking the mean from the bias does to every embedding what [`over_batch`] does.
pub(super) fn fold(
    weights: &mut BTreeMap<String, Tensor>,
    embeddings: &[Vec<f32>],
) -> Result<(), TrainError> {
    let (means, deviations) = moments(embeddings.iter());
    let mut change = |name: &str, change: &dyn Fn(f64, f64, f64) -> f64| {
        let weight = weights
            .get_mut(name)
            .ok_or_else(|| TrainError::MissingState(name.to_owned()))?;
        let values: Vec<f32> = weight
            .to_vec1::<f32>()?
            .into_iter()
            .zip(means.iter().zip(&deviations))
            .map(|(value, (mean, deviation))| change(f64::from(value), *mean, *deviation) as f32)
            .collect();
        *weight = Tensor::new(values, &Device::Cpu)?;
        Ok::<_, TrainError>(())
    };
    change("layernorm.weight", &|value, _, deviation| value / deviation)?;
    change("layernorm.bias", &|value, mean, deviation| {
        (value - mean) / deviation
    })
}

/// Mean and deviation of each dimension, as [`over_batch`] has them.
fn moments<'a>(rows: impl Iterator<Item = &'a Vec<f32>> + Clone) -> (Vec<f64>, Vec<f64>) {
    let dim = rows.clone().next().map_or(0, Vec::len);
    let count = rows.clone().count().max(1) as f64;
    let mut means = vec![0.0; dim];
    for row in rows.clone() {
        for (mean, &value) in means.iter_mut().zip(row) {
            *mean += f64::from(value) / count;
        }
    }
    let mut variances = vec![0.0; dim];
    for row in rows {
        for ((variance, &value), mean) in variances.iter_mut().zip(row).zip(&means) {
            *variance += (f64::from(value) - mean).powi(2) / count;
        }
    }
    let deviations = variances
        .into_iter()
        .map(|variance: f64| (variance + MIN_DEVIATION.powi(2)).sqrt())
        .collect();
    (means, deviations)
}
