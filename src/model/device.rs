//! Where the encoder runs.

use candle_core::{Device, Error};
use serde::{Deserialize, Serialize};

use super::{ModelError, PrecisionChoice};

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

/// Which device, and how it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceSettings {
    /// The device.
    pub choice: DeviceChoice,
    /// What encoders compute in there.
    pub precision: PrecisionChoice,
    /// Bytes that an encoder and its largest batch may take on a card, see [`super::DeviceMemory`];
    /// none for no bound.
    pub budget: Option<u64>,
}

/// A device with its defaults.
impl From<DeviceChoice> for DeviceSettings {
    fn from(choice: DeviceChoice) -> Self {
        Self {
            choice,
            ..Self::default()
        }
    }
}

/// Opens the device. Call it once, on the thread that will own the device: CUDA binds its stream
/// to the thread that creates it.
///
/// # Errors
///
/// [`ModelError::Device`] or [`ModelError::NoCard`] when CUDA is asked for by name and cannot be had.
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
        Err(error) if choice == DeviceChoice::Cuda => Err(ModelError::NoCard(error)),
        Err(error) => {
            tracing::warn!(error = %error, "no CUDA device answers (a driver older than the toolkit of this build fails here too), running on the CPU");
            Ok(Device::Cpu)
        }
    }
}

/// Whether an error says that the device's memory is used up: CUDA's code for it, or that of
/// cuBLAS, which allocates for itself. Told by the codes' names in `cuda.h` and `cublas_api.h`,
/// since only a build for CUDA has their types.
pub(super) fn is_out_of_memory(error: &Error) -> bool {
    match error {
        Error::Cuda(error) => {
            let text = format!("{error:?}");
            ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"]
                .iter()
                .any(|code| text.contains(code))
        }
        Error::Context { inner, .. }
        | Error::WithPath { inner, .. }
        | Error::WithBacktrace { inner, .. } => is_out_of_memory(inner),
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_short_is_told_from_other_failures() {
        // As the types of a build for CUDA print themselves.
        for (text, short) in [
            (
                r#"Cuda(DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"))"#,
                true,
            ),
            ("Cublas(CublasError(CUBLAS_STATUS_ALLOC_FAILED))", true),
            (
                r#"Cuda(DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access"))"#,
                false,
            ),
            ("Cublas(CublasError(CUBLAS_STATUS_EXECUTION_FAILED))", false),
        ] {
            let plain = Error::Cuda(text.into());
            assert_eq!(is_out_of_memory(&plain), short, "{text}");
            let wrapped = Error::WithBacktrace {
                inner: Box::new(plain.context("matmul")),
                backtrace: Box::new(std::backtrace::Backtrace::disabled()),
            };
            assert_eq!(is_out_of_memory(&wrapped), short, "{wrapped}");
        }
        // What a file says is no word of the device's.
        assert!(!is_out_of_memory(&Error::msg("CUDA_ERROR_OUT_OF_MEMORY")));
    }

    /// The same errors with their real types.
    #[cfg(feature = "cuda")]
    #[test]
    fn the_errors_of_the_cuda_libraries_print_so() {
        use candle_core::cuda_backend::{
            CudaError,
            cudarc::{cublas, driver},
        };
        let short = driver::DriverError(driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        assert!(is_out_of_memory(&CudaError::from(short).into()));
        let failed = cublas::sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED;
        let failed = cublas::result::CublasError(failed);
        assert!(is_out_of_memory(&CudaError::from(failed).into()));
        let other = driver::DriverError(driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert!(!is_out_of_memory(&CudaError::from(other).into()));
    }
}
