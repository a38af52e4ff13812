//! What the encoder computes in.

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use super::{device::compute_capability, kernels};

/// The type of the blocks' linear weights, of what they are multiplied with, and of attention.
///
/// Everything else stays f32 in every precision: the patches' projection and the position
/// embeddings, the sums along the blocks, layer norms, softmax, the mean over tokens, embeddings.
/// So embeddings of one model may be compared with each other whatever they were computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Single precision: 24 bits of mantissa.
    #[default]
    F32,
    /// Half precision: 11 bits of mantissa, magnitudes up to 65,504.
    F16,
    /// The upper half of an f32: 8 bits of mantissa, the range of f32.
    Bf16,
}

impl Precision {
    /// The tensor library's name for it.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// The precision's name in settings and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.dtype().as_str()
    }

    /// What suits a card of a compute capability (none is a CPU): bf16 from 8.0 (Ampere) on, which
    /// is the first that multiplies it; before, f16. A CPU computes in bf16 where it multiplies that, in
    /// which `docs/MODEL.md` has no loss of retrieval, and else in f32.
    fn suiting(capability: Option<(i32, i32)>, cpu_multiplies_bf16: bool) -> Self {
        match capability {
            None if cpu_multiplies_bf16 => Self::Bf16,
            None => Self::F32,
            Some((major, _)) if major >= 8 => Self::Bf16,
            Some(_) => Self::F16,
        }
    }
}

/// What the operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// bf16 where the device multiplies it; else f32 on a CPU and f16 on CUDA.
    #[default]
    Auto,
    /// [`Precision::F32`].
    F32,
    /// [`Precision::Bf16`].
    Bf16,
    /// [`Precision::F16`].
    F16,
}

impl PrecisionChoice {
    /// The precision on a device. On a CPU that does not multiply bf16 that is f32: anything else
    /// would be slower and no closer.
    #[must_use]
    pub fn on(self, device: &Device) -> Precision {
        match self {
            Self::Auto => {
                Precision::suiting(compute_capability(device), kernels::multiplies_bf16())
            }
            Self::F32 => Precision::F32,
            Self::Bf16 if device.is_cpu() && !kernels::multiplies_bf16() => {
                tracing::warn!(
                    "this processor does not multiply bf16 (AVX512_BF16), computing in f32"
                );
                Precision::F32
            }
            Self::Bf16 => Precision::Bf16,
            Self::F16 => Precision::F16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_gets_what_it_multiplies() {
        for cpu in [false, true] {
            assert_eq!(Precision::suiting(Some((7, 5)), cpu), Precision::F16);
            for newer in [(8, 0), (8, 9), (9, 0), (12, 0)] {
                assert_eq!(Precision::suiting(Some(newer), cpu), Precision::Bf16);
            }
        }
        assert_eq!(Precision::suiting(None, true), Precision::Bf16);
        assert_eq!(Precision::suiting(None, false), Precision::F32);
        let auto = PrecisionChoice::Auto.on(&Device::Cpu);
        assert_eq!(PrecisionChoice::Bf16.on(&Device::Cpu), auto);
        assert_eq!(PrecisionChoice::F32.on(&Device::Cpu), Precision::F32);
    }
}
