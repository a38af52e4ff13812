//! Learning from the catalogue's own audio, without labels.

pub mod dataset;
