//! Audio Spectrogram Transformer.
//!
//! Gong, Chung, Glass: "AST: Audio Spectrogram Transformer", Interspeech 2021, arXiv:2104.01778;
//! the layout is that of `ASTModel` in Hugging Face's `transformers`: pre-norm blocks, exact GELU,
//! a class and a distillation token whose mean is the pooled output. Field names are the keys in
//! the safetensors file (see [`super::canonical_name`]).

use candle_core::{D, Module, Result, Tensor};
use candle_nn::{VarBuilder, ops::softmax_last_dim};
use candle_transformers::models::with_tracing::{LayerNorm, Linear, layer_norm, linear, linear_b};

use super::AstConfig;

struct Embeddings {
    cls_token: Tensor,
    distillation_token: Tensor,
    position_embeddings: Tensor,
    projection: Linear,
    mel_index: Tensor,
    time_index: Tensor,
    grid: (usize, usize),
    patch_size: usize,
}

/// Positions covered by `patches` patches of `size` values, `stride` apart, patch after patch.
fn unfold_index(
    patches: usize,
    size: usize,
    stride: usize,
    like: &VarBuilder<'_>,
) -> Result<Tensor> {
    let index: Vec<u32> = (0..patches)
        .flat_map(|patch| (0..size).map(move |offset| (patch * stride + offset) as u32))
        .collect();
    Tensor::new(index, like.device())
}

impl Embeddings {
    fn new(config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let hidden = config.hidden_size;
        let patch = config.patch_size;
        let grid = config.patch_grid();
        let projection = vb.pp("patch_embeddings.projection");
        // The convolution's kernel `[hidden, 1, mel, time]` as a matrix: unfold and matmul gives
        // what conv2d gives, for any pair of strides, and its gradient is cheap.
        let kernel = projection.get((hidden, 1, patch, patch), "weight")?;
        let kernel = kernel.reshape((hidden, patch * patch))?;
        let bias = projection.get(hidden, "bias")?;
        Ok(Self {
            cls_token: vb.get((1, 1, hidden), "cls_token")?,
            distillation_token: vb.get((1, 1, hidden), "distillation_token")?,
            position_embeddings: vb.get((1, config.tokens(), hidden), "position_embeddings")?,
            projection: Linear::from_weights(kernel, Some(bias)),
            mel_index: unfold_index(grid.0, patch, config.frequency_stride, &vb)?,
            time_index: unfold_index(grid.1, patch, config.time_stride, &vb)?,
            grid,
            patch_size: patch,
        })
    }

    /// `[batch, frames, mel_bins]` to `[batch, tokens, hidden]`.
    fn forward(&self, windows: &Tensor) -> Result<Tensor> {
        let batch = windows.dim(0)?;
        let (mel, time) = self.grid;
        let size = self.patch_size;
        let patches = windows
            .index_select(&self.time_index, 1)?
            .index_select(&self.mel_index, 2)?
            .reshape((batch, time, size, mel, size))?
            .permute((0, 3, 1, 4, 2))?
            .reshape((batch, mel * time, size * size))?;
        let patches = self.projection.forward(&patches)?;
        let hidden = patches.dim(D::Minus1)?;
        let cls = self.cls_token.expand((batch, 1, hidden))?;
        let distillation = self.distillation_token.expand((batch, 1, hidden))?;
        Tensor::cat(&[&cls, &distillation, &patches], 1)?.broadcast_add(&self.position_embeddings)
    }
}

struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    heads: usize,
}

impl Attention {
    fn new(config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let hidden = config.hidden_size;
        let bias = config.qkv_bias;
        Ok(Self {
            q_proj: linear_b(hidden, hidden, bias, vb.pp("q_proj"))?,
            k_proj: linear_b(hidden, hidden, bias, vb.pp("k_proj"))?,
            v_proj: linear_b(hidden, hidden, bias, vb.pp("v_proj"))?,
            o_proj: linear(hidden, hidden, vb.pp("o_proj"))?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, hidden) = x.dims3()?;
        let head_dim = hidden / self.heads;
        let split = |y: Tensor| {
            y.reshape((batch, tokens, self.heads, head_dim))?
                .transpose(1, 2)?
                .contiguous()
        };
        // Scaling the queries instead of the scores touches `head_dim / tokens` as many values.
        let q = (split(self.q_proj.forward(x)?)? * (head_dim as f64).powf(-0.5))?;
        let k = split(self.k_proj.forward(x)?)?;
        let v = split(self.v_proj.forward(x)?)?;
        let weights = softmax_last_dim(&q.matmul(&k.t()?)?)?;
        let context = weights
            .matmul(&v)?
            .transpose(1, 2)?
            .reshape((batch, tokens, hidden))?;
        self.o_proj.forward(&context)
    }
}

struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    fn new(config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            fc1: linear(config.hidden_size, config.intermediate_size, vb.pp("fc1"))?,
            fc2: linear(config.intermediate_size, config.hidden_size, vb.pp("fc2"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(x)?.gelu_erf()?)
    }
}

struct Layer {
    layernorm_before: LayerNorm,
    attention: Attention,
    layernorm_after: LayerNorm,
    mlp: Mlp,
}

impl Layer {
    fn new(config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let norm = |name| layer_norm(config.hidden_size, config.layer_norm_eps, vb.pp(name));
        Ok(Self {
            layernorm_before: norm("layernorm_before")?,
            attention: Attention::new(config, vb.pp("attention"))?,
            layernorm_after: norm("layernorm_after")?,
            mlp: Mlp::new(config, vb.pp("mlp"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = (x + self.attention.forward(&self.layernorm_before.forward(x)?)?)?;
        &x + self.mlp.forward(&self.layernorm_after.forward(&x)?)?
    }
}

/// What a forward pass gives.
pub struct AstOutput {
    /// All tokens after the final norm, `[batch, tokens, hidden]`.
    pub last_hidden_state: Tensor,
    /// Mean of the class and the distillation token, `[batch, hidden]`.
    pub pooler_output: Tensor,
}

/// The encoder.
pub struct Ast {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    layernorm: LayerNorm,
}

impl Ast {
    /// Builds the encoder from weights with canonical names.
    ///
    /// # Errors
    ///
    /// When a weight is missing or has another shape than the configuration asks for.
    pub fn new(config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let layers = (0..config.num_hidden_layers)
            .map(|number| Layer::new(config, vb.pp("layers").pp(number)))
            .collect::<Result<_>>()?;
        Ok(Self {
            embeddings: Embeddings::new(config, vb.pp("embeddings"))?,
            layers,
            layernorm: layer_norm(
                config.hidden_size,
                config.layer_norm_eps,
                vb.pp("layernorm"),
            )?,
        })
    }

    /// Forward pass over normalised spectrogram windows, `[batch, max_length, num_mel_bins]`.
    ///
    /// # Errors
    ///
    /// When the windows have another shape, or the device fails.
    pub fn forward(&self, windows: &Tensor) -> Result<AstOutput> {
        let mut x = self.embeddings.forward(windows)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        let last_hidden_state = self.layernorm.forward(&x)?;
        let pooler_output = last_hidden_state.narrow(1, 0, 2)?.mean(1)?;
        Ok(AstOutput {
            last_hidden_state,
            pooler_output,
        })
    }
}
