//! A clip as it was sent, and what was made of it.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;

use super::Ticket;
use crate::{
    audio::{SourceInfo, fingerprint::Landmark},
    extract::Embedded,
};

/// Where a clip's bytes are.
#[derive(Clone, Debug)]
pub enum ClipSource {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File(PathBuf),
}

/// A clip that has arrived whole.
pub struct UploadedClip {
    /// Its bytes.
    pub source: ClipSource,
    /// Their hash.
    pub sha256: [u8; 32],
    /// Its place among the others.
    pub ticket: Ticket,
}

/// What was decoded of a clip.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Container, codec, rate.
    pub source: SourceInfo,
    /// Where in the upload it starts, seconds.
    pub offset_seconds: f64,
    /// Length of what was heard, seconds.
    pub seconds: f64,
    /// Whether the upload goes on after it.
    pub truncated: bool,
}

/// All that an answer needs of a clip; neither k nor filters change it.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// What was decoded.
    pub clip: Clip,
    /// What the encoder made of it.
    pub embedded: Arc<Embedded>,
    /// For the same-recording verdict.
    pub landmarks: Arc<[Landmark]>,
}

impl Analysis {
    /// Memory that it takes, bytes; the allocator's own is left out.
    pub(super) fn bytes(&self) -> usize {
        let source = &self.clip.source;
        let embedded = &self.embedded;
        let vectors =
            embedded.windows.iter().map(Vec::len).sum::<usize>() + embedded.embedding.len();
        size_of::<Self>()
            + source.codec.len()
            + source.container.len()
            + embedded.windows.len() * size_of::<Vec<f32>>()
            + (vectors + embedded.start_seconds.len()) * size_of::<f32>()
            + size_of_val::<[Landmark]>(&self.landmarks)
    }
}
