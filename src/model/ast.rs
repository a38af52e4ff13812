//! Audio Spectrogram Transformer, for serving and for training.
//!
//! Gong, Chung, Glass: "AST: Audio Spectrogram Transformer", Interspeech 2021, arXiv:2104.01778;
//! the layout is that of `ASTModel` in Hugging Face's `transformers`: pre-norm blocks, exact GELU,
//! a class and a distillation token whose mean is the pooled output. Field names are the keys in
//! the safetensors file (see [`super::canonical_name`]).
//!
//! Weights that are variables get gradients. On a CPU the arithmetic is that of
//! [`super::kernels`]; elsewhere, and in f64, it is the plain one written down here.

use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::{
    AstConfig, Pooling,
    kernels::{self, Buffers, Prepared, StackShape, plain},
};

/// Tokens before the patches: class and distillation.
const EXTRA_TOKENS: usize = 2;

/// The part of a window's patches that a forward pass sees; the others cost nothing.
///
/// Leaving out whole rows and columns of the grid of patches is structured patchout (Koutini et
/// al., "Efficient Training of Audio Transformers with Patchout", Interspeech 2022,
/// arXiv:2110.05069). What is kept has the position embeddings of its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPatches {
    /// Rows of the grid, along the mel axis.
    pub mel_rows: Vec<u32>,
    /// Columns of the window's grid, along the time axis.
    pub time_columns: Vec<u32>,
    /// Where the window begins, in columns of the encoder's grid, for one that is shorter than
    /// the encoder's longest: its columns have the position embeddings from there on.
    pub first_column: u32,
}

struct Embeddings {
    cls_token: Tensor,
    distillation_token: Tensor,
    position_embeddings: Tensor,
    projection: Linear,
    config: AstConfig,
    /// What [`Embeddings::table`] gives for all patches, where weights are fixed.
    whole: Option<Tensor>,
}

impl Embeddings {
    fn new(config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let hidden = config.hidden_size;
        let patch = config.patch_size;
        let projection = vb.pp("patch_embeddings.projection");
        let mut embeddings = Self {
            cls_token: vb.get((1, 1, hidden), "cls_token")?,
            distillation_token: vb.get((1, 1, hidden), "distillation_token")?,
            position_embeddings: vb.get((1, config.tokens(), hidden), "position_embeddings")?,
            projection: Linear {
                weight: projection.get((hidden, 1, patch, patch), "weight")?,
                bias: Some(projection.get(hidden, "bias")?),
            },
            config: config.clone(),
            whole: None,
        };
        let table = embeddings.table(&embeddings.all(config.patch_grid().1))?;
        embeddings.whole = (!table.track_op()).then_some(table);
        Ok(embeddings)
    }

    /// All patches of a window with so many columns of them.
    fn all(&self, columns: usize) -> KeptPatches {
        KeptPatches {
            mel_rows: (0..self.config.patch_grid().0 as u32).collect(),
            time_columns: (0..columns as u32).collect(),
            first_column: 0,
        }
    }

    /// `[windows, frames, mel_bins]` to `[windows, tokens, hidden]`.
    fn forward(&self, windows: &Tensor, kept: Option<&KeptPatches>) -> Result<Tensor> {
        let (_, frames, bins) = windows.dims3()?;
        let config = &self.config;
        let size = config.patch_size;
        if bins != config.num_mel_bins || !(size..=config.max_length).contains(&frames) {
            bail!(
                "windows of {frames} frames and {bins} mel bins, the encoder takes {size} to {} frames and {} mel bins",
                config.max_length,
                config.num_mel_bins
            );
        }
        let columns = (frames - size) / config.time_stride + 1;
        let all = self.all(columns);
        let whole = kept.is_none() && columns == config.patch_grid().1;
        let kept = kept.unwrap_or(&all);
        if kept
            .time_columns
            .iter()
            .any(|&column| column as usize >= columns)
        {
            bail!("the window has {columns} columns of patches, {kept:?} are wanted");
        }
        let firsts = |places: &[u32], stride| -> Vec<usize> {
            places
                .iter()
                .map(|&place| place as usize * stride)
                .collect()
        };
        let patches = kernels::patches(
            windows,
            firsts(&kept.mel_rows, config.frequency_stride),
            firsts(&kept.time_columns, config.time_stride),
            size,
        )?;
        // The convolution's kernel as a matrix: cutting out and multiplying gives what conv2d
        // gives, for any pair of strides, and its gradient is cheap.
        let kernel = self
            .projection
            .weight
            .reshape((config.hidden_size, size * size))?;
        let table = match &self.whole {
            Some(table) if whole => table.clone(),
            _ => self.table(kept)?,
        };
        kernels::embed(&patches, &kernel, &table)
    }

    /// [`Embeddings::forward`] of a few patches of each window, `[windows, patches, size * size]`,
    /// numbered row by row in the grid.
    fn scattered(&self, patches: &Tensor, kept: &[Vec<u32>]) -> Result<Tensor> {
        let (windows, count, values) = patches.dims3()?;
        let hidden = self.config.hidden_size;
        let (rows, columns) = self.config.patch_grid();
        if kept.len() != windows || kept.iter().any(|own| own.len() != count) {
            bail!("{windows} windows of {count} patches do not have the places that are given");
        }
        if kept
            .iter()
            .flatten()
            .any(|&number| number as usize >= rows * columns)
        {
            bail!("not all patches are in a grid of {rows} x {columns}");
        }
        let kernel = self.projection.weight.reshape((hidden, values))?;
        let projected = match &self.projection.bias {
            Some(bias) => kernels::linear(patches, &kernel, bias)?,
            None => plain::linear(patches, &kernel, None)?,
        };
        let places: Vec<u32> = kept
            .iter()
            .flatten()
            .map(|number| EXTRA_TOKENS as u32 + number)
            .collect();
        let positions = self.position_embeddings.squeeze(0)?;
        let own = positions
            .index_select(&Tensor::new(places, patches.device())?, 0)?
            .reshape((windows, count, hidden))?;
        let extra = Tensor::cat(&[&self.cls_token, &self.distillation_token], 1)?;
        let extra = (extra + positions.narrow(0, 0, EXTRA_TOKENS)?.unsqueeze(0)?)?;
        let extra = extra
            .expand((windows, EXTRA_TOKENS, hidden))?
            .contiguous()?;
        Tensor::cat(&[&extra, &(projected + own)?], 1)
    }

    /// What is added to each token: `[tokens, hidden]`. The first rows are tokens themselves; the
    /// others carry the projection's bias.
    fn table(&self, kept: &KeptPatches) -> Result<Tensor> {
        let hidden = self.config.hidden_size;
        let (rows, columns) = self.config.patch_grid();
        let positions = self.position_embeddings.squeeze(0)?;
        let extra = Tensor::cat(&[&self.cls_token, &self.distillation_token], 1)?;
        let extra = (extra.squeeze(0)? + positions.narrow(0, 0, EXTRA_TOKENS)?)?;
        let mut index = Vec::with_capacity(kept.mel_rows.len() * kept.time_columns.len());
        for &row in &kept.mel_rows {
            for &column in &kept.time_columns {
                let column = (kept.first_column + column) as usize;
                if row as usize >= rows || column >= columns {
                    bail!("{kept:?} are not all in a grid of {rows} x {columns} patches");
                }
                index.push((EXTRA_TOKENS + row as usize * columns + column) as u32);
            }
        }
        let patches = if index.len() == rows * columns {
            positions.narrow(0, EXTRA_TOKENS, index.len())?
        } else {
            positions.index_select(&Tensor::new(index, positions.device())?, 0)?
        };
        let patches = match &self.projection.bias {
            Some(bias) => patches.broadcast_add(&bias.reshape((1, hidden))?)?,
            None => patches,
        };
        Tensor::cat(&[&extra, &patches], 0)
    }
}

struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    fn new(inputs: usize, outputs: usize, bias: bool, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: vb.get((outputs, inputs), "weight")?,
            bias: bias.then(|| vb.get(outputs, "bias")).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        plain::linear(x, &self.weight, self.bias.as_ref())
    }
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    fn new(config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: vb.get(config.hidden_size, "weight")?,
            bias: vb.get(config.hidden_size, "bias")?,
            epsilon: config.layer_norm_eps as f32,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::layer_norm(x, &self.weight, &self.bias, self.epsilon)
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
        let projection = |name, bias| Linear::new(hidden, hidden, bias, vb.pp(name));
        Ok(Self {
            q_proj: projection("q_proj", config.qkv_bias)?,
            k_proj: projection("k_proj", config.qkv_bias)?,
            v_proj: projection("v_proj", config.qkv_bias)?,
            o_proj: projection("o_proj", true)?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let q = self.q_proj.forward(x)?;
        let k = self.k_proj.forward(x)?;
        let v = self.v_proj.forward(x)?;
        let context = plain::attention(&q, &k, &v, self.heads)?;
        self.o_proj.forward(&context)
    }
}

struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    fn new(config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            fc1: Linear::new(hidden, wide, true, vb.pp("fc1"))?,
            fc2: Linear::new(wide, hidden, true, vb.pp("fc2"))?,
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
    fn new(products: DType, config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let linear = vb.to_dtype(products);
        Ok(Self {
            layernorm_before: LayerNorm::new(config, vb.pp("layernorm_before"))?,
            attention: Attention::new(config, linear.pp("attention"))?,
            layernorm_after: LayerNorm::new(config, vb.pp("layernorm_after"))?,
            mlp: Mlp::new(config, linear.pp("mlp"))?,
        })
    }

    /// The plain way. [`kernels::stack`] computes the same. Tokens keep their type, and what is
    /// made of them between a norm and a sum has that of the linear weights.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (tokens, products) = (x.dtype(), self.mlp.fc1.weight.dtype());
        let normed = self.layernorm_before.forward(x)?.to_dtype(products)?;
        let x = (x + self.attention.forward(&normed)?.to_dtype(tokens)?)?;
        let normed = self.layernorm_after.forward(&x)?.to_dtype(products)?;
        &x + self.mlp.forward(&normed)?.to_dtype(tokens)?
    }

    /// All weights in the order in which [`kernels::stack`] takes them.
    fn in_order(&self) -> Vec<&Tensor> {
        let Attention {
            q_proj: q,
            k_proj: k,
            v_proj: v,
            o_proj: o,
            ..
        } = &self.attention;
        let Mlp { fc1, fc2 } = &self.mlp;
        let (before, after) = (&self.layernorm_before, &self.layernorm_after);
        let mut weights = vec![&before.weight, &before.bias];
        weights.extend([&q.weight, &k.weight, &v.weight]);
        weights.extend([&q.bias, &k.bias, &v.bias].into_iter().flatten());
        weights.push(&o.weight);
        weights.extend(&o.bias);
        weights.extend([&after.weight, &after.bias]);
        for linear in [fc1, fc2] {
            weights.push(&linear.weight);
            weights.extend(&linear.bias);
        }
        weights
    }
}

/// What a forward pass gives.
pub struct AstOutput {
    /// All tokens after the final norm, `[batch, tokens, hidden]`: class, distillation, patches.
    pub last_hidden_state: Tensor,
    /// Mean of the tokens that the configuration's pooling takes, `[batch, hidden]`.
    pub embedding: Tensor,
}

impl AstOutput {
    /// Mean of the class and the distillation token, `[batch, hidden]`: `pooler_output` in
    /// `transformers`, and the embedding with [`Pooling::Tokens`].
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn pooler_output(&self) -> Result<Tensor> {
        kernels::mean_tokens(&self.last_hidden_state, 0..EXTRA_TOKENS)
    }
}

/// The encoder.
pub struct Ast {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    layernorm: LayerNorm,
    shape: StackShape,
    pooling: Pooling,
    /// All layers' weights where the kernels run them: in order once if they are fixed (and then no
    /// longer in the layers), put together for every pass if they are variables.
    packed: Packed,
}

enum Packed {
    Never,
    Once(Prepared),
    EveryPass(Vec<Tensor>, Buffers),
}

impl Ast {
    /// Builds the encoder from weights with canonical names. Weights that are variables are
    /// trained: a loss made of the output has gradients with respect to each of them.
    ///
    /// # Errors
    ///
    /// When a weight is missing or has another shape than the configuration asks for.
    pub fn new(config: &AstConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Self::with_products_in(vb.dtype(), config, vb)
    }

    /// [`Ast::new`] with products in another type than the rest, see [`super::Precision`]; for serving only. The blocks' linear
    /// weights are held in that type. There is no plain way for U8.
    ///
    /// # Errors
    ///
    /// As [`Ast::new`], and when products are to be in U8 and the device or the encoder's widths do not allow that.
    pub fn with_products_in(
        products: DType,
        config: &AstConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let held = match products {
            DType::U8 => vb.dtype(),
            products => products,
        };
        let mut layers = (0..config.num_hidden_layers)
            .map(|number| Layer::new(held, config, vb.pp("layers").pp(number)))
            .collect::<Result<Vec<_>>>()?;
        let shape = StackShape {
            layers: config.num_hidden_layers,
            hidden: config.hidden_size,
            heads: config.num_attention_heads,
            intermediate: config.intermediate_size,
            qkv_bias: config.qkv_bias,
            epsilon: config.layer_norm_eps as f32,
        };
        let packed = Packed::new(&mut layers, products, shape)?;
        Ok(Self {
            embeddings: Embeddings::new(config, vb.pp("embeddings"))?,
            layers,
            layernorm: LayerNorm::new(config, vb.pp("layernorm"))?,
            shape,
            pooling: config.pooling,
            packed,
        })
    }

    /// Forward pass over normalised spectrogram windows, `[batch, frames, num_mel_bins]`.
    ///
    /// # Errors
    ///
    /// When the windows have another shape, or the device fails.
    pub fn forward(&self, windows: &Tensor) -> Result<AstOutput> {
        self.forward_kept(windows, None)
    }

    /// [`Ast::forward`] over some of the patches. Windows may be shorter than `max_length` frames.
    ///
    /// # Errors
    ///
    /// When the windows have another shape, `kept` names patches that they or the grid do not
    /// have, or the device fails.
    pub fn forward_kept(&self, windows: &Tensor, kept: Option<&KeptPatches>) -> Result<AstOutput> {
        let forward = || self.encode(self.embeddings.forward(windows, kept)?);
        match &self.packed {
            // On a thread of the pool, or every operation would wake one and wait for it.
            Packed::Once(_) => rayon::scope(|_| forward()),
            // A card's context belongs to its thread.
            Packed::Never | Packed::EveryPass(..) => forward(),
        }
    }

    /// [`Ast::forward`] over a few patches of each window, others in each: unstructured patchout.
    /// `kept[window]` numbers them row by row in the grid, as many in every window; `patches` is
    /// what [`AstConfig::cut_patches`] has cut out for it.
    ///
    /// # Errors
    ///
    /// When patches and places do not fit each other or the grid, or the device fails.
    pub fn forward_scattered(&self, patches: &Tensor, kept: &[Vec<u32>]) -> Result<AstOutput> {
        self.encode(self.embeddings.scattered(patches, kept)?)
    }

    /// The embeddings of [`Ast::forward`] alone, `[batch, hidden]`: where the weights are fixed, the last block is
    /// computed for no other tokens than pooling takes.
    ///
    /// # Errors
    ///
    /// As [`Ast::forward`].
    pub fn embed(&self, windows: &Tensor) -> Result<Tensor> {
        let Packed::Once(prepared) = &self.packed else {
            return Ok(self.forward(windows)?.embedding);
        };
        rayon::scope(|_| {
            let x = self.embeddings.forward(windows, None)?;
            let pooled = self.pooled(x.dim(1)?);
            let x = kernels::encode(&x, prepared, pooled.end)?;
            kernels::mean_tokens(&self.layernorm.forward(&x)?, pooled)
        })
    }

    /// The tokens, of so many, whose mean is the embedding.
    fn pooled(&self, tokens: usize) -> Range<usize> {
        match self.pooling {
            Pooling::Tokens => 0..EXTRA_TOKENS,
            Pooling::Patches => EXTRA_TOKENS..tokens,
        }
    }

    /// Tokens through all layers.
    fn encode(&self, mut x: Tensor) -> Result<AstOutput> {
        let tokens = x.dim(1)?;
        match &self.packed {
            Packed::Never => {
                for layer in &self.layers {
                    x = layer.forward(&x)?;
                }
            }
            Packed::Once(prepared) => x = kernels::encode(&x, prepared, tokens)?,
            Packed::EveryPass(parts, buffers) => {
                x = kernels::stack(&x, &pack(parts)?, self.shape, buffers.clone())?;
            }
        }
        let last_hidden_state = self.layernorm.forward(&x)?;
        Ok(AstOutput {
            embedding: kernels::mean_tokens(&last_hidden_state, self.pooled(tokens))?,
            last_hidden_state,
        })
    }
}

impl Packed {
    /// Takes fixed weights out of the layers: they are held once. Weights of another device, or of a type
    /// that the kernels do not multiply, stay there and go the plain way.
    fn new(layers: &mut Vec<Layer>, products: DType, shape: StackShape) -> Result<Self> {
        let parts: Vec<Tensor> = layers.iter().flat_map(Layer::in_order).cloned().collect();
        if !parts.iter().all(|part| part.device().is_cpu()) || !kernels::take(products, &shape) {
            if products == DType::U8 {
                bail!(
                    "products of bytes need a CPU with AVX512_VNNI and widths that are multiples of 4, not {shape:?}"
                );
            }
            return Ok(Self::Never);
        }
        if parts.iter().any(Tensor::is_variable) {
            return Ok(Self::EveryPass(parts, Buffers::default()));
        }
        layers.clear();
        Ok(Self::Once(kernels::prepare(
            &pack(&parts)?,
            products,
            shape,
        )?))
    }
}

/// All weights, one after another, in f32.
fn pack(parts: &[Tensor]) -> Result<Tensor> {
    let flat = parts
        .iter()
        .map(|part| part.to_dtype(DType::F32)?.flatten_all())
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&flat, 0)
}
