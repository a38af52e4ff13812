//! Why the device did not compute.

use std::{sync::Arc, time::Duration};

use crate::model::ModelError;

/// Why windows were not embedded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The queue is full.
    #[error("{waiting} windows wait for the device already")]
    Overloaded {
        /// Windows that wait.
        waiting: usize,
        /// When a new try is worth it, from the speed of the last batches.
        retry_after: Duration,
    },
    /// The device was still busy with others when the caller's time was up.
    #[error("the device did not get to these windows in time")]
    TooLate,
    /// More windows at once than the queue can ever hold.
    #[error("{windows} windows at once are more than the queue of {max_queue} holds")]
    TooMany {
        /// Windows handed over.
        windows: usize,
        /// The queue's bound.
        max_queue: usize,
    },
    /// The device thread has stopped.
    #[error("the device thread has stopped")]
    Stopped,
    /// The device has no memory left for a single window.
    #[error("the device has no room for a single window")]
    NoRoom {
        /// When a new try is worth it: whoever took the memory may be gone then.
        retry_after: Duration,
        /// What the device says.
        source: Arc<ModelError>,
    },
    /// The encoder failed on this batch.
    #[error("the encoder failed")]
    Encoder(#[source] Arc<ModelError>),
    /// The device cannot be opened.
    #[error("the device cannot be opened")]
    Device(#[source] ModelError),
    /// The system refuses a thread.
    #[error("cannot start the device thread")]
    Thread(#[source] std::io::Error),
}

/// How long to wait for device memory that something else has taken.
const MEMORY_RETRY: Duration = Duration::from_secs(10);

impl BatchError {
    pub(super) fn from_encoder(error: Arc<ModelError>) -> Self {
        match *error {
            ModelError::OutOfMemory(_) => Self::NoRoom {
                retry_after: MEMORY_RETRY,
                source: error,
            },
            _ => Self::Encoder(error),
        }
    }
}
