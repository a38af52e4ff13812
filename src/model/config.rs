//! `config.json` of an AST, with Hugging Face's keys.

use serde::{Deserialize, Serialize};

use super::ModelError;

/// The settings of an AST encoder; field names are the keys of `ASTConfig` in `transformers`.
///
/// Keys that only matter to `transformers` itself are passed over when reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AstConfig {
    /// Always `["ASTModel"]` when written here.
    pub architectures: Vec<String>,
    /// Always `audio-spectrogram-transformer`.
    pub model_type: String,
    /// Width of the encoder; also the dimension of the embedding.
    pub hidden_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Attention heads a block; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the MLP's hidden layer.
    pub intermediate_size: usize,
    /// Activation of the MLP; only `gelu` (the exact one, by the error function) is known.
    pub hidden_act: String,
    /// Dropout of hidden layers; used by `transformers` in training only.
    pub hidden_dropout_prob: f64,
    /// Dropout of attention weights; used by `transformers` in training only.
    pub attention_probs_dropout_prob: f64,
    /// Standard deviation of `transformers`' own initialisation.
    pub initializer_range: f64,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Side of a square patch, in mel bins and frames.
    pub patch_size: usize,
    /// Whether query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Step between patches along the mel axis, in bins.
    pub frequency_stride: usize,
    /// Step between patches along the time axis, in frames.
    pub time_stride: usize,
    /// Frames of a window.
    pub max_length: usize,
    /// Mel bins of a window.
    pub num_mel_bins: usize,
    /// Which tokens make the embedding. Not a key of `transformers`, which passes it over; without it the
    /// embedding is what `transformers` calls the pooled output.
    #[serde(
        rename = "songkin_pooling",
        skip_serializing_if = "Pooling::is_published"
    )]
    pub pooling: Pooling,
}

/// Which tokens make the embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean of class and distillation token: what `transformers` calls the pooled output.
    #[default]
    Tokens,
    /// The mean of the patches' tokens.
    Patches,
}

impl Pooling {
    fn is_published(&self) -> bool {
        *self == Self::Tokens
    }
}

/// The defaults are those of `ASTConfig`: the base-size model of Gong et al. 2021 (arXiv:2104.01778).
impl Default for AstConfig {
    fn default() -> Self {
        Self {
            architectures: vec!["ASTModel".to_owned()],
            model_type: "audio-spectrogram-transformer".to_owned(),
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_owned(),
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            patch_size: 16,
            qkv_bias: true,
            frequency_stride: 10,
            time_stride: 10,
            max_length: 1024,
            num_mel_bins: 128,
            pooling: Pooling::Tokens,
        }
    }
}

/// The two sizes that come with the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The published study's encoder: 512 wide, 12 blocks, 8 heads, strides of 10, 1,214 tokens.
    Paper,
    /// For CPUs: 192 wide, 6 blocks, 3 heads, strides of 16, 514 tokens. `docs/MODEL.md` has the
    /// measurements behind the choice.
    Small,
}

impl Preset {
    /// The preset's settings.
    #[must_use]
    pub fn config(self) -> AstConfig {
        match self {
            Self::Paper => AstConfig {
                hidden_size: 512,
                num_attention_heads: 8,
                intermediate_size: 2048,
                ..AstConfig::default()
            },
            Self::Small => AstConfig {
                hidden_size: 192,
                num_hidden_layers: 6,
                num_attention_heads: 3,
                intermediate_size: 768,
                frequency_stride: 16,
                time_stride: 16,
                ..AstConfig::default()
            },
        }
    }

    /// The preset's name in commands and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Small => "small",
        }
    }
}

impl AstConfig {
    /// Patches along the mel axis and along the time axis.
    #[must_use]
    pub fn patch_grid(&self) -> (usize, usize) {
        let count = |length: usize, stride: usize| (length - self.patch_size) / stride + 1;
        (
            count(self.num_mel_bins, self.frequency_stride),
            count(self.max_length, self.time_stride),
        )
    }

    /// Tokens of a window: all patches, the class token and the distillation token.
    #[must_use]
    pub fn tokens(&self) -> usize {
        let (mel, time) = self.patch_grid();
        mel * time + 2
    }

    /// Values of one window, `max_length * num_mel_bins`.
    #[must_use]
    pub fn window_len(&self) -> usize {
        self.max_length * self.num_mel_bins
    }

    /// Checks that this is an encoder that can be built.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] with the first key that cannot be.
    pub fn validate(&self) -> Result<(), ModelError> {
        let fault = |key, found: String, expected| {
            Err(ModelError::Config {
                key,
                found,
                expected,
            })
        };
        if self.model_type != "audio-spectrogram-transformer" {
            return fault(
                "model_type",
                self.model_type.clone(),
                "it has to be audio-spectrogram-transformer",
            );
        }
        if self.hidden_act != "gelu" {
            return fault("hidden_act", self.hidden_act.clone(), "only gelu is known");
        }
        for (key, value, most) in [
            ("hidden_size", self.hidden_size, 8192),
            ("num_hidden_layers", self.num_hidden_layers, 256),
            ("num_attention_heads", self.num_attention_heads, 256),
            ("intermediate_size", self.intermediate_size, 65_536),
            ("patch_size", self.patch_size, 1024),
            ("frequency_stride", self.frequency_stride, 1024),
            ("time_stride", self.time_stride, 65_536),
            ("max_length", self.max_length, 65_536),
            ("num_mel_bins", self.num_mel_bins, 1024),
        ] {
            if value == 0 || value > most {
                return fault(
                    key,
                    value.to_string(),
                    "it has to be positive and of a sensible size",
                );
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return fault(
                "num_attention_heads",
                self.num_attention_heads.to_string(),
                "it has to divide hidden_size",
            );
        }
        if self.patch_size > self.num_mel_bins || self.patch_size > self.max_length {
            return fault(
                "patch_size",
                self.patch_size.to_string(),
                "a patch has to fit into a window",
            );
        }
        if !(self.layer_norm_eps >= 0.0 && self.layer_norm_eps < 1.0) {
            return fault(
                "layer_norm_eps",
                self.layer_norm_eps.to_string(),
                "it has to be in [0, 1)",
            );
        }
        Ok(())
    }
}
