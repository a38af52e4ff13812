//! The encoder put together from candle's own parts: a convolution for the patches, and the blocks of
//! `candle-transformers`' Vision Transformer, which the Audio Spectrogram Transformer shares. Songkin's own is compared
//! with it, for what it computes and for its speed.

use std::collections::HashMap;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Activation, Conv2d, Conv2dConfig, LayerNorm, VarBuilder};
use candle_transformers::models::vit;
use songkin::model::{ModelDir, Pooling, published_name};

pub(crate) struct StockEncoder {
    projection: Conv2d,
    /// Class and distillation token: `[1, 2, hidden]`.
    extra: Tensor,
    /// `[1, tokens, hidden]`
    positions: Tensor,
    blocks: vit::Encoder,
    norm: LayerNorm,
}

impl StockEncoder {
    /// # Errors
    ///
    /// When a weight is missing.
    ///
    /// # Panics
    ///
    /// For a model that candle's parts cannot make up: with two different strides, or of another pooling.
    pub(crate) fn new(model: &ModelDir) -> Result<Self> {
        let config = &model.config;
        assert_eq!(config.frequency_stride, config.time_stride);
        assert_eq!(config.pooling, Pooling::Tokens);
        let weights: HashMap<String, Tensor> = model
            .weights()
            .iter()
            .map(|(name, weight)| (published_name(name), weight.clone()))
            .collect();
        let vb = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let hidden = config.hidden_size;
        let patch = config.patch_size;
        let embeddings = vb.pp("embeddings");
        let token = |name| embeddings.get((1, 1, hidden), name);
        let strides = Conv2dConfig {
            stride: config.time_stride,
            ..Conv2dConfig::default()
        };
        let blocks = vit::Config {
            hidden_size: hidden,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            intermediate_size: config.intermediate_size,
            hidden_act: Activation::Gelu,
            layer_norm_eps: config.layer_norm_eps,
            qkv_bias: config.qkv_bias,
            // Not looked at by the blocks.
            image_size: 0,
            patch_size: patch,
            num_channels: 1,
        };
        Ok(Self {
            projection: candle_nn::conv2d(
                1,
                hidden,
                patch,
                strides,
                embeddings.pp("patch_embeddings.projection"),
            )?,
            extra: Tensor::cat(&[token("cls_token")?, token("distillation_token")?], 1)?,
            positions: embeddings.get((1, config.tokens(), hidden), "position_embeddings")?,
            blocks: vit::Encoder::new(&blocks, vb.pp("encoder"))?,
            norm: candle_nn::layer_norm(hidden, config.layer_norm_eps, vb.pp("layernorm"))?,
        })
    }

    /// Normalised windows `[windows, frames, mel_bins]` to the mean of class and distillation token,
    /// `[windows, hidden]`.
    ///
    /// # Errors
    ///
    /// When the windows are not as long as the position embeddings.
    pub(crate) fn forward(&self, windows: &Tensor) -> Result<Tensor> {
        let image = windows.transpose(1, 2)?.unsqueeze(1)?;
        let patches = self.projection.forward(&image)?.flatten_from(2)?;
        let patches = patches.transpose(1, 2)?;
        let (count, _, hidden) = patches.dims3()?;
        let extra = self.extra.expand((count, 2, hidden))?;
        let tokens = Tensor::cat(&[&extra, &patches], 1)?;
        let tokens = self
            .blocks
            .forward(&tokens.broadcast_add(&self.positions)?)?;
        self.norm.forward(&tokens)?.narrow(1, 0, 2)?.mean(1)
    }
}
