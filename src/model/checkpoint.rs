//! A model directory: reading, checking, writing.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};

use super::{AstConfig, Encoder, ModelError, Precision, trial};
use crate::{audio::FeatureConfig, text::hex, track::ExtractorId};

/// The encoder's settings.
pub const CONFIG_FILE: &str = "config.json";
/// The encoder's weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Published checkpoints call the parts of a block by other names than `transformers` 5 and this
/// code; the published ones are what is written, since every version of `transformers` reads them.
const RENAMED: [(&str, &str); 6] = [
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
];
/// Prefix of the encoder's weights in an `ASTForAudioClassification` checkpoint.
const CLASSIFIER_ENCODER: &str = "audio_spectrogram_transformer.";
/// Prefix of the classification head's weights, which no embedding needs.
const CLASSIFIER_HEAD: &str = "classifier.";

/// The name that this code gives to a weight, whatever wrote the checkpoint; `None` for the
/// classification head.
#[must_use]
pub fn canonical_name(name: &str) -> Option<String> {
    if name.starts_with(CLASSIFIER_HEAD) {
        return None;
    }
    let name = name.strip_prefix(CLASSIFIER_ENCODER).unwrap_or(name);
    let Some((number, rest)) = block_parts(name, "encoder.layer.") else {
        return Some(name.to_owned());
    };
    let rest = RENAMED
        .iter()
        .find_map(|(published, own)| {
            rest.strip_prefix(published)
                .map(|tail| format!("{own}{tail}"))
        })
        .unwrap_or_else(|| rest.to_owned());
    Some(format!("layers.{number}.{rest}"))
}

/// The name under which a weight is written: the inverse of [`canonical_name`].
#[must_use]
pub fn published_name(name: &str) -> String {
    let Some((number, rest)) = block_parts(name, "layers.") else {
        return name.to_owned();
    };
    let rest = RENAMED
        .iter()
        .find_map(|(published, own)| {
            rest.strip_prefix(own)
                .map(|tail| format!("{published}{tail}"))
        })
        .unwrap_or_else(|| rest.to_owned());
    format!("encoder.layer.{number}.{rest}")
}

fn block_parts<'a>(name: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    name.strip_prefix(prefix)?.split_once('.')
}

/// Every weight of the encoder by its canonical name, with its shape.
pub(super) fn weight_shapes(config: &AstConfig) -> BTreeMap<String, Vec<usize>> {
    let hidden = config.hidden_size;
    let mut shapes = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| shapes.insert(name, shape.to_vec());
    for name in ["cls_token", "distillation_token"] {
        add(format!("embeddings.{name}"), &[1, 1, hidden]);
    }
    add(
        "embeddings.position_embeddings".to_owned(),
        &[1, config.tokens(), hidden],
    );
    let projection = "embeddings.patch_embeddings.projection";
    add(
        format!("{projection}.weight"),
        &[hidden, 1, config.patch_size, config.patch_size],
    );
    add(format!("{projection}.bias"), &[hidden]);
    for layer in 0..config.num_hidden_layers {
        let mut linear = |name: &str, rows: usize, columns: usize, bias: bool| {
            add(format!("layers.{layer}.{name}.weight"), &[rows, columns]);
            if bias {
                add(format!("layers.{layer}.{name}.bias"), &[rows]);
            }
        };
        for name in ["q_proj", "k_proj", "v_proj"] {
            linear(
                &format!("attention.{name}"),
                hidden,
                hidden,
                config.qkv_bias,
            );
        }
        linear("attention.o_proj", hidden, hidden, true);
        linear("mlp.fc1", config.intermediate_size, hidden, true);
        linear("mlp.fc2", hidden, config.intermediate_size, true);
        for norm in ["layernorm_before", "layernorm_after"] {
            for part in ["weight", "bias"] {
                add(format!("layers.{layer}.{norm}.{part}"), &[hidden]);
            }
        }
    }
    for part in ["weight", "bias"] {
        add(format!("layernorm.{part}"), &[hidden]);
    }
    shapes
}

/// A model directory, read and checked, on no device yet.
pub struct ModelDir {
    /// The encoder's settings.
    pub config: AstConfig,
    /// The front end's settings.
    pub features: FeatureConfig,
    /// Names this model.
    pub extractor: ExtractorId,
    weights: BTreeMap<String, Tensor>,
}

impl ModelDir {
    /// Reads a directory written by `transformers` (`ASTModel` or `ASTForAudioClassification`,
    /// whose head is passed over) or by [`ModelDir::save`].
    ///
    /// # Errors
    ///
    /// [`ModelError`] that names the file, key or weight at fault.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join(CONFIG_FILE);
        let text = read(&path)?;
        let config =
            serde_json::from_slice(&text).map_err(|source| ModelError::Json { path, source })?;
        let features = FeatureConfig::load(dir)?;
        let bytes = read(&dir.join(WEIGHTS_FILE))?;
        let mut weights = BTreeMap::new();
        for (name, weight) in candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)? {
            match canonical_name(&name) {
                Some(name) => {
                    weights.insert(name, weight.to_dtype(DType::F32)?);
                }
                None => tracing::debug!(
                    weight = name,
                    "the classification head is not part of the encoder"
                ),
            }
        }
        Self::new(config, features, weights)
    }

    /// Puts a model together from its parts and checks that they fit.
    ///
    /// # Errors
    ///
    /// [`ModelError`] that names the key or weight at fault.
    pub fn new(
        config: AstConfig,
        features: FeatureConfig,
        weights: BTreeMap<String, Tensor>,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        check_front_end(&config, &features)?;
        check_weights(&config, &weights)?;
        let extractor = extractor_id(&config, &features, &weights)?;
        Ok(Self {
            config,
            features,
            extractor,
            weights,
        })
    }

    /// Writes the directory as `transformers` reads it. The directory is made if needed; existing
    /// files of the same names are replaced.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] when a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ModelError::Io { path, source }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        let path = dir.join(CONFIG_FILE);
        let text = serde_json::to_vec_pretty(&self.config).map_err(|source| ModelError::Json {
            path: path.clone(),
            source,
        })?;
        fs::write(&path, text).map_err(io(&path))?;
        self.features.save(dir)?;
        let published: HashMap<String, Tensor> = self
            .weights
            .iter()
            .map(|(name, weight)| (published_name(name), weight.clone()))
            .collect();
        // Not by the library's own writing to a file, which nobody but the writer may then read.
        let path = dir.join(WEIGHTS_FILE);
        let bytes = safetensors::serialize(&published, None).map_err(candle_core::Error::wrap)?;
        fs::write(&path, bytes).map_err(io(&path))
    }

    /// Puts the encoder onto a device, to compute there in a precision. In int8 it is compared with f32 on a few windows
    /// first; where it does not give nearly the same embeddings, or has widths that are no whole cells, it computes in bf16
    /// or f32 instead and the log says so.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensor`] when the device has no room.
    pub fn encoder(&self, device: &Device, precision: Precision) -> Result<Encoder, ModelError> {
        let load =
            |precision| Encoder::new(self.config.clone(), self.weights.clone(), device, precision);
        if precision != Precision::Int8 {
            return load(precision);
        }
        let instead = Precision::of_cpu_without_int8();
        match load(Precision::Int8) {
            Ok(encoder) => {
                let cosine = trial::least_cosine(&load(Precision::F32)?, &encoder)?;
                if cosine >= trial::MIN_COSINE {
                    return Ok(encoder);
                }
                tracing::warn!(
                    cosine,
                    "int8 changes what this encoder gives, computing in {}",
                    instead.name()
                );
            }
            Err(error) => tracing::warn!(
                %error,
                "this encoder does not compute in int8, computing in {}",
                instead.name()
            ),
        }
        load(instead)
    }

    /// The weights by their canonical names, on the CPU.
    #[must_use]
    pub fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.weights
    }

    /// Number of weights, in values.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.weights.values().map(Tensor::elem_count).sum()
    }

    /// Path of one of the directory's files, for messages.
    #[must_use]
    pub fn weights_path(dir: &Path) -> PathBuf {
        dir.join(WEIGHTS_FILE)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::Io {
        path: path.to_path_buf(),
        source,
    })
}

fn check_front_end(config: &AstConfig, features: &FeatureConfig) -> Result<(), ModelError> {
    for (key, features, model) in [
        ("num_mel_bins", features.num_mel_bins, config.num_mel_bins),
        ("max_length", features.max_length, config.max_length),
    ] {
        if features != model {
            return Err(ModelError::FrontEndMismatch {
                key,
                features,
                model,
            });
        }
    }
    Ok(())
}

fn check_weights(config: &AstConfig, weights: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
    let shapes = weight_shapes(config);
    let missing: Vec<_> = shapes
        .keys()
        .filter(|name| !weights.contains_key(*name))
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Err(ModelError::MissingWeights(missing));
    }
    let unknown: Vec<_> = weights
        .keys()
        .filter(|name| !shapes.contains_key(*name))
        .cloned()
        .collect();
    if !unknown.is_empty() {
        return Err(ModelError::UnknownWeights(unknown));
    }
    for (name, expected) in shapes {
        let weight = &weights[&name];
        if weight.dims() != expected {
            let found = weight.dims().to_vec();
            return Err(ModelError::WeightShape {
                name,
                found,
                expected,
            });
        }
        // One NaN or infinity anywhere makes the sum not finite; sums of real weights stay far below.
        if !weight.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Err(ModelError::NotFinite(name));
        }
    }
    Ok(())
}

/// The first 16 hex digits of the SHA-256 over settings and weights.
fn extractor_id(
    config: &AstConfig,
    features: &FeatureConfig,
    weights: &BTreeMap<String, Tensor>,
) -> Result<ExtractorId, ModelError> {
    let settings = serde_json::json!({
        "front_end": crate::audio::FRONT_END_VERSION,
        "config": config,
        "features": features,
    });
    let mut hash = Sha256::new();
    hash.update(settings.to_string());
    for (name, weight) in weights {
        hash.update(name);
        let values = weight.flatten_all()?.to_vec1::<f32>()?;
        hash.update(
            values
                .into_iter()
                .flat_map(f32::to_le_bytes)
                .collect::<Vec<u8>>(),
        );
    }
    Ok(ExtractorId::new(hex(&hash.finalize()[..8])))
}
