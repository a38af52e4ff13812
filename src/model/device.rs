//! Where the encoder runs.

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::ModelError;

/// What the operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// CUDA if this build knows it and a card answers, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA, or an error.
    Cuda,
}

/// Opens the device. Call it once, on the thread that will own the device: CUDA binds its stream
/// to the thread that creates it.
///
/// # Errors
///
/// [`ModelError::Device`] when CUDA is asked for by name and cannot be had.
pub fn select_device(choice: DeviceChoice) -> Result<Device, ModelError> {
    if choice == DeviceChoice::Cpu {
        return Ok(Device::Cpu);
    }
    if !candle_core::utils::cuda_is_available() {
        return match choice {
            DeviceChoice::Cuda => Err(ModelError::Device(
                "cuda",
                "this program was built without it; build with `--features cuda` or set model.device to auto",
            )),
            _ => Ok(Device::Cpu),
        };
    }
    match Device::new_cuda(0) {
        Ok(device) => Ok(device),
        Err(error) if choice == DeviceChoice::Cuda => Err(error.into()),
        Err(error) => {
            tracing::warn!(error = %error, "no CUDA device answers (a driver older than the toolkit of this build fails here too), running on the CPU");
            Ok(Device::Cpu)
        }
    }
}

/// Compute capability of a card, major and minor; none for other devices.
#[cfg(feature = "cuda")]
pub(super) fn compute_capability(device: &Device) -> Option<(i32, i32)> {
    let Device::Cuda(card) = device else {
        return None;
    };
    match card.cuda_stream().context().compute_capability() {
        Ok(capability) => Some(capability),
        Err(error) => {
            tracing::warn!(error = %error, "the card does not tell its compute capability, taking it for an old one");
            Some((0, 0))
        }
    }
}

/// Compute capability of a card, major and minor; none for other devices.
#[cfg(not(feature = "cuda"))]
pub(super) fn compute_capability(_: &Device) -> Option<(i32, i32)> {
    None
}

/// The device's name in logs and in `/v1/info`.
#[must_use]
pub fn describe_device(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}
