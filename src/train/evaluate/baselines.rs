//! What a representation must beat: chance, and timbre.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use sha2::{Digest, Sha256};

use super::{Embed, EvaluateError};
use crate::audio::{AudioError, Mfcc};

/// Name of the random vectors in a report.
pub const RANDOM: &str = "random";
/// Name of the MFCC statistics in a report.
pub const MFCC: &str = "mfcc";

/// Values of a random vector. Chance does not depend on it.
const RANDOM_DIMENSION: usize = 128;

/// Random vectors: what a figure is worth that knows nothing.
///
/// A vector depends on the seed and on every bit of the clip. So two clips have unrelated vectors also
/// where they are two versions of one excerpt, and a run repeats whatever the order of the clips.
pub(super) struct Random {
    pub(super) seed: u64,
}

impl Embed for Random {
    fn name(&self) -> &str {
        RANDOM
    }

    fn embed(&self, clips: &[&[f32]]) -> Result<Vec<Vec<f32>>, EvaluateError> {
        let vector = |clip: &&[f32]| {
            let mut hash = Sha256::new();
            hash.update(self.seed.to_le_bytes());
            for sample in *clip {
                hash.update(sample.to_le_bytes());
            }
            let rng = ChaCha8Rng::from_seed(hash.finalize().into());
            rng.sample_iter(StandardNormal)
                .take(RANDOM_DIMENSION)
                .collect()
        };
        Ok(clips.iter().map(vector).collect())
    }
}

/// MFCC statistics (see [`Mfcc::statistics`]), not yet standardised.
pub(super) struct MfccStatistics {
    mfcc: Mfcc,
}

impl MfccStatistics {
    pub(super) fn new() -> Result<Self, AudioError> {
        Ok(Self { mfcc: Mfcc::new()? })
    }
}

impl Embed for MfccStatistics {
    fn name(&self) -> &str {
        MFCC
    }

    fn embed(&self, clips: &[&[f32]]) -> Result<Vec<Vec<f32>>, EvaluateError> {
        let statistics = |clip: &&[f32]| match self.mfcc.statistics(clip) {
            Ok(values) => Ok(values.to_vec()),
            Err(error) => Err(EvaluateError::embed(MFCC, error)),
        };
        clips.iter().map(statistics).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn random_vectors_repeat_and_differ() {
        let (one, other) = ([0.1f32; 800], [0.2f32; 800]);
        let random = Random { seed: 7 };
        let vectors = random.embed(&[&one, &other, &one]).unwrap();
        assert_eq!(vectors[0], vectors[2]);
        assert_ne!(vectors[0], vectors[1]);
        let reseeded = Random { seed: 8 }.embed(&[&one]).unwrap();
        assert_ne!(vectors[0], reseeded[0]);
        let sum: f32 = vectors[0].iter().map(|value| value * value).sum();
        assert!((64.0..256.0).contains(&sum), "{sum}");
    }
}
