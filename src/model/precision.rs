//! What the encoder computes in.

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use super::{device::compute_capability, kernels};

/// The type of the blocks' linear weights, of what they are multiplied with, and of attention's factors.
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
    /// Whole numbers of 8 bits, with a scale for each row or column of a factor. On a CPU only.
    Int8,
}

impl Precision {
    /// The tensor library's type of the factors.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
            Self::Int8 => DType::U8,
        }
    }

    /// The precision's name in settings and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F32 | Self::F16 | Self::Bf16 => self.dtype().as_str(),
        }
    }

    /// What suits a card of a compute capability: bf16 from 8.0 (Ampere) on, which is the first that multiplies it; before,
    /// f16.
    fn of_card((major, _): (i32, i32)) -> Self {
        if major >= 8 { Self::Bf16 } else { Self::F16 }
    }

    /// What suits this machine's CPU: the fastest that it multiplies. `docs/MODEL.md` has no loss of retrieval in any, and an
    /// encoder in int8 is compared with f32 when it is loaded, see [`super::ModelDir::encoder`].
    fn of_cpu() -> Self {
        if kernels::multiplies_bytes() {
            Self::Int8
        } else {
            Self::of_cpu_without_int8()
        }
    }

    /// [`Precision::of_cpu`] for an encoder that int8 does not fit.
    pub(super) fn of_cpu_without_int8() -> Self {
        if kernels::multiplies_bf16() {
            Self::Bf16
        } else {
            Self::F32
        }
    }
}

/// What the operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// On a CPU int8 where it multiplies that (AVX512_VNNI), else bf16 where it multiplies that (AVX512_BF16), else f32; on CUDA
    /// bf16 where the card multiplies it, else f16.
    #[default]
    Auto,
    /// [`Precision::F32`].
    F32,
    /// [`Precision::Bf16`].
    Bf16,
    /// [`Precision::F16`].
    F16,
    /// [`Precision::Int8`].
    Int8,
}

impl PrecisionChoice {
    /// The precision on a device. Where that does not multiply what is asked for it is the next
    /// closer one: anything else would be slower and no closer.
    #[must_use]
    pub fn on(self, device: &Device) -> Precision {
        let suiting = || match compute_capability(device) {
            Some(card) => Precision::of_card(card),
            None => Precision::of_cpu(),
        };
        match self {
            Self::Auto => suiting(),
            Self::F32 => Precision::F32,
            Self::Bf16 if device.is_cpu() && !kernels::multiplies_bf16() => {
                tracing::warn!(
                    "this processor does not multiply bf16 (AVX512_BF16), computing in f32"
                );
                Precision::F32
            }
            Self::Bf16 => Precision::Bf16,
            Self::F16 => Precision::F16,
            Self::Int8 => {
                let precision = suiting();
                if precision != Precision::Int8 {
                    tracing::warn!(
                        "the device does not multiply int8 (AVX512_VNNI on a CPU, nothing on CUDA), computing in {}",
                        precision.name()
                    );
                }
                precision
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_gets_what_it_multiplies() {
        assert_eq!(Precision::of_card((7, 5)), Precision::F16);
        for newer in [(8, 0), (8, 9), (9, 0), (12, 0)] {
            assert_eq!(Precision::of_card(newer), Precision::Bf16);
        }
        let on_cpu = |choice: PrecisionChoice| choice.on(&Device::Cpu);
        let (bytes, halves) = (kernels::multiplies_bytes(), kernels::multiplies_bf16());
        let without_int8 = match halves {
            true => Precision::Bf16,
            false => Precision::F32,
        };
        let fastest = if bytes { Precision::Int8 } else { without_int8 };
        assert_eq!(on_cpu(PrecisionChoice::Auto), fastest);
        assert_eq!(on_cpu(PrecisionChoice::Int8), fastest);
        assert_eq!(on_cpu(PrecisionChoice::Bf16), without_int8);
        assert_eq!(on_cpu(PrecisionChoice::F32), Precision::F32);
    }
}
