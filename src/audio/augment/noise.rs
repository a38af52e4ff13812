//! White Gaussian noise at a given distance below the clip.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::Noise;

/// Adds noise whose expected power is the clip's own, lowered by `snr_db`.
pub fn add_noise(clip: &mut [f32], noise: Noise) {
    let energy: f64 = clip.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    let power = energy / clip.len().max(1) as f64;
    let deviation = (power * 10f64.powf(-noise.snr_db / 10.0)).sqrt() as f32;
    let mut rng = ChaCha8Rng::seed_from_u64(noise.seed);
    for sample in clip {
        let value: f32 = StandardNormal.sample(&mut rng);
        *sample += deviation * value;
    }
}
