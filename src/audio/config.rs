//! Settings of the filterbank, in Hugging Face's `preprocessor_config.json`.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{AudioError, FeatureError, SAMPLE_RATE};

/// The file's name inside a model's directory.
const FILE_NAME: &str = "preprocessor_config.json";

/// The only feature extractor that is implemented here.
const EXTRACTOR: &str = "ASTFeatureExtractor";

/// Settings of `ASTFeatureExtractor`, under its own key names.
///
/// Keys that are left out have the extractor's defaults. Keys that it does not compute with
/// (`processor_class`, `padding_side`, ...) are kept in [`other`](Self::other) and written back, so
/// that a model's directory survives a round trip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeatureConfig {
    /// Name of the extractor; anything but `ASTFeatureExtractor` computes something else.
    pub feature_extractor_type: String,
    /// Samples per second that the extractor expects.
    pub sampling_rate: u32,
    /// Mel filters per frame.
    pub num_mel_bins: usize,
    /// Frames in one window: what is longer is cut, what is shorter is padded with zeros.
    pub max_length: usize,
    /// Whether values become `(value - mean) / (2 std)`.
    pub do_normalize: bool,
    /// Mean of the training set's log energies (AudioSet's by default).
    pub mean: f32,
    /// Standard deviation of the training set's log energies.
    pub std: f32,
    /// Values per sample; mono audio has one.
    pub feature_size: usize,
    /// Keys that the filterbank does not use.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for FeatureConfig {
    fn default() -> Self {
        Self {
            feature_extractor_type: EXTRACTOR.to_owned(),
            sampling_rate: SAMPLE_RATE,
            num_mel_bins: 128,
            max_length: 1024,
            do_normalize: true,
            mean: -4.267_739_3,
            std: 4.568_997_4,
            feature_size: 1,
            other: Map::new(),
        }
    }
}

impl FeatureConfig {
    /// Reads `preprocessor_config.json` from a model's directory.
    ///
    /// # Errors
    /// [`AudioError::Features`] where the file is missing, is not a JSON object, or asks for
    /// something that is not implemented here.
    pub fn load(dir: &Path) -> Result<Self, AudioError> {
        let path = dir.join(FILE_NAME);
        let text = fs::read_to_string(&path).map_err(|source| FeatureError::File {
            path: path.clone(),
            source,
        })?;
        let config: Self =
            serde_json::from_str(&text).map_err(|source| FeatureError::Json { path, source })?;
        config.validate()?;
        Ok(config)
    }

    /// Writes `preprocessor_config.json` into a model's directory.
    ///
    /// # Errors
    /// [`AudioError::Features`] where the file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), AudioError> {
        let path = dir.join(FILE_NAME);
        let mut text = serde_json::to_string_pretty(self).map_err(|source| FeatureError::Json {
            path: path.clone(),
            source,
        })?;
        text.push('\n');
        fs::write(&path, text).map_err(|source| FeatureError::File { path, source })?;
        Ok(())
    }

    /// Checks that the filterbank here computes what these settings ask for.
    pub(super) fn validate(&self) -> Result<(), FeatureError> {
        let unsupported = |key, value: String, supported| {
            Err(FeatureError::Unsupported {
                key,
                value,
                supported,
            })
        };
        if self.feature_extractor_type != EXTRACTOR {
            let value = self.feature_extractor_type.clone();
            return unsupported("feature_extractor_type", value, EXTRACTOR);
        }
        if self.sampling_rate != SAMPLE_RATE {
            return unsupported("sampling_rate", self.sampling_rate.to_string(), "16000");
        }
        if self.feature_size != 1 {
            return unsupported("feature_size", self.feature_size.to_string(), "1");
        }
        // More filters than FFT bins would leave most of them empty.
        if !(1..=256).contains(&self.num_mel_bins) {
            return unsupported("num_mel_bins", self.num_mel_bins.to_string(), "1 to 256");
        }
        if !(1..=65_536).contains(&self.max_length) {
            return unsupported("max_length", self.max_length.to_string(), "1 to 65536");
        }
        if !self.mean.is_finite() {
            return unsupported("mean", self.mean.to_string(), "a finite number");
        }
        if !(self.std.is_finite() && self.std > 0.0) {
            return unsupported("std", self.std.to_string(), "a positive number");
        }
        Ok(())
    }
}
