//! The trait that every vector engine implements, reading apart from writing.

use super::{Answer, Description, IndexError, Item, Query, Stats};
use crate::track::TrackId;

/// Finds nearest vectors.
///
/// Calls are synchronous and may take milliseconds of CPU: call them off the async runtime.
/// Searches do not block each other, nor does a write block them.
pub trait VectorRead: Send + Sync {
    /// What this index is.
    fn describe(&self) -> Description;

    /// The `k` nearest tracks that pass the filter, score falling, then id rising.
    ///
    /// # Errors
    /// A query vector of another dimension, not finite or not of unit length; `k` of 0; a filter
    /// nested too deeply.
    fn search(&self, query: &Query) -> Result<Answer, IndexError>;

    /// [`VectorRead::search`] for many queries at one moment of the index; answers in the order of the queries.
    ///
    /// # Errors
    /// As `search`; one bad query fails the batch.
    fn search_batch(&self, queries: &[Query]) -> Result<Vec<Answer>, IndexError>;

    /// The stored items, in the order asked for; `None` where the index has no such track.
    ///
    /// # Errors
    /// Those of the engine's storage; the embedded index has none.
    fn get(&self, ids: &[TrackId]) -> Result<Vec<Option<Item>>, IndexError>;

    /// What the index holds right now.
    ///
    /// # Errors
    /// Those of the engine's storage; the embedded index has none.
    fn stats(&self) -> Result<Stats, IndexError>;
}

/// Changes what can be found. A change is seen by every search that starts after it returned.
pub trait VectorWrite: Send + Sync {
    /// Puts items in, replacing those with the same id. All or, on an error, none; of several
    /// items with one id in a call the last one wins.
    ///
    /// # Errors
    /// A vector of another dimension, not finite or not of unit length; a [`super::Field::Track`]
    /// value that is not the item's id; no room before the next checkpoint.
    fn upsert(&self, items: &[Item]) -> Result<(), IndexError>;

    /// Takes tracks out and says how many were there; unknown ids are passed over.
    ///
    /// # Errors
    /// Those of the engine's storage; the embedded index has none.
    fn delete(&self, ids: &[TrackId]) -> Result<usize, IndexError>;

    /// Makes all changes so far durable and as quick to search as the rest.
    ///
    /// # Errors
    /// Those of the storage. The index goes on answering from its former state after one.
    fn checkpoint(&self) -> Result<(), IndexError>;
}
