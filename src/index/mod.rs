//! Vectors: which tracks are nearest to an embedding?
//!
//! [`VectorRead`] and [`VectorWrite`] are what the floors above see. [`EmbeddedIndex`] is the
//! implementation in this process; [`OracleIndex`] is the plain scan that all implementations are
//! measured against. Filters are a closed language ([`Filter`]) that becomes a bitmap here and SQL
//! elsewhere.

mod check;
mod engine;
mod error;
mod filter;
mod kernel;
mod oracle;
mod rank;
mod types;

pub use engine::{VectorRead, VectorWrite};
pub use error::{ContentFault, IndexError, VectorFault, VectorOwner};
pub use filter::{Field, Filter, SqlFilter};
pub use oracle::OracleIndex;
pub use types::{
    Answer, Description, Effort, Engine, Hit, Item, Plan, Query, Reason, Stats, UNIT_TOLERANCE,
};
