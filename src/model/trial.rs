//! Whether an encoder bears products of bytes.
//!
//! A row of activations shares one scale in int8. Where an encoder has a few channels that are far larger than all others,
//! as large language models do (Dettmers et al. 2022, "LLM.int8()", arXiv:2208.07339, section 3), the others are lost. No
//! encoder that was measured here is such a one; one that is shows it on any input.

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{AstConfig, Encoder, ModelError, cosine};

/// Least cosine between an embedding in int8 and the same in f32; `models/songkin-small` has at least 0.9997.
pub(super) const MIN_COSINE: f64 = 0.998;

/// Most frames of a window that is tried.
const FRAMES: usize = 256;

/// The least cosine between what two encoders of the same weights give; 0 if one of them gives none.
///
/// # Errors
///
/// [`ModelError::Tensor`] when an encoder does not compute.
pub(super) fn least_cosine(a: &Encoder, b: &Encoder) -> Result<f64, ModelError> {
    let windows = windows(a.config())?;
    let a = a.ast().embed(&windows)?.to_vec2::<f32>()?;
    let b = b.ast().embed(&windows)?.to_vec2::<f32>()?;
    let cosines = a.iter().zip(&b).map(|(a, b)| cosine(a, b));
    Ok(cosines.fold(1.0, f64::min))
}

/// Two windows of noise and two of tones, `[4, frames, mel bins]`, with about the deviation of normalised spectrograms.
fn windows(config: &AstConfig) -> Result<Tensor, ModelError> {
    let frames = config.max_length.min(FRAMES.max(config.patch_size));
    let bins = config.num_mel_bins;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut values: Vec<f32> = (0..2 * frames * bins)
        .map(|_| rng.random_range(-0.9..0.9))
        .collect();
    for tone in [0.37, 0.11] {
        values.extend((0..frames * bins).map(|place| {
            let tilt = (place % bins) as f32 / bins as f32;
            (place as f32 * tone).sin() * 0.5 + 0.5 - tilt
        }));
    }
    Ok(Tensor::from_vec(values, (4, frames, bins), &Device::Cpu)?)
}
