//! Why there is no answer.

use std::time::Duration;

use crate::{
    audio::AudioError, batch::BatchError, catalog::CatalogError, extract::ExtractError,
    generation::GenerationError, index::IndexError, track::TrackId,
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecommendError {
    /// No generation is loaded yet.
    #[error("no generation is loaded, ingest some music first")]
    NotReady,
    /// The catalogue has no such track.
    #[error("there is no track {0}")]
    UnknownTrack(TrackId),
    /// The track is in the catalogue, but not in the loaded generation.
    #[error("track {0} is not part of the loaded generation")]
    NotIndexed(TrackId),
    /// A filter names something that the catalogue does not have.
    #[error("the catalogue has no {kind} {value:?}")]
    UnknownFilterValue {
        /// The request's parameter.
        parameter: &'static str,
        /// What the parameter names.
        kind: &'static str,
        /// What was asked for.
        value: String,
    },
    /// Too much is ahead of this clip, or was until its time was up.
    #[error("too many clips wait to be analysed")]
    Overloaded {
        /// When a new try is worth it, as far as the last ones tell.
        retry_after: Duration,
    },
    /// The device has no memory left for the clip.
    #[error("the device has no memory left for a clip")]
    NoRoom {
        /// When a new try is worth it.
        retry_after: Duration,
    },
    /// The clip cannot be decoded.
    #[error("the clip cannot be decoded")]
    Audio(#[source] AudioError),
    /// The clip cannot be embedded.
    #[error("the clip cannot be embedded")]
    Extract(#[source] ExtractError),
    /// The search failed.
    #[error("the search failed")]
    Index(#[from] IndexError),
    /// A file of the generation cannot be read.
    #[error("the generation failed")]
    Generation(#[from] GenerationError),
    /// The catalogue failed.
    #[error("the catalogue failed")]
    Catalog(#[from] CatalogError),
    /// A worker thread of the runtime has gone.
    #[error("a background task ended early")]
    Background(#[from] tokio::task::JoinError),
}

impl From<ExtractError> for RecommendError {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Audio(error) => Self::Audio(error),
            ExtractError::Batch(BatchError::Overloaded { retry_after, .. }) => {
                Self::Overloaded { retry_after }
            }
            ExtractError::Batch(BatchError::NoRoom { retry_after, .. }) => {
                Self::NoRoom { retry_after }
            }
            other => Self::Extract(other),
        }
    }
}
