//! The Audio Spectrogram Transformer: configuration, network, kernels, projection head, checkpoints, device.
//!
//! A model lives in a directory as Hugging Face's `transformers` lays it out: `config.json`,
//! `preprocessor_config.json` (read by [`crate::audio::FeatureConfig`]) and `model.safetensors`.

mod ast;
mod checkpoint;
mod config;
mod device;
mod encoder;
mod init;
mod kernels;
mod memory;
mod precision;
mod projection;
mod trial;

use std::path::PathBuf;

pub use ast::{Ast, AstOutput, KeptPatches};
pub use checkpoint::{CONFIG_FILE, ModelDir, WEIGHTS_FILE, canonical_name, published_name};
pub use config::{AstConfig, Pooling, Preset};
pub use device::{DeviceChoice, DeviceSettings, describe_device, select_device};
pub use encoder::{EncodeWindows, Encoder, cosine, mean_embedding, normalise};
pub use init::untrained_weights;
pub use memory::DeviceMemory;
pub use precision::{Precision, PrecisionChoice};
pub use projection::{PROJECTION_DIM, PROJECTION_HIDDEN, ProjectionHead};

/// What can go wrong between a model directory and an embedding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file of the model directory cannot be read or written.
    #[error("cannot read or write {path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A JSON file of the model directory is not what it should be.
    #[error("{path} is not a valid model configuration", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// `config.json` asks for something that this encoder is not.
    #[error("config.json: {key} is {found}, but {expected}")]
    Config {
        /// The key in `config.json`.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// The checkpoint lacks weights that the configuration asks for.
    #[error("the checkpoint lacks {} weights, the first is {}", .0.len(), .0.first().map_or("", String::as_str))]
    MissingWeights(Vec<String>),
    /// The checkpoint holds weights that no part of the encoder takes.
    #[error("the checkpoint holds {} unknown weights, the first is {}", .0.len(), .0.first().map_or("", String::as_str))]
    UnknownWeights(Vec<String>),
    /// A weight has another shape than the configuration asks for.
    #[error("weight {name} has shape {found:?}, the configuration asks for {expected:?}")]
    WeightShape {
        /// The weight's name.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// Its shape by `config.json`.
        expected: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error("weight {0} is not finite")]
    NotFinite(String),
    /// The front end's settings and the encoder's do not fit.
    #[error("preprocessor_config.json and config.json differ: {key} is {features} and {model}")]
    FrontEndMismatch {
        /// The setting's name.
        key: &'static str,
        /// Its value in `preprocessor_config.json`.
        features: usize,
        /// Its value in `config.json`.
        model: usize,
    },
    /// The windows handed to the encoder have another size than it takes.
    #[error("a window has {found} values, the model takes {expected}")]
    WindowSize {
        /// Values given.
        found: usize,
        /// `max_length` times `num_mel_bins`.
        expected: usize,
    },
    /// The encoder produced a vector without a direction (all zeros, or not finite).
    #[error("the model gave an embedding that is zero or not finite")]
    DegenerateEmbedding,
    /// CUDA was asked for by name and cannot be had.
    #[error("device {0} is not available: {1}")]
    Device(&'static str, &'static str),
    /// CUDA was asked for by name, and no card answers.
    #[error(
        "no CUDA device answers; a driver that is older than the toolkit of this build fails here too"
    )]
    NoCard(#[source] candle_core::Error),
    /// The device's memory is used up. Less at once may fit, and so may the same later.
    #[error("the device has no memory left")]
    OutOfMemory(#[source] candle_core::Error),
    /// One window would take more device memory than the settings allow.
    #[error("the model needs {needed} MiB for one window, model.max_device_mib is {budget}")]
    DeviceBudget {
        /// What weights and one window take, MiB.
        needed: u64,
        /// What they may take, MiB.
        budget: u64,
    },
    /// The tensor library failed otherwise.
    #[error("tensor computation failed")]
    Tensor(#[source] candle_core::Error),
    /// The front end's settings cannot be read or written.
    #[error("front-end settings")]
    Features(#[from] crate::audio::AudioError),
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        if device::is_out_of_memory(&error) {
            Self::OutOfMemory(error)
        } else {
            Self::Tensor(error)
        }
    }
}
