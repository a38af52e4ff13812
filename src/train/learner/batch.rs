//! A batch of views, and how it is cut into what is computed at once.

use std::ops::Range;

use crate::{
    model::{AstConfig, KeptPatches},
    train::TrainError,
};

/// Views of some tracks: what a step learns from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewBatch {
    /// Frames of each view.
    pub frames: usize,
    /// `views[view][track]`: a normalised spectrogram, frame after frame. Every view has the same
    /// tracks in the same order.
    pub views: Vec<Vec<Vec<f32>>>,
    /// Who made each track, by any numbers: tracks of one artist are no negatives of each other.
    pub artists: Option<Vec<i64>>,
}

/// A part of a batch that goes through the network at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chunk {
    /// Rows of the loss, `view * tracks + track`.
    pub(super) rows: Range<usize>,
    /// What of each window is seen.
    pub(super) seen: Seen,
}

/// What of some windows is seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    /// Everything.
    All,
    /// These rows and columns of patches.
    Grid(KeptPatches),
    /// These patches of each window.
    Scattered(Vec<Vec<u32>>),
}

impl ViewBatch {
    /// Tracks in the batch.
    #[must_use]
    pub fn tracks(&self) -> usize {
        self.views.first().map_or(0, Vec::len)
    }

    /// Windows in the batch: tracks times views.
    #[must_use]
    pub fn windows(&self) -> usize {
        self.views.iter().map(Vec::len).sum()
    }

    /// Checks that the batch is for this encoder.
    pub(super) fn check(&self, config: &AstConfig) -> Result<(), TrainError> {
        let fault = |what, found, expected| {
            Err(TrainError::Batch {
                what,
                found,
                expected,
            })
        };
        if self.views.len() < 2 {
            return fault("views", self.views.len(), 2);
        }
        if self.tracks() < 2 {
            return fault("tracks", self.tracks(), 2);
        }
        if self.frames < config.patch_size {
            return fault("frames", self.frames, config.patch_size);
        }
        if self.frames > config.max_length {
            return fault("frames", self.frames, config.max_length);
        }
        let len = self.frames * config.num_mel_bins;
        for view in &self.views {
            if view.len() != self.tracks() {
                return fault("tracks in a view", view.len(), self.tracks());
            }
            if let Some(window) = view.iter().find(|window| window.len() != len) {
                return fault("values in a window", window.len(), len);
            }
        }
        Ok(())
    }

    /// Cuts into chunks of at most `most` windows that see the same patches; `kept` has an entry a view.
    pub(super) fn chunks(&self, kept: &[Option<KeptPatches>], most: usize) -> Vec<Chunk> {
        let tracks = self.tracks();
        let mut chunks = Vec::new();
        let mut first = 0;
        for same in kept.chunk_by(|a, b| a == b) {
            let end = first + same.len() * tracks;
            let seen = same[0].clone().map_or(Seen::All, Seen::Grid);
            chunks.extend(pieces(first..end, most).map(|rows| Chunk {
                rows,
                seen: seen.clone(),
            }));
            first = end;
        }
        chunks
    }

    /// Cuts into chunks of at most `most` windows; `kept` has an entry a window.
    pub(super) fn scattered_chunks(&self, kept: &[Vec<u32>], most: usize) -> Vec<Chunk> {
        pieces(0..self.windows(), most)
            .map(|rows| Chunk {
                seen: Seen::Scattered(kept[rows.clone()].to_vec()),
                rows,
            })
            .collect()
    }

    /// A chunk's windows.
    pub(super) fn slices(&self, chunk: &Chunk) -> Vec<&[f32]> {
        let tracks = self.tracks();
        chunk
            .rows
            .clone()
            .map(|row| self.views[row / tracks][row % tracks].as_slice())
            .collect()
    }
}

/// A range in pieces of at most `most`.
fn pieces(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let most = most.max(1);
    let end = range.end;
    range
        .step_by(most)
        .map(move |start| start..end.min(start + most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_batch_in_order_and_never_mix_what_is_kept() {
        let batch = ViewBatch {
            views: vec![vec![Vec::new(); 5]; 3],
            ..ViewBatch::default()
        };
        let kept = KeptPatches {
            mel_rows: vec![0],
            time_columns: vec![1],
            first_column: 0,
        };
        let rows = |kept: &[Option<KeptPatches>], most| -> Vec<Range<usize>> {
            let chunks = batch.chunks(kept, most);
            chunks.into_iter().map(|chunk| chunk.rows).collect()
        };
        assert_eq!(rows(&[None, None, None], 8), [0..8, 8..15]);
        assert_eq!(rows(&[None, None, None], 7), [0..7, 7..14, 14..15]);
        let mixed = [None, Some(kept.clone()), Some(kept)];
        assert_eq!(rows(&mixed, 15), [0..5, 5..15]);
        assert_eq!(rows(&mixed, 4), [0..4, 4..5, 5..9, 9..13, 13..15]);
        let chunks = batch.chunks(&mixed, 15);
        let grid = mixed[1].clone().map(Seen::Grid);
        assert_eq!(chunks[0].seen, Seen::All);
        assert_eq!(Some(&chunks[1].seen), grid.as_ref());
        let scattered: Vec<Vec<u32>> = (0..15).map(|window| vec![window]).collect();
        let chunks = batch.scattered_chunks(&scattered, 8);
        assert_eq!(
            (chunks[0].rows.clone(), chunks[1].rows.clone()),
            (0..8, 8..15)
        );
        assert_eq!(chunks[1].seen, Seen::Scattered(scattered[8..].to_vec()));
    }
}
