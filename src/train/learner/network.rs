//! Encoder and head together, and their weights by name.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;

use super::batch::Seen;
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
            encoder: Ast::new(config, vb.pp(ENCODER))?,
            head: ProjectionHead::new(config.hidden_size, &vb.pp(HEAD))?,
        })
    }

    /// `[windows, frames, mel_bins]` to embeddings `[windows, hidden]`.
    pub(super) fn embed(&self, windows: &Tensor, seen: &Seen) -> Result<Tensor, TrainError> {
        let output = match seen {
            Seen::All => self.encoder.forward(windows)?,
            Seen::Grid(kept) => self.encoder.forward_kept(windows, Some(kept))?,
            Seen::Scattered(kept) => self.encoder.forward_scattered(windows, kept)?,
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
