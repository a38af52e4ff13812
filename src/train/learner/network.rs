//! Encoder and head together, and their weights by name.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;

use super::batch::{Chunk, Seen, ViewBatch};
use crate::{
    model::{Ast, AstConfig, ProjectionHead},
    train::TrainError,
};

/// Prefix of the encoder's weights.
const ENCODER: &str = "encoder";
/// Prefix of the projection head's weights.
const HEAD: &str = "head";

/// Windows to embeddings and projections.
pub(super) struct Network {
    config: AstConfig,
    device: Device,
    encoder: Ast,
    head: ProjectionHead,
}

impl Network {
    pub(super) fn new(
        config: &AstConfig,
        weights: HashMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let vb = VarBuilder::from_tensors(weights, DType::F32, device);
        Ok(Self {
            config: config.clone(),
            device: device.clone(),
            encoder: Ast::new(config, vb.pp(ENCODER))?,
            head: ProjectionHead::new(config.hidden_size, &vb.pp(HEAD))?,
        })
    }

    /// Embeddings `[windows, hidden]` of all chunks, one after another.
    pub(super) fn embed_all(
        &self,
        batch: &ViewBatch,
        chunks: &[Chunk],
    ) -> Result<Tensor, TrainError> {
        let embeddings = chunks
            .iter()
            .map(|chunk| self.embed(batch, chunk))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::cat(&embeddings, 0)?)
    }

    /// Embeddings `[windows, hidden]` of a chunk's windows.
    pub(super) fn embed(&self, batch: &ViewBatch, chunk: &Chunk) -> Result<Tensor, TrainError> {
        let windows = batch.slices(chunk);
        if let Seen::Scattered(kept) = &chunk.seen {
            let patches = self.config.cut_patches(&windows, kept, &self.device)?;
            return Ok(self.encoder.forward_scattered(&patches, kept)?.embedding);
        }
        let shape = (windows.len(), batch.frames, self.config.num_mel_bins);
        let windows = Tensor::from_vec(windows.concat(), shape, &self.device)?;
        let output = match &chunk.seen {
            Seen::Grid(kept) => self.encoder.forward_kept(&windows, Some(kept))?,
            _ => self.encoder.forward(&windows)?,
        };
        Ok(output.embedding)
    }

    /// Embeddings `[windows, hidden]` to projections `[windows, 128]`.
    pub(super) fn project(&self, embeddings: &Tensor) -> Result<Tensor, TrainError> {
        Ok(self.head.forward(embeddings)?)
    }
}

/// Whether a weight belongs to the head.
pub(super) fn is_of_head(name: &str) -> bool {
    name.split_once('.').is_some_and(|(part, _)| part == HEAD)
}

/// All weights as variables of their own, on the device.
pub(super) fn variables(
    encoder: BTreeMap<String, Tensor>,
    head: BTreeMap<String, Tensor>,
    device: &Device,
) -> Result<BTreeMap<String, Var>, TrainError> {
    let named = |prefix: &'static str| move |(name, weight)| (format!("{prefix}.{name}"), weight);
    encoder
        .into_iter()
        .map(named(ENCODER))
        .chain(head.into_iter().map(named(HEAD)))
        .map(|(name, weight): (String, Tensor)| {
            // Detached, so that the variable is a copy even of a variable: the optimiser will
            // change it in place.
            let weight = weight.to_device(device)?.to_dtype(DType::F32)?.detach();
            Ok((name, Var::from_tensor(&weight)?))
        })
        .collect()
}

/// The variables as they are: what is computed with them has gradients.
pub(super) fn tracked(weights: &BTreeMap<String, Var>) -> HashMap<String, Tensor> {
    weights
        .iter()
        .map(|(name, weight)| (name.clone(), weight.as_tensor().clone()))
        .collect()
}

/// The variables' values: what is computed with them has no gradients.
pub(super) fn untracked(weights: &BTreeMap<String, Var>) -> HashMap<String, Tensor> {
    weights
        .iter()
        .map(|(name, weight)| (name.clone(), weight.as_detached_tensor()))
        .collect()
}

/// Copies of the encoder's weights by canonical name.
pub(super) fn encoder_weights(
    weights: &BTreeMap<String, Var>,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    weights
        .iter()
        .filter_map(|(name, weight)| Some((name.strip_prefix(ENCODER)?.strip_prefix('.')?, weight)))
        .map(|(name, weight)| Ok((name.to_owned(), weight.as_detached_tensor().copy()?)))
        .collect()
}

/// Those of the tensors that begin with a prefix and a dot, without them: the encoder's and the head's.
pub(super) fn parts(
    tensors: &BTreeMap<String, Tensor>,
) -> (BTreeMap<String, Tensor>, BTreeMap<String, Tensor>) {
    let part = |prefix: &str| {
        tensors
            .iter()
            .filter_map(|(name, tensor)| {
                let name = name.strip_prefix(prefix)?.strip_prefix('.')?;
                Some((name.to_owned(), tensor.clone()))
            })
            .collect()
    };
    (part(ENCODER), part(HEAD))
}
