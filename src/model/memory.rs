//! How much device memory an encoder takes on the plain path, which is the one that CUDA runs.

use super::{AstConfig, Precision, checkpoint::weight_shapes};

/// Bytes that an encoder takes on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// All weights.
    pub weights: u64,
    /// What is alive at once for each window of a forward pass, at the worst moment.
    pub window: u64,
}

impl DeviceMemory {
    /// What follows from the shapes. With `T` tokens of width `H`, `A` heads, an MLP `I` wide and
    /// `p` bytes a number of the precision, a window is the most of
    ///
    /// - attention, when softmax is made: `2 p A T^2` for scores and weights,
    ///   `9 p T H` for its input, queries, keys and values, their copies by heads, the product and
    ///   its copy by tokens, `4 T H` for the sum along the blocks;
    /// - the MLP, when GELU is made: `2 p T I` for both its sides, `3 p T H`, and two sums, `8 T H`;
    /// - the embedding, all in f32: the window, three forms of its patches, three of its tokens.
    #[must_use]
    pub fn of(config: &AstConfig, precision: Precision) -> Self {
        let bytes = match precision {
            // No card computes in it.
            Precision::Int8 => Precision::F32,
            precision => precision,
        };
        let bytes = bytes.dtype().size_in_bytes();
        let is_product = |name: &str| name.contains(".attention.") || name.contains(".mlp.");
        let weights = weight_shapes(config)
            .iter()
            .map(|(name, shape)| {
                let each = if is_product(name) { bytes } else { 4 };
                each * shape.iter().product::<usize>()
            })
            .sum::<usize>();
        let tokens = config.tokens();
        let sum = tokens * config.hidden_size;
        let heads = config.num_attention_heads * tokens * tokens;
        let attention = bytes * (2 * heads + 9 * sum) + 4 * sum;
        let mlp = bytes * (2 * tokens * config.intermediate_size + 3 * sum) + 8 * sum;
        let patches = tokens * config.patch_size * config.patch_size;
        let embedding = 4 * (config.window_len() + 3 * patches + 3 * sum);
        Self {
            weights: weights as u64,
            window: attention.max(mlp).max(embedding) as u64,
        }
    }

    /// What loading it and computing a batch takes. The weights count twice: a new generation's
    /// encoder is loaded beside the one that answers meanwhile.
    #[must_use]
    pub fn needed(&self, windows: u64) -> u64 {
        2 * self.weights + windows * self.window
    }

    /// Windows of a batch that needs no more than so many bytes; 0 if not even one fits.
    #[must_use]
    pub fn batch_within(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(2 * self.weights) / self.window.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Preset;

    #[test]
    fn the_published_encoder_takes_what_its_shapes_say() {
        // By hand: 1,214 tokens, 512 wide, 8 heads; attention is what takes most.
        let attention = 2 * (2 * 8 * 1214 * 1214 + 9 * 1214 * 512) + 4 * 1214 * 512;
        let half = DeviceMemory::of(&Preset::Paper.config(), Precision::Bf16);
        assert_eq!(half.window, attention);
        let whole = DeviceMemory::of(&Preset::Paper.config(), Precision::F32);
        assert_eq!(whole.weights, 4 * 38_583_808);
        assert!(half.weights > whole.weights / 2 && half.weights < whole.weights * 6 / 10);
    }

    #[test]
    fn a_batch_takes_no_more_than_the_bound() {
        let memory = DeviceMemory::of(&Preset::Small.config(), Precision::F16);
        for windows in [1, 7, 64] {
            assert_eq!(memory.batch_within(memory.needed(windows)), windows);
            assert_eq!(memory.batch_within(memory.needed(windows) - 1), windows - 1);
        }
        assert_eq!(memory.batch_within(0), 0);
    }
}
