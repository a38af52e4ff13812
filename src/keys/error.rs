//! What can go wrong with the table of keys.

use super::KeyId;
use crate::database::DatabaseError;

/// What is wrong with one field of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field.
    pub field: &'static str,
    /// What would be right.
    pub detail: String,
}

impl Fault {
    pub(super) fn new(field: &'static str, detail: impl Into<String>) -> Self {
        Self {
            field,
            detail: detail.into(),
        }
    }
}

fn list(faults: &[Fault]) -> String {
    let told: Vec<String> = faults
        .iter()
        .map(|fault| format!("{} {}", fault.field, fault.detail))
        .collect();
    told.join("; ")
}

/// A failure of the table of keys, or of the record of actions beside it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no such key.
    #[error("there is no key {0}")]
    Unknown(KeyId),
    /// The key was taken back, and nothing brings it to life again.
    #[error("key {0} is revoked; make a new one")]
    Revoked(KeyId),
    /// What was asked for cannot be.
    #[error("{}", list(.0))]
    Invalid(Vec<Fault>),
    /// A stored value cannot be what was written.
    #[error("{row}: the stored {column} is damaged")]
    Damaged {
        /// The row: the id of a key, or the number of an action.
        row: String,
        /// The damaged column.
        column: &'static str,
    },
    /// The system has no random numbers for a key.
    #[error("no random numbers are to be had: {0}")]
    Random(#[from] getrandom::Error),
    /// The database cannot be read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for KeyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
