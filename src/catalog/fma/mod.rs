//! The Free Music Archive dataset: its metadata files and its directory layout.
//!
//! The dataset is described in Defferrard et al., "FMA: A Dataset for Music Analysis", ISMIR 2017
//! (<https://arxiv.org/abs/1612.01840>), its files at <https://github.com/mdeff/fma>.

mod fault;
mod layout;
mod metadata;
pub mod python;
mod table;

pub use fault::{Fault, FaultReason, Faults};
pub use layout::{Layout, LayoutFault, Listing, audio_path};
pub use metadata::{Parsed, read_metadata};

use crate::track::TrackId;

/// Clips of `fma_small` that are known to be damaged: they decode to 1.6 s, 0.5 s, 1.5 s and
/// three times nothing (<https://github.com/mdeff/fma/wiki>, "Excerpts shorter than 30s and
/// erroneous audio length metadata").
///
/// For telling the user that their copy is as it should be; nothing is skipped because of it.
pub const KNOWN_BAD_CLIPS: [TrackId; 6] = [
    TrackId(98_565),
    TrackId(98_567),
    TrackId(98_569),
    TrackId(99_134),
    TrackId(108_925),
    TrackId(133_297),
];
