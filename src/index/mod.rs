//! Vectors: which tracks are nearest to an embedding?
//!
//! [`VectorRead`] and [`VectorWrite`] are what the floors above see. [`EmbeddedIndex`] is the
//! implementation in this process; [`OracleIndex`] is the plain scan that all implementations are
//! measured against. Filters are a closed language ([`Filter`]) that becomes a bitmap here and SQL
//! elsewhere.
//!
//! Inside, from the bottom: `kernel` (inner products), `codes` (8-bit vectors with a known error),
//! `rows` (tracks by columns, filters to `bitmap`s), `graph` (HNSW), `base` (all of these,
//! immutable), `exact` (the scan), `planner` (scan or graph, and why), `state` (a base, what was
//! added and what was taken out), `embedded` (the current state), `storage` (a base on disk).

mod base;
mod bitmap;
mod check;
mod codes;
mod embedded;
mod engine;
mod error;
mod exact;
mod filter;
mod graph;
mod kernel;
pub mod landmarks;
mod mapped;
mod oracle;
mod planner;
mod rank;
mod rows;
mod settings;
mod state;
mod storage;
mod types;

/// Watches a build: hears how many of how many points are linked; its `false` ends the build.
pub type Watch<'a> = dyn Fn(usize, usize) -> bool + Sync + 'a;

/// The [`Watch`] of a build that nobody waits for.
#[must_use]
pub fn unwatched(_done: usize, _total: usize) -> bool {
    true
}

pub use embedded::EmbeddedIndex;
pub use engine::{VectorRead, VectorWrite};
pub use error::{ContentFault, IndexError, VectorFault, VectorOwner};
pub use filter::{Field, Filter, SqlFilter};
pub use graph::{BuildOrder, GraphSettings};
pub use oracle::OracleIndex;
pub use settings::Settings;
pub use types::{
    Answer, Description, Effort, Engine, Hit, Item, Plan, Query, Reason, Stats, UNIT_TOLERANCE,
};
