//! What can go wrong between the catalogue's files and a batch of views.

use std::io;

use crate::audio::{AudioError, augment::SettingFaults};

/// Why there are no batches, or no more of them.
///
/// A file that cannot be decoded is no error: its track is left out and counted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// Settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingFaults),
    /// The spectrogram's settings cannot be used.
    #[error("the front end's settings cannot be used")]
    FrontEnd(#[source] AudioError),
    /// There are not enough tracks for a batch, or no longer so.
    #[error("{tracks} tracks are left where a batch needs {batch}")]
    TooFewTracks {
        /// Tracks that a batch could be made of.
        tracks: usize,
        /// Tracks of a batch.
        batch: usize,
    },
    /// No two tracks of a batch may be by one artist, and there are not enough artists.
    #[error("{artists} artists cannot fill a batch of {batch} tracks, each by another")]
    TooFewArtists {
        /// Artists of the training tracks.
        artists: usize,
        /// Tracks of a batch.
        batch: usize,
    },
    /// A view has no spectrogram.
    #[error("a view has no spectrogram")]
    View(#[source] AudioError),
    /// The system gives no thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A thread that prepares batches has panicked.
    #[error("a thread that prepares batches died")]
    ThreadDied,
}
